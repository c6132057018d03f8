"""
What an instance does after a freeze, before the first event is handled.

1. Resources learn of the freeze first: what was frozen for too long is checked or replaced when it is next used.
2. Then `on_thaw` runs, as a unit of work. While it raises, each invocation fails and it is called again by the next one;
   the third time in a row, a fresh process is asked for.
3. Its budget is a tenth of the time until the deadline, and at most a second. An async `on_thaw` is cancelled there, which counts
   as raising; a plain one cannot be interrupted and is named in the log.
"""

from __future__ import annotations

import sys

from warmstate.errors import DeadlinePassed, ResetRequested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from warmstate.context import Context
    from warmstate.instance.warm_parts import WarmParts
    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.events import Thaw
    from warmstate.lifecycle.notices import Notices

__all__ = ["Thawing"]

_ATTEMPTS = 3
"""How many times in a row on_thaw may raise before a fresh process is asked for."""
_SHARE = 0.1
_LONGEST = 1.0


class Thawing:
    """
    Runs `on_thaw` and remembers a freeze until it has succeeded.

    `pending` is the freeze that an invocation must be told of, or None: one that fails before its turn comes, or whose
    on_thaw raises, leaves it to the next.
    """

    __slots__ = ("_clock", "_failures", "_hook", "_notices", "_resources_know", "_warm", "pending")

    def __init__(
        self,
        hook: Callable[[Thaw], Awaitable[None] | None] | None,
        warm: WarmParts,
        clock: Clock,
        notices: Notices,
    ) -> None:
        self._hook = hook
        self._warm = warm
        self._clock = clock
        self._notices = notices
        self._failures = 0
        self._resources_know = False
        self.pending: Thaw | None = None

    def froze(self, thaw: Thaw) -> None:
        """A freeze ended just now."""
        self.pending = thaw
        self._resources_know = False

    def run(self, thaw: Thaw, context: Context) -> None:
        """
        Do everything that a freeze asks for.

        Raises:
            BaseException: Whatever on_thaw raised.
            ResetRequested: It raised for the third time in a row; its exception is the cause.
            DeadlinePassed: It took all the time there was.
        """
        if not self._resources_know:
            self._resources_know = True
            self._warm.thawed(thaw)
        if self._hook is None:
            self.pending = None
            return
        budget = min(_LONGEST, context.remaining * _SHARE) if context.deadline_trusted else _LONGEST
        began = self._clock.monotonic()
        try:
            self._warm.unit("on_thaw", self._hook, thaw, budget=budget, context=context)
        except BaseException:
            self._failures += 1
            if self._failures < _ATTEMPTS:
                raise
            raise ResetRequested(
                f"on_thaw raised {self._failures} times in a row, so a fresh process takes over"
            ) from sys.exc_info()[1]
        self._failures = 0
        self.pending = None
        took = self._clock.monotonic() - began
        if took > budget:
            self._notices.warning(
                f"on_thaw took {took:.3f} s of its {budget:.3f} s while a caller was waiting: do less there, or do it on first use",
                request_id=context.aws_request_id,
            )
        if context.deadline_trusted and context.remaining <= 0.0:
            raise DeadlinePassed("on_thaw ran until the deadline had passed: handle was not run")
