"""
The last steps of an instance, each with its share of a few hundred milliseconds.

1. The steps run in order on the calling thread, where thread-bound things (an SQLite connection, the event loop) belong.
2. A step that overruns its share cannot be interrupted from outside: nothing is ever raised into user code. So it is left
   alone where it hangs, its name goes into the report, and a watcher thread runs the steps that remain.
3. A step that raises does not stop the others.
"""

from __future__ import annotations

import _thread

from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TypeAlias

    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.events import Shutdown

    Outcome: TypeAlias = Literal["done", "failed", "overran", "skipped"]

__all__ = ["ClosingStep", "ShutdownReport", "StepReport", "run_steps"]

_LEAST_SHARE = 0.01
"""Seconds that a step gets even when the budget is used up: enough for a step that only frees memory."""


class ClosingStep:
    """
    One step of the end: `run(budget)` does it, with `budget` in seconds to divide further if it has parts.

    `weight` sizes its share of what is left; what a step does not use goes to those after it.
    `skipped` says why it must not run, or is None.
    """

    __slots__ = ("name", "run", "skipped", "weight")

    def __init__(
        self, name: str, run: Callable[[float], object], *, weight: float = 1.0, skipped: str | None = None
    ) -> None:
        self.name = name
        self.run = run
        self.weight = weight
        self.skipped = skipped


class StepReport:
    """How one step ended: its name, the outcome, the seconds it took, and what there is to say about it."""

    __slots__ = ("detail", "name", "outcome", "seconds")

    def __init__(self, name: str, outcome: Outcome, seconds: float, detail: str = "") -> None:
        self.name = name
        self.outcome: Outcome = outcome
        self.seconds = seconds
        self.detail = detail

    def __repr__(self) -> str:
        return f"<{self.name}: {self.outcome} after {self.seconds:.3f} s>"


class ShutdownReport:
    """Everything that ran at the end of an instance; `seconds` is the time it took together."""

    __slots__ = ("interrupted", "seconds", "steps")

    def __init__(self, *, interrupted: bool) -> None:
        self.interrupted = interrupted
        self.seconds = 0.0
        self.steps: list[StepReport] = []

    def __repr__(self) -> str:
        return f"<ShutdownReport {self.seconds:.3f} s, {self.steps}>"

    @property
    def clean(self) -> bool:
        """Whether every step ran to its end in time."""
        return all(step.outcome == "done" for step in self.steps)

    @property
    def overruns(self) -> list[StepReport]:
        """The steps that were cut because they took longer than their share."""
        return [step for step in self.steps if step.outcome == "overran"]


def run_steps(
    steps: list[ClosingStep],
    shutdown: Shutdown,
    clock: Clock,
    finished: Callable[[ShutdownReport], object],
) -> ShutdownReport:
    """
    Run `steps` within what `shutdown` has left, and return the report.

    `finished` is called once with it when the last step is over. Where a step hangs on the calling thread that happens on
    another thread and this call returns only if the hanging step does, so a host ends the process in `finished`.
    """
    return _Runner(steps, shutdown, clock, finished).run()


class _Runner:
    __slots__ = (
        "_all_over",
        "_begun",
        "_clock",
        "_finished",
        "_lock",
        "_report",
        "_running",
        "_shutdown",
        "_steps",
        "_turn",
    )

    def __init__(
        self, steps: list[ClosingStep], shutdown: Shutdown, clock: Clock, finished: Callable[[ShutdownReport], object]
    ) -> None:
        self._steps = steps
        self._shutdown = shutdown
        self._clock = clock
        self._finished = finished
        self._begun = clock.monotonic()
        self._report = ShutdownReport(interrupted=shutdown.interrupted)
        self._lock = _thread.allocate_lock()
        self._all_over = _thread.allocate_lock()
        self._all_over.acquire()
        self._turn = 0  # the number of the thread whose turn it is; one that was left behind finds it changed
        self._running: tuple[ClosingStep, float] | None = None  # the step, and when it began

    def run(self) -> ShutdownReport:
        if not self._work(0):
            self._all_over.acquire()
            self._all_over.release()
        return self._report

    def _work(self, turn: int) -> bool:
        """Take step after step; False when a step overran and another thread has gone on meanwhile."""
        while self._steps:
            step = self._steps.pop(0)
            if step.skipped is not None:
                self._report.steps.append(StepReport(step.name, "skipped", 0.0, step.skipped))
                continue
            began = self._clock.monotonic()
            share = self._share(step)
            self._running = (step, began)
            step_over = _thread.allocate_lock()
            step_over.acquire()
            try:
                _thread.start_new_thread(self._watch, (turn, step_over, share))
            except RuntimeError:
                pass  # no thread to be had, as at the limit of processes: the step runs unwatched, rather than not at all
            outcome: Outcome = "done"
            detail = ""
            try:
                step.run(share)
            except BaseException as error:  # noqa: BLE001 - the next steps must run whatever user code raises
                outcome, detail = "failed", describe(error)
            took = self._clock.monotonic() - began
            with self._lock:
                step_over.release()
                if self._turn != turn:
                    return False
                self._running = None
                if outcome == "done" and took > share:
                    outcome, detail = "overran", f"it took {took:.3f} s of its {share:.3f} s"
                self._report.steps.append(StepReport(step.name, outcome, took, detail))
        self._report.seconds = self._clock.monotonic() - self._begun
        try:
            self._finished(self._report)
        finally:
            self._all_over.release()
        return True

    def _share(self, step: ClosingStep) -> float:
        weights = step.weight + sum(other.weight for other in self._steps if other.skipped is None)
        return max(_LEAST_SHARE, self._shutdown.seconds_left * step.weight / weights)

    def _watch(self, turn: int, step_over: _thread.LockType, share: float) -> None:
        if step_over.acquire(timeout=share):
            return
        with self._lock:
            if self._turn != turn or self._running is None:
                return
            step, began = self._running
            if step_over.acquire(blocking=False):  # it ended while we took the lock
                return
            took = self._clock.monotonic() - began
            self._turn = turn + 1
            self._report.steps.append(
                StepReport(step.name, "overran", took, f"it was cut after its {share:.3f} s and left where it hangs")
            )
        self._work(turn + 1)
