"""
How long other threads of this process kept the waiting main thread from running.

A thread of the handler that stays in C code without giving up the interpreter (a long sort, a large `json.loads`) delays beats
and events as a freeze does. But a thread that waits for the interpreter wakes each `sys.getswitchinterval()` to ask for it, and
the kernel counts that, also on a machine that is too busy; a process that is frozen wakes not once.
"""

from __future__ import annotations

import sys
from _thread import _count as count_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Turns"]

_OWN_THREADS = 1  # the watcher; the main thread is not counted
_LATER = 0.00015  # seconds by which the kernel wakes a thread later than it asked for, about
_FEW = 8  # waits for one's turn beside threads that give it up when asked


class Turns:
    """Counts on the main thread, from each `mark` to the next."""

    __slots__ = ("_counted", "_usage")

    def __init__(self) -> None:
        self._counted = -1
        self._usage: Callable[[], int] | None = None

    def mark(self) -> None:
        """From now on; costs next to nothing while there is nobody to wait for."""
        self._counted = self._waits() if count_threads() > _OWN_THREADS else -1

    def held(self) -> float:
        """Seconds since `mark` in which the main thread wanted to run, and another one would not let it."""
        if self._counted < 0:
            return 0.0
        waits = self._waits() - self._counted
        return waits * (sys.getswitchinterval() + _LATER) if waits > _FEW else 0.0

    def _waits(self) -> int:
        usage = self._usage
        if usage is None:
            usage = self._usage = _usage()
        return usage()

    def __repr__(self) -> str:
        return f"<Turns held={self.held():.3f}>"


def _usage() -> Callable[[], int]:
    try:
        from resource import RUSAGE_THREAD, getrusage
    except (ImportError, OSError):  # no descriptor left to load it with: then nothing is told apart
        return lambda: -1
    return lambda: getrusage(RUSAGE_THREAD).ru_nvcsw
