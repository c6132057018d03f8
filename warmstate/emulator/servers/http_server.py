"""
The HTTP/1.1 server under every interface of the emulator; the only module that knows h11.

1. Every size is bounded before bytes are kept: request head, body, connections.
2. A connection without a request in flight may be closed at any time, the longest idle one first; so a thousand idle
   or slow clients never keep a good one out.
3. Two ways to say how long a body is (two lengths, a length and chunks) is an error, never a choice.
4. Handlers run as tasks on the one event loop; an exchange knows when its client has gone.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import attrs
import h11

from warmstate.emulator.servers.exchange import BodyTooLarge, ClientGone, Exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["HttpServer", "Limits"]


@attrs.frozen(kw_only=True)
class Limits:
    """
    What a server accepts; times in seconds, None for no limit.

    `head_timeout` runs from the first byte of a request (or from the connection) to the end of its headers,
    `body_timeout` between two pieces of a body, `idle_timeout` between two requests.
    """

    connections: int = 512
    head_bytes: int = 65_536
    head_timeout: float | None = 5.0
    body_timeout: float | None = 15.0
    idle_timeout: float | None = 120.0


def _header_value(value: str) -> bytes:
    """Bytes that cannot break out of their header line."""
    return value.replace("\r", " ").replace("\n", " ").replace("\0", " ").strip().encode("utf-8")


class _Connection(asyncio.Protocol):
    """One client's connection: bytes to exchanges and back, one exchange at a time."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=server.limits.head_bytes)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._writable: asyncio.Future[None] | None = None
        self.peer = ""
        self.since = asyncio.get_running_loop().time()
        self.has_partial_head = True

    @property
    def busy(self) -> bool:
        return self._exchange is not None

    @property
    def waits_for_body(self) -> bool:
        return self._exchange is not None and not self._exchange.complete and not self._paused

    @property
    def wants_continue(self) -> bool:
        return self._h11.they_are_waiting_for_100_continue

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        name: Any = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.admit(self)

    def data_received(self, data: bytes) -> None:
        self._touch()
        if not self.busy:
            self.has_partial_head = True
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError:
            self.cut()
            return
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        if self._exchange is not None:
            self._exchange.feed_gone()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    async def drain(self) -> None:
        if self._writable is not None:
            await self._writable

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
            self._pump()

    def send_continue(self) -> None:
        self._write(h11.InformationalResponse(status_code=100, headers=[]))

    def send_head(self, status: int, headers: Sequence[tuple[str, str]], body: bytes = b"") -> None:
        clean = [(name.encode("ascii"), _header_value(value)) for name, value in headers]
        self._write(h11.Response(status_code=status, headers=clean), h11.Data(data=body))

    def send_body(self, data: bytes) -> None:
        self._write(h11.Data(data=data))

    def send_end(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        self._write(
            h11.EndOfMessage(headers=[(name.encode("ascii"), _header_value(value)) for name, value in trailers])
        )

    def _write(self, *events: h11.Event) -> None:
        data = b"".join([self._h11.send(event) or b"" for event in events])
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self) -> None:
        """The answer is complete: go on with the next request of this connection, or close it."""
        self._exchange = None
        self._touch()
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            self.has_partial_head = bool(self._h11.trailing_data[0])
            self._server.note_idle(self)
            self.resume_reading()
            asyncio.get_running_loop().call_soon(self._pump)
        else:
            self._transport.close()

    def cut(self) -> None:
        self._transport.abort()

    def refuse(self, status: int, message: str) -> None:
        """Answer a request that could not be read, and close."""
        if self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = json.dumps({"Type": "User", "message": message}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            try:
                self.send_head(status, headers, body)
                self.send_end()
            except h11.LocalProtocolError:
                pass
        self._transport.close()

    def _touch(self) -> None:
        self.since = asyncio.get_running_loop().time()

    def _pump(self) -> None:
        while not self._transport.is_closing():
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                if self._exchange is not None:
                    self._exchange.feed_gone()
                self.refuse(error.error_status_hint, f"this is not an HTTP/1.1 request: {error}")
                return
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return
            if event is h11.PAUSED:
                if len(self._h11.trailing_data[0]) > self._server.limits.head_bytes:
                    self._paused = True
                    self._transport.pause_reading()
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data) and self._exchange is not None:
                self._exchange.feed(bytes(event.data))
                if self._exchange.full:
                    self._paused = True
                    self._transport.pause_reading()
                    return
            elif isinstance(event, h11.EndOfMessage) and self._exchange is not None:
                trailers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers]
                self._exchange.feed_end(trailers)

    def _begin(self, request: h11.Request) -> None:
        self.has_partial_head = False
        names = [name for name, _ in request.headers]
        # h11 bounds heads that come in pieces; one that came in a single read is measured here.
        size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
        if size > self._server.limits.head_bytes:
            self.refuse(431, f"request line and headers may have {self._server.limits.head_bytes} bytes")
            return
        if b"transfer-encoding" in names and b"content-length" in names:
            self.refuse(400, "a request has either Content-Length or Transfer-Encoding, not both")
            return
        if request.http_version == b"1.0" and b"host" not in names:
            self.refuse(400, "the Host header is missing")
            return
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers]
        method, target = request.method.decode("ascii"), request.target.decode("ascii", "replace")
        exchange = self._exchange = Exchange(self, method, target, headers)
        self._task = asyncio.get_running_loop().create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._server.handler(exchange)
        except BodyTooLarge:
            message = "the request's body is larger than this interface accepts"
            error = ("x-amzn-errortype", "RequestTooLargeException")
            exchange.respond_json(413, {"Type": "User", "message": message}, [error])
        except ClientGone:
            exchange.abort()
        except asyncio.CancelledError:
            exchange.abort()
        except Exception as error:  # noqa: BLE001 - one broken handler must not take the server down
            self._server.note_error(error)
            if exchange.started:
                exchange.abort()
            else:
                fault = {"Type": "Service", "Message": "the emulator failed; its journal has the traceback"}
                exchange.respond_json(500, fault, [("x-amzn-errortype", "ServiceException")])
        else:
            if not exchange.finished:
                exchange.abort()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()


