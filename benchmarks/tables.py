"""Tables as Markdown, written into the documents that show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from benchmarks.places import ROOT
from scripts.markers import replace_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Figure, Missing

__all__ = ["Table", "microseconds", "milliseconds", "number", "ratio", "write"]


@attrs.frozen
class Table:
    """The answer to one question."""

    name: str
    """The marker it stands between, as `benchmark: name`."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    missing: Sequence[Missing] = ()
    note: str = ""
    """One sentence on how it was measured this time: machine, rounds, what was unusual."""

    def markdown(self) -> str:
        """The table with its notes; numbers stand on the right."""
        lines = [
            f"| {' | '.join(self.columns)} |",
            f"|---|{'--:|' * (len(self.columns) - 1)}",
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
        notes = [f"Not measured: {one.name} ({one.reason})." for one in self.missing]
        return "\n".join([*lines, "", *notes, self.note]).strip()


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def microseconds(figure: Figure) -> str:
    """A figure of nanoseconds, in microseconds."""
    return number(figure.median / 1e3)


def milliseconds(figure: Figure) -> str:
    """A figure of nanoseconds, in milliseconds."""
    return number(figure.median / 1e6)


def ratio(figure: Figure) -> str:
    """A ratio with its spread over the rounds."""
    return f"{figure.median:.2f} ({figure.low:.2f}–{figure.high:.2f})"


def write(table: Table, document: str) -> None:
    """Put the table between its markers in a document of the repository."""
    path = ROOT / document
    path.write_text(replace_between(path.read_text(), f"benchmark: {table.name}", table.markdown()))
