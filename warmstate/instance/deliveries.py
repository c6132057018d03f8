"""Which requests this environment has seen before: the platform may deliver the same one again."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Deliveries"]

_REMEMBERED = 1024
"""How many request ids are kept; the platform retries within hours, and the oldest are forgotten first."""
_COUNTED = 1
_ONE_MORE = 2


class Deliveries:
    """
    Counts the deliveries of each request, and knows which requests counted.

    A delivery *counts* when its work took effect: it was answered, or its commit was adopted from the process before.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, int] = {}  # twice the deliveries, plus one when one of them counted

    def __repr__(self) -> str:
        return f"<Deliveries of {len(self._known)} requests>"

    def arrived(self, request_id: str) -> tuple[int, bool]:
        """Note one more delivery: which one it is, from 1, and whether an earlier one counted."""
        known = self._known
        before = known.get(request_id, 0)
        if not before and len(known) >= _REMEMBERED:
            known.pop(next(iter(known)), None)
        known[request_id] = before + _ONE_MORE
        return (before >> 1) + 1, bool(before & _COUNTED)

    def counted(self, request_id: str) -> None:
        """The request's work took effect."""
        self._known[request_id] = self._known.get(request_id, _ONE_MORE) | _COUNTED

    def adopt(self, committed: Iterable[str]) -> None:
        """The process before committed these requests."""
        for request_id in committed:
            self.counted(request_id)

    def interrupted(self, request_id: str) -> None:
        """The process before ended while it was busy with this request; that delivery counts only if it was committed."""
        self._known.setdefault(request_id, _ONE_MORE)
