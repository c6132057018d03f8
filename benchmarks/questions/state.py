"""What keeping state costs: the store against other mappings, a commit against a write, a spill against a file."""

from __future__ import annotations

import functools
import json
import subprocess
from typing import TYPE_CHECKING, Any

from benchmarks.install import python_with
from benchmarks.measure import Figure, interleave
from benchmarks.places import ROOT
from benchmarks.tables import Table, microseconds, number, ratio

if TYPE_CHECKING:
    from benchmarks.measure import Settings

REQUIREMENTS = (
    f"--constraint={ROOT / 'constraints.txt'}",
    *("attrs", "diskcache", "requests", "cachetools==8.0.0", "lru-dict==1.4.1"),
)


def ask(settings: Settings) -> list[Table]:
    """Three tables, each from one process a round."""
    python = python_with("state", *REQUIREMENTS)
    rounds = {
        question: interleave(settings, {question: functools.partial(answer, python, question)}, question)[question]
        for question in ("store", "commit", "spill")
    }
    return [store_table(rounds["store"]), commit_table(rounds["commit"]), spill_table(rounds["spill"])]


def answer(python: object, question: str) -> dict[str, dict[str, float]]:
    """One process that answers one question."""
    done = subprocess.run(
        [str(python), "-m", "benchmarks.inside.state", question], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    results: dict[str, Any] = json.loads(done.stdout)
    return results[question]  # type: ignore[no-any-return] # the program on the other side says what it is


def figures(rounds: list[dict[str, dict[str, float]]], kind: str) -> dict[str, Figure]:
    """One figure for each subject of a kind of operation."""
    return {name: Figure.of(one[kind][name] for one in rounds) for name in rounds[0][kind]}


def store_table(rounds: list[dict[str, dict[str, float]]]) -> Table:
    """Nanoseconds."""
    gets, sets = figures(rounds, "get"), figures(rounds, "set")
    rows = [[name, number(gets[name].median), number(sets[name].median)] for name in gets]
    return Table("A mapping of a thousand values of 1 kB", ["mapping", "get, hit, ns", "set ns"], rows)


def commit_table(rounds: list[dict[str, dict[str, float]]]) -> Table:
    """Microseconds, with the bare write beside them."""
    commits, writes = figures(rounds, "commit"), figures(rounds, "write")
    rows = [
        [
            size,
            microseconds(commits[size]),
            microseconds(writes[size]),
            ratio(Figure.of(one["commit"][size] / one["write"][size] for one in rounds)),
        ]
        for size in commits
    ]
    return Table("Committing one slot", ["bytes", "commit µs", "a bare write µs", "ratio"], rows)


def spill_table(rounds: list[dict[str, dict[str, float]]]) -> Table:
    """Microseconds; what is mapped is read by the kernel as it is touched."""
    out, back, mapped = figures(rounds, "out"), figures(rounds, "back"), figures(rounds, "mapped")
    rows = [
        [name, microseconds(out[name]), microseconds(back[name]), microseconds(mapped[name]) if name in mapped else "–"]
        for name in out
    ]
    return Table("Out of memory and back", ["bytes", "out µs", "back µs", "back, mapped, µs"], rows)
