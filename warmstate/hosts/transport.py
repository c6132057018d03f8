"""
The native client of the Runtime API: one kept connection, as few steps per invocation as Python allows.

1. `next` has no timeout and is not retried, except once when a kept connection turns out closed before any byte came.
2. The receive timeout is only a beat: it wakes the waiting thread now and then so that a freeze can be told from idling.
3. Before a POST the connection is peeked at for its end, since a POST whose bytes were sent is never sent again.
4. A peer that stops reading, or answering, is given up after seconds, or as soon as `is_over` says that time is up.
5. Answers are read strictly, see `http11`; what is ambiguous is a `TransportError` and costs the connection.
"""

from __future__ import annotations

import _socket
import select

from warmstate.errors import TransportError
from warmstate.hosts.connection import connect_to, cookie_of, parse_address, receive_head, send_all, send_both, timeval
from warmstate.hosts.descriptors import Reserve, end_own, is_for_want_of_one, leads_to
from warmstate.hosts.http11 import (
    CHUNKED,
    MOST_HEAD,
    MOST_STALL,
    RECEIVE,
    HeadReader,
    Reply,
    never,
    one_more_beat,
    read_chunks,
    read_exactly,
    read_to_end,
)
from warmstate.lifecycle.thaw import BEAT
from warmstate.wire.runtime_api import MAX_EVENT_BYTES, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.lifecycle.environment import Environment

__all__ = ["NativeTransport", "transport_for"]

_USER_AGENT = "warmstate/0.1"
_MOST_INTERIM = 16
_FOR_EVER = float("inf")
_UNASKED = b"?"
"""In the place of bytes that came too many: a connection that carries no more answers."""


