"""Several invocations at once over a model of 300 MB: one process with threads against one process for each slot."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks.events import records
from benchmarks.measure import available, in_turn, missing
from benchmarks.peers import Peer, awslambdaric, warmstate
from benchmarks.platform.stub import serve
from benchmarks.tables import Column, Table, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.platform.stub import Run
    from benchmarks.results import Numbers, Runs

SLOTS = (1, 4, 16)
INVOCATIONS = 6000
MODEL_BYTES = 300e6
OURS, THEIRS = "**warmstate**, threads", "awslambdaric, a process for each slot"


def peers(slots: int) -> tuple[Peer, Peer]:
    """Both runtimes as Managed Instances start them."""
    variables = {
        "AWS_LAMBDA_MAX_CONCURRENCY": str(slots),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "8192",
    }
    return (
        warmstate("threads", "shared_model.Model", environment=variables),
        awslambdaric(THEIRS, "model.size", **variables),
    )


def measure(settings: Settings) -> Numbers:
    """Nothing is handed out before all slots wait; memory is that of all processes together."""
    numbers: Numbers = {}
    for slots in SLOTS:
        subjects = {
            peer.name: functools.partial(
                serve,
                peer,
                records(100),
                invocations=settings.invocations(INVOCATIONS),
                warmup=20 * slots,
                slots=slots,
            )
            for peer in available(peers(slots))
        }
        for name, (run,) in in_turn(1, subjects, f"{slots} slots").items():
            numbers.setdefault(name, {}).update(summarize(run, slots))
    return numbers


def summarize(run: Run, slots: int) -> dict[str, float]:
    """Throughput, and the memory of the model with everything around it."""
    return {
        f"per second {slots}": len(run.latency_ns) / run.elapsed_ns * 1e9,
        f"bytes {slots}": run.group_pss_kb * 1024.0,
    }


def tables(runs: Runs) -> list[Table]:
    """Invocations per second and memory for each number of slots."""
    columns = [
        *(Column(f"{slots}: invocations/s", f"per second {slots}") for slots in SLOTS),
        *(Column(f"{slots}: memory MB", f"bytes {slots}", 1e6) for slots in SLOTS),
        Column("invocations/s at 16 against awslambdaric", "per second 16", against=THEIRS),
        Column("copies of the model at 16", "bytes 16", MODEL_BYTES, spread=True),
    ]
    note = "The runtime has one core, the platform the other."
    return [tabulate("Slots over a model of 300 MB", runs, columns, notes=[note, *missing(peers(1))])]
