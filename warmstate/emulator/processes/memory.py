"""The memory limit of an environment: looked at while it works, and what REPORT lines say about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.emulator.processes.sandbox import Sandbox

__all__ = ["MemoryWatch"]

INTERVAL: Final = 0.05
"""Seconds between two looks: a process can overshoot its limit for that long, where Lambda's would be stopped at once."""


class MemoryWatch:
    """Samples what all processes of a sandbox hold, and kills the runtime when that is over `limit` bytes."""

    def __init__(self, sandbox: Sandbox, limit: int, changed: Callable[[], None]) -> None:
        self._sandbox = sandbox
        self._limit = limit
        self._changed = changed
        self._timer: asyncio.TimerHandle | None = None
        self._runs = False
        self.exceeded = False
        self.peak = 0
        """The most bytes ever seen of these processes together."""

    def forget(self) -> None:
        """The processes are gone, and what they held; new ones begin from nothing."""
        self.exceeded, self.peak = False, 0

    def start(self) -> None:
        """Look at regular times from now on."""
        self._runs = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)

    def stop(self) -> None:
        """Stop looking: nothing runs. The timer is left alone, for most invocations are over long before it."""
        self._runs = False

    def note_peak(self) -> None:
        """The processes are about to end: keep what the kernel knows of them."""
        self.peak = max(self.peak, self._sandbox.peak_bytes())

    def is_over(self) -> bool:
        """Whether the runtime held more than the limit at any time, however short; the kernel remembers."""
        self.note_peak()
        if self.peak > self._limit and not self.exceeded:
            self.exceeded = True
            self._changed()
        return self.exceeded

    def used_mb(self) -> int:
        """The most that was ever held, in MB, rounded up."""
        self.note_peak()
        return -(-min(self.peak, self._limit) // (1 << 20))

    def _look(self) -> None:
        self._timer = None
        if not self._runs:
            return
        self.peak = max(self.peak, self._sandbox.memory_bytes())
        if self.is_over():
            return
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)
