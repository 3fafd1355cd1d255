"""The timeline of one scenario as SVG written by hand: what readers held, fetches and faults, for both systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from .result import Result
from .scenario import Scenario
from .timeline import Held

_WIDTH, _LEFT, _RIGHT = 960, 150, 20
_HEAD, _LANE, _GAP, _GROUP = 64, 26, 10, 34
_KINDS = ("js_ticket", "access_token")
# They differ by pattern and height as well as by colour. Each is (light, dark).
_COLOURS = {
    "accepted": ("#0072b2", "#56b4e9"),
    "refused": ("#d55e00", "#ff8c42"),
    "none": ("#ffffff", "#1b1b1b"),
    "unreadable": ("#bbbbbb", "#666666"),
    "fault": ("#f6e3a1", "#55480f"),
    "ink": ("#222222", "#e8e8e8"),
    "paper": ("#ffffff", "#121212"),
    "rule": ("#dddddd", "#3a3a3a"),
}
# What the picture calls each state of what readers hold.
_WORDS = {
    Held.ACCEPTED.value: "accepted",
    Held.REFUSED.value: "rejected",
    Held.NONE.value: "no credential",
    Held.UNREADABLE.value: "Redis silent",
}
# What the picture calls each system.
_NAMES = {"ours": "token refresher", "baseline": "cron job"}
# About so many marks fit on the time axis.
_MARKS = 10
_STEPS_S = (300, 600, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400)


def draw(scenario: Scenario, results: Sequence[Result]) -> str:
    """The picture of what was played; one group of lanes for each result."""
    group = _GROUP + len(_KINDS) * (_LANE + _GAP)
    height = _HEAD + group * len(results) + 70
    title, description = escape(scenario.name), escape(_description(scenario, results))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12" role="img" aria-labelledby="title desc">',
        f'<title id="title">{title}</title>',
        f'<desc id="desc">{description}</desc>',
        _STYLE,
        '<rect class="paper" width="100%" height="100%"/>',
        f'<text class="ink" x="16" y="26" font-size="16">{title}</text>',
        f'<text class="ink" x="16" y="46">{escape(scenario.sentence)}</text>',
    ]
    parts += _axis(scenario.duration_s, _HEAD, _HEAD + group * len(results))
    for number, result in enumerate(results):
        parts += _group(result, scenario.duration_s, _HEAD + group * number)
    parts += _legend(height - 14)
    return "\n".join([*parts, "</svg>", ""])


def _style() -> str:
    def rules(which: int) -> str:
        fills = [f".{name}{{fill:{colours[which]}}}" for name, colours in _COLOURS.items()]
        lines = [f".line{{stroke:{_COLOURS['ink'][which]}}}", f".rule{{stroke:{_COLOURS['rule'][which]};fill:none}}"]
        return "".join([*fills, *lines])

    dark = f"@media (prefers-color-scheme: dark){{{rules(1)}}}"
    hatch = (
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="refused" width="6" height="6"/><rect class="paper" width="1.5" height="6"/></pattern></defs>'
    )
    return f"<style>{rules(0)}{dark}</style>{hatch}"


_STYLE = _style()


def _description(scenario: Scenario, results: Sequence[Result]) -> str:
    """What the picture shows, for those who do not see it."""
    found = [scenario.sentence]
    for result in results:
        healed = "never recovered" if result.heal_s is None else f"recovered {result.heal_s:.0f} s after the last fault"
        found.append(
            f"{_name(result)}: {result.refused_s:.0f} s with a rejected credential, {result.none_s:.0f} s without one, "
            f"{result.fetches} fetches where {result.ideal} are needed, {healed}."
        )
    return " ".join(found)


def _name(result: Result) -> str:
    return _NAMES.get(result.system, result.system)


def _x(at_s: float, duration_s: float) -> float:
    return _LEFT + at_s / duration_s * (_WIDTH - _LEFT - _RIGHT)


def _axis(duration_s: float, top: float, bottom: float) -> list[str]:
    step_s = next((step for step in _STEPS_S if duration_s / step <= _MARKS), _STEPS_S[-1])
    found = []
    for number in range(math.floor(duration_s / step_s) + 1):
        at_s = number * step_s
        x, label = _x(at_s, duration_s), f"{at_s // 3600}:{at_s % 3600 // 60:02}"
        found.append(f'<line class="rule" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
        found.append(f'<text class="ink" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{label}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    found.append(f'<text class="ink" x="{middle:.0f}" y="{bottom + 32}" text-anchor="middle">virtual hours</text>')
    return found


def _group(result: Result, duration_s: float, top: float) -> list[str]:
    found = []
    bottom = top + _GROUP + len(_KINDS) * (_LANE + _GAP) - _GAP
    # Long ones first, and see-through, so that they hide no short one.
    for begin_s, end_s, name in sorted(result.timeline["faults"], key=lambda band: band[0] - band[1]):
        x, wide = _x(begin_s, duration_s), max(2.0, _x(end_s, duration_s) - _x(begin_s, duration_s))
        found.append(
            f'<rect class="fault" fill-opacity="0.6" x="{x:.1f}" y="{top + 16}" width="{wide:.1f}" '
            f'height="{bottom - top - 16:.0f}">'
            f"<title>{escape(name)}, {_clock(begin_s)} to {_clock(end_s)}</title></rect>"
        )
    found.append(f'<text class="ink" x="16" y="{top + 28}" font-weight="bold">{escape(_name(result))}</text>')
    for number, kind in enumerate(_KINDS):
        y = top + _GROUP + number * (_LANE + _GAP)
        found.append(f'<text class="ink" x="16" y="{y + 17:.0f}">{kind}</text>')
        found += _lane(result.timeline["stretches"][kind], duration_s, y)
        found += _fetches(result.timeline["fetches"], kind, duration_s, y)
    return found


def _lane(stretches: Sequence[Any], duration_s: float, y: float) -> list[str]:
    found = []
    for begin_s, end_s, state in stretches:
        x, wide = _x(begin_s, duration_s), max(1.0, _x(end_s, duration_s) - _x(begin_s, duration_s))
        good = state == Held.ACCEPTED.value
        # What is wrong stands out of the lane.
        high, down = (_LANE - 12, 6) if good else (_LANE, 0)
        paint = 'fill="url(#hatch)"' if state == Held.REFUSED.value else f'class="{state}"'
        edge = ' stroke-dasharray="4 3" stroke-width="1" stroke="#888"' if state == Held.NONE.value else ""
        found.append(
            f'<rect {paint} x="{x:.1f}" y="{y + down:.0f}" width="{wide:.1f}" height="{high}"{edge}>'
            f"<title>{_WORDS[state]}, {_clock(begin_s)} to {_clock(end_s)}</title></rect>"
        )
    return found


def _fetches(fetches: Sequence[Any], wanted: str, duration_s: float, y: float) -> list[str]:
    """A triangle below the lane for each credential issued to the system, one above for another program's."""
    found = []
    for at_s, kind, own in fetches:
        if kind != wanted:
            continue
        x = _x(at_s, duration_s)
        tip, base = (y + _LANE - 7, y + _LANE + 4) if own else (y + 7, y - 4)
        who = "fetched" if own else "fetched by another program"
        found.append(
            f'<polygon class="ink" points="{x:.1f},{tip:.0f} {x - 4:.1f},{base:.0f} {x + 4:.1f},{base:.0f}">'
            f"<title>{who}, {_clock(at_s)}</title></polygon>"
        )
    return found


def _clock(at_s: float) -> str:
    seconds = round(at_s)
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"


def _legend(y: float) -> list[str]:
    found, x = [], 16
    entries = [
        ('class="accepted"', _WORDS[Held.ACCEPTED.value]),
        ('fill="url(#hatch)"', _WORDS[Held.REFUSED.value]),
        ('class="none" stroke="#888" stroke-dasharray="4 3"', _WORDS[Held.NONE.value]),
        ('class="unreadable"', _WORDS[Held.UNREADABLE.value]),
        ('class="fault"', "fault"),
    ]
    for paint, word in entries:
        found.append(f'<rect {paint} x="{x}" y="{y - 11}" width="20" height="12"/>')
        found.append(f'<text class="ink" x="{x + 26}" y="{y}">{word}</text>')
        x += 50 + 8 * len(word)
    marks = "triangle below: fetched; above: by another program"
    found.append(f'<text class="ink" x="{x}" y="{y}">{marks}</text>')
    return found
