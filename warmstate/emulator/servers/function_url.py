"""
Function URLs: an HTTP request as an event (payload format 2.0), and what a function returns as an HTTP answer.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
The mapping is pure; `FunctionUrl` at the end is what listens below /lambda-url/NAME/.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, unquote

import attrs

from warmstate.emulator.attempt import Attempt
from warmstate.emulator.function import ACCOUNT
from warmstate.emulator.servers.exchange import BodyTooLarge, ClientGone, Exchange
from warmstate.wire import invoke_api as wire
from warmstate.wire.streaming import DELIMITER, HTTP_CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from warmstate.emulator.service import Service

__all__ = ["PREFIX", "FunctionUrl", "HttpAnswer", "answer_of", "event_of", "parse_prelude"]

PREFIX: Final = "/lambda-url/"
PRELUDE_LIMIT: Final = 16_384
"""Bytes within which the prelude of a streamed answer and its delimiter must have come."""
HOP_BY_HOP: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})
MALFORMED: Final = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What comes of an answer that is none: a status of Infinity, headers in a list, text that is no base64."""
_TEXT: Final = (
    "text/",
    "application/json",
    "application/xml",
    "application/javascript",
    "application/x-www-form-urlencoded",
)


@attrs.frozen
class HttpAnswer:
    """An HTTP answer without its body's length."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = b""


def event_of(
    method: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    *,
    peer: str,
    request_id: str,
    now: float,
) -> dict[str, Any]:
    """The event for a request; `path` is what follows the function's name."""
    joined: dict[str, str] = {}
    cookies = list[str]()
    for name, value in headers:
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";") if cookie.strip()]
        else:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    domain = joined.get("host", "localhost")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": unquote(path) or "/",
        "rawQueryString": query,
        "headers": joined,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": method,
                "path": unquote(path) or "/",
                "protocol": "HTTP/1.1",
                "sourceIp": peer,
                "userAgent": joined.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if parameters:
        event["queryStringParameters"] = parameters
    if body:
        is_text = joined.get("content-type", "").startswith(_TEXT)
        try:
            event["body"] = body.decode("utf-8") if is_text else base64.b64encode(body).decode()
            event["isBase64Encoded"] = not is_text
        except UnicodeDecodeError:
            event["body"], event["isBase64Encoded"] = base64.b64encode(body).decode(), True
    return event


def answer_of(payload: bytes) -> HttpAnswer:
    """
    The answer that a buffered function's payload means: an object with statusCode, or any JSON as it is.

    A malformed object is a 502, as on the real thing.
    """
    plain = HttpAnswer(200, [("content-type", "application/json")], payload)
    try:
        found: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return plain
    if not isinstance(found, dict) or "statusCode" not in found:
        return plain
    value = cast("dict[str, Any]", found)
    try:
        body = value.get("body") or ""
        data = (
            base64.b64decode("".join(body.split()), validate=True)
            if value.get("isBase64Encoded")
            else (body if isinstance(body, str) else json.dumps(body)).encode()
        )
        return HttpAnswer(*_head(value, "application/json"), data)
    except MALFORMED:
        return bad_gateway()


def bad_gateway() -> HttpAnswer:
    """The function failed, or returned what is no answer."""
    return HttpAnswer(502, [("content-type", "application/json")], b'{"message":"Internal Server Error"}')


def parse_prelude(data: bytes) -> tuple[HttpAnswer, bytes] | None:
    """
    The head of a streamed answer and the body's first bytes, or None while the delimiter has not come.

    Raises:
        ValueError: It is not JSON of the right shape, or there is no delimiter in the first 16 KB.
    """
    head, delimiter, rest = data.partition(DELIMITER)
    if not delimiter:
        if len(data) > PRELUDE_LIMIT:
            raise ValueError(f"no delimiter of 8 NUL bytes in the first {PRELUDE_LIMIT} bytes")
        return None
    try:
        value: Any = json.loads(head)
        return HttpAnswer(*_head(cast("dict[str, Any]", value), "application/octet-stream")), rest
    except MALFORMED as error:
        raise ValueError(f"the prelude is no JSON object with a status and headers: {error}") from None


