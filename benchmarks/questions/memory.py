"""Resident memory once the runtime waits for its first event, and after ten thousand of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import Figure, available, interleave, ratios
from benchmarks.peers import EVERYTHING, FUNCTION, MEMORY_SLOT, PEERS, REFERENCE
from benchmarks.platform.stub import Run, run
from benchmarks.tables import Table, megabytes, ratio

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.peers import Peer

INVOCATIONS = 10_000


def ask(settings: Settings) -> list[Table]:
    """One table, events of 10 kB so that buffers show."""
    peers, missing = available([FUNCTION, MEMORY_SLOT, EVERYTHING, *PEERS])
    results = interleave(
        settings,
        {peer.name: functools.partial(serve, peer, settings.invocations(INVOCATIONS, peer)) for peer in peers},
        "memory",
    )
    first = {name: [float(one.rss_first_next_kb) for one in runs] for name, runs in results.items()}
    rows = [
        [
            name,
            megabytes(Figure.of(first[name])),
            ratio(ratios(first[name], first[REFERENCE])),
            megabytes(Figure.of(one.rss_end_kb for one in runs)),
        ]
        for name, runs in results.items()
    ]
    return [
        Table(
            "Resident memory",
            ["runtime", "MB at the first next", "against awslambdaric", "MB after 10,000 invocations"],
            rows,
            missing,
        )
    ]


def serve(peer: Peer, invocations: int) -> Run:
    """One process of a peer."""
    return run(peer.command, peer.variables(), records(10_000), invocations=invocations, timeout=600)
