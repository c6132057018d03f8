"""
HTTP sessions for code that is frozen: `warmstate.http.session()`.

A pooled connection is alive only as far as anybody knows. While a function is frozen its peers close connections, load balancers
forget them and addresses change; some of that the kernel tells at the next look (an end of file), some only after a request
was sent, when nobody can say any more whether it was carried out. So:

1. A connection that idled for longer than `max_idle`, on either clock, or that crossed a freeze, is closed instead of used.
2. A request that must not happen twice (POST, PATCH, anything conditional) uses a pooled connection only if that was busy within
   the last second, and is never sent again once a byte of it may have left. Where not even a connection came about, it is.
3. Requests that may happen twice (GET, HEAD, OPTIONS, TRACE, unconditional PUT and DELETE) are sent once more when the connection
   broke before an answer.
4. Nothing waits for ever: connecting takes at most 3 s, an answer 30 s, unless the call says otherwise.
5. With `tries`, what may happen twice is also asked again when the server says that it is busy, or breaks off in its answer.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.retry import Retry

from warmstate.lifecycle.clock import SYSTEM_CLOCK, Clock
from warmstate.warm.resources import freezes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest, Response
    from urllib3.connection import HTTPConnection

__all__ = ["CONNECT_TIMEOUT", "MAX_IDLE", "READ_TIMEOUT", "Session", "session"]

MAX_IDLE = 5.0
"""Seconds: the shortest keep-alive among common servers (Node.js closes after 5 s, AWS's load balancers after 60)."""
UNREPEATABLE_MAX_IDLE = 1.0
"""Seconds that a connection may have idled for a request that must not happen twice."""
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 30.0
BUSY = frozenset((429, 500, 502, 503, 504))
"""Answers that say that another try may succeed."""
LONGEST_PAUSE = 2.0
"""Seconds between two tries, at most."""
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
_CONDITIONS = ("If-Match", "If-None-Match", "If-Unmodified-Since", "If-Modified-Since", "If-Range")


def session(
    *,
    max_idle: float = MAX_IDLE,
    timeout: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT),
    tries: int = 1,
    repeats_conditional: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> Session:
    """
    A `requests.Session` whose pooled connections survive nothing that may have killed them.

    Args:
        max_idle: Seconds after which an idle connection is closed instead of used.
        timeout: Seconds to connect, and to wait for an answer, for calls that give none of their own.
        tries: How often a request that may happen twice is sent while the server answers 429, 500, 502, 503 or 504, or breaks off in
            its answer. Before each further try is a pause of a random length, up to 0.2 s and then twice as long each time, up to 2 s.
            The last answer is the caller's.
        repeats_conditional: Lets PUT and DELETE with conditions (`If-Match`) be sent again too. They cannot happen twice; but a first
            try whose answer was lost makes the second one fail, with 412. So this is for callers who then look whether it was theirs.
        clock: Tells how long connections idled.
    """
    return Session(_Adapter(max_idle, tries, repeats_conditional, clock), timeout)


class Session(requests.Session):
    """See `session`. Safe where `requests.Session` is; cookies and headers are shared by all its requests."""

    def __init__(self, adapter: _Adapter, timeout: tuple[float, float]) -> None:
        super().__init__()
        self._timeout = timeout
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def __repr__(self) -> str:
        return f"<Session {', '.join(self.adapters)}>"

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        """Send a prepared request, with this session's timeouts where the call gives none."""
        if options.get("timeout") is None:
            options["timeout"] = self._timeout
        return super().send(request, **options)


class _Adapter(HTTPAdapter):
    """Tells each request's retries, and the pools below how long a connection may have idled for it."""

    def __init__(self, max_idle: float, tries: int, repeats_conditional: bool, clock: Clock) -> None:
        self.max_idle, self.clock = max_idle, clock
        self._tries, self._repeats_conditional = tries, repeats_conditional
        super().__init__()

    def send(self, request: PreparedRequest, stream: bool = False, *more: Any, **options: Any) -> Response:
        """Send a prepared request, again while the server is busy and it may be."""
        tries = self._tries if self.may_repeat(request.method, request.headers, request.body) else 1
        for number in range(tries - 1):
            try:
                answer = super().send(request, stream, *more, **options)
                if answer.status_code not in BUSY:
                    if not stream:
                        answer.content  # noqa: B018 - reads it, or raises
                    return answer
                answer.close()
            except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError):
                pass
            time.sleep(random.uniform(0.0, min(LONGEST_PAUSE, 0.2 * 2**number)))  # noqa: S311 - spreads those who try again
        return super().send(request, stream, *more, **options)

    def may_repeat(self, method: str | None, headers: Mapping[str, str], body: object) -> bool:
        """Whether sending the request twice is the same as sending it once, and it can be sent again at all."""
        if method not in _REPEATABLE:
            return False
        if not self._repeats_conditional and any(name in headers for name in _CONDITIONS):
            return False
        return body is None or isinstance(body, (bytes, str))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        self._watch(manager)
        return manager

    def _watch(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            "http": _pool_class(HTTPConnectionPool, self),
            "https": _pool_class(HTTPSConnectionPool, self),
        }


