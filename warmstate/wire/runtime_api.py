"""
The Runtime API, version 2018-06-01, as values: the invocation that comes in, the answers that go out.

Both directions are here, so that the runtime, the emulator and the tests speak from one page:
the runtime builds a `Request` and reads a `next` with `parse_next`; the platform reads a `Call` with `parse_call` and
writes a `next` with `next_headers`.
Nothing here does I/O or reads a clock.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and the public code of AWS's Runtime Interface Emulator.
"""

from __future__ import annotations

from warmstate.errors import EventRefused, UnanswerableEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ACCEPTED",
    "BASE",
    "CLIENT_CONTEXT",
    "COGNITO_IDENTITY",
    "DEADLINE_MS",
    "ERROR_TYPE",
    "FUNCTION_ARN",
    "INVOCATION_ID",
    "MAX_ANSWER_BYTES",
    "MAX_EVENT_BYTES",
    "NEXT",
    "REQUEST_ID",
    "RESPONSE_MODE",
    "RESTORE_NEXT",
    "TENANT_ID",
    "TRACE_ID",
    "XRAY_CAUSE",
    "Call",
    "Failure",
    "Invocation",
    "Request",
    "StreamedSuccess",
    "Success",
    "error_request",
    "init_error_request",
    "next_headers",
    "next_request",
    "parse_call",
    "parse_next",
    "refusal_body",
    "response_request",
    "restore_error_request",
    "restore_next_request",
]

BASE = "/2018-06-01"
MAX_ANSWER_BYTES = 6_291_556
"""The largest buffered answer the platform takes: 6 MiB and 100 bytes (observed on AWS's Runtime Interface Emulator)."""
MAX_EVENT_BYTES = 8 * 1024 * 1024
"""The largest event we read. The platform allows 6 MB; what is larger than this is answered with an error."""

REQUEST_ID = "Lambda-Runtime-Aws-Request-Id"
DEADLINE_MS = "Lambda-Runtime-Deadline-Ms"
FUNCTION_ARN = "Lambda-Runtime-Invoked-Function-Arn"
TRACE_ID = "Lambda-Runtime-Trace-Id"
CLIENT_CONTEXT = "Lambda-Runtime-Client-Context"
COGNITO_IDENTITY = "Lambda-Runtime-Cognito-Identity"
TENANT_ID = "Lambda-Runtime-Aws-Tenant-Id"
INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
RESPONSE_MODE = "Lambda-Runtime-Function-Response-Mode"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
XRAY_CAUSE = "Lambda-Runtime-Function-XRay-Error-Cause"

ACCEPTED = b'{"status":"OK"}\n'
"""The body of the platform's 202."""

_JSON = "application/json"
_JSON_HEADERS = (("Content-Type", _JSON),)
_MOST_REQUEST_ID = 128
_FURTHEST_DEADLINE_MS = 7 * 86_400_000  # AWS's emulator for Managed Instances sends deadlines 10**6 times too far away


class Invocation:
    """
    One delivery of an event, as `next` handed it over.

    `request_id` names the logical request and may come again in a retry; `invocation_id` names this delivery and is
    echoed with the answer (None where the platform sends none).
    `deadline_ms` is in milliseconds since the epoch on the wall clock; `deadline_trusted` is False when the platform sent
    none that could be used and a default was put in its place.
    `client_context` and `cognito_identity` are JSON text as received.
    """

    __slots__ = (
        "body",
        "client_context",
        "cognito_identity",
        "content_type",
        "deadline_ms",
        "deadline_trusted",
        "function_arn",
        "invocation_id",
        "request_id",
        "tenant_id",
        "trace_id",
    )

    def __init__(
        self,
        request_id: str,
        body: bytes,
        deadline_ms: int,
        deadline_trusted: bool = True,
        function_arn: str = "",
        invocation_id: str | None = None,
        trace_id: str | None = None,
        tenant_id: str | None = None,
        client_context: str | None = None,
        cognito_identity: str | None = None,
        content_type: str = "application/json",
    ) -> None:
        self.request_id = request_id
        self.body = body
        self.deadline_ms = deadline_ms
        self.deadline_trusted = deadline_trusted
        self.function_arn = function_arn
        self.invocation_id = invocation_id
        self.trace_id = trace_id
        self.tenant_id = tenant_id
        self.client_context = client_context
        self.cognito_identity = cognito_identity
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"<Invocation {self.request_id} ({len(self.body)} bytes)>"


