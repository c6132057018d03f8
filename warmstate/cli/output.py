"""How the command line writes: plain when piped, coloured for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import TextIO

__all__ = ["duration", "note", "paint", "print_json", "size", "table", "uses_colour"]

_COLOURS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "grey": "90",
    "bold": "1",
}


def uses_colour(stream: TextIO, choice: str = "auto") -> bool:
    """Whether to colour what goes to `stream`: --color, then NO_COLOR and CLICOLOR_FORCE, then whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("CLICOLOR_FORCE")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def paint(text: str, colour: str, *, enabled: bool) -> str:
    """`text` in a colour, or as it is."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if enabled else text


def note(options: argparse.Namespace, text: str) -> None:
    """Something beside the answer: to stderr, unless --quiet."""
    if not options.quiet:
        print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """One value, on one line, so that streams of them are NDJSON."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as what is in them, never wrapped."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [headings, *rows]
    ]
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes for people."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KB", "MB", "GB"):
        count /= 1024
        if count < 1024 or unit == "GB":
            break
    return f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds for people: 0.8s, 12s, 4m12s, 3h05m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m"


def pairs(values: Mapping[str, object]) -> str:
    """Names and values on one line."""
    return " ".join(f"{name}={value}" for name, value in values.items())
