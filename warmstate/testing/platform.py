"""
A Lambda platform in this process: the same instance, marker and journal as in production, without a network.

1. One process is one `Instance`; that it "dies" means that nothing of it runs any more and its files are let go of as they are.
2. Between two invocations an environment is frozen, so all time that passes there on the clock counts as a freeze.
3. Each environment has a directory of its own for its `/tmp`, which resets keep and a spindown removes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from warmstate.errors import ConfigurationError, LifecycleError
from warmstate.instance import Instance
from warmstate.lifecycle.environment import Environment as Facts
from warmstate.lifecycle.events import Init, Shutdown
from warmstate.lifecycle.machine import Lifecycle
from warmstate.lifecycle.marker import Claim, claim
from warmstate.lifecycle.notices import Notices
from warmstate.lifecycle.thaw import thaw_between
from warmstate.testing.clock import FakeClock
from warmstate.wire.failure import failure_from
from warmstate.wire.runtime_api import Failure, Invocation, StreamedSuccess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from warmstate.context import Context
    from warmstate.handler import StatefulHandler
    from warmstate.instance import Answer
    from warmstate.instance.closing import ShutdownReport
    from warmstate.lifecycle.events import ShutdownReason, StartKind

__all__ = ["Environment", "Platform", "Result"]

_INIT_SECONDS = 10.0
_SHUTDOWN_SECONDS = 0.3


@attrs.frozen
class Result:
    """
    What a caller got.

    `function_error` is None or "Unhandled", `error_type` the failure's type. `start` says how the invocation found its instance.
    `chunks` are the pieces of a streamed answer, whose whole is `payload`.
    """

    payload: bytes
    content_type: str
    function_error: str | None
    error_type: str | None
    request_id: str
    instance: str
    start: StartKind | None
    chunks: tuple[bytes, ...] = ()

    def json(self) -> Any:
        """
        The payload, decoded.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.payload)


class _Told(Notices):
    """Keeps what the runtime said, for tests to look at."""

    __slots__ = ("_keys", "said")

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self._keys: set[str] = set()

    def info(self, message: str, **fields: object) -> None:
        """Keep it."""
        self.said.append(("info", message))

    def warning(self, message: str, **fields: object) -> None:
        """Keep it."""
        self.said.append(("warning", message))

    def error(self, message: str, **fields: object) -> None:
        """Keep it."""
        self.said.append(("error", message))

    def once(self, key: str, message: str, **fields: object) -> None:
        """Keep it the first time."""
        if key not in self._keys:
            self._keys.add(key)
            self.said.append(("warning", message))


