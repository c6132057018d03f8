"""How code of the user is called: plain or async, on this thread or on the instance's event loop."""

from __future__ import annotations

import _thread
from _contextvars import copy_context

from warmstate._typing import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextvars import Context as Variables
    from typing import Any

    from warmstate.instance.event_loop import EventLoop

__all__ = ["UserCode"]


class UserCode:
    """
    Calls what the user wrote and waits for what is async; owns the instance's event loop.

    With `on_loop` (for `concurrency = "async"`) everything runs on the loop, also plain functions, so that no two pieces of
    the user's code ever run at the same instant.
    `standing` keeps the loop running on a thread of its own, for several invocations at once.
    """

    __slots__ = ("_lock", "_loop", "always_on_loop", "standing")

    def __init__(self, *, on_loop: bool = False, standing: bool = False) -> None:
        self.always_on_loop = on_loop and standing
        self.standing = standing
        self._loop: EventLoop | None = None
        self._lock = _thread.allocate_lock()

    def __repr__(self) -> str:
        return f"<UserCode {self._loop or 'without a loop'}>"

    def call(
        self, function: Callable[..., object], *arguments: object, budget: float | None = None, lasting: bool = False
    ) -> Any:
        """
        Call `function` and return its result, awaited if it is awaitable.

        `budget` is in seconds and cancels only what is async; a plain function cannot be interrupted from outside.
        With `lasting`, context variables that it sets stay set, also where it is async and so runs in a context of its own.

        Raises:
            TimeoutError: The budget was used up.
        """
        if self.always_on_loop:
            awaitable: Awaitable[Any] = _called(function, arguments)
        else:
            result = function(*arguments)
            if result is None or not hasattr(type(result), "__await__"):
                return result
            awaitable = cast("Awaitable[Any]", result)
        if not lasting:
            return self.wait(awaitable, budget=budget)
        result, variables = self.wait(_and_variables(awaitable), budget=budget)
        for variable, value in variables.items():
            variable.set(value)
        return result

    def wait(self, awaitable: Awaitable[Any], *, budget: float | None = None) -> Any:
        """Wait on the event loop for `awaitable`, at most `budget` seconds."""
        return self._the_loop().run(awaitable, budget=budget)

    def iterate(self, items: Any, left: Callable[[], float] | None = None) -> Iterator[Any]:
        """
        The items of a generator or an async generator; closing the iterator closes the generator.

        `left` tells how many seconds the next item of an async one may take; a plain one cannot be interrupted.
        """
        if hasattr(cast("object", type(items)), "__anext__"):
            return self._the_loop().iterate(items, left)
        if self.always_on_loop:
            return self._the_loop().iterate(_stepped(items))
        plain: Iterator[Any] = items
        return plain

    def close(self) -> None:
        """End the event loop, if there ever was one."""
        if self._loop is not None:
            self._loop.close()

    def abandon(self) -> None:
        """Let go of the event loop without running anything more on it."""
        if self._loop is not None:
            self._loop.abandon()

    def _the_loop(self) -> EventLoop:
        if self._loop is None:
            from warmstate.instance.event_loop import EventLoop

            with self._lock:
                loop = self._loop  # another thread may have been faster
                if loop is None:
                    loop = self._loop = EventLoop(standing=self.standing)
            return loop
        return self._loop


async def _called(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    result = function(*arguments)
    return await cast("Awaitable[object]", result) if hasattr(type(result), "__await__") else result


async def _and_variables(awaitable: Awaitable[object]) -> tuple[object, Variables]:
    return await awaitable, copy_context()


async def _stepped(items: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        for item in items:
            yield item
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
