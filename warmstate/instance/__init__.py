"""
One instance: the user's handler in one process, from init to shutdown.

How a single invocation runs is in `serving`, how the end runs in `closing`; the order of everything is the published table
`warmstate.instance.hooks.SEQUENCE`.
"""

from __future__ import annotations

from _contextvars import copy_context

from warmstate._typing import cast
from warmstate.context import Context, current
from warmstate.errors import HandlerNotFound
from warmstate.handler import StatefulHandler
from warmstate.instance.answer import Answer
from warmstate.instance.deliveries import Deliveries
from warmstate.instance.serving import Serving
from warmstate.instance.thawing import Thawing
from warmstate.instance.user_code import UserCode
from warmstate.instance.warm_parts import WarmParts
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmstate.handler import Concurrency
    from warmstate.instance.closing import ClosingStep, ShutdownReport
    from warmstate.lifecycle.environment import Environment
    from warmstate.lifecycle.events import Init, Shutdown, Thaw
    from warmstate.lifecycle.marker import LastCommit
    from warmstate.wire.runtime_api import Invocation

__all__ = ["Answer", "Instance"]

_CLOSE_SECONDS = 2.0
"""How long closing resources may take where no platform limit is near: after a failed init, before a snapshot."""
_NO_OVERLAP = 'the handler is still busy, and concurrency = "serial" promises that nothing runs beside it'


