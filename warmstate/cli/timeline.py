"""`warmstate timeline`: one row an instance, one band for each time it was in init, running, idle or frozen."""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any

import attrs

from warmstate.cli.client import Client
from warmstate.cli.output import duration, note, print_json
from warmstate.cli.problem import EXIT_OK

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["Band", "bands", "svg", "text", "timeline"]

CELLS = 100
SQUEEZED = 1.0
"""Seconds that a longer pause of all instances is drawn as, with --squeeze."""
MARKS = {"init": "=", "running": "#", "idle": ".", "frozen": "-"}
COLOURS = {"init": "#8b6fd8", "running": "#2f9e62", "idle": "#c9d4de", "frozen": "#6fb3e0"}


@attrs.frozen
class Band:
    """One stretch of one instance; times in seconds since the epoch."""

    instance: str
    kind: str
    begin: float
    end: float
    label: str = ""


def bands(events: Sequence[dict[str, Any]], now: float) -> list[Band]:
    """What the journal's events mean for each instance."""
    found, open_bands = list[Band](), dict[str, tuple[str, float, str]]()

    def turn(event: dict[str, Any], kind: str | None, label: str = "") -> None:
        before = open_bands.pop(event["instance"], None)
        if before is not None and event["time"] > before[1]:
            found.append(Band(event["instance"], before[0], before[1], event["time"], before[2]))
        if kind is not None:
            open_bands[event["instance"]] = (kind, event["time"], label)

    for event in events:
        name = event["type"]
        if name == "platform.initStart":
            turn(event, "init", f"generation {event['record'].get('generation', '')}")
        elif name == "platform.start":
            turn(event, "running", str(event["record"].get("start", "")))
        elif name in {"platform.report", "platform.initReport", "warmstate.thaw"}:
            turn(event, "idle")
        elif name == "warmstate.freeze":
            turn(event, "frozen")
        elif name in {"warmstate.gone", "warmstate.reset"}:
            turn(event, None)
    for instance, (kind, begin, label) in open_bands.items():
        found.append(Band(instance, kind, begin, max(now, begin), label))
    return found


def squeeze(found: Sequence[Band]) -> list[Band]:
    """The same bands with every pause in which nothing worked cut to `SQUEEZED` seconds."""
    busy = sorted((band.begin, band.end) for band in found if band.kind in {"init", "running"})
    cuts = list[tuple[float, float]]()
    end = busy[0][0] if busy else 0.0
    for begin, finish in busy:
        if begin - end > SQUEEZED:
            cuts.append((end + SQUEEZED, begin))
        end = max(end, finish)
    if busy:
        cuts.append((end + SQUEEZED, float("inf")))

    def moved(at: float) -> float:
        return at - sum(max(0.0, min(at, stop) - start) for start, stop in cuts)

    return [attrs.evolve(band, begin=moved(band.begin), end=moved(band.end)) for band in found]


def timeline(options: argparse.Namespace) -> int:
    """Draw what the emulator's journal holds."""
    events = Client(options).get("/events", since=str(options.since))
    found = bands(events, time.time())
    if options.squeeze:
        found = squeeze(found)
    if options.json:
        for band in found:
            print_json({"v": 1, **attrs.asdict(band)})
    elif options.svg:
        with open(options.svg, "w", encoding="utf-8") as file:
            file.write(svg(found))
        note(options, f"drew {len(found)} bands into {options.svg}")
    else:
        print(text(found))
    return EXIT_OK


def text(found: Sequence[Band]) -> str:
    """The drawing in characters; of what falls into one cell, work wins over rest."""
    if not found:
        return "nothing happened yet"
    first, last = min(band.begin for band in found), max(band.end for band in found)
    scale = CELLS / max(last - first, 1e-9)
    order = ["idle", "frozen", "init", "running"]
    lines = list[str]()
    for instance in dict.fromkeys(band.instance for band in found):
        cells = [" "] * CELLS
        for band in sorted(
            (band for band in found if band.instance == instance), key=lambda band: order.index(band.kind)
        ):
            begin = min(int((band.begin - first) * scale), CELLS - 1)
            end = max(begin + 1, min(int((band.end - first) * scale), CELLS))
            cells[begin:end] = MARKS[band.kind] * (end - begin)
        lines.append(f"{instance:<6} {''.join(cells)}")
    legend = "  ".join(f"{mark} {kind}" for kind, mark in MARKS.items())
    return "\n".join([*lines, f"{'':<6} {duration(last - first)} in all   {legend}"])


def svg(found: Sequence[Band]) -> str:
    """The drawing as SVG, with a title on every band."""
    first = min((band.begin for band in found), default=0.0)
    last = max((band.end for band in found), default=1.0)
    width, row, left = 1000, 28, 60
    scale = width / max(last - first, 1e-9)
    instances = list(dict.fromkeys(band.instance for band in found))
    height = row * len(instances) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + left + 20} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width + left + 20}" height="{height}" fill="#ffffff"/>',
    ]
    for number, instance in enumerate(instances):
        parts.append(f'<text x="8" y="{number * row + 24}">{html.escape(instance)}</text>')
    for band in found:
        x, wide = left + (band.begin - first) * scale, max(1.0, (band.end - band.begin) * scale)
        y = instances.index(band.instance) * row + 10
        title = html.escape(f"{band.kind} {band.label} {duration(band.end - band.begin)}")
        parts.append(
            f'<rect x="{x:.2f}" y="{y}" width="{wide:.2f}" height="20" fill="{COLOURS[band.kind]}"><title>{title}</title></rect>'
        )
    for number, kind in enumerate(COLOURS):
        x = left + number * 110
        parts.append(f'<rect x="{x}" y="{height - 20}" width="12" height="12" fill="{COLOURS[kind]}"/>')
        parts.append(f'<text x="{x + 18}" y="{height - 10}">{kind}</text>')
    parts.append(f'<text x="{left + width}" y="{height - 10}" text-anchor="end">{duration(last - first)}</text>')
    return "\n".join([*parts, "</svg>", ""])
