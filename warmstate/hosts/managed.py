"""
Lambda Managed Instances: one process, one copy of the state, several invocations at once, never a freeze.

1. As many threads poll as the platform may send invocations at once, each on a connection of its own.
2. The main thread only watches: SIGTERM, the deadlines, the silent extension. There is no heartbeat and no thaw.
3. The platform tells the caller of a timeout but does not stop the handler, so a slot that is stuck in user code is lost.
   Another thread takes its place; when the stuck one comes back, what it has is fenced off and the thread ends.
4. What a handler leaves behind is put back when none runs: another one may be using it. Where handlers never pause, only what
   nobody can want to be gone comes back, such as a closed stdout or the platform's variables.
5. At the end nothing is asked for any more; what runs gets a third of the budget, then the last steps run.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html
"""

from __future__ import annotations

import _thread
from os import _exit, getpid
from sys import getprofile, gettrace, setprofile, settrace
from time import monotonic, sleep

from warmstate.errors import TransportError
from warmstate.hosts.logs import flush_printed
from warmstate.hosts.watcher import outlive, take_short_turns
from warmstate.lifecycle.events import Shutdown
from warmstate.wire.failure import describe
from warmstate.wire.runtime_api import next_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from warmstate.hosts.delivery import Delivery
    from warmstate.hosts.guards import Guards
    from warmstate.hosts.transport import NativeTransport
    from warmstate.instance import Instance
    from warmstate.instance.closing import ShutdownReport
    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.events import ShutdownReason

__all__ = ["ManagedHost"]

_TICK = 0.1
_BUSY_TICKS = 50
"""Ticks without a pause of the handlers after which what can be put back beside them is."""
_OVERDUE = 1.0
"""Seconds after its deadline at which a slot counts as stuck."""
_TAKEN = float("inf")
"""The deadline of an event that was not read yet: an end that begins now waits for its answer too."""
_TRIES = 5
_BACK_OFF = 0.1
_NEXT = next_request()


class _Slot:
    """One polling thread: what it serves and until when (`deadline` in seconds of the wall clock, 0.0 while it waits)."""

    __slots__ = ("deadline", "replaced", "warned")

    def __init__(self) -> None:
        self.deadline = 0.0
        self.warned = False
        self.replaced = False

    def __repr__(self) -> str:
        return f"<Slot {'replaced' if self.replaced else 'busy' if self.deadline else 'waiting'}>"


