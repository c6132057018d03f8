"""
The custom runtime: one process, its instance, and the loop that feeds it.

    next → invoke → post → finish → next

1. The loop asks for an event, lets the instance answer it, posts the answer and lets the instance settle; nothing else.
2. What the platform answers to `next` leads to what `waiting` says, and to a post to what `delivery` says.
3. The process ends in one place, `_leave`, whatever the reason.
"""

from __future__ import annotations

import gc
import os
from _thread import _count as count_threads
from os import _exit, getpid
from time import monotonic, sleep

from warmstate.errors import TransportError
from warmstate.hosts import bundle
from warmstate.hosts.delivery import Delivery
from warmstate.hosts.descriptors import Reserve, is_one_left
from warmstate.hosts.extension import SilentExtension
from warmstate.hosts.guards import Guards
from warmstate.hosts.loader import load_handler
from warmstate.hosts.logging_watch import follow_logging
from warmstate.hosts.logs import HostNotices, flush_printed, open_log
from warmstate.hosts.module_path import arrange
from warmstate.hosts.signals import contain_handlers
from warmstate.hosts.transport import NativeTransport, transport_for
from warmstate.hosts.waiting import Waiting
from warmstate.hosts.watcher import Terminated, Watcher, outlive, take_short_turns, write_stacks
from warmstate.instance import Instance
from warmstate.lifecycle.clock import clock_for
from warmstate.lifecycle.environment import Environment
from warmstate.lifecycle.events import Init, Shutdown
from warmstate.lifecycle.marker import claim
from warmstate.wire.failure import describe, failure_from, place_of
from warmstate.wire.payload import use_orjson
from warmstate.wire.runtime_api import Failure, init_error_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from warmstate.hosts.logs import Log
    from warmstate.instance.closing import ShutdownReport
    from warmstate.lifecycle.events import ShutdownReason
    from warmstate.lifecycle.marker import Claim

__all__ = ["main", "run"]

_LATE = 0.8  # of what init may take: then a slow one is told
_WITHOUT_HEARTBEAT = 1.0


def main() -> NoReturn:
    """Run the handler that `_HANDLER` names; what `bootstrap` calls. Never returns."""
    _Process(None).run()


def run(target: type[Any] | Callable[[Any, Any], object]) -> NoReturn:
    """
    Run `target` as the handler of this process, for programs that own their `main`.

        if __name__ == "__main__":
            run(Timelapse)

    Call it on the main thread, in a process whose environment has `AWS_LAMBDA_RUNTIME_API`. Never returns.
    """
    _Process(target).run()


