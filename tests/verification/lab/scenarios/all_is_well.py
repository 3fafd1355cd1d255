"""What a run says of itself: a missing credential is never well, and a fresh one raises no alarm."""

from __future__ import annotations

from dataclasses import replace

from platform_simulator import Fault
from verification.lab.filled_places import ShortLives
from verification.lab.held import HeldRun
from verification.lab.redis_troubles import Flushed
from verification.lab.scenario import HOUR_S, MINUTE_S, At, Bounds, Scenario, Trouble
from verification.lab.troubles import EVERYTHING, FETCHES, Answers, Timer

_AT = At(30 * MINUTE_S + 10)
_JUST_BEFORE = At(30 * MINUTE_S + 9)
_LASTING_S = 15 * MINUTE_S


def _scenario(name: str, sentence: str, *troubles: Trouble, **more: object) -> Scenario:
    base = Scenario(
        name=f"all is well: {name}",
        sentence=f"Redis is emptied, and {sentence}: each run says that credentials are missing.",
        duration_s=75 * MINUTE_S,
        troubles=(*troubles, Flushed(start=_AT)),
        bounds=Bounds(none_s=2 * (_LASTING_S + 400), fetches=None, heal_s=400, calm_runs=0),
        baseline=False,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def _instead(name: str, fault: Fault, paths: tuple[str, ...] = EVERYTHING) -> Scenario:
    return _scenario(
        f"{name} instead of the platform",
        f"for a quarter of an hour there is {name} instead of the platform",
        Answers(start=_JUST_BEFORE, lasting_s=_LASTING_S, faults=(fault,), paths=paths, label=name),
        # The second run comes while the first one's lease may still be held.
        Timer(start=_JUST_BEFORE, lasting_s=_LASTING_S, how="doubled"),
    )


SCENARIOS = (
    _instead("an error page", Fault.html()),
    _instead("an error page for fetches", Fault.html(), FETCHES),
    _instead("an error page after execution", Fault.html(executed=True)),
    _instead("a cut connection", Fault.cut(executed=False)),
    _instead("HTTP 500", Fault.status(500)),
    _instead("status 4000", Fault.platform_status(4000, "try again later")),
    *(
        _scenario(
            f"a run killed {point}",
            f"a run is killed {point}",
            HeldRun(start=_JUST_BEFORE, point=point),
            # The killed run itself says nothing.
            bounds=Bounds(none_s=2 * (_LASTING_S + 400), fetches=None, heal_s=400, calm_runs=1),
        )
        for point in ("after its lease", "after send")
    ),
    Scenario(
        name="all is well: the platform issues 300 s",
        sentence="The platform issues credentials that live for 300 s: margin and alarm go by that life.",
        duration_s=HOUR_S,
        bounds=Bounds(fetches=2 * 20, heal_s=None, failed_runs=0),
        baseline=False,
        outside="the platform issues credentials for two hours",
        place=ShortLives,
    ),
)
