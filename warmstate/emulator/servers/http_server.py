"""
The HTTP/1.1 server under every interface of the emulator.

1. Every size is bounded before bytes are kept: request head, body, connections, and what incomplete requests hold together.
2. A connection without a request in flight may be closed at any time, the longest idle one first; then one whose
   request is not complete. So a thousand idle or slow clients never keep a good one out.
3. Two ways to say how long a body is (two lengths, a length and chunks) is an error, never a choice.
4. A handler answers at once, or returns what is awaited in a task of its own, or leaves the answer to whoever holds the
   exchange, which knows when its client has gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import attrs

from warmstate.emulator.servers.connection import READ_BYTES, Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["HttpServer", "Limits"]

SMALL: Final = 16_384
"""Bytes of an incomplete request that are always taken."""
GRACE: Final = 3.0
"""Seconds after which a large request must have come at `Limits.least_rate`."""


@attrs.frozen(kw_only=True)
class Limits:
    """
    What a server accepts; times in seconds, None for no limit.

    `head_timeout` runs from the first byte of a request (or from the connection) to the end of its headers,
    `body_timeout` between two pieces of a body, `idle_timeout` between two requests.
    Incomplete requests may together hold `held_bytes`; beyond that large ones come one after the other, and each at
    `least_rate` bytes a second or not at all.
    """

    connections: int = 256
    head_bytes: int = 65_536
    head_timeout: float | None = 5.0
    body_timeout: float | None = 15.0
    idle_timeout: float | None = 120.0
    held_bytes: int | None = 4 << 20
    least_rate: int = 256 << 10


class HttpServer:
    """Listens on one address and hands each request to `handler`."""

    def __init__(
        self,
        handler: Callable[[Exchange], Awaitable[None] | None],
        *,
        limits: Limits | None = None,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self._on_error = on_error
        # Ordered by last use, so that the first idle one is the one to close.
        self._connections: dict[Connection, None] = {}
        self.head_bytes = self.limits.head_bytes
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._held = 0
        self._sizes: dict[Connection, int] = {}
        """Large incomplete requests, the first to come first."""
        self._held_back: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False
        self.host, self.port = "", 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """
        Listen.

        Raises:
            OSError: The address cannot be had; `errno.EADDRINUSE` when the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
        if self.limits.head_timeout or self.limits.idle_timeout or self.limits.body_timeout:
            self._sweeper = loop.create_task(self._sweep())

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.sleep(0)

    def note_error(self, error: BaseException) -> None:
        """A handler failed."""
        if self._on_error is not None:
            self._on_error(error)

    def admit(self, connection: Connection) -> None:
        """Keep a new connection, in place of the longest idle one when there are too many."""
        if self._closed:  # it was accepted while we closed
            connection.cut()
            return
        self._connections[connection] = None
        if len(self._connections) > self.limits.connections:
            idle = (other for other in self._connections if not other.busy and other is not connection)
            unfinished = (other for other in self._connections if other.waits_for_body)
            victim = next(idle, next(unfinished, connection))
            self.forget(victim)
            victim.cut()

    def note_idle(self, connection: Connection) -> None:
        """`connection` just served a request, so it is the last to be closed for room."""
        if connection in self._connections:
            self._connections[connection] = self._connections.pop(connection)

    def forget(self, connection: Connection) -> None:
        """`connection` is closed."""
        self._connections.pop(connection, None)

    def note_held(self, connection: Connection, size: int) -> None:
        """
        An incomplete request has `size` bytes here now.

        While all together have too many, large ones wait, except the one that came first.
        """
        if self.limits.held_bytes is None:
            return
        if size <= SMALL:
            freed = self._sizes.pop(connection, 0)
            self._held -= freed
            self._held_back.discard(connection)
            if freed:
                self._let_go()
            return
        self._held += size - self._sizes.get(connection, 0)
        self._sizes[connection] = size
        if self._held > self.limits.held_bytes and connection is not next(iter(self._sizes)):
            self._held_back.add(connection)
            connection.hold_back()

    def _let_go(self) -> None:
        first = next(iter(self._sizes), None)
        for connection in [other for other in self._sizes if other in self._held_back]:
            if connection is first or self._held <= (self.limits.held_bytes or 0):
                self._held_back.discard(connection)
                connection.let_go()

    def _is_too_slow(self, connection: Connection, now: float) -> bool:
        """Whether a large request takes the place of others and does not come."""
        seconds = now - connection.reading_since
        reads = connection in self._sizes and connection not in self._held_back
        return reads and seconds > GRACE and connection.held < seconds * self.limits.least_rate

    async def _sweep(self) -> None:
        """Close the connections that take too long; once a second is precise enough for limits of seconds."""
        loop, limits = asyncio.get_running_loop(), self.limits
        while True:
            await asyncio.sleep(1.0)
            now = loop.time()
            for connection in list(self._connections):
                waited = now - connection.since
                if connection.waits_for_body:
                    stalled = limits.body_timeout is not None and waited > limits.body_timeout
                    if (stalled and connection not in self._held_back) or self._is_too_slow(connection, now):
                        connection.cut()
                elif not connection.busy:
                    limit = limits.head_timeout if connection.has_partial_head else limits.idle_timeout
                    if limit is not None and waited > limit:
                        connection.cut()
