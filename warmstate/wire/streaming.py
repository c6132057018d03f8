"""
Streamed answers on the wire: chunks, error trailers, and the prelude with which a function speaks HTTP.

1. A failure before the first byte is an ordinary error. After it, the body ends as usual and two trailers carry it.
2. The trailers have to be announced in the head, before anybody knows whether they will be needed.
3. `http_response(...)` goes first, if at all: its JSON, eight NUL bytes, then the payload.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html and configuration-response-streaming.html
"""

from __future__ import annotations

from binascii import b2a_base64

from warmstate.wire.payload import encode_text
from warmstate.wire.runtime_api import BASE, ERROR_TYPE, INVOCATION_ID, RESPONSE_MODE, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from warmstate.wire.runtime_api import Failure, Invocation, StreamedSuccess

__all__ = [
    "DELIMITER",
    "ERROR_BODY",
    "HTTP_CONTENT_TYPE",
    "LAST_CHUNK",
    "HttpResponse",
    "chunk_head",
    "error_trailers",
    "http_response",
    "streamed_request",
]

HTTP_CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
DELIMITER = b"\0" * 8
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
LAST_CHUNK = b"0\r\n\r\n"
"""Ends a body that ended well."""

_BREAKS = frozenset("\r\n\0")
_MOST_PRELUDE = 16 * 1024  # API Gateway wants prelude and delimiter within these first bytes


class HttpResponse:
    """Status, headers and cookies of a streamed HTTP answer; made by `http_response`."""

    __slots__ = ("cookies", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], cookies: list[str]) -> None:
        self.status = status
        self.headers = headers
        self.cookies = cookies

    def prelude(self) -> bytes:
        """The bytes that precede the payload, delimiter included."""
        fields: dict[str, object] = {"statusCode": self.status, "headers": self.headers}
        if self.cookies:
            fields["cookies"] = self.cookies
        return encode_text(fields).encode() + DELIMITER  # escaped, so there is no NUL in it

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}, {len(self.headers)} headers>"


def http_response(
    status: int = 200, headers: Mapping[str, str] | None = None, cookies: Iterable[str] = ()
) -> HttpResponse:
    r"""
    What a streaming handler yields first to set the HTTP status, headers and cookies of its answer.

        def handle(self, event, context):
            yield http_response(200, {"Content-Type": "text/plain"})
            yield "first line\n"

    For function URLs with `InvokeMode=RESPONSE_STREAM` and for API Gateway streaming.

    Args:
        status: The HTTP status, from 100 to 599.
        headers: Each name with its one value, text or a number.
        cookies: Each becomes a `Set-Cookie` header.

    Raises:
        TypeError: a header or a cookie is not text.
        ValueError: the status is not from 100 to 599, a header or a cookie holds a line break, or status, headers and cookies
            are larger than the 16 KB that API Gateway reads.
    """
    if not _is_status(status):
        raise ValueError(f"HTTP status {status!r} is not a number from 100 to 599")
    whole: object = cookies
    if isinstance(whole, (str, bytes, dict)):  # all of these can be iterated too
        raise TypeError(f"cookies are a list of text such as ['id=1; Path=/'], not {whole!r}")
    names = {_line("header name", name): _line("header", value) for name, value in dict(headers or {}).items()}
    response = HttpResponse(int(status), names, [_line("cookie", cookie) for cookie in cookies])
    size = len(response.prelude())
    if size > _MOST_PRELUDE:
        raise ValueError(f"status, headers and cookies take {size} bytes; API Gateway reads at most {_MOST_PRELUDE}")
    return response


def _is_status(status: object) -> bool:
    return isinstance(status, int) and 100 <= status <= 599


def _line(what: str, value: object) -> str:
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"the {what} {value!r} is {type(value).__name__}, not text")
    if not _BREAKS.isdisjoint(value):
        raise ValueError(
            f"the {what} {value!r} holds a line break or a NUL: it would end there, and another header could begin"
        )
    return value


def streamed_request(invocation: Invocation, streamed: StreamedSuccess) -> Request:
    """The head of the streamed answer to `invocation`; its body follows as chunks, on a connection of its own."""
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", streamed.content_type),
        (RESPONSE_MODE, "streaming"),
        ("Transfer-Encoding", "chunked"),
        ("Trailer", f"{ERROR_TYPE}, {ERROR_BODY}"),
        ("Connection", "close"),
    )
    if invocation.invocation_id is not None:
        headers += ((INVOCATION_ID, invocation.invocation_id),)
    return Request("POST", f"{BASE}/runtime/invocation/{invocation.request_id}/response", headers)


def chunk_head(size: int) -> bytes:
    """What stands before a chunk of `size` bytes, which must not be 0; after it stands CR LF."""
    return b"%x\r\n" % size


def error_trailers(failure: Failure) -> bytes:
    """The end of a body whose handler failed after the first byte: last chunk, then the failure as two trailers."""
    body = b2a_base64(failure.body, newline=False)
    return b"0\r\n%b: %b\r\n%b: %b\r\n\r\n" % (
        ERROR_TYPE.encode(),
        failure.error_type.encode(),
        ERROR_BODY.encode(),
        body,
    )
