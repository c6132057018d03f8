"""
The extensions of one environment: who registered, for which events, and whom to wait for.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["Extension", "ExtensionError", "Extensions"]

LIMIT: Final = 10
"""Extensions of one environment, internal and external together."""


class ExtensionError(Exception):
    """A call of the Extensions API that is not allowed; answered with 403 and this type."""

    def __init__(self, error_type: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.status = status


@attrs.define(eq=False)
class Extension:
    """
    One registered extension.

    `waiting` is its open event/next call; `busy` is True from an event that it subscribed to until its following next.
    """

    name: str
    id: str
    events: frozenset[str]
    external: bool
    waiting: Exchange | None = None
    reached_next: bool = False
    busy: bool = False
    queue: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])


class Extensions:
    """The registry of one process generation; a reset starts with an empty one."""

    def __init__(self, external: frozenset[str], *, managed: bool, changed: Callable[[], None]) -> None:
        self._external = external
        self._managed = managed
        self._changed = changed
        self._by_id: dict[str, Extension] = {}
        self.closed = False
        self.missing: set[str] = set(external)
        """External extensions that were started and have not registered yet."""

    def __iter__(self) -> Any:
        return iter(list(self._by_id.values()))

    def register(self, name: str, body: bytes) -> Extension:
        """
        Add an extension.

        Raises:
            ExtensionError: The platform would refuse it.
        """
        if self.closed:
            raise ExtensionError("Extension.RegistrationClosed", "Extension registration closed already")
        if not name or "/" in name or len(name) > 128:
            raise ExtensionError("Extension.InvalidExtensionName", "Missing or invalid Lambda-Extension-Name header")
        if any(other.name == name for other in self._by_id.values()):
            raise ExtensionError("Extension.InvalidExtensionState", f"Extension {name} is registered already")
        if len(self._by_id) >= LIMIT:
            raise ExtensionError("Extension.TooManyExtensions", f"Extension limit ({LIMIT}) reached")
        external = name in self._external
        events = _events_of(body)
        if not external and "SHUTDOWN" in events:
            raise ExtensionError("Extension.InvalidEventType", "SHUTDOWN is not supported for internal extensions")
        if self._managed and ("INVOKE" in events or (not external and events)):
            message = "No events allowed for internal extensions" if not external else "INVOKE is not supported here"
            raise ExtensionError("Extension.InvalidEventType", message)
        extension = Extension(name, str(uuid.uuid4()), events, external)
        self._by_id[extension.id] = extension
        self.missing.discard(name)
        self._changed()
        return extension

    def find(self, identifier: str) -> Extension:
        """
        The extension with that identifier.

        Raises:
            ExtensionError: There is none.
        """
        if not identifier:
            raise ExtensionError("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
        try:
            uuid.UUID(identifier)
        except ValueError:
            raise ExtensionError(
                "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"
            ) from None
        if identifier not in self._by_id:
            raise ExtensionError("Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier")
        return self._by_id[identifier]

    def next(self, extension: Extension, exchange: Exchange) -> None:
        """The extension asks for its next event, and so is done with the one before."""
        exchange.ends_with_client = True
        extension.waiting, extension.reached_next, extension.busy = exchange, True, False
        self._deliver(extension)
        self._changed()

    def send(self, kind: str, event: dict[str, Any]) -> list[Extension]:
        """Give an event to those who subscribed to it; returns them."""
        told = [extension for extension in self._by_id.values() if kind in extension.events]
        for extension in told:
            extension.busy = True
            extension.queue.append({"eventType": kind, **event})
            self._deliver(extension)
        return told

    @property
    def are_ready(self) -> bool:
        """Whether every extension that must come has come, and has asked for its next event."""
        return not self.missing and all(extension.reached_next for extension in self._by_id.values())

    @property
    def are_idle(self) -> bool:
        """Whether no extension works on an event."""
        return not any(extension.busy for extension in self._by_id.values())

    @property
    def shutdown_budget(self) -> tuple[float, float]:
        """Seconds for the whole shutdown, and of these for the runtime: 0, 500 or 2,000 ms by who is registered."""
        internal = any(not extension.external for extension in self._by_id.values())
        if any(extension.external for extension in self._by_id.values()):
            return 2.0, 0.5 if internal else 0.3
        return (0.5, 0.5) if internal else (0.0, 0.0)

    def _deliver(self, extension: Extension) -> None:
        exchange = extension.waiting
        if exchange is not None and extension.queue and not exchange.gone:
            extension.waiting = None
            headers = [("lambda-extension-event-identifier", str(uuid.uuid4()))]
            exchange.respond_json(200, extension.queue.pop(0), headers)


def _events_of(body: bytes) -> frozenset[str]:
    try:
        events = json.loads(body or b"{}").get("events", [])
        names = frozenset(str(event) for event in events)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ExtensionError("InvalidRequestFormat", "the body is no JSON object with a list of events") from None
    for name in names - {"INVOKE", "SHUTDOWN"}:
        raise ExtensionError("Extension.InvalidEventType", f"{name[:50]} is no event; there are INVOKE and SHUTDOWN")
    return names
