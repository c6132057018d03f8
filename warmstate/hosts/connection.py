"""One connection to the Runtime API: where it leads, how it is made, and how more is sent than the peer takes at once."""

from __future__ import annotations

import _socket
import sys

from warmstate.errors import ConfigurationError, TransportError
from warmstate.hosts.http11 import MOST_STALL, RECEIVE, one_more_beat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["connect_to", "cookie_of", "parse_address", "receive_head", "send_all", "send_both", "timeval"]

_MOST_PEEK = 4096

_SO_COOKIE = 57


def cookie_of(connection: _socket.socket) -> bytes | None:
    """What the kernel gives no other socket, asked for faster than device and inode; None for a descriptor that is no socket's."""
    try:
        return connection.getsockopt(_socket.SOL_SOCKET, _SO_COOKIE, 8)
    except OSError:  # or the kernel has no cookies, and then nobody is told apart
        return None


def parse_address(runtime_api: str) -> tuple[str, int, str]:
    """
    Host, port and path prefix of `AWS_LAMBDA_RUNTIME_API`; cargo-lambda's server has a path in it.

    Raises:
        ConfigurationError: the text is no `host:port` or `host:port/path`.
    """
    text = runtime_api.removeprefix("http://").rstrip("/")
    authority, slash, path = text.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon:
        host, port = authority, "80"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ConfigurationError(
            f"AWS_LAMBDA_RUNTIME_API is {runtime_api!r}; it must be host:port, as the platform sets it for a runtime."
        )
    return host, int(port), slash + path


def connect_to(host: str, port: int, beat: bytes) -> _socket.socket:
    """
    A connection whose receives and sends give up after one `beat`, a `timeval`, in which nothing went.

    Raises:
        TransportError: the host is not known, or nobody answers there.
    """
    try:
        # As bytes: for text Python imports its IDNA codec, and re with it.
        found = _socket.getaddrinfo(host.encode(), port, 0, _socket.SOCK_STREAM)
    except OSError as error:
        raise TransportError(f"The Runtime API's host {host!r} is not known: {error}") from error
    problem: OSError | None = None
    for family, kind, protocol, _, address in found:
        try:
            # SOCK_CLOEXEC: a child that the handler starts must not hold the runtime's connection open.
            connection = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            problem = error
            continue
        try:
            connection.setblocking(True)  # whatever default timeout the user's code has set
            connection.connect(address)
            connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, beat)
            connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, beat)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise TransportError(f"The Runtime API at {host}:{port} cannot be reached: {problem}.") from problem


def send_all(
    connection: _socket.socket, data: bytes, sent: int, beat: float, is_over: Callable[[float], bool], *, most: float
) -> None:
    """
    What is left of `data` after `sent` bytes.

    Raises:
        TransportError: the peer took nothing for `most` seconds, or for what `is_over` says is too long.
        OSError: the connection broke.
    """
    stalled = 0.0
    with memoryview(data) as view:
        while sent < len(data):
            try:
                sent += connection.send(view[sent:])
            except BlockingIOError:
                stalled = one_more_beat(stalled, beat, is_over, most)
            else:
                stalled = 0.0


def send_both(
    connection: _socket.socket, head: bytes, body: bytes, beat: float, is_over: Callable[[float], bool]
) -> None:
    """
    A head and a large body in one call: to join them would copy the body, and a peer that gets the head alone wakes for it.

    Raises:
        TransportError: as `send_all`.
        OSError: the connection broke.
    """
    try:
        sent = connection.sendmsg((head, body))
    except BlockingIOError:
        sent = 0
    send_all(connection, head, min(sent, len(head)), beat, is_over, most=MOST_STALL)
    send_all(connection, body, max(sent - len(head), 0), beat, is_over, most=MOST_STALL)


def receive_head(connection: _socket.socket) -> bytes:
    """
    What `recv` returns, but nothing beyond the end of a head, so that a large body comes in one piece and need not be joined.

    Raises:
        OSError: nothing came within a beat, or the connection broke.
    """
    end = connection.recv(_MOST_PEEK, _socket.MSG_PEEK).find(b"\r\n\r\n")
    return connection.recv(RECEIVE if end < 0 else end + 4)


def timeval(seconds: float) -> bytes:
    """The kernel's `struct timeval`, two longs; importing `_struct` for it takes longer than all that is sent before an event."""
    size = sys.maxsize.bit_length() // 8 + 1
    return b"".join(part.to_bytes(size, sys.byteorder) for part in (int(seconds), int(seconds % 1 * 1_000_000)))
