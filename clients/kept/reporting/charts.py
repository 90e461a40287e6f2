"""Plots as SVG text: columns by day, bars by name, shares with their intervals. Each carries its numbers as titles, and a table stands
beside it, for a plot alone is no evidence.

A few shapes, so that a command needs no plotting library of a hundred megabytes.
"""

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 720
_COLOURS: Final = ("#1b6ca8", "#c2571a", "#6b6b6b")  # told apart in print and by most who see few colours
_ROW: Final = 22
_LABELS: Final = 190


class Point(NamedTuple):
    """A share with its interval. group: which colour, from 0."""

    label: str
    value: float
    low: float
    high: float
    group: int = 0


def columns(title: str, labels: Sequence[str], values: Sequence[int], *, group: int = 0) -> str:
    """A column for each label. The scale begins at 0 and ends with the largest."""
    height, top, bottom = 180, 24, 20
    most = max([*values, 1])
    step = (_WIDTH - 60) / max(len(values), 1)
    room = height - top - bottom
    shapes = [_text(0, 14, title, bold=True), _text(50, top + 8, f"{most:,}", end=True)]
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        tall = room * value / most
        left = 60 + place * step
        shapes.append(
            f'<rect x="{left:.1f}" y="{height - bottom - tall:.1f}" width="{step * 0.8:.1f}" height="{tall:.1f}" '
            f'fill="{_COLOURS[group]}"><title>{escape(label)}: {value:,}</title></rect>'
        )
        if place % max(1, len(labels) // 8) == 0:
            shapes.append(_text(left, height - 5, label))
    shapes.append(f'<path d="M56 {height - bottom}H{_WIDTH}" stroke="#999"/>')
    return _svg(height, title, shapes)


def bars(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """A bar for each row, with its number."""
    height = 28 + _ROW * len(rows)
    most = max([value for _, value in rows] + [1])
    shapes = [_text(0, 14, title, bold=True)]
    for place, (label, value) in enumerate(rows):
        y = 26 + place * _ROW
        long = (_WIDTH - _LABELS - 80) * value / most
        shapes += [
            _text(_LABELS - 8, y + 12, label, end=True),
            f'<rect x="{_LABELS}" y="{y}" width="{long:.1f}" height="15" fill="{_COLOURS[0]}"/>',
            _text(_LABELS + long + 6, y + 12, f"{value:,}"),
        ]
    return _svg(height, title, shapes)


def intervals(title: str, points: Sequence[Point], groups: Sequence[str] = ()) -> str:
    """A dot for each share with its interval, on a scale from 0 to 1. groups: what the colours mean."""
    height = 60 + _ROW * len(points)
    left, right = _LABELS, _WIDTH - 20

    def place(share: float) -> float:
        return left + (right - left) * min(max(share, 0.0), 1.0)

    shapes = [_text(0, 14, title, bold=True)]
    for number, name in enumerate(groups):
        shapes.append(_text(left + 200 * number, 14, "● " + name, colour=_COLOURS[number]))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = place(share)
        shapes += [
            f'<path d="M{x:.1f} 26V{height - 22}" stroke="#ddd"/>',
            _text(x - 10, height - 6, f"{share:g}"),
        ]
    for number, point in enumerate(points):
        y, colour = 38 + number * _ROW, _COLOURS[point.group]
        told = f"{point.label}: {point.value:.3f} ({point.low:.3f} to {point.high:.3f})"
        shapes += [
            _text(left - 8, y + 4, point.label, end=True),
            f'<path d="M{place(point.low):.1f} {y}H{place(point.high):.1f}" stroke="{colour}" stroke-width="2"/>',
            f'<circle cx="{place(point.value):.1f}" cy="{y}" r="4" fill="{colour}"><title>{escape(told)}</title></circle>',
        ]
    return _svg(height, title, shapes)


def _text(
    x: float, y: float, text: str, *, end: bool = False, bold: bool = False, colour: str = "#222"
) -> str:
    anchor = ' text-anchor="end"' if end else ""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{anchor}{weight}>{escape(text)}</text>'


def _svg(height: int, title: str, shapes: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'font-family="sans-serif" font-size="12">{"".join(shapes)}</svg>'
    )
