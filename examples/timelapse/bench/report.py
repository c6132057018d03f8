"""What was measured, as tables and charts in the documents that show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scripts.markers import replace_between

from .charts import chart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .measure import Cost

    Costs = Mapping[str, Mapping[int, Cost]]
    """By the design's name and the frames in the video."""
    Sizes = Mapping[int, tuple[float, float]]
    """By how many photos wait for each other: bytes of a frame without state and with a warm encoder."""

__all__ = ["tables", "write"]

HERE = Path(__file__).parents[1]
README = Path(__file__).parents[3] / "README.md"
IN_SHORT = ("classic", "a segment", "open group", "micro-batches of 60", "warm")
"""How the names of the designs begin that the repository's README shows."""


def tables(costs: Costs, sizes: Sizes, where: str) -> str:
    """Everything that was measured."""
    return "\n\n".join(
        [
            _by_length("Milliseconds per photo, by the frames that are in the video already", costs, _milliseconds),
            _by_length("kB moved per photo, beyond reading the photo itself", costs, _kilobytes),
            _by_length("Requests to the bucket per photo, reading it included", costs, _requests),
            _by_freshness(sizes),
            where,
        ]
    )


def write(costs: Costs, sizes: Sizes, where: str) -> None:
    """Draws the charts and writes the tables into both documents."""
    times = {
        name: [(float(n), cost.milliseconds) for n, cost in by_length.items()] for name, by_length in costs.items()
    }
    (HERE / "cost.svg").write_text(
        chart("What one photo costs as the video grows", "frames in the video", "milliseconds per photo", times)
    )
    lines = {
        "without state": [(float(every), cold / 1000) for every, (cold, _) in sizes.items()],
        "warm encoder": [(float(every), warm / 1000) for every, (_, warm) in sizes.items()],
    }
    (HERE / "freshness.svg").write_text(
        chart("What freshness costs", "photos that wait for each other", "kB of video per frame", lines)
    )
    own = HERE / "README.md"
    own.write_text(replace_between(own.read_text(), "measured", tables(costs, sizes, where)))
    README.write_text(replace_between(README.read_text(), "timelapse", _in_short(costs, sizes, where)))


def _in_short(costs: Costs, sizes: Sizes, where: str) -> str:
    chosen = {name: by_length for name, by_length in costs.items() if name.startswith(IN_SHORT)}
    cold, warm = sizes[min(sizes)]
    shown = _by_length(
        "Milliseconds per photo (kB moved beyond reading it), by the frames that are in the video already",
        chosen,
        lambda cost: f"{_milliseconds(cost)} ({_kilobytes(cost)})",
    )
    honest = (
        "A queue that hands over 60 photos at once is as cheap without any state, and a minute late. What only a warm encoder can "
        f"do is to be fresh at that price: shown at once, a photo takes {warm / 1000:.1f} kB of video instead of {cold / 1000:.0f}. "
        "All numbers and both charts: [examples/timelapse](examples/timelapse/README.md#the-numbers)."
    )
    return f"{shown}\n\n{honest}\n\n{where}"


def _by_length(title: str, costs: Costs, cell: Callable[[Cost], str]) -> str:
    lengths = next(iter(costs.values()))
    return _table(
        title,
        ["frames", *(f"{frames:,}" for frames in lengths)],
        {name: [cell(cost) for cost in by_length.values()] for name, by_length in costs.items()},
    )


def _by_freshness(sizes: Sizes) -> str:
    return _table(
        "kB of video per frame, by how many photos wait for each other",
        ["photos", *(str(every) for every in sizes)],
        {
            "without state: each chunk begins anew": [f"{cold / 1000:.1f}" for cold, _ in sizes.values()],
            "warm encoder": [f"{warm / 1000:.1f}" for _, warm in sizes.values()],
            "ratio": [f"{cold / warm:.1f}" for cold, warm in sizes.values()],
        },
    )


def _table(title: str, head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [f"**{title}**", "", f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    for name, cells in rows.items():
        shown = f"**{name}**" if name.startswith("warm") else name
        lines.append(f"| {' | '.join([shown, *cells])} |")
    return "\n".join(lines)


def _milliseconds(cost: Cost) -> str:
    return f"{cost.milliseconds:,.0f}"


def _kilobytes(cost: Cost) -> str:
    return f"{cost.bytes_moved / 1000:,.0f}"


def _requests(cost: Cost) -> str:
    return f"{cost.requests:.2f}"
