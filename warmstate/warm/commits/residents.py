"""
What stays resident: memory slots and tails within a budget of bytes; what is over it waits in the spill.

1. Spill is overflow, not durability: it is read by this process alone, and what the disk loses is gone, and said.
2. A slot is not watched when it is read. So over the budget, slots are first set aside, and only one that nobody asked for until the
   next settle is written, the largest first. What somebody else refers to stays: it could be changed through that.
3. Pinned, secret and small values stay, and so does what has no codec.
4. A committed slot's object is let go first: its last commit can be read again.
"""

from __future__ import annotations

import sys

from warmstate.errors import CodecError
from warmstate.warm.commits.committed import cut
from warmstate.warm.sizes import CANNOT_CHANGE, size_of
from warmstate.warm.slot import MISSING
from warmstate.warm.spill.spilled import SpillLost
from warmstate.wire.failure import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from warmstate.warm.budget import MemoryBudget
    from warmstate.warm.codecs.codec import Codec
    from warmstate.warm.commits.committed import Cell
    from warmstate.warm.commits.unit import Ledger
    from warmstate.warm.slot import State
    from warmstate.warm.spill.spill import Spill, Spilled
    from warmstate.warm.tails.buffer import Buffer

__all__ = ["Residents"]

_MEASURED_EACH = 16
"""Settles from one measurement to the next while less than half of the budget was in use: measuring costs microseconds each."""
_ALONE = sys.getrefcount([]) + 1
"""What `getrefcount` says of an object that one place refers to."""
_SMALL = 4096
"""Bytes below which a value is not worth a place on a disk."""


class Away:
    """A spilled value: its receipt and how to read it."""

    __slots__ = ("decode", "lengths", "spilled")

    def __init__(self, spilled: Spilled, lengths: list[int], decode: Callable[[Sequence[Any]], Any]) -> None:
        self.spilled = spilled
        self.lengths = lengths
        self.decode = decode


