"""
Clocks that somebody outside can move ahead: how the emulator lets an instance believe in a freeze of twenty minutes.

1. A file of 16 bytes holds two doubles: seconds to add to the wall clock, and to the monotonic clock.
2. No file, or a shorter one, means that nothing was moved.
3. It works for what asks our `Clock`: `time.time()` in the user's own code still tells the machine's time.
"""

from __future__ import annotations

import os
from _struct import pack, unpack

from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock

__all__ = ["MovedClock", "write_shift"]

_SIZE = 16


class MovedClock(Clock):
    """The real clocks plus what the file at `path` says, read anew each time."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def wall(self) -> float:
        """Seconds since the epoch, moved."""
        return SYSTEM_CLOCK.wall() + self._shifts()[0]

    def monotonic(self) -> float:
        """Seconds that never run backwards, moved."""
        return SYSTEM_CLOCK.monotonic() + self._shifts()[1]

    def _shifts(self) -> tuple[float, float]:
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._descriptor, _SIZE, 0)
        except OSError:
            return 0.0, 0.0
        if len(data) < _SIZE:
            return 0.0, 0.0
        wall, monotonic = unpack("=dd", data)
        return wall, monotonic


def write_shift(path: str, wall: float, monotonic: float) -> None:
    """
    Move the clocks of whoever reads `path`; in one write, so that nobody reads half of it.

    Raises:
        OSError: The file cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, pack("=dd", wall, monotonic), 0)
    finally:
        os.close(descriptor)
