"""
One client's connection to an HTTP server of the emulator.

Bytes to exchanges and back, one exchange at a time: plain requests by `plain`, all others by `general`. What the client
may send, and how fast it must, is the server's to say (`Limits`).
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

from warmstate.emulator.servers.exchange import BodyTooLarge, ClientGone, Exchange
from warmstate.emulator.servers.general import GeneralWire
from warmstate.emulator.servers.messages import BadRequest, End, Head, Wire
from warmstate.emulator.servers.plain import PlainWire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from typing_extensions import Buffer

__all__ = ["READ_BYTES", "Connection", "Host"]

READ_BYTES: Final = 65_536
HEAD_READ_BYTES: Final = 8_192
LINGER: Final = 1.0
"""Seconds in which the rest of a refused request is dropped before the connection is cut."""


class Host(Protocol):
    """What a connection needs of its server."""

    handler: Callable[[Exchange], Awaitable[None] | None]
    head_bytes: int
    read_buffer: memoryview
    """Shared by all connections: what is read is copied out before the next one reads."""

    def admit(self, connection: Connection) -> None:
        """A new connection."""

    def forget(self, connection: Connection) -> None:
        """It is closed."""

    def note_idle(self, connection: Connection) -> None:
        """It served a request."""

    def note_held(self, connection: Connection, size: int) -> None:
        """Its incomplete request now has `size` bytes here."""

    def note_error(self, error: BaseException) -> None:
        """A handler failed."""


class Connection(asyncio.BufferedProtocol):
    """Bytes of one client to exchanges, and answers back."""

    def __init__(self, server: Host) -> None:
        self._server = server
        self._wire: Wire | None = None
        """Of the request that is here; None while nothing of one has come."""
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self._exchange: Exchange | None = None
        self._started = False
        """Whether the exchange was given to its handler."""
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._writable: asyncio.Future[None] | None = None
        self.peer = ""
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        """When something last happened here."""
        self.held = 0
        """Bytes of a request that is not complete yet."""
        self.reading_since = self.since
        """Since when this request may be read."""
        self.has_partial_head = True
        self._lingers = False
        self._is_last = False
        """No request comes after this one."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._exchange is not None

    @property
    def waits_for_body(self) -> bool:
        """Whether the rest of a request has yet to come."""
        return self._exchange is not None and not self._exchange.complete and not self._paused

    @property
    def wants_continue(self) -> bool:
        """Whether the client asked before it sends its body."""
        return self._wire is not None and self._wire.wants_continue

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        name: Any = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.admit(self)

    def get_buffer(self, sizehint: int) -> Buffer:
        """Where the next bytes go: little room for a head, more for a body."""
        return self._server.read_buffer if self.waits_for_body else self._server.read_buffer[:HEAD_READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._lingers:
            return
        self.since = self._loop.time()
        if not self.busy:
            self.has_partial_head = True
        try:
            self._receive(bytes(self._server.read_buffer[:nbytes]))
        except BadRequest:
            self.cut()
            return
        if self._exchange is None or not self._exchange.complete:
            if not self.held:
                self.reading_since = self.since
            self._hold(self.held + nbytes)
        self._pump()

    def _receive(self, data: bytes) -> None:
        if self._wire is None:
            self._wire = PlainWire.of(data)
            if self._wire is not None:
                return
            self._wire = GeneralWire(self._server.head_bytes)
        self._wire.receive(data)

    def eof_received(self) -> bool:
        """
        The client sends no more.

        It may still wait for the answer to what it sent. A runtime's connection that ends, or one that is being written
        to, has nobody at its other end.
        """
        exchange = self._exchange
        self._is_last = (
            exchange is not None and exchange.complete and not exchange.started and not exchange.ends_with_client
        )
        return self._is_last

    def _hold(self, size: int) -> None:
        self.held = size
        self._server.note_held(self, size)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was cut off."""
        self._hold(0)
        self._server.forget(self)
        if self._exchange is not None:
            self._exchange.feed_gone()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    async def drain(self) -> None:
        """Wait while the client does not keep up."""
        if self._writable is not None:
            await self._writable

    def resume_reading(self) -> None:
        """Read on after a pause."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
            self._pump()

    def hold_back(self) -> None:
        """Read no more of this request until `let_go`: others have too much on the way already."""
        self._transport.pause_reading()

    def let_go(self) -> None:
        """Read on."""
        self.reading_since = self.since = self._loop.time()
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def send_continue(self) -> None:
        """Ask for the body."""
        if self._wire is not None:
            self._write(self._wire.encode_continue())

    def send_head(self, status: int, headers: Sequence[tuple[str, str]], body: bytes = b"") -> None:
        """Send status and headers, and with them a first piece of the body."""
        if self._wire is not None:
            self._write(self._wire.encode_head(status, headers, body))

    def send_body(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._wire is not None:
            self._write(self._wire.encode_body(data))

    def send_end(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """End the body."""
        if self._wire is not None:
            self._write(self._wire.encode_end(trailers))

    def _write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self) -> None:
        """The answer is complete: go on with the next request of this connection, or close it."""
        self._exchange = None
        self.since = self._loop.time()
        if self._wire is None or not self._wire.is_over or (self._is_last and not self._wire.rest):
            self._linger()
            return
        rest, self._wire = self._wire.rest, None
        self.has_partial_head = bool(rest)
        self._server.note_idle(self)
        if self._paused and not self._is_last:
            self._paused = False
            self._transport.resume_reading()
        if rest:
            self._loop.call_soon(self._go_on, rest)

    def _go_on(self, rest: bytes) -> None:
        """The next request was sent before the last one was answered."""
        try:
            self._receive(rest)
        except BadRequest:
            self.cut()
        else:
            self._pump()

    def _linger(self) -> None:
        """
        Close after what was sent; what the client still sends is read and dropped for a moment.

        A socket that is closed with unread bytes is reset, and the client might never see why it was refused.
        """
        if self._wire is not None and self._wire.is_unread and not self._transport.is_closing():
            self._lingers = True
            try:
                self._transport.write_eof()
            except OSError:  # it has gone already, and nobody told us yet
                self.cut()
                return
            self._transport.resume_reading()
            self._loop.call_later(LINGER, self.cut)
        else:
            self._transport.close()

    def cut(self) -> None:
        """Close without a word."""
        self._transport.abort()

    def refuse(self, status: int, message: str) -> None:
        """Answer a request that could not be read, and close."""
        if self._wire is not None and self._wire.may_answer:
            body = json.dumps({"Type": "User", "message": message}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            self.send_head(status, headers, body)
            self.send_end()
        self._linger()

    def _pump(self) -> None:
        while self._wire is not None and not self._transport.is_closing():
            try:
                event = self._wire.next_event()
            except BadRequest as error:
                if self._exchange is not None:
                    self._exchange.feed_gone()
                self.refuse(error.status, f"this is not an HTTP/1.1 request: {error}")
                return
            if event is None:
                if self._wire.rest and not self._paused:  # a request before the last one was answered
                    self._pause()
                break
            if isinstance(event, Head):
                if event.size > self._server.head_bytes:
                    self.refuse(431, f"request line and headers may have {self._server.head_bytes} bytes")
                    return
                self.has_partial_head, self._started = False, False
                self._exchange = Exchange(self, event.method, event.target, event.headers)
                if event.body is not None:
                    self._hold(0)
                    self._exchange.feed(event.body)
                    self._exchange.feed_end(())
            elif self._exchange is None:
                return
            elif isinstance(event, End):
                self._hold(0)
                self._exchange.feed_end(event.trailers)
            else:
                self._exchange.feed(event)
                if self._exchange.full:
                    self._pause()
                    break
        if self._exchange is not None and not self._started:
            self._started = True
            self._start(self._exchange)

    def _pause(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def _start(self, exchange: Exchange) -> None:
        try:
            work = self._server.handler(exchange)
        except Exception as error:  # noqa: BLE001 - one broken handler must not take the server down
            self._fail(exchange, error)
        else:
            if work is not None:
                self._task = self._loop.create_task(self._run(exchange, work))

    async def _run(self, exchange: Exchange, work: Awaitable[None]) -> None:
        try:
            await work
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the same
            self._fail(exchange, error)
        else:
            if not exchange.finished:
                exchange.abort()

    def _fail(self, exchange: Exchange, error: BaseException) -> None:
        if isinstance(error, BodyTooLarge):
            message = "the request's body is larger than this interface accepts"
            exchange.respond_json(
                413, {"Type": "User", "message": message}, [("x-amzn-errortype", "RequestTooLargeException")]
            )
        elif isinstance(error, ClientGone | asyncio.CancelledError):
            exchange.abort()
        else:
            self._server.note_error(error)
            if exchange.started:
                exchange.abort()
            else:
                fault = {"Type": "Service", "Message": "the emulator failed; its journal has the traceback"}
                exchange.respond_json(500, fault, [("x-amzn-errortype", "ServiceException")])

    def cancel(self) -> None:
        """The server ends: so does whatever is being answered."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()
