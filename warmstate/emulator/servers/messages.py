"""What a reader of HTTP/1.1 hands on, whichever way it reads: the head of a request, pieces of its body, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BadRequest", "End", "Head", "Wire", "safe_value"]


class BadRequest(Exception):
    """Raised for bytes that are no request; `status` is how to answer them."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@attrs.frozen
class Head:
    """
    The request line and the headers, with their names in lower case; `size` is what they hold in bytes.

    `body` is the whole body where that is here already: then neither pieces of it nor an `End` follow.
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    size: int
    version: str = "1.1"
    body: bytes | None = None


@attrs.frozen
class End:
    """The request is complete."""

    trailers: Sequence[tuple[str, str]] = ()


class Wire(Protocol):
    """Reads one request of a connection and writes its answer; the next request gets another one."""

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for "100 Continue" before it sends its body."""
        ...

    @property
    def may_answer(self) -> bool:
        """Whether no answer has begun."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether request and answer are complete and the connection can carry another request."""
        ...

    @property
    def is_unread(self) -> bool:
        """Whether the client may still be sending something of this request, or is not to be understood."""
        ...

    @property
    def rest(self) -> bytes:
        """What came after the end of this request."""
        ...

    def receive(self, data: bytes) -> None:
        """
        Bytes came.

        Raises:
            BadRequest: The connection had ended.
        """

    def next_event(self) -> Head | bytes | End | None:
        """
        What comes next of the request; None while more bytes are needed, and after its end.

        Raises:
            BadRequest: It is not HTTP.
        """

    def encode_continue(self) -> bytes:
        """The bytes that ask for the body."""
        ...

    def encode_head(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
        """The bytes of an answer's head and a first piece of its body."""
        ...

    def encode_body(self, data: bytes) -> bytes:
        """The bytes of a further piece."""
        ...

    def encode_end(self, trailers: Sequence[tuple[str, str]]) -> bytes:
        """The bytes that end the answer."""
        ...


_NO_TEXT: Final = dict.fromkeys((*range(9), *range(10, 32), 127), " ")


def safe_value(value: str) -> str:
    """A header's value that cannot break out of its line."""
    return value if value.isprintable() else value.translate(_NO_TEXT).strip()