class _Process:
    """This process, from its environment to its end."""

    def __init__(self, target: type[Any] | Callable[[Any, Any], object] | None) -> None:
        self._target = target
        self._pid = getpid()
        self._reserve = Reserve()
        self._started = monotonic()

    def run(self) -> NoReturn:
        """Init, then the loop."""
        self._log: Log = open_log()
        try:
            environment = Environment.from_mapping(os.environ)
            self._log = open_log(environment, os.environ)
            self._notices = HostNotices.for_environment(self._log, environment)
            if self._target is None:
                arrange(environment.task_root)
            self._transport = transport_for(environment, reserve=self._reserve)
        except BaseException as error:  # noqa: BLE001 - reported, then the process ends
            self._fail_init(error, os.environ.get("AWS_LAMBDA_RUNTIME_API", ""))
        self._environment = environment
        # What the process before left is read before the handler's code can touch /tmp.
        self._claim: Claim = claim(environment.tmp, environment=environment, notices=self._notices)
        try:
            self._begin()
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
            self._fail_init(error, environment.runtime_api)
        if environment.max_concurrency is not None:
            self._serve_many(environment.max_concurrency)
        self._loop()

    # ---- init

    def _begin(self) -> None:
        environment = self._environment
        self._clock = clock_for(os.environ)
        self._watcher = Watcher(
            budget=environment.shutdown_budget,
            dump_before=environment.dump_stacks,
            near_deadline=self._near_deadline,
            take_over=self._take_over,
            on_sigterm=lambda: self._claim.say("term"),
        )
        self._init_limit = limit = environment.init_limit
        self._watcher.begin(self._started + limit * _LATE + environment.dump_stacks)
        # On Managed Instances the main thread is free to watch by itself.
        self._watcher.start(thread=not environment.is_managed_instance)
        contain_handlers(self._notices)
        self._waiting = Waiting(
            self._transport, self._watcher, self._clock, self._notices, leave=self._leave, at_beat=self._at_beat
        )
        self._extension = SilentExtension(self._transport.separate())
        if environment.extension:
            self._extension.register()
        target = self._target
        if target is None:
            follow_logging(self._log, environment.log_level)
            target = load_handler(environment.handler)
        self._instance = Instance(
            target,
            environment,
            directory=self._claim.directory,
            last_commit=self._claim.last_commit,
            refusal=self._claim.refusal,
            clock=self._clock,
            notices=self._notices,
        )
        claim = self._claim
        predecessor = claim.predecessor
        self._instance.init(
            Init(claim.start, claim.generation, claim.reset_reason, limit - (monotonic() - self._started), claim.fence),
            interrupted=predecessor.request_id if predecessor is not None and predecessor.phase == "invoke" else None,
        )
        if getpid() != self._pid:
            _exit(70)  # as below: a child of on_init
        self._watcher.end()
        self._init_limit = 0.0
        if environment.initialization_type == "snap-start":
            from warmstate.hosts.snapstart import pass_through_snapshot

            pass_through_snapshot(self._transport, self._instance, self._claim, self._log, self._leave)
        # What init made lives as long as the process: the collector need not look at it again.
        use_orjson()
        flush_printed()
        bundle.close()
        if not environment.is_managed_instance:
            if count_threads() > 1:  # more than the watcher
                take_short_turns()
            self._guards = self._guard()
        self._reserve.fill()
        gc.collect()
        gc.freeze()

    def _fail_init(self, error: BaseException, runtime_api: str) -> NoReturn:
        if getpid() != self._pid:
            _exit(70)
        failure = failure_from(error)
        self._log.failure(failure)
        try:
            transport = getattr(self, "_transport", None) or NativeTransport(runtime_api)
            transport.post(init_error_request(failure))
        except (TransportError, ValueError):
            pass  # the log has it; the platform will see the exit
        self._leave(1)

    # ---- the loop

    def _loop(self) -> NoReturn:
        delivery = self._deliver(self._transport)
        outlive(lambda: self._serve(delivery), lambda error: self._broke(delivery, error))

    def _broke(self, delivery: Delivery, error: BaseException) -> None:
        """Something raised in the runtime's own steps: the event gets its answer, and the next one is asked for."""
        self._watcher.waiting = False
        if getpid() != self._pid:
            _exit(70)
        self._guards.mend_builtins()  # before anything needs them
        if isinstance(error, Terminated):  # SIGTERM, as another exception was on its way out of the wait
            self._shut_down("spindown")
        self._watcher.end()
        delivery.give_up(error)
        self._notices.once("broke", f"Code of the function raised in the runtime's own steps: {describe(error)}")

    def _serve(self, delivery: Delivery) -> NoReturn:
        claim = self._claim
        instance = self._instance
        watcher = self._watcher
        environment = self._environment
        clock = self._clock
        guards = self._guards
        waiting = self._waiting
        heeds = instance.heeds_acceptance
        traced = "_X_AMZN_TRACE_ID" in os.environ
        while True:
            claim.write("next")
            try:
                reply, thaw = waiting.ask()
            except Terminated:
                self._shut_down("spindown")
            invocation = delivery.event(reply, int(clock.wall() * 1000))
            if invocation is None:
                if thaw is not None:
                    instance.froze(thaw)
                continue
            claim.write("invoke", invocation.request_id, invocation.deadline_ms)
            if invocation.trace_id is not None:
                os.environ["_X_AMZN_TRACE_ID"] = invocation.trace_id
                traced = True
            elif traced:
                os.environ.pop("_X_AMZN_TRACE_ID", None)
                traced = False
            if invocation.deadline_trusted:
                watcher.begin(monotonic() + invocation.deadline_ms / 1000.0 - clock.wall())
            answer = instance.invoke(invocation, thaw=thaw)
            if getpid() != self._pid:
                flush_printed()
                _exit(answer.exit_code)  # a child that the handler forked came back here: two loops would answer
            failed = type(answer.outcome) is Failure
            if failed:
                guards.mend_builtins()
            delivery.send(invocation, answer)
            # While the platform reads the answer there is time to tidy up, unless a hook must know what it says.
            instance.finish(answer, accepted=delivery.accepted() if heeds else True)
            if heeds and getpid() != self._pid:  # a stream looks at each chunk
                _exit(70)
            watcher.end()
            guards.check(doubtful=failed or thaw is not None)
            if not watcher.is_installed():
                self._reinstall()
            if not heeds:
                delivery.accepted()
            claim.answered()
            if watcher.terminated:
                self._shut_down("timeout" if clock.wall() * 1000.0 >= invocation.deadline_ms - 100 else "spindown")
            if answer.wants_reset:
                instance.shutdown(Shutdown("failure", environment.shutdown_budget))
                self._leave(1)
            waiting.idle_since = clock.wall()

    def _reinstall(self) -> None:
        self._notices.once("sigterm", "The handler replaced the SIGTERM handler; it was put back.")
        self._install()

    def _install(self) -> None:
        try:
            with self._reserve:
                self._watcher.install()
        except OSError as error:  # tried again at the next look
            self._notices.once("watch", f"SIGTERM cannot be watched for while a handler runs: {error}")

    def _guard(self, *, freezes: bool = True) -> Guards:
        return Guards(
            self._notices, kept=self._log.plain_fd, also=self._look_at_descriptors, freezes=freezes, own_threads=1
        )

    def _look_at_descriptors(self) -> None:
        if not is_one_left():
            self._notices.once(
                "descriptors",
                "The handler left no file descriptor free: it opens files or connections and does not close them.",
            )
        if not self._watcher.holds_wakeup():
            self._notices.once("wakeup", "The handler replaced signal.set_wakeup_fd(); it was put back.")
            self._install()

    def _keep_up(self) -> None:
        self._extension.keep_asking()
        if not self._watcher.is_installed():
            self._reinstall()

    def _deliver(self, transport: NativeTransport) -> Delivery:
        return Delivery(
            transport,
            self._log,
            self._notices,
            leave=self._leave,
            timeout=self._environment.timeout,
            clock=self._clock,
            ending=lambda: bool(self._watcher.terminated),
        )

    def _serve_many(self, slots: int) -> NoReturn:
        from warmstate.hosts.managed import ManagedHost

        environment = self._environment

        def separate() -> tuple[NativeTransport, Delivery]:
            transport = transport_for(environment, beat=_WITHOUT_HEARTBEAT, reserve=self._reserve)
            return transport, self._deliver(transport)

        self._claim.write("next")
        host = ManagedHost(
            self._instance,
            slots,
            delivery=separate,
            clock=self._clock,
            shutdown_budget=environment.shutdown_budget,
            dump_before=environment.dump_stacks,
            near_deadline=self._near_deadline,
            leave=self._leave,
            pause=self._watcher.pause,
            tick=self._keep_up,
            guard=lambda: self._guard(freezes=False),
            log_error=self._notices.error,
        )
        host.run(lambda: bool(self._watcher.terminated))

    def _at_beat(self) -> None:
        self._extension.keep_asking()
        self._guards.check_idle()

    # ---- the end

    def _near_deadline(self) -> None:
        if limit := self._init_limit:
            self._notices.warning(f"Init took {limit * _LATE:.0f} of {limit:.0f} s; what every thread does follows.")
        else:
            self._notices.warning("The deadline is near; what every thread does now follows.")
        try:
            write_stacks(self._log.plain_fd)
        except Exception as error:  # noqa: BLE001 - a handler may have broken imports, and its hook runs all the same
            self._notices.error(f"The stacks cannot be written: {describe(error)}")
        if not limit:
            self._instance.before_timeout()

    def _shut_down(self, reason: ShutdownReason) -> NoReturn:
        """The last steps, on the main thread after SIGTERM."""
        self._watcher.waiting = False  # one more SIGTERM must not end them
        if not self._watcher.main_is_free():
            while True:  # the watcher has them, and ends the process
                sleep(1.0)
        self._reserve.release()
        self._instance.shutdown(Shutdown(reason, self._watcher.seconds_left()), finished=self._finished)
        self._leave(0)

    def _take_over(self, reason: ShutdownReason, seconds_left: float) -> None:
        """The last steps, on the watcher's thread while a handler, or the import of its module, still runs."""
        self._reserve.release()
        if getattr(self, "_instance", None) is None:
            self._leave(0, word="term")
        try:
            self._instance.shutdown(
                Shutdown(reason, seconds_left, interrupted=True), overlapping=True, finished=self._finished
            )
        except BaseException as error:
            self._notices.error(
                f"shutdown: the last steps broke off at {place_of(error)}: {describe(error)}; "
                "what was not flushed and closed by then is lost."
            )
            flush_printed()
            raise

    def _finished(self, report: ShutdownReport) -> None:
        self._leave(0, word="term" if report.interrupted else "exit")

    def _leave(self, code: int, *, word: str = "exit") -> NoReturn:
        claimed: Claim | None = getattr(self, "_claim", None)
        if claimed is not None and word == "exit":
            claimed.close("exit")
        flush_printed()
        # Threads of the user must not hold up the end, and the platform counts nothing that runs after it.
        _exit(code)
