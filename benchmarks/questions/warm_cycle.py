"""What one warm invocation costs, from small events to the largest that the platform takes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.events import SIZES, records
from benchmarks.measure import Figure, available, interleave, percentile, ratios
from benchmarks.peers import ASYNCHRONOUS, COMMITTED_SLOT, FUNCTION, MEMORY_SLOT, PEERS, REFERENCE
from benchmarks.platform.stub import Run, run
from benchmarks.tables import Table, microseconds, ratio

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.peers import Peer

# Invocations of one run: what takes about a second.
INVOCATIONS = {"100 B": 5000, "10 kB": 1500, "1 MB": 60, "6 MB": 15}
COLUMNS = ["runtime", "latency µs, p50", "p99", "cycle µs, p50", "p99", "cycle against awslambdaric", "CPU µs"]


def ask(settings: Settings) -> list[Table]:
    """One table for each size of event."""
    peers, missing = available([FUNCTION, MEMORY_SLOT, COMMITTED_SLOT, ASYNCHRONOUS, *PEERS])
    tables = []
    for size, invocations in INVOCATIONS.items():
        # A shell variable is no place for megabytes.
        taking_part = [peer for peer in peers if peer.slowness < 100 or SIZES[size] <= 10_000]
        results = interleave(
            settings,
            {
                peer.name: functools.partial(serve, peer, size, settings.invocations(invocations, peer))
                for peer in taking_part
            },
            size,
        )
        cycles = {name: [percentile(one.cycle_ns, 0.5) for one in runs] for name, runs in results.items()}
        rows = [row(name, runs, ratios(cycles[name], cycles[REFERENCE])) for name, runs in results.items()]
        tables.append(Table(f"Events of {size}", COLUMNS, rows, missing))
    return tables


def serve(peer: Peer, size: str, invocations: int) -> Run:
    """One process of a peer that serves one size."""
    return run(
        peer.command, peer.variables(), records(SIZES[size]), invocations=invocations, warmup=max(10, invocations // 10)
    )


def row(name: str, runs: list[Run], against: Figure) -> list[str]:
    """The numbers of one runtime, medians over its rounds."""
    times = [
        microseconds(Figure.of(percentile(getattr(one, kind), share) for one in runs))
        for kind in ("latency_ns", "cycle_ns")
        for share in (0.5, 0.99)
    ]
    return [name, *times, ratio(against), microseconds(Figure.of(one.cpu_ns / len(one.latency_ns) for one in runs))]
