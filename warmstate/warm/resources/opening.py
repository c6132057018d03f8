"""How one resource is opened: one attempt at a time, and no hammering on a factory that keeps failing."""

from __future__ import annotations

import _thread

from warmstate.errors import ResourceError
from warmstate.wire.failure import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from warmstate.lifecycle.clock import Clock
    from warmstate.warm.resources.opened import Opened
    from warmstate.warm.resources.resource import AsyncResource, Resource

__all__ = ["Opening"]

FREE_FAILURES = 2
"""So many failures in a row are each followed by a new attempt at the next use: one may be chance."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""After them the factory is left alone for half a second, doubled with each further failure up to half a minute."""


class Opening:
    """
    The turnstile before a resource's generator method, with the counts of what went through.

    `current` is the shared object, `idle` holds those of `shared=False` that no invocation uses.
    `arrivals` grows with each finished attempt, so that one who waited can tell that the attempt it waited for failed.
    """

    __slots__ = (
        "_async_lock",
        "_lock",
        "_loop",
        "_owner",
        "_pause_until_mono",
        "_pause_until_wall",
        "arrivals",
        "checks",
        "current",
        "error",
        "failed_checks",
        "failures",
        "idle",
        "opened",
        "replaced",
        "resource",
    )

    def __init__(self, resource: Resource[Any] | AsyncResource[Any]) -> None:
        self.resource = resource
        self.current: Opened | None = None
        self.idle: list[Opened] = []
        self.arrivals = self.opened = self.replaced = self.checks = self.failed_checks = self.failures = 0
        self.error: BaseException | None = None
        self._lock = _thread.allocate_lock()
        self._owner = 0
        self._async_lock: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause_until_wall = self._pause_until_mono = 0.0

    def __repr__(self) -> str:
        return f"<Opening of {self.resource.qualified_name}, opened {self.opened} times, {self.failures} failures in a row>"

    def enter(self, path: tuple[str, ...]) -> None:
        """Wait for the turn to look at, check or open the object; `path` names what is being opened around it."""
        self._refuse_cycle(path)
        if self.resource.shared:
            self._lock.acquire()

    def leave(self) -> None:
        """The turn is over."""
        if self.resource.shared:
            self._lock.release()

    def turn(self, path: tuple[str, ...]) -> asyncio.Lock | _NoTurn:
        """The same as an async context manager, for tasks of one event loop."""
        self._refuse_cycle(path)
        if not self.resource.shared:
            return _NoTurn()
        import asyncio

        # A lock belongs to the loop that first waits on it, and one process may see several in tests.
        loop = asyncio.get_running_loop()
        if self._async_lock is None or self._loop is not loop:
            self._async_lock = asyncio.Lock()
            self._loop = loop
        return self._async_lock

    def take(self, lock: _thread.LockType) -> Opened | None:
        """The object to look at: the shared one, or one that is idle."""
        if self.resource.shared:
            return self.current
        with lock:
            return self.idle.pop() if self.idle else None

    def raise_if_failing(self, arrivals: int, clock: Clock) -> None:
        """
        Refuse an attempt that would only repeat a failure.

        Raises:
            ResourceError: the attempt that the caller waited for failed, or failures in a row made the factory rest.
        """
        if self.error is None:
            return
        name = self.resource.qualified_name
        if self.arrivals != arrivals:
            raise ResourceError(f"{name} could not be opened: {describe(self.error)}") from self.error
        # Over when either clock says so: a freeze may stop one of them.
        pause = min(self._pause_until_wall - clock.wall(), self._pause_until_mono - clock.monotonic())
        if pause > 0.0:
            raise ResourceError(
                f"{name} failed to open {self.failures} times in a row, the last time with {describe(self.error)}; "
                f"the next attempt is in {pause:.1f} s"
            ) from self.error

    def failed(self, error: BaseException, clock: Clock) -> ResourceError:
        """The factory raised `error`: the error to raise instead, which names the resource."""
        self.arrivals += 1
        self.failures += 1
        self.error = error
        if self.failures > FREE_FAILURES:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.failures - FREE_FAILURES - 1, 16))
            self._pause_until_wall = clock.wall() + pause
            self._pause_until_mono = clock.monotonic() + pause
        what = (
            "its generator method ended without a yield"
            if isinstance(error, (StopIteration, StopAsyncIteration))
            else describe(error)
        )
        return ResourceError(f"{self.resource.qualified_name} could not be opened: {what}")

    def succeeded(self, opened: Opened) -> None:
        """The factory yielded."""
        self.arrivals += 1
        self.opened += 1
        self.failures = 0
        self.error = None
        if self.resource.shared:
            self.current = opened

    def info(self, clock: Clock) -> dict[str, object]:
        """Phase, times in seconds and counts, as plain values."""
        opened = self.current or (self.idle[-1] if self.idle else None)
        phase = "failing" if self.error is not None else "closed" if opened is None else "open"
        expires_in = None if opened is None or opened.expires_at is None else round(opened.expires_at - clock.wall(), 3)
        return {
            "phase": phase,
            "age": None if opened is None else round(opened.age(clock), 3),
            "idle": None if opened is None else round(opened.idle(clock), 3),
            "expires_in": expires_in,
            "in_use": 0 if opened is None else opened.leases,
            "opened": self.opened,
            "replaced": self.replaced,
            "checks": self.checks,
            "failed_checks": self.failed_checks,
            "failures": self.failures,
            "error": None if self.error is None else describe(self.error),
            "shared": self.resource.shared,
            "async": self.resource.is_async,
        }

    def _refuse_cycle(self, path: tuple[str, ...]) -> None:
        name = self.resource.name
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise ResourceError(
                f"resources need each other in a circle: {circle}; take what they share out into a third one"
            )


class _NoTurn:
    """Stands for the lock where everybody may go at once."""

    __slots__ = ()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass
