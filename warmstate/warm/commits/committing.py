"""
What a ledger has committed, and how the changes of a unit of work become one record.

1. `stage` compares what a unit touched with its last commit and encodes what changed; `write` writes that in one record; `apply` makes it
   the last commit. Nothing in memory moves before the record is written, so after a failure the unit is still open.
2. The first record of this process replaces all earlier ones, together with the table of what is declared and everything that was
   taken over: a kill finds the old journal or the new one.
"""

from __future__ import annotations

from warmstate.errors import CodecError, CommitError
from warmstate.warm.commits.commit_log import REMEMBERED_REQUESTS, Segment, entry, record, set_entry
from warmstate.warm.commits.committed import EXACT, LARGE, Cell, digest_of, is_fixed
from warmstate.warm.commits.compaction import Live, is_worth_it, rewrite
from warmstate.warm.slot import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from warmstate.lifecycle.marker import LastCommit
    from warmstate.warm.codecs.codec import Codec
    from warmstate.warm.codecs.form import Buffer as Bytes
    from warmstate.warm.commits.backend import CommitBackend, Part
    from warmstate.warm.commits.unit import Ledger
    from warmstate.warm.tails.buffer import Buffer

__all__ = ["Committing", "Staged"]

_SLOW_ENCODING = 0.005
"""Seconds of encoding, for a value that had not changed, from which on the user is told once."""


class Staged:
    """The changes of one unit of work, encoded: what its record says, and what holds once it is written."""

    __slots__ = ("appended", "changed", "entries", "parts", "touched")

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.parts: list[Part] = []
        self.touched: list[tuple[Cell, Any]] = []
        self.changed: list[tuple[Cell, list[int], bytes, bool]] = []
        self.appended: list[tuple[Buffer[Any], Segment]] = []


