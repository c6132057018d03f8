"""
The environments of one function: which of them takes an event, when another one starts, when one goes.

1. An idle environment takes the event; the one used last, as Lambda does, or as `strategy` says.
2. One whose caller has its answer and whose runtime is about to call next again is waited for.
3. One that starts ahead, or anew with changed code, is waited for by one event; by all where no more may start.
4. Else a new one starts, up to the function's limit; beyond it callers are throttled.
5. What is idle for too long, or too old, is spun down.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from warmstate.emulator.attached import AttachedEnvironment
from warmstate.emulator.attempt import NEW
from warmstate.emulator.environment import Environment
from warmstate.emulator.managed import ManagedEnvironment
from warmstate.emulator.mishaps import Mishaps
from warmstate.errors import WarmstateError
from warmstate.wire.invoke_api import invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from warmstate.emulator.attempt import Attempt, StartKind
    from warmstate.emulator.function import Function, InitializationType
    from warmstate.emulator.journal import Journal
    from warmstate.emulator.life import InitResult
    from warmstate.emulator.processes.processes import Warden

__all__ = ["Pool", "Throttled"]

SETTLE_GRACE: Final = 0.1
"""Seconds that an event waits for an environment that is about to be free, before another one is started."""
LAST_GRACE: Final = 1.0
"""The same on Managed Instances where no more may be started: a slot that is stuck in its handler may never come back."""
SWEEP: Final = 0.25
"""Seconds between two looks for environments that idled too long."""


class Throttled(WarmstateError):
    """Raised when every environment is busy and no more may be started."""


class Pool:
    """The environments of one function."""

    def __init__(self, function: Function, warden: Warden, journal: Journal, number: Callable[[], int]) -> None:
        self.function = function
        self.environments: list[Environment] = []
        self._warden = warden
        self._journal = journal
        self._number = number
        self._waiting: list[asyncio.Future[None]] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._mishaps = Mishaps(function.chaos, function.chaos_seed) if function.chaos else None
        self.starting: set[Environment] = set()
        """Those whose init is not for an event: the first that comes may have them."""
        self.closing = False

    def __repr__(self) -> str:
        return f"<Pool of {self.function.name}: {len(self.environments)} environments>"

    async def open(self) -> None:
        """Start the provisioned environments, and keep watch over the idle ones."""
        if self.function.attached:
            self.release(await self._new("on-demand"))
            return
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        if self.function.provisioned or self.function.is_managed or self.function.snap_start:
            await self.scale(max(1, self.function.provisioned))

    async def invoke(self, attempt: Attempt) -> None:
        """
        Run an attempt in one of the environments; returns at the end of its invoke phase.

        Raises:
            Throttled: There is none for it.
            ApiError: It names an instance that is not there.
        """
        environment = await self._acquire(attempt)
        try:
            if self._mishaps is not None:
                environment = await self._mishaps.strike(environment, lambda: self._replace(environment)) or environment
            await self._ensure_init(environment)
            self._check_open()
            await environment.invoke(attempt)
        finally:
            self.release(environment)

    def _check_open(self) -> None:
        if self.closing:
            raise Throttled(f"function {self.function.name} is being removed")

    async def _ensure_init(self, environment: Environment) -> None:
        """The first init of a new environment; when it fails, the invocation tries again within its own time."""
        if environment.generation == 0:
            await environment.init(self.function.init_limit, "snap-start" if self.function.snap_start else "init")
            environment.freeze_snapshot()

    async def _acquire(self, attempt: Attempt) -> Environment:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            self._check_open()
            found = self._pick(attempt)
            if found is not None:
                found.take()
                return found
            candidates = self._candidates(attempt)
            settling = any(environment.is_settling for environment in candidates)
            starting = self.starting.intersection(candidates) if attempt.on_instance != NEW else set[Environment]()
            room = attempt.on_instance in {"", NEW} and self._make_room(attempt)
            limit = SETTLE_GRACE if room else LAST_GRACE if self.function.is_managed else self.function.timeout
            if settling and loop.time() < begun + limit and not (room and attempt.on_instance == NEW):
                await self._wait(begun + limit)
            elif starting and (not room or len(self._waiting) < len(starting)):
                await self._wait(loop.time() + self.function.init_limit)
            elif room:
                return await self._new(self.function.initialization_type)
            elif attempt.on_instance not in {"", NEW, *(environment.instance for environment in self.environments)}:
                raise invalid_parameter(self._no_instance(attempt.on_instance))
            else:
                raise Throttled(f"all {len(self.environments)} instances of {self.function.name} are busy")

    def _candidates(self, attempt: Attempt) -> list[Environment]:
        """The environments that may serve this attempt at all."""
        return [
            environment
            for environment in self.environments
            if attempt.on_instance in {"", NEW, environment.instance}
            and not (self.function.tenant_isolation and environment.tenant_id not in {None, attempt.tenant_id})
        ]

    def _pick(self, attempt: Attempt) -> Environment | None:
        free = [e for e in self._candidates(attempt) if e.is_free and e not in self.starting]
        if not free or attempt.on_instance == NEW:
            return None
        if self.function.strategy == "newest":
            return max(free, key=lambda environment: environment.created)
        choose = max if self.function.strategy == "aws" else min
        return choose(free, key=lambda environment: environment.last_used)

    def _make_room(self, attempt: Attempt) -> bool:
        """Whether one more may start; an idle environment of another tenant gives way, or any to one that must be new."""
        if len(self.environments) < (1 if self.function.attached else self.function.max_instances):
            return True
        if self.function.tenant_isolation or (attempt.on_instance == NEW and not self.function.attached):
            others = [environment for environment in self.environments if environment.is_idle]
            if others:
                self._give_up(min(others, key=lambda environment: environment.last_used))
                return True
        return False

    def _no_instance(self, name: str) -> str:
        names = ", ".join(environment.instance for environment in self.environments) or "none"
        return f"there is no instance {name} of function {self.function.name}; there are: {names}"

    def _give_up(self, environment: Environment) -> None:
        """Another one is to start in its place; it is spun down meanwhile."""
        environment.reserved = True
        self.environments.remove(environment)
        self._in_background(environment.close("spindown"))

    def _replace(self, environment: Environment) -> Awaitable[Environment]:
        """A new environment in the place of one that is spun down."""
        self._give_up(environment)
        return self._new(self.function.initialization_type)

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        """What goes on while other things happen; the end of the pool waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make(self, kind: InitializationType) -> Environment:
        make = (
            AttachedEnvironment
            if self.function.attached
            else ManagedEnvironment
            if self.function.is_managed
            else Environment
        )
        return make(self.function, self._warden, self._journal, f"i-{self._number()}", kind)

    async def _new(self, kind: InitializationType) -> Environment:
        self._check_open()
        environment = self._make(kind)
        environment.on_change, environment.on_gone = self.wake, self._drop
        self.environments.append(environment)
        first: dict[InitializationType, StartKind] = {"provisioned-concurrency": "provisioned", "snap-start": "restore"}
        environment.mark_start(first.get(kind, "cold"))
        try:
            await environment.open()
        except BaseException:
            self._drop(environment)
            raise
        return environment

    def release(self, environment: Environment) -> None:
        """The environment is free again: frozen at once, unless somebody waits for it."""
        if environment.gone:
            self._drop(environment)
            return
        environment.give_back()
        if self._waiting:
            self.wake()
            asyncio.get_running_loop().call_soon(self._rest, environment)
        else:
            self._rest(environment)

    def _rest(self, environment: Environment) -> None:
        if environment.is_free and self.function.freeze and not self.function.is_managed:
            environment.freeze()

    def wake(self) -> None:
        """Something changed that a waiting event may be about."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _wait(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        timer = loop.call_at(deadline, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()

    # --- verbs --------------------------------------------------------------------------------------------------------

    async def scale(self, count: int) -> None:
        """Have `count` initialized environments: start what is missing, spin down the idle ones beyond."""
        missing = count - len(self.environments)
        if missing > 0:
            kind: InitializationType = self.function.initialization_type
            if kind == "on-demand":
                kind = "provisioned-concurrency"
            await asyncio.gather(*(self._start_ahead(kind) for _ in range(missing)))
        for environment in [e for e in self.environments if e.is_free][: max(0, -missing)]:
            await self.spin_down(environment)

    async def warm_up(self) -> None:
        """Initialize an environment ahead of the first event, unless there is one."""
        if not self.environments:
            await self._start_ahead(self.function.initialization_type)

    async def _start_ahead(self, kind: InitializationType) -> None:
        environment = await self._new(kind)
        limit = max(130.0, self.function.timeout) if kind != "on-demand" else self.function.init_limit
        self.starting.add(environment)
        try:
            await environment.init(limit, "snap-start" if self.function.snap_start else "init")
        finally:
            self.starting.discard(environment)
            self.release(environment)

    async def rehearse(self) -> InitResult:
        """Try the function's init in an environment that gets no event; it is killed afterwards, hooks and all."""
        environment = self._make(self.function.initialization_type)
        try:
            await environment.open()
            return await environment.init(
                self.function.init_limit, "snap-start" if self.function.snap_start else "init"
            )
        finally:
            await environment.close("spindown", abrupt=True)

    async def spin_down(self, environment: Environment, *, abrupt: bool = False) -> None:
        """End one environment in the orderly way, or without a word; its /tmp goes with it."""
        self._drop(environment)
        await environment.close(abrupt=abrupt)

    def _drop(self, environment: Environment) -> None:
        if environment in self.environments:
            self.environments.remove(environment)
        self.wake()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            for environment in list(self.environments):
                if environment.is_idle and self._is_due(environment, loop.time() - environment.last_used):
                    self._give_up(environment)
                    if environment.kind == "provisioned-concurrency":  # it was too old; as many are kept
                        self._in_background(self._start_ahead(environment.kind))

    def _is_due(self, environment: Environment, idle: float) -> bool:
        """Whether it was idle for too long, or lives for too long; what was asked for ahead is kept until it is too old."""
        idle_limit, age_limit = self.function.idle_timeout, self.function.max_age
        if age_limit is not None and time.time() - environment.created > age_limit:
            return True
        return idle_limit is not None and idle > idle_limit and environment.kind in {"on-demand", "snap-start"}

    async def close(self) -> None:
        """End all environments, all at once."""
        self.closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.gather(*(self.spin_down(environment) for environment in list(self.environments)))
        await asyncio.gather(*self._tasks, return_exceptions=True)  # what was to start does not any more
