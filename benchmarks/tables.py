"""Tables as Markdown, written into the documents that show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from benchmarks.places import ROOT
from scripts.markers import replace_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Figure, Runs

__all__ = ["MICRO", "MILLI", "Column", "Table", "cell", "number", "ratio", "tabulate", "write"]

MICRO, MILLI = 1e3, 1e6
"""Nanoseconds in a micro- and a millisecond."""


@attrs.frozen
class Table:
    """The answer to one question, or to one part of it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Sentences below it: on how this was measured, where it is not as for all the others, and on what is missing."""

    def markdown(self) -> str:
        """The table below its title, with its notes; numbers stand on the right."""
        lines = [
            f"**{self.title}**",
            "",
            f"| {' | '.join(self.columns)} |",
            f"|---|{'--:|' * (len(self.columns) - 1)}",
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])


@attrs.frozen
class Column:
    """How one measure is shown: in a unit, with its spread if wanted, or as the ratio to that of another subject."""

    title: str
    measure: str
    unit: float = 1.0
    spread: bool = False
    against: str = ""

    def of(self, runs: Runs, subject: str) -> str:
        """The cell of one subject; a dash where it has no such number."""
        try:
            if self.against:
                return ratio(runs.ratio(subject, self.measure, self.against))
            return cell(runs.figure(subject, self.measure), self.unit, spread=self.spread)
        except KeyError:
            return "–"


def tabulate(
    title: str, runs: Runs, columns: Sequence[Column], *, first: str = "runtime", notes: Sequence[str] = ()
) -> Table:
    """A row for every subject that has the first column's measure."""
    rows = [
        [subject, *(column.of(runs, subject) for column in columns)] for subject in runs.subjects(columns[0].measure)
    ]
    return Table(title, [first, *(column.title for column in columns)], rows, notes)


def number(value: float) -> str:
    """Two or three significant digits, thousands separated."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def cell(figure: Figure, unit: float = 1.0, *, spread: bool = False) -> str:
    """A figure in some unit, with its spread over the runs if wanted."""
    median = number(figure.median / unit)
    return f"{median} ({number(figure.low / unit)}–{number(figure.high / unit)})" if spread else median


def ratio(figure: Figure) -> str:
    """A ratio with its spread over the runs."""
    return f"{figure.median:.2f} ({figure.low:.2f}–{figure.high:.2f})"


def write(marker: str, text: str, document: str) -> None:
    """Put the answer to a question between two markers of that name in a document of the repository."""
    path = ROOT / document
    path.write_text(replace_between(path.read_text(), marker, text))
