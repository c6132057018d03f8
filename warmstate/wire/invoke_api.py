"""
The Invoke API (2015-03-31, streaming 2021-11-15) as values: what a caller asks, and what the platform answers.

Sources: the botocore service model of Lambda, and the AWS event-stream encoding. Used by the emulator and by the
command line; the runtime itself never loads this.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import struct
import zlib
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, unquote

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "CLIENT_CONTEXT_LIMIT",
    "EVENT_LIMIT",
    "LOG_TAIL_BYTES",
    "PAYLOAD_LIMIT",
    "RESPONSE_LIMIT",
    "ApiError",
    "EventStreamDecoder",
    "FunctionTarget",
    "InvocationType",
    "InvokeRequest",
    "bad_event",
    "complete_frame",
    "event_frame",
    "invalid_parameter",
    "not_found",
    "parse_invoke",
    "parse_target",
    "payload_frame",
    "service_error",
    "throttled",
    "too_large",
]

PAYLOAD_LIMIT: Final = 6_291_456
"""Bytes of a synchronous request: 6 MB."""
RESPONSE_LIMIT: Final = 6_291_556
"""Bytes of a buffered answer: 6 MB and a margin of 100 bytes."""
EVENT_LIMIT: Final = 1_048_576
"""Bytes of an asynchronous request: 1 MB."""
CLIENT_CONTEXT_LIMIT: Final = 3_583
"""Bytes of base64 that a client context may have."""
LOG_TAIL_BYTES: Final = 4_096
"""Bytes of log that `LogType=Tail` returns."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_QUALIFIER: Final = re.compile(r"\$LATEST(\.PUBLISHED)?|[A-Za-z0-9_-]{1,128}")
_TENANT: Final = re.compile(r"[A-Za-z0-9 ._:/=+@-]{1,256}")
_PATHS: Final = (
    re.compile(r"/(?P<version>2015-03-31)/functions/(?P<name>[^/]+)/invocations"),
    re.compile(r"/(?P<version>2014-11-13)/functions/(?P<name>[^/]+)/invoke-async/?"),
    re.compile(r"/(?P<version>2021-11-15)/functions/(?P<name>[^/]+)/response-streaming-invocations"),
)

InvocationType = Literal["RequestResponse", "Event", "DryRun"]