class ManagedHost:
    """
    Drives one instance from several threads.

    Args:
        instance: Initialised, and safe to be called from several threads.
        slots: How many invocations may run at once (`AWS_LAMBDA_MAX_CONCURRENCY`).
        delivery: Makes a transport of its own and what reads and posts over it, for each thread.
        clock: The clocks.
        shutdown_budget: Seconds from SIGTERM to the end.
        dump_before: Seconds before a deadline at which `near_deadline` is called, 0.0 for never.
        near_deadline: Tells the log and the user's hook.
        leave: Ends the process with an exit code.
        pause: Waits so many seconds on the main thread, or until SIGTERM.
        tick: Called about ten times a second on the main thread.
        guard: Remembers the process as it is when all threads poll.
        log_error: Receives what went wrong in a thread.
    """

    def __init__(
        self,
        instance: Instance,
        slots: int,
        *,
        delivery: Callable[[], tuple[NativeTransport, Delivery]],
        clock: Clock,
        shutdown_budget: float,
        dump_before: float,
        near_deadline: Callable[[], object],
        leave: Callable[[int], object],
        pause: Callable[[float], object],
        tick: Callable[[], object],
        guard: Callable[[], Guards],
        log_error: Callable[[str], object],
    ) -> None:
        self._instance = instance
        self._wanted = slots
        self._delivery = delivery
        self._clock = clock
        self._budget = shutdown_budget
        self._dump_before = dump_before
        self._near_deadline = near_deadline
        self._leave = leave
        self._pause = pause
        self._tick = tick
        self._guard = guard
        self._untidy = False  # a handler ran since the last look
        self._busy_ticks = 0
        self._log_error = log_error
        self._slots: set[_Slot] = set()
        self._pid = getpid()
        self._ending = False
        self._wants_reset = False

    def __repr__(self) -> str:
        return f"<ManagedHost of {len(self._slots)} slots, {self._busy()} busy>"

    def run(self, is_terminated: Callable[[], bool]) -> NoReturn:
        """Poll until `is_terminated` says that SIGTERM came, then end in order; on the main thread."""
        if self._wanted > 1:
            take_short_turns()
        for _ in range(self._wanted):
            self._start_slot()
        guards = self._guard()

        def watch() -> NoReturn:
            while not is_terminated() and not self._wants_reset:
                self._pause(_TICK)
                if is_terminated():
                    break
                self._tick()
                self._look_at_deadlines()
                if self._untidy:
                    self._tidy_up(guards)
            self._end("failure" if self._wants_reset else "spindown")

        # Signal handlers of the user run on this thread.
        outlive(watch, lambda error: self._log_error(f"Code of the function raised in the runtime: {describe(error)}"))

    def _tidy_up(self, guards: Guards) -> None:
        if not self._busy():
            self._untidy = False
            guards.check(doubtful=True)
        elif self._busy_ticks < _BUSY_TICKS:
            self._busy_ticks += 1
            return
        else:
            guards.check_busy()
        self._busy_ticks = 0

    def _end(self, reason: ShutdownReason) -> NoReturn:
        begun = monotonic()
        self._ending = True
        while self._busy() and monotonic() < begun + self._budget / 3.0:
            sleep(0.002)
        interrupted = bool(self._busy())
        left = max(0.0, begun + self._budget - monotonic())
        shutdown = Shutdown(reason, left, interrupted)
        code = 1 if reason == "failure" else 0

        def leave(_: ShutdownReport) -> None:
            self._leave(code)

        # Where a step hangs, the rest of them run on another thread and this call does not come back.
        self._instance.shutdown(shutdown, overlapping=interrupted, finished=leave)
        self._leave(code)
        raise SystemExit(code)

    def _busy(self) -> int:
        return sum(1 for slot in tuple(self._slots) if slot.deadline)

    # ---- deadlines

    def _look_at_deadlines(self) -> None:
        now = self._clock.wall()
        for slot in tuple(self._slots):
            deadline = slot.deadline
            if not deadline:
                continue
            if self._dump_before and not slot.warned and now >= deadline - self._dump_before:
                slot.warned = True
                self._near_deadline()
            if now >= deadline + _OVERDUE:
                self._replace(slot)

    def _replace(self, slot: _Slot) -> None:
        slot.replaced = True
        self._slots.discard(slot)
        self._log_error(
            "A handler still runs after its deadline; another thread takes its place, and what it returns is dropped."
        )
        self._start_slot()

    # ---- one slot

    def _start_slot(self) -> None:
        slot = _Slot()
        self._slots.add(slot)
        _thread.start_new_thread(self._run_slot, (slot,))

    def _run_slot(self, slot: _Slot) -> None:
        pause = _BACK_OFF
        while not slot.replaced and not self._ending:
            try:
                self._poll(slot)
            except BaseException as error:  # noqa: BLE001 - one failing thread must not take its capacity with it
                slot.deadline = 0.0
                self._log_error(f"A polling thread failed and begins anew: {describe(error)}")
                sleep(pause)
                pause = min(pause * 2.0, 5.0)
        self._slots.discard(slot)

    def _poll(self, slot: _Slot) -> None:
        transport, delivery = self._delivery()
        clock = self._clock
        instance = self._instance
        failures = 0
        trace, profile = gettrace(), getprofile()
        try:
            while not slot.replaced and not self._ending:
                if getpid() != self._pid:
                    _exit(70)  # a child that a hook or a stream forked
                try:
                    reply = transport.get(_NEXT)
                    problem = "" if reply.status == 200 else f"{reply.status} to next: {reply.body[:200]!r}"
                    lost = reply.status == 500
                except TransportError as error:
                    reply, problem, lost = None, str(error), False
                if reply is None or problem:
                    failures += 1
                    if self._ending:
                        return
                    if lost or failures >= _TRIES:
                        self._log_error(f"The Runtime API is lost ({problem}); this process ends.")
                        self._leave(1)
                    if failures == 1:
                        self._log_error(f"The Runtime API failed ({problem}). If an event was on its way, it is lost.")
                    sleep(_BACK_OFF * 2.0 ** (failures - 1))
                    continue
                failures = 0
                slot.deadline = _TAKEN
                invocation = delivery.event(reply, int(clock.wall() * 1000))
                if invocation is None:
                    slot.deadline = 0.0
                    continue
                slot.warned = False
                slot.deadline = invocation.deadline_ms / 1000.0
                self._untidy = True
                answer = instance.invoke(invocation)
                if gettrace() is not trace:  # each thread has its own
                    settrace(trace)
                if getprofile() is not profile:
                    setprofile(profile)
                if getpid() != self._pid:
                    flush_printed()
                    _exit(answer.exit_code)  # a child of the handler came back here: two processes would answer
                # Without an id of the attempt the platform could take a late answer for that of a retry.
                late = invocation.invocation_id is None and clock.wall() > slot.deadline
                accepted = slot in self._slots and not late and delivery.answer(invocation, answer)
                instance.finish(answer, accepted=accepted)
                flush_printed()
                slot.deadline = 0.0
                if answer.wants_reset:
                    self._wants_reset = True
        except BaseException as error:
            if slot in self._slots and getpid() == self._pid:
                delivery.give_up(error)
            raise
        finally:
            transport.close()
