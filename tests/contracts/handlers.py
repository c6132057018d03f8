"""The handlers that the contract runs, in this process and in real ones; what ran is written where `WARMSTATE_TEST_RECORD` says."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from warmstate import Context, Event, State, StatefulHandler, Tail, resource, state, tail
from warmstate.errors import ResetRequested

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from warmstate import Init, Shutdown, Thaw

RECORD = "WARMSTATE_TEST_RECORD"


def record(step: str) -> None:
    """Write down that `step` ran; the file outlives the process."""
    with Path(os.environ[RECORD]).open("a", encoding="utf-8") as file:
        file.write(f"{step}\n")


class Everything(StatefulHandler):
    """Has every hook, a slot of each kind, a tail and a resource, and does what its events say."""

    memory: State[int] = state(default=0)
    committed: State[int] = state(default=0, survives="reset")
    items: Tail[int] = tail(max_items=3)

    def __init__(self) -> None:
        self.checks = 0
        record("construct")

    @resource(check_after=0.5)
    def line(self) -> Iterator[str]:
        record("open")
        yield "line"
        record("close")

    @line.check
    def line_is_up(self, _line: str) -> None:
        record("renew")

    @items.flush
    def write(self, batch: Sequence[int]) -> None:
        record(f"flush {len(batch)}")

    def on_init(self, init: Init) -> None:
        record(f"on_init {init.start} {init.reset_reason}")

    def on_thaw(self, thaw: Thaw) -> None:
        record("on_thaw")

    def after_response(self, context: Context) -> None:
        self.memory += 100
        record("after_response")

    def before_shutdown(self, shutdown: Shutdown) -> None:
        record(f"before_shutdown {shutdown.reason}")

    def handle(self, event: Event, context: Context) -> object:
        record("handle")
        self.memory += 1
        self.committed += 1
        if event.get("append"):
            self.items.append(self.committed)
        if event.get("open"):
            assert self.line
        if event.get("sleep"):
            time.sleep(event["sleep"])
        if event.get("fail"):
            raise ValueError("asked for")
        if event.get("exit"):
            raise SystemExit(3)
        if event.get("reset"):
            raise ResetRequested("asked for")
        if event.get("odd"):
            return {1, 2}
        return {
            "memory": self.memory,
            "committed": self.committed,
            "waiting": len(self.items),
            "start": context.start,
            "generation": context.generation,
            "number": context.invocation_number,
            "redelivered": context.redelivered,
            "attempt": context.attempt,
            "tenant": context.tenant_id,
            "frozen_for": None if context.thaw is None else round(context.thaw.frozen_for),
        }


class Streaming(StatefulHandler):
    """Streams its count, digit by digit."""

    committed: State[int] = state(default=0, survives="reset")

    def handle(self, event: Event, context: Context) -> Iterator[str]:
        self.committed += 1
        try:
            yield "count "
            if event.get("fail"):
                raise ValueError("in the middle")
            yield str(self.committed)
        finally:
            record("finally")


class AsyncStreaming(StatefulHandler):
    """The same, async."""

    committed: State[int] = state(default=0, survives="reset")

    async def handle(self, event: Event, context: Context) -> AsyncIterator[str]:
        self.committed += 1
        try:
            yield "count "
            await asyncio.sleep(0)
            if event.get("fail"):
                raise ValueError("in the middle")
            yield str(self.committed)
        finally:
            record("finally")


class SlowToEnd(StatefulHandler):
    """Its first step of the end takes longer than there is."""

    @resource
    def line(self) -> Iterator[str]:
        yield "line"
        record("close")

    def handle(self, event: Event, context: Context) -> str:
        return self.line

    def before_shutdown(self, shutdown: Shutdown) -> None:
        record("before_shutdown began")
        time.sleep(1)
        record("before_shutdown ended")


class ThawsAtTheThird(StatefulHandler):
    """Its on_thaw raises until it has run three times."""

    def __init__(self) -> None:
        self.tries = 0

    def on_thaw(self, thaw: Thaw) -> None:
        self.tries += 1
        if self.tries < 3:
            raise ConnectionError("not yet")

    def handle(self, event: Event, context: Context) -> list[object]:
        return [context.start, self.tries]


class NeverStarts(StatefulHandler):
    """Its init fails."""

    def on_init(self, init: Init) -> None:
        raise RuntimeError("no init")

    def handle(self, event: Event, context: Context) -> object:
        return event


class AsyncDeferring(StatefulHandler):
    """A batch handler with everything async: its resource, its flush, its hooks."""

    seen: State[int] = state(default=0, survives="reset")
    rows: Tail[str] = tail(max_items=3, survives="reset")

    @resource(check_after=1)
    async def line(self) -> AsyncIterator[str]:
        record("open")
        yield "line"
        record("close")

    @line.check
    async def line_is_up(self, _line: str) -> None:
        record("renew")

    @rows.flush
    async def write(self, batch: Sequence[str]) -> None:
        await asyncio.sleep(0)
        record(f"flush {' '.join(batch)}")

    async def on_thaw(self, thaw: Thaw) -> None:
        record("on_thaw")

    async def after_response(self, context: Context) -> None:
        record("after_response")

    async def handle(self, event: Event, context: Context) -> object:
        assert await self.line == "line"
        self.seen += 1
        for message in event["Records"]:
            self.rows.append(message["body"], id=message["messageId"])
        return context.defer(self.rows)


class Threaded(StatefulHandler):
    """Says that it may be called by several threads."""

    concurrency = "threads"
    count: State[int] = state(default=0)

    def handle(self, event: Event, context: Context) -> list[object]:
        self.count += 1
        return [self.count, context.start]


class Looped(Threaded):
    """Says that it may be called by several tasks."""

    concurrency = "async"

    async def handle(self, event: Event, context: Context) -> list[object]:  # type: ignore[override]
        await asyncio.sleep(0)
        self.count += 1
        return [self.count, context.start]


async def plain_async(event: Event, context: Context) -> object:
    """An async function; the stock runtime has none."""
    await asyncio.sleep(0)
    return [event, context.start]


def plain(event: Event, context: Context) -> list[object]:
    """A handler as the stock runtime has them."""
    return [context.start, context.generation]  # type: ignore[attr-defined]
