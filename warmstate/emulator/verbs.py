"""The verbs on instances: freeze, thaw, reset, kill, spindown, scale, reload, cut, and a look at what they hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from warmstate.emulator.environment import Environment
from warmstate.emulator.facts import Instance, describe, describe_all
from warmstate.emulator.function import INSPECT_FILE
from warmstate.emulator.pool import Throttled
from warmstate.emulator.proxy import Cut, Forwarder
from warmstate.emulator.reload import Reloaded, reload
from warmstate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from warmstate.emulator.pool import Pool
    from warmstate.emulator.service import Service

__all__ = ["Verbs"]


class Verbs:
    """What can be done to the instances of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._forwarders: list[Forwarder] = []

    def environments(self, instance: str | None = None) -> list[tuple[Pool, Environment]]:
        """
        The environments that a verb means: one by name, or all.

        Raises:
            ConfigurationError: There is none of that name.
        """
        every = [(pool, environment) for pool in self._service.pools.values() for environment in pool.environments]
        if instance is None:
            return every
        found = [(pool, environment) for pool, environment in every if environment.instance == instance]
        if not found:
            names = ", ".join(environment.instance for _, environment in every) or "none"
            raise ConfigurationError(f"there is no instance {instance}; there are: {names}.")
        return found

    def _idle(self, instance: str | None, verb: str) -> list[tuple[Pool, Environment]]:
        found = self.environments(instance)
        if instance is not None and not found[0][1].is_idle:
            raise ConfigurationError(
                f"instance {instance} is {found[0][1].phase}; it can be told to {verb} when it is idle."
            )
        return [(pool, environment) for pool, environment in found if environment.is_idle]

    async def ps(self, function: str | None = None) -> list[Instance]:
        """The instances, oldest first."""
        wanted = self._service.pool(function).function.name if function else None
        found = self.environments()
        return [describe(environment) for pool, environment in found if wanted in {None, pool.function.name}]

    async def freeze(self, instance: str | None, seconds: float = 0.0) -> list[Instance]:
        """Freeze idle instances, and move their clocks ahead."""
        frozen = list[Environment]()
        for _, environment in self._idle(instance, "freeze"):
            if environment.freeze():
                await environment.freezer.settle()
                if seconds:
                    environment.freezer.move_clock(seconds)
                frozen.append(environment)
        return describe_all(frozen)

    async def thaw(self, instance: str | None) -> list[Instance]:
        """Thaw idle instances."""
        found = [environment for _, environment in self._idle(instance, "thaw")]
        for environment in found:
            environment.thaw()
        return describe_all(found)

    async def reset(self, instance: str | None) -> list[Instance]:
        """Reset idle instances."""
        return await self._each(instance, "reset", _reset)

    async def kill(self, instance: str | None) -> list[Instance]:
        """Kill the processes of instances, busy ones too."""
        found = [environment for _, environment in self.environments(instance)]
        await asyncio.gather(*(environment.crash() for environment in found))
        return describe_all(found)

    async def spindown(self, instance: str | None) -> list[Instance]:
        """Shut idle instances down."""
        found = self._idle(instance, "spin down")
        for _, environment in found:
            environment.reserved = True
        await asyncio.gather(*(pool.spin_down(environment) for pool, environment in found))
        return describe_all(environment for _, environment in found)

    async def scale(self, count: int, function: str | None) -> list[Instance]:
        """Have `count` initialized instances."""
        pool = self._service.pool(function)
        if not 0 <= count <= pool.function.max_instances:
            raise ConfigurationError(
                f"{count} instances are not possible: {pool.function.name} may have 0 to {pool.function.max_instances}."
            )
        with _told_of_a_removal():
            await pool.scale(count)
        return describe_all(pool.environments)

    async def warm_up(self, function: str | None) -> None:
        """Have an initialized instance, whose first event still is a cold start."""
        with _told_of_a_removal():
            await self._service.pool(function).warm_up()

    async def proxy(self, host: str, port: int) -> int:
        """A loopback port that forwards to `host`:`port` and whose connections `cut` can break."""
        forwarder = Forwarder(host, port)
        await forwarder.start()
        self._forwarders.append(forwarder)
        return forwarder.port

    async def cut(self, instance: str | None, how: Cut) -> int:
        """Break the forwarded connections of an instance, or of all; returns how many."""
        pids = [environment.sandbox.pid for _, environment in self.environments(instance)]
        count = sum(forwarder.cut(how, pid) for forwarder in self._forwarders for pid in pids if pid is not None)
        self._service.journal.add("warmstate.cut", instance=instance or "", how=how, connections=count)
        return count

    async def reload(self, function: str | None, *, keep: bool) -> list[Reloaded]:
        """Start the processes of a function's environments anew."""
        return await reload(self._service.pool(function), keep=keep)

    async def state(self, instance: str | None) -> dict[str, Any]:
        """What an instance wrote about itself."""
        found = self.environments(instance)
        if len(found) != 1:
            names = ", ".join(environment.instance for _, environment in found) or "none"
            raise ConfigurationError(f"name one instance; there are: {names}.")
        environment = found[0][1]
        try:
            with open(os.path.join(environment.sandbox.tmp, INSPECT_FILE), "rb") as file:  # noqa: ASYNC230 - in memory
                value: dict[str, Any] = json.loads(file.read())
        except (OSError, ValueError):
            raise ConfigurationError(
                f"instance {environment.instance} has written nothing about itself: it needs inspect=True, a runtime of "
                "warmstate's, and one invocation."
            ) from None
        return value

    async def _each(
        self, instance: str | None, verb: str, work: Callable[[Environment], Awaitable[None]]
    ) -> list[Instance]:
        found = [environment for _, environment in self._idle(instance, verb)]
        for environment in found:
            environment.reserved = True
        try:
            await asyncio.gather(*(work(environment) for environment in found))
        finally:
            for environment in found:
                environment.reserved = False
                environment.waits.changed()
        return describe_all(found)

    async def close(self) -> None:
        """Give up the forwarded connections."""
        for forwarder in self._forwarders:
            await forwarder.close()


@contextlib.contextmanager
def _told_of_a_removal() -> Generator[None]:
    """For who did not come with an event, that nothing starts any more is no lack of capacity."""
    try:
        yield
    except Throttled as error:
        raise ConfigurationError(f"{error}.") from None


async def _reset(environment: Environment) -> None:
    if environment.function.is_managed:  # such an environment is replaced
        await environment.close("failure")
    else:
        await environment.reset("failure", "asked for")
