"""
Who may talk to the emulator. Whoever can invoke a function here runs code on this machine, so:

1. The Host header must name the address we listen at: a web page that had its name point here (DNS rebinding) does not.
2. A request that a browser sends for another site's page is refused, whatever it asks for; we send no CORS headers.
3. Listening on more than loopback needs a token on every request, compared in constant time.

All of it is decided before the path is looked at.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from warmstate.wire.invoke_api import ApiError

if TYPE_CHECKING:
    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["Guard"]

_CREDENTIAL: Final = re.compile(r"Credential=([^/,\s]+)/")
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Guard:
    """Decides about requests to a server at `host`:`port`."""

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self._token = token
        self._any_host = host in {"", "0.0.0.0", "::"} and token is not None
        names = LOOPBACK | {f"[{host}]" if ":" in host else host}
        self._hosts = {f"{name}:{port}" for name in names}
        if port == 80:  # a client leaves the default port out
            self._hosts |= names

    def check(self, exchange: Exchange) -> None:
        """
        Let a request pass.

        Raises:
            ApiError: It does not; 400 without a Host, 403 else.
        """
        hosts = exchange.header_values("host")
        if len(hosts) != 1 or not hosts[0]:
            raise ApiError(400, "InvalidRequestException", "a request has one Host header")
        host = hosts[0].lower()
        if not self._any_host and host not in self._hosts:
            raise ApiError(403, "AccessDeniedException", f"Host '{host[:100]}' is not this emulator's address")
        origin = exchange.header("origin")
        if origin and (urlsplit(origin).scheme != "http" or urlsplit(origin).netloc.lower() != host):
            raise ApiError(403, "AccessDeniedException", "requests from other web pages are refused")
        if exchange.header("sec-fetch-site") in {"cross-site", "same-site"}:
            raise ApiError(403, "AccessDeniedException", "requests from other web pages are refused")
        if self._token is not None and not any(self._matches(offered) for offered in _tokens(exchange)):
            message = "this emulator wants its token: as AWS access key id, bearer token, X-Warmstate-Token or ?token="
            raise ApiError(403, "AccessDeniedException", message)

    def _matches(self, offered: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(offered.encode(), self._token.encode())


def _tokens(exchange: Exchange) -> list[str]:
    """Every place where a token may be: SDKs send theirs as the access key id that they sign with."""
    authorization = exchange.header("authorization")
    signed = _CREDENTIAL.search(authorization)
    return [
        exchange.header("x-warmstate-token"),
        authorization.removeprefix("Bearer ") if authorization.startswith("Bearer ") else "",
        signed[1] if signed else "",
        dict(parse_qsl(exchange.query)).get("token", ""),
    ]
