"""
The open resources of one handler: who gets which object, when it is checked, replaced and closed.

1. One object per resource (or per invocation, with `shared=False`), opened on first use. Whoever asks while it is being
   opened waits for that one attempt, and shares its failure.
2. Before an invocation's first use the object is replaced when it is over (age, expiry, a replaced dependency) and checked
   when it was idle or frozen for too long. What passed within `check_after` is not asked anything.
3. An invocation keeps its object to its end. A replaced one is closed when its last user ends.
4. User code (open, check, close) runs outside all locks but the resource's own, and never twice at once for one object.
5. What to do with an object is decided in `renewal`, and done by `driver`; this module knows who uses what.
"""

from __future__ import annotations

from _contextvars import ContextVar

from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.lifecycle.notices import Notices
from warmstate.warm.resources import freezes
from warmstate.warm.resources.driver import Driver
from warmstate.warm.resources.opening import Opening
from warmstate.warm.resources.renewal import CLOSE_BUDGET, Renewal
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol, TypeAlias

    from warmstate.lifecycle.events import Thaw
    from warmstate.warm.resources.opened import Opened
    from warmstate.warm.resources.resource import AsyncResource, Resource

    class HasResources(Protocol):
        """What a handler class declares, as far as resources go."""

        @property
        def resources(self) -> Mapping[str, Resource[Any] | AsyncResource[Any]]: ...

    Declared: TypeAlias = Resource[Any] | AsyncResource[Any]

__all__ = ["Overrun", "ResourcePool"]

_attempt: ContextVar[object] = ContextVar("warmstate_attempt")


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

    __slots__ = ("_clock", "_declarations", "_driver", "_handler", "_leases", "_notices", "_openings", "_renewal")

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
        self._renewal = Renewal(handler, clock, self._notices)
        self._driver = Driver(self._renewal, call)
        self._openings: dict[str, Opening] = {}
        self._leases: dict[object, dict[str, Opened]] = {}
        early: ResourcePool | None = handler.__dict__.get("_warmstate_resources")
        if early is not None:
            self._take_over(early)
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
        with self._renewal.lock:
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
            opening.enter(self._renewal.path())
            try:
                opened = self._driver.drive(self._renewal.acquire(opening, opening.arrivals))
                self._lease(opened, leases)
            finally:
                opening.leave()
        self._renewal.note_dependency(opened)
        return opened.value

    async def value_async(self, resource: AsyncResource[Any]) -> Any:
        """The same for an async resource, awaited on the loop that asks."""
        leases = self._leases_here()
        opened = leases.get(resource.name) if leases is not None else None
        if opened is None:
            opening = self._opening_of(resource)
            arrivals = opening.arrivals
            async with opening.turn(self._renewal.path()):
                opened = await self._driver.drive_async(self._renewal.acquire(opening, arrivals))
                self._lease(opened, leases)
        self._renewal.note_dependency(opened)
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
                    self._driver.call(self._renew_async, opening)
                else:
                    opening.enter(self._renewal.path())
                    try:
                        self._driver.drive(self._renewal.acquire(opening, opening.arrivals))
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
        with self._renewal.lock:
            self._renewal.retired.clear()
            self._leases = {attempt: {} for attempt in self._leases}
        for left, opened in zip(range(len(everything), 0, -1), reversed(everything), strict=True):
            share = max(0.01, (ends - self._clock.monotonic()) / left)
            self._withdraw(opened)  # not before: what is closed first may still use it
            if opened.stuck or not self._close_now(opened, share):
                overruns.append(Overrun(opened.resource.name, share))
        return overruns

    def info(self) -> dict[str, dict[str, object]]:
        """Each resource by name as plain values: phase, times in seconds, counts."""
        declared = {} if self._declarations is None else dict(self._declarations.resources)
        for name, opening in list(self._openings.items()):
            declared[name] = opening.resource
        return {name: self._opening_of(resource).info(self._clock) for name, resource in declared.items()}

    # Bookkeeping

    def _take_over(self, early: ResourcePool) -> None:
        """What the handler's `__init__` opened, before there was an instance around it, is this pool's."""
        self._openings = early._openings
        self._renewal.continue_from(early._renewal)
        for opened in self._everything():
            opened.begin(self._clock)

    async def _renew_async(self, opening: Opening) -> None:
        async with opening.turn(self._renewal.path()):
            await self._driver.drive_async(self._renewal.acquire(opening, opening.arrivals))

    def _close_now(self, opened: Opened, budget: float) -> bool:
        return bool(self._driver.drive(self._renewal.close(opened, budget)))

    def _withdraw(self, opened: Opened) -> None:
        """Nobody who asks from now on gets it."""
        with self._renewal.lock:
            opened.retired = True
            opening = self._openings[opened.resource.name]
            if opening.current is opened:
                opening.current = None
            elif opened in opening.idle:
                opening.idle.remove(opened)

    def _opening_of(self, resource: Declared) -> Opening:
        opening = self._openings.get(resource.name)
        if opening is None:
            with self._renewal.lock:
                opening = self._openings.setdefault(resource.name, Opening(resource))
        return opening

    def _leases_here(self) -> dict[str, Opened] | None:
        leases = self._leases.get(_attempt.get(None))
        if leases is None and len(self._leases) == 1:  # a thread that the only invocation in flight started
            leases = next(iter(list(self._leases.values())), None)
        return leases

    def _lease(self, opened: Opened, leases: dict[str, Opened] | None) -> None:
        with self._renewal.lock:
            if leases is None:  # outside an invocation nothing is kept: it is borrowed for the moment
                if not opened.resource.shared:
                    self._openings[opened.resource.name].idle.append(opened)
            elif opened.resource.name not in leases:
                leases[opened.resource.name] = opened
                opened.leases += 1

    def _everything(self) -> list[Opened]:
        """All open objects in the order in which they were opened."""
        with self._renewal.lock:
            found = {id(opened): opened for opened in self._renewal.retired}
            for opening in self._openings.values():
                if opening.current is not None:
                    found[id(opening.current)] = opening.current
                found.update((id(opened), opened) for opened in opening.idle)
            for leases in self._leases.values():
                found.update((id(opened), opened) for opened in leases.values())
        return sorted(found.values(), key=lambda opened: opened.number)
