"""The table of the README: warm, cold and memory of the runtimes one would choose between, out of the answers to other questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers import EVERYTHING, FUNCTION, LIMIT, MANAGED, MEMORY, NODE, REFERENCE
from benchmarks.tables import MICRO, MILLI, Column, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.results import Runs

NEEDS = ("warm-cycle", "cold-start", "memory")
STATEFUL = "**warmstate**, with state"
COLUMNS = (
    ("warm-cycle", Column("warm invocation µs", "cycle 100 B", MICRO)),
    ("warm-cycle", Column("against awslambdaric", "cycle 100 B", against=REFERENCE.name)),
    ("cold-start", Column("cold start ms", "start", MILLI)),
    ("cold-start", Column("against awslambdaric", "start", against=REFERENCE.name)),
    ("memory", Column("memory MB", "end", 1024.0)),
)
# Warm with one slot; cold with a slot, a tail and a resource.
ROWS = {
    STATEFUL: {"warm-cycle": MEMORY.name, "cold-start": EVERYTHING.name, "memory": EVERYTHING.name},
    **{peer.name: dict.fromkeys(NEEDS, peer.name) for peer in (FUNCTION, REFERENCE, MANAGED, NODE, LIMIT)},
}


def table(answers: Mapping[str, Runs]) -> Table:
    """One row for each runtime."""
    rows = [
        [name, *(column.of(answers[question], subjects[question]) for question, column in COLUMNS)]
        for name, subjects in ROWS.items()
    ]
    note = "With state: one slot when warm; a slot, a tail and a resource when cold."
    return Table("Echo of 100 bytes", ["runtime", *(column.title for _, column in COLUMNS)], rows, [note])
