"""
Everything that happened, in order: the platform's events under their Telemetry API names, ours under `warmstate.`.

`platform.*` types and record fields: https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
`function` is a line that a process wrote. `warmstate.freeze`, `.thaw`, `.reset`, `.shutdown`, `.instance`, `.gone` and
`.clock` are what Lambda does and does not tell.
"""

from __future__ import annotations

import collections
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Event", "Journal"]

KEPT: Final = 20_000
KEPT_BYTES: Final = 16 << 20
"""Events, and bytes of the lines in them, kept in memory; a console that was away for longer starts at the oldest kept."""


@attrs.frozen
class Event:
    """
    One thing that happened.

    `id` counts from 1 without gaps, `time` is in seconds since the epoch, `instance` is "" where none is concerned.
    """

    id: int
    time: float
    type: str
    function: str
    instance: str
    record: Mapping[str, Any]

    def is_of(self, *types: str) -> bool:
        """Whether it is of one of these types; one that ends in "." means all that begin with it, "" means any."""
        return any(
            self.type.startswith(wanted) if not wanted or wanted.endswith(".") else self.type == wanted
            for wanted in types
        )

    def as_json(self) -> str:
        """The event as one line of JSON."""
        return json.dumps(attrs.asdict(self), ensure_ascii=False, default=str)


class Journal:
    """
    The latest events, readable from any thread.

    `len(journal)` is how many are kept; iteration goes from the oldest to the newest of them.
    """

    def __init__(self, keep: int = KEPT, wall: Callable[[], float] = time.time) -> None:
        self._events: collections.deque[Event] = collections.deque()
        self._keep = keep
        self._bytes = 0
        self._count = 0
        self._wall = wall
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._listeners: list[Callable[[Event], None]] = []

    def __repr__(self) -> str:
        return f"<Journal of {self._count} events, {len(self._events)} kept>"

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        with self._changed:
            return iter(list(self._events))

    @property
    def last_id(self) -> int:
        """The id of the newest event; 0 before the first."""
        return self._count

    def add(self, type: str, function: str = "", instance: str = "", **record: Any) -> Event:
        """Note that something happened now, and tell the listeners."""
        with self._lock:
            self._count += 1
            event = Event(self._count, self._wall(), type, function, instance, record)
            self._events.append(event)
            self._bytes += _weight(event)
            while len(self._events) > self._keep or self._bytes > KEPT_BYTES:
                self._bytes -= _weight(self._events.popleft())
            self._changed.notify_all()
        for listen in self._listeners:
            listen(event)
        return event

    def since(self, id: int) -> list[Event]:
        """The kept events after `id`, oldest first."""
        with self._changed:
            newer = self._count - id
            if newer <= 0:
                return []
            return list(self._events)[-newer:]

    def of(self, *types: str, instance: str | None = None) -> list[Event]:
        """The kept events of these types (see `Event.is_of`)."""
        return [event for event in self if event.is_of(*types) and instance in {None, event.instance}]

    def wait(self, type: str, *, after: int = 0, timeout: float = 10.0, **record: Any) -> Event:
        """
        The first event of `type` after the id `after` whose record has the given fields; waits for it.

        Raises:
            TimeoutError: It did not happen within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        seen = after
        with self._changed:
            while True:
                for event in self.since(seen):
                    seen = event.id
                    if event.is_of(type) and all(event.record.get(key) == value for key, value in record.items()):
                        return event
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(
                        f"no event {type} {record or ''} within {timeout} s; the newest is number {self._count}"
                    )

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with each new event, in the thread where it happens; returns how to stop that."""
        self._listeners = [*self._listeners, listener]

        def stop() -> None:
            self._listeners = [other for other in self._listeners if other is not listener]

        return stop


def _weight(event: Event) -> int:
    """What an event takes beyond its few fields: the line that a process wrote."""
    return len(event.record.get("line", ""))