class ApiError(Exception):
    """An answer of the service itself: a status, the error's name, and its fields."""

    def __init__(
        self, status: int, code: str, message: str, *, reason: str = "", retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_after = retry_after

    def headers(self) -> list[tuple[str, str]]:
        """The headers by which an SDK recognises the error."""
        headers = [("content-type", "application/json"), ("x-amzn-errortype", self.code)]
        if self.retry_after is not None:
            headers.append(("retry-after", str(self.retry_after)))
        return headers

    def body(self) -> bytes:
        """The error's JSON; both spellings of "message" occur in the service's models, so both are sent."""
        kind = "Service" if self.status >= 500 else "User"
        fields: dict[str, str] = {"Type": kind, "Message": self.message, "message": self.message}
        if self.reason:
            fields["Reason"] = self.reason
        return json.dumps(fields).encode()


def not_found(arn: str, known: Sequence[str] = ()) -> ApiError:
    """No function of that name; says which there are."""
    hint = f" (functions here: {', '.join(known)})" if known else " (no function was added)"
    return ApiError(404, "ResourceNotFoundException", f"Function not found: {arn}{hint}")


def throttled(reason: str = "ReservedFunctionConcurrentInvocationLimitExceeded") -> ApiError:
    """All environments are busy and no more may be started."""
    return ApiError(429, "TooManyRequestsException", "Rate Exceeded.", reason=reason, retry_after=1)


def bad_event(problem: str) -> ApiError:
    """The payload is not JSON."""
    message = f"Could not parse request body into json: {problem}"
    return ApiError(400, "InvalidRequestContentException", message)


def too_large(size: int, limit: int) -> ApiError:
    """The payload has too many bytes."""
    message = f"Request must be smaller than {limit} bytes for the InvokeFunction operation (it has {size})"
    return ApiError(413, "RequestTooLargeException", message)


def invalid_parameter(message: str) -> ApiError:
    """A header or a name that the service does not accept."""
    return ApiError(400, "InvalidParameterValueException", message)


def service_error(message: str) -> ApiError:
    """The emulator cannot do its part; callers retry these."""
    return ApiError(500, "ServiceException", message)


@attrs.frozen
class FunctionTarget:
    """Which function a caller means: its bare name, and the version or alias ("" for none)."""

    name: str
    qualifier: str = ""


@functools.lru_cache(maxsize=64)
def parse_target(text: str, qualifier: str = "") -> FunctionTarget:
    """
    The function that `text` names: `name`, `name:qualifier`, `account:name`, a partial or a whole ARN.

    The bare name matches `[A-Za-z0-9_-]{1,64}`, so it can neither leave a directory nor a table.

    Raises:
        ApiError: It is none of these, or names two different qualifiers.
    """
    parts = text.split(":")
    if "function" in parts[:-1]:
        at = parts.index("function")
        parts = parts[at + 1 :]
    elif len(parts) > 1 and re.fullmatch(r"\d{12}", parts[0]):
        parts = parts[1:]
    name, given = parts[0] if parts else "", parts[1] if len(parts) > 1 else ""
    if len(parts) > 2 or not _NAME.fullmatch(name):
        message = f"'{text[:200]}' is no function name, name:qualifier or ARN; names have 1-64 letters, digits, - and _"
        raise invalid_parameter(message)
    if given and qualifier and given != qualifier:
        raise invalid_parameter(f"The derived qualifier '{given}' does not match the specified qualifier '{qualifier}'")
    chosen = given or qualifier
    if chosen and not _QUALIFIER.fullmatch(chosen):
        raise invalid_parameter(f"'{chosen[:200]}' is no version or alias")
    return FunctionTarget(name, chosen)


@attrs.frozen(kw_only=True)
class InvokeRequest:
    """One call of Invoke or InvokeWithResponseStream, without its payload."""

    target: FunctionTarget
    streaming: bool = False
    type: InvocationType = "RequestResponse"
    tail: bool = False
    client_context: str | None = None
    tenant_id: str | None = None
    trace_id: str | None = None

    @property
    def payload_limit(self) -> int:
        """How many bytes the payload may have."""
        return EVENT_LIMIT if self.type == "Event" else PAYLOAD_LIMIT


def parse_invoke(method: str, raw_path: str, query: str, headers: Mapping[str, str]) -> InvokeRequest | None:
    """
    The call that a request makes, or None when its path is not one of the Invoke API.

    `headers` has lower-case names.

    Raises:
        ApiError: The path is right and something else is not.
    """
    match = next((found for pattern in _PATHS if (found := pattern.fullmatch(raw_path))), None)
    if match is None:
        return None
    if method != "POST":
        raise ApiError(405, "MethodNotAllowedException", "use POST")
    target = parse_target(unquote(match["name"]), dict(parse_qsl(query)).get("Qualifier", ""))
    kind = headers.get("x-amz-invocation-type") or "RequestResponse"
    streaming = match["version"] == "2021-11-15"
    if match["version"] == "2014-11-13":
        kind = "Event"
    if kind not in {"RequestResponse", "Event", "DryRun"} or (streaming and kind == "Event"):
        raise invalid_parameter(f"'{kind[:100]}' is no invocation type for this operation")
    log_type = headers.get("x-amz-log-type") or "None"
    if log_type not in {"None", "Tail"}:
        raise invalid_parameter(f"'{log_type[:100]}' is no log type; allowed are None and Tail")
    tenant = headers.get("x-amz-tenant-id")
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise invalid_parameter("X-Amz-Tenant-Id has 1-256 letters, digits, spaces and . _ : / = + - @")
    return InvokeRequest(
        target=target,
        streaming=streaming,
        type="Event" if kind == "Event" else "DryRun" if kind == "DryRun" else "RequestResponse",
        tail=log_type == "Tail",
        client_context=_client_context(headers.get("x-amz-client-context")) if kind != "Event" else None,
        tenant_id=tenant,
        trace_id=headers.get("x-amzn-trace-id") or None,
    )


def _client_context(encoded: str | None) -> str | None:
    if not encoded:
        return None
    if len(encoded) > CLIENT_CONTEXT_LIMIT:
        raise invalid_parameter(f"the client context has {len(encoded)} bytes; {CLIENT_CONTEXT_LIMIT} are allowed")
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
        json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        raise ApiError(
            400, "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        ) from None
    # It travels on in a header, so it must be one line of it.
    return json.dumps(json.loads(text))


def event_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message in AWS's event-stream encoding; all its header values are strings."""
    block = b"".join(
        struct.pack(">B", len(name.encode()))
        + name.encode()
        + struct.pack(">BH", 7, len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def payload_frame(piece: bytes) -> bytes:
    """A part of a streamed answer."""
    headers = {":event-type": "PayloadChunk", ":content-type": "application/octet-stream", ":message-type": "event"}
    return event_frame(headers, piece)


def complete_frame(error_code: str = "", error_details: str = "", log_result: str = "") -> bytes:
    """The end of a streamed answer; with an error's type and JSON when it failed, with the log's tail when asked for."""
    fields = {"ErrorCode": error_code, "ErrorDetails": error_details, "LogResult": log_result}
    headers = {":event-type": "InvokeComplete", ":content-type": "application/json", ":message-type": "event"}
    return event_frame(headers, json.dumps({key: value for key, value in fields.items() if value}).encode())


class EventStreamDecoder:
    """Cuts bytes as they come into the messages of an event stream."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
        """
        The messages that `data` completes, each as (headers, payload).

        Raises:
            ValueError: A checksum does not match: these bytes are not an event stream, or were damaged.
        """
        self._buffer += data
        while len(self._buffer) >= 16:
            total, headers_size, checksum = struct.unpack_from(">III", self._buffer)
            if zlib.crc32(self._buffer[:8]) != checksum or total < 16 + headers_size:
                raise ValueError("the event stream's prelude has a wrong checksum")
            if len(self._buffer) < total:
                return
            message, self._buffer = self._buffer[:total], self._buffer[total:]
            if zlib.crc32(message[:-4]) != struct.unpack(">I", message[-4:])[0]:
                raise ValueError("a message of the event stream has a wrong checksum")
            yield _decode_headers(message[12 : 12 + headers_size]), message[12 + headers_size : -4]


def _decode_headers(block: bytes) -> dict[str, str]:
    headers, at = dict[str, str](), 0
    while at < len(block):
        size = block[at]
        name = block[at + 1 : at + 1 + size].decode()
        kind, length = struct.unpack_from(">BH", block, at + 1 + size)
        if kind != 7:
            raise ValueError(f"header {name} has type {kind}; the Invoke API sends strings (7) only")
        start = at + 4 + size
        headers[name] = block[start : start + length].decode()
        at = start + length
    return headers
