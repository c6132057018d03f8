"""
The one asyncio event loop of an instance: made on first use, alive as long as the instance.

1. Clients made in `on_init` belong to this loop, so they still work on the hundredth invocation.
2. On ordinary Lambda the loop is *driven*: it runs only while someone waits in `run`, on the waiting thread. Between two
   invocations nothing of it moves, so no timer fires in the middle of somebody else's event.
3. With several invocations at once it is *standing*: it runs on a thread of its own and all callers hand their work to it.
"""

from __future__ import annotations

import _thread

from warmstate._typing import cast
from warmstate.errors import LifecycleError
from warmstate.instance.handover import Handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
    from typing import Any, TypeVar

    Result = TypeVar("Result")

__all__ = ["EventLoop"]

_GRACE = 0.1
"""Seconds that cancelled work has for its `finally` blocks, where nobody else bounds it."""
_LOOK_AGAIN = 0.02
"""Seconds after which a thread that handed work over looks whether the loop still runs."""


class EventLoop:
    """Runs coroutines to their end for callers that are not async."""

    __slots__ = ("_driven", "_driver", "_lock", "_loop", "_standing", "_thread_id")

    def __init__(self, *, standing: bool = False) -> None:
        self._standing = standing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id: int | None = None
        self._driven: object = None  # the task that ends the loop's run
        self._lock = _thread.allocate_lock()
        self._driver = _thread.allocate_lock()  # held by the thread that drives the loop

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
        if not self._standing and self._driver.acquire(False):
            try:
                return self._drive(loop, work)
            finally:
                self._driver.release()
        if self._thread_id == _thread.get_ident():
            work.close()
            raise LifecycleError(
                "async code was started from a plain function that itself runs on the event loop, so waiting for it would "
                "never end: make the calling function `async def` and await there"
            )
        return self._hand_over(loop, work)

    def iterate(self, items: AsyncIterator[Result], left: Callable[[], float] | None = None) -> Iterator[Result]:
        """
        Yield what the async iterator yields, which advances only when the next item is asked for.

        One task drives it from start to end, so timeouts, cancel scopes and context variables that span a `yield` hold.
        Closing the iterator closes `items`, which runs its `finally` blocks.
        `left` tells how many seconds the next item may take; None: as many as it needs.

        Raises:
            DeadlinePassed: An item took longer.
        """
        handover = Handover(items)
        try:
            while True:
                found, item = self.run(handover.next(None if left is None else left()))
                if not found:
                    return
                yield item
        finally:
            self.run(handover.close())

    def close(self) -> None:
        """End the loop: its pending tasks are cancelled and its async generators closed, within bounds; safe to repeat."""
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed():
            return
        if self._standing:
            loop.call_soon_threadsafe(loop.stop)
            return
        if not self._driver.acquire(False):  # a handler hangs in it, on a thread that is not ours
            return
        try:
            self._drive(loop, _ending(loop))
        finally:
            loop.close()
            self._driver.release()

    def abandon(self) -> None:
        """Let go of the loop and run nothing more of it; its tasks stay where they wait."""
        loop = self._loop
        if loop is None or self._standing or not self._driver.acquire(False):
            self.close()
            return
        import asyncio

        self._loop = None
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - nobody forgot it: it was killed
        loop.close()
        self._driver.release()

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
            while True:
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt):
                    continue  # of one task: it has the exception, the others go on
                break
            loop.run_until_complete(_ending(loop))
        finally:
            loop.close()

    def _drive(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
        # Half the cost of run_until_complete, which makes a future of a future and wraps the context once more.
        self._thread_id = _thread.get_ident()
        self._driven = task = loop.create_task(self._to_the_end(loop, work))
        task.add_done_callback(_stop)
        try:
            loop.run_forever()
            if getattr(loop, "_ready", True):  # what the work set going as it ended, as closing a connection
                loop.call_soon(loop.stop)
                loop.run_forever()
            if not task.done():
                raise LifecycleError(
                    "the event loop was stopped before the work ended: do not call loop.stop() in a handler"
                )
        except (SystemExit, KeyboardInterrupt):
            if task.done():
                task.exception()  # it is this one, and asyncio shall not miss anybody who looked at it
            raise
        finally:
            if not task.done():  # stopped, or another task of the handler asked the process to exit
                _give_up(loop, task)
            self._driven = self._thread_id = None
        return task.result()

    async def _to_the_end(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
        """`work`, after which the loop stops with this turn: `_stop` would need one more."""
        task = cast("asyncio.Task[Any]", self._driven)
        try:
            return await work
        finally:
            if task is self._driven:  # else it was given up, and the loop runs for another event
                task.remove_done_callback(_stop)
                loop.stop()

    def _hand_over(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
        """Let the thread that runs the loop do the work; where it leaves the loop before that is done, drive it from here."""
        import asyncio
        from concurrent.futures import wait

        future = asyncio.run_coroutine_threadsafe(_contained(work), loop)
        if not self._standing:
            while not wait((future,), timeout=_LOOK_AGAIN).done:
                if self._driver.acquire(False):
                    try:
                        self._drive(loop, _awaiting(asyncio.wrap_future(future, loop=loop)))
                    finally:
                        self._driver.release()
        result, error = future.result()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there is one where there is no error


def _stop(task: asyncio.Task[Any]) -> None:
    # With these two, asyncio leaves run_forever by itself; a stop would only end the next run too early.
    if not task.cancelled() and isinstance(task.exception(), (SystemExit, KeyboardInterrupt)):
        return
    task.get_loop().stop()


def _give_up(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Cancel `task` and let its `finally` blocks run, or they would run in the middle of the next event."""
    task.cancel()
    timer = loop.call_later(_GRACE, loop.stop)
    try:
        loop.run_forever()
    except (SystemExit, KeyboardInterrupt):
        pass  # a second one: the first is on its way already
    finally:
        timer.cancel()
        task.remove_done_callback(_stop)


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


async def _contained(work: Coroutine[Any, Any, Result]) -> tuple[Result | None, BaseException | None]:
    # asyncio lets these two end the whole loop, and with it the work of every other caller.
    try:
        return await work, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


async def _bounded(awaitable: Awaitable[Result], budget: float) -> Result:
    # Not wait_for: it makes the work's own TimeoutError look like ours, and waits for ever for what ignores its cancellation.
    import asyncio

    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait((task,), timeout=budget)
    if done:
        return task.result()
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=max(budget, _GRACE))
    if done and not task.cancelled():
        task.exception()  # seen: what it raised while it was cancelled is not the news
    raise TimeoutError(
        f"it did not end within its {budget:.3f} s and was cancelled"
        + ("" if done else "; it ignores that and goes on beside the next event")
    )


async def _ending(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    left = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_GRACE)
    await asyncio.wait((asyncio.ensure_future(loop.shutdown_asyncgens()),), timeout=_GRACE)
