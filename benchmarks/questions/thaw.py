"""What a thaw adds before the handler, when nothing is stale."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import Figure, available, interleave, percentile
from benchmarks.peers import EVERYTHING, FUNCTION, awslambdaric
from benchmarks.platform.stub import Run, run
from benchmarks.tables import Table, microseconds

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.peers import Peer

PAUSE_MS = 1300
"""Longer than the second from which on a freeze counts as one."""

INVOCATIONS = 10


def ask(settings: Settings) -> list[Table]:
    """The same pause, awake and frozen; the difference is the thaw: the kernel's share is what a peer shows that knows nothing of it."""
    peers, missing = available([EVERYTHING, FUNCTION, awslambdaric])
    subjects = {(peer.name, freeze): functools.partial(serve, peer, freeze) for peer in peers for freeze in (0, 1)}
    results = interleave(settings, subjects, "thaw")
    latency = {subject: Figure.of(percentile(one.latency_ns, 0.5) for one in runs) for subject, runs in results.items()}
    rows = []
    for peer in peers:
        awake, frozen = latency[peer.name, 0], latency[peer.name, 1]
        added = Figure.of([frozen.median - awake.median])
        rows.append([peer.name, microseconds(awake), microseconds(frozen), microseconds(added)])
    return [
        Table(
            f"Latency after {PAUSE_MS} ms without an event",
            ["runtime", "awake µs", "frozen µs", "added µs"],
            rows,
            missing,
        )
    ]


def serve(peer: Peer, freeze: int) -> Run:
    """One process of a peer that waits, or is stopped, before every event."""
    return run(
        peer.command,
        peer.variables(),
        records(100),
        invocations=INVOCATIONS,
        warmup=1,
        pause_ms=PAUSE_MS,
        freeze=freeze,
    )
