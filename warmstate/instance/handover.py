"""
How the items of an async iterator reach a caller that is not async, one at a time.

One task runs the iterator from its start to its end; between two items it waits until the next one is wanted.
"""

from __future__ import annotations

from warmstate.errors import DeadlinePassed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import Any

__all__ = ["Handover"]

_CLOSING = 1.0
"""Seconds that the iterator has for its `finally` blocks when it is closed."""


class Handover:
    """Lets a task that runs an async iterator stop at each item until the next one is wanted."""

    __slots__ = ("_items", "_offered", "_task", "_wanted")

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items
        self._task: asyncio.Task[None] | None = None
        self._offered: asyncio.Future[tuple[bool, Any]] | None = None
        self._wanted: asyncio.Future[None] | None = None

    async def next(self, budget: float | None) -> tuple[bool, Any]:
        """Ask for the next item: (True, item), or (False, None) at the end; raises what the iterator raised."""
        import asyncio

        loop = asyncio.get_running_loop()
        offered: asyncio.Future[tuple[bool, Any]] = loop.create_future()
        self._offered = offered
        if self._task is None:
            self._task = loop.create_task(self._pump())
        elif self._wanted is not None:
            self._wanted.set_result(None)
        if budget is None:
            return await offered
        timer = loop.call_later(budget, _too_late, offered)
        try:
            return await offered
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Close the iterator where it stands."""
        import asyncio

        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSING)

    async def _pump(self) -> None:
        import asyncio

        items = self._items
        try:
            async for item in items:
                self._wanted = asyncio.get_running_loop().create_future()
                self._offer((True, item))
                try:
                    await self._wanted
                except asyncio.CancelledError:  # closed while the iterator waits at its yield
                    await _close(items)
                    return
        except BaseException as error:  # noqa: BLE001 - handed to whoever asked for the item
            if self._offered is not None and not self._offered.done():
                self._offered.set_exception(_not_stop_iteration(error))
            return
        self._offer((False, None))

    def _offer(self, answer: tuple[bool, Any]) -> None:
        if self._offered is not None and not self._offered.done():
            self._offered.set_result(answer)


def _too_late(offered: asyncio.Future[tuple[bool, Any]]) -> None:
    if not offered.done():
        offered.set_exception(
            DeadlinePassed("the deadline came before the stream's end: it was ended, nothing of it is committed")
        )


async def _close(items: AsyncIterator[Any] | AsyncGenerator[Any, None]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


def _not_stop_iteration(error: BaseException) -> BaseException:
    # A future refuses StopIteration, because it could not be told from the end of the one who awaits it.
    if isinstance(error, StopIteration):
        replacement = RuntimeError("the generator raised StopIteration")
        replacement.__cause__ = error
        return replacement
    return error
