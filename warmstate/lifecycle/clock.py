"""The two clocks that a freeze treats differently."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SYSTEM_CLOCK", "Clock", "clock_for"]


class Clock:
    """
    The wall clock and the monotonic clock of this process, in seconds.

    A frozen environment wakes with a wall clock that jumped; whether its monotonic clock counted the freeze
    depends on how the platform paused it.
    So never assume either: what must expire is compared on both.
    Pass a subclass (`warmstate.testing.FakeClock`) to move time by hand.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def wall(self) -> float:
            """Seconds since the epoch; jumps over a freeze and when the host corrects its clock."""
            ...

        def monotonic(self) -> float:
            """Seconds that never run backwards; may or may not count frozen time."""
            ...
    else:  # clocks are read a dozen times for each event: nothing of ours stands between
        wall = time.time
        monotonic = time.monotonic


SYSTEM_CLOCK = Clock()
"""The real clocks; has no state, so sharing it is safe."""


def clock_for(variables: Mapping[str, str]) -> Clock:
    """The machine's clocks, or those that an emulator moves with the file that `WARMSTATE_CLOCK` names."""
    path = variables.get("WARMSTATE_CLOCK")
    if not path:
        return SYSTEM_CLOCK
    from warmstate.lifecycle.moved_clock import MovedClock

    return MovedClock(path)
