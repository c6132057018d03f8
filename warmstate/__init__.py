"""
A custom runtime for AWS Lambda whose Python classes keep their state warm and know what happened in between.

Every public name is here and is loaded when it is first used.
Errors are in `warmstate.errors`, thaw-safe HTTP sessions in `warmstate.http`, the test kit in `warmstate.testing`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmstate.context import Context
    from warmstate.errors import ResetRequested, WarmstateError
    from warmstate.handler import Event, StatefulHandler
    from warmstate.hosts.runtime import run
    from warmstate.lifecycle.events import Init, Shutdown, StartKind, Thaw
    from warmstate.warm.resources.resource import AsyncResource, Resource, resource
    from warmstate.warm.slot import State, state
    from warmstate.warm.store.store import StateStore
    from warmstate.warm.tails.tail import Buffer, Tail, tail
    from warmstate.wire.payload import Raw
    from warmstate.wire.streaming import http_response

__all__ = [
    "AsyncResource",
    "Buffer",
    "Context",
    "Event",
    "Init",
    "Raw",
    "ResetRequested",
    "Resource",
    "Shutdown",
    "StartKind",
    "State",
    "StateStore",
    "StatefulHandler",
    "Tail",
    "Thaw",
    "WarmstateError",
    "__version__",
    "http_response",
    "resource",
    "run",
    "state",
    "tail",
]

__version__ = "0.1.0"
"""The version of the installed package."""

_HOMES = {
    "AsyncResource": "warm.resources.resource",
    "Buffer": "warm.tails.tail",
    "Context": "context",
    "Event": "handler",
    "Init": "lifecycle.events",
    "Raw": "wire.payload",
    "ResetRequested": "errors",
    "Resource": "warm.resources.resource",
    "Shutdown": "lifecycle.events",
    "StartKind": "lifecycle.events",
    "State": "warm.slot",
    "StateStore": "warm.store.store",
    "StatefulHandler": "handler",
    "Tail": "warm.tails.tail",
    "Thaw": "lifecycle.events",
    "WarmstateError": "errors",
    "http_response": "wire.streaming",
    "resource": "warm.resources.resource",
    "run": "hosts.runtime",
    "state": "warm.slot",
    "tail": "warm.tails.tail",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
