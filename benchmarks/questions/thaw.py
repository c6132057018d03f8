"""What a thaw adds before the handler, when nothing is stale."""

from __future__ import annotations

import functools
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import available, missing
from benchmarks.peers import FUNCTION, REFERENCE, warmstate
from benchmarks.platform.stub import Run, serve
from benchmarks.progress import say
from benchmarks.tables import MICRO, Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.peers import Peer
    from benchmarks.results import Numbers, Runs

PAUSE_MS = 1300
"""Longer than the second from which on a freeze counts as one."""
INVOCATIONS = 10
FRESH = warmstate("an open resource that is not stale", "stateful.Unpinged")
PEERS = (FRESH, FUNCTION, REFERENCE)


def measure(settings: Settings) -> Numbers:
    """The same pause, awake and frozen. All wait side by side: they sleep for a second and work for a millisecond."""
    subjects = [(peer, freeze) for peer in available(PEERS) for freeze in (0, 1)]
    say(f"thaw: {INVOCATIONS} pauses of {PAUSE_MS} ms, {len(subjects)} processes at once")
    with ThreadPoolExecutor(len(subjects)) as pool:
        runs = pool.map(functools.partial(wait, settings), *zip(*subjects, strict=True))
        latency = {
            (peer.name, freeze): statistics.median(run.latency_ns)
            for (peer, freeze), run in zip(subjects, runs, strict=True)
        }
    return {
        name: {
            "awake": latency[name, 0],
            "frozen": latency[name, 1],
            "added": max(0.0, latency[name, 1] - latency[name, 0]),
        }
        for name, freeze in latency
        if freeze
    }


def wait(settings: Settings, peer: Peer, freeze: int) -> Run:
    """One process of a peer that waits, or is stopped, before every event."""
    return serve(
        peer,
        records(100),
        invocations=max(3, int(INVOCATIONS * settings.scale)),
        warmup=1,
        pause_ms=PAUSE_MS,
        freeze=freeze,
        spin=0,
        stub_cpu=-1,
        runtime_cpu=-1,
    )


def tables(runs: Runs) -> list[Table]:
    """The difference is the thaw; the kernel's share is what a peer shows that knows nothing of it."""
    columns = [
        Column("awake µs", "awake", MICRO),
        Column("frozen µs", "frozen", MICRO),
        Column("added µs", "added", MICRO, spread=True),
    ]
    note = "The handler with the resource fails its invocation if the resource is checked: none was."
    return [
        tabulate(f"Latency after {PAUSE_MS} ms without an event", runs, columns, notes=[note, *missing(PEERS)]),
    ]
