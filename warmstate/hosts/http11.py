"""
Just enough HTTP/1.1 to read the Runtime API's answers, fast and strictly.

1. What is ambiguous is refused: two lengths, a length beside chunks, a folded header.
2. A header may be larger than the platform ever sends, but not without bound.
3. Names come out in lower case; values as UTF-8 where they are, else as latin-1.
4. Bodies are read from a blocking socket whose receive timeout is one beat. Stalls are counted in beats: clocks run on while
   the process is frozen.
5. From one event to the next a few values change and nothing else: a reader compares with the head before it.
"""

from __future__ import annotations

from _operator import ne
from _socket import MSG_WAITALL
from itertools import compress

from warmstate.errors import TransportError
from warmstate.wire.runtime_api import (
    CLIENT_CONTEXT,
    COGNITO_IDENTITY,
    DEADLINE_MS,
    FUNCTION_ARN,
    INVOCATION_ID,
    MAX_EVENT_BYTES,
    REQUEST_ID,
    TENANT_ID,
    TRACE_ID,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import TypeAlias

    _LastHead: TypeAlias = tuple[list[str], list[tuple[str, int, str]], dict[str, str], int, int]

__all__ = [
    "CHUNKED",
    "MOST_HEAD",
    "MOST_STALL",
    "RECEIVE",
    "UNTIL_CLOSE",
    "HeadReader",
    "Reply",
    "body_length",
    "never",
    "one_more_beat",
    "parse_head",
    "read_chunks",
    "read_exactly",
    "read_to_end",
]

CHUNKED = -1
UNTIL_CLOSE = -2
MOST_HEAD = 256 * 1024
RECEIVE = 64 * 1024
MOST_STALL = 10.0
"""Seconds without a byte, once an answer has begun or is due at once, after which the connection counts as lost."""

_WITHOUT_BODY = frozenset((204, 304))
_FRAMING = frozenset(("content-length", "transfer-encoding"))


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


class Reply:
    """What the Runtime API answered: `status`, `headers` with lower-case names, `body`; `too_large` when that was not read."""

    __slots__ = ("body", "headers", "status", "too_large")

    def __init__(self, status: int, headers: dict[str, str], body: bytes, *, too_large: bool = False) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.too_large = too_large

    def __repr__(self) -> str:
        return f"<Reply {self.status}, {len(self.body)} bytes>"


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


class HeadReader:
    """
    Reads the heads of the answers on one connection, each beside the one before it.

    Where the lines have the names of the last head's, in the same order, only values that differ are read. Any other head goes
    through `parse_head`, and what is read is always what that would have read.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        # Replaced as a whole: a signal handler may raise between any two steps.
        self._last: _LastHead = ([], [], {}, 0, 0)

    def __repr__(self) -> str:
        return f"<HeadReader after {self._last[0][:1]}>"

    def read(self, head: bytes) -> tuple[int, dict[str, str], int]:
        """
        Status and headers as of `parse_head`, and the length as of `body_length`; the headers are not to be changed.

        Raises:
            TransportError: as those two.
        """
        try:
            lines = head.decode().split("\r\n")
        except UnicodeDecodeError:
            return self._read_anew(head, [])
        last, names, headers, status, length = self._last
        if len(lines) != len(last):
            return self._read_anew(head, lines)
        headers = headers.copy()
        framed_anew = False
        for line, (begin, size, name) in compress(zip(lines, names), map(ne, lines, last)):  # noqa: B905 - of one length
            if not line.startswith(begin):
                return self._read_anew(head, lines)
            headers[name] = line[size:].strip(" \t")
            framed_anew = framed_anew or name in _FRAMING
        if framed_anew:
            length = body_length(status, headers)
        self._last = lines, names, headers, status, length
        return status, headers, length

    def _read_anew(self, head: bytes, lines: list[str]) -> tuple[int, dict[str, str], int]:
        status, headers = parse_head(head)
        length = body_length(status, headers)
        if lines and len(headers) == len(lines) - 1:  # no header came twice
            # The first line has no name: it is the same, or this is another head, since no line begins with a line end.
            names = [("\r\n", 0, "")]
            for line in lines[1:]:
                name = line.partition(":")[0]
                names.append((name + ":", len(name) + 1, name.lower()))
            self._last = lines, names, headers, status, length
        return status, headers, length


def never(_: float) -> bool:
    """No stall is too long but `MOST_STALL`."""
    return False


def one_more_beat(
    stalled: float, beat: float, is_over: Callable[[float], bool] = never, most: float = MOST_STALL
) -> float:
    """
    The seconds for which no byte went where bytes are due, after one more beat.

    Raises:
        TransportError: that is more than `most`, or too long for `is_over`.
    """
    stalled += beat
    if stalled > most:
        raise TransportError(f"The Runtime API neither read nor sent anything for {most:.0f} s.")
    if is_over(stalled):
        raise TransportError("The Runtime API neither reads nor sends anything, and time is up.")
    return stalled


def read_exactly(connection: _socket.socket, begin: bytes, length: int, beat: float) -> bytes:
    """
    `length` bytes, of which `begin` were received with the head.

    Raises:
        TransportError: the peer ended before, or sent nothing for too long.
        OSError: the connection broke.
    """
    pieces = [begin] if begin else []  # one piece alone is not copied when it is joined
    left = length - len(begin)
    stalled = 0.0
    while left:
        try:
            # All at once, or what came within a beat: then the bytes are copied once more, when they are joined.
            piece = connection.recv(left, MSG_WAITALL)
        except BlockingIOError:
            stalled = one_more_beat(stalled, beat)
            continue
        if not piece:
            raise _cut_short()
        pieces.append(piece)
        left -= len(piece)
        stalled = 0.0
    return b"".join(pieces)


def read_chunks(connection: _socket.socket, data: bytes, beat: float) -> tuple[bytes | None, bytes]:
    """
    A chunked body that begins in `data`, and what came after its end; None for the body where it is too large.

    Raises:
        TransportError: it is no chunked body, the peer ended before, or sent nothing for too long.
        OSError: the connection broke.
    """
    chunks: list[bytes] = []
    total = 0
    while True:
        line, data = _read_line(connection, data, beat, most=4096)
        text = line.split(b";", 1)[0].strip()
        try:
            size = int(text, 16) if text.isalnum() and len(text) <= 8 else -1
        except ValueError:
            size = -1
        if size < 0:
            raise TransportError(f"The Runtime API sent a chunk of size {text[:20]!r}.")
        if size == 0:
            break
        total += size
        if total > MAX_EVENT_BYTES:
            return None, b""
        if len(data) < size + 2:
            data = read_exactly(connection, data, size + 2, beat)
        if data[size : size + 2] != b"\r\n":
            raise TransportError("The Runtime API sent a chunk that does not end where it said.")
        chunks.append(data[:size])
        data = data[size + 2 :]
    while line:  # trailers, which mean nothing here
        line, data = _read_line(connection, data, beat, most=MOST_HEAD)
    return b"".join(chunks), data


def read_to_end(connection: _socket.socket, data: bytes, beat: float) -> bytes:
    """
    All that comes until the peer ends the connection, or more than an event may have.

    Raises:
        TransportError: the peer sent nothing for too long.
        OSError: the connection broke.
    """
    pieces = [data]
    total = len(data)
    while total <= MAX_EVENT_BYTES and (piece := _receive(connection, beat)):
        pieces.append(piece)
        total += len(piece)
    return b"".join(pieces)


def _read_line(connection: _socket.socket, data: bytes, beat: float, *, most: int) -> tuple[bytes, bytes]:
    """The line that begins in `data`, without its end, and what came after it."""
    while (end := data.find(b"\r\n")) < 0:
        if len(data) > most:
            raise TransportError(f"The Runtime API sent a line of over {most} bytes among the chunks of a body.")
        piece = _receive(connection, beat)
        if not piece:
            raise _cut_short()
        data += piece
    return data[:end], data[end + 2 :]


def _receive(connection: _socket.socket, beat: float) -> bytes:
    stalled = 0.0
    while True:
        try:
            return connection.recv(RECEIVE)
        except BlockingIOError:
            stalled = one_more_beat(stalled, beat)


def _cut_short() -> TransportError:
    return TransportError("The Runtime API closed the connection in the middle of an answer's body.")
