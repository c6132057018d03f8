"""How soon an idle instance runs its shutdown hook after SIGTERM; AWS's client has none to run."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import in_turn, missing
from benchmarks.peers import warmstate
from benchmarks.platform.stub import RunFailed, serve
from benchmarks.results import percentile
from benchmarks.tables import MILLI, Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.results import Numbers, Runs

PROCESSES = 40
"""Of one run; each can be ended only once."""
LEAVING = warmstate("before_shutdown", "stateful.Leaving")


def measure(settings: Settings) -> Numbers:
    """From the signal to the hook's first line, and to the end of the process."""
    ends = in_turn(settings.turns(PROCESSES), {LEAVING.name: end}, "shutdown")[LEAVING.name]
    hooks, exits = zip(*ends, strict=True)
    return {
        LEAVING.name: {
            "hook": percentile(hooks, 0.5),
            "hook p99": percentile(hooks, 0.99),
            "exit": percentile(exits, 0.5),
            "exit p99": percentile(exits, 0.99),
        }
    }


def end() -> tuple[int, int]:
    """Nanoseconds from the signal to the hook and to the exit of one process."""
    done = serve(LEAVING, records(100), invocations=2, warmup=0, sigterm=1)
    hook = re.search(r"hook at (\d+)", done.output)
    if not hook:
        raise RunFailed(f"before_shutdown did not run:\n{done.output[-2000:]}")
    return int(hook[1]) - done.sigterm_at, done.exited_after_ns


def tables(runs: Runs) -> list[Table]:
    """One row."""
    show = functools.partial(Column, unit=MILLI, spread=True)
    columns = [
        show("SIGTERM to hook ms, p50", "hook"),
        show("p99", "hook p99"),
        show("SIGTERM to exit ms, p50", "exit"),
        show("p99", "exit p99"),
    ]
    notes = ["awslambdaric does not run anything at SIGTERM.", *missing([LEAVING])]
    return [tabulate("Shutdown of an idle instance", runs, columns, notes=notes)]
