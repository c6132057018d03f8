"""The Invoke API over HTTP, as boto3, the AWS CLI and other SDKs call it."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Final

from warmstate.emulator.attempt import Attempt
from warmstate.emulator.servers.exchange import BodyTooLarge, ClientGone
from warmstate.wire import invoke_api as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from warmstate.emulator.pool import Pool
    from warmstate.emulator.servers.exchange import Exchange
    from warmstate.emulator.service import Service

__all__ = ["InvokeServer", "refuse"]

FAULT: Final = "the emulator could not run this; its journal says why"


class InvokeServer:
    """Answers Invoke, InvokeAsync and InvokeWithResponseStream."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def parse(self, exchange: Exchange) -> wire.InvokeRequest | None:
        """
        What the head of a request asks for; None when it is none of the Invoke API.

        Raises:
            ApiError: The service refuses it.
        """
        return wire.parse_invoke(exchange.method, exchange.raw_path, exchange.query, dict(exchange.headers))

    def serve(self, exchange: Exchange, request: wire.InvokeRequest) -> Awaitable[None] | None:
        """
        Answer such a request: the common one without a task of its own.

        Raises:
            ApiError: The service refuses it.
        """
        pool = self._service.pool(request.target.name)
        if exchange.complete and not request.streaming and not request.tail:
            return self._invoke(exchange, request, pool, exchange.take())
        return self._serve(exchange, request, pool)

    async def _serve(self, exchange: Exchange, request: wire.InvokeRequest, pool: Pool) -> None:
        try:
            try:
                payload = await exchange.read(request.payload_limit)
            except BodyTooLarge:
                announced = exchange.header("content-length")
                size = int(announced) if announced else request.payload_limit + 1
                raise wire.too_large(size, request.payload_limit) from None
            work = self._invoke(exchange, request, pool, payload)
            if work is not None:
                await work
            await exchange.settled()
        except wire.ApiError as error:
            refuse(exchange, error)

    def _invoke(
        self, exchange: Exchange, request: wire.InvokeRequest, pool: Pool, payload: bytes
    ) -> Awaitable[None] | None:
        self._service.check(pool.function, payload, request.type, request.tenant_id)
        attempt = Attempt(
            payload or b"{}",
            client_context=request.client_context,
            tenant_id=request.tenant_id,
            trace_id=request.trace_id,
            qualifier=request.target.qualifier,
            streaming=request.streaming,
            on_instance=exchange.header("x-warmstate-instance"),
        )
        if request.type == "DryRun":
            exchange.respond(204, b"", [("x-amzn-requestid", attempt.request_id)])
        elif request.type == "Event":
            self._service.events.put(pool, attempt)
            exchange.respond(202, b"", [("x-amzn-requestid", attempt.request_id)])
        elif request.streaming:
            return self._stream(exchange, pool, attempt, tail=request.tail)
        elif request.tail:
            return self._answer_with_log(exchange, pool, attempt)
        else:
            self._answer(exchange, pool, attempt)
        return None

    def _answer(self, exchange: Exchange, pool: Pool, attempt: Attempt) -> None:
        """Run it; the caller gets the answer when the function has given it, whatever that still does."""

        def reply() -> None:
            exchange.respond(200, attempt.answer.result().payload, _headers(pool, attempt))

        def end(running: asyncio.Task[None]) -> None:
            if not attempt.answer.done() and not running.cancelled():
                error = running.exception()
                refuse(exchange, error if isinstance(error, wire.ApiError) else wire.service_error(FAULT))

        attempt.on_answer = reply
        self._service.begin(pool, attempt).add_done_callback(end)

    async def _answer_with_log(self, exchange: Exchange, pool: Pool, attempt: Attempt) -> None:
        await self._service.begin(pool, attempt)
        log = base64.b64encode(attempt.log_tail).decode()
        headers = [*_headers(pool, attempt), ("x-amz-log-result", log)]
        exchange.respond(200, attempt.answer.result().payload, headers)

    async def _stream(self, exchange: Exchange, pool: Pool, attempt: Attempt, *, tail: bool) -> None:
        running = self._service.begin(pool, attempt)
        waited: set[asyncio.Future[Any]] = {running, attempt.started, attempt.answer}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not attempt.started.done() and not attempt.answer.done():
            running.result()
        content_type = attempt.started.result() if attempt.started.done() else "application/json"
        exchange.start(
            200,
            [
                ("content-type", "application/vnd.amazon.eventstream"),
                ("x-amz-executed-version", pool.function.version),
                ("x-amzn-requestid", attempt.request_id),
                ("x-amzn-trace-id", attempt.trace_id),
                ("x-amzn-remapped-content-type", content_type),
            ],
        )
        try:
            async for piece in attempt.pieces():
                await exchange.send(wire.payload_frame(piece))
            answer = attempt.answer.result()
            log = ""
            if tail:
                await running
                log = base64.b64encode(attempt.log_tail).decode()
            details = answer.payload.decode("utf-8", "replace") if answer.error_type else ""
            await exchange.send(wire.complete_frame(answer.error_type, details, log))
        except ClientGone:
            attempt.abandon()
            raise
        exchange.finish()


def refuse(exchange: Exchange, error: wire.ApiError) -> None:
    """Answer with an error of the service's own."""
    exchange.respond(error.status, error.body(), error.headers())


def _headers(pool: Pool, attempt: Attempt) -> list[tuple[str, str]]:
    headers = [
        ("content-type", "application/json"),
        ("x-amzn-requestid", attempt.request_id),
        ("x-amzn-trace-id", attempt.trace_id),
        ("x-amz-executed-version", pool.function.version),
        ("x-warmstate-start", attempt.start),
        ("x-warmstate-instance", attempt.instance),
    ]
    if attempt.answer.result().error_type:
        headers.append(("x-amz-function-error", "Unhandled"))
    return headers
