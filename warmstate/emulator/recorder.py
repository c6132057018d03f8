"""The latest invocations with their events, so that one can be looked at and sent again."""

from __future__ import annotations

import collections
import json
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from typing import TextIO

    from warmstate.emulator.facts import InvokeResult

__all__ = ["Recorded", "Recorder"]

KEPT: Final = 500
KEPT_BYTES: Final = 32 << 20


@attrs.define
class Recorded:
    """One invocation: what it was sent, and, once it is known, how it ended."""

    request_id: str
    function: str
    payload: bytes
    client_context: str | None
    tenant_id: str | None
    outcome: InvokeResult | None = None

    def as_line(self) -> str:
        """What of it can be sent again, as one line of JSON."""
        facts: dict[str, Any] = {"v": 1, "time": round(time.time(), 3), "function": self.function}
        facts |= {"request_id": self.request_id, "event": json.loads(self.payload)}
        optional = {"client_context": self.client_context, "tenant_id": self.tenant_id}
        return json.dumps(facts | {name: value for name, value in optional.items() if value is not None}) + "\n"

    @property
    def weight(self) -> int:
        """Its bytes, as far as they count."""
        return len(self.payload) + (0 if self.outcome is None else len(self.outcome.payload))


class Recorder:
    """Keeps invocations until there are too many of them, or too many bytes."""

    def __init__(self) -> None:
        self._kept: collections.OrderedDict[str, Recorded] = collections.OrderedDict()
        self._bytes = 0
        self._file: TextIO | None = None

    def write_to(self, file: TextIO) -> None:
        """Add each event from now on to a file as well; one that is tried again is there once."""
        self.close()
        self._file = file

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, recorded: Recorded) -> None:
        """Keep one more; the same request id again replaces the one before."""
        if self._file is not None and recorded.request_id not in self._kept:
            self._file.write(recorded.as_line())
        self._remove(recorded.request_id)
        self._kept[recorded.request_id] = recorded
        self._bytes += recorded.weight
        self._make_room()

    def end(self, recorded: Recorded, outcome: InvokeResult) -> None:
        """Keep how it ended as well."""
        if self._kept.get(recorded.request_id) is recorded:
            self._bytes -= recorded.weight
            recorded.outcome = outcome
            self._bytes += recorded.weight
            self._make_room()
        recorded.outcome = outcome

    def _make_room(self) -> None:
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._remove(next(iter(self._kept)))

    def find(self, request_id: str) -> Recorded | None:
        """The invocation with that id, or the only one whose id begins so; "last" is the latest."""
        if request_id == "last":
            return next(reversed(self._kept.values()), None)
        if request_id in self._kept:
            return self._kept[request_id]
        found = [recorded for key, recorded in self._kept.items() if key.startswith(request_id)]
        return found[0] if len(found) == 1 else None

    def _remove(self, request_id: str) -> None:
        removed = self._kept.pop(request_id, None)
        if removed is not None:
            self._bytes -= removed.weight
