"""
The wait for the next event: asked for until there is one, with beats that tell a freeze from idling.

1. `next` is never timed out. Where it fails it is tried again, at growing distances; then the process ends.
2. SIGTERM ends the wait, by an exception that its handler raises on this thread as long as `watcher.waiting` is True.
3. Clocks are read as near to the wait as can be: what lies between them and the wait is taken for the wait.
"""

from __future__ import annotations

from time import sleep

from warmstate.errors import TransportError
from warmstate.hosts.turns import Turns
from warmstate.hosts.watcher import Terminated
from warmstate.lifecycle.thaw import FreezeDetector
from warmstate.wire.runtime_api import next_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.hosts.http11 import Reply
    from warmstate.hosts.transport import NativeTransport
    from warmstate.hosts.watcher import Watcher
    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.events import Thaw
    from warmstate.lifecycle.notices import Notices

__all__ = ["Waiting"]

_TRIES = 5
_BACK_OFF = 0.1  # `next` is tried this often, 0.1 s, 0.2 s, 0.4 s ... apart
_NEXT = next_request()


class Waiting:
    """
    The main thread's wait for events; `idle_since` is when the last one was done with, on the wall clock.

    Args:
        transport: Where events come from.
        watcher: Is told while the thread waits.
        clock: The clocks.
        notices: Hears why no event can be had.
        leave: Ends the process with an exit code.
        at_beat: Called at each beat, where nobody waits for anything.
    """

    __slots__ = (
        "_at_beat",
        "_clock",
        "_detector",
        "_leave",
        "_notices",
        "_transport",
        "_turns",
        "_watcher",
        "idle_since",
    )

    def __init__(
        self,
        transport: NativeTransport,
        watcher: Watcher,
        clock: Clock,
        notices: Notices,
        *,
        leave: Callable[[int], object],
        at_beat: Callable[[], object],
    ) -> None:
        self._transport = transport
        self._watcher = watcher
        self._clock = clock
        self._notices = notices
        self._leave = leave
        self._at_beat = at_beat
        self._turns = Turns()
        self._detector = FreezeDetector(held=self._turns.held)
        self.idle_since = 0.0

    def __repr__(self) -> str:
        return f"<Waiting, idle since {self.idle_since:.3f}>"

    def ask(self) -> tuple[Reply, Thaw | None]:
        """
        The next event, and the freeze that ended just before it.

        Raises:
            Terminated: SIGTERM came.
        """
        watcher = self._watcher
        detector, clock, turns = self._detector, self._clock, self._turns
        failures = 0
        while True:
            turns.held_from(turns.count())
            detector.enter(clock.wall(), clock.monotonic())
            try:
                watcher.waiting = True
                if watcher.terminated:
                    raise Terminated
                reply = self._transport.get(_NEXT, self._beat)
                watcher.waiting = False
            except TransportError as error:
                watcher.waiting = False
                problem = str(error)
            else:
                if reply.status == 200:
                    return reply, detector.leave(clock.wall(), clock.monotonic(), self.idle_since)
                problem = f"The Runtime API answered {reply.status} to next: {reply.body[:200]!r}"
                if reply.status == 500:
                    self._notices.error(problem)
                    self._leave(1)
            detector.interrupted(clock.wall(), clock.monotonic())
            failures += 1
            problem = problem.rstrip(".")
            if failures >= _TRIES:
                self._notices.error(f"{problem}. Tried {failures} times; this process ends.")
                self._leave(1)
            if failures == 1:
                self._notices.error(f"{problem}. If an event was on its way, it is lost; the next one is asked for.")
            sleep(_BACK_OFF * 2.0 ** (failures - 1))

    def _beat(self) -> None:
        counted = self._turns.count()
        self._detector.beat(self._clock.wall(), self._clock.monotonic())
        self._turns.held_from(counted)
        self._at_beat()
