"""
Just enough HTTP/1.1 to read the Runtime API's answers, fast and strictly.

1. What is ambiguous is refused: two lengths, a length beside chunks, a folded header.
2. A header may be larger than the platform ever sends, but not without bound.
3. Names come out in lower case; values as UTF-8 where they are, else as latin-1.
"""

from __future__ import annotations

from warmstate.errors import TransportError
from warmstate.wire.runtime_api import (
    CLIENT_CONTEXT,
    COGNITO_IDENTITY,
    DEADLINE_MS,
    FUNCTION_ARN,
    INVOCATION_ID,
    REQUEST_ID,
    TENANT_ID,
    TRACE_ID,
)

__all__ = ["CHUNKED", "UNTIL_CLOSE", "body_length", "parse_head"]

CHUNKED = -1
UNTIL_CLOSE = -2

_WITHOUT_BODY = frozenset((204, 304))


# The headers as the platform writes them: looking a name up is cheaper than lowering it.
_LOWER = {
    name: name.lower()
    for name in (
        "Content-Length",
        "Content-Type",
        "Date",
        REQUEST_ID,
        DEADLINE_MS,
        FUNCTION_ARN,
        TRACE_ID,
        INVOCATION_ID,
        TENANT_ID,
        CLIENT_CONTEXT,
        COGNITO_IDENTITY,
    )
}


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """
    Status and headers of an answer; `head` ends before its empty line. A repeated header is joined with ", ".

    Raises:
        TransportError: this is no HTTP/1.x answer.
    """
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    lines = text.split("\r\n")
    start = lines[0]
    status = start[9:12]
    if start[:7] != "HTTP/1." or start[8:9] != " " or not (status.isascii() and status.isdecimal()):
        raise TransportError(f"The Runtime API answered with {start[:100]!r}, which is no HTTP/1.1 status line.")
    headers: dict[str, str] = {}
    known = _LOWER
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(": ")
        lower = known.get(name)
        if lower is None:
            name, colon, value = line.partition(":")
            if not colon or not name or name[0] in " \t" or name[-1] in " \t":
                raise TransportError(f"The Runtime API sent a broken header line: {line[:100]!r}.")
            lower = name.lower()
        value = value.strip(" \t")
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return int(status), headers


def body_length(status: int, headers: dict[str, str]) -> int:
    """
    How many bytes of body follow, or CHUNKED, or UNTIL_CLOSE.

    Raises:
        TransportError: the headers leave room for two answers.
    """
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if length is not None or coding.lower() != "chunked":
            raise TransportError(
                f"The Runtime API sent Transfer-Encoding {coding[:60]!r} with Content-Length {length!r}; "
                "that can be read in two ways."
            )
        return CHUNKED
    if length is not None:
        if not (length.isascii() and length.isdecimal()) or len(length) > 18:
            raise TransportError(f"The Runtime API sent Content-Length {length[:60]!r}, which is no number.")
        return int(length)
    return 0 if status in _WITHOUT_BODY else UNTIL_CLOSE
