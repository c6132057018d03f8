"""How fast a streamed answer comes, and what memory it takes: twenty times what fits into one answer."""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import available, in_turn, missing
from benchmarks.peers import warmstate
from benchmarks.platform.stub import serve
from benchmarks.tables import MICRO, Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.platform.stub import Run
    from benchmarks.results import Numbers, Runs

TURNS = 3
MEGABYTE = 1e6
STREAM = warmstate("a generator", "stateful.Streaming")
ASYNC_STREAM = warmstate("an async generator", "stateful.AsyncStreaming")
PEERS = (STREAM, ASYNC_STREAM)


def measure(settings: Settings) -> Numbers:
    """200 MB in pieces of 64 kB to a reader that only counts them."""
    subjects = {
        peer.name: functools.partial(serve, peer, records(100), invocations=1, warmup=1) for peer in available(PEERS)
    }
    return {name: summarize(runs) for name, runs in in_turn(settings.turns(TURNS), subjects, "streaming").items()}


def summarize(runs: list[Run]) -> dict[str, float]:
    """Of the second stream of each process: the first one warms up."""
    return {
        "first byte": statistics.median(run.first_byte_ns[0] for run in runs),
        "bytes per second": statistics.median(run.response_bytes / run.latency_ns[0] * 1e9 for run in runs),
        "extra bytes": statistics.median((run.rss_peak_kb - run.rss_first_next_kb) * 1024.0 for run in runs),
    }


def tables(runs: Runs) -> list[Table]:
    """One table."""
    columns = [
        Column("first byte µs", "first byte", MICRO, spread=True),
        Column("MB/s", "bytes per second", MEGABYTE, spread=True),
        Column("extra memory MB", "extra bytes", MEGABYTE, spread=True),
    ]
    note = "Python's managed runtime streams nothing: its answers end at 6 MB, and the first byte comes with the last."
    return [tabulate("200 MB in pieces of 64 kB", runs, columns, notes=[note, *missing(PEERS)])]
