"""Performing the steps that `renewal` decides on: here and now, or awaited on an event loop."""

from __future__ import annotations

from warmstate.errors import LifecycleError
from warmstate.warm.resources.bounded import Overran, bounded
from warmstate.warm.resources.renewal import CLOSE_BUDGET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from warmstate.warm.resources.opened import Opened
    from warmstate.warm.resources.renewal import Renewal, Step

__all__ = ["Driver"]


class Driver:
    """Performs steps; `call` runs a function that may be async to its end, from code that is not."""

    __slots__ = ("_call", "_renewal")

    def __init__(self, renewal: Renewal, call: Callable[..., Any] | None) -> None:
        self._renewal = renewal
        self._call = _call_sync if call is None else call

    def __repr__(self) -> str:
        return f"<Driver of {self._renewal!r}>"

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that may be async, and wait for its result."""
        return self._call(function, *arguments)

    def drive(self, steps: Generator[Step, Any, Any]) -> Any:
        """Perform the steps here and now."""
        try:
            function, arguments, budget, opened = next(steps)
            while True:
                try:
                    result = self._perform(function, arguments, budget, opened)
                except BaseException as error:  # noqa: BLE001 - the steps decide what it means
                    function, arguments, budget, opened = steps.throw(error)
                else:
                    function, arguments, budget, opened = steps.send(result)
        except StopIteration as over:
            return over.value

    def _perform(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], budget: float | None, opened: Opened | None
    ) -> Any:
        if budget is None or opened is None:
            return function(*arguments)
        if _is_async(function):
            return self._call(function, *arguments, budget=budget)
        if not arguments:  # the generator's next step, which closes it
            return bounded(function, budget=budget, subject=opened.value)
        opened.stuck = True
        try:
            result = bounded(
                function, *arguments, budget=budget, subject=opened.value, late=lambda: self._close_late(opened)
            )
        except Overran:
            raise  # it is stuck, until the thread that is in it comes back
        except BaseException:
            opened.stuck = False
            raise
        opened.stuck = False
        return result

    def _close_late(self, opened: Opened) -> None:
        """A check that was given up came back: nobody is in the object any more, so it can be closed."""
        opened.stuck = False
        self.drive(self._renewal.close(opened, CLOSE_BUDGET))

    async def drive_async(self, steps: Generator[Step, Any, Any]) -> Any:
        """Perform the steps, awaiting those that are async."""
        import asyncio

        try:
            function, arguments, budget, opened = next(steps)
            while True:
                try:
                    if not _is_async(function):
                        result = self._perform(function, arguments, budget, opened)
                    elif budget is None:
                        result = await function(*arguments)
                    else:
                        result = await asyncio.wait_for(function(*arguments), budget)
                except asyncio.TimeoutError as error:  # its own class before Python 3.11
                    function, arguments, budget, opened = steps.throw(
                        TimeoutError(str(error) or f"it did not end within {budget} s")
                    )
                except BaseException as error:  # noqa: BLE001 - the steps decide what it means
                    function, arguments, budget, opened = steps.throw(error)
                else:
                    function, arguments, budget, opened = steps.send(result)
        except StopIteration as over:
            return over.value


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives something to await: a coroutine function, or the next step of an async generator."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_flags & 0x80)  # inspect.CO_COROUTINE
    return getattr(function, "__name__", "") == "__anext__"


def _call_sync(function: Callable[..., Any], *arguments: Any, budget: float | None = None) -> Any:  # noqa: ARG001 - the signature of `call`
    result = function(*arguments)
    if hasattr(result, "__await__"):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise LifecycleError(
            "async resources are checked and closed by a running instance: drive the class with warmstate.testing"
        )
    return result
