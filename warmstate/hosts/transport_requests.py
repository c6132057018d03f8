"""
The Runtime API over `requests`, for those who want a well-known client there (`WARMSTATE_TRANSPORT=requests`).

1. The platform lives in this sandbox: no proxy, no .netrc, no redirects, no compressed bodies, no retries.
2. The wait for an event happens on the connection's socket, in slices, so that beats and SIGTERM work as in the native one.
3. Streamed answers and the silent extension take the native transport: urllib3 sends no trailers.
"""

from __future__ import annotations

import _socket
import builtins
import resource
import sys
import time
from http.client import HTTPException

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.util import Retry

from warmstate.errors import TransportError
from warmstate.hosts.descriptors import Reserve, is_for_want_of_one, leads_to
from warmstate.hosts.http11 import MOST_STALL, Reply, body_length, one_more_beat
from warmstate.hosts.transport import NativeTransport
from warmstate.lifecycle.thaw import BEAT
from warmstate.wire.runtime_api import MAX_EVENT_BYTES, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from urllib3.response import BaseHTTPResponse, HTTPResponse

__all__ = ["RequestsTransport"]

_IMPORT = builtins.__import__


class RequestsTransport(NativeTransport):
    """The same calls as `NativeTransport`; `get` and `post` go through one `requests.Session`."""

    __slots__ = (
        "_clocks",
        "_connection",
        "_modules",
        "_patient",
        "_reply",
        "_session",
        "_url",
        "_used",
        "_waiting",
    )

    def __init__(self, runtime_api: str, *, beat: float = BEAT, reserve: Reserve | None = None) -> None:
        super().__init__(runtime_api, beat=beat, reserve=reserve)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{host}:{self._port}{self._prefix}"
        self._used = False
        self._reply = Reply(202, {}, b"")
        self._waiting: Callable[[], None] | None = None
        self._patient = False
        self._connection: HTTPConnection | None = None
        self._modules = dict(sys.modules)
        self._clocks = dict(vars(time))
        self._session = self._make_session()

    def get(self, request: Request, on_beat: Callable[[], None] | None = None) -> Reply:
        """Send a request without a body and wait for its reply; as `NativeTransport.get`."""
        self._waiting = on_beat
        self._patient = True
        try:
            kept, self._used = self._used, True
            try:
                return self._send(request)
            except _ClosedBeforeReply as closed:
                if not kept:
                    raise _as_transport_error(closed.__cause__ or closed) from closed
            return self._send(request)
        except _ClosedBeforeReply as closed:
            raise _as_transport_error(closed.__cause__ or closed) from closed
        finally:
            self._waiting = None
            self._patient = False

    def post(self, request: Request) -> Reply:
        """Send a request with its body once and read the reply; as `NativeTransport.post`."""
        self._used = True
        try:
            return self._send(request)
        except _ClosedBeforeReply as closed:
            raise _as_transport_error(closed.__cause__ or closed) from closed

    def submit(self, request: Request) -> None:
        """Send a request with its body once; the reply is read with it, as `requests` has it."""
        self._reply = self.post(request)

    def read_reply(self) -> Reply:
        """The reply to what was submitted."""
        return self._reply

    def separate(self) -> NativeTransport:
        """A native transport to the same Runtime API: nothing that is sent there needs more."""
        return NativeTransport(self._runtime_api, beat=self._seconds, reserve=self._reserve)

    def close(self) -> None:
        """End the connections; the next call makes new ones."""
        super().close()
        self._session.close()
        self._used = False

    def _send(self, request: Request) -> Reply:
        self._mend()
        imports = builtins.__import__
        builtins.__import__ = _IMPORT  # a handler's own may fail, and requests imports while it works
        try:
            with self._session.request(
                request.method,
                self._url + request.path,
                headers={name: value.encode() for name, value in request.headers},
                data=request.body if request.method == "POST" else None,
                allow_redirects=False,
                stream=True,
                # From the first byte of an event on, and for the reply to a post; the wait for an event is before it.
                timeout=(None, MOST_STALL),
            ) as response:
                return _read(response.status_code, response.raw)
        except TransportError:
            self.close()
            raise
        except requests.ConnectionError as error:
            self.close()
            if "RemoteDisconnected" in repr(error) or "ConnectionResetError" in repr(error):
                raise _ClosedBeforeReply from error
            raise _as_transport_error(error) from error
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            self.close()
            raise _as_transport_error(error) from error
        except BaseException:
            self.close()
            raise
        finally:
            if imports is not _IMPORT:
                builtins.__import__ = imports

    def _mend(self) -> None:
        """Drop the connection whose descriptor a handler closed, and bring back what urllib3 needs and a handler removed."""
        connection = self._connection
        if (
            connection is not None
            and connection.sock is not None
            and leads_to(connection.sock.fileno()) != self._identity
        ):
            connection.sock.detach()
            connection.sock = None
            self._used = False
        if not resource.getrlimit(resource.RLIMIT_NOFILE)[0]:  # not even a poll of one connection is allowed
            with self._reserve:
                pass
        if time.monotonic is None or time.time is None:  # type: ignore[redundant-expr]
            time.__dict__.update(self._clocks)
        if "urllib3" not in sys.modules:  # it imports parts of itself while it works
            sys.modules.update({name: module for name, module in self._modules.items() if name not in sys.modules})

    def _make_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers.clear()
        session.headers["Accept-Encoding"] = "identity"
        session.headers["User-Agent"] = "warmstate/0.1 requests"
        session.mount("http://", _Adapter(self._wait, self._send_all, self._reserve))
        return session

    def _wait(self, connection: HTTPConnection) -> None:
        if connection is not self._connection and connection.sock is not None:
            self._connection = connection
            self._identity = leads_to(connection.sock.fileno())
        if connection.sock is not None:
            self._wait_in_slices(connection.sock)

    def _send_all(self, connection: _socket.socket, data: bytes) -> None:
        """As the native transport, which gives a peer that reads nothing up when nobody waits for the answer any more."""
        connection.settimeout(None)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, self._beat)
        self._put(connection, data)

    def _wait_in_slices(self, waiting: _socket.socket) -> None:
        """
        Until there is something to read, calling `on_beat` in between, or for a post until time is up.

        Waits in a receive with SO_RCVTIMEO, as the native transport does: after a freeze the kernel starts that anew, which
        the measure of the freeze counts on. A poll would end at once.
        """
        waiting.settimeout(None)  # the socket's own limit comes after this wait, from urllib3
        waiting.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, self._beat)
        stalled = 0.0
        while True:
            try:
                waiting.recv(1, _socket.MSG_PEEK)
            except BlockingIOError:
                if not self._patient:
                    stalled = one_more_beat(stalled, self._seconds, self.is_over)
                elif self._waiting is not None:
                    self._waiting()
            else:
                return


