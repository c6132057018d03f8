"""
The open resources of one handler: who gets which object, when it is checked, replaced and closed.

1. One object per resource (or per invocation, with `shared=False`), opened on first use. Whoever asks while it is being
   opened waits for that one attempt, and shares its failure.
2. Before an invocation's first use the object is replaced when it is over (age, expiry, a replaced dependency) and checked
   when it was idle or frozen for too long. What passed within `check_after` is not asked anything.
3. An invocation keeps its object to its end. A replaced one is closed when its last user ends.
4. User code (open, check, close) runs outside all locks but the resource's own, and never twice at once for one object.
5. The decisions are written once, as steps that a driver performs: `value` performs them here and now, `value_async` awaits.
"""

from __future__ import annotations

import _thread
from _contextvars import ContextVar

from warmstate.errors import LifecycleError
from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm import freezes
from warmstate.warm.bounded import Overran, bounded
from warmstate.warm.opened import Opened
from warmstate.warm.opening import Opening, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import Any, Protocol, TypeAlias

    from warmstate.lifecycle.events import Thaw
    from warmstate.warm.resource import AsyncResource, Resource

    class HasResources(Protocol):
        """What a handler class declares, as far as resources go."""

        @property
        def resources(self) -> Mapping[str, Resource[Any] | AsyncResource[Any]]: ...

    Declared: TypeAlias = Resource[Any] | AsyncResource[Any]
    Step: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], float | None, Opened | None]
    Steps: TypeAlias = Generator[Step, Any, Opened]

__all__ = ["CHECK_BUDGET", "Overrun", "ResourcePool"]

CHECK_BUDGET = 0.2
"""Seconds for a check; what does not answer within a fifth of a second is replaced, which is what a dead peer looks like."""
CLOSE_BUDGET = 0.5
"""Seconds for closing a replaced object; at shutdown the platform's budget is shared out instead."""

_attempt: ContextVar[object] = ContextVar("warmstate_attempt")
_opening: ContextVar[tuple[tuple[str, list[Opened]], ...]] = ContextVar("warmstate_opening", default=())


class Overrun:
    """A resource whose close was cut: its name, and the seconds it was given."""

    __slots__ = ("name", "seconds")

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"<Overrun {self.name} after {self.seconds:.3f} s>"


