"""
Units of work: what one hook, one flush or one invocation does to slots and tails counts whole or not at all.

1. A committed slot is in the handler's `__dict__` exactly while the open unit touches it. A commit compares what it finds there
   with the last commit, writes what changed in one record, and takes it away again (`committing`).
2. Nothing in memory moves before the record is written. If that fails, the unit is still open and `rollback` is what remains.
3. A flush within a unit is a savepoint: if it fails, its own changes go, and the unit goes on (`savepoints`).
4. What an earlier process committed is taken over whole or not at all (`adoption`).
5. What only commits need is imported in `open`, and only where something commits: a handler without committed slots or
   tails starts without it.
"""

from __future__ import annotations

import _thread

from warmstate.errors import CodecError, CommitError, LifecycleError
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.marker import LastCommit
from warmstate.lifecycle.notices import Notices
from warmstate.warm.slot import LEDGER_KEY, MISSING
from warmstate.warm.tails.buffer import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmstate.warm.budget import MemoryBudget
    from warmstate.warm.codecs.codec import Codec
    from warmstate.warm.commits.adoption import Adoption
    from warmstate.warm.commits.backend import CommitBackend
    from warmstate.warm.commits.committing import Committing
    from warmstate.warm.commits.residents import Residents
    from warmstate.warm.commits.savepoints import Savepoint, Savepoints
    from warmstate.warm.declarations import Declarations
    from warmstate.warm.slot import State
    from warmstate.warm.spill.spill import Spill
    from warmstate.warm.tails.flushing import Flushing
    from warmstate.warm.tails.tail import Tail

