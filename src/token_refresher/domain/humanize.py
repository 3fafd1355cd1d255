"""Durations, instants and plurals, as every output for people says them. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple

# Beyond this no calendar of Python's goes; a value in Redis may hold anything.
_LAST_INSTANT = 253402300799


class Instant(NamedTuple):
    """An instant for a `<time>` element: `machine` for programs, `clock` for people (UTC), `relation` to now."""

    machine: str
    clock: str
    relation: str


def duration(seconds: float) -> str:
    """A duration in at most two units, rounded down: "1 h 59 min", "12 min", "4 min 30 s", "45 s"."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d"
    if hours:
        return f"{hours} h {minutes_left:02} min"
    if minutes >= 10:
        return f"{minutes} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def instant(at: int, now: int) -> Instant:
    """The instant `at` (unix seconds) as seen at `now`; in UTC, because it may be read anywhere."""
    moment = datetime.fromtimestamp(min(max(at, 0), _LAST_INSTANT), timezone.utc)
    today = datetime.fromtimestamp(min(max(now, 0), _LAST_INSTANT), timezone.utc).date() == moment.date()
    clock = moment.strftime("%H:%M:%S UTC" if today else "%Y-%m-%d %H:%M UTC")
    relation = f"in {duration(at - now)}" if at > now else f"{duration(now - at)} ago"
    return Instant(moment.strftime("%Y-%m-%dT%H:%M:%SZ"), clock, relation)


def counted(number: int, one: str, many: str = "") -> str:
    """ "1 failure", "2 failures"; `many` (str) where an s does not make the plural."""
    return f"{number} {one if number == 1 else many or one + 's'}"