class Residents:
    """The slots and tails of one ledger, within their part of `budget`; `cells` are its committed slots."""

    __slots__ = (
        "_aside",
        "_away",
        "_budget",
        "_cells",
        "_codecs",
        "_ledger",
        "_open",
        "_opened",
        "_segments",
        "_settles",
        "nbytes",
    )

    def __init__(
        self, ledger: Ledger, spill: Callable[[], Spill | None], budget: MemoryBudget, cells: Sequence[Cell]
    ) -> None:
        self._ledger = ledger
        self._cells = cells
        self._open = spill
        self._opened: Spill | None = None
        self._budget = budget
        self._settles = 0
        self._aside: dict[str, Any] = {}
        self._away: dict[str, Away] = {}
        self._segments: list[tuple[Buffer[Any], int, Spilled]] = []
        self._codecs: dict[str, Codec[Any] | None] = {}
        self.nbytes = 0

    def __repr__(self) -> str:
        return f"<Residents: {self.nbytes} bytes, {len(self._away)} slots away>"

    @property
    def _spill(self) -> Spill:
        assert self._opened is not None
        return self._opened

    def holds(self, name: str) -> bool:
        """Whether a slot's value is on the disk."""
        return name in self._away

    def load(self, slot: State[Any]) -> Any:
        """
        The value of a slot that is not in the handler; MISSING if it has none, so that its default holds.

        Raises:
            SpillUnavailable: The disk does not answer now; the value is kept.
        """
        value = self._aside.pop(slot.name, MISSING)
        away = self._away.get(slot.name)
        if value is not MISSING or away is None:
            return value
        try:
            value = away.decode(cut(self._spill.get(away.spilled), away.lengths))
        except (SpillLost, CodecError) as error:
            self._ledger.notices.error(
                f"The spilled value of {slot.name} is lost and its default holds again: {error}", slot=slot.name
            )
            value = MISSING
        self.drop(slot.name)
        return value

    def drop(self, name: str) -> None:
        """The slot's value is no longer needed."""
        self._aside.pop(name, None)
        away = self._away.pop(name, None)
        if away is not None:
            self._spill.drop(away.spilled)

    def settle(self, buffers: Sequence[Buffer[Any]]) -> None:
        """Measures now and then, and spills what is over the budget."""
        self._settles += 1
        budget = self._budget.for_slots
        if self._settles % _MEASURED_EACH and self.nbytes < budget // 2:
            return
        held = self._ledger.handler.__dict__
        for name in [name for name in (*self._aside, *self._away) if name in held]:
            self.drop(name)  # it was set anew
        self._drop_flushed()
        sizes = {name: size for name, size in self._sizes(held).items() if size >= _SMALL}
        tails = {buffer.tail.name: self._tail_bytes(buffer) for buffer in buffers}
        self.nbytes = sum(sizes.values()) + sum(tails.values()) + self._committed_bytes(budget)
        if self.nbytes > budget:
            self._make_room(budget, sizes, tails, buffers)
        self._budget.in_slots = self.nbytes
        self._budget.store_is_short = False

    def _make_room(
        self, budget: int, sizes: dict[str, int], tails: dict[str, int], buffers: Sequence[Buffer[Any]]
    ) -> None:
        held = self._ledger.handler.__dict__
        if self._opened is None:
            self._opened = self._open()
        if self._opened is None:
            return
        waiting = set(self._aside)
        for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if self.nbytes <= budget:
                return
            if name in waiting and self._put_slot(name):
                self.nbytes -= sizes[name]
        for name in sizes:
            if name in held and self._may_go(name):
                self._aside[name] = held.pop(name)
        for buffer in buffers:
            if self.nbytes > budget and tails[buffer.tail.name] >= _SMALL and not buffer.tail.commits:
                self._put_items(buffer)

    def close(self) -> None:
        """Forgets what is on the disk; the spill itself is closed by who made it."""
        self._away.clear()
        self._segments.clear()

    def _sizes(self, held: dict[str, Any]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name, slot in self._ledger.declarations.slots.items():
            value = held.get(name, self._aside.get(name, MISSING))
            if value is not MISSING and not slot.commits:
                sizes[name] = size_of(value) if slot.sizeof is None else slot.sizeof(value)
        return sizes

    def _committed_bytes(self, budget: int) -> int:
        """What the objects of committed slots take; those that take more than the budget leaves are let go, pinned ones are not."""
        kept = 0
        for cell in self._cells:
            if cell.value is MISSING or sum(cell.lengths) < _SMALL:
                continue
            size = size_of(cell.value) if cell.slot.sizeof is None else cell.slot.sizeof(cell.value)
            alone = sys.getrefcount(cell.value) <= _ALONE or cell.fixed
            if kept + size > budget and cell.place is not None and not cell.slot.pin and alone:
                cell.value = MISSING
            else:
                kept += size
        return kept

    def _tail_bytes(self, buffer: Buffer[Any]) -> int:
        return sum(map(size_of, buffer.present_range()[1]))

    def _may_go(self, name: str) -> bool:
        slot = self._ledger.declarations.slots[name]
        return not slot.pin and not slot.secret and (slot.codec == "pickle" or self._codec(name) is not None)

    def _codec(self, name: str, *, items: bool = False) -> Codec[Any] | None:
        if name not in self._codecs:
            try:
                self._codecs[name] = self._ledger.codec_of(name, items=items)
            except CodecError as error:
                self._codecs[name] = None
                self._note_unspillable(name, error)
        return self._codecs[name]

    def _note_unspillable(self, name: str, error: Exception) -> None:
        where = f"{type(self._ledger.handler).__qualname__}.{name}"
        self._ledger.notices.once(
            f"unspillable:{name}", f"{where} cannot be spilled and stays in memory: {safe_text(error)}"
        )

    def _put_slot(self, name: str) -> bool:
        if type(self._aside[name]) not in CANNOT_CHANGE and sys.getrefcount(self._aside[name]) > _ALONE:
            return False
        value = self._aside[name]
        pickled = self._ledger.declarations.slots[name].codec == "pickle"
        try:
            if pickled:
                import pickle

                buffers: list[Any] = [pickle.dumps(value, protocol=5)]
                decode: Callable[[Sequence[Any]], Any] = _unpickled
            else:
                codec = self._codec(name)
                if codec is None:
                    return False
                buffers, decode = codec.encode(value), codec.decode
        except Exception as error:  # noqa: BLE001 - pickle raises anything; the value stays in memory
            self._note_unspillable(name, error)
            return False
        spilled = self._spill.put(name, buffers, sealed=pickled)
        if spilled is None:
            return False
        self._away[name] = Away(spilled, [len(buffer) for buffer in buffers], decode)
        del self._aside[name]
        return True

    def _put_items(self, buffer: Buffer[Any]) -> None:
        first, items = buffer.present_range()
        codec = self._codec(buffer.tail.name, items=True)
        if not items or codec is None:
            return
        try:
            parts = codec.encode(items)
        except CodecError as error:
            self._note_unspillable(buffer.tail.name, error)
            return
        spilled = self._spill.put(buffer.tail.name, parts)
        if spilled is None:
            return
        lengths = [len(part) for part in parts]
        buffer.put_away(first, len(items), lambda: codec.decode(cut(self._spill.get(spilled), lengths)))
        self._segments.append((buffer, first + len(items), spilled))
        self.nbytes -= sum(map(size_of, items))

    def _drop_flushed(self) -> None:
        gone = [segment for segment in self._segments if segment[1] <= segment[0].first_number]
        self._segments = [segment for segment in self._segments if segment not in gone]
        for _, _, spilled in gone:
            self._spill.drop(spilled)


def _unpickled(buffers: Sequence[Any]) -> Any:
    import pickle

    return pickle.loads(buffers[0])  # noqa: S301 - sealed with a key of this process, so nobody else wrote it
