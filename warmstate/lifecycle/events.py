"""The facts that hooks receive: how an instance began, that it thawed, that it must end."""

from __future__ import annotations

from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    StartKind: TypeAlias = Literal["cold", "warm", "thaw", "reset", "restore", "provisioned"]
    """
    How an invocation found its instance: "cold", the first of a new environment; "warm", after another one; "thaw", after a
    freeze longer than `WARMSTATE_THAW_AFTER`; "reset", the first of a new process where one had been before; "restore", the first
    after a SnapStart restore; "provisioned", the first in an environment that was prepared ahead.
    """
    ResetReason: TypeAlias = Literal["crash", "timeout", "exit"]
    ShutdownReason: TypeAlias = Literal["spindown", "timeout", "failure"]
else:
    StartKind = ResetReason = ShutdownReason = str

__all__ = ["Init", "ResetReason", "Shutdown", "ShutdownReason", "StartKind", "Thaw"]


class _Countdown:
    """Seconds left until a fixed instant of the monotonic clock."""

    __slots__ = ("_clock", "_end")

    def __init__(self, seconds_left: float, clock: Clock) -> None:
        self._clock = clock
        self._end = clock.monotonic() + seconds_left

    @property
    def seconds_left(self) -> float:
        """Seconds that remain of this phase's budget, read now; 0.0 once it is used up."""
        return max(0.0, self._end - self._clock.monotonic())


class Init(_Countdown):
    """
    How this instance begins; `on_init` receives it once per process.

    `start` is what the first invocation will be: "cold", "reset", "restore" or "provisioned".
    `generation` counts the processes of this execution environment, from 1.
    `reset_reason` says why the process before this one ended, for a "reset" start, else None.
    `seconds_left` is what remains of the platform's init limit (10 s on demand).
    `fence` is unique to this process and may be stored next to what it writes, so that a stale instance is told apart.
    """

    __slots__ = ("fence", "generation", "reset_reason", "start")

    def __init__(
        self,
        start: StartKind,
        generation: int = 1,
        reset_reason: ResetReason | None = None,
        seconds_left: float = 10.0,
        fence: str = "",
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(seconds_left, clock)
        self.start: StartKind = start
        self.generation = generation
        self.reset_reason: ResetReason | None = reset_reason
        self.fence = fence

    def __repr__(self) -> str:
        reason = f", reset_reason={self.reset_reason!r}" if self.reset_reason else ""
        return f"<Init start={self.start!r}, generation={self.generation}{reason}>"


class Thaw:
    """
    A freeze that this instance just came back from; all fields in seconds.

    `frozen_for` is how long no code of this process ran, `uncertainty` how far that may be off.
    `idle_for` is the time since the last invocation ended, freeze included.
    `clock_jump` is how much further the wall clock moved than the monotonic clock (0.0 where both count frozen time).
    """

    __slots__ = ("clock_jump", "frozen_for", "idle_for", "uncertainty")

    def __init__(
        self, frozen_for: float, idle_for: float | None = None, uncertainty: float = 0.0, clock_jump: float = 0.0
    ) -> None:
        self.frozen_for = frozen_for
        self.idle_for = frozen_for if idle_for is None else idle_for
        self.uncertainty = uncertainty
        self.clock_jump = clock_jump

    def __repr__(self) -> str:
        return f"<Thaw frozen_for={self.frozen_for:.3f}, idle_for={self.idle_for:.3f}>"


class Shutdown(_Countdown):
    """
    The end of this instance; `before_shutdown` receives it.

    `reason` is "spindown" (idle or replaced), "timeout" (an invocation ran over its deadline) or "failure".
    `seconds_left` is what remains of the shutdown budget before the platform kills the process.
    `interrupted` is True when an invocation was still running and did not end in time.
    """

    __slots__ = ("interrupted", "reason")

    def __init__(
        self,
        reason: ShutdownReason = "spindown",
        seconds_left: float = 0.3,
        interrupted: bool = False,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(seconds_left, clock)
        self.reason: ShutdownReason = reason
        self.interrupted = interrupted

    def __repr__(self) -> str:
        return f"<Shutdown reason={self.reason!r}, seconds_left={self.seconds_left:.3f}>"
