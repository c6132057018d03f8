"""Counts what really goes over the wire, whichever client sends it: boto3, requests and warmstate all send through urllib3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from urllib3.connectionpool import HTTPConnectionPool

if TYPE_CHECKING:
    from typing_extensions import Self
    from urllib3.response import BaseHTTPResponse

__all__ = ["Meter"]


class Meter:
    """Between `with` and its end: the requests of this process, and the bytes of their bodies and of the answers'."""

    def __enter__(self) -> Self:
        self._moved: list[int] = []  # by request, as threads may send them
        self._urlopen = urlopen = HTTPConnectionPool.urlopen
        moved = self._moved

        def counted(
            pool: HTTPConnectionPool,
            method: str,
            url: str,
            body: Any = None,
            headers: Any = None,
            *more: Any,
            **how: Any,
        ) -> BaseHTTPResponse:
            answer = urlopen(pool, method, url, body, headers, *more, **how)
            sent = int((headers or {}).get("Content-Length", 0))
            moved.append(sent + (0 if method == "HEAD" else int(answer.headers.get("Content-Length", 0))))
            return answer

        HTTPConnectionPool.urlopen = counted  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        HTTPConnectionPool.urlopen = self._urlopen  # type: ignore[method-assign]

    @property
    def requests(self) -> int:
        return len(self._moved)

    @property
    def bytes_moved(self) -> int:
        return sum(self._moved)
