"""What keeping state costs: the store against other mappings, a commit against a write, a spill against a file, a resource."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

from benchmarks.install import python_with, run_quietly
from benchmarks.measure import in_turn
from benchmarks.places import ROOT
from benchmarks.tables import MICRO, Column, Table, ratio, tabulate

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.results import Numbers, Runs

REQUIREMENTS = (
    f"--constraint={ROOT / 'constraints.txt'}",
    *("attrs", "diskcache", "requests", "cachetools==8.0.0", "lru-dict==1.4.1"),
)
PARTS = ("store", "commit", "spill", "resources")
STORE = "**warmstate** store"
TTL_CACHE = "cachetools TTLCache"
SPILL = "**warmstate** spill"
FILE = "plain file"
RESOURCE = "**warmstate** resource, open and fresh"


def measure(settings: Settings) -> Numbers:
    """One process for each part, in an environment that holds the peers."""
    answers = in_turn(1, {part: functools.partial(answer, part) for part in PARTS}, "state")
    numbers: Numbers = {}
    for (found,) in answers.values():
        for measured, subjects in found.items():
            for subject, value in subjects.items():
                numbers.setdefault(subject, {})[measured] = value
    return numbers


def answer(part: str) -> dict[str, dict[str, float]]:
    """Measure -> subject -> nanoseconds."""
    python = python_with("state", *REQUIREMENTS)
    found: dict[str, dict[str, dict[str, float]]] = json.loads(
        run_quietly(python, "-m", "benchmarks.inside.state", part, cwd=ROOT)
    )
    return found[part]


def tables(runs: Runs) -> list[Table]:
    """Four tables."""
    nanoseconds = functools.partial(Column, spread=True)
    microseconds = functools.partial(Column, unit=MICRO, spread=True)
    commit = [
        microseconds("commit µs", "commit"),
        microseconds("appended to an open file µs", "append"),
        microseconds("as a file µs", "file"),
    ]
    rows = [
        [size, *(column.of(runs, size) for column in commit), ratio(runs.ratio(size, "commit", size, "file"))]
        for size in runs.subjects("commit")
    ]
    return [
        tabulate(
            "A mapping of a thousand values of 1 kB",
            runs,
            [nanoseconds("get, hit, ns", "get"), nanoseconds("set ns", "set")],
            first="mapping",
        ),
        Table("Committing one slot", ["bytes", *(column.title for column in commit), "against the file"], rows),
        tabulate(
            "Out of memory and back",
            runs,
            [
                microseconds("out µs", "out"),
                microseconds("back µs", "back"),
                microseconds("back, mapped, µs", "mapped"),
            ],
            first="bytes",
            notes=["What is mapped is read by the kernel as it is touched."],
        ),
        tabulate("An access in an invocation", runs, [nanoseconds("ns", "access")], first="of"),
    ]
