"""
HTTP/1.1 as nearly every client speaks it, without a parser for what none of them sends.

A request is plain when its head came whole, Content-Length or nothing says how long its body is, and it asks for nothing
special: no chunks, no Expect, no Upgrade, no Connection but keep-alive, no header twice. What is anything else, or is in any doubt, is
left to `general`, which knows the whole protocol and takes far longer.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from warmstate.emulator.servers.messages import End, Head, safe_value

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PlainWire"]

HEAD_BYTES: Final = 8_192
"""A longer head is not plain."""
_LINE: Final = re.compile(rb"(GET|POST|PUT|DELETE) ([\x21-\x7e]+) HTTP/1\.1\r\n")
_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELDS: Final = re.compile(r"(?:" + _NAME + r":[\t\x20-\x7e]*\r\n)+")
_FIELD: Final = re.compile(r"(" + _NAME + r"):([\t\x20-\x7e]*)\r\n")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_SPECIAL: Final = frozenset(
    {"transfer-encoding", "expect", "upgrade", "http2-settings", "te", "trailer", "proxy-connection", "keep-alive"}
)
_BODILESS: Final = frozenset({204, 304})


@functools.lru_cache(maxsize=64)
def _fields(block: bytes) -> tuple[tuple[tuple[str, str], ...], int] | None:
    """The headers in a block of lines and the body's length; None when they are not plain. Clients repeat themselves."""
    text = block.decode("latin-1")
    if _FIELDS.fullmatch(text) is None:
        return None
    found = tuple([(name.lower(), value.strip("\t ")) for name, value in _FIELD.findall(text)])
    named = dict(found)
    length = named.get("content-length", "0")
    if (
        len(named) != len(found)
        or "host" not in named
        or _LENGTH.fullmatch(length) is None
        or not _SPECIAL.isdisjoint(named)
        or named.get("connection", "keep-alive").lower() != "keep-alive"
    ):
        return None
    return found, int(length)


class PlainWire:
    """Reads one plain request and writes its answer; see `messages.Wire`."""

    def __init__(self, head: Head, length: int, rest: bytes) -> None:
        self._head: Head | None = head
        self._left = length
        self._buffer = rest
        self._ended = head.body is not None
        self._answer: str = ""  # then "whole", "chunked", "bare", and "done"
        self._closes = False

    @classmethod
    def of(cls, data: bytes) -> PlainWire | None:
        """The request that `data` begins with, if it is plain."""
        end = data.find(b"\r\n\r\n") + 2
        if not 2 <= end <= HEAD_BYTES:
            return None
        line = _LINE.match(data)
        fields = None if line is None else _fields(data[line.end() : end])
        if line is None or fields is None:
            return None
        headers, length = fields
        method, target, body = line[1].decode(), line[2].decode(), data[end + 2 :]
        if len(body) < length:
            return cls(Head(method, target, headers, end), length, body)
        return cls(Head(method, target, headers, end, body=body[:length]), 0, body[length:])

    @property
    def wants_continue(self) -> bool:
        return False

    @property
    def may_answer(self) -> bool:
        return not self._answer

    @property
    def is_over(self) -> bool:
        return self._ended and self._answer == "done" and not self._closes

    @property
    def is_unread(self) -> bool:
        return not self._ended

    @property
    def rest(self) -> bytes:
        return self._buffer if self._ended else b""

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next_event(self) -> Head | bytes | End | None:
        if self._head is not None:
            head, self._head = self._head, None
            return head
        if self._left:
            if not self._buffer:
                return None
            piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(piece)
            return piece
        if not self._ended:
            self._ended = True
            return End()
        return None

    def encode_continue(self) -> bytes:
        return b""

    def encode_head(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
        head = f"HTTP/1.1 {status} \r\n{_lines(headers)}"
        names = head.lower()
        self._answer = "bare" if status in _BODILESS else "whole" if "\ncontent-length:" in names else "chunked"
        self._closes = "\nconnection:" in names  # the only thing that we say there is "close"
        framing = "transfer-encoding: chunked\r\n" if self._answer == "chunked" else ""
        return f"{head}{framing}\r\n".encode() + self.encode_body(body)

    def encode_body(self, data: bytes) -> bytes:
        if not data or self._answer == "bare":
            return b""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._answer == "chunked" else data

    def encode_end(self, trailers: Sequence[tuple[str, str]]) -> bytes:
        ending = f"0\r\n{_lines(trailers)}\r\n".encode() if self._answer == "chunked" else b""
        self._answer = "done"
        return ending


def _lines(headers: Sequence[tuple[str, str]]) -> str:
    if not "".join([value for _, value in headers]).isprintable():
        headers = [(name, safe_value(value)) for name, value in headers]
    return "".join([f"{name}: {value}\r\n" for name, value in headers])
