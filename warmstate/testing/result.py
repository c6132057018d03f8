"""What a caller of either platform gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from warmstate.lifecycle.events import StartKind

__all__ = ["Result"]

_SHOWN = 60


@attrs.frozen
class Result:
    """
    What a caller got.

    `function_error` is None or "Unhandled", `error_type` the failure's type. `start` says how the invocation found its instance.
    `chunks` are the pieces of a streamed answer, whose whole is `payload`; real processes deliver it whole.
    """

    payload: bytes
    content_type: str
    function_error: str | None
    error_type: str | None
    request_id: str
    instance: str
    start: StartKind | None
    chunks: tuple[bytes, ...] = ()

    def json(self) -> Any:
        """
        The payload, decoded.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.payload)

    def summary(self) -> str:
        """One short line for people: the start, and the answer or the error."""
        text = self.payload.decode("utf-8", "replace")
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return f"{self.start or 'no start'}: {self.error_type + ' ' if self.error_type else ''}{shown}"
