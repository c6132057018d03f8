"""
The Extensions API, version 2020-01-01, as values, as far as a runtime that registers itself needs it.

A process that registers as an internal extension without events gets SIGTERM before it is killed; without any
extension the platform kills it outright.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

from __future__ import annotations

from warmstate.wire.runtime_api import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EVENT_ID",
    "EVENT_NEXT",
    "EXTENSION_BASE",
    "IDENTIFIER",
    "NAME",
    "REGISTER",
    "event_next_request",
    "parse_extension_call",
    "parse_registered",
    "register_request",
]

EXTENSION_BASE = "/2020-01-01/extension"
REGISTER = f"{EXTENSION_BASE}/register"
EVENT_NEXT = f"{EXTENSION_BASE}/event/next"

NAME = "Lambda-Extension-Name"
IDENTIFIER = "Lambda-Extension-Identifier"
EVENT_ID = "Lambda-Extension-Event-Identifier"

_CALLS = {
    REGISTER: ("POST", "register"),
    EVENT_NEXT: ("GET", "extension_next"),
    f"{EXTENSION_BASE}/init/error": ("POST", "extension_init_error"),
    f"{EXTENSION_BASE}/exit/error": ("POST", "extension_exit_error"),
}


def register_request(name: str) -> Request:
    """
    Registers an internal extension that wants no events, which every kind of environment allows.

    `name` must not be that of a file in /opt/extensions. Only before the runtime's first next.
    """
    return Request("POST", REGISTER, ((NAME, name), ("Content-Type", "application/json")), b'{"events":[]}')


def event_next_request(identifier: str) -> Request:
    """Tells that the extension is ready. It is never answered without events, and without it init never ends."""
    return Request("GET", EVENT_NEXT, ((IDENTIFIER, identifier),))


def parse_registered(status: int, headers: Mapping[str, str]) -> str | None:
    """The identifier that a registration was given (`headers` in lower case), or None when it was refused."""
    return headers.get("lambda-extension-identifier") or None if status == 200 else None


def parse_extension_call(method: str, path: str) -> str | int:
    """What a request line means to the platform: the name of the call, or 404 or 405 to refuse it with."""
    expected, event = _CALLS.get(path, ("", ""))
    if not event:
        return 404
    return event if method == expected else 405
