"""The service behind every door (Python, HTTP, command line): functions by name, invocations, verbs."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
import math
import os
import time
import traceback
from typing import TYPE_CHECKING, Any

import attrs

from warmstate.emulator.asynchronous import EventQueue
from warmstate.emulator.attempt import Attempt, StartKind
from warmstate.emulator.environment import Environment
from warmstate.emulator.function import INSPECT_FILE, Function
from warmstate.emulator.http_server import HttpServer
from warmstate.emulator.pool import Pool, Throttled
from warmstate.emulator.processes import Warden
from warmstate.emulator.proxy import Cut, Forwarder
from warmstate.emulator.recorder import Recorded, Recorder
from warmstate.emulator.reload import Reloaded, reload
from warmstate.errors import ConfigurationError
from warmstate.wire import invoke_api as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from warmstate.emulator.journal import Journal
    from warmstate.wire.invoke_api import InvocationType

__all__ = ["Instance", "InvokeResult", "Service"]


@attrs.frozen(kw_only=True)
class InvokeResult:
    """
    What a caller got.

    `status` is that of HTTP: 200, 202 for "Event", 204 for "DryRun". `function_error` is None or "Unhandled".
    `init_failed` tells a function that did not even start from one that failed.
    `start` says how the invocation found the instance. `log_tail` is the end of its log, at most 4 KB.
    Times are in milliseconds; `duration_ms` runs from the event to the runtime's next next.
    """

    status: int
    payload: bytes = b""
    content_type: str = "application/json"
    function_error: str | None = None
    error_type: str | None = None
    init_failed: bool = False
    request_id: str = ""
    executed_version: str = "$LATEST"
    trace_id: str = ""
    instance: str = ""
    start: StartKind | None = None
    duration_ms: float = 0.0
    init_ms: float | None = None
    max_memory_mb: int = 0
    log_tail: str = ""

    def json(self) -> Any:
        """
        The payload, decoded.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.payload)


@attrs.frozen(kw_only=True)
class Instance:
    """
    One environment as `ps` shows it.

    `state` is init, idle, frozen, running, stopping or reset; ages are in seconds, sizes in bytes.
    """

    instance: str
    function: str
    state: str
    pid: int | None
    generation: int
    invocations: int
    starts: dict[str, int]
    age: float
    idle: float
    frozen_for: float
    memory_bytes: int
    memory_limit: int
    tmp: str
    tmp_bytes: int
    tmp_limit: int
    tenant_id: str | None = None


