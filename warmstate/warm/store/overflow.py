"""
What leaves memory when a budget is full: least recently used values to /tmp, and out of the store where that has no room.

1. All of this runs while the caller has the turn.
2. A value whose reference somebody else holds is not spilled: that would free nothing, and lose what is changed through it.
3. What finds no room on the disk is evicted, least recently used first; what cannot be written waits until nothing else is left.
"""

from __future__ import annotations

import sys

from warmstate.warm.codecs.values import encode
from warmstate.warm.sizes import CANNOT_CHANGE
from warmstate.warm.store.entries import LEFT_BYTES, Entry, Period, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from warmstate.lifecycle.notices import Notices
    from warmstate.warm.codecs.values import Encoded
    from warmstate.warm.store.entries import Key
    from warmstate.warm.store.shelf import Shelf
    from warmstate.warm.store.tiers import Tiers

    Victim: TypeAlias = tuple[Key, Entry, Encoded]

__all__ = ["Overflow"]

_BATCH = 256
_BATCH_BYTES = 8 * 1024 * 1024
"""So many values, and so many bytes, are spilled at a time: one transaction for many rows, and a bound for what is in flight."""


class Overflow:
    """Makes room in `tiers`."""

    __slots__ = ("_notices", "_tiers")

    def __init__(self, tiers: Tiers, notices: Notices) -> None:
        self._tiers = tiers
        self._notices = notices

    def __repr__(self) -> str:
        return f"<Overflow of {self._tiers!r}>"

    def shrink(self, goal: int, keep: Key | None = None) -> None:
        """Spill until no more than `goal` bytes are used, and evict where that does not do it; the key `keep` stays."""
        tiers = self._tiers
        shelves = tiers.shelves_by_age()
        for shelf in shelves:
            looked = 0
            while tiers.used > goal and looked < len(shelf.resident):
                victims, seen = self._victims(shelf, goal, keep)
                looked += seen
                if not seen:
                    break
                self._move_out(shelf, victims)
        for shelf in shelves:
            if tiers.used > goal:
                self._evict(shelf, goal, keep)

    def _victims(self, shelf: Shelf, goal: int, keep: Key | None) -> tuple[list[Victim], int]:
        """Take the next entries to spill off the shelf, encoded; and how many were looked at."""
        tiers = self._tiers
        victims: list[Victim] = []
        freeing = looked = 0
        for _ in range(len(shelf.resident)):
            if tiers.used - freeing <= goal or len(victims) >= _BATCH or freeing > _BATCH_BYTES:
                break
            looked += 1
            key, entry = shelf.oldest()
            if entry is None or (key != keep and tiers.ended(shelf, key, entry)):
                continue
            if key == keep or tiers.spill is None or entry.pinned or not entry.writable:
                shelf.resident.move_to_end(key)
                continue
            shelf.remove(key)  # from here on no reader gets it, so nobody changes it while it is encoded
            encoded = None if _is_held(entry) else self._encoded(entry)
            if encoded is None:
                shelf.add(key, entry)
                continue
            freeing += entry.size - LEFT_BYTES
            victims.append((key, entry, encoded))
        return victims, looked

    def _encoded(self, entry: Entry) -> Encoded | None:
        try:
            encoded = encode(entry.value)
        except Exception:  # noqa: BLE001 - a user's type may raise anything; its value stays in memory
            encoded = None
        if encoded is None:
            entry.writable = False
            self._tiers.counts["unwritable"] += 1
            kind = type(entry.value).__qualname__
            self._notices.once(
                f"store-unwritable-{kind}",
                f"Values of {kind} cannot be spilled, so they stay in memory: store plain values, attrs classes or dataclasses "
                "of them, or arrays",
            )
        return encoded

    def _move_out(self, shelf: Shelf, victims: list[Victim]) -> None:
        tiers = self._tiers
        spill = tiers.spill
        if spill is None or not victims:
            return
        self._make_tmp_room(sum(entry.size for _, entry, _ in victims))
        receipts = spill.put_many([(name_of(key), encoded.buffers) for key, _, encoded in victims])
        for (key, entry, encoded), receipt in zip(victims, receipts, strict=True):
            if receipt is None:  # the disk has no room for it, so it goes
                tiers.used -= entry.size + entry.overhead
                self._evicted()
                continue
            tiers.used += LEFT_BYTES - entry.size
            shelf.add(key, entry.leave(receipt, encoded.decode, mapped=encoded.mapped))
            tiers.counts["spilled"] += 1

    def _make_tmp_room(self, wanted: int) -> None:
        """Evict what was spilled longest ago where the budget of /tmp has no room for the next."""
        tiers = self._tiers
        spill = tiers.spill
        if spill is None:
            return
        wanted += wanted // 16 + _BATCH * 64  # what rows and pages add to it
        if spill.room() >= wanted:
            return
        spill.drop_many(tiers.take_garbage())
        for shelf in tiers.shelves_by_age():
            # Rows that go leave holes in pages that stay, so what that freed is only known afterwards.
            while shelf.spilled and (missing := wanted - spill.room()) > 0:
                while shelf.spilled and missing > 0:
                    key, entry = next(iter(shelf.spilled.items()))
                    missing -= 0 if entry.spilled is None else entry.spilled.disk_bytes
                    tiers.drop(shelf, key)
                    self._evicted()
                spill.drop_many(tiers.take_garbage())

    def _evict(self, shelf: Shelf, goal: int, keep: Key | None) -> None:
        tiers = self._tiers
        for _ in range(len(shelf.resident)):
            if tiers.used <= goal:
                return
            key, entry = shelf.oldest()
            if entry is None:
                continue
            if entry.pinned or key == keep:
                shelf.resident.move_to_end(key)
                continue
            tiers.drop(shelf, key)
            self._evicted()
        while tiers.used > goal and shelf.spilled:  # what spilled values leave behind in memory
            tiers.drop(shelf, next(iter(shelf.spilled)))
            self._evicted()

    def _evicted(self) -> None:
        self._tiers.counts["evicted"] += 1
        self._notices.once(
            "store-evicted",
            "The store is full, in memory and in /tmp, and drops the least recently used values: raise store_budget, the "
            "function's memory or its ephemeral storage",
        )


def _is_held(entry: Entry) -> bool:
    """Whether somebody besides the entry refers to its value, and could change it."""
    return type(entry.value) not in CANNOT_CHANGE and sys.getrefcount(entry.value) > _HELD_BY_ENTRY


def _references() -> int:
    entry = Entry([], 0, 0, Period(), None)
    return sys.getrefcount(entry.value)


_HELD_BY_ENTRY = _references()
