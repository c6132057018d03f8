"""Time that moves when a test says so."""

from __future__ import annotations

from warmstate.lifecycle.clock import Clock

__all__ = ["FakeClock"]


class FakeClock(Clock):
    """
    A wall and a monotonic clock that stand still until they are moved; in seconds.

    Args:
        wall: Seconds since the epoch at the beginning.
        monotonic: The monotonic clock at the beginning.
    """

    __slots__ = ("_monotonic", "_wall")

    def __init__(self, wall: float = 1_800_000_000.0, monotonic: float = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def __repr__(self) -> str:
        return f"<FakeClock wall={self._wall:.3f}, monotonic={self._monotonic:.3f}>"

    def wall(self) -> float:
        """The wall clock, where it was put."""
        return self._wall

    def monotonic(self) -> float:
        """The monotonic clock, where it was put."""
        return self._monotonic

    def advance(self, seconds: float, *, monotonic_counts: bool = True) -> None:
        """
        Let time pass on both clocks, or on the wall clock alone: some platforms stop the monotonic one in a freeze.

        Raises:
            ValueError: `seconds` is negative; `jump` turns the wall clock back.
        """
        if seconds < 0.0:
            raise ValueError(f"time cannot pass by {seconds} s: use jump() for a wall clock that is set back")
        self._wall += seconds
        if monotonic_counts:
            self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a host does that corrects it; the monotonic one stays."""
        self._wall += seconds
