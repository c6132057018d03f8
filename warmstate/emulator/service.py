"""The service behind every door (Python, HTTP, command line): functions by name, invocations, verbs."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import json
import traceback
from typing import TYPE_CHECKING, Any, Final

from warmstate.emulator.asynchronous import EventQueue
from warmstate.emulator.attempt import Attempt
from warmstate.emulator.facts import InvokeResult, summary
from warmstate.emulator.pool import Pool, Throttled
from warmstate.emulator.processes.processes import Warden
from warmstate.emulator.recorder import Recorded, Recorder
from warmstate.emulator.servers.http_server import HttpServer
from warmstate.emulator.verbs import Verbs
from warmstate.errors import ConfigurationError
from warmstate.wire import invoke_api as wire

if TYPE_CHECKING:
    from warmstate.emulator.function import Function
    from warmstate.emulator.journal import Journal
    from warmstate.emulator.servers.front import Front
    from warmstate.wire.invoke_api import InvocationType

__all__ = ["Service"]

GOODBYE: Final = 0.5
"""Seconds in which listeners may take the last events."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not in JSON")


_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant)
"""Python's own takes NaN and Infinity as well; Lambda does not."""


class Service:
    """All functions of one emulator; lives on its event loop."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.warden = Warden()
        self.pools: dict[str, Pool] = {}
        self.events = EventQueue(self)
        self.recorder = Recorder()
        self.verbs = Verbs(self)
        self.url = ""
        self.token: str | None = None
        self._count = itertools.count(1)
        self._server: HttpServer | None = None
        self._front: Front | None = None
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, journal: Journal, *, host: str, port: int, token: str | None, isolate: bool) -> Service:
        """Start the warden and the server."""
        from warmstate.emulator.servers.front import Front

        if token is None and not _is_loopback(host):
            raise ConfigurationError(
                f"{host} can be reached from other machines, and whoever reaches it can run code here: give a token as well."
            )
        self = cls(journal)
        self.token = token
        await self.warden.start(isolate=isolate)
        front = self._front = Front(self)
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
        await self.verbs.close()
        if self._front is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._front.say_goodbye(), GOODBYE)
        if self._server is not None:
            await self._server.close()
        await self.warden.close()
        self.recorder.close()

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
        if target.name == "_" and known:
            raise wire.ApiError(404, "ResourceNotFoundException", f"name one of the functions: {', '.join(known)}")
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
                _JSON.decode(payload.decode(json.detect_encoding(payload)))
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
        self.recorder.end(recorded, self.result(pool, attempt))

    def begin(self, pool: Pool, attempt: Attempt) -> asyncio.Task[None]:
        """Run an attempt in a task of its own, which goes on when its caller has gone."""
        task = asyncio.get_running_loop().create_task(self.run(pool, attempt))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.note_fault(task)

    def note_fault(self, task: asyncio.Task[None]) -> None:
        """What a task of ours failed with is a bug, unless it is the service's word to a caller: keep everything."""
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
            restore_ms=attempt.restore_ms,
            billed_ms=attempt.billed_ms,
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
            "request_id": found.request_id,
            "function": found.function,
            "event": found.payload.decode("utf-8", "replace"),
            "outcome": None if found.outcome is None else summary(found.outcome),
        }

    async def replay(self, request_id: str) -> dict[str, Any]:
        """Send a recorded event again."""
        found = self._find(request_id)
        result = await self.invoke(
            found.function, found.payload, client_context=found.client_context, tenant_id=found.tenant_id
        )
        return {
            "request_id": result.request_id,
            "function": found.function,
            "event": found.payload.decode("utf-8", "replace"),
            "outcome": summary(result),
        }

    def _find(self, request_id: str) -> Recorded:
        found = self.recorder.find(request_id)
        if found is None:
            message = f"no recorded invocation has an id that begins with {request_id[:100]}, or several have"
            if request_id == "last":
                message = "nothing was invoked yet"
            raise wire.ApiError(404, "ResourceNotFoundException", message)
        return found


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
