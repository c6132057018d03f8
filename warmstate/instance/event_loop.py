"""
The one asyncio event loop of an instance: made on first use, alive as long as the instance.

1. Clients made in `on_init` belong to this loop, so they still work on the hundredth invocation.
2. On ordinary Lambda the loop is *driven*: it runs only while someone waits in `run`, on the waiting thread. Between two
   invocations nothing of it moves, so no timer fires in the middle of somebody else's event.
3. With several invocations at once it is *standing*: it runs on a thread of its own and all callers hand their work to it.
"""

from __future__ import annotations

import _thread

from warmstate.errors import LifecycleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Iterator
    from typing import Any, TypeVar

    Result = TypeVar("Result")

__all__ = ["EventLoop"]


class EventLoop:
    """Runs coroutines to their end for callers that are not async."""

    __slots__ = ("_lock", "_loop", "_standing", "_thread_id")

    def __init__(self, *, standing: bool = False) -> None:
        self._standing = standing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id: int | None = None
        self._lock = _thread.allocate_lock()

    def __repr__(self) -> str:
        phase = "not used yet" if self._loop is None else "running" if self._loop.is_running() else "waiting"
        return f"<EventLoop {'standing' if self._standing else 'driven'}, {phase}>"

    def run(self, awaitable: Awaitable[Result], *, budget: float | None = None) -> Result:
        """
        Wait for `awaitable` on the loop and return its result.

        Args:
            awaitable: A coroutine or any other awaitable.
            budget: Seconds after which it is cancelled; None waits as long as it takes.

        Raises:
            TimeoutError: The budget was used up and the awaitable was cancelled.
            LifecycleError: Called from a coroutine on the loop itself, where waiting would never end.
        """
        loop = self._loop or self._make()
        work = _bounded(awaitable, budget) if budget is not None else _as_coroutine(awaitable)
        if not loop.is_running():
            return self._drive(loop, work)
        if self._thread_id == _thread.get_ident():
            work.close()
            raise LifecycleError(
                "async code was started from a plain function that itself runs on the event loop, so waiting for it would "
                "never end: make the calling function `async def` and await there"
            )
        import asyncio

        return asyncio.run_coroutine_threadsafe(work, loop).result()

    def iterate(self, items: AsyncIterator[Result]) -> Iterator[Result]:
        """
        Yield what the async iterator yields, which advances only when the next item is asked for.

        One task drives it from start to end, so timeouts, cancel scopes and context variables that span a `yield` hold.
        Closing the iterator closes `items`, which runs its `finally` blocks.
        """
        handover = _Handover(items)
        try:
            while True:
                found, item = self.run(handover.next())
                if not found:
                    return
                yield item
        finally:
            self.run(handover.close())

    def close(self) -> None:
        """End the loop: its async generators are closed and its pending tasks are dropped; safe to repeat."""
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed():
            return
        if self._standing:
            loop.call_soon_threadsafe(loop.stop)
            return
        if loop.is_running():  # a handler hangs in it, on a thread that is not ours
            return
        self._drive(loop, _ending(loop))
        loop.close()

    def _make(self) -> asyncio.AbstractEventLoop:
        import asyncio

        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                if self._standing:
                    _thread.start_new_thread(self._stand, (loop,))
                    asyncio.run_coroutine_threadsafe(_nothing(), loop).result()  # until it runs
                self._loop = loop
            return self._loop

    def _stand(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        self._thread_id = _thread.get_ident()
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(_ending(loop))
        finally:
            loop.close()

    def _drive(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
        # Half the cost of run_until_complete, which makes a future of a future and wraps the context once more.
        self._thread_id = _thread.get_ident()
        task = loop.create_task(work)
        task.add_done_callback(_stop)
        try:
            loop.run_forever()
        finally:
            self._thread_id = None
            if not task.done():
                task.remove_done_callback(_stop)
        if not task.done():
            task.cancel()
            raise LifecycleError(
                "the event loop was stopped before the work ended: do not call loop.stop() in a handler"
            )
        return task.result()


def _stop(task: asyncio.Task[Any]) -> None:
    # With these two, asyncio leaves run_forever by itself; a stop would only end the next run too early.
    if not task.cancelled() and isinstance(task.exception(), (SystemExit, KeyboardInterrupt)):
        return
    task.get_loop().stop()


async def _nothing() -> None:
    pass


def _as_coroutine(awaitable: Awaitable[Result]) -> Coroutine[Any, Any, Result]:
    if type(awaitable) is _COROUTINE:
        return awaitable  # type: ignore[return-value]  # the test above is one the checker does not know
    return _awaiting(awaitable)


async def _awaiting(awaitable: Awaitable[Result]) -> Result:
    return await awaitable


_probe = _nothing()
_COROUTINE = type(_probe)
_probe.close()
del _probe


async def _bounded(awaitable: Awaitable[Result], budget: float) -> Result:
    import asyncio

    try:
        return await asyncio.wait_for(awaitable, budget)
    except asyncio.TimeoutError as error:  # another class than TimeoutError before 3.11
        raise TimeoutError(f"it did not end within its {budget:.3f} s and was cancelled") from error


async def _ending(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    left = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()


class _Handover:
    """Lets a task that runs an async iterator stop at each item until the next one is wanted."""

    __slots__ = ("_items", "_offered", "_task", "_wanted")

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items
        self._task: asyncio.Task[None] | None = None
        self._offered: asyncio.Future[tuple[bool, Any]] | None = None
        self._wanted: asyncio.Future[None] | None = None

    async def next(self) -> tuple[bool, Any]:
        """Ask for the next item: (True, item), or (False, None) at the end; raises what the iterator raised."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._offered = offered = loop.create_future()
        if self._task is None:
            self._task = loop.create_task(self._pump())
        elif self._wanted is not None:
            self._wanted.set_result(None)
        handed: tuple[bool, Any] = await offered
        return handed

    async def close(self) -> None:
        """Close the iterator where it stands."""
        import asyncio

        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

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
