"""Everything that one handler keeps warm, behind one set of verbs: its ledger, its resources, its store."""

from __future__ import annotations

import _thread

from warmstate.errors import DeadlinePassed
from warmstate.warm.resources import freezes
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.context import Context
    from warmstate.handler import StatefulHandler
    from warmstate.instance.closing import ClosingStep
    from warmstate.instance.user_code import UserCode
    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.environment import Environment
    from warmstate.lifecycle.events import Thaw
    from warmstate.lifecycle.marker import LastCommit
    from warmstate.lifecycle.notices import Notices
    from warmstate.warm.budget import MemoryBudget
    from warmstate.warm.commits.adoption import Adoption
    from warmstate.warm.commits.backend import CommitBackend
    from warmstate.warm.commits.unit import Ledger
    from warmstate.warm.resources.resource import ResourcePool
    from warmstate.warm.spill.spill import Spill
    from warmstate.warm.store.store import StateStore

__all__ = ["WarmParts"]

_MEMORY_WITHOUT_LIMIT = 512
"""Megabytes that the store's share is taken of where the platform names no memory size, as in a plain process."""


class WarmParts:
    """
    The warm state of one handler, and the gate that its commits go through.

    A handler that declares nothing has no ledger and no pool, and its invocations pay for neither.
    The store and everything on a disk are made on first use.
    `transactional` says whether anything is committed, so that units of work mean something; `has_tails` whether flushes may
    be due.
    """

    __slots__ = (
        "_budget",
        "_clock",
        "_code",
        "_directory",
        "_environment",
        "_fenced",
        "_gate",
        "_handler",
        "_last_commit",
        "_ledger",
        "_notices",
        "_pool",
        "_refusal",
        "_spill",
        "_store",
        "_tenant",
        "has_resources",
        "has_tails",
        "transactional",
    )

    def __init__(
        self,
        environment: Environment,
        directory: str | None,
        *,
        code: UserCode,
        clock: Clock,
        notices: Notices,
        last_commit: LastCommit | None = None,
        refusal: str = "",
    ) -> None:
        self._environment = environment
        self._directory = directory
        self._last_commit = last_commit
        self._refusal = refusal
        self._code = code
        self._clock = clock
        self._notices = notices
        self._handler: StatefulHandler | None = None
        self._ledger: Ledger | None = None
        self._pool: ResourcePool | None = None
        self._store: StateStore | None = None
        self._spill: Spill | None = None
        self._budget: MemoryBudget | None = None
        self._gate = _thread.allocate_lock()
        self._fenced = False
        self._tenant: str | None = None
        self.transactional = False
        self.has_tails = False
        self.has_resources = False

    def __repr__(self) -> str:
        parts = [repr(part) for part in (self._ledger, self._pool, self._store) if part is not None]
        return f"<WarmParts {', '.join(parts) or 'without anything declared'}>"

    def open(self, handler: StatefulHandler, fence: str) -> Adoption | None:
        """Take charge of a handler that was just made; what the process before committed is in its slots afterwards."""
        self._handler = handler
        declarations = type(handler).__warmstate__
        handler.__dict__["_warmstate_make_store"] = self._make_store
        if declarations.resources:
            from warmstate.warm.resources.resource import ResourcePool

            self._pool = ResourcePool(
                handler, declarations, clock=self._clock, notices=self._notices, call=self._code.call
            )
            self.has_resources = True
        if not declarations.slots and not declarations.tails:
            return None
        from warmstate.warm.commits.unit import Ledger

        declarations.refuse_fields()
        commits = declarations.commits
        self._ledger = ledger = Ledger(
            handler,
            declarations,
            backend=self._journal() if commits else None,
            clock=self._clock,
            notices=self._notices,
            identity=self._identity(handler) if commits else "",
            environment=fence.partition(".")[0],
            spill=self._the_spill,
            budget=self._memory,
            last_commit=self._last_commit,
            call=self._code.call,
        )
        self.has_tails = bool(declarations.tails)
        self.transactional = commits
        return ledger.open()

    def restored(self, fence: str) -> None:
        """A snapshot was restored, in an environment of its own."""
        if self._ledger is not None:
            self._ledger.restored(fence.partition(".")[0])

    # ---- units of work

    def unit(
        self,
        name: str,
        function: Callable[..., object],
        *arguments: object,
        budget: float | None = None,
        context: Context | None = None,
    ) -> None:
        """
        Run the hook `function` as a unit of work: what it changed commits at its end, or rolls back when it raises.

        Raises:
            BaseException: Whatever it raised, after the rollback.
            CommitError: It ended well and the commit failed.
        """
        if not self.transactional:
            self._code.call(function, *arguments, budget=budget, lasting=True)
            return
        self.begin(name)
        try:
            self._code.call(function, *arguments, budget=budget, lasting=True)
            self.commit(context)
        except BaseException:
            self.rollback()
            raise

    def begin(self, name: str) -> None:
        """Begin a unit of work."""
        self._ledger.begin(name)  # type: ignore[union-attr]  # only where `transactional`

    def commit(self, context: Context | None) -> None:
        """
        End the unit of work and commit what it touched; for an invocation, only while its answer can still count.

        Raises:
            DeadlinePassed: Its deadline is over, or the instance is ending under it.
            CommitError: It could not be written.
        """
        with self._gate:
            if context is not None:
                if self._fenced:
                    raise DeadlinePassed("the instance ended while the handler ran: nothing of it is committed")
                if context.deadline_trusted and context.remaining <= 0.0:
                    raise DeadlinePassed("the handler ran until its deadline had passed: nothing of it is committed")
            self._ledger.commit("" if context is None else context.aws_request_id)  # type: ignore[union-attr]  # as above

    def rollback(self) -> None:
        """End the unit of work and put committed slots and reset tails back to the last commit."""
        self._ledger.rollback()  # type: ignore[union-attr]  # as above

    def fence(self) -> None:
        """From now on no running invocation commits; a commit under way ends first."""
        with self._gate:
            self._fenced = True

    def flush_due(self, context: Context, event: object, result: object) -> object:
        """
        Flush each tail that is due; a failing flush keeps its batch.

        Returns `result`, for a batch with the records that must stay with their source because a deferred tail still holds
        their items.
        """
        ledger = self._ledger
        left = context.remaining if context.deadline_trusted else None
        ledger.flush_due(deadline_left=left)  # type: ignore[union-attr]  # as above
        if context.deferred is None:
            return result
        from warmstate.warm.tails.batches import hold_back

        return hold_back(event, result, context.deferred)

    def settle(self, context: Context) -> None:
        """After the answer: let go of resources, measure, spill what is over budget, compact the journal; never raises."""
        try:
            if self._pool is not None:
                self._pool.end(context)
            if self._ledger is not None:
                self._ledger.settle()
            if self._store is not None:
                self._store.settle()
        except BaseException as error:  # noqa: BLE001 - the answer is out, and nothing that was promised is lost
            self._notices.error(
                f"Settling after the answer failed, and is tried again after the next one: {describe(error)}",
                request_id=context.aws_request_id,
            )

    def bind_tenant(self, tenant: str | None) -> None:
        """From now on all state belongs to this tenant."""
        self._tenant = tenant
        if self._ledger is not None:
            self._ledger.bind_tenant(tenant)
        if self._store is not None:
            self._store.bind_tenant(tenant)

    # ---- resources

    def lease(self, context: Context) -> None:
        """The invocation keeps the resources it uses until `settle`."""
        self._pool.begin(context)  # type: ignore[union-attr]  # only where `has_resources`

    def thawed(self, thaw: Thaw) -> None:
        """The instance was frozen: what is open and stale is checked or renewed now."""
        if self._pool is not None:
            self._pool.thawed(thaw)
        else:
            freezes.ended(thaw.frozen_for)

    def close_resources(self, budget: float) -> None:
        """
        Close all resources; they open anew on use.

        Raises:
            TimeoutError: Some had to be cut; it names them.
        """
        if self._pool is None:
            return
        overruns = self._pool.close_all(budget)
        if overruns:
            names = ", ".join(f"{overrun.name} ({overrun.seconds:.3f} s)" for overrun in overruns)
            raise TimeoutError(f"closing took longer than its share and was cut: {names}")

    # ---- the end

    def closing_steps(self, skipped: str | None) -> list[ClosingStep]:
        """What runs at the end of the instance after `before_shutdown`, in order."""
        from warmstate.instance.closing import ClosingStep

        steps: list[ClosingStep] = []
        if self.has_tails:
            steps.append(ClosingStep("flush", self._flush_all, weight=4, skipped=skipped))
        if self._pool is not None:
            steps.append(ClosingStep("close", self.close_resources, weight=2, skipped=skipped))
        return steps

    def _flush_all(self, budget: float) -> None:
        self._ledger.flush_due(deadline_left=budget, shutdown=True)  # type: ignore[union-attr]  # as above

    def close(self) -> None:
        """Close what is ours: the store, its spill and the journal."""
        for part in (self._store, self._spill, self._ledger):
            if part is not None:
                part.close()

    def info(self) -> dict[str, object]:
        """Sizes and counts of everything, as plain values."""
        return {
            **({} if self._ledger is None else self._ledger.info()),
            "resources": {} if self._pool is None else self._pool.info(),
            "store": None if self._store is None else self._store.info(),
        }

    # ---- making the parts

    def _journal(self) -> CommitBackend | None:
        if self._directory is None:
            if not self._refusal:
                return None
            from warmstate.warm.commits.memory_backend import MemoryBackend

            return MemoryBackend(self._refusal)
        from warmstate.warm.commits.journal import Journal

        return Journal(self._directory)

    def _identity(self, handler: StatefulHandler) -> str:
        if self._environment.adopt == "any-code":
            return ""
        from warmstate.instance.code_version import code_version

        return code_version(type(handler), self._environment.function_version)

    def _make_store(self) -> StateStore:
        from warmstate.warm.store.store import StateStore

        self._store = store = StateStore(
            memory_budget=self._memory(), spill=self._the_spill(), clock=self._clock, notices=self._notices
        )
        store.bind_tenant(self._tenant)
        return store

    def _the_spill(self) -> Spill | None:
        if self._spill is None and self._directory is not None:
            from warmstate.warm.spill.spill import Spill

            budget = (self._environment.memory_mb or _MEMORY_WITHOUT_LIMIT) * 1024 * 1024
            self._spill = Spill(self._directory, budget=budget, clock=self._clock, notices=self._notices)
        return self._spill

    def _memory(self) -> MemoryBudget:
        """The one budget that slots, tails and the store share."""
        if self._budget is None:
            from warmstate.warm.budget import MemoryBudget

            self._budget = MemoryBudget(self._memory_bytes())
        return self._budget

    def _memory_bytes(self) -> int:
        assert self._handler is not None  # only the handler's own store asks
        from warmstate.warm.amounts import parse_share

        whole = (self._environment.memory_mb or _MEMORY_WITHOUT_LIMIT) * 1024 * 1024
        return parse_share(self._handler.store_budget, whole)