def _head(value: Mapping[str, Any], content_type: str) -> tuple[int, list[tuple[str, str]]]:
    status = int(value.get("statusCode", 200))
    if not 100 <= status <= 599 or isinstance(value.get("headers", {}), str):
        raise ValueError("no HTTP status or no headers")
    given: dict[str, Any] = value.get("headers") or {}
    cookies: list[Any] = value.get("cookies") or []
    headers = [(str(name).lower(), str(text)) for name, text in given.items() if text is not None]
    headers = [(name, text) for name, text in headers if name not in HOP_BY_HOP and _is_token(name)]
    if not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", content_type))
    return max(200, status), headers + [("set-cookie", str(cookie)) for cookie in cookies]


def _is_token(name: str) -> bool:
    return bool(name) and all(letter.isalnum() or letter in "!#$%&'*+-.^_`|~" for letter in name) and name.isascii()


class FunctionUrl:
    """Serves every function's URL."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def serve(self, exchange: Exchange) -> bool:
        """
        Answer a request below /lambda-url/; False for other paths.

        Raises:
            ApiError: There is no such function, or it is throttled.
        """
        if not exchange.raw_path.startswith(PREFIX):
            return False
        name, _, rest = exchange.raw_path[len(PREFIX) :].partition("/")
        pool = self._service.pool(unquote(name) or "_")
        try:
            body = await exchange.read(wire.PAYLOAD_LIMIT)
        except BodyTooLarge:
            raise wire.ApiError(413, "RequestTooLargeException", "the body may have 6 MB") from None
        streams = pool.function.url_mode == "RESPONSE_STREAM"
        attempt = Attempt(b"", streaming=streams)
        event = event_of(
            exchange.method,
            "/" + rest,
            exchange.query,
            exchange.headers,
            body,
            peer=exchange.peer,
            request_id=attempt.request_id,
            now=time.time(),
        )
        attempt = Attempt(json.dumps(event).encode(), request_id=attempt.request_id, streaming=streams)
        running = self._service.begin(pool, attempt)
        waited: set[asyncio.Future[Any]] = {running, attempt.started if streams else attempt.answer, attempt.answer}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not attempt.started.done() and not attempt.answer.done():
            running.result()
        ids = [("x-amzn-requestid", attempt.request_id), ("x-amzn-trace-id", attempt.trace_id)]
        if streams and attempt.started.done():
            await _stream(exchange, attempt, ids)
        else:
            answer = attempt.answer.result()
            found = bad_gateway() if answer.error_type else answer_of(answer.payload)
            exchange.respond(found.status, found.body, [*found.headers, *ids])
        return True


async def _stream(exchange: Exchange, attempt: Attempt, ids: list[tuple[str, str]]) -> None:
    """Hand a streamed answer on as it comes, after its prelude where it has one."""
    pieces = attempt.pieces()
    try:
        content_type = attempt.started.result()
        first = b""
        head: HttpAnswer | None = HttpAnswer(200, [("content-type", content_type)])
        if content_type == HTTP_CONTENT_TYPE:
            head, first = await _prelude(pieces)
        if head is None:
            failed = bad_gateway()
            attempt.abandon()
            exchange.respond(failed.status, failed.body, [*failed.headers, *ids])
            return
        exchange.start(head.status, [*head.headers, *ids])
        await exchange.send(first)
        async for piece in pieces:
            await exchange.send(piece)
    except ClientGone:
        attempt.abandon()
        raise
    if attempt.answer.result().error_type:
        exchange.abort()  # the status is out: a cut connection is the only way left to say that it failed
    else:
        exchange.finish()


async def _prelude(pieces: AsyncIterator[bytes]) -> tuple[HttpAnswer | None, bytes]:
    data = b""
    try:
        async for piece in pieces:
            data += piece
            found = parse_prelude(data)
            if found is not None:
                return found
    except ValueError:
        pass
    return None, b""
