"""Tables as Markdown, written into the documents that show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from benchmarks.places import ROOT
from scripts.markers import replace_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Figure, Missing

__all__ = ["Table", "megabytes", "microseconds", "milliseconds", "number", "ratio", "write"]


@attrs.frozen
class Table:
    """The answer to one question, or to one part of it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    missing: Sequence[Missing] = ()
    note: str = ""
    """A sentence on how this was measured, where it is not as for all the others."""

    def markdown(self) -> str:
        """The table below its title, with its notes; numbers stand on the right."""
        lines = [
            f"**{self.title}**",
            "",
            f"| {' | '.join(self.columns)} |",
            f"|---|{'--:|' * (len(self.columns) - 1)}",
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
        notes = [
            *(f"Not measured: {one.name} ({one.reason})." for one in self.missing),
            *([self.note] if self.note else []),
        ]
        return "\n".join([*lines, *([""] if notes else []), *notes])


def number(value: float) -> str:
    """Two or three significant digits, thousands separated."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def microseconds(figure: Figure) -> str:
    """A figure of nanoseconds, in microseconds."""
    return number(figure.median / 1e3)


def milliseconds(figure: Figure) -> str:
    """A figure of nanoseconds, in milliseconds."""
    return number(figure.median / 1e6)


def megabytes(figure: Figure) -> str:
    """A figure of kilobytes, in megabytes."""
    return number(figure.median / 1024)


def ratio(figure: Figure) -> str:
    """A ratio with its spread over the rounds."""
    return f"{figure.median:.2f} ({figure.low:.2f}–{figure.high:.2f})"


def write(marker: str, text: str, document: str) -> None:
    """Put the answer to a question between two markers of that name in a document of the repository."""
    path = ROOT / document
    path.write_text(replace_between(path.read_text(), marker, text))
