"""The journal as server-sent events, for consoles: ids, a pulse, a word of farewell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from warmstate.emulator.servers.exchange import ClientGone

if TYPE_CHECKING:
    from warmstate.emulator.journal import Event, Journal
    from warmstate.emulator.servers.exchange import Exchange

__all__ = ["EventStreams"]

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a comment is sent, so that both ends notice a lost peer."""
AT_ONCE: Final = 500
"""Events of one write: a client that does not keep up is waited for."""


class EventStreams:
    """All open streams of one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: set[asyncio.Event] = set()
        self._ends = False

    async def serve(self, exchange: Exchange, seen: int, wanted: str) -> None:
        """Send all that is kept after the id `seen`, then each event as it happens, until the client goes or we end."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()
        if not 0 <= seen <= self._journal.last_id:
            seen = 0  # the id is that of an emulator before this one

        def tell(_: Event) -> None:
            loop.call_soon_threadsafe(news.set)

        stop = self._journal.listen(tell)
        self._open.add(news)
        exchange.start(200, [("content-type", "text/event-stream"), ("cache-control", "no-store")])
        try:
            await exchange.send(b"retry: 1000\n\n")
            while not exchange.gone:
                news.clear()
                events = self._journal.since(seen)
                for at in range(0, len(events), AT_ONCE):
                    part = [event for event in events[at : at + AT_ONCE] if event.is_of(wanted)]
                    lines = [f"id: {e.id}\nevent: {e.type}\ndata: {e.as_json()}\n\n" for e in part]
                    await exchange.send("".join(lines).encode())
                seen = events[-1].id if events else seen
                if self._ends:
                    await exchange.send(b"event: bye\ndata: {}\n\n")
                    break
                try:
                    await asyncio.wait_for(news.wait(), KEEP_ALIVE)
                except asyncio.TimeoutError:
                    await exchange.send(b": still here\n\n")
        except ClientGone:
            pass
        finally:
            stop()
            self._open.discard(news)
        exchange.finish()

    async def close(self) -> None:
        """Send what has happened so far, and say that nothing more will come."""
        self._ends = True
        for news in self._open:
            news.set()
        while self._open:  # noqa: ASYNC110 - a moment; who does not read is cut off with the server
            await asyncio.sleep(0.005)
