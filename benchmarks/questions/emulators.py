"""The runtimes end to end: under AWS's emulator, and under ours with and without freezes."""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import available, in_turn, missing
from benchmarks.peers import FUNCTION, LIMIT, MANAGED, MEMORY, NODE, REFERENCE
from benchmarks.platform.emulators import invoke_times, under_rie, under_warmstate
from benchmarks.tables import MICRO, Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.platform.emulators import Served
    from benchmarks.results import Numbers, Runs

INVOCATIONS, TURNS = 150, 3
PEERS = (MEMORY, FUNCTION, REFERENCE, MANAGED, NODE, LIMIT)
EMULATORS: dict[str, Served] = {
    "AWS's": under_rie,
    "ours": functools.partial(under_warmstate, freeze=False),
    "ours, freezing": under_warmstate,
}


def measure(settings: Settings) -> Numbers:
    """Every runtime under every emulator; a caller that sends the next event when it has the answer."""
    subjects = {
        (peer.name, emulator): functools.partial(
            invoke_times, served, peer, records(100), settings.invocations(INVOCATIONS)
        )
        for peer in available(PEERS)
        for emulator, served in EMULATORS.items()
    }
    numbers: Numbers = {}
    for (name, emulator), turns in in_turn(settings.turns(TURNS), subjects, "emulators").items():
        numbers.setdefault(name, {})[f"invoke {emulator}"] = statistics.median(map(statistics.median, turns))
        numbers[name][f"per second {emulator}"] = statistics.median(len(times) / sum(times) * 1e9 for times in turns)
    return numbers


def tables(runs: Runs) -> list[Table]:
    """What a caller waits, and how many invocations a second that makes."""
    times = [
        Column("under AWS's emulator µs", "invoke AWS's", MICRO, spread=True),
        Column("against awslambdaric", "invoke AWS's", against=REFERENCE.name),
        Column("under ours, no freezes, µs", "invoke ours", MICRO, spread=True),
        Column("against awslambdaric", "invoke ours", against=REFERENCE.name),
        Column("under ours, freezing, µs", "invoke ours, freezing", MICRO, spread=True),
    ]
    rates = [
        Column("AWS's", "per second AWS's", spread=True),
        Column("ours, no freezes", "per second ours", spread=True),
        Column("ours, with freeze and thaw", "per second ours, freezing", spread=True),
    ]
    note = "AWS's emulator answers once the runtime asks for its next event; ours, as Lambda, as soon as the answer is there."
    return [
        tabulate("What a caller waits for an echo of 100 bytes", runs, times, notes=[note, *missing(PEERS)]),
        tabulate("Invocations per second, one after another", runs, rates),
    ]
