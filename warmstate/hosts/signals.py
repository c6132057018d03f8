"""
Signal handlers of the user, kept out of the runtime's own steps.

Python runs them on the main thread between any two bytecodes, whoever's they are. What one raises would tear the runtime's
steps apart: an event that was read and is not yet served, an answer that is half on its way. So each handler is called when
its signal comes, and what it raises goes on only where code of the user runs, as Python has it. Elsewhere it is told.
"""

from __future__ import annotations

import sys

from warmstate.hosts.watcher import Terminated
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from warmstate.lifecycle.notices import Notices
else:
    import _signal  # what `signal` is made of, without the enums

__all__ = ["contain_handlers"]

_OURS = {
    "warmstate",
    "attr",
    "attrs",
    "certifi",
    "charset_normalizer",
    "diskcache",
    "idna",
    "orjson",
    "requests",
    "urllib3",
}
_LOOPS = {"warmstate.hosts.runtime", "warmstate.hosts.managed"}
"""Where everything on the main thread begins: who looks for code of the user need not look further down."""
_EVENT_LOOP = "warmstate.instance.event_loop"
_WAITS_FOR_THE_USER = {"_drive", "_hand_over"}
"""Its steps around these take and give back what the next event needs."""


def contain_handlers(notices: Notices) -> None:
    """
    Whatever handler is set for a signal, or was set before: `notices` get what it raises in the runtime's own steps.

    `signal.signal` and `signal.getsignal` are made of the two functions that are replaced here, and show no difference.
    What is set for SIGTERM by now is the runtime's own.
    """
    set_handler, get_handler = _signal.signal, _signal.getsignal

    def signal(signalnum: int, handler: Any, /) -> Any:
        """Set the action for the given signal, as Python's own does."""
        return _own(set_handler(signalnum, _Contained(handler, notices) if callable(handler) else handler))

    def getsignal(signalnum: int, /) -> Any:
        """Return the current action for the given signal, as Python's own does."""
        return _own(get_handler(signalnum))

    _signal.__dict__.update(signal=signal, getsignal=getsignal)
    for number in _signal.valid_signals() - {_signal.SIGTERM}:
        if callable(handler := get_handler(number)):  # that of a program which calls `run`, and Python's own for SIGINT
            signal(number, handler)


class _Contained:
    """Calls a handler of the user, whose exception it lets through to code of the user alone."""

    __slots__ = ("handler", "notices")

    def __init__(self, handler: Callable[[int, FrameType | None], object], notices: Notices) -> None:
        self.handler = handler
        self.notices = notices

    def __eq__(self, other: object) -> bool:
        return type(other) is _Contained and self.handler == other.handler

    def __hash__(self) -> int:
        return hash(self.handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self.handler(number, frame)
        except Terminated:  # SIGTERM came while it ran, and ends the wait for the next event
            raise
        except BaseException as error:
            if _is_in_code_of_the_user(frame):
                raise
            self.notices.once(
                "signal",
                f"A signal handler raised where no code of the function ran, and nobody can catch it: {describe(error)}",
            )


def _own(handler: Any) -> Any:
    return handler.handler if type(handler) is _Contained else handler


def _is_in_code_of_the_user(frame: FrameType | None) -> bool:
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "warmstate"))  # made by `exec` somewhere in between
        if module in _LOOPS:
            return False
        package = module.partition(".")[0]
        if not (package in _OURS or package in sys.stdlib_module_names):
            return True
        if module == _EVENT_LOOP and frame.f_code.co_name in _WAITS_FOR_THE_USER:
            return True
        frame = frame.f_back
    return False