class Environment:
    """
    One execution environment: its `/tmp`, and the process in it, if there is one.

    `handler` is the user's object, to look at its state; `notices` are (level, message) of what the runtime said.
    """

    def __init__(self, name: str, platform: Platform, *, provisioned: bool) -> None:
        self.name = name
        self.tmp = tempfile.mkdtemp(prefix="warmstate-test-")
        self.starts: Counter[str] = Counter()
        self.invocations = 0
        self.last_shutdown: ShutdownReport | None = None
        self.tenant_id: str | None = None
        self._platform = platform
        self._provisioned = provisioned
        self._told = _Told()
        self._lifecycle = Lifecycle("ended")
        self._claim: Claim | None = None
        self._instance: Instance | None = None
        self._idle_since: tuple[float, float] | None = None
        self._by_hand = False

    def __repr__(self) -> str:
        return f"<Environment {self.name}, {self.state}, {self.invocations} invocations>"

    @property
    def state(self) -> str:
        """Where its process is in the lifecycle: "frozen", "idle", "ended", ..."""
        return self._lifecycle.state

    @property
    def generation(self) -> int:
        """How many processes it has started."""
        return 0 if self._claim is None else self._claim.generation

    @property
    def handler(self) -> StatefulHandler | None:
        """The user's object in the present process; None without one, and for a plain function."""
        return None if self._instance is None else self._instance.handler

    @property
    def notices(self) -> list[tuple[str, str]]:
        """What the runtime said, oldest first."""
        return list(self._told.said)

    def inspect(self) -> dict[str, object]:
        """
        What the instance holds, as plain values.

        Raises:
            LifecycleError: there is no process.
        """
        if self._instance is None:
            raise LifecycleError(f"{self.name} has no process to look into: invoke it first")
        return self._instance.inspect()

    def start(self) -> None:
        """
        Start a process and run its init.

        Raises:
            BaseException: whatever the user's code raised.
        """
        platform = self._platform
        self._lifecycle.push("start")
        facts = platform.facts(self.tmp, provisioned=self._provisioned)
        self._claim = claimed = claim(self.tmp, environment=facts, clock=platform.clock, notices=self._told)
        claimed.write("init")
        instance = Instance(
            platform.target, facts, directory=claimed.directory, clock=platform.clock, notices=self._told
        )
        before = claimed.predecessor
        try:
            instance.init(
                Init(
                    claimed.start,
                    claimed.generation,
                    claimed.reset_reason,
                    _INIT_SECONDS,
                    claimed.fence,
                    clock=platform.clock,
                ),
                interrupted=before.request_id if before is not None and before.phase == "invoke" else None,
            )
        except BaseException:
            self._lifecycle.push("init_error")
            claimed.close("exit")
            self._lifecycle.push("exit")
            raise
        self._instance = instance
        self._next()

    def serve(self, invocation: Invocation) -> tuple[Answer | None, Result]:
        """Deliver one invocation and return what became of it; a process that is missing is started."""
        platform = self._platform
        if self._instance is None:
            try:
                self.start()
            except BaseException as error:  # noqa: BLE001 - init is the user's code
                return None, self._failed(invocation, failure_from(error), None)
        self.thaw()
        instance, claimed = self._instance, self._claim
        assert instance is not None  # just started
        assert claimed is not None
        thaw = None
        now = (platform.clock.wall(), platform.clock.monotonic())
        if self._idle_since is not None:
            thaw = thaw_between(self._idle_since, now, thaw_after=platform.thaw_after)
        self._lifecycle.push("invoke")
        claimed.write("invoke", invocation.request_id, invocation.deadline_ms)
        answer = instance.invoke(invocation, thaw=thaw)
        result = self._deliver(invocation, answer)
        if platform.clock.wall() * 1000.0 >= invocation.deadline_ms:
            # The platform has killed it by now, whatever it made of its answer.
            self._lifecycle.push("timeout")
            claimed.say("term")
            self._die()
            seconds = platform.timeout
            message = f"RequestId: {invocation.request_id} Error: Task timed out after {seconds:.2f} seconds"
            body = json.dumps({"errorType": "Sandbox.Timedout", "errorMessage": message}).encode()
            return answer, self._failed(invocation, Failure("Sandbox.Timedout", body), answer.context)
        self._lifecycle.push("response" if result.function_error is None else "error")
        instance.finish(answer)
        self.invocations += 1
        claimed.answered()
        if answer.wants_reset:
            instance.shutdown(Shutdown("failure", _SHUTDOWN_SECONDS, clock=platform.clock))
            claimed.close("exit")
            self._die()
        else:
            self._next()
        return answer, result

    def freeze(self, seconds: float, *, monotonic_counts: bool = True) -> None:
        """Keep it frozen for so long, on the clock."""
        if self._lifecycle.allows("freeze"):
            self._lifecycle.push("freeze")
        self._by_hand = True
        self._platform.clock.advance(seconds, monotonic_counts=monotonic_counts)

    def thaw(self) -> None:
        """Let it run; an invocation does so by itself."""
        if self._lifecycle.state == "frozen":
            self._lifecycle.push("thaw")

    def reset(self) -> None:
        """End the process after its last steps, as the platform does on a failure; `/tmp` stays."""
        self.end("failure")

    def kill(self) -> None:
        """End the process between two instructions: no hook, no flush; `/tmp` stays."""
        self._die()

    def end(self, reason: ShutdownReason) -> None:
        """Send SIGTERM, so to speak: the last steps run, then the process ends."""
        self.thaw()
        if self._instance is None or self._claim is None:
            return
        self._lifecycle.push("terminate")
        self._claim.say("term")
        shutdown = Shutdown(reason, _SHUTDOWN_SECONDS, clock=self._platform.clock)
        self.last_shutdown = self._instance.shutdown(shutdown)
        self._claim.close("exit")
        self._die()

    def remove(self) -> None:
        """The environment is gone, `/tmp` with it."""
        self._die()
        shutil.rmtree(self.tmp, ignore_errors=True)

    def _next(self) -> None:
        assert self._claim is not None
        self._lifecycle.push("next")
        self._claim.write("next")
        self._lifecycle.push("freeze")
        self._idle_since = (self._platform.clock.wall(), self._platform.clock.monotonic())

    def _die(self) -> None:
        if self._instance is not None:
            self._instance.abandon()
            self._instance = None
        if self._claim is not None:
            generation = self._claim.generation
            self._claim.abandon()
            self._claim.generation = generation
        if self._lifecycle.allows("kill"):
            self._lifecycle.push("kill")
        self._idle_since = None

    def _deliver(self, invocation: Invocation, answer: Answer) -> Result:
        outcome = answer.outcome
        context = answer.context
        self.starts[context.start] += 1
        if isinstance(outcome, Failure):
            return self._failed(invocation, outcome, context)
        if not isinstance(outcome, StreamedSuccess):
            return self._succeeded(invocation, outcome.body, outcome.content_type, context)
        chunks: list[bytes] = []
        try:
            chunks.extend(outcome.chunks)
        except BaseException as error:  # noqa: BLE001 - the user's generator may raise anything
            failed = failure_from(error, request_id=invocation.request_id)
            return attrs.evolve(self._failed(invocation, failed, context), chunks=tuple(chunks))
        whole = self._succeeded(invocation, b"".join(chunks), outcome.content_type, context)
        return attrs.evolve(whole, chunks=tuple(chunks))

    def _succeeded(self, invocation: Invocation, body: bytes, content_type: str, context: Context) -> Result:
        return Result(body, content_type, None, None, invocation.request_id, self.name, context.start)

    def _failed(self, invocation: Invocation, failure: Failure, context: Context | None) -> Result:
        start = None if context is None else context.start
        return Result(
            failure.body,
            "application/json",
            "Unhandled",
            failure.error_type,
            invocation.request_id,
            self.name,
            start,
        )