class Success:
    """A whole answer: the bytes for the caller and their content type."""

    __slots__ = ("body", "content_type")

    def __init__(self, body: bytes, content_type: str = "application/json") -> None:
        self.body = body
        self.content_type = content_type


class StreamedSuccess:
    """
    An answer that is sent as its chunks come.

    `chunks` raises when the handler fails after the first byte; the commit happens inside it, after the last chunk of
    the handler and before it stops, so whoever drives it sends the terminating chunk only after it has ended.
    Close it (`chunks.close()`) when the client is gone, so that the handler's `finally` blocks run.
    """

    __slots__ = ("chunks", "content_type")

    def __init__(self, chunks: Iterator[bytes], content_type: str = "application/octet-stream") -> None:
        self.chunks = chunks
        self.content_type = content_type


class Failure:
    """
    A failed invocation: `error_type` for the platform's telemetry, `body` the JSON error object that reaches the caller.

    `xray_cause` is the X-Ray error cause as one line of header-safe JSON, or None.
    """

    __slots__ = ("body", "error_type", "xray_cause")

    def __init__(self, error_type: str, body: bytes, xray_cause: str | None = None) -> None:
        self.error_type = error_type
        self.body = body
        self.xray_cause = xray_cause


class Request:
    """One call of the runtime: `headers` without those of the transport (Host, Content-Length, User-Agent)."""

    __slots__ = ("body", "headers", "method", "path")

    def __init__(self, method: str, path: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} ({len(self.body)} bytes)>"


def next_request() -> Request:
    """Asks for the next event; blocks for as long as none comes, so it must never have a timeout."""
    return Request("GET", NEXT)


def response_request(invocation: Invocation, success: Success) -> Request:
    """The whole answer to `invocation`."""
    kind = success.content_type
    headers: tuple[tuple[str, str], ...] = _JSON_HEADERS if kind == _JSON else (("Content-Type", kind),)
    if invocation.invocation_id is not None:
        headers += ((INVOCATION_ID, invocation.invocation_id),)
    # Never a response mode here: any value but `streaming` is refused, and then the environment is stuck.
    return Request("POST", f"{BASE}/runtime/invocation/{invocation.request_id}/response", headers, success.body)


def error_request(invocation: Invocation, failure: Failure) -> Request:
    """Tells that `invocation` failed."""
    headers = _failure_headers(failure)
    if invocation.invocation_id is not None:
        headers += ((INVOCATION_ID, invocation.invocation_id),)
    return Request("POST", f"{BASE}/runtime/invocation/{invocation.request_id}/error", headers, failure.body)


def init_error_request(failure: Failure) -> Request:
    """Tells that init failed; to be sent once, before the process ends."""
    return Request("POST", f"{BASE}/runtime/init/error", _failure_headers(failure), failure.body)


def restore_next_request() -> Request:
    """Tells that the process may be snapshot; its answer comes in the restored clone."""
    return Request("GET", RESTORE_NEXT)


def restore_error_request(failure: Failure) -> Request:
    """Tells that the process could not come back from its snapshot."""
    return Request("POST", f"{BASE}/runtime/restore/error", _failure_headers(failure), failure.body)


def _failure_headers(failure: Failure) -> tuple[tuple[str, str], ...]:
    headers: tuple[tuple[str, str], ...] = (("Content-Type", _JSON), (ERROR_TYPE, failure.error_type))
    if failure.xray_cause is not None:
        headers += ((XRAY_CAUSE, failure.xray_cause),)
    return headers


