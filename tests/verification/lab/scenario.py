"""Scenarios as data: what goes wrong, when, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .place import Place

if TYPE_CHECKING:
    from .stage import Stage

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
# How often the timer fires, where a scenario does not say.
TICK_S = 60.0


@dataclass(frozen=True)
class At:
    """At this instant (seconds since the beginning)."""

    at_s: float


@dataclass(frozen=True)
class Due:
    """Right before the first tick, not before `after_s`, at which the system under test has to fetch.

    So a fault meets every system when it hurts it, whatever its margin.
    """

    after_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A fault: when it begins and how long it lasts (seconds). What it does is the subclass's.

    A subclass with `ends_itself` tells `stage.over(self)` when it is over; the others get `end` after `lasting_s`.
    """

    ends_itself: ClassVar[bool] = False

    start: At | Due
    lasting_s: float = 0.0

    @property
    def name(self) -> str:
        """What it is called in table and timeline."""
        raise NotImplementedError

    def begin(self, stage: Stage) -> None:
        """From now on it is so."""
        raise NotImplementedError

    def end(self, stage: Stage) -> None:
        """From now on it is no more."""


@dataclass(frozen=True)
class Bounds:
    """What may come of a scenario, for our system. Seconds count for both kinds together.

    `refused_s`, `none_s`: with a refused credential, with none. `fetches`: beyond the ideal number, both kinds
    together. `heal_s`: until all is as before, after the last fault ended. `questions` to checkCode, `failed_runs` of
    all copies, `calm_runs`: runs that ended well although readers found no credential after it. None: whatever.
    """

    refused_s: float | None = 0.0
    none_s: float | None = 0.0
    fetches: int | None = 0
    heal_s: float | None = 60.0
    questions: int | None = None
    failed_runs: int | None = None
    calm_runs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One story. `outside` is empty inside the assumptions of docs/explanation/design.md, else names the broken one.

    `copies` run at every tick, as processes; with `turns` one at a tick, one after the other. `wrong_clock_s` is how
    far the last copy's clock is ahead. The timer fires every `tick_s`. `policy` are numbers by their names in Policy.
    `baseline` False: it says nothing about others. `place` makes what it plays in.
    """

    name: str
    sentence: str
    duration_s: float = 4 * HOUR_S
    troubles: tuple[Trouble, ...] = ()
    copies: int = 1
    turns: bool = False
    wrong_clock_s: float = 0.0
    tick_s: float = TICK_S
    policy: dict[str, float] = field(default_factory=dict)
    outside: str = ""
    bounds: Bounds = Bounds()
    baseline: bool = True
    place: Callable[..., Place] = Place

    @property
    def inside(self) -> bool:
        return not self.outside

    def as_plain(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "name": self.name,
            "sentence": self.sentence,
            "duration_s": self.duration_s,
            "copies": self.copies,
            "policy": dict(self.policy),
            "outside": self.outside,
            "bounds": vars(self.bounds),
        }
