"""What a cold start costs, from exec to the first next, and which modules it is made of."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import Figure, available, interleave, ratios
from benchmarks.peers import EVERYTHING, FUNCTION, PEERS, REFERENCE, Peer
from benchmarks.platform.stub import run
from benchmarks.tables import Table, milliseconds, number, ratio
from scripts.import_log import imports_up_to_first_next

if TYPE_CHECKING:
    from benchmarks.measure import Settings

STARTS = 8
"""Processes of one runtime in one round; the round's number is their median."""

SHOWN_MODULES = 12


def ask(settings: Settings) -> list[Table]:
    """The starts of all runtimes, then where the time of ours goes."""
    peers, missing = available([EVERYTHING, FUNCTION, *PEERS])
    results = interleave(
        settings,
        {peer.name: functools.partial(start, peer, settings.invocations(STARTS)) for peer in peers},
        "cold start",
    )
    rows = [
        [
            name,
            milliseconds(Figure.of(one.median for one in rounds)),
            ratio(ratios([one.median for one in rounds], [one.median for one in results[REFERENCE]])),
        ]
        for name, rounds in results.items()
    ]
    starts = Table("From exec to the first next", ["runtime", "ms", "against awslambdaric"], rows, missing)
    return [starts, breakdown(next(peer for peer in peers if peer.name == EVERYTHING().name))]


def start(peer: Peer, times: int) -> Figure:
    """Start a runtime several times, with one invocation each so that it is known to work."""
    return Figure.of(
        run(peer.command, peer.variables(), records(100), invocations=1, warmup=0).cold_ns for _ in range(times)
    )


def breakdown(peer: Peer) -> Table:
    """What each module costs on the way to the first next, from Python's own import log."""
    own: dict[str, list[float]] = {}
    for _ in range(STARTS):
        for found in imports_up_to_first_next(peer.command, peer.variables()):
            own.setdefault(found.name, []).append(found.microseconds)
    medians = {name: Figure.of(times).median for name, times in own.items()}
    ordered = sorted(medians, key=lambda name: -medians[name])
    rows = [[f"`{name}`", number(medians[name] / 1e3)] for name in ordered[:SHOWN_MODULES]]
    rest = sum(medians[name] for name in ordered[SHOWN_MODULES:])
    rows.append([f"{max(0, len(ordered) - SHOWN_MODULES)} others", number(rest / 1e3)])
    rows.append([f"all {len(ordered)} modules", number(sum(medians.values()) / 1e3)])
    note = "Each module without the ones it imports; writing the log itself makes them slower than they are."
    return Table("What warmstate imports on the way", ["module", "ms"], rows, note=note)