class ResourcePool:
    """
    Opens, checks, replaces and closes the resources of `handler`.

    Args:
        handler: The object whose class declares them.
        declarations: What the class declares, for `info`; resources are found by use too.
        clock: Ages and expiry are read from it.
        notices: Hears of replaced and failing resources.
        call: `call(function, *arguments, budget=None)` runs a function that may be async to its end; without it resources
            that are async can be used, but not closed or checked from here.
    """

    __slots__ = (
        "_call",
        "_clock",
        "_declarations",
        "_handler",
        "_leases",
        "_lock",
        "_notices",
        "_numbers",
        "_openings",
        "_retired",
    )

    def __init__(
        self,
        handler: object,
        declarations: HasResources | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        notices: Notices | None = None,
        call: Callable[..., Any] | None = None,
    ) -> None:
        self._handler = handler
        self._declarations = declarations
        self._clock = clock
        self._notices = Notices() if notices is None else notices
        self._call = _call_sync if call is None else call
        self._lock = _thread.allocate_lock()
        self._openings: dict[str, Opening] = {}
        self._leases: dict[object, dict[str, Opened]] = {}
        self._retired: list[Opened] = []
        self._numbers = 0
        handler.__dict__["_warmstate_resources"] = self

    def __repr__(self) -> str:
        return f"<ResourcePool of {type(self._handler).__qualname__}, {len(self._everything())} open, {len(self._leases)} leasing>"

    # What an invocation does

    def begin(self, attempt: object) -> None:
        """From here on `attempt` (any hashable object) keeps the objects that it uses, until `end`."""
        self._leases[attempt] = {}
        _attempt.set(attempt)

    def end(self, attempt: object) -> None:
        """The attempt is over: what it used is free, and what was replaced meanwhile is closed."""
        leases = self._leases.pop(attempt, None)
        if not leases:
            return
        free: list[Opened] = []
        with self._lock:
            for opened in leases.values():
                opened.leases -= 1
                opened.touch(self._clock)
                if opened.is_free:
                    free.append(opened)
                elif not opened.resource.shared and not opened.retired:
                    self._openings[opened.resource.name].idle.append(opened)
        for opened in free:
            self._close_now(opened, CLOSE_BUDGET)

    def value(self, resource: Resource[Any]) -> Any:
        """
        The open value of `resource` for the attempt that asks.

        Raises:
            ResourceError: it cannot be opened.
        """
        leases = self._leases_here()
        opened = leases.get(resource.name) if leases is not None else None
        if opened is None:
            opening = self._opening_of(resource)
            opening.enter(_path())
            try:
                opened = self._drive(self._acquire(opening, opening.arrivals))
                self._lease(opened, leases)
            finally:
                opening.leave()
        self._note_dependency(opened)
        return opened.value

    async def value_async(self, resource: AsyncResource[Any]) -> Any:
        """The same for an async resource, awaited on the loop that asks."""
        leases = self._leases_here()
        opened = leases.get(resource.name) if leases is not None else None
        if opened is None:
            opening = self._opening_of(resource)
            arrivals = opening.arrivals
            async with opening.turn(_path()):
                opened = await self._drive_async(self._acquire(opening, arrivals))
                self._lease(opened, leases)
        self._note_dependency(opened)
        return opened.value

    # What the instance does

    def thawed(self, thaw: Thaw) -> None:
        """
        A freeze just ended: check and renew what is open and stale, in the order in which it was opened.

        One that cannot be opened now is left closed, with a notice, and opened at its next use.
        """
        freezes.ended(thaw.frozen_for)
        for opened in self._everything():
            opened.frozen += thaw.frozen_for
        for opened in self._everything():
            opening = self._openings[opened.resource.name]
            if opened.leases or opened.retired or not opened.resource.shared:
                continue  # what belongs to one invocation alone is looked at when the next one takes it
            if not (opened.over(self._clock) or opened.is_due(self._clock)):
                continue
            try:
                if opened.resource.is_async:
                    self._call(self._renew_async, opening)
                else:
                    opening.enter(_path())
                    try:
                        self._drive(self._acquire(opening, opening.arrivals))
                    finally:
                        opening.leave()
            except Exception as error:  # noqa: BLE001 - it is tried again where it is used, and fails that invocation there
                self._notices.warning(
                    f"{opened.resource.qualified_name} could not be renewed after a freeze: {describe(error)}"
                )

    def close_all(self, budget: float) -> list[Overrun]:
        """
        Close everything, last opened first, each with an equal share of what is left of `budget` seconds.

        A close that fails or hangs does not keep the others from closing; what hangs is left and returned.
        A resource that is used again afterwards is opened anew.
        """
        ends = self._clock.monotonic() + budget
        everything = self._everything()
        overruns: list[Overrun] = []
        with self._lock:
            for opening in self._openings.values():
                opening.current = None
                opening.idle.clear()
            self._retired.clear()
            self._leases = {attempt: {} for attempt in self._leases}
        for left, opened in zip(range(len(everything), 0, -1), reversed(everything), strict=True):
            share = max(0.01, (ends - self._clock.monotonic()) / left)
            opened.retired = True
            if opened.stuck or not self._close_now(opened, share):
                overruns.append(Overrun(opened.resource.name, share))
        return overruns

    def info(self) -> dict[str, dict[str, object]]:
        """Each resource by name as plain values: phase, times in seconds, counts."""
        declared = {} if self._declarations is None else dict(self._declarations.resources)
        for name, opening in list(self._openings.items()):
            declared[name] = opening.resource
        return {name: self._opening_of(resource).info(self._clock) for name, resource in declared.items()}

    # Decisions, as steps: (function, arguments, budget or None, the object it is about)

    def _acquire(self, opening: Opening, arrivals: int) -> Steps:
        """The object to use now: the present one if it is good, else a new one."""
        opened = opening.take(self._lock)
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
        token = _opening.set((*_opening.get(), (resource.name, needs)))
        try:
            generator: Any = resource.method(self._handler)
            step = generator.__anext__ if resource.is_async else generator.__next__
            value = yield step, (), None, None
            opened = Opened(resource, value, generator, self._clock, number=self._next_number(), needs=needs)
        except BaseException as error:
            with self._lock:
                for need in needs:
                    need.dependents -= 1
            if not isinstance(error, Exception):
                raise
            raise opening.failed(error, self._clock) from error
        finally:
            _opening.reset(token)
        opening.succeeded(opened)
        return opened

    def _retire(self, opening: Opening, opened: Opened) -> Generator[Step, Any, None]:
        with self._lock:
            opened.retired = True
            if opening.current is opened:
                opening.current = None
            free = opened.is_free
            if not free:
                self._retired.append(opened)
        if free:
            yield from self._close(opened, CLOSE_BUDGET)

    def _close(self, opened: Opened, budget: float) -> Generator[Step, Any, bool]:
        """Run the generator to its end; False when that took too long and was cut."""
        with self._lock:
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
            self._notices.warning(f"closing {name} was cut: {describe(error)}")
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - one that fails to close must not keep the others open
            self._notices.warning(f"closing {name} failed: {describe(error)}")
        else:
            self._notices.warning(
                f"{name} yielded twice: what stands after the second yield never runs; write one yield"
            )
        with self._lock:
            if opened in self._retired:
                self._retired.remove(opened)
            free: list[Opened] = []
            for need in opened.needs:
                need.dependents -= 1
                if need.is_free and need in self._retired:
                    free.append(need)
        for need in free:
            yield from self._close(need, budget)
        return not cut

    # Drivers

    def _drive(self, steps: Generator[Step, Any, Any]) -> Any:
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
        self._close_now(opened, CLOSE_BUDGET)

    async def _drive_async(self, steps: Generator[Step, Any, Any]) -> Any:
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

    async def _renew_async(self, opening: Opening) -> None:
        async with opening.turn(_path()):
            await self._drive_async(self._acquire(opening, opening.arrivals))

    def _close_now(self, opened: Opened, budget: float) -> bool:
        return bool(self._drive(self._close(opened, budget)))

    # Bookkeeping

    def _opening_of(self, resource: Declared) -> Opening:
        opening = self._openings.get(resource.name)
        if opening is None:
            with self._lock:
                opening = self._openings.setdefault(resource.name, Opening(resource))
        return opening

    def _leases_here(self) -> dict[str, Opened] | None:
        leases = self._leases.get(_attempt.get(None))
        if leases is None and len(self._leases) == 1:  # a thread that the only invocation in flight started
            leases = next(iter(list(self._leases.values())), None)
        return leases

    def _lease(self, opened: Opened, leases: dict[str, Opened] | None) -> None:
        with self._lock:
            if leases is None:  # outside an invocation nothing is kept: it is borrowed for the moment
                if not opened.resource.shared:
                    self._openings[opened.resource.name].idle.append(opened)
            elif opened.resource.name not in leases:
                leases[opened.resource.name] = opened
                opened.leases += 1

    def _note_dependency(self, opened: Opened) -> None:
        path = _opening.get()
        if path and opened not in path[-1][1]:
            with self._lock:
                path[-1][1].append(opened)
                opened.dependents += 1

    def _next_number(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def _everything(self) -> list[Opened]:
        """All open objects in the order in which they were opened."""
        with self._lock:
            found = {id(opened): opened for opened in self._retired}
            for opening in self._openings.values():
                if opening.current is not None:
                    found[id(opening.current)] = opening.current
                found.update((id(opened), opened) for opened in opening.idle)
            for leases in self._leases.values():
                found.update((id(opened), opened) for opened in leases.values())
        return sorted(found.values(), key=lambda opened: opened.number)


def _path() -> tuple[str, ...]:
    """The names of the resources that are being opened here, outermost first."""
    return tuple(name for name, _ in _opening.get())


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
