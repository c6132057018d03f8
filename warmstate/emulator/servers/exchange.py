"""One request and its answer, apart from how they travel: what handlers of the emulator's HTTP interfaces see."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["BodyTooLarge", "ClientGone", "Connection", "Exchange"]

BODILESS: Final = frozenset({204, 304})
"""Statuses of answers that have no body."""
READ_AHEAD: Final = 65_536
"""Bytes of a body kept for a handler that has not asked for them yet; then the socket is left alone."""


class BodyTooLarge(Exception):
    """Raised while reading a body that is larger than its handler accepts."""


class ClientGone(Exception):
    """Raised when the client closed the connection in the middle of its request."""


class Connection(Protocol):
    """What carries an exchange."""

    peer: str

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for "100 Continue" before it sends its body."""
        ...

    def send_continue(self) -> None:
        """Ask for the body."""

    def send_head(self, status: int, headers: Sequence[tuple[str, str]], body: bytes = b"") -> None:
        """Send status and headers, and with them a first piece of the body."""

    def send_body(self, data: bytes) -> None:
        """Send a piece of the body."""

    def send_end(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """End the body."""

    async def drain(self) -> None:
        """Wait while the client does not keep up."""

    def resume_reading(self) -> None:
        """Read on after a pause."""

    def finish(self) -> None:
        """The answer is complete."""

    def cut(self) -> None:
        """Close without a word."""


class Exchange:
    """One request, and the way to answer it: `respond` at once, or `start`, `send` and `finish`."""

    def __init__(self, connection: Connection, method: str, target: str, headers: Sequence[tuple[str, str]]) -> None:
        self._connection = connection
        self.method: Final = method
        self.target: Final = target
        self.raw_path, _, self.query = target.partition("?")
        self.headers: Final = headers
        self.trailers: Sequence[tuple[str, str]] = ()
        self.gone = False
        """Whether the client has closed its side."""
        self.started = False
        self.finished = False
        self._bodiless = False
        self.ends_with_client = False
        """Whether a client that sends no more has gone, though its request is whole: nobody would take the answer."""
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._complete = False
        self._waiter: asyncio.Future[None] | None = None
        self._settled: asyncio.Future[None] | None = None

    @property
    def path(self) -> str:
        """The path with its percent escapes decoded; for matching against known names, never for file names."""
        return unquote(self.raw_path)

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._connection.peer

    def header(self, name: str, default: str = "") -> str:
        """The first value of the header `name` (lower case), or `default`."""
        for key, value in self.headers:
            if key == name:
                return value
        return default

    def header_values(self, name: str) -> list[str]:
        """All values of the header `name` (lower case), in order."""
        return [value for key, value in self.headers if key == name]

    async def read(self, limit: int) -> bytes:
        """
        The whole body.

        Raises:
            BodyTooLarge: It has, or announces, more than `limit` bytes.
            ClientGone: The connection ended first.
        """
        announced = self.header("content-length")
        if announced and int(announced) > limit:
            raise BodyTooLarge
        total, pieces = 0, list[bytes]()
        async for piece in self.chunks():
            total += len(piece)
            if total > limit:
                raise BodyTooLarge
            pieces.append(piece)
        return b"".join(pieces)

    def take(self) -> bytes:
        """What has come of the body and was not read yet: all of it when the request is `complete`."""
        pieces, self._pieces, self._buffered = self._pieces, [], 0
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; `trailers` is filled after the last piece."""
        while True:
            if self._pieces:
                pieces, self._pieces, self._buffered = self._pieces, [], 0
                self._connection.resume_reading()
                for piece in pieces:
                    yield piece
            elif self._complete:
                return
            elif self.gone:
                raise ClientGone
            else:
                if self._connection.wants_continue:
                    self._connection.send_continue()
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter

    def respond(self, status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send a whole answer; bodies of 204 and 304 are never sent."""
        if self.finished or self.gone:
            return
        bare = status in BODILESS
        length = [] if bare else [("content-length", str(len(body)))]
        self._head(status, [*headers, *length], b"" if bare or self.method == "HEAD" else body)
        self._connection.send_end()
        self.finished = True
        self._connection.finish()
        self._settle()

    def respond_json(self, status: int, value: object, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send `value` as JSON."""
        body = json.dumps(value, ensure_ascii=False).encode()
        self.respond(status, body, [("content-type", "application/json"), *headers])

    def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Begin an answer of unknown length; where HTTP allows no body, what is sent goes nowhere."""
        self._bodiless = self.method == "HEAD" or status in BODILESS
        self._head(status, headers)

    async def send(self, data: bytes) -> None:
        """
        Send a piece of the answer, waiting while the client does not keep up.

        Raises:
            ClientGone: The client is not there any more.
        """
        if self.gone:
            raise ClientGone
        if data and not self._bodiless:
            self._connection.send_body(data)
            await self._connection.drain()

    def finish(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """End an answer that was begun with `start`."""
        if not self.finished:
            self.finished = True
            if not self.gone:
                self._connection.send_end(trailers)
            self._connection.finish()

    async def settled(self) -> None:
        """Wait until somebody answered this exchange, or its client has gone."""
        if not self.finished and not self.gone:
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled

    def abort(self) -> None:
        """Cut the connection, for an answer that cannot be completed truthfully."""
        self.finished = True
        self._connection.cut()

    def _head(self, status: int, headers: Sequence[tuple[str, str]], body: bytes = b"") -> None:
        self.started = True
        # When the rest of the request's body is not read, this connection cannot carry another request.
        closing = () if self._complete else (("connection", "close"),)
        self._connection.send_head(status, [*headers, *closing], body)

    def feed(self, piece: bytes) -> None:
        """A piece of the body arrived."""
        if piece:
            self._pieces.append(piece)
            self._buffered += len(piece)
            self._wake()

    def feed_end(self, trailers: Sequence[tuple[str, str]]) -> None:
        """The body is complete."""
        self.trailers = trailers
        self._complete = True
        self._wake()

    def feed_gone(self) -> None:
        """The client closed its side."""
        self.gone = True
        self._settle()
        self._wake()

    def _settle(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    @property
    def complete(self) -> bool:
        """Whether the whole request has arrived."""
        return self._complete

    @property
    def full(self) -> bool:
        """Whether so much of the body waits that reading should pause."""
        return self._buffered > READ_AHEAD

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None
