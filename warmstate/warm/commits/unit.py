"""
Units of work: what one hook, one flush or one invocation does to slots and tails counts whole or not at all.

1. A committed slot is in the handler's `__dict__` exactly while the open unit touches it. A commit compares what it finds there
   with the last commit, writes what changed in one record, and takes it away again.
2. Nothing in memory moves before the record is written. If that fails, the unit is still open and `rollback` is what remains.
3. A flush within a unit is a savepoint: if it fails, its own changes go, and the unit goes on.
4. What an earlier process committed is taken over whole or not at all.
5. What only commits need is imported in `open`, and only where something commits: a handler without committed slots or
   tails starts without it. Later imports of the same names find them loaded.
"""

from __future__ import annotations

import _thread

from warmstate.errors import CodecError, CommitError, LifecycleError
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm.commits.memory_backend import MemoryBackend
from warmstate.warm.slot import LEDGER_KEY, MISSING
from warmstate.warm.tails.buffer import Buffer
from warmstate.warm.tails.flushing import Flushing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmstate.lifecycle.events import Thaw
    from warmstate.warm.codecs.codec import Codec
    from warmstate.warm.commits.adoption import Adoption
    from warmstate.warm.commits.backend import CommitBackend
    from warmstate.warm.commits.commit_log import Segment
    from warmstate.warm.commits.committed import Cell
    from warmstate.warm.commits.residents import Residents
    from warmstate.warm.declarations import Declarations
    from warmstate.warm.slot import State
    from warmstate.warm.spill.spill import Spill
    from warmstate.warm.tails.tail import Tail

__all__ = ["Ledger", "Savepoint"]

_LARGE = 4096
"""Bytes from which on a digest costs more than a write that it may save."""
_SLOW_ENCODING = 0.005
"""Seconds of encoding, for a value that had not changed, from which on the user is told once."""


class Savepoint:
    """What the open unit had touched when a flush within it began; `copies` are of what the flush may change in place."""

    __slots__ = ("copies", "deleted", "marks", "values")

    def __init__(self, values: dict[str, Any], deleted: set[str], marks: list[tuple[Buffer[Any], Any]]) -> None:
        self.values = values
        self.deleted = deleted
        self.marks = marks
        self.copies: dict[str, list[bytes]] = {}


