"""The freeze of one environment, and the clocks that it is made to believe in."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from warmstate.emulator.function import CLOCK_FILE
from warmstate.lifecycle.moved_clock import write_shift

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.emulator.processes.sandbox import Sandbox

__all__ = ["Freezer"]

SECOND_LOOK: Final = 0.005
"""
Seconds after which a freeze looks again: for processes that have left the group, which takes longer than all the rest of
it, and for those forked while the first signal was on its way.
"""
STOP_LIMIT: Final = 1.0
"""Seconds to wait for the kernel to stop every process; it does so within microseconds."""


class Freezer:
    """Stops and continues the processes of a sandbox; `note` is told."""

    def __init__(self, sandbox: Sandbox, note: Callable[..., None]) -> None:
        self._sandbox = sandbox
        self._note = note
        self._since: float | None = None
        self._moved = 0.0
        self._again: asyncio.TimerHandle | None = None
        self.clock_shift = 0.0
        """Seconds by which the environment's clocks were moved ahead, in all."""

    def __repr__(self) -> str:
        return f"<Freezer {f'frozen for {self.frozen_for():.3f} s' if self.is_frozen else 'thawed'}>"

    @property
    def is_frozen(self) -> bool:
        """Whether the processes are stopped."""
        return self._since is not None

    def freeze(self) -> None:
        """Stop every process."""
        loop = asyncio.get_running_loop()
        self._sandbox.freeze()
        self._since, self._moved = loop.time(), 0.0
        self._again = loop.call_later(SECOND_LOOK, self._sandbox.freeze_all)
        self._note("warmstate.freeze")

    def thaw(self) -> None:
        """Let every process go on."""
        seconds = self.frozen_for()
        self.forget()
        self._sandbox.thaw()
        self._note("warmstate.thaw", frozenMs=round(seconds * 1000, 3))

    def forget(self) -> None:
        """Nothing of it is stopped any more."""
        self._since = None
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def frozen_for(self) -> float:
        """Seconds since the freeze, as the environment's clocks tell; 0.0 while it runs."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since + self._moved

    async def settle(self) -> None:
        """Wait until the kernel has stopped every process."""
        loop = asyncio.get_running_loop()
        end = loop.time() + STOP_LIMIT
        while not self._sandbox.is_stopped() and loop.time() < end:  # noqa: ASYNC110 - the kernel sends no event
            await asyncio.sleep(0.001)

    def move_clock(self, seconds: float) -> None:
        """Let the environment believe that `seconds` more have passed."""
        self.clock_shift += seconds
        self._moved += seconds
        write_shift(os.path.join(self._sandbox.tmp, CLOCK_FILE), self.clock_shift, self.clock_shift)
        self._note("warmstate.clock", movedMs=round(seconds * 1000))
