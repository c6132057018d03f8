"""What one warm invocation costs, from small events to the largest that the platform takes."""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING

from benchmarks.events import SIZES, records
from benchmarks.measure import available, in_turn, missing
from benchmarks.peers import (
    ASYNCHRONOUS,
    BYTES,
    COMMITTED,
    FUNCTION,
    LIMIT,
    MEMORY,
    ORJSON,
    OTHERS,
    REFERENCE,
)
from benchmarks.platform.stub import Run, serve
from benchmarks.results import percentile
from benchmarks.tables import MICRO, Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.results import Numbers, Runs

# Invocations of one process and turns of each runtime: a second or two for each, less for what is slow.
AMOUNTS = {"100 B": (3000, 3), "10 kB": (800, 3), "1 MB": (30, 2), "6 MB": (8, 2)}
PEERS = (FUNCTION, MEMORY, COMMITTED, ASYNCHRONOUS, ORJSON, BYTES, *OTHERS)


def measure(settings: Settings) -> Numbers:
    """Every runtime with every size."""
    numbers: Numbers = {}
    for size, (wanted, turns) in AMOUNTS.items():
        event = records(SIZES[size])
        # A shell variable is no place for megabytes.
        peers = [peer for peer in available(PEERS) if peer.slowness < 100 or SIZES[size] <= 10_000]
        subjects = {}
        for peer in peers:
            invocations = settings.invocations(wanted, peer)
            warmup = max(5, invocations // 10)
            subjects[peer.name] = functools.partial(serve, peer, event, invocations=invocations, warmup=warmup)
        for name, runs in in_turn(settings.turns(turns), subjects, size).items():
            numbers.setdefault(name, {}).update({f"{kind} {size}": value for kind, value in summarize(runs).items()})
    return numbers


def summarize(runs: list[Run]) -> dict[str, float]:
    """What several processes of one runtime took for an invocation."""
    latencies = [time for run in runs for time in run.latency_ns]
    cycles = [time for run in runs for time in run.cycle_ns]
    return {
        "latency": statistics.median(percentile(run.latency_ns, 0.5) for run in runs),
        "latency p99": percentile(latencies, 0.99),
        "cycle": statistics.median(percentile(run.cycle_ns, 0.5) for run in runs),
        "cycle p99": percentile(cycles, 0.99),
        "CPU": statistics.median(run.cpu_ns / len(run.latency_ns) for run in runs),
    }


def tables(runs: Runs) -> list[Table]:
    """One table for each size of event, and what an event loop and a commit add."""
    found = [
        tabulate(
            f"Events of {size}",
            runs,
            [
                Column("latency µs, p50", f"latency {size}", MICRO),
                Column("p99", f"latency p99 {size}", MICRO),
                Column("cycle µs, p50", f"cycle {size}", MICRO),
                Column("p99", f"cycle p99 {size}", MICRO),
                Column("against awslambdaric", f"cycle {size}", against=REFERENCE.name),
                Column("against the C loop", f"cycle {size}", against=LIMIT.name),
                Column("CPU µs", f"CPU {size}", MICRO),
                Column("CPU against awslambdaric", f"CPU {size}", against=REFERENCE.name),
            ],
        )
        for size in AMOUNTS
    ]
    against_sync = [
        Column(f"cycle against sync, {size}", f"cycle {size}", against=MEMORY.name) for size in ("100 B", "10 kB")
    ]
    cycle = Column("cycle µs, 100 B", "cycle 100 B", MICRO, spread=True)
    rows = [
        [peer.name, *(column.of(runs, peer.name) for column in (cycle, *against_sync))]
        for peer in (MEMORY, ASYNCHRONOUS)
    ]
    loop = Table(
        "An event loop", ["handler", cycle.title, *(column.title for column in against_sync)], rows, missing(PEERS)
    )
    return [*found, loop]
