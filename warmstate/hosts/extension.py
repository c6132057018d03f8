"""
The silent internal extension, which makes the platform send SIGTERM before it ends an environment.

Without a registered extension the platform kills at once
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown).
An extension that wants no events is never answered, but it must ask for its next one, or init never ends.
"""

from __future__ import annotations

from warmstate.errors import TransportError
from warmstate.wire.extensions_api import event_next_request, parse_registered, register_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmstate.hosts.transport import NativeTransport

__all__ = ["SilentExtension"]

_NAME = "warmstate"


class SilentExtension:
    """
    Registers once, before the runtime's first next, and keeps its question open on a connection of its own.

    `registered` is False where the platform has no Extensions API or refused; then SIGTERM may never come.
    """

    __slots__ = ("_identifier", "_transport")

    def __init__(self, transport: NativeTransport) -> None:
        self._transport = transport
        self._identifier: str | None = None

    def __repr__(self) -> str:
        return f"<SilentExtension {'registered' if self.registered else 'not registered'}>"

    @property
    def registered(self) -> bool:
        """Whether the platform knows it."""
        return self._identifier is not None

    def register(self) -> None:
        """Register and ask for the next event; a platform that refuses is left alone."""
        try:
            reply = self._transport.post(register_request(_NAME))
            self._identifier = parse_registered(reply.status, reply.headers)
            if self._identifier is not None:
                self._transport.send_unread(event_next_request(self._identifier))
        except TransportError:
            self._identifier = None
        if self._identifier is None:
            self._transport.close()

    def keep_asking(self) -> None:
        """Ask again if the connection was closed, as after a restart of the platform's side; called at each beat."""
        if self._identifier is not None and self._transport.is_closed():
            self._transport.close()
            try:
                self._transport.send_unread(event_next_request(self._identifier))
            except TransportError:
                pass  # tried again at the next beat
