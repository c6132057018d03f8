"""One module for each question, in the order of docs/benchmarks.md: `measure` takes the numbers of a run, `tables` shows them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from benchmarks.measure import Settings
    from benchmarks.results import Numbers, Runs
    from benchmarks.tables import Table

__all__ = ["QUESTIONS", "Question", "question"]

QUESTIONS = (
    "warm-cycle",
    "cold-start",
    "layouts",
    "memory",
    "streaming",
    "concurrency",
    "thaw",
    "shutdown",
    "state",
    "emulators",
)


class Question(Protocol):
    """What each of the modules is."""

    def measure(self, settings: Settings) -> Numbers:
        """Take the numbers of one run."""

    def tables(self, runs: Runs) -> list[Table]:
        """Show the numbers of all runs."""


def question(name: str) -> Question:
    """The module of a question."""
    return cast("Question", importlib.import_module(f"benchmarks.questions.{name.replace('-', '_')}"))
