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
COLOURS = ("#0969da", "#8250df", "#cf222e", "#bf8700", "#1a7f37", "#bc4c00", "#57606a", "#0550ae")


def chart(title: str, x_name: str, y_name: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draws each line through its `(x, y)` points, named at its right end; both axes are logarithmic."""
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
    for power in range(round(math.log10(y_low)), round(math.log10(y_high)) + 1):
        y = down(10**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de" stroke-width="1"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#57606a">{_short(10**power)}</text>'
        )
    for x in sorted({x for x, _ in points}):
        parts.append(f'<path d="M{across(x):.1f} {HEIGHT - BOTTOM}v5" stroke="#57606a"/>')
        parts.append(
            f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#57606a">{_short(x)}</text>'
        )
    names = _apart({name: down(line[-1][1]) for name, line in lines.items()})
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        path = "L".join(f"{across(x):.1f} {down(y):.1f}" for x, y in line)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-linejoin="round"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in line]
        end = across(line[-1][0])
        parts.append(f'<text x="{end + 10:.1f}" y="{names[name] + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _apart(wanted: Mapping[str, float]) -> dict[str, float]:
    """Moves names that would overlap down until each has a line of its own."""
    placed: dict[str, float] = {}
    free = -math.inf
    for name, y in sorted(wanted.items(), key=lambda item: item[1]):
        placed[name] = max(y, free)
        free = placed[name] + 15
    return placed


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
