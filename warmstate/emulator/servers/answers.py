"""The two answers that the Runtime API and the Extensions API give most: accepted, and refused with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmstate.wire.runtime_api import ACCEPTED, refusal_body

if TYPE_CHECKING:
    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["accept", "refuse"]


def accept(exchange: Exchange) -> None:
    """202, as for everything that a runtime posts."""
    exchange.respond(202, ACCEPTED, [("content-type", "application/json")])


def refuse(exchange: Exchange, status: int, error_type: str, message: str) -> None:
    """Answer a call that cannot be served, in the shape of the Runtime API's own errors."""
    exchange.respond(status, refusal_body(error_type, message), [("content-type", "application/json")])
