"""What came of one scenario with one system, and whether that is as good as it has to be."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from platform_simulator import CHECK_PATH
from platform_simulator.credentials import KINDS
from token_refresher.domain.policy import Policy

from .place import opened
from .scenario import Scenario
from .stage import Stage
from .systems import SYSTEMS
from .timeline import Held, Timeline, as_plain, refused_stretches

# What work on a busy machine may add to a measured time (seconds); small beside the 60 between two runs.
_WORK_S = 5.0


@dataclass(frozen=True)
class Result:
    """The measures. Seconds (virtual, except `took_s`) count for both kinds together, and so do fetches.

    `ideal` is how many fetches the life of a credential and the system's margin need over that time. `heal_s` None:
    never. `calm_runs`: runs that ended well although readers found no credential after it. `unfinished`: faults that
    never came or never ended. `foreign`: fetches by others.
    """

    scenario: str
    system: str
    seed: int
    duration_s: float
    refused_s: float
    none_s: float
    unreadable_s: float
    reads: int
    refused_reads: int
    fetches: int
    ideal: int
    foreign: int
    questions: int
    runs: int
    failed_runs: int
    heal_s: float | None
    took_s: float
    calm_runs: int = 0
    refused: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    timeline: dict[str, Any] = field(default_factory=dict)

    @property
    def extra(self) -> int:
        """Fetches beyond the ideal number."""
        return max(0, self.fetches - self.ideal)

    def as_plain(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"extra": self.extra}


def play(scenario: Scenario, system: str, seed: int) -> Result:
    """Play a scenario with "ours" or "baseline"."""
    began = time.monotonic()
    with opened(scenario.place(**scenario.policy)) as place:
        stage = Stage(scenario, SYSTEMS[system](place, scenario.policy), place, seed)
        timeline = stage.play()
        return measured(stage, timeline, system, seed, time.monotonic() - began)


def measured(stage: Stage, timeline: Timeline, system: str, seed: int, took_s: float) -> Result:
    """The measures of what was played."""
    duration_s = stage.scenario.duration_s
    fetches = sum(each.ours for each in timeline.fetches)
    return Result(
        scenario=stage.scenario.name,
        system=system,
        seed=seed,
        duration_s=duration_s,
        refused_s=round(timeline.seconds(Held.REFUSED), 1),
        none_s=round(timeline.seconds(Held.NONE), 1),
        unreadable_s=round(timeline.seconds(Held.UNREADABLE), 1),
        reads=len(timeline.looks) * len(KINDS),
        refused_reads=timeline.count(Held.REFUSED),
        fetches=fetches,
        ideal=stage.place.apps * ideal_fetches(duration_s, Policy.lifetime_s, stage.system.margin_s),
        foreign=len(timeline.fetches) - fetches,
        questions=stage.simulator.count(CHECK_PATH),
        runs=stage.runs,
        failed_runs=stage.failed_runs,
        heal_s=timeline.heal_s(),
        took_s=round(took_s, 1),
        calm_runs=stage.calm_runs,
        refused=tuple(refused_stretches(timeline)),
        unfinished=tuple(stage.unfinished()),
        timeline=as_plain(timeline),
    )


def ideal_fetches(duration_s: float, lifetime_s: float, margin_s: float) -> int:
    """For each kind one at the beginning, and one whenever the margin of the last begins."""
    return len(KINDS) * math.ceil(duration_s / (lifetime_s - margin_s))


def broken(scenario: Scenario, result: Result) -> list[str]:
    """Every way in which our system did not keep what the scenario promises, as sentences.

    Bounds in seconds are of virtual time; what work takes on this machine comes on top, except to a bound of 0.
    """
    bounds = scenario.bounds
    found = [f"the fault {name!r} never came or never ended" for name in result.unfinished]
    healed = "not healed at the end" if result.heal_s is None else f"healed only after {result.heal_s:g} s"
    heal_s = math.inf if result.heal_s is None else result.heal_s
    checks: Sequence[tuple[float, float | None, float, str]] = (
        (result.refused_s, bounds.refused_s, _WORK_S, f"{result.refused_s:g} s with a refused credential"),
        (result.none_s, bounds.none_s, _WORK_S, f"{result.none_s:g} s without a credential"),
        (result.extra, bounds.fetches, 0, f"{result.extra} fetches beyond the ideal {result.ideal}"),
        (result.questions, bounds.questions, 0, f"{result.questions} questions"),
        (result.failed_runs, bounds.failed_runs, 0, f"{result.failed_runs} failed runs"),
        (result.calm_runs, bounds.calm_runs, 0, f"{result.calm_runs} runs that called a missing credential well"),
        (heal_s, bounds.heal_s, _WORK_S, healed),
    )
    found += [
        f"{told}, {bound:g} are allowed"
        for value, bound, work, told in checks
        if bound is not None and value > (bound and bound + work)
    ]
    if scenario.inside and bounds.refused_s != 0:
        found.append("inside the assumptions no second with a refused credential may be allowed")
    return found + [each for each in result.refused if bounds.refused_s == 0]
