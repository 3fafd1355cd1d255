"""A target's last hours as the lines of a small chart. Pure; it gives numbers, the template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from token_refresher.domain.humanize import counted, duration
from token_refresher.domain.policy import Policy
from token_refresher.web.history import Sample

WIDTH, HEIGHT = 240, 40
# Charts begin at the oldest sample, but at one of these (hours), so that they all share a scale that has a name.
_SPANS_H = (1, 3, 6, 12, 24)
_HOUR_S = 3600
# More marks than this cannot be told apart in the width of a chart.
_MARKS = 60
_OTHERS = ("SUPERSEDED", "REFUSED")


class Chart(NamedTuple):
    """`line` and `area` are paths; `failures`, `others` where marks stand (x); `margin_y`, `grace_y` where lines lie.

    `description` says the same in words.
    """

    line: str
    area: str
    failures: tuple[float, ...]
    others: tuple[float, ...]
    margin_y: float
    grace_y: float
    description: str


def common_span_s(oldest_at: int, now: int) -> int:
    """How much time the charts show (duration): the shortest span that holds the oldest sample, at most a day."""
    age_s = now - oldest_at
    return next((hours for hours in _SPANS_H if age_s <= hours * _HOUR_S), _SPANS_H[-1]) * _HOUR_S


def chart(
    samples: Sequence[Sample], now: int, width_s: int, policy: Policy, life_s: float = 0, margin_s: float = 0
) -> Chart | None:
    """The chart of `width_s` until `now` (unix seconds); None when there is nothing to show.

    Life and margin are those of the credential, where they are known.
    """
    shown = [each for each in samples if 0 <= now - each.at <= width_s]
    if not shown:
        return None
    scale = _Scale(now, width_s, life_s or policy.lifetime_s)
    corners = _thinned(_corners(shown, now, scale))
    line = "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)
    failed = [each for each in shown if each.error]
    others = [each for each in shown if each.reason in _OTHERS]
    return Chart(
        line=line,
        area=f"{line}L{corners[-1][0]:g} {HEIGHT}L{corners[0][0]:g} {HEIGHT}Z",
        failures=_marks(failed, scale),
        others=_marks(others, scale),
        margin_y=scale.y(margin_s or policy.margin_s),
        grace_y=scale.y(policy.grace_s),
        description=_described(shown, now, len(failed), len(others)),
    )


class _Scale(NamedTuple):
    now: int
    width_s: int
    lifetime_s: float

    def x(self, at: float) -> float:
        return round(WIDTH * (1 - (self.now - at) / self.width_s), 1)

    def y(self, left_s: float) -> float:
        part = min(1.0, max(0.0, left_s / self.lifetime_s))
        return round(HEIGHT - 1 - (HEIGHT - 2) * part, 1)


def _corners(samples: Sequence[Sample], now: int, scale: _Scale) -> list[tuple[float, float]]:
    """Between two samples a credential has only aged: its time falls by a second each second, then jumps."""
    corners: list[tuple[float, float]] = []
    before: Sample | None = None
    for sample in samples:
        if before is not None:
            corners += _fallen(before, sample.at, scale)
        corners.append((scale.x(sample.at), scale.y(sample.seconds_left)))
        before = sample
    return corners + (_fallen(before, now, scale) if before else [])


def _fallen(sample: Sample, until: int, scale: _Scale) -> list[tuple[float, float]]:
    gone_at = sample.at + sample.seconds_left
    if gone_at <= until:
        return [(scale.x(gone_at), scale.y(0)), (scale.x(until), scale.y(0))]
    return [(scale.x(until), scale.y(gone_at - until))]


def _thinned(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same line without the corners that lie on it."""
    kept: list[tuple[float, float]] = []
    for corner in corners:
        if kept and kept[-1] == corner:
            continue
        while len(kept) >= 2 and _on_the_way(kept[-2], kept[-1], corner):
            kept.pop()
        kept.append(corner)
    return kept


def _on_the_way(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    if a[0] == c[0]:
        return min(a[1], c[1]) <= b[1] <= max(a[1], c[1]) and a[0] == b[0]
    return a[0] < b[0] < c[0] and abs(a[1] + (c[1] - a[1]) * (b[0] - a[0]) / (c[0] - a[0]) - b[1]) < 0.25


def _marks(samples: Sequence[Sample], scale: _Scale) -> tuple[float, ...]:
    """Where marks stand, no two in one place."""
    step = WIDTH / _MARKS
    places = {round(scale.x(each.at) / step) for each in samples}
    return tuple(round(place * step, 1) for place in sorted(places))


def _described(samples: Sequence[Sample], now: int, failed: int, others: int) -> str:
    nexts = samples[1:]
    ends = [*(each.at for each in nexts), now]
    lowest = min(each.seconds_left - (end - each.at) for each, end in zip(samples, ends, strict=True))
    # A TTL that was cut and is restored is no renewal.
    renewed = sum(each.outcome == "issued" for each in samples) or sum(
        bool(after.fingerprint) and (after.fence, after.fingerprint) != (before.fence, before.fingerprint)
        for before, after in zip(samples[:-1], nexts, strict=True)
    )
    parts = [counted(renewed, "renewal")]
    parts += [counted(failed, "failure")] if failed else []
    parts += [f"refused or superseded {counted(others, 'time')}"] if others else []
    return ", ".join([*parts, f"lowest {duration(lowest)}" if lowest > 0 else "ran out"])
