"""
How long other threads of this process kept the waiting main thread from running.

A thread of the handler that stays in C code without giving up the interpreter (a long sort, a large `json.loads`) delays beats
and events as a freeze does. But a thread that waits for the interpreter wakes each `sys.getswitchinterval()` to ask for it: the
kernel counts that, and how long the thread then stood in line for a processor. A process that is frozen does neither.
"""

from __future__ import annotations

import os
import sys
from _thread import _count as count_threads
from fcntl import F_DUPFD_CLOEXEC, fcntl

from warmstate.hosts.descriptors import LOWEST_OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Count: TypeAlias = tuple[int, float]

__all__ = ["Turns"]

_OWN_THREADS = 1  # the watcher; the main thread is not counted
_LATER = 0.00015  # seconds by which the kernel wakes a thread later than it asked for, about
_FEW = 8  # waits for one's turn beside threads that give it up when asked
_LONGEST_IN_LINE = 0.05  # seconds for each wait; more is a pause of the whole machine while the thread stood there
_STATISTICS = "/proc/thread-self/schedstat"  # nanoseconds on a processor, nanoseconds in line for one, turns


class Turns:
    """Counts on the main thread; where it is alone, that costs next to nothing."""

    __slots__ = ("_counted", "_fd", "_usage")

    def __init__(self) -> None:
        self._counted: Count | None = None
        self._usage: Callable[[], int] | None = None
        self._fd = -1

    def count(self) -> Count | None:
        """How often the main thread waited so far, and how long in line; None while there is nobody to wait for."""
        return self._now() if count_threads() > _OWN_THREADS else None

    def held_from(self, counted: Count | None) -> None:
        """
        From the moment of this count on `held` tells.

        Count before the clocks are read: whoever takes the interpreter in between is then counted, not taken for a freeze.
        """
        self._counted = counted

    def held(self) -> float:
        """Seconds in which the main thread wanted to run, and another one would not let it."""
        before = self._counted
        if before is None:
            return 0.0
        now = self._now()  # the other thread may be gone by now
        waits = now[0] - before[0]
        if waits <= _FEW:
            return 0.0
        return waits * (sys.getswitchinterval() + _LATER) + min(now[1] - before[1], waits * _LONGEST_IN_LINE)

    def _now(self) -> Count:
        usage = self._usage
        if usage is None:
            usage = self._usage = _usage()
            self._fd = _open_statistics()
        return usage(), self._seconds_in_line()

    def _seconds_in_line(self) -> float:
        if self._fd < 0:
            return 0.0
        try:
            return int(os.pread(self._fd, 96, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # closed by the handler, or somebody else's by now
            self._fd = -1
            return 0.0

    def __repr__(self) -> str:
        return f"<Turns held={self.held():.3f}>"


def _usage() -> Callable[[], int]:
    try:
        from resource import RUSAGE_THREAD, getrusage
    except (ImportError, OSError):  # no descriptor left to load it with: then nothing is told apart
        return lambda: 0
    return lambda: getrusage(RUSAGE_THREAD).ru_nvcsw


def _open_statistics() -> int:
    try:
        fd = os.open(_STATISTICS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_OWN)
        finally:
            os.close(fd)
    except (OSError, ValueError):  # a kernel that does not count, or no descriptor left
        return -1
