"""What a cold start costs, from exec to the first next, and which modules it is made of."""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import available, in_turn, missing
from benchmarks.peers import EVERYTHING, FUNCTION, OTHERS, REFERENCE
from benchmarks.platform.stub import serve
from benchmarks.results import Figure
from benchmarks.tables import MILLI, Column, Table, cell, number, tabulate
from scripts.import_log import imports_up_to_first_next

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.results import Numbers, Runs

STARTS = 11
"""Processes of one runtime in one run; the run's number is their median."""
LOGS = 3
"""Starts whose imports are logged in one run."""
SHOWN_MODULES = 12
PEERS = (EVERYTHING, FUNCTION, *OTHERS)


def measure(settings: Settings) -> Numbers:
    """Every runtime with one invocation, so that it is known to work, and our imports."""
    subjects = {
        peer.name: functools.partial(serve, peer, records(100), invocations=1, warmup=0) for peer in available(PEERS)
    }
    started = in_turn(settings.turns(STARTS), subjects, "cold start")
    numbers: Numbers = {
        name: {"start": statistics.median(run.cold_ns for run in runs)} for name, runs in started.items()
    }
    for _ in range(settings.turns(LOGS)):
        for found in imports_up_to_first_next(EVERYTHING.command, EVERYTHING.variables()):
            module = numbers.setdefault(f"`{found.name}`", {})
            module["import"] = min(found.microseconds * 1e3, module.get("import", float("inf")))
    return numbers


def tables(runs: Runs) -> list[Table]:
    """The starts of all runtimes, then where the time of ours goes."""
    columns = [
        Column("ms", "start", MILLI, spread=True),
        Column("against awslambdaric", "start", against=REFERENCE.name),
    ]
    return [tabulate("From exec to the first next", runs, columns, notes=missing(PEERS)), breakdown(runs)]


def breakdown(runs: Runs) -> Table:
    """What each module costs on the way to the first next, from Python's own import log."""
    modules = {name: runs.figure(name, "import") for name in runs.subjects("import")}
    ordered = sorted(modules, key=lambda name: -modules[name].median)
    rows = [[name, cell(modules[name], MILLI, spread=True)] for name in ordered[:SHOWN_MODULES]]
    rest = sum(modules[name].median for name in ordered[SHOWN_MODULES:])
    whole = Figure.of(sum(numbers.get("import", 0.0) for numbers in run.values()) for run in runs.runs)
    rows.append([f"{max(0, len(ordered) - SHOWN_MODULES)} others", number(rest / MILLI)])
    rows.append([f"all {len(ordered)} modules", cell(whole, MILLI, spread=True)])
    note = "Each module without the ones it imports; writing the log itself makes them slower than they are."
    return Table("What warmstate imports on the way", ["module", "ms"], rows, [note])
