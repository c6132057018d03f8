"""
The decisions about one open object: is it still good, what takes its place, when is it closed.

They are generators that yield what must be done, `(function, arguments, budget or None, the object it is about)`, and get its
result or its error. So they are written once, for the thread that does it here and now and for the task that awaits it.
"""

from __future__ import annotations

import _thread
from _contextvars import ContextVar

from warmstate.warm.resources.bounded import Overran
from warmstate.warm.resources.opened import Opened
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeAlias

    from warmstate.lifecycle.clock import Clock
    from warmstate.lifecycle.notices import Notices
    from warmstate.warm.resources.opening import Opening

    Step: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], float | None, Opened | None]
    Steps: TypeAlias = Generator[Step, Any, Opened]

__all__ = ["CHECK_BUDGET", "CLOSE_BUDGET", "Renewal"]

CHECK_BUDGET = 0.2
"""Seconds for a check; what does not answer within a fifth of a second is replaced, which is what a dead peer looks like."""
CLOSE_BUDGET = 0.5
"""Seconds for closing a replaced object; at shutdown the platform's budget is shared out instead."""

_being_opened: ContextVar[tuple[tuple[str, list[Opened]], ...]] = ContextVar("warmstate_being_opened", default=())


class Renewal:
    """
    Decides for the resources of one handler.

    `lock` guards the counts of all `Opened`, and `retired`: the replaced objects that somebody still uses.
    """

    __slots__ = ("_clock", "_handler", "_notices", "_numbers", "lock", "retired")

    def __init__(self, handler: object, clock: Clock, notices: Notices) -> None:
        self._handler = handler
        self._clock = clock
        self._notices = notices
        self._numbers = 0
        self.lock = _thread.allocate_lock()
        self.retired: list[Opened] = []

    def __repr__(self) -> str:
        return f"<Renewal, {self._numbers} opened, {len(self.retired)} retired>"

    def continue_from(self, earlier: Renewal) -> None:
        """What is opened from here on comes after what was opened there."""
        self._numbers = earlier._numbers
        self.retired = earlier.retired

    @staticmethod
    def path() -> tuple[str, ...]:
        """The names of the resources that are being opened here, outermost first."""
        return tuple(name for name, _ in _being_opened.get())

    def note_dependency(self, opened: Opened) -> None:
        """What is being opened here, if anything, needs `opened`."""
        being_opened = _being_opened.get()
        if being_opened and opened not in being_opened[-1][1]:
            with self.lock:
                being_opened[-1][1].append(opened)
                opened.dependents += 1

    def acquire(self, opening: Opening, arrivals: int) -> Steps:
        """The object to use now: the present one if it is good, else a new one."""
        opened = opening.take(self.lock)
        if opened is not None:
            why = yield from self._verdict(opening, opened)
            if why is None:
                opened.touch(self._clock)
                return opened
            self._notices.info(f"{opened.resource.qualified_name} is replaced: {why}")
            opening.replaced += 1
            yield from self._retire(opening, opened)
        opening.raise_if_failing(arrivals, self._clock)
        return (yield from self._open(opening))

    def _verdict(self, opening: Opening, opened: Opened) -> Generator[Step, Any, str | None]:
        """Why `opened` must be replaced, or None."""
        why = opened.over(self._clock)
        if why is not None or not opened.is_due(self._clock):
            return why
        opening.checks += 1
        check = getattr(self._handler, opened.resource.check_name or "")
        try:
            yield check, (opened.value,), CHECK_BUDGET, opened
        except Exception as error:  # noqa: BLE001 - raising is how a check says no
            opening.failed_checks += 1
            return f"its check failed: {describe(error)}"
        return None

    def _open(self, opening: Opening) -> Steps:
        resource = opening.resource
        needs: list[Opened] = []
        token = _being_opened.set((*_being_opened.get(), (resource.name, needs)))
        try:
            generator: Any = resource.method(self._handler)
            step = generator.__anext__ if resource.is_async else generator.__next__
            value = yield step, (), None, None
            opened = Opened(resource, value, generator, self._clock, number=self._number(), needs=needs)
        except BaseException as error:
            with self.lock:
                for need in needs:
                    need.dependents -= 1
            if not isinstance(error, Exception):
                raise
            raise opening.failed(error, self._clock) from error
        finally:
            _being_opened.reset(token)
        opening.succeeded(opened)
        return opened

    def _retire(self, opening: Opening, opened: Opened) -> Generator[Step, Any, None]:
        with self.lock:
            opened.retired = True
            if opening.current is opened:
                opening.current = None
            free = opened.is_free
            if not free:
                self.retired.append(opened)
        if free:
            yield from self.close(opened, CLOSE_BUDGET)

    def close(self, opened: Opened, budget: float) -> Generator[Step, Any, bool]:
        """Run the generator to its end; False when that took too long and was cut."""
        with self.lock:
            if opened.closed:
                return True
            opened.closed = True
        resource = opened.resource
        name = resource.qualified_name
        cut = False
        generator: Any = opened.generator
        try:
            yield (generator.__anext__ if resource.is_async else generator.__next__), (), budget, opened
        except (StopIteration, StopAsyncIteration):
            pass
        except TimeoutError as error:
            cut = resource.is_async or isinstance(error, Overran)
            self._notices.warning(f"Closing {name} was cut: {describe(error)}")
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - one that fails to close must not keep the others open
            self._notices.warning(f"Closing {name} failed: {describe(error)}")
        else:
            self._notices.warning(
                f"{name} yielded twice: what stands after the second yield never runs; write one yield"
            )
        with self.lock:
            if opened in self.retired:
                self.retired.remove(opened)
            free: list[Opened] = []
            for need in opened.needs:
                need.dependents -= 1
                if need.is_free and need in self.retired:
                    free.append(need)
        for need in free:
            yield from self.close(need, budget)
        return not cut

    def _number(self) -> int:
        with self.lock:
            self._numbers += 1
            return self._numbers
