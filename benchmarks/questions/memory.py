"""Resident memory once the runtime waits for its first event, and after ten thousand of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import available, in_turn, missing
from benchmarks.peers import EVERYTHING, FUNCTION, MEMORY, OTHERS, REFERENCE
from benchmarks.platform.stub import serve
from benchmarks.tables import Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.results import Numbers, Runs

INVOCATIONS = 10_000
MEGABYTE = 1024.0
"""Of the kilobytes that the platform reports."""
PEERS = (FUNCTION, MEMORY, EVERYTHING, *OTHERS)


def measure(settings: Settings) -> Numbers:
    """One process of every runtime."""
    subjects = {}
    for peer in available(PEERS):
        invocations = settings.invocations(INVOCATIONS, peer)
        subjects[peer.name] = functools.partial(serve, peer, records(1000), invocations=invocations, timeout=300)
    return {
        name: {"first next": float(run.rss_first_next_kb), "end": float(run.rss_end_kb)}
        for name, (run,) in in_turn(1, subjects, "memory").items()
    }


def tables(runs: Runs) -> list[Table]:
    """One table."""
    columns = [
        Column("MB at the first next", "first next", MEGABYTE, spread=True),
        Column("against awslambdaric", "first next", against=REFERENCE.name),
        Column("MB after 10,000 invocations", "end", MEGABYTE, spread=True),
        Column("against awslambdaric", "end", against=REFERENCE.name),
    ]
    note = "Events of 1 kB. The loop over requests serves a quarter of the invocations, the shell loop a hundredth."
    return [tabulate("Resident memory", runs, columns, notes=[note, *missing(PEERS)])]