def parse_next(headers: Mapping[str, str], body: bytes, *, now_ms: int, default_timeout: float) -> Invocation:
    """
    The invocation that a 200 to `next` carries; `headers` have lower-case names.

    A deadline that is missing or makes no sense becomes `now_ms` plus `default_timeout` seconds, marked as not trusted.
    An empty header counts as absent.

    Raises:
        UnanswerableEvent: the request id is missing or cannot be put into a path, so no answer can be sent.
        EventRefused: the event can be answered, with an error alone; carries its invocation.
    """
    get = headers.get
    request_id = get("lambda-runtime-aws-request-id", "")
    if len(request_id) > _MOST_REQUEST_ID or not request_id.isascii() or not request_id.replace("-", "0").isalnum():
        raise UnanswerableEvent(
            f"The platform sent an event whose request id is {request_id[:200]!r}; it must be 1 to {_MOST_REQUEST_ID} "
            "letters, digits and dashes. The event is dropped, since no answer to it could be addressed."
        )
    try:
        deadline_ms = int(get("lambda-runtime-deadline-ms", ""))
    except ValueError:
        deadline_ms = 0
    # cargo-lambda's server sends 600000, ten minutes after 1970.
    trusted = now_ms - _FURTHEST_DEADLINE_MS <= deadline_ms <= now_ms + _FURTHEST_DEADLINE_MS
    if not trusted:
        deadline_ms = now_ms + int(default_timeout * 1000)
    # By position: with names a class takes four times as long to call, and this is done for each event.
    invocation = Invocation(
        request_id,
        body,
        deadline_ms,
        trusted,
        get("lambda-runtime-invoked-function-arn", ""),
        get("lambda-runtime-invocation-id") or None,
        get("lambda-runtime-trace-id") or None,
        get("lambda-runtime-aws-tenant-id") or None,
        get("lambda-runtime-client-context") or None,
        get("lambda-runtime-cognito-identity") or None,
        get("content-type") or _JSON,
    )
    encoding = get("content-encoding")
    if encoding and encoding.lower() != "identity":
        raise EventRefused(f"The event is encoded as {encoding[:80]!r}, which the Runtime API never does.", invocation)
    return invocation


# From here on: the platform's side.


def next_headers(invocation: Invocation) -> list[tuple[str, str]]:
    """The headers under which the platform delivers `invocation`, without Content-Length."""
    headers = [
        ("Content-Type", invocation.content_type),
        (REQUEST_ID, invocation.request_id),
        (DEADLINE_MS, str(invocation.deadline_ms)),
        (FUNCTION_ARN, invocation.function_arn),
    ]
    optional = (
        (INVOCATION_ID, invocation.invocation_id),
        (TRACE_ID, invocation.trace_id),
        (TENANT_ID, invocation.tenant_id),
        (CLIENT_CONTEXT, invocation.client_context),
        (COGNITO_IDENTITY, invocation.cognito_identity),
    )
    return headers + [(name, value) for name, value in optional if value]


class Call:
    """
    A call of the Runtime API as the platform reads it.

    `event` is the word for it in the lifecycle's table: "next", "response", "error", "init_error", "restore_next",
    "restore_error", or "ping", which changes nothing.
    """

    __slots__ = ("event", "request_id")

    def __init__(self, event: str, request_id: str = "") -> None:
        self.event = event
        self.request_id = request_id

    def __repr__(self) -> str:
        return f"<Call {self.event} {self.request_id}>"


NEXT = f"{BASE}/runtime/invocation/next"
RESTORE_NEXT = f"{BASE}/runtime/restore/next"
_CALLS = {
    NEXT: ("GET", "next"),
    RESTORE_NEXT: ("GET", "restore_next"),
    f"{BASE}/runtime/init/error": ("POST", "init_error"),
    f"{BASE}/runtime/restore/error": ("POST", "restore_error"),
    f"{BASE}/ping": ("GET", "ping"),
}


def parse_call(method: str, path: str) -> Call | int:
    """The call that a request line means, or the status to refuse it with: 404 unknown path, 405 wrong method."""
    expected, event = _CALLS.get(path, ("POST", ""))
    request_id = ""
    if not event:
        prefix, _, rest = path.partition(f"{BASE}/runtime/invocation/")
        request_id, _, event = rest.partition("/")
        if prefix or not request_id or event not in {"response", "error"}:
            return 404
    return Call(event, request_id) if method == expected else 405


def refusal_body(error_type: str, message: str) -> bytes:
    """The body with which the platform refuses a call, for example `InvalidStateTransition` with 403."""
    text = message.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"errorMessage":"{text}","errorType":"{error_type}"}}\n'.encode()
