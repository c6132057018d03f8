"""
How a freeze is recognised: by beats that stop, on two clocks.

1. Beats exist only while the runtime waits in `next`: nowhere else is a process frozen, and a busy process is not.
2. SIGSTOP and the cgroup freezer let both clocks run on; a paused virtual machine may hold the monotonic one
   (https://github.com/hashicorp/vault-lambda-extension/issues/150). So the clock that moved further counts.
3. A wait ends by a beat or by an event. After a stop the kernel starts a timed-out wait anew, so a gap that ends in a
   beat holds between one and two intervals of running time, one that ends in an event between none and one.
4. Clocks that ran backwards, or over two weeks ahead, are wrong, not frozen.
5. A thread that does not give up the interpreter delays a beat as a freeze does: the host tells how long, and it is taken off.
"""

from __future__ import annotations

from warmstate.lifecycle.events import Thaw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BEAT", "FreezeDetector", "thaw_between"]

BEAT = 0.15
"""Seconds between beats: a freeze is measured to within half of it, and looking costs about a tenth of a per cent of a core."""

_LONGEST_FREEZE = 14 * 86_400.0
_SHORTEST_GAP = 0.3  # a stalled host looks like this too; below it nothing is called a freeze


class FreezeDetector:
    """
    Adds up how long the process was frozen during one wait in `next`.

    `enter` when the wait begins, `beat` at each timed-out slice, `leave` when the event is there; each with a sample of
    both clocks in seconds. Pure: it reads no clock. `held` is asked, when a sample comes late, for how many seconds since the
    one before it the process ran but the caller could not.
    """

    __slots__ = ("_floor", "_frozen", "_held", "_interval", "_jump", "_mono", "_uncertainty", "_wall", "faults")

    def __init__(self, interval: float = BEAT, held: Callable[[], float] = lambda: 0.0) -> None:
        self._interval = interval
        self._held = held
        self._floor = max(_SHORTEST_GAP, 3 * interval)
        self._wall = self._mono = self._frozen = self._uncertainty = self._jump = 0.0
        self.faults = 0
        """How many samples were refused because a clock ran backwards or absurdly far."""

    def enter(self, wall: float, mono: float) -> None:
        """The wait begins, or goes on after `interrupted`."""
        self._wall = wall
        self._mono = mono

    def beat(self, wall: float, mono: float) -> None:
        """A slice of the wait ran out without an event."""
        if wall - self._wall > self._floor or mono - self._mono > self._floor or wall < self._wall:
            self._gap(wall, mono, running=1.5 * self._interval)
        self._wall = wall
        self._mono = mono

    def interrupted(self, wall: float, mono: float) -> None:
        """What came was no event: a freeze before it counts for the one that follows."""
        self._gap(wall, mono, running=0.5 * self._interval)

    def leave(self, wall: float, mono: float, idle_since: float = 0.0) -> Thaw | None:
        """
        The event is there: the freeze of this wait, or None if there was none to speak of.

        `idle_since` is the wall time at which the last invocation ended, for `Thaw.idle_for`; 0.0 if there was none.
        """
        if wall - self._wall > self._floor or mono - self._mono > self._floor or wall < self._wall:
            self._gap(wall, mono, running=0.5 * self._interval)
        if not self._frozen:
            return None
        idle = wall - idle_since if idle_since else self._frozen
        thaw = Thaw(self._frozen, max(idle, self._frozen), self._uncertainty, self._jump)
        self._frozen = self._uncertainty = self._jump = 0.0
        return thaw

    def _gap(self, wall: float, mono: float, *, running: float) -> None:
        by_wall = wall - self._wall
        by_mono = mono - self._mono
        if by_wall < 0.0 or by_wall > _LONGEST_FREEZE:
            self.faults += 1
            by_wall = by_mono
        gap = max(by_wall, by_mono) - self._held()
        if self._floor < gap <= _LONGEST_FREEZE:
            self._frozen += gap - running
            self._uncertainty += self._interval
            self._jump += by_wall - by_mono

    def __repr__(self) -> str:
        return f"<FreezeDetector frozen={self._frozen:.3f}, faults={self.faults}>"


def thaw_between(ended: tuple[float, float], begun: tuple[float, float], *, thaw_after: float) -> Thaw | None:
    """
    The freeze between two invocations where no beats could run, from (wall, monotonic) samples of both moments.

    All time between two invocations counts as frozen: on the platform an instance that waits is frozen.
    """
    by_wall = begun[0] - ended[0]
    by_mono = begun[1] - ended[1]
    if by_wall < 0.0 or by_wall > _LONGEST_FREEZE:
        by_wall = by_mono
    gap = max(by_wall, by_mono)
    if gap < max(thaw_after, _SHORTEST_GAP) or gap > _LONGEST_FREEZE:
        return None
    return Thaw(gap, gap, 0.0, by_wall - by_mono)
