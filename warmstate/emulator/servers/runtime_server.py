"""
The Runtime API and the Extensions API of one environment, on a loopback port of its own.

Each call is checked against the lifecycle's table first: what it does not allow is answered with 403.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Final

from warmstate.emulator.attempt import Answer, Attempt, error_payload
from warmstate.emulator.function import CREDENTIALS_PATH
from warmstate.emulator.servers.answers import accept, refuse
from warmstate.emulator.servers.exchange import BodyTooLarge, ClientGone, Exchange
from warmstate.emulator.servers.extension_server import ExtensionServer
from warmstate.emulator.servers.http_server import HttpServer, Limits
from warmstate.emulator.servers.pace import STREAM_LIMIT, Pace
from warmstate.wire import runtime_api as wire
from warmstate.wire.extensions_api import EXTENSION_BASE
from warmstate.wire.streaming import ERROR_BODY

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from warmstate.emulator.environment import Environment
    from warmstate.lifecycle.machine import Lifecycle

__all__ = ["RuntimeServer"]

ERROR_LIMIT: Final = 6_291_556
"""Bytes of an error object; what is larger breaks the connection on AWS's emulator."""
# A frozen client may stop in the middle of a request for hours: this server never gives up on one.
PATIENT: Final = Limits(connections=2048, head_timeout=None, body_timeout=None, idle_timeout=None, held_bytes=None)
METADATA: Final = "/2026-01-15/metadata/execution-environment"