class Ledger:
    """
    The slots and tails of one handler object: touched, committed, rolled back and taken over together.

    Args:
        handler: The user's object; one ledger has it for life.
        declarations: What its class declares.
        backend: Where commits go; None keeps committed slots in memory only, with the same rules.
        clock: Tells ages and pauses.
        notices: Hears what the user should know.
        spill: Opens the scratch space for memory slots and tails over `budget`; None keeps everything in memory.
        identity: What wrote the state: code of another identity never takes it over.
        tenant: Whose state this is, where tenants are kept apart.
        call: Runs a flush method; the instance's runs coroutines too.
        budget: Tells the bytes that memory slots and tails may keep resident now, where there is a spill.
    """

    def __init__(
        self,
        handler: object,
        declarations: Declarations,
        *,
        backend: CommitBackend | None = None,
        clock: Clock = SYSTEM_CLOCK,
        notices: Notices | None = None,
        spill: Callable[[], Spill | None] | None = None,
        identity: str = "",
        tenant: str | None = None,
        call: Callable[..., Any] | None = None,
        budget: Callable[[], int] | None = None,
    ) -> None:
        self.handler = handler
        self.declarations = declarations
        self.backend: CommitBackend = MemoryBackend() if backend is None else backend
        self.clock = clock
        self.notices = Notices() if notices is None else notices
        self.identity = identity
        self.tenant = tenant
        self.generation = 1
        self.requests: list[str] = []
        self.segments: dict[str, list[Segment]] = {}
        self.table_is_written = False
        self.commits = 0
        self.rollbacks = 0
        self.unit: str | None = None
        self._held: dict[str, Any] = handler.__dict__
        self._lock = _thread.RLock()
        self._loading = _thread.RLock()
        self._cells: dict[str, Cell] = {}
        self._item_codecs: dict[str, Codec[Any]] = {}
        self._buffers: list[Buffer[Any]] = []
        self._deleted: set[str] = set()
        self._savepoints: list[Savepoint] = []
        self._flushing = Flushing(self, call)
        self._is_worth_it: Callable[[int, Callable[[], int]], bool] | None = None
        self._spill = spill
        self._budget = budget
        self._residents: Residents | None = None
        for tail in declarations.tails.values():
            self._buffers.append(self._make_buffer(tail))
        self._held[LEDGER_KEY] = self

    def __repr__(self) -> str:
        return f"<Ledger of {type(self.handler).__qualname__}: {self.commits} commits, {self.rollbacks} rollbacks>"

    # The life of a ledger.

    def open(self) -> Adoption | None:
        """
        Builds the codecs of committed slots and tails, and takes over what an earlier process committed.

        Returns what became of that; None for a handler of which nothing commits.

        Raises:
            CodecError: A committed slot or tail has an annotation without a codec; the message names it.
        """
        if not self.declarations.commits:
            return None
        # All that a commit needs is loaded here: it must not fail for want of a file descriptor.
        from warmstate.warm.commits.adoption import adopt
        from warmstate.warm.commits.committed import Cell
        from warmstate.warm.commits.compaction import is_worth_it

        self._is_worth_it = is_worth_it

        for slot in self.declarations.slots.values():
            if slot.commits:
                self._cells[slot.name] = Cell(len(self._cells), slot, self.codec_of(slot.name))
        for tail in self.declarations.tails.values():
            if tail.commits:
                self._item_codecs[tail.name] = self.codec_of(tail.name, items=True)
                self.segments[tail.name] = []
        adoption = adopt(
            self, self.backend, self._cells, {buffer.tail.name: buffer for buffer in self._buffers}, self._item_codecs
        )
        if adoption.dropped_reason is not None:
            self.notices.warning(f"What an earlier process committed is not taken over: {adoption.dropped_reason}.")
        return adoption

    def close(self) -> None:
        """Lets go of files; what was committed stays."""
        self.backend.close()
        if self._residents is not None:
            self._residents.close()

    def bind_tenant(self, tenant: str | None) -> None:
        """From now on all state is this tenant's; what was taken over from another is dropped."""
        with self._lock:
            if self.tenant is not None and tenant != self.tenant:
                self.notices.warning("What another tenant's invocations left is dropped.")
                self.drop()
            self.tenant = tenant

    def drop(self) -> None:
        """Nothing is committed any more: slots go back to their defaults, committed tails are empty."""
        for name, cell in self._cells.items():
            self._held.pop(name, None)
            cell.reset()
        for buffer in self._buffers:
            if buffer.tail.commits:
                fresh = self._make_buffer(buffer.tail)
                self._buffers[self._buffers.index(buffer)] = fresh
                self.segments[buffer.tail.name] = []
        self._deleted.clear()
        self.requests = []
        self.table_is_written = False

    # What slots and tails ask.

    def load(self, slot: State[Any]) -> Any:
        """The value of a slot that is not in the handler's `__dict__`."""
        name = slot.name
        with self._loading:
            if name in self._held:
                return self._held[name]
            cell = self._cells.get(name)
            if cell is None:
                value = MISSING if self._residents is None else self._residents.load(slot)
                value = slot.initial() if value is MISSING else value
            elif name in self._deleted:
                value = slot.initial()
            else:
                value = self._load_committed(cell)
            self._held[name] = value
            return value

    def delete(self, slot: State[Any]) -> None:
        """The slot returns to its default."""
        with self._loading:
            self._held.pop(slot.name, None)
            if slot.name in self._cells:
                self._deleted.add(slot.name)
            elif self._residents is not None:
                self._residents.drop(slot.name)

    def buffer(self, tail: Tail[Any]) -> Buffer[Any]:
        """The buffer of a tail."""
        return next(buffer for buffer in self._buffers if buffer.tail is tail)

    # Units of work.

    @property
    def committed_request_ids(self) -> list[str]:
        """The last requests whose work is in a commit, oldest first."""
        return list(self.requests)

    def begin(self, unit: str) -> None:
        """
        Opens a unit of work.

        Raises:
            LifecycleError: One is open already.
        """
        if self.unit is not None:
            raise LifecycleError(f"{unit} cannot begin a unit of work while that of {self.unit} is open")
        self.unit = unit

    def commit(self, request_id: str = "", *, before: Callable[[], None] | None = None) -> None:
        """
        Commits what the unit touched and closes it; where nothing changed, nothing is written.

        If it raises, the unit is still open: `rollback` ends it.

        Args:
            request_id: The request that the commit belongs to, so that its redelivery is recognised after a reset.
            before: Called last before anything is written; what it raises stops the commit.

        Raises:
            CodecError: A slot holds a value that cannot be written; the message names the slot and the path in it.
            CommitError: The commit could not be written; the last one stays valid.
        """
        with self._lock:
            if self._savepoints:
                raise LifecycleError("a commit within a flush: a flush commits with the unit of work around it")
            if not self._deleted and self._held.keys().isdisjoint(self._cells) and not self._buffers_changed():
                if before is not None:
                    before()
                self.unit = None
                return
            entries: list[Any] = []
            parts: list[Any] = []
            changed: list[tuple[Cell, Any, list[int], bytes]] = []
            for name, cell in self._cells.items():
                if name in self._held:
                    self._stage(cell, self._held[name], entries, parts, changed)
                elif name in self._deleted and cell.place is not None:
                    entries.append(["reset", cell.number])
            added = self._stage_tails(entries, parts)
            if before is not None:
                before()
            if entries:
                self._write(request_id, entries, parts, changed, added)
            self._apply(changed)
            self.unit = None

    def rollback(self) -> None:
        """Puts committed slots and tails back to the last commit and closes the unit; memory slots stay as they are."""
        with self._lock:
            for name, cell in self._cells.items():
                if self._held.pop(name, MISSING) is not MISSING:
                    cell.forget()
            for savepoint in self._savepoints:
                for name in savepoint.values:
                    self._cells[name].forget()
            self._savepoints.clear()
            self._deleted.clear()
            for buffer in self._buffers:
                buffer.rollback()
            self.unit = None
            self.rollbacks += 1

    def flush_due(
        self, *, deadline_left: float | None = None, thaw: Thaw | None = None, shutdown: bool = False
    ) -> None:
        """
        Flushes each tail that is due: by count, bytes or age, near the deadline, and whatever waits at shutdown.

        A flush that fails keeps its batch, is told in the log, and is tried again after a pause; this never raises for it.
        Within an open unit of work a flush counts when that commits; else it is a unit of its own.

        Args:
            deadline_left: Seconds until the invocation's deadline, or of the shutdown's budget; None if nothing limits it.
            thaw: The freeze the instance just came back from; ages count the frozen time.
            shutdown: Flush everything that waits, also what failed a moment ago.
        """
        if any(map(len, self._buffers)):
            self._flushing.due(self._buffers, deadline_left, shutdown=shutdown)

    def savepoint(self) -> Savepoint:
        """Begins a flush: from here on its changes can be taken back alone."""
        touched = {name: self._held.pop(name) for name in self._cells if name in self._held}
        savepoint = Savepoint(touched, set(self._deleted), [(buffer, buffer.mark()) for buffer in self._buffers])
        self._deleted.difference_update(touched)
        self._savepoints.append(savepoint)
        return savepoint

    def release(self, savepoint: Savepoint) -> None:
        """The flush went well: its changes are the unit's."""
        self._savepoints.remove(savepoint)
        for name, value in savepoint.values.items():
            if name not in self._deleted:
                self._held.setdefault(name, value)

    def rewind(self, savepoint: Savepoint) -> None:
        """The flush failed: its changes go, the unit's stay."""
        self._savepoints.remove(savepoint)
        for name, cell in self._cells.items():
            if self._held.pop(name, MISSING) is not MISSING and name not in savepoint.values:
                cell.forget()
        for name, copy in savepoint.copies.items():
            value = self._cells[name].codec.decode(copy)
            for outer in (savepoint, *self._savepoints):
                if name in outer.values:
                    outer.values[name] = value
        self._held.update(savepoint.values)
        self._deleted = savepoint.deleted - savepoint.values.keys()
        for buffer, mark in savepoint.marks:
            buffer.rewind(mark)

    def settle(self) -> None:
        """After the answer: rewrites a journal that is mostly outdated, and spills what is over the budget. Never raises for disks."""
        with self._lock:
            outdated = self._is_worth_it
            if outdated is not None and self.unit is None and outdated(self.backend.size, self._live_bytes):
                try:
                    self._rewrite()
                except CommitError as error:
                    self.notices.once("compaction", f"The journal keeps outdated commits for now: {error}")
            if self._residents is None and self._spill is not None and self._budget is not None:
                from warmstate.warm.commits.residents import Residents  # after the first answer: nobody waits for it

                self._residents = Residents(self, self._spill, self._budget)
            if self._residents is not None:
                self._residents.settle(self._buffers)

    def info(self) -> dict[str, object]:
        """What is warm, as plain values: slots, tails, the journal. Never a value itself."""
        slots: dict[str, object] = {}
        for name, slot in self.declarations.slots.items():
            cell = self._cells.get(name)
            away = self._residents is not None and self._residents.holds(name)
            slots[name] = {
                "survives": slot.survives,
                "schema": slot.schema,
                "pinned": slot.pin,
                "secret": slot.secret,
                "touched": name in self._held,
                "spilled": away,
                "committed_bytes": None if cell is None else sum(cell.lengths) if cell.place is not None else 0,
            }
        tails: dict[str, object] = {
            buffer.tail.name: {
                "survives": buffer.tail.survives,
                "items": len(buffer),
                "bytes": buffer.nbytes,
                "age": round(buffer.age(), 3),
                "max_items": buffer.tail.max_items,
                "max_bytes": buffer.max_bytes,
                "max_age": buffer.tail.max_age,
                "flushes": buffer.flushes,
                "failures_in_a_row": buffer.failures,
                "spilled_items": buffer.away,
            }
            for buffer in self._buffers
        }
        return {
            "slots": slots,
            "tails": tails,
            "generation": self.generation,
            "commits": self.commits,
            "rollbacks": self.rollbacks,
            "journal_bytes": self.backend.size,
            "live_bytes": self._live_bytes(),
        }

    # How it is done.

    def codec_of(self, name: str, *, items: bool = False) -> Codec[Any]:
        """The codec of a slot, or of a list of a tail's items."""
        from warmstate.warm.annotations import Unresolved, annotation_of, argument_of
        from warmstate.warm.codecs.codec import codec_for

        owner = self.declarations.owners[name]
        around = self.declarations.locals.get(owner, {})
        try:
            held = argument_of(annotation_of(owner, name, around), owner, around)
            return codec_for(list[held] if items else held, owner, around)  # type: ignore[valid-type]  # a type known at run time
        except (Unresolved, CodecError) as error:
            raise CodecError(f"{owner.__qualname__}.{name} cannot be written: {error}") from None

    def table(self) -> list[list[Any]]:
        """Everything committed, in the order that numbers in records mean: slots first, then tails."""
        slots = [[name, "slot", cell.slot.schema, cell.codec.shape] for name, cell in self._cells.items()]
        return slots + [[name, "tail", 1, codec.shape] for name, codec in self._item_codecs.items()]

    def encode_cell(self, cell: Cell, value: Any) -> list[Any]:
        """A slot's value as buffers, with the slot's name in every error."""
        try:
            return cell.codec.encode(value)
        except CodecError as error:
            where = f"{type(self.handler).__qualname__}.{cell.slot.name}"
            raise CodecError(f"{where} cannot be committed: {str(error).partition(': ')[2]}", error.path) from None

    def _make_buffer(self, tail: Tail[Any]) -> Buffer[Any]:
        early = self._held.get(tail.name)
        buffer: Buffer[Any] = Buffer(tail, self.handler, clock=self.clock, flush=self._flushing.now)
        if early is not None:
            buffer.extend(early)  # what the handler's __init__ appended
        self._held[tail.name] = buffer
        return buffer

    def _load_committed(self, cell: Cell) -> Any:
        from warmstate.warm.commits.committed import is_fixed

        name = cell.slot.name
        for savepoint in reversed(self._savepoints):
            if name in savepoint.values:
                value = savepoint.values[name]
                top = self._savepoints[-1]
                if name not in top.copies and not is_fixed(value):
                    top.copies[name] = [bytes(buffer) for buffer in self.encode_cell(cell, value)]
                return value
        return cell.load(self._fetch)

    def _fetch(self, place: int, length: int) -> bytes:
        return self.backend.fetch(place, length)

    def _stage(self, cell: Cell, value: Any, entries: list[Any], parts: list[Any], changed: list[Any]) -> None:
        if cell.fixed and value is cell.value and cell.slot.name not in self._deleted:
            return
        from warmstate.warm.commits.committed import digest_of, is_fixed

        began = self.clock.monotonic()
        buffers = self.encode_cell(cell, value)
        # A large object that cannot change in place is another value by being another object: no digest has to tell.
        large = sum(map(len, buffers)) > _LARGE
        digest = b"" if large and is_fixed(value) else digest_of(buffers)
        if digest and digest == cell.digest and cell.slot.name not in self._deleted:
            took = self.clock.monotonic() - began
            if took > _SLOW_ENCODING:
                self.notices.once(
                    f"slow-slot:{cell.slot.name}",
                    f"{type(self.handler).__qualname__}.{cell.slot.name} was only read, and telling that it had not changed took "
                    f"{took * 1000:.0f} ms: a slot of a type that cannot change in place (tuples, frozen classes) is compared at no cost; "
                    "or split what changes from what does not.",
                )
            return
        lengths = [len(buffer) for buffer in buffers]
        entries.append(["set", cell.number, lengths])
        parts.extend(buffers)
        changed.append((cell, value, lengths, digest))

    def _stage_tails(self, entries: list[Any], parts: list[Any]) -> list[tuple[Buffer[Any], Segment]]:
        added: list[tuple[Buffer[Any], Segment]] = []
        if not self._item_codecs:
            return added
        from warmstate.warm.commits.commit_log import Segment

        for number, (name, codec) in enumerate(self._item_codecs.items(), len(self._cells)):
            buffer = next(known for known in self._buffers if known.tail.name == name)
            if not buffer.changed():
                continue
            items, ids, wall, leaving = buffer.staged()
            if leaving:
                entries.append(["leave", number, leaving])
            skipped = buffer.skipped_ids()
            if skipped:
                entries.append(["known", number, skipped])
            if not items:
                continue
            try:
                buffers = codec.encode(items)
            except CodecError as error:
                where = f"{type(self.handler).__qualname__}.{name}"
                raise CodecError(
                    f"{where} holds an item that cannot be committed: {str(error).partition(': ')[2]}", error.path
                ) from None
            lengths = [len(part) for part in buffers]
            has_ids = any(id is not None for id in ids)
            entries.append(["append", number, len(items), ids if has_ids else None, wall, lengths])
            parts.extend(buffers)
            added.append((buffer, Segment(len(items), ids, wall, 0, lengths)))
        return added

    def _write(
        self,
        request_id: str,
        entries: list[Any],
        parts: list[Any],
        changed: list[tuple[Cell, Any, list[int], bytes]],
        added: list[tuple[Buffer[Any], Segment]],
    ) -> None:
        from warmstate.warm.commits.commit_log import REMEMBERED_REQUESTS, record

        backend = self.backend
        if backend.lost or not self.table_is_written:
            self._rewrite()
        written, offset = record(self.generation, request_id, self.tenant, entries, parts)
        place = backend.append(written) + offset
        places = {cell.number: lengths for cell, _, lengths, _ in changed}
        segments = {id(segment): segment for _, segment in added}
        queue = iter(segments.values())
        for entry in entries:
            if entry[0] == "set":
                cell = next(known for known in self._cells.values() if known.number == entry[1])
                cell.place, cell.lengths = place, places[entry[1]]
                place += sum(cell.lengths)
            elif entry[0] == "append":
                segment = next(queue)
                segment.place = place
                place += sum(segment.lengths)
        for buffer in self._buffers:
            if buffer.tail.commits:
                self._leave(buffer)
        for buffer, segment in added:
            self.segments[buffer.tail.name].append(segment)
        if request_id:
            self.requests = [*(known for known in self.requests if known != request_id), request_id][
                -REMEMBERED_REQUESTS:
            ]

    def _leave(self, buffer: Buffer[Any]) -> None:
        leaving = buffer.leaving
        kept: list[Segment] = []
        for segment in self.segments[buffer.tail.name]:
            gone = min(leaving, segment.count - segment.left)
            segment.left += gone
            leaving -= gone
            if segment.left < segment.count:
                kept.append(segment)
        self.segments[buffer.tail.name] = kept

    def _apply(self, changed: list[tuple[Cell, Any, list[int], bytes]]) -> None:
        if changed:
            from warmstate.warm.commits.committed import is_fixed

            for cell, value, _, digest in changed:
                cell.value, cell.digest, cell.fixed = value, digest, is_fixed(value)
        for name, cell in self._cells.items():
            value = self._held.get(name, MISSING)
            if value is not MISSING:
                cell.value = value
                # A thread may have put another object there meanwhile; that one goes with the next unit.
                if self._held.get(name, MISSING) is value:
                    del self._held[name]
            elif name in self._deleted:
                cell.reset()
        self._deleted.clear()
        for buffer in self._buffers:
            buffer.commit()
        if changed:
            self.commits += 1

    def _buffers_changed(self) -> bool:
        return any(buffer.changed() for buffer in self._buffers)

    def _live_bytes(self) -> int:
        cells = sum(sum(cell.lengths) for cell in self._cells.values())
        return cells + sum(sum(segment.lengths) for segments in self.segments.values() for segment in segments)

    def _rewrite(self) -> None:
        from warmstate.warm.commits.compaction import Live, rewrite

        known = {buffer.tail.name: buffer.flushed_ids() for buffer in self._buffers if buffer.tail.commits}
        live = Live(self.identity, self.generation, self.tenant, self.table(), self.requests, known)
        rewrite(self.backend, live, self._cells, self.segments, self.encode_cell)
        self.table_is_written = True
