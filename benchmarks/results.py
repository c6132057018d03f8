"""What was measured: numbers by subject and measure, one set for each run, and the figures that tables show of them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Figure", "Numbers", "Runs", "percentile"]

Numbers = dict[str, dict[str, float]]
"""Of one run of one question: subject -> measure -> number. Times are nanoseconds, sizes bytes, unless the measure says so."""


@attrs.frozen
class Figure:
    """One number of a table: the median of its runs, with the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, runs: Iterable[float]) -> Figure:
        """The figure of one number for each run."""
        numbers = sorted(runs)
        return cls(statistics.median(numbers), numbers[0], numbers[-1])


@attrs.frozen
class Runs:
    """The answers to one question, run by run."""

    runs: tuple[Numbers, ...]

    def subjects(self, measure: str) -> list[str]:
        """Whatever has this measure, in the order in which it was measured."""
        found = {subject: None for run in self.runs for subject, numbers in run.items() if measure in numbers}
        return list(found)

    def figure(self, subject: str, measure: str) -> Figure:
        """
        One number over all runs.

        Raises:
            KeyError: No run has it.

        """
        numbers = [run[subject][measure] for run in self.runs if measure in run.get(subject, {})]
        if not numbers:
            raise KeyError(f"{subject}: {measure}")
        return Figure.of(numbers)

    def ratio(self, subject: str, measure: str, to: str, to_measure: str = "") -> Figure:
        """
        A number against another, run by run: what both met in the same minutes cancels out.

        Raises:
            KeyError: No run has both.

        """
        base = to_measure or measure
        ratios = [
            run[subject][measure] / run[to][base]
            for run in self.runs
            if measure in run.get(subject, {}) and base in run.get(to, {})
        ]
        if not ratios:
            raise KeyError(f"{subject}: {measure} against {to}: {base}")
        return Figure.of(ratios)


def percentile(numbers: Iterable[float], share: float) -> float:
    """The smallest number that `share` of all numbers do not exceed."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