class Service:
    """All functions of one emulator; lives on its event loop."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.warden = Warden()
        self.pools: dict[str, Pool] = {}
        self.events = EventQueue(self)
        self.recorder = Recorder()
        self.url = ""
        self.token: str | None = None
        self._count = itertools.count(1)
        self._server: HttpServer | None = None
        self._forwarders: list[Forwarder] = []
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, journal: Journal, *, host: str, port: int, token: str | None, isolate: bool) -> Service:
        """Start the warden and the server."""
        from warmstate.emulator.front import Front

        if token is None and not _is_loopback(host):
            raise ConfigurationError(
                f"{host} can be reached from other machines, and whoever reaches it can run code here: give a token as well."
            )
        self = cls(journal)
        self.token = token
        await self.warden.start(isolate=isolate)
        front = Front(self)
        self._server = HttpServer(front.serve, on_error=front.note_error)
        try:
            await self._server.start(host, port)
        except BaseException:
            await self.warden.close()
            raise
        front.listen_at(host, self._server.port)
        shown = "127.0.0.1" if host in {"", "0.0.0.0"} else host
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self._server.port}"
        return self

    async def close(self) -> None:
        """Spin down everything and stop serving."""
        await self.events.close()
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))
        for forwarder in self._forwarders:
            await forwarder.close()
        if self._server is not None:
            await self._server.close()
        await self.warden.close()

    # --- functions ----------------------------------------------------------------------------------------------------

    async def add(self, function: Function) -> None:
        """Add or replace a function."""
        old = self.pools.pop(function.name, None)
        if old is not None:
            await old.close()
        pool = self.pools[function.name] = Pool(function, self.warden, self.journal, lambda: next(self._count))
        await pool.open()

    async def remove(self, name: str) -> None:
        """Remove a function."""
        await self.pools.pop(self.pool(name).function.name).close()

    def pool(self, name: str | None) -> Pool:
        """
        The function that a caller means; "function" and "_" are the only one, as other emulators call it.

        Raises:
            ApiError: There is no such function.
        """
        target = wire.parse_target(name) if name else None
        if target is not None and target.name in self.pools:
            return self.pools[target.name]
        if len(self.pools) == 1 and (target is None or target.name in {"function", "_"}):
            return next(iter(self.pools.values()))
        known = sorted(self.pools)
        if target is None:
            raise ConfigurationError(f"name one of the functions: {', '.join(known) or 'none was added'}.")
        raise wire.not_found(f"arn:aws:lambda:us-east-1:123456789012:function:{target.name}", known)

    # --- invocations --------------------------------------------------------------------------------------------------

    async def invoke(
        self,
        name: str,
        payload: bytes,
        *,
        type: InvocationType = "RequestResponse",
        client_context: str | None = None,
        tenant_id: str | None = None,
        trace_id: str | None = None,
        request_id: str = "",
        qualifier: str = "",
        instance: str = "",
    ) -> InvokeResult:
        """Invoke a function and wait for the end of its invoke phase, so that all figures are there."""
        qualifier = qualifier or wire.parse_target(name).qualifier
        pool = self.pool(name)
        self.check(pool.function, payload, type, tenant_id)
        attempt = Attempt(
            payload or b"{}",
            request_id=request_id,
            client_context=client_context,
            tenant_id=tenant_id,
            trace_id=trace_id,
            qualifier=qualifier,
            on_instance=instance,
        )
        if type == "DryRun":
            return InvokeResult(status=204, request_id=attempt.request_id)
        if type == "Event":
            self.events.put(pool, attempt)
            return InvokeResult(status=202, request_id=attempt.request_id)
        await self.run(pool, attempt)
        return self.result(pool, attempt)

    def check(self, function: Function, payload: bytes, type: str, tenant_id: str | None) -> None:
        """
        Refuse what the service refuses before any function sees it.

        Raises:
            ApiError: Payload too large or not JSON, tenant missing or not wanted.
        """
        limit = wire.EVENT_LIMIT if type == "Event" else wire.PAYLOAD_LIMIT
        if len(payload) > limit:
            raise wire.too_large(len(payload), limit)
        if payload:
            try:
                json.loads(payload)
            except (ValueError, RecursionError) as error:
                raise wire.bad_event(str(error)) from None
        if function.tenant_isolation and tenant_id is None:
            raise wire.invalid_parameter(
                "The invoked function is enabled with tenancy configuration. Add a valid tenant ID."
            )
        if not function.tenant_isolation and tenant_id is not None:
            raise wire.invalid_parameter(
                "The invoked function is not enabled with tenancy configuration. Remove the tenant ID."
            )

    async def run(self, pool: Pool, attempt: Attempt) -> None:
        """
        Run an attempt to the end of its invoke phase.

        Raises:
            ApiError: It is throttled, or the emulator cannot run it.
        """
        recorded = Recorded(
            attempt.request_id, pool.function.name, attempt.payload, attempt.client_context, attempt.tenant_id
        )
        self.recorder.add(recorded)
        try:
            await pool.invoke(attempt)
        except Throttled:
            self.journal.add("warmstate.throttled", pool.function.name, requestId=attempt.request_id)
            raise wire.throttled() from None
        recorded.outcome = summary(self.result(pool, attempt))

    def begin(self, pool: Pool, attempt: Attempt) -> asyncio.Task[None]:
        """Run an attempt in a task of its own, which goes on when its caller has gone."""
        task = asyncio.get_running_loop().create_task(self.run(pool, attempt))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, wire.ApiError):
            text = "".join(traceback.format_exception(error))
            self.journal.add("warmstate.fault", error=f"{type(error).__name__}: {error}", traceback=text)

    def result(self, pool: Pool, attempt: Attempt, log_tail: str = "") -> InvokeResult:
        """What the caller of a finished attempt gets."""
        answer = attempt.answer.result()
        return InvokeResult(
            status=200,
            payload=answer.payload,
            content_type=answer.content_type,
            function_error="Unhandled" if answer.error_type else None,
            error_type=answer.error_type or None,
            init_failed=attempt.init_failed,
            request_id=attempt.request_id,
            executed_version=pool.function.version,
            trace_id=attempt.trace_id,
            instance=attempt.instance,
            start=attempt.start,
            duration_ms=attempt.duration_ms,
            init_ms=attempt.init_ms,
            max_memory_mb=attempt.max_memory_mb,
            log_tail=attempt.log_tail.decode("utf-8", "replace"),
        )

    async def recorded(self, request_id: str) -> dict[str, Any]:
        """
        A recorded invocation.

        Raises:
            ApiError: It is not kept.
        """
        found = self._find(request_id)
        return {
            "requestId": found.request_id,
            "function": found.function,
            "event": found.payload.decode("utf-8", "replace"),
            "outcome": found.outcome,
        }

    async def replay(self, request_id: str) -> dict[str, Any]:
        """Send a recorded event again."""
        found = self._find(request_id)
        result = await self.invoke(
            found.function, found.payload, client_context=found.client_context, tenant_id=found.tenant_id
        )
        return {
            "requestId": result.request_id,
            "function": found.function,
            "event": found.payload.decode("utf-8", "replace"),
            "outcome": summary(result),
        }

    def _find(self, request_id: str) -> Recorded:
        found = self.recorder.find(request_id)
        if found is None:
            message = f"no recorded invocation has an id that begins with {request_id[:100]}, or several have"
            raise wire.ApiError(404, "ResourceNotFoundException", message)
        return found

    # --- verbs --------------------------------------------------------------------------------------------------------

    def environments(self, instance: str | None = None) -> list[tuple[Pool, Environment]]:
        """
        The environments that a verb means: one by name, or all.

        Raises:
            ConfigurationError: There is none of that name.
        """
        every = [(pool, environment) for pool in self.pools.values() for environment in pool.environments]
        if instance is None:
            return every
        found = [(pool, environment) for pool, environment in every if environment.instance == instance]
        if not found:
            names = ", ".join(environment.instance for _, environment in every) or "none"
            raise ConfigurationError(f"there is no instance {instance}; there are: {names}.")
        return found

    def _idle(self, instance: str | None, verb: str) -> list[tuple[Pool, Environment]]:
        found = self.environments(instance)
        if instance is not None and not found[0][1].is_free:
            raise ConfigurationError(
                f"instance {instance} is {found[0][1].phase}; it can be told to {verb} when it is idle."
            )
        return [(pool, environment) for pool, environment in found if environment.is_free]

    async def ps(self, function: str | None = None) -> list[Instance]:
        """The instances, oldest first."""
        wanted = self.pool(function).function.name if function else None
        found = self.environments()
        return [describe(environment) for pool, environment in found if wanted in {None, pool.function.name}]

    async def freeze(self, instance: str | None, seconds: float = 0.0) -> list[Instance]:
        """Freeze idle instances, and move their clocks ahead."""
        frozen = list[Environment]()
        for _, environment in self._idle(instance, "freeze"):
            if environment.freeze():
                await environment.settled_freeze()
                if seconds:
                    environment.move_clock(seconds)
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
        pool = self.pool(function)
        if not 0 <= count <= pool.function.max_instances:
            raise ConfigurationError(
                f"{count} instances are not possible: {pool.function.name} may have 0 to {pool.function.max_instances}."
            )
        await pool.scale(count)
        return describe_all(pool.environments)

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
        self.journal.add("warmstate.cut", instance=instance or "", how=how, connections=count)
        return count

    async def reload(self, function: str | None, *, keep: bool) -> list[Reloaded]:
        """Start the processes of a function's environments anew."""
        return await reload(self.pool(function), keep=keep)

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
                environment.changed()
        return describe_all(found)


