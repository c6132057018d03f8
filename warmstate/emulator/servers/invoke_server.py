"""The Invoke API over HTTP, as boto3, the AWS CLI and other SDKs call it."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

from warmstate.emulator.attempt import Attempt
from warmstate.emulator.servers.exchange import BodyTooLarge, ClientGone, Exchange
from warmstate.wire import invoke_api as wire

if TYPE_CHECKING:
    from warmstate.emulator.facts import InvokeResult
    from warmstate.emulator.pool import Pool
    from warmstate.emulator.service import Service

__all__ = ["InvokeServer"]


class InvokeServer:
    """Answers Invoke, InvokeAsync and InvokeWithResponseStream."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def serve(self, exchange: Exchange) -> bool:
        """
        Answer a request of the Invoke API; False when it is none.

        Raises:
            ApiError: The service refuses it.
        """
        request = wire.parse_invoke(exchange.method, exchange.raw_path, exchange.query, dict(exchange.headers))
        if request is None:
            return False
        pool = self._service.pool(request.target.name)
        try:
            payload = await exchange.read(request.payload_limit)
        except BodyTooLarge:
            announced = exchange.header("content-length")
            size = int(announced) if announced else request.payload_limit + 1
            raise wire.too_large(size, request.payload_limit) from None
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
            await self._stream(exchange, pool, attempt, tail=request.tail)
        else:
            await self._answer(exchange, pool, attempt, tail=request.tail)
        return True

    async def _answer(self, exchange: Exchange, pool: Pool, attempt: Attempt, *, tail: bool) -> None:
        running = self._service.begin(pool, attempt)
        if tail:
            await running
        else:
            waited: set[asyncio.Future[Any]] = {running, attempt.answer}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not attempt.answer.done():
                running.result()
        result = self._service.result(pool, attempt)
        exchange.respond(200, result.payload, _headers(result, tail=tail))

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


def _headers(result: InvokeResult, *, tail: bool) -> list[tuple[str, str]]:
    headers = [
        ("content-type", "application/json"),
        ("x-amzn-requestid", result.request_id),
        ("x-amzn-trace-id", result.trace_id),
        ("x-amz-executed-version", result.executed_version),
        ("x-warmstate-start", result.start or ""),
        ("x-warmstate-instance", result.instance),
    ]
    if result.function_error:
        headers.append(("x-amz-function-error", result.function_error))
    if tail:
        headers.append(("x-amz-log-result", base64.b64encode(result.log_tail.encode()).decode()))
    return headers