class _ClosedBeforeReply(Exception):
    """The peer ended the connection and not one byte of a reply had come."""


class _Adapter(HTTPAdapter):
    """Makes connections that call `wait` before they read an answer, and send with `put`."""

    def __init__(
        self,
        wait: Callable[[HTTPConnection], None],
        put: Callable[[_socket.socket, bytes], None],
        reserve: Reserve,
    ) -> None:
        self._wait = wait
        self._put = put
        self._reserve = reserve
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=Retry(0, redirect=False, read=False))

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        wait, put, reserve = self._wait, self._put, self._reserve

        class Connection(HTTPConnection):
            def connect(self) -> None:
                try:
                    super().connect()
                except NewConnectionError as error:
                    if not is_for_want_of_one(error.__cause__):
                        raise
                    with reserve:
                        super().connect()

            def send(self, data: Any) -> None:  # bytes: nothing else is posted
                # Its timeouts are for connecting and for reading: without this a peer that stops reading stops us.
                if self.sock is None:
                    self.connect()
                connected: Any = self.sock
                put(connected, data)

            def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself has it
                wait(self)
                return super().getresponse()

        class Pool(HTTPConnectionPool):
            ConnectionCls: Any = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}  # pyright: ignore[reportAttributeAccessIssue]


def _read(status: int, raw: BaseHTTPResponse) -> Reply:
    headers = {name.lower(): _as_text(value) for name, value in raw.headers.itermerged()}
    if body_length(status, headers) > MAX_EVENT_BYTES:
        raw.close()
        return Reply(status, headers, b"", too_large=True)
    body = raw.read(MAX_EVENT_BYTES + 1, decode_content=False)
    if len(body) > MAX_EVENT_BYTES:
        raw.close()
        return Reply(status, headers, b"", too_large=True)
    expected = headers.get("content-length")
    if expected is not None and len(body) != int(expected):
        raise TransportError("The Runtime API closed the connection in the middle of an answer's body.")
    return Reply(status, headers, body)


def _as_text(value: str) -> str:
    """A header's value as the native transport reads it: `http.client` keeps blanks at its end and takes all for latin-1."""
    value = value.strip(" \t")
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _as_transport_error(error: BaseException) -> TransportError:
    return TransportError(f"The connection to the Runtime API broke: {error}")
