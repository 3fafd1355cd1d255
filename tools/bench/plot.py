"""The growth of a run with the number of applications, both axes logarithmic, as SVG written by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Curve = Sequence[tuple[int, float, bool]]

_WIDTH, _HEIGHT = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 40, 50
# Readable in print and for those who cannot tell red from green.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def draw(curves: Mapping[str, Curve]) -> str:
    """The picture. Points are (applications, seconds, whether it was measured): what was not is hollow."""
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    across = _decades([float(apps) for apps, _, _ in points])
    up = _decades([seconds for _, seconds, _ in points])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">Seconds of one run against the number of applications</text>',
        *_axes(across, up),
    ]
    for index, (name, curve) in enumerate(sorted(curves.items())):
        parts += _curve(name, sorted(curve), _COLOURS[index % len(_COLOURS)], index, across, up)
    hint = "hollow: by proportion"
    parts.append(f'<text x="{_WIDTH - _RIGHT + 14}" y="{_TOP + 24 * len(curves) + 8}" fill="#555">{hint}</text>')
    return "\n".join([*parts, "</svg>", ""])


def write(curves: Mapping[str, Curve], path: Path) -> None:
    """Write it, unless there is nothing to draw."""
    picture = draw(curves)
    if picture:
        path.write_text(picture)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _x(apps: float, across: tuple[int, int]) -> float:
    share = (math.log10(apps) - across[0]) / (across[1] - across[0])
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(seconds: float, up: tuple[int, int]) -> float:
    share = (math.log10(seconds) - up[0]) / (up[1] - up[0])
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _axes(across: tuple[int, int], up: tuple[int, int]) -> list[str]:
    found = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for power in range(across[0], across[1] + 1):
        x = _x(10.0**power, across)
        found.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>')
        found.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in range(up[0], up[1] + 1):
        y = _y(10.0**power, up)
        label = f"{10**power} s" if power >= 0 else f"{10 ** (power + 3):g} ms"
        found.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        found.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (_LEFT + right) / 2
    found.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">applications</text>')
    return found


def _curve(name: str, curve: Curve, colour: str, index: int, across: tuple[int, int], up: tuple[int, int]) -> list[str]:
    places = [(_x(apps, across), _y(seconds, up), measured) for apps, seconds, measured in curve]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    found = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, y, measured in places:
        fill = colour if measured else "white"
        found.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}" stroke-width="2"/>')
    left, y = _WIDTH - _RIGHT + 14, _TOP + 24 * index
    found.append(f'<line x1="{left}" y1="{y}" x2="{left + 22}" y2="{y}" stroke="{colour}" stroke-width="3"/>')
    found.append(f'<text x="{left + 28}" y="{y + 4}">{escape(name)}</text>')
    return found