class Platform:
    """
    Runs one handler as Lambda would: environments come when needed, are frozen between invocations, reset, and spun down.

    Args:
        target: A `StatefulHandler` subclass, or a plain `(event, context)` function.
        clock: The time; a `FakeClock` of its own if none is given.
        memory_mb: The function's memory size.
        timeout: Seconds that an invocation may take on the clock.
        thaw_after: Seconds of freeze from which an instance counts as thawed.
        variables: More environment variables of warmstate, such as `WARMSTATE_ADOPT`.
    """

    def __init__(
        self,
        target: type[StatefulHandler] | Callable[[Any, Any], object],
        *,
        clock: FakeClock | None = None,
        memory_mb: int = 1024,
        timeout: float = 30.0,
        thaw_after: float = 1.0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.target = target
        self.clock = FakeClock() if clock is None else clock
        self.timeout = timeout
        self.thaw_after = thaw_after
        self._memory_mb = memory_mb
        self._variables = dict(variables or {})
        self._environments: list[Environment] = []
        self._made = 0

    def __repr__(self) -> str:
        name = getattr(self.target, "__name__", repr(self.target))
        return f"<Platform for {name}, {len(self._environments)} environments>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

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
        invocation = Invocation(
            request_id or str(uuid.uuid4()),
            json.dumps({} if event is None else event).encode() if payload is None else payload,
            deadline_ms=int((self.clock.wall() + self.timeout) * 1000),
            invocation_id=str(uuid.uuid4()),
            function_arn="arn:aws:lambda:us-east-1:123456789012:function:function",
            tenant_id=tenant_id,
            content_type=content_type,
        )
        return self._for_tenant(tenant_id, instance).serve(invocation)[1]

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
            environment.freeze(0.0)
        self.clock.advance(seconds + 60.0 * minutes, monotonic_counts=monotonic_counts)
        return chosen

    def thaw(self, instance: str | None = None) -> list[Environment]:
        """Let all environments, or one, run without an event."""
        return self._each(instance, Environment.thaw)

    def reset(self, instance: str | None = None) -> list[Environment]:
        """End the processes after their last steps; the next invocation finds a new one with the same `/tmp`."""
        return self._each(instance, Environment.reset)

    def kill(self, instance: str | None = None) -> list[Environment]:
        """End the processes at once, without any hook; the next invocation finds a new one with the same `/tmp`."""
        return self._each(instance, Environment.kill)

    def spindown(self, instance: str | None = None) -> list[Environment]:
        """End the environments, `/tmp` with them, after the last steps of their processes."""
        chosen = self._chosen(instance)
        for environment in chosen:
            environment.end("spindown")
            environment.remove()
            self._environments.remove(environment)
        return chosen

    def scale(self, count: int) -> list[Environment]:
        """Prepare environments ahead until there are `count`; their first invocation starts "provisioned"."""
        while len(self._environments) < count:
            self._new(provisioned=True).start()
        return self.ps()

    def ps(self) -> list[Environment]:
        """All environments, oldest first."""
        return list(self._environments)

    @property
    def handler(self) -> Any:
        """The user's object in the only environment, to look at its state."""
        return self._one(None).handler

    def close(self) -> None:
        """Remove everything without running anything more of the user's code; safe to repeat."""
        while self._environments:
            self._environments.pop().remove()

    def facts(self, tmp: str, *, provisioned: bool) -> Facts:
        """The facts of an environment whose `/tmp` is `tmp`."""
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/function",
            "AWS_LAMBDA_LOG_STREAM_NAME": tmp,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency" if provisioned else "on-demand",
            "WARMSTATE_THAW_AFTER": str(self.thaw_after),
            **self._variables,
            "WARMSTATE_TMP": tmp,
        }
        return Facts.from_mapping(variables)

    def _new(self, *, provisioned: bool = False) -> Environment:
        self._made += 1
        environment = Environment(f"i-{self._made}", self, provisioned=provisioned)
        self._environments.append(environment)
        return environment

    def _for_tenant(self, tenant_id: str | None, instance: str | None) -> Environment:
        if instance is not None:
            return self._one(instance)
        for environment in self._environments:
            if environment.tenant_id == tenant_id or not environment.invocations:
                environment.tenant_id = tenant_id
                return environment
        environment = self._new()
        environment.tenant_id = tenant_id
        return environment

    def _each(self, instance: str | None, verb: Callable[[Environment], None]) -> list[Environment]:
        chosen = self._chosen(instance)
        for environment in chosen:
            verb(environment)
        return chosen

    def _chosen(self, instance: str | None) -> list[Environment]:
        return self.ps() if instance is None else [self._one(instance)]

    def _one(self, instance: str | None) -> Environment:
        for environment in self._environments:
            if instance is None or environment.name == instance:
                return environment
        names = ", ".join(environment.name for environment in self._environments) or "none: invoke first"
        raise ConfigurationError(f"there is no environment {instance or 'yet'}; there are: {names}")