class NativeTransport:
    """
    Speaks HTTP/1.1 with the Runtime API over one connection.

    Args:
        runtime_api: `AWS_LAMBDA_RUNTIME_API`.
        beat: Seconds between calls of `on_beat` while a reply is waited for.
        reserve: Descriptors to connect with when code of the user has used up all others.
    """

    __slots__ = (
        "_beat",
        "_broken",
        "_buffer",
        "_cookie",
        "_headers",
        "_heads",
        "_heads_read",
        "_host",
        "_identity",
        "_known",
        "_known_reply",
        "_large",
        "_lines",
        "_owed",
        "_poll",
        "_port",
        "_prefix",
        "_reserve",
        "_runtime_api",
        "_seconds",
        "_socket",
        "_suffix",
        "is_over",
    )

    def __init__(self, runtime_api: str, *, beat: float = BEAT, reserve: Reserve | None = None) -> None:
        self._runtime_api = runtime_api
        self._reserve = Reserve() if reserve is None else reserve
        self._seconds = beat
        self._host, self._port, self._prefix = parse_address(runtime_api)
        self._beat = timeval(beat)
        self._socket: _socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._cookie: bytes | None = None
        self._owed = False  # a reply to what was submitted
        self._broken: OSError | None = None  # why it could not be submitted whole
        self._buffer = b""
        authority = f"[{self._host}]" if ":" in self._host else self._host
        self._suffix = f" HTTP/1.1\r\nHost: {authority}:{self._port}\r\nUser-Agent: {_USER_AGENT}\r\n"
        self._heads: dict[str, bytes] = {}
        self._headers: tuple[tuple[str, str], ...] = ()
        self._lines = ""
        self._heads_read = HeadReader()
        self._known: bytes = b""
        self._known_reply = Reply(202, {}, b"")
        self._large = False  # whether the last event was
        self._poll = select.poll()
        self.is_over: Callable[[float], bool] = never
        """Asked while the peer neither reads nor answers: whether waiting for that many seconds is enough now."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._host}:{self._port}{', connected' if self._socket else ''}>"

    def get(self, request: Request, on_beat: Callable[[], None] | None = None) -> Reply:
        """
        Send a request without a body and wait for its reply, for ever if need be.

        Raises:
            TransportError: the connection cannot be made, broke, or what came is no answer.
        """
        head = self._heads.get(request.path)
        if head is None:
            head = self._head(request) + b"\r\n"
            if not request.headers:
                self._heads[request.path] = head
        if self._owed:
            self._read_what_is_owed()
        if self._buffer:
            self.close()  # more came than was asked for: it must not be taken for this answer
        kept = self._socket is not None
        while True:
            connection = self._connected()
            try:
                self._put(connection, head)
                return self._read(connection, on_beat, patient=True)
            except (OSError, _ClosedBeforeReply) as error:
                self.close()
                if not kept or isinstance(error, TransportError):
                    raise _as_transport_error(error) from error
                kept = False  # it had died while nobody looked: once more, over a new one
            except BaseException:
                # Whoever ended the wait may ask again, and must not get this answer then. The next call closes the connection:
                # at the end there is none, and closing would keep the hook waiting.
                self._buffer = _UNASKED
                raise

    def post(self, request: Request) -> Reply:
        """
        Send a request with its body once and read the reply.

        Raises:
            TransportError: the connection cannot be made, broke, or what came is no answer.
        """
        self.submit(request)
        return self.read_reply()

    def submit(self, request: Request) -> None:
        """
        Send a request with its body once, without waiting for the reply: `read_reply` reads it.

        Raises:
            TransportError: the connection cannot be made.
        """
        body = request.body
        head = self._head(request) + b"Content-Length: %d\r\n\r\n" % len(body)
        connection = self._peeked()
        self._owed = True
        try:
            if len(body) <= RECEIVE:
                self._put(connection, head + body)
            else:
                send_both(connection, head, body, self._seconds, self.is_over)
        except TransportError:  # it takes no more
            self.close()
            raise
        except OSError as error:
            # A server may refuse a large body before it has read it all: its answer is then there to be read.
            self._broken = error

    def separate(self) -> NativeTransport:
        """Another transport to the same Runtime API, with a connection of its own."""
        other = NativeTransport(self._runtime_api, beat=self._seconds, reserve=self._reserve)
        other.is_over = self.is_over
        return other

    def send_unread(self, request: Request) -> int:
        """
        Send a request without waiting for its reply, and return the connection's descriptor.

        Raises:
            TransportError: the connection cannot be made.
        """
        connection = self._peeked()
        try:
            self._put(connection, self._head(request) + b"\r\n")
        except OSError as error:
            self.close()
            raise _as_transport_error(error) from error
        return connection.fileno()

    def send(self, data: bytes) -> None:
        """
        Send more of a body whose head went out with `send_unread`.

        Raises:
            TransportError: the connection broke.
        """
        try:
            self._put(self._connected(), data, most=_FOR_EVER)  # a slow client slows a stream
        except OSError as error:
            raise _as_transport_error(error) from error

    def read_reply(self) -> Reply:
        """
        Read the reply to what was sent before.

        Raises:
            TransportError: the connection broke, or what came is no answer.
        """
        broken, self._broken = self._broken, None
        self._owed = False
        try:
            return self._read(self._connected())
        except (OSError, _ClosedBeforeReply) as error:
            self.close()
            raise _as_transport_error(broken or error) from broken or error

    def is_closed(self) -> bool:
        """Whether the peer ended the connection, or there is none."""
        connection = self._socket
        if connection is None:
            return True
        try:
            return connection.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        connection, self._socket = self._socket, None
        self._owed = False
        self._broken = None
        self._buffer = b""
        if connection is not None:
            end_own(connection, self._identity)

    # ---- below: one connection

    def _read_what_is_owed(self) -> None:
        """Whoever submitted was interrupted before the reply: it must not be taken for the answer to what comes now."""
        try:
            self.read_reply()
        except TransportError:
            pass  # the connection is closed, which is as good

    def _head(self, request: Request) -> bytes:
        headers = request.headers
        if headers is not self._headers:
            self._lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
            self._headers = headers  # most answers come with the same ones
        return f"{request.method} {self._prefix}{request.path}{self._suffix}{self._lines}".encode()

    def _put(self, connection: _socket.socket, data: bytes, *, most: float = MOST_STALL) -> None:
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            send_all(connection, data, sent, self._seconds, self.is_over, most=most)

    def _connected(self) -> _socket.socket:
        if self._socket is None:
            try:
                connection = connect_to(self._host, self._port, self._beat)
            except TransportError as error:
                if not is_for_want_of_one(error.__cause__):
                    raise
                with self._reserve:
                    connection = connect_to(self._host, self._port, self._beat)
            self._identity = leads_to(connection.fileno())  # first: without it nobody could close what follows
            self._socket = connection
            self._cookie = cookie_of(connection)
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
        return self._socket

    def _peeked(self) -> _socket.socket:
        connection = self._socket
        if connection is None:
            return self._connected()
        try:
            # Where a handler closed every descriptor and opened others, an answer must not go to a stranger.
            silent = cookie_of(connection) == self._cookie and not self._poll.poll(0)
        except OSError:  # a handler allowed this process no descriptors at all
            silent = not self.is_closed()
        if silent and not self._buffer:
            return connection  # silent and open, as it should be
        self.close()  # ended, or the peer said something unasked: neither can carry an answer
        return self._connected()

    def _read(
        self,
        connection: _socket.socket,
        on_beat: Callable[[], None] | None = None,
        *,
        patient: bool = False,
        interim: int = 0,
    ) -> Reply:
        """One whole reply; a `patient` reader waits for its first byte for ever, and `on_beat` is called meanwhile."""
        receive = connection.recv
        split = patient and self._large
        stalled = 0.0
        data = self._buffer
        self._buffer = b""
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                break
            if len(data) > MOST_HEAD:
                raise TransportError(f"The Runtime API sent more than {MOST_HEAD} bytes of headers.")
            try:
                piece = receive_head(connection) if split else receive(RECEIVE)
            except BlockingIOError:
                if patient and not data:
                    if on_beat is not None:
                        on_beat()
                else:
                    # An event that began to come is waited for: whatever is over, it was not that one's deadline.
                    stalled = one_more_beat(stalled, self._seconds, never if patient else self.is_over)
                continue
            if not piece:
                if data:
                    raise TransportError("The Runtime API closed the connection in the middle of an answer's headers.")
                raise _ClosedBeforeReply
            data = data + piece if data else piece
        if data == self._known:
            return self._known_reply
        status, headers, length = self._heads_read.read(data[:end])
        if status < 200:  # an interim answer nobody asked for
            if interim == _MOST_INTERIM:
                raise TransportError(f"The Runtime API sent more than {interim} interim answers and no answer.")
            self._buffer = data[end + 4 :]
            return self._read(connection, on_beat, patient=patient, interim=interim + 1)
        rest = data[end + 4 :]
        if length >= 0:
            if length > MAX_EVENT_BYTES:
                self.close()
                return Reply(status, headers, b"", too_large=True)
            if len(rest) >= length:
                self._buffer = rest[length:]
                body = rest[:length] if len(rest) > length else rest
            else:
                body = read_exactly(connection, rest, length, self._seconds)
                if patient:
                    self._large = length > RECEIVE
        elif length == CHUNKED:
            chunked, self._buffer = read_chunks(connection, rest, self._seconds)
            if chunked is None:
                self.close()
                return Reply(status, headers, b"", too_large=True)
            body = chunked
        else:
            body = read_to_end(connection, rest, self._seconds)
            self.close()
            if len(body) > MAX_EVENT_BYTES:
                return Reply(status, headers, b"", too_large=True)
        reply = Reply(status, headers, body)
        if data[5:8] == b"1.0" or ("connection" in headers and "close" in headers["connection"].lower()):
            self.close()  # the peer ends it; a post may be faster than that end
        elif status == 202 and len(data) == end + 4 + length:
            # The answer to a post is the same bytes for a second at least: its date is all that changes.
            self._known = data
            self._known_reply = reply
        return reply


def transport_for(environment: Environment, *, reserve: Reserve, beat: float = BEAT) -> NativeTransport:
    """The transport that `WARMSTATE_TRANSPORT` names."""
    if environment.transport == "requests":
        from warmstate.hosts.transport_requests import RequestsTransport

        return RequestsTransport(environment.runtime_api, beat=beat, reserve=reserve)
    return NativeTransport(environment.runtime_api, beat=beat, reserve=reserve)


class _ClosedBeforeReply(Exception):
    """The peer ended the connection and not one byte of a reply had come."""


def _as_transport_error(error: BaseException) -> TransportError:
    if isinstance(error, TransportError):
        return error
    if isinstance(error, _ClosedBeforeReply):
        return TransportError("The Runtime API closed the connection without an answer.")
    return TransportError(f"The connection to the Runtime API broke: {error}")