class Instance:
    """
    The user's handler, its warm state, and the steps of its life; a host drives it.

    Call `init` once, then `invoke` and `finish` for each invocation, and `shutdown` at the end.
    With `AWS_LAMBDA_MAX_CONCURRENCY` several threads may call `invoke` and `finish` at once, whatever the class allows.

    Args:
        target: A `StatefulHandler` subclass, or any callable `(event, context)` of the stock runtime.
        environment: The facts of the execution environment.
        directory: Where commits and spill go; None keeps everything in memory.
        last_commit: How far the commits there are, by the marker; None where nobody tells.
        refusal: Why there is no directory although there should be one: then what must be committed fails its invocation.
        clock: Moves deadlines and expiry; a fake one in tests.
        notices: Receives what the runtime has to say.
    """

    def __init__(
        self,
        target: type[StatefulHandler] | Callable[[Any, Context], object],
        environment: Environment,
        *,
        directory: str | None = None,
        last_commit: LastCommit | None = None,
        refusal: str = "",
        clock: Clock = SYSTEM_CLOCK,
        notices: Notices | None = None,
    ) -> None:
        self._environment = environment
        self._clock = clock
        self._notices = notices = Notices() if notices is None else notices
        self._target = target
        cls: type[StatefulHandler] | None = None
        if isinstance(target, type) and issubclass(target, StatefulHandler):
            cls = target
        self._class = cls
        self._handler: StatefulHandler | None = None
        self._warned: set[Context] = set()
        self.concurrency: Concurrency = "serial" if cls is None else cls.concurrency
        many = environment.max_concurrency is not None and environment.max_concurrency > 1
        self._code = UserCode(on_loop=self.concurrency == "async", standing=many)
        self._warm = WarmParts(
            environment,
            directory,
            code=self._code,
            clock=clock,
            notices=notices,
            last_commit=last_commit,
            refusal=refusal,
        )
        self._serving = Serving(
            cast("Callable[[Any, Context], object]", target),  # of a class, until init puts its handle there
            environment,
            code=self._code,
            warm=self._warm,
            clock=clock,
            notices=notices,
            in_turn=many and self.concurrency == "serial",
        )

    def __repr__(self) -> str:
        phase = "ended" if self._serving.ended else f"{self._serving!r}"
        return f"<Instance of {self.name}, generation {self._serving.begun.generation}, {phase}>"

    @property
    def name(self) -> str:
        """The module and qualified name of the handler class or function."""
        target = self._target
        return f"{getattr(target, '__module__', '?')}.{getattr(target, '__qualname__', type(target).__name__)}"

    @property
    def handler(self) -> StatefulHandler | None:
        """The handler object, for tests that look at its state; None for a plain function, and before init."""
        return self._handler

    @property
    def in_flight(self) -> list[Context]:
        """The contexts of the invocations whose handler runs now."""
        return list(self._serving.running)

    @property
    def heeds_acceptance(self) -> bool:
        """Whether `finish` does something that depends on `accepted`: the handler has an `after_response`."""
        return self._serving.after_response is not None

    def init(self, init: Init, *, interrupted: str | None = None) -> None:
        """
        Make the handler, adopt what the process before committed, and run `on_init`.

        Args:
            init: How this instance begins.
            interrupted: The request id that the process before was busy with when it ended, if the host knows one.

        Raises:
            BaseException: Whatever the user's code raised; nothing is left half open.
        """
        scope = copy_context()
        scope.run(self._begin, init, interrupted)
        self._serving.scope = scope
        self._write_inspection()

    def _begin(self, init: Init, interrupted: str | None) -> None:
        cls = self._class
        serving = self._serving
        deliveries = Deliveries()
        if cls is not None:
            if cls.handle is StatefulHandler.handle:
                raise HandlerNotFound(
                    f"{self.name} has no method handle(self, event, context): write one, it answers the events"
                )
            handler = self._handler = cls()
            serving.handle = handler.handle
            try:
                adoption = self._warm.open(handler, init.fence)
                if adoption is not None:
                    serving.tenant = adoption.tenant
                    deliveries.adopt(adoption.last_request_ids)
                if cls.on_init is not StatefulHandler.on_init:
                    self._warm.unit("on_init", handler.on_init, init)
            except BaseException:
                self._undo_init()
                raise
            if cls.on_thaw is not StatefulHandler.on_thaw:
                serving.thawing = Thawing(handler.on_thaw, self._warm, self._clock, self._notices)
            if cls.after_response is not StatefulHandler.after_response:
                serving.after_response = handler.after_response
        if interrupted:
            deliveries.interrupted(interrupted)
        serving.begin(init, deliveries)

    def _undo_init(self) -> None:
        try:
            self._warm.close_resources(_CLOSE_SECONDS)
        except BaseException as error:  # noqa: BLE001 - why init failed is the news, and is on its way
            self._notices.error(f"Closing the resources after a failed init did not end well: {describe(error)}")
        finally:
            self.abandon()

    def invoke(self, invocation: Invocation, *, thaw: Thaw | None = None) -> Answer:
        """
        Serve one invocation up to its answer; never raises.

        Post the answer's `outcome` and then call `finish` with it, always and for every answer.

        Args:
            invocation: What `next` handed over.
            thaw: The freeze that ended just before, as far as the host measured one; `WARMSTATE_THAW_AFTER` decides here
                whether it counts.
        """
        return self._serving.invoke(invocation, thaw)

    def watch(self, look: Callable[[], object]) -> None:
        """Call `look` from now on each time right before the user's `handle`, in its unit of work: for tests."""
        self._serving.watch(look)

    def froze(self, thaw: Thaw) -> None:
        """A freeze ended, and no invocation followed it: the next one is told."""
        self._serving.froze(thaw)

    def finish(self, answer: Answer, *, accepted: bool = True) -> None:
        """
        End an invocation whose outcome was posted: `after_response`, then spill and compact; never raises.

        Args:
            answer: What `invoke` returned.
            accepted: False when the platform refused the answer as too late (410): then `after_response` does not run.
        """
        self._serving.finish(answer, accepted)
        if self._warned:
            self._warned.discard(answer.context)
        self._write_inspection()

    def shutdown(
        self,
        shutdown: Shutdown,
        *,
        overlapping: bool = False,
        finished: Callable[[ShutdownReport], object] | None = None,
    ) -> ShutdownReport:
        """
        Run the last steps: `before_shutdown`, flush the tails, close the resources; each has its share, overruns are named.

        Args:
            shutdown: Why it ends and how long it may take.
            overlapping: True when a handler still runs on another thread; then nothing of its invocation will commit, and
                user code runs only where the class allows overlap.
            finished: Called once with the report when all is over. Where a step hangs, that is on another thread and this call
                does not return, so a host ends its process there.
        """
        from warmstate.instance.closing import ClosingStep, run_steps

        if overlapping:
            self._warm.fence()
        steps: list[ClosingStep] = []
        handler = self._handler
        if handler is not None and not self._serving.ended:
            why_not = _NO_OVERLAP if overlapping and self.concurrency == "serial" else None
            if type(handler).before_shutdown is not StatefulHandler.before_shutdown:
                hook = handler.before_shutdown
                steps.append(
                    ClosingStep(
                        "before_shutdown",
                        lambda budget: self._warm.unit("before_shutdown", hook, shutdown, budget=budget),
                        weight=3,
                        skipped=why_not,
                    )
                )
            steps += self._warm.closing_steps(why_not)
        self._serving.ended = True

        def all_over(report: ShutdownReport) -> None:
            if not overlapping and report.clean:
                self._let_go()
            for step in report.steps:
                if step.outcome != "done":
                    self._notices.warning(f"shutdown: {step.name} {step.outcome}: {step.detail}")
            if finished is not None:
                finished(report)

        return self._serving.scope.copy().run(run_steps, steps, shutdown, self._clock, all_over)

    def abandon(self) -> None:
        """Let go of files and of the event loop, and run nothing of the user's: for a host whose process is gone or never was."""
        self._serving.ended = True
        self._warm.close()
        self._code.abandon()

    def _let_go(self) -> None:
        try:
            self._code.close()
        except BaseException as error:  # noqa: BLE001 - a task that ignores its end must not keep the process
            self._notices.warning(f"shutdown: the event loop did not end well: {describe(error)}")
        self._warm.close()

    def before_timeout(self) -> None:
        """
        Run the hook of that name, once, for each invocation that runs now; never raises.

        The host's watcher calls it shortly before a deadline, on its own thread, beside the handler.
        """
        handler = self._handler
        if handler is None or type(handler).before_timeout is StatefulHandler.before_timeout:
            return
        for context in self._serving.running - self._warned:
            self._warned.add(context)
            scope = self._serving.scope.copy()
            try:
                scope.run(current.set, context)
                # Not a unit of work: the handler's is open, and what this hook changes goes with it.
                scope.run(self._code.call, handler.before_timeout, context, budget=context.remaining)
            except BaseException as error:  # noqa: BLE001 - the handler that it runs beside goes on
                self._notices.error(f"before_timeout failed: {describe(error)}", request_id=context.aws_request_id)

    def before_snapshot(self, *, registered: bool = True) -> None:
        """
        Prepare for a snapshot: run the registered hooks, and close the resources, which must not be cloned.

        Args:
            registered: False where the platform's own client runs what is registered with `snapshot_restore_py`.

        Raises:
            BaseException: Whatever such a hook raised.
        """
        from warmstate.instance.snapshot import before_snapshot

        if registered:
            self._serving.scope.run(before_snapshot, self._code.call)
        self._warm.close_resources(_CLOSE_SECONDS)

    def after_restore(self, init: Init, *, registered: bool = True) -> None:
        """
        Begin anew in a clone of the snapshot, of which there may be many.

        Args:
            init: How the clone begins.
            registered: As for `before_snapshot`.

        Raises:
            BaseException: Whatever such a hook raised.
        """
        from warmstate.instance.snapshot import after_restore, seed_anew

        self._serving.begin(init, Deliveries())
        seed_anew()
        self._warm.restored(init.fence)
        if registered:
            self._serving.scope.run(after_restore, self._code.call)
        self._write_inspection()

    def inspect(self) -> dict[str, object]:
        """What this instance holds, as plain values that JSON can carry: sizes and counts, never the user's data."""
        serving = self._serving
        return {
            "handler": self.name,
            "concurrency": self.concurrency,
            "start": serving.begun.start,
            "generation": serving.begun.generation,
            "reset_reason": serving.begun.reset_reason,
            "invocations": serving.invocations,
            "failures": serving.failures,
            "running": [context.aws_request_id for context in serving.running],
            "ended": serving.ended,
            **self._warm.info(),
        }

    def _write_inspection(self) -> None:
        path = self._environment.inspect
        if path is None:
            return
        from warmstate.instance.inspection import write

        try:
            write(path, self.inspect())
        except OSError as error:
            self._notices.once("inspect", f"WARMSTATE_INSPECT={path} cannot be written: {error}")