class HttpServer:
    """Listens on one address and hands each request to `handler`."""

    def __init__(
        self,
        handler: Callable[[Exchange], Awaitable[None]],
        *,
        limits: Limits | None = None,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self._on_error = on_error
        # Ordered by last use, so that the first idle one is the one to close.
        self._connections: dict[_Connection, None] = {}
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.host, self.port = "", 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """
        Listen.

        Raises:
            OSError: The address cannot be had; `errno.EADDRINUSE` when the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
        if self.limits.head_timeout or self.limits.idle_timeout or self.limits.body_timeout:
            self._sweeper = loop.create_task(self._sweep())

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.sleep(0)

    def note_error(self, error: Exception) -> None:
        """A handler failed."""
        if self._on_error is not None:
            self._on_error(error)

    def admit(self, connection: _Connection) -> None:
        """Keep a new connection, in place of the longest idle one when there are too many."""
        self._connections[connection] = None
        if len(self._connections) > self.limits.connections:
            victim = next((other for other in self._connections if not other.busy), connection)
            self.forget(victim)
            victim.cut()

    def note_idle(self, connection: _Connection) -> None:
        """`connection` just served a request, so it is the last to be closed for room."""
        if connection in self._connections:
            self._connections[connection] = self._connections.pop(connection)

    def forget(self, connection: _Connection) -> None:
        """`connection` is closed."""
        self._connections.pop(connection, None)

    async def _sweep(self) -> None:
        """Close the connections that take too long; once a second is precise enough for limits of seconds."""
        loop, limits = asyncio.get_running_loop(), self.limits
        while True:
            await asyncio.sleep(1.0)
            now = loop.time()
            for connection in list(self._connections):
                waited = now - connection.since
                if connection.waits_for_body:
                    if limits.body_timeout is not None and waited > limits.body_timeout:
                        connection.cut()
                elif not connection.busy:
                    limit = limits.head_timeout if connection.has_partial_head else limits.idle_timeout
                    if limit is not None and waited > limit:
                        connection.cut()
