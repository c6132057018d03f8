"""Handlers of warmstate, one for each question."""

from __future__ import annotations

import sys
import time

from warmstate import Context, Event, Shutdown, State, StatefulHandler, Tail, resource, state, tail

TYPE_CHECKING = False  # as warmstate itself does: importing typing would be part of the cold start that is measured
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence


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


class Stored(StatefulHandler):
    """Writes values of a kilobyte over others in its store, and reads them again."""

    names = tuple(f"session/{number}" for number in range(100))
    pages = (bytes(1000), bytes(1000))

    def handle(self, event: Event, context: Context) -> object:
        store = self.store
        page = self.pages[context.invocation_number % 2]
        for name in self.names:
            store[name] = page
        for name in self.names:
            if store[name] is not page:
                raise RuntimeError("the store gave another value")
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


PIECE = bytes(64_000)
PIECES = 3125


class Streaming(StatefulHandler):
    """Streams 200 MB."""

    def handle(self, event: Event, context: Context) -> Iterator[bytes]:
        for _ in range(PIECES):
            yield PIECE


class AsyncStreaming(StatefulHandler):
    """Streams 200 MB from an event loop."""

    async def handle(self, event: Event, context: Context) -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            yield PIECE


class Unpinged(StatefulHandler):
    """Uses a resource that is fresh for a minute, and fails if it is checked all the same."""

    checks: State[int] = state(default=0)

    @resource(check_after=60)
    def connection(self) -> Iterator[object]:
        """Open nothing in particular."""
        yield object()

    @connection.check
    def connection_alive(self, connection: object) -> None:
        self.checks += 1

    def handle(self, event: Event, context: Context) -> object:
        if self.checks or not self.connection:
            raise RuntimeError("a fresh resource was checked")
        return event
