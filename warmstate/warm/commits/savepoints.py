"""
Savepoints: a flush within a unit of work whose changes can be taken back alone.

1. When a flush begins, what the unit touched is put aside: what the flush touches itself is then told apart by being in the handler again.
2. The flush sees the unit's objects, and may change them in place. So the first time that it reads one that can change, the object is
   written down, and if the flush fails, the unit goes on with what was written.
"""

from __future__ import annotations

from warmstate.warm.slot import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from warmstate.warm.commits.committed import Cell
    from warmstate.warm.commits.committing import Committing
    from warmstate.warm.tails.buffer import Buffer

__all__ = ["Savepoint", "Savepoints"]


class Savepoint:
    """What the open unit had touched when a flush within it began; `copies` are of what the flush may change in place."""

    __slots__ = ("copies", "deleted", "marks", "values")

    def __init__(self, values: dict[str, Any], deleted: set[str], marks: list[tuple[Buffer[Any], Any]]) -> None:
        self.values = values
        self.deleted = deleted
        self.marks = marks
        self.copies: dict[str, list[bytes]] = {}


class Savepoints:
    """The flushes under way within one unit of work, outermost first; `held` and `deleted` are the ledger's own."""

    __slots__ = ("_committing", "_deleted", "_held", "_open")

    def __init__(self, held: dict[str, Any], deleted: set[str], committing: Committing | None) -> None:
        self._held = held
        self._deleted = deleted
        self._committing = committing
        self._open: list[Savepoint] = []

    def __len__(self) -> int:
        return len(self._open)

    @property
    def _cells(self) -> dict[str, Cell]:
        return {} if self._committing is None else self._committing.cells

    def begin(self, buffers: Sequence[Buffer[Any]]) -> Savepoint:
        """From here on changes can be taken back."""
        touched = {name: self._held.pop(name) for name in self._cells if name in self._held}
        savepoint = Savepoint(touched, set(self._deleted), [(buffer, buffer.mark()) for buffer in buffers])
        self._deleted.difference_update(touched)
        self._open.append(savepoint)
        return savepoint

    def release(self, savepoint: Savepoint) -> None:
        """The flush went well: its changes are the unit's."""
        self._open.remove(savepoint)
        for name, value in savepoint.values.items():
            if name not in self._deleted:
                self._held.setdefault(name, value)

    def rewind(self, savepoint: Savepoint) -> None:
        """The flush failed: its changes go, the unit's stay."""
        self._open.remove(savepoint)
        for name, cell in self._cells.items():
            if self._held.pop(name, MISSING) is not MISSING and name not in savepoint.values:
                cell.forget()
        for name, copy in savepoint.copies.items():
            value = self._cells[name].codec.decode(copy)
            for outer in (savepoint, *self._open):
                if name in outer.values:
                    outer.values[name] = value
        self._held.update(savepoint.values)
        self._deleted.clear()
        self._deleted.update(savepoint.deleted - savepoint.values.keys())
        for buffer, mark in savepoint.marks:
            buffer.rewind(mark)

    def load(self, cell: Cell) -> Any:
        """The unit's own value of a slot that a flush within it asks for; MISSING if the unit had not touched it."""
        name = cell.slot.name
        for savepoint in reversed(self._open):
            if name in savepoint.values:
                from warmstate.warm.commits.committed import is_fixed

                value = savepoint.values[name]
                top = self._open[-1]
                if name not in top.copies and not is_fixed(value) and self._committing is not None:
                    top.copies[name] = [bytes(buffer) for buffer in self._committing.encode(cell, value)]
                return value
        return MISSING

    def abandon(self) -> None:
        """The unit of work fails with all that is under way in it."""
        for savepoint in self._open:
            for name in savepoint.values:
                self._cells[name].forget()
        self._open.clear()
