"""Waiting for a condition that is looked at whenever something happened, without one task for each wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Waits"]


class Waits:
    """The waits of one environment; `changed` wakes those whose condition holds then, and tells `also`."""

    def __init__(self, also: Callable[[], None]) -> None:
        self._also = also
        self._open: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def changed(self) -> None:
        """Something happened."""
        for waiting, condition in self._open.items():
            if condition():
                _wake(waiting)
        self._also()

    async def until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait for `condition`; False when `deadline`, on the event loop's clock, came first."""
        loop = asyncio.get_running_loop()
        while not condition():
            if loop.time() >= deadline:
                return False
            waiting: asyncio.Future[None] = loop.create_future()
            self._open[waiting] = condition
            timer = loop.call_at(deadline, _wake, waiting)
            try:
                await waiting
            finally:
                timer.cancel()
                del self._open[waiting]
        return True


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
