"""Handlers of warmstate, one for each question."""

from __future__ import annotations

import sys
import time

from warmstate import Context, Event, Shutdown, State, StatefulHandler, Tail, resource, state, tail

TYPE_CHECKING = False  # as warmstate itself does: importing typing would be part of the cold start that is measured
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Memory(StatefulHandler):
    """Touches one slot that lives in memory."""

    seen: State[int] = state(default=0)

    def handle(self, event: Event, context: Context) -> object:
        self.seen += 1
        return event


class Committed(StatefulHandler):
    """Commits a slot of about a kilobyte before every answer."""

    page: State[bytes] = state(default=b"", survives="reset")

    def handle(self, event: Event, context: Context) -> object:
        self.page = (context.aws_request_id * 28).encode()
        return event


class Everything(StatefulHandler):
    """Declares a slot, a tail and a resource, as most handlers do."""

    seen: State[int] = state(default=0)
    lines: Tail[str] = tail(max_items=100)

    @resource(check_after=5)
    def connection(self) -> Iterator[object]:
        """Open nothing in particular."""
        yield object()

    @lines.flush
    def write(self, batch: Sequence[str]) -> None:
        """Send nothing anywhere."""

    def handle(self, event: Event, context: Context) -> object:
        self.seen += 1
        return event


class Asynchronous(StatefulHandler):
    """Answers from an event loop."""

    seen: State[int] = state(default=0)

    async def handle(self, event: Event, context: Context) -> object:
        self.seen += 1
        return event


class Leaving(StatefulHandler):
    """Says when its shutdown hook ran."""

    def handle(self, event: Event, context: Context) -> object:
        return event

    def before_shutdown(self, shutdown: Shutdown) -> None:
        print(f"hook at {time.monotonic_ns()}", file=sys.stderr, flush=True)
