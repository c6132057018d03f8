"""
A Lambda platform in this process: the same instance, marker and journal as in production, without a network.

What happens to one environment of it is in `environment`.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import attrs

from warmstate.errors import ConfigurationError
from warmstate.lifecycle.environment import Environment as Facts
from warmstate.testing.any_platform import AnyPlatform
from warmstate.testing.clock import FakeClock
from warmstate.testing.connections import Connections
from warmstate.testing.environment import Environment
from warmstate.testing.timeline import Timeline
from warmstate.wire.runtime_api import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.handler import StatefulHandler
    from warmstate.testing.result import Result

__all__ = ["Platform"]


@attrs.define(slots=False, eq=False, repr=False)
class Platform(AnyPlatform):
    """
    Runs one handler as Lambda would: environments come when needed, are frozen between invocations, reset, and spun down.

    Args:
        target: A `StatefulHandler` subclass, or a plain `(event, context)` function.
        clock: The time; a `FakeClock` of its own if none is given.
        memory_mb: The function's memory size.
        timeout: Seconds that an invocation may take on the clock.
        thaw_after: Seconds of freeze from which an instance counts as thawed.
        shutdown_budget: Seconds that the last steps of a process may take.
        cut_after: Seconds of freeze after which the connections that this process opened are dead; None leaves them alone.
        variables: More environment variables of warmstate, such as `WARMSTATE_ADOPT`.

    Attributes:
        timeline: What happened so far; `print(platform.timeline)`.
        starts: How many invocations found their environment how: `{"cold": 1, "thaw": 2}`.
        watcher: Called as `watcher("handle", handler)` right before each `handle`, and with "answered" right after its answer left; None
            for nobody. Processes that run already are not watched.
    """

    target: type[StatefulHandler] | Callable[[Any, Any], object] = attrs.field()
    clock: FakeClock = attrs.field(factory=FakeClock, kw_only=True)
    shutdown_budget: float = attrs.field(default=0.3, kw_only=True)
    cut_after: float | None = attrs.field(default=None, kw_only=True)
    watcher: Callable[[str, Any], object] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.timeline = Timeline(self.clock.wall)
        self._connections = Connections()
        self._environments: list[Environment] = []
        self._made = self._used = 0

    def __repr__(self) -> str:
        name = getattr(self.target, "__name__", repr(self.target))
        return f"<Platform for {name}, {len(self._environments)} environments>"

    def invoke(
        self,
        event: object = None,
        *,
        payload: bytes | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        instance: str | None = None,
        content_type: str = "application/json",
    ) -> Result:
        """
        Deliver an event and return what the caller gets; starts an environment where none is there.

        Args:
            event: What JSON can hold.
            payload: The bytes of the event instead.
            request_id: Give that of an earlier invocation to deliver it again.
            tenant_id: The tenant the event is for; each tenant has environments of its own.
            instance: The environment to use, as named by `ps`.
            content_type: Of the payload.
        """
        invocation = self._invocation(event, payload, request_id, tenant_id, content_type)
        environment = self._for_tenant(tenant_id, instance)
        return self._noted("invoke", environment.serve(invocation))

    def invoke_and_die(
        self,
        event: object = None,
        *,
        request_id: str | None = None,
        just_before: Callable[[Any], object] = lambda _handler: None,
    ) -> Result:
        """
        Deliver an event to a process that is killed after its commit and before its answer leaves; `/tmp` stays.

        `just_before` is called with the handler when it is about to be killed.
        """
        environment = self._for_tenant(None, None)
        invocation = self._invocation(event, None, request_id, None, "application/json")
        return self._noted("die", environment.serve(invocation, dying=just_before))

    def freeze(
        self,
        instance: str | None = None,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        monotonic_counts: bool = True,
    ) -> list[Environment]:
        """Keep all environments, or one, frozen for so long, without waiting; `monotonic_counts` as in `FakeClock.advance`."""
        chosen = self._chosen(instance)
        for environment in chosen:
            environment.freeze()
        length = seconds + 60.0 * minutes
        self.timeline.add("freeze", instance, f"for {length:g} s")
        self.clock.advance(length, monotonic_counts=monotonic_counts)
        if self.cut_after is not None and length > self.cut_after:
            self.cut_connections()
        return chosen

    def thaw(self, instance: str | None = None) -> list[Environment]:
        """Let all environments, or one, run without an event."""
        return self._each("thaw", instance, Environment.thaw)

    def reset(self, instance: str | None = None) -> list[Environment]:
        """End the processes after their last steps; the next invocation finds a new one with the same `/tmp`."""
        return self._each("reset", instance, Environment.reset)

    def kill(self, instance: str | None = None) -> list[Environment]:
        """End the processes at once, without any hook; the next invocation finds a new one with the same `/tmp`."""
        return self._each("kill", instance, Environment.kill)

    def spindown(self, instance: str | None = None) -> list[Environment]:
        """End the environments, `/tmp` with them, after the last steps of their processes."""
        chosen = self._chosen(instance)
        for environment in chosen:
            environment.end("spindown")
            environment.remove()
            self._environments.remove(environment)
        self.timeline.add("spindown", instance)
        return chosen

    def scale(self, count: int) -> list[Environment]:
        """Have `count` environments: those prepared ahead start "provisioned", those too many are spun down."""
        while len(self._environments) < count:
            self._new(provisioned=True).start()
        while len(self._environments) > count:
            self.spindown(self._environments[-1].instance)
        self.timeline.add("scale", told=f"to {count}")
        return self.ps()

    def ps(self) -> list[Environment]:
        """All environments, oldest first."""
        return list(self._environments)

    def state(self, instance: str | None = None) -> dict[str, Any]:
        """
        What the only instance, or one by name, holds: sizes and counts of slots, tails, resources and store.

        Raises:
            LifecycleError: it has no process.
        """
        return self._one(instance).inspect()

    def cut_connections(self) -> int:
        """
        Break the TCP connections that this process has opened since the platform was made, as a long freeze does on Lambda.

        Returns how many. Connections that a test's own client holds are among them; those that its servers accepted are not.
        """
        count = self._connections.cut()
        self.timeline.add("cut", told=f"{count} connections")
        return count

    @property
    def handler(self) -> Any:
        """The user's object in the only environment, to look at its state."""
        return self._one(None).handler

    def now(self) -> tuple[float, float]:
        """The wall and the monotonic clock."""
        return self.clock.wall(), self.clock.monotonic()

    def close(self) -> None:
        """Remove everything without running anything more of the user's code; safe to repeat."""
        while self._environments:
            self._environments.pop().remove()

    def facts(self, tmp: str, *, provisioned: bool) -> Facts:
        """The facts of an environment whose `/tmp` is `tmp`."""
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/function",
            "AWS_LAMBDA_LOG_STREAM_NAME": tmp,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency" if provisioned else "on-demand",
            "WARMSTATE_THAW_AFTER": str(self.thaw_after),
            **self.variables,
            "WARMSTATE_TMP": tmp,
        }
        return Facts.from_mapping(variables)

    def _invocation(
        self, event: object, payload: bytes | None, request_id: str | None, tenant_id: str | None, content_type: str
    ) -> Invocation:
        return Invocation(
            request_id or str(uuid.uuid4()),
            json.dumps({} if event is None else event).encode() if payload is None else payload,
            deadline_ms=int((self.clock.wall() + self.timeout) * 1000),
            invocation_id=str(uuid.uuid4()),
            function_arn="arn:aws:lambda:us-east-1:123456789012:function:function",
            tenant_id=tenant_id,
            content_type=content_type,
        )

    def _new(self, *, provisioned: bool = False) -> Environment:
        self._made += 1
        self._used += 1
        environment = Environment(f"i-{self._made}", self, provisioned=provisioned)
        environment.last_used = self._used
        self._environments.append(environment)
        return environment

    def _for_tenant(self, tenant_id: str | None, instance: str | None) -> Environment:
        if instance is not None:
            environment = self._one(instance)
        else:
            free = [one for one in self._environments if one.tenant_id == tenant_id or not one.invocations]
            environment = max(free, key=lambda one: one.last_used) if free else self._new()
            environment.tenant_id = tenant_id
        self._used += 1
        environment.last_used = self._used
        return environment

    def _each(self, verb: str, instance: str | None, work: Callable[[Environment], None]) -> list[Environment]:
        chosen = self._chosen(instance)
        self.timeline.add(verb, instance)
        for environment in chosen:
            work(environment)
        return chosen

    def _chosen(self, instance: str | None) -> list[Environment]:
        return self.ps() if instance is None else [self._one(instance)]

    def _one(self, instance: str | None) -> Environment:
        for environment in self._environments:
            if instance is None or environment.instance == instance:
                return environment
        names = ", ".join(environment.instance for environment in self._environments) or "none: invoke first"
        raise ConfigurationError(f"there is no environment {instance or 'yet'}; there are: {names}")