class _OnceMore(Retry):
    """One more try where that is safe: no connection came about, or (with `read`) the request may happen twice."""

    @classmethod
    def for_request(cls, *, may_repeat: bool) -> _OnceMore:
        again = 1 if may_repeat else 0
        return cls(
            total=2,
            connect=2,
            read=again,
            redirect=0,
            status=0,
            other=again,
            allowed_methods=_REPEATABLE,
            raise_on_status=False,
            respect_retry_after_header=False,
        )


def _pool_class(base: type[HTTPConnectionPool], adapter: _Adapter) -> type[HTTPConnectionPool]:
    """A pool that looks at the age of what it hands out."""
    max_idle, clock = adapter.max_idle, adapter.clock

    class Pool(base):  # type: ignore[misc, valid-type]  # one of the two that urllib3 has
        def urlopen(  # pyright: ignore[reportIncompatibleMethodOverride] # passes on what it does not know
            self,
            method: Any,
            url: Any,
            body: Any = None,
            headers: Any = None,
            retries: Any = None,
            *more: Any,
            **options: Any,
        ) -> Any:
            if isinstance(retries, _OnceMore):  # the second try: what else is pooled is no better than what just broke
                self._drop_stale(-1.0)
            else:
                may_repeat = adapter.may_repeat(method, headers or {}, body)
                self._drop_stale(max_idle if may_repeat else min(max_idle, UNREPEATABLE_MAX_IDLE))
                retries = _OnceMore.for_request(may_repeat=may_repeat)
            return super().urlopen(method, url, body, headers, retries, *more, **options)

        def _drop_stale(self, longest: float) -> None:
            """Close the idle connections that idled longer or crossed a freeze, wherever they are in the pool."""
            fresh: list[HTTPConnection | None] = []
            pool = self.pool
            if pool is None:
                return
            wall, mono, freeze = clock.wall(), clock.monotonic(), freezes.count()
            for _ in range(pool.qsize()):
                try:
                    connection = pool.get_nowait()
                except Exception:  # noqa: BLE001 - another thread took the last one (queue.Empty)
                    break
                idle = getattr(connection, "warmstate_idle", None)
                if connection is not None and (
                    idle is None
                    or not 0.0 <= wall - idle[0] <= longest
                    or mono - idle[1] > longest
                    or freeze != idle[2]
                ):
                    connection.close()
                fresh.append(connection)
            for connection in reversed(fresh):
                try:
                    pool.put_nowait(connection)
                except Exception:  # noqa: BLE001 - another thread gave one back meanwhile (queue.Full)
                    if connection is not None:
                        connection.close()

        def _put_conn(self, conn: Any) -> None:
            if conn is not None:
                conn.warmstate_idle = (clock.wall(), clock.monotonic(), freezes.count())
            super()._put_conn(conn)

    return Pool