class RuntimeServer:
    """Listens for one environment's runtime and extensions."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._extensions = ExtensionServer(environment)
        self._server = HttpServer(self.serve, limits=PATIENT, on_error=self._note_error)

    @property
    def address(self) -> str:
        """What AWS_LAMBDA_RUNTIME_API says: host:port."""
        return f"{self._server.host}:{self._server.port}"

    async def start(self) -> None:
        """Listen on a free port."""
        await self._server.start()

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    def send_event(self, exchange: Exchange, attempt: Attempt) -> None:
        """Answer a next with an event."""
        reporter = self._environment.reporter
        invocation = wire.Invocation(
            request_id=attempt.request_id,
            body=attempt.payload,
            deadline_ms=reporter.deadline_ms(attempt),
            function_arn=reporter.arn(attempt),
            invocation_id=attempt.invocation_id,
            trace_id=attempt.trace_id,
            tenant_id=attempt.tenant_id,
            client_context=attempt.client_context,
            content_type=attempt.content_type,
        )
        exchange.respond(200, attempt.payload, wire.next_headers(invocation))

    def serve(self, exchange: Exchange) -> Awaitable[None] | None:
        """Answer one call."""
        path = exchange.raw_path
        call = wire.parse_call(exchange.method, path)
        if not isinstance(call, int):
            return self._serve_runtime(exchange, call)
        if path.startswith(EXTENSION_BASE):
            return self._extensions.serve(exchange)
        if path in {"/2022-07-01/telemetry", "/2020-08-15/logs"} and exchange.method == "PUT":
            return self._decline(exchange, "Telemetry" if "telemetry" in path else "Logs")
        if path == METADATA or (path == CREDENTIALS_PATH and self._environment.function.snap_start):
            self._facts(exchange)
        elif call == 405:
            exchange.respond(405, b"", [("allow", "GET" if exchange.method != "GET" else "POST")])
        else:
            exchange.respond(404, b"404 page not found\n", [("content-type", "text/plain")])
        return None

    def _facts(self, exchange: Exchange) -> None:
        """Where the environment is, or the credentials of its role, for those who show its token."""
        token = self._environment.sandbox.token
        if exchange.method != "GET":
            exchange.respond(405, b"", [("allow", "GET")])
        elif exchange.header("authorization") not in {token, f"Bearer {token}"}:
            refuse(exchange, 401, "Unauthorized", "this wants the environment's token as Authorization header")
        elif exchange.raw_path == METADATA:
            headers = [("cache-control", "private, max-age=43200, immutable")]
            exchange.respond_json(200, {"AvailabilityZoneID": "use1-az1"}, headers)
        else:
            never = "2099-01-01T00:00:00Z"
            keys = {"AccessKeyId": "local", "SecretAccessKey": "local", "Token": "local", "Expiration": never}
            exchange.respond_json(200, keys)

    async def _decline(self, exchange: Exchange, kind: str) -> None:
        await exchange.read(1 << 20)
        refuse(exchange, 202, f"{kind}.NotSupported", f"{kind} API is not supported")

    # --- Runtime API --------------------------------------------------------------------------------------------------

    def _serve_runtime(self, exchange: Exchange, call: wire.Call) -> Awaitable[None] | None:
        environment = self._environment
        if call.event == "next":
            self._next(exchange)
        elif call.event == "response":
            return self._response(exchange, call.request_id)
        elif call.event == "error":
            return self._error(exchange, call.request_id)
        elif call.event == "ping":
            exchange.respond(200, b"pong", [("content-type", "text/plain")])
        elif call.event == "restore_next":
            if environment.kind != "snap-start":
                exchange.respond(404, b"404 page not found\n", [("content-type", "text/plain")])
            elif self._allowed(exchange, "restore_next"):
                environment.life.lifecycle.push("restore_next")
                environment.life.extensions.closed = True
                environment.life.restore_waiter = exchange
                environment.waits.changed()
        elif self._allowed(exchange, call.event):
            environment.life.lifecycle.push(call.event)
            return self._init_error(exchange)
        return None

    async def _init_error(self, exchange: Exchange) -> None:
        body = await exchange.read(ERROR_LIMIT)
        self._environment.life.failure = Answer(body, error_type=_error_type(exchange, body))
        accept(exchange)
        self._environment.waits.changed()

    def _next(self, exchange: Exchange) -> None:
        environment, life = self._environment, self._environment.life
        if life.wedged:
            refuse(exchange, 403, "InvalidStateTransition", "State transition is not allowed")
            return
        if not self._allowed(exchange, "next"):
            return
        life.lifecycle.push("next")
        life.extensions.closed = True
        exchange.ends_with_client = True
        life.waiters.append(exchange)
        environment.hand_over()
        environment.waits.changed()

    def _response(self, exchange: Exchange, request_id: str) -> Awaitable[None] | None:
        attempt = self.find(exchange, request_id, "response")
        if attempt is None:
            return None
        mode = exchange.header(wire.RESPONSE_MODE.lower())
        content_type = exchange.header("content-type", "application/octet-stream")
        lifecycle = self.lifecycle_of(attempt)
        if mode == "streaming":
            lifecycle.push("stream")  # now: a moment later these processes may have ended
            return self._stream(exchange, attempt, lifecycle, content_type)
        if mode:
            kind = "Runtime.InvalidResponseModeHeader"
            attempt.fail(kind, error_payload(kind, f"Invalid response mode: {mode[:100]}"))
            self._environment.life.wedged = True
            refuse(exchange, 400, "InvalidFunctionResponseMode", "Invalid function response mode")
            self._environment.waits.changed()
            return None
        lifecycle.push("response")
        if not exchange.complete or attempt.streaming:
            return self._buffer(exchange, attempt, content_type)
        self._settle(exchange, attempt, exchange.take(), content_type)
        return None

    async def _buffer(self, exchange: Exchange, attempt: Attempt, content_type: str) -> None:
        """Take an answer that comes in pieces, or goes to a caller who wants it in pieces."""
        try:
            body = await exchange.read(wire.MAX_ANSWER_BYTES)
        except BodyTooLarge:
            _fail_too_large(attempt)
            message = f"Exceeded maximum allowed payload size ({wire.MAX_ANSWER_BYTES} bytes)."
            refuse(exchange, 413, "RequestEntityTooLarge", message)
            self._environment.waits.changed()
            return
        except ClientGone:
            _fail_truncated(attempt)
            raise
        if attempt.streaming and not self._environment.memory.is_over():
            attempt.begin_stream(content_type)
            await attempt.push(body)
        self._settle(exchange, attempt, body, content_type)

    def _settle(self, exchange: Exchange, attempt: Attempt, body: bytes, content_type: str) -> None:
        """The whole answer is here."""
        if self._environment.memory.is_over():
            exchange.abort()  # no answer: on Lambda the process did not live to give one
        else:
            attempt.begin_stream(content_type)
            attempt.succeed(body, content_type)
            accept(exchange)
        self._environment.waits.changed()

    async def _stream(self, exchange: Exchange, attempt: Attempt, lifecycle: Lifecycle, content_type: str) -> None:
        attempt.begin_stream(content_type)
        kept, size = list[bytes](), 0
        pace = Pace() if self._environment.function.stream_limit else None
        try:
            async for piece in exchange.chunks():
                size += len(piece)
                if attempt.streaming and size > STREAM_LIMIT:
                    break
                if pace is not None:
                    await pace.take(len(piece))
                if attempt.streaming:
                    await attempt.push(piece)
                elif size <= wire.MAX_ANSWER_BYTES:
                    kept.append(piece)
        except ClientGone:
            _fail_truncated(attempt)
            _push_if_allowed(lifecycle, "truncate")
            raise
        _push_if_allowed(lifecycle, "response")
        if size > (STREAM_LIMIT if attempt.streaming else wire.MAX_ANSWER_BYTES):
            _fail_too_large(attempt, STREAM_LIMIT if attempt.streaming else wire.MAX_ANSWER_BYTES)
            accept(exchange)
            self._environment.waits.changed()
            return
        if self._environment.memory.is_over():
            return
        trailers = dict(exchange.trailers)
        failure = trailers.get(wire.ERROR_TYPE.lower())
        if failure is not None:
            attempt.fail(failure, _decoded(trailers.get(ERROR_BODY.lower(), "")))
        else:
            attempt.succeed(b"".join(kept), content_type)
        accept(exchange)
        self._environment.waits.changed()

    async def _error(self, exchange: Exchange, request_id: str) -> None:
        attempt = self.find(exchange, request_id, "error")
        if attempt is None:
            return
        self.lifecycle_of(attempt).push("error")
        try:
            body = await exchange.read(ERROR_LIMIT)
        except BodyTooLarge:
            _fail_too_large(attempt)
            raise
        except ClientGone:
            _fail_truncated(attempt)
            raise
        attempt.fail(_error_type(exchange, body), body)
        accept(exchange)
        self._environment.waits.changed()

    def lifecycle_of(self, attempt: Attempt) -> Lifecycle:
        """The lifecycle that an attempt's calls move."""
        return self._environment.life.lifecycle

    def find(self, exchange: Exchange, request_id: str, event: str) -> Attempt | None:
        """The attempt that an answer is for; refused here when there is none, or none that may be answered now."""
        environment = self._environment
        attempt = environment.current
        if attempt is None or request_id != attempt.request_id:
            if request_id == environment.last_request_id or environment.life.state == "init":
                refuse(exchange, 403, "InvalidStateTransition", "State transition is not allowed")
            else:
                refuse(exchange, 400, "InvalidRequestID", "Invalid request ID")
            return None
        echoed = exchange.header(wire.INVOCATION_ID.lower())
        if echoed and echoed != attempt.invocation_id:
            refuse(exchange, 410, "InvokeTimeout", "the invocation id belongs to another attempt")
            return None
        if not self._allowed(
            exchange, "stream" if event == "response" and exchange.header(wire.RESPONSE_MODE.lower()) else event
        ):
            return None
        if environment.life.state == "expired":
            refuse(exchange, 410, "InvokeTimeout", "this attempt has timed out")
            return None
        return attempt

    def _allowed(self, exchange: Exchange, event: str) -> bool:
        if self._environment.life.lifecycle.allows(event):
            return True
        refuse(
            exchange,
            403,
            "InvalidStateTransition",
            f"State transition from {self._environment.life.state} to {event} is not allowed",
        )
        return False

    def _note_error(self, error: BaseException) -> None:
        environment = self._environment
        environment.journal.add(
            "warmstate.fault", environment.function.name, environment.instance, error=f"{type(error).__name__}: {error}"
        )


def _push_if_allowed(lifecycle: Lifecycle, event: str) -> None:
    if lifecycle.allows(event):
        lifecycle.push(event)


def _fail_too_large(attempt: Attempt, limit: int = wire.MAX_ANSWER_BYTES) -> None:
    message = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    attempt.fail("Function.ResponseSizeTooLarge", error_payload("Function.ResponseSizeTooLarge", message))


def _fail_truncated(attempt: Attempt) -> None:
    message = "the connection ended in the middle of the response"
    attempt.fail("Runtime.TruncatedResponse", error_payload("Runtime.TruncatedResponse", message))


def _error_type(exchange: Exchange, body: bytes) -> str:
    """What failed: the header where it is given, else what the error object says."""
    named = exchange.header(wire.ERROR_TYPE.lower())
    if named:
        return named
    try:
        return str(json.loads(body)["errorType"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "Unhandled"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return text.encode()
