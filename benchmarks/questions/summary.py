"""The numbers of the README: warm, cold and memory of the runtimes one would choose between, from the same processes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import Figure, available, interleave, percentile, ratios
from benchmarks.peers import FUNCTION, MEMORY_SLOT, REFERENCE, awslambdaric, awslambdaric_managed, limit, node
from benchmarks.platform.stub import Run, run
from benchmarks.tables import Table, megabytes, microseconds, milliseconds, ratio

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.peers import Peer

STARTS = 5
INVOCATIONS = 3000
COLUMNS = [
    "runtime",
    "warm invocation µs",
    "against awslambdaric",
    "cold start ms",
    "against awslambdaric",
    "memory MB",
]


def ask(settings: Settings) -> list[Table]:
    """One table, events of 100 bytes."""
    peers, missing = available([MEMORY_SLOT, FUNCTION, awslambdaric, awslambdaric_managed, node, limit])
    results = interleave(settings, {peer.name: functools.partial(serve, peer, settings) for peer in peers}, "summary")
    cycles = {
        name: [Figure.of(percentile(one.cycle_ns, 0.5) for one in runs).median for runs in rounds]
        for name, rounds in results.items()
    }
    starts = {
        name: [Figure.of(one.cold_ns for one in runs).median for runs in rounds] for name, rounds in results.items()
    }
    rows = [
        [
            name,
            microseconds(Figure.of(cycles[name])),
            ratio(ratios(cycles[name], cycles[REFERENCE])),
            milliseconds(Figure.of(starts[name])),
            ratio(ratios(starts[name], starts[REFERENCE])),
            megabytes(Figure.of(runs[-1].rss_end_kb for runs in rounds)),
        ]
        for name, rounds in results.items()
    ]
    return [Table("Echo of 100 bytes", COLUMNS, rows, missing)]


def serve(peer: Peer, settings: Settings) -> list[Run]:
    """Several processes of one peer."""
    invocations = settings.invocations(INVOCATIONS, peer)
    return [run(peer.command, peer.variables(), records(100), invocations=invocations) for _ in range(STARTS)]