__all__ = ["Ledger"]


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
        environment: Where it was written: another execution environment never takes it over.
        tenant: Whose state this is, where tenants are kept apart.
        call: Runs a flush method; the instance's runs coroutines too.
        budget: Makes the budget of memory that slots and tails share with the store; None for no bound.
        last_commit: How far commits were when the process before ended, and are now.
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
        environment: str = "",
        tenant: str | None = None,
        call: Callable[..., Any] | None = None,
        budget: Callable[[], MemoryBudget] | None = None,
        last_commit: LastCommit | None = None,
    ) -> None:
        self.handler = handler
        self.declarations = declarations
        self.backend = backend
        self.clock = clock
        self.notices = Notices() if notices is None else notices
        self.identity = identity
        self.environment = environment
        self.tenant = tenant
        self.rollbacks = 0
        self.unit: str | None = None
        self._held: dict[str, Any] = handler.__dict__
        self._lock = _thread.RLock()
        self._loading = _thread.RLock()
        self._committing: Committing | None = None
        self._buffers: list[Buffer[Any]] = []
        self._deleted: set[str] = set()
        self._savepoints: Savepoints | None = None
        self._call = call
        self._flushing: Flushing | None = None
        self._is_gone = False
        self._spill = spill
        self._budget = budget
        self._last_commit = LastCommit() if last_commit is None else last_commit
        self._residents: Residents | None = None
        for tail in declarations.tails.values():
            self._buffers.append(self._make_buffer(tail))
        self._held[LEDGER_KEY] = self

    def __repr__(self) -> str:
        return f"<Ledger of {type(self.handler).__qualname__}, {self._committing}, {self.rollbacks} rollbacks>"

    # The life of a ledger.

    def open(self) -> Adoption | None:
        """
        Builds the codecs of committed slots and tails, and takes over what an earlier process committed.

        Returns what became of that; None for a handler of which nothing commits.

        Raises:
            CodecError: A committed slot or tail has an annotation without a codec, or the handler's `__init__` gave it a value that
                does not fit; the message names it.
            CommitError: What `__init__` set could not be written.
        """
        if not self.declarations.commits:
            return None
        if self.backend is None:
            from warmstate.warm.commits.memory_backend import MemoryBackend

            self.backend = MemoryBackend()
        # All that a commit needs is loaded here: it must not fail for want of a file descriptor.
        from warmstate.warm.commits.adoption import adopt
        from warmstate.warm.commits.committing import Committing

        self._committing = Committing(self, self.backend, self._last_commit)
        adoption = adopt(self._committing, self, self._buffers)
        if adoption.dropped_reason is not None:
            self.notices.warning(f"What an earlier process committed is not taken over: {adoption.dropped_reason}.")
        self.commit()  # what the handler's __init__ set: the first rollback goes back to that
        return adoption

    def close(self) -> None:
        """Lets go of files; what was committed stays."""
        if self.backend is not None:
            self.backend.close()
        if self._residents is not None:
            self._residents.close()

    def restored(self, environment: str) -> None:
        """A snapshot was restored: what was committed before it was left behind, and goes into the next commit."""
        with self._lock:
            self.environment = environment
            if self._committing is not None:
                self._committing.table_is_written = False

    def bind_tenant(self, tenant: str | None) -> None:
        """From now on all state is this tenant's; what was taken over from another is dropped."""
        with self._lock:
            if self.tenant is not None and tenant != self.tenant:
                self.notices.warning("What another tenant's invocations left is dropped.")
                self._drop()
            self.tenant = tenant

    def _drop(self) -> None:
        """Nothing is committed any more: slots go back to their defaults, committed tails are empty."""
        self._drop_slots()
        committing = self._committing
        for place, buffer in enumerate(self._buffers):
            if buffer.tail.commits and committing is not None:
                self._held.pop(buffer.tail.name)
                self._buffers[place] = self._make_buffer(buffer.tail)
                committing.segments[buffer.tail.name] = []
        if committing is not None:
            committing.requests = {}

    def _drop_slots(self) -> None:
        if self._committing is not None:
            for name in self._committing.cells:
                self._held.pop(name, None)
            self._committing.reset_slots()
        self._deleted.clear()

    # What slots and tails ask.

    def load(self, slot: State[Any]) -> Any:
        """The value of a slot that is not in the handler's `__dict__`."""
        name = slot.name
        with self._loading:
            if name in self._held:
                return self._held[name]
            if not slot.commits:
                value = MISSING if self._residents is None else self._residents.load(slot)
                value = slot.initial() if value is MISSING else value
            else:
                value = self._load_committed(slot)
            self._held[name] = value
            return value

    def _load_committed(self, slot: State[Any]) -> Any:
        committing = self._committing
        if committing is None or slot.name in self._deleted:
            return slot.initial()
        cell = committing.cells[slot.name]
        value = MISSING if self._savepoints is None else self._savepoints.load(cell)
        if value is not MISSING:
            return value
        try:
            return cell.load(committing.backend.fetch)
        except CommitError:
            self._is_gone = committing.backend.lost
            raise

    def delete(self, slot: State[Any]) -> None:
        """The slot returns to its default."""
        with self._loading:
            self._held.pop(slot.name, None)
            if slot.commits:
                self._deleted.add(slot.name)
            elif self._residents is not None:
                self._residents.drop(slot.name)

    def buffer(self, tail: Tail[Any]) -> Buffer[Any]:
        """The buffer of a tail."""
        return next(buffer for buffer in self._buffers if buffer.tail is tail)

    # Units of work.

    @property
    def generation(self) -> int:
        """How many processes have committed to this state one after the other, this one included."""
        return 1 if self._committing is None else self._committing.generation

    @property
    def committed_request_ids(self) -> list[str]:
        """The last requests whose work is in a commit, oldest first."""
        return [] if self._committing is None else list(self._committing.requests)

    def begin(self, unit: str) -> None:
        """
        Opens a unit of work.

        Raises:
            LifecycleError: One is open already.
        """
        if self.unit is not None:
            raise LifecycleError(f"{unit} cannot begin a unit of work while that of {self.unit} is open")
        self.unit = unit

    def commit(self, request_id: str = "") -> None:
        """
        Commits what the unit touched and closes it; where nothing changed, nothing is written.

        If it raises, the unit is still open: `rollback` ends it.

        Args:
            request_id: The request that the commit belongs to, so that its redelivery is recognised after a reset.

        Raises:
            CodecError: A slot holds a value that cannot be written; the message names the slot and the path in it.
            CommitError: The commit could not be written; the last one stays valid.
        """
        with self._lock:
            if self._savepoints:
                raise LifecycleError("a commit within a flush: a flush commits with the unit of work around it")
            committing = self._committing
            if committing is not None:
                held, deleted, buffers = self._held, self._deleted, self._buffers
                staged = committing.stage(held, deleted, buffers)
                try:
                    committing.write(staged, request_id, buffers)
                except CommitError as error:
                    self._last_commit.in_doubt = True
                    self._is_gone = getattr(error, "is_final", False)
                    raise
                committing.apply(staged, held, deleted, buffers)
            for buffer in self._buffers:
                buffer.commit()
            self.unit = None

    def rollback(self) -> None:
        """Puts committed slots and tails back to the last commit and closes the unit; memory slots stay as they are."""
        with self._lock:
            if self._committing is not None:
                for name, cell in self._committing.cells.items():
                    self._held.pop(name, None)
                    cell.forget()  # also where the unit did not touch it: slots may share parts
            if self._savepoints is not None:
                self._savepoints.abandon()
            self._deleted.clear()
            for buffer in self._buffers:
                buffer.rollback()
            self.unit = None
            self.rollbacks += 1
            if self._is_gone:
                self._is_gone = False
                self._drop_slots()
                self.notices.error(
                    "Another program took away what was committed, and it is no longer in memory: the slots of "
                    f"{type(self.handler).__qualname__} are back at their defaults. Leave WARMSTATE_TMP/warmstate alone."
                )

    def flush_due(self, *, deadline_left: float | None = None, shutdown: bool = False) -> None:
        """
        Flushes each tail that is due: by count, bytes or age, near the deadline, and whatever waits at shutdown.

        A flush that fails keeps its batch, is told in the log, and is tried again after a pause; this never raises for it.
        Within an open unit of work a flush counts when that commits; else it is a unit of its own.

        Args:
            deadline_left: Seconds until the invocation's deadline, or of the shutdown's budget; None if nothing limits it.
            shutdown: Flush everything that waits, also what failed a moment ago.
        """
        if any(map(len, self._buffers)):
            self._the_flushing().due(self._buffers, deadline_left, shutdown=shutdown)

    def savepoint(self) -> Savepoint:
        """Begins a flush: from here on its changes can be taken back alone."""
        if self._savepoints is None:
            from warmstate.warm.commits.savepoints import Savepoints

            self._savepoints = Savepoints(self._held, self._deleted, self._committing)
        return self._savepoints.begin(self._buffers)

    def release(self, savepoint: Savepoint) -> None:
        """The flush went well: its changes are the unit's."""
        assert self._savepoints is not None
        self._savepoints.release(savepoint)

    def rewind(self, savepoint: Savepoint) -> None:
        """The flush failed: its changes go, the unit's stay."""
        assert self._savepoints is not None
        self._savepoints.rewind(savepoint)

    def settle(self) -> None:
        """After the answer: rewrites a journal that is mostly outdated, and spills what is over the budget. Never raises for disks."""
        with self._lock:
            if self._committing is not None and self.unit is None:
                self._committing.compact(self._buffers)
            if self._residents is None and self._spill is not None and self._budget is not None:
                from warmstate.warm.commits.residents import Residents  # after the first answer: nobody waits for it

                cells = () if self._committing is None else tuple(self._committing.cells.values())
                self._residents = Residents(self, self._spill, self._budget(), cells)
            if self._residents is not None:
                with self._loading:  # a slot that is on its way to the disk is nowhere for a moment
                    self._residents.settle(self._buffers)

    def info(self) -> dict[str, object]:
        """What is warm, as plain values: slots, tails, the journal. Never a value itself."""
        from warmstate.warm.commits.inventory import inventory

        return inventory(self, self._buffers, self._committing, self._residents)

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
        except Unresolved as error:
            raise CodecError(f"{owner.__qualname__}.{name} cannot be written: {error}") from None
        except CodecError as error:
            raise CodecError(f"{owner.__qualname__}.{name} cannot be written: {error.message}", error.path) from None

    def _make_buffer(self, tail: Tail[Any]) -> Buffer[Any]:
        buffer: Buffer[Any] | None = self._held.get(tail.name)
        if buffer is None:
            buffer = self._held[tail.name] = Buffer(tail, self.handler, clock=self.clock, flush=self._flush_now)
        else:
            buffer.attach(self.clock, self._flush_now)  # the handler's __init__ appended to it, and may have kept it
        return buffer

    def _flush_now(self, buffer: Buffer[Any]) -> None:
        self._the_flushing().now(buffer)

    def _the_flushing(self) -> Flushing:
        if self._flushing is None:
            from warmstate.warm.tails.flushing import Flushing

            self._flushing = Flushing(self, self._call)
        return self._flushing