async def _reset(environment: Environment) -> None:
    await environment.reset("failure", "asked for")


def describe(environment: Environment) -> Instance:
    """One environment as `ps` shows it."""
    function, sandbox = environment.function, environment.sandbox
    now = asyncio.get_running_loop().time()
    return Instance(
        instance=environment.instance,
        function=function.name,
        state=environment.phase,
        pid=sandbox.pid,
        generation=environment.generation,
        invocations=environment.invocations,
        starts={str(kind): count for kind, count in environment.starts.items()},
        age=time.time() - environment.created,
        idle=0.0 if environment.current is not None else now - environment.last_used,
        frozen_for=environment.frozen_for(),
        memory_bytes=sandbox.memory_bytes(),
        memory_limit=function.memory_mb << 20,
        tmp="" if environment.gone else sandbox.tmp,
        tmp_bytes=0 if environment.gone else sandbox.tmp_bytes(),
        tmp_limit=function.tmp_mb << 20,
        tenant_id=environment.tenant_id,
    )


def summary(result: InvokeResult) -> dict[str, Any]:
    """An invocation's end as JSON for consoles."""
    return {
        "payload": result.payload.decode("utf-8", "replace"),
        "functionError": result.function_error,
        "errorType": result.error_type,
        "initFailed": result.init_failed,
        "instance": result.instance,
        "start": result.start,
        "durationMs": round(result.duration_ms, 2),
        "initMs": None if result.init_ms is None else round(result.init_ms, 2),
        "billedMs": math.ceil(result.duration_ms + (result.init_ms or 0.0)),
        "maxMemoryMB": result.max_memory_mb,
        "log": result.log_tail,
    }


def describe_all(environments: Iterable[Environment]) -> list[Instance]:
    """Several environments as `ps` shows them."""
    return [describe(environment) for environment in environments]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