class Committing:
    """
    The committed slots and tails of one ledger.

    `cells` are its slots and `item_codecs` its tails, by name; `segments` tells where the items of each tail lie.
    `last_commit` is raised with each. `requests` are the last requests whose work is in a commit, oldest first.
    """

    __slots__ = (
        "_ledger",
        "backend",
        "cells",
        "commits",
        "generation",
        "item_codecs",
        "last_commit",
        "requests",
        "segments",
        "table_is_written",
    )

    def __init__(self, ledger: Ledger, backend: CommitBackend, last_commit: LastCommit) -> None:
        self._ledger = ledger
        self.backend = backend
        self.cells: dict[str, Cell] = {}
        self.item_codecs: dict[str, Codec[Any]] = {}
        self.segments: dict[str, list[Segment]] = {}
        self.requests: dict[str, None] = {}
        self.generation = 1
        self.last_commit = last_commit
        self.commits = 0
        self.table_is_written = False
        for slot in ledger.declarations.slots.values():
            if slot.commits:
                self.cells[slot.name] = Cell(len(self.cells), slot, ledger.codec_of(slot.name))
        for tail in ledger.declarations.tails.values():
            if tail.commits:
                self.item_codecs[tail.name] = ledger.codec_of(tail.name, items=True)
                self.segments[tail.name] = []

    def __repr__(self) -> str:
        return f"<Committing {', '.join((*self.cells, *self.item_codecs))}: {self.commits} commits>"

    def reset_slots(self) -> None:
        """No slot has a committed value any more."""
        for cell in self.cells.values():
            cell.reset()
        self.table_is_written = False

    def table(self) -> list[list[Any]]:
        """Everything committed, in the order that numbers in records mean: slots first, then tails."""
        slots = [[name, "slot", cell.slot.schema, cell.codec.shape] for name, cell in self.cells.items()]
        return slots + [[name, "tail", 1, codec.shape] for name, codec in self.item_codecs.items()]

    def encode(self, cell: Cell, value: Any) -> list[Bytes]:
        """A slot's value as buffers, with the slot's name in every error."""
        try:
            return cell.codec.encode(value)
        except CodecError as error:
            where = f"{type(self._ledger.handler).__qualname__}.{cell.slot.name}"
            raise CodecError(f"{where} cannot be committed: {error.message}", error.path) from None

    def live_bytes(self) -> int:
        """Bytes of all that is committed now."""
        cells = sum(sum(cell.lengths) for cell in self.cells.values())
        return cells + sum(sum(segment.lengths) for segments in self.segments.values() for segment in segments)

    # One commit

    def stage(self, held: dict[str, Any], deleted: set[str], buffers: Sequence[Buffer[Any]]) -> Staged:
        """
        What changed since the last commit, of what lies in the handler's `held`, was `deleted` or is in committed `buffers`.

        Raises:
            CodecError: A value cannot be written; the message names the slot and the path in it.
        """
        staged = Staged()
        for name, cell in self.cells.items():
            value = held.get(name, MISSING)
            if value is not MISSING:
                staged.touched.append((cell, value))
                self._stage_slot(staged, cell, value, anew=name in deleted)
            elif name in deleted and cell.holds:
                staged.entries.append(entry("reset", cell.number))
        for buffer in buffers:
            if buffer.tail.commits and buffer.changed():
                self._stage_items(staged, buffer)
        return staged

    def _stage_slot(self, staged: Staged, cell: Cell, value: Any, *, anew: bool) -> None:
        known = cell.value
        exact = type(value) in EXACT
        if not anew and cell.fixed and (value is known or (exact and type(known) is type(value) and known == value)):
            return
        began = 0.0 if exact else self._ledger.clock.monotonic()
        buffers = self.encode(cell, value)
        lengths = list(map(len, buffers))
        fixed = exact or is_fixed(value)
        # A large object that cannot change in place is another value by being another object: no digest has to tell.
        digest = b"" if exact or (fixed and sum(lengths) > LARGE) else digest_of(buffers)
        if digest and digest == cell.digest and not anew:
            self._note_slow(cell, self._ledger.clock.monotonic() - began)
            return
        staged.entries.append(set_entry(cell.number, lengths))
        staged.parts += buffers
        staged.changed.append((cell, lengths, digest, fixed))

    def _note_slow(self, cell: Cell, took: float) -> None:
        if took > _SLOW_ENCODING:
            self._ledger.notices.once(
                f"slow-slot:{cell.slot.name}",
                f"{type(self._ledger.handler).__qualname__}.{cell.slot.name} was only read, and telling that it had not changed "
                f"took {took * 1000:.0f} ms: a slot of a type that cannot change in place (tuples, frozen classes) is compared at no "
                "cost; or split what changes from what does not.",
            )

    def _stage_items(self, staged: Staged, buffer: Buffer[Any]) -> None:
        name = buffer.tail.name
        number = len(self.cells) + list(self.item_codecs).index(name)
        items, ids, wall, leaving = buffer.staged()
        if leaving:
            staged.entries.append(entry("leave", number, leaving))
        skipped = buffer.skipped_ids()
        if skipped:
            staged.entries.append(entry("known", number, skipped))
        if not items:
            return
        try:
            parts = self.item_codecs[name].encode(items)
        except CodecError as error:
            where = f"{type(self._ledger.handler).__qualname__}.{name}"
            raise CodecError(f"{where} holds an item that cannot be committed: {error.message}", error.path) from None
        segment = Segment(len(items), ids, wall, 0, list(map(len, parts)))
        staged.entries.append(segment.entry(number))
        staged.parts += parts
        staged.appended.append((buffer, segment))

    def write(self, staged: Staged, request_id: str, buffers: Sequence[Buffer[Any]]) -> None:
        """
        Writes the record of these changes, where there are any.

        Raises:
            CommitError: It could not be written; the last commit stays valid.
        """
        if not staged.entries:
            return
        number = self.last_commit.number + 1
        written, offset = record(self.generation, number, request_id, self._ledger.tenant, staged.entries, staged.parts)
        if self.table_is_written and not self.backend.lost:
            place = self.backend.append(written)
        else:
            place = self.rewrite(buffers, written, frozenset(cell for cell, *_ in staged.changed))
            self.last_commit.in_doubt = True
        self.last_commit.number = number
        place += offset
        for cell, lengths, _, _ in staged.changed:
            cell.lengths = lengths
            cell.moved(place)
            place += sum(lengths)
        for _, segment in staged.appended:
            segment.place = place
            place += sum(segment.lengths)
        if request_id:
            self.requests.pop(request_id, None)
            self.requests[request_id] = None
            if len(self.requests) > REMEMBERED_REQUESTS:
                del self.requests[next(iter(self.requests))]

    def apply(self, staged: Staged, held: dict[str, Any], deleted: set[str], buffers: Sequence[Buffer[Any]]) -> None:
        """The record is written: it is the last commit now."""
        for cell, value in staged.touched:
            cell.value = value
            name = cell.slot.name
            # A thread may have put another object there meanwhile; that one goes with the next unit.
            left = held.pop(name, MISSING)
            if left is not value and left is not MISSING:
                held.setdefault(name, left)
        for cell, _, digest, fixed in staged.changed:
            cell.digest, cell.fixed = digest, fixed
        if len(staged.touched) > 1:
            self._part(staged)
        if staged.entries:
            self.commits += 1
        if deleted:
            touched = {cell.slot.name for cell, _ in staged.touched}
            for name in deleted - touched:
                self.cells[name].reset()
            deleted.clear()
        for buffer in buffers:
            if buffer.tail.commits:
                self._leave(buffer)
        for buffer, segment in staged.appended:
            self.segments[buffer.tail.name].append(segment)

    def _part(self, staged: Staged) -> None:
        """One object in two slots becomes a copy in the second, as after a reset: a change of the one would else be one of the other."""
        owners: dict[int, Cell] = {}
        for cell, value in staged.touched:
            if owners.setdefault(id(value), cell) is not cell:
                cell.forget()

    def _leave(self, buffer: Buffer[Any]) -> None:
        leaving = buffer.leaving
        if not leaving:
            return
        kept: list[Segment] = []
        for segment in self.segments[buffer.tail.name]:
            gone = min(leaving, segment.count - segment.left)
            segment.left += gone
            leaving -= gone
            if segment.left < segment.count:
                kept.append(segment)
        self.segments[buffer.tail.name] = kept

    # All commits at once

    def rewrite(
        self, buffers: Sequence[Buffer[Any]], last: Sequence[Part] = (), replaced: frozenset[Cell] = frozenset()
    ) -> int:
        """
        Writes all that is committed anew, and `last` behind it, which makes the slots in `replaced` superfluous.

        Returns the place of the last record.

        Raises:
            CommitError: It could not be done; everything is as it was.
        """
        tails = {buffer.tail.name: buffer for buffer in buffers if buffer.tail.commits}
        live = Live(
            self._ledger.identity,
            self._ledger.environment,
            self.generation,
            self.last_commit.number,
            self._ledger.tenant,
            self.table(),
            list(self.requests),
            {name: buffer.flushed_ids() for name, buffer in tails.items()},
        )
        cells = [cell for cell in self.cells.values() if cell not in replaced]
        place = rewrite(self, live, cells, tails, last)
        self.table_is_written = True
        return place

    def compact(self, buffers: Sequence[Buffer[Any]]) -> None:
        """Lets go of outdated commits where most of them are."""
        if is_worth_it(self.backend.size, self.live_bytes):
            try:
                self.rewrite(buffers)
            except CommitError as error:
                self._ledger.notices.once("compaction", f"The journal keeps outdated commits for now: {error}")
