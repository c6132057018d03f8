"""Which requests this environment has seen before: the platform may deliver the same one again."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable
else:
    from _collections import deque  # where `collections` has it from

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

    __slots__ = ("_known", "_order")

    def __init__(self) -> None:
        self._known: dict[str, int] = {}  # twice the deliveries, plus one when one of them counted
        self._order: deque[str] = (
            deque()
        )  # a dictionary that loses its first key again and again looks for it longer and longer

    def __repr__(self) -> str:
        return f"<Deliveries of {len(self._known)} requests>"

    def arrived(self, request_id: str) -> tuple[int, bool]:
        """Note one more delivery: which one it is, from 1, and whether an earlier one counted."""
        known = self._known
        before = known.get(request_id)
        if before is None:
            before = self._enter(request_id)
        known[request_id] = before + _ONE_MORE
        return (before >> 1) + 1, bool(before & _COUNTED)

    def counted(self, request_id: str) -> None:
        """The request's work took effect."""
        known = self._known
        if request_id not in known:
            known[request_id] = self._enter(request_id) + _ONE_MORE
        known[request_id] |= _COUNTED

    def adopt(self, committed: Iterable[str]) -> None:
        """The process before committed these requests."""
        for request_id in committed:
            self.counted(request_id)

    def interrupted(self, request_id: str) -> None:
        """The process before ended while it was busy with this request; that delivery counts only if it was committed."""
        if request_id not in self._known:
            self._known[request_id] = self._enter(request_id) + _ONE_MORE

    def _enter(self, request_id: str) -> int:
        """Make room for a request that is not known; it has no deliveries yet."""
        order = self._order
        if len(order) >= _REMEMBERED:
            self._known.pop(order.popleft(), None)
        order.append(request_id)
        return 0
