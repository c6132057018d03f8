"""Line charts with logarithmic axes, drawn as SVG with nothing but text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["chart"]

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 232, 48, 48
WARM, OTHERS = ("#1a7f37", "#0969da", "#8250df"), ("#cf222e", "#bc4c00", "#bf8700", "#953800", "#6e7781", "#424a53")
LINE = 15


def chart(title: str, x_name: str, y_name: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """
    Draws each line through its `(x, y)` points, named at its right end; both axes are logarithmic.

    Lines whose names begin with "warm" are drawn strong, in colours of their own.
    """
    points = [point for line in lines.values() for point in line]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low = 10 ** math.floor(math.log10(min(y for _, y in points)))
    y_high = 10 ** math.ceil(math.log10(max(y for _, y in points)))

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / x_low) / math.log(x_high / x_low)

    def down(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - math.log(y / y_low) / math.log(y_high / y_low))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600" fill="#1f2328">{escape(title)}</text>',
        f'<text x="{LEFT}" y="{TOP - 8}" fill="#57606a">{escape(y_name)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle" fill="#57606a">{escape(x_name)}</text>',
    ]
    powers = range(round(math.log10(y_low)), round(math.log10(y_high)) + 1)
    steps = (1, 2, 5) if len(powers) == 2 else (1,)
    for tick in (step * 10**power for power in powers for step in steps if step * 10**power <= y_high):
        y = down(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de" stroke-width="1"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#57606a">{_short(tick)}</text>')
    for x in sorted({x for x, _ in points}):
        parts.append(f'<path d="M{across(x):.1f} {HEIGHT - BOTTOM}v5" stroke="#57606a"/>')
        parts.append(
            f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#57606a">{_short(x)}</text>'
        )
    names = _apart({name: down(line[-1][1]) for name, line in lines.items()}, HEIGHT - BOTTOM)
    warm, others = iter(WARM), iter(OTHERS)
    for name, line in lines.items():
        colour, width = (next(warm), 3) if name.startswith("warm") else (next(others), 1.5)
        path = "L".join(f"{across(x):.1f} {down(y):.1f}" for x, y in line)
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>'
        )
        parts += [f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="{width + 1}" fill="{colour}"/>' for x, y in line]
        end = across(line[-1][0])
        parts.append(f'<text x="{end + 12:.1f}" y="{names[name] + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _apart(wanted: Mapping[str, float], lowest: float) -> dict[str, float]:
    """Moves names that would overlap apart, each to a line of its own, none of them below `lowest`."""
    names = sorted(wanted, key=wanted.__getitem__)
    placed: dict[str, float] = {}
    free = -math.inf
    for name in names:
        placed[name] = max(wanted[name], free)
        free = placed[name] + LINE
    for name in reversed(names):
        placed[name] = min(placed[name], lowest)
        lowest = placed[name] - LINE
    return placed


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
