"""One tenant's entries in the order of their use: those in memory, and those in /tmp."""

from __future__ import annotations

from itertools import islice

from warmstate.warm.store.entries import Entry, Period

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Iterator
    from typing import Any

    from warmstate.warm.store.entries import Key, Space
else:
    from _collections import OrderedDict  # `collections` itself costs a millisecond of a cold start

__all__ = ["Shelf"]


class _Mark:
    """Stands in the order of use where the last settling ended: what is behind it was used since."""

    __slots__ = ()


MARK: Any = _Mark()
_NO_ENTRY = Entry(None, 0, 0, Period(), None)
_TIMED_AT_ONCE = 200


class Shelf:
    """
    `resident` and `spilled` entries by key, least recently used first; `pinned_bytes` is what may not leave memory.

    `resident` may hold MARK as a key, which stands for no entry. `is_divided` says that some keys are in partitions.

    Readers move keys within `resident` without having the turn, so it is never walked step by step: its order is taken in one
    operation of the interpreter, or the first step is tried again.
    """

    __slots__ = ("is_divided", "pinned_bytes", "resident", "spilled", "timed")

    def __init__(self) -> None:
        self.resident: OrderedDict[Key, Entry] = OrderedDict()
        self.spilled: OrderedDict[Key, Entry] = OrderedDict()
        self.timed: OrderedDict[Key, None] = OrderedDict()
        self.pinned_bytes = 0
        self.is_divided = False

    def __repr__(self) -> str:
        return f"<Shelf {len(self.resident)} in memory, {len(self.spilled)} in /tmp>"

    def names(self) -> list[str]:
        """All keys of a shelf that is not divided."""
        names = [*self.resident, *self.spilled]
        if MARK in self.resident:
            names.remove(MARK)
        return names  # type: ignore[return-value]  # on a shelf that is not divided keys are names

    def add(self, key: Key, entry: Entry) -> None:
        """Put an entry that is on no shelf at the end of its tier."""
        if entry.expiry is not None:
            self.timed[key] = None
        if not isinstance(key, str):
            self.is_divided = True
        if entry.spilled is not None:
            self.spilled[key] = entry
            return
        self.resident[key] = entry
        if entry.pinned:
            self.pinned_bytes += entry.size + entry.overhead

    def remove(self, key: Key) -> Entry | None:
        """Take an entry off either tier."""
        entry = self.resident.pop(key, None)
        if entry is None:
            entry = self.spilled.pop(key, None)
        elif entry.pinned:
            self.pinned_bytes -= entry.size + entry.overhead
        if entry is not None and entry.expiry is not None:
            self.timed.pop(key, None)
        return entry

    def pin(self, entry: Entry, *, pinned: bool) -> None:
        """Pin or unpin a resident entry."""
        if entry.pinned != pinned:
            entry.pinned = pinned
            whole = entry.size + entry.overhead
            self.pinned_bytes += whole if pinned else -whole

    def oldest(self) -> tuple[Key, Entry | None]:
        """The least recently used key in memory; MARK is taken away when it is that, and comes with None."""
        while True:
            try:
                key = next(iter(self.resident))
            except RuntimeError:
                continue  # a reader moved a key between the two steps
            if key is MARK:
                del self.resident[key]
                return key, None
            return key, self.resident[key]

    def mark(self) -> None:
        """What is used from here on was used since the mark."""
        self.resident.pop(MARK, None)
        self.resident[MARK] = _NO_ENTRY

    def used_since_mark(self) -> list[Entry]:
        """The resident entries that were used since the mark, most recent first."""
        used: list[Entry] = []
        for key in reversed([*self.resident]):
            if key is MARK:
                break
            used.append(self.resident[key])
        return used

    def some_timed(self) -> list[Key]:
        """Some keys that have an end, others each time."""
        some = list(islice(self.timed, _TIMED_AT_ONCE))
        for key in some:
            self.timed.move_to_end(key)
        return some

    def keys_of(self, space: Space | None) -> list[Key]:
        """All keys of a space, in both tiers."""
        both = (*self.resident, *self.spilled)
        if space is None:
            return [key for key in both if isinstance(key, str)]
        return [key for key in both if isinstance(key, tuple) and key[0] is space]

    def everything(self) -> Iterator[tuple[Key, Entry, str]]:
        """Each key with its entry and the name of its tier."""
        for key in [*self.resident]:
            if key is not MARK:
                yield key, self.resident[key], "memory"
        for key, entry in self.spilled.items():
            yield key, entry, "tmp"

    def clear(self) -> None:
        """Forget everything."""
        self.resident.clear()
        self.spilled.clear()
        self.timed.clear()
        self.pinned_bytes = 0
