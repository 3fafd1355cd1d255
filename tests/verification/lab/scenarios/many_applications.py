"""Many applications, little time or few requests: what endangers a reader soonest comes first."""

from __future__ import annotations

from typing import ClassVar, Literal

from platform_simulator import CHECK_PATH, Fault
from verification.lab.filled_places import (
    LastOnesUrgent,
    SixtyLimited,
    SixtyLimitedByDate,
    SixtyLimitedSilently,
    SixtyQuestionsLimited,
)
from verification.lab.place import Place, TwoDeployments
from verification.lab.scenario import HOUR_S, MINUTE_S, At, Bounds, Due, Scenario
from verification.lab.troubles import EVERYTHING, FETCHES, Answers

_SILENT_S = 10 * MINUTE_S
_HASTE = {"request_total_s": 0.3, "work_s": 1, "redis_timeout_s": 0.5, "concurrency": 8}
_SILENT = Fault.no_answer(executed=True)
_SLOW = Fault.latency(0.25)
_THREE_HOURS = 3 * HOUR_S


class CheckCodeSilent(LastOnesUrgent):
    """checkCode does not answer from the first run on."""

    fault: ClassVar[Fault] = _SILENT

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        self.simulator.script(CHECK_PATH, self.fault, times=None)


class CheckCodeSlow(CheckCodeSilent):
    """checkCode takes its time from the first run on."""

    fault: ClassVar[Fault] = _SLOW


class TwoAMinute(Place):
    """The platform serves each application two requests a minute."""

    requests = 2

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        self.simulator.limit(self.app_id, self.requests)


class OneAMinute(TwoAMinute):
    """The platform serves each application one request a minute."""

    requests = 1


class Twice(Place):
    """A gateway before the platform sends each fetch twice; the answer to the first one comes back."""

    answers: Literal["first", "last"] = "first"

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        for path in FETCHES:
            self.simulator.script(path, Fault.twice(self.answers), times=None)


class TwiceLast(Twice):
    """The answer to the last one comes back."""

    answers = "last"


class _NoDate(Place):
    """The platform's answers say no time."""

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        self.simulator.date_offset_s = None


class NoDateBehind(_NoDate):
    """The platform's clock is 65 s behind, which its answers do not say."""

    platform_ahead_s = -65.0


class NoDateFarBehind(_NoDate):
    """The platform's clock is ten minutes behind, which its answers do not say."""

    platform_ahead_s = -600.0


class NoDateAhead(_NoDate):
    """The platform's clock is 65 s ahead, which its answers do not say."""

    platform_ahead_s = 65.0


def _urgent(name: str, place: type[CheckCodeSilent]) -> Scenario:
    return Scenario(
        name=f"many applications: checkCode {name}, the last ten are due",
        sentence=f"Of 60 applications the last ten have 400 s left; checkCode is {name}, and a run has little time.",
        duration_s=15 * MINUTE_S,
        troubles=(
            Answers(start=At(0.001), lasting_s=_SILENT_S, faults=(place.fault,), paths=(CHECK_PATH,), label=name),
        ),
        policy=_HASTE,
        bounds=Bounds(fetches=None, heal_s=None),
        baseline=False,
        place=place,
    )


_LIMITED = Fault.status(429, b"too many requests", {"Retry-After": "30"})


def _limited(name: str, paths: tuple[str, ...], minutes: float, fault: Fault = _LIMITED) -> Scenario:
    return Scenario(
        name=f"many applications: {name}",
        sentence=f"For {minutes:g} minutes, from when a fetch is due, {name}.",
        duration_s=170 * MINUTE_S,
        troubles=(Answers(start=Due(), lasting_s=minutes * MINUTE_S, faults=(fault,), paths=paths, label="limited"),),
        bounds=Bounds(heal_s=400),
        baseline=False,
    )


def _thirty(name: str, place: type[Place], hours: float) -> Scenario:
    return Scenario(
        name=f"many applications: 30 requests a minute, {name}",
        sentence=f"The platform serves 30 requests a minute to sixty applications, {name}.",
        duration_s=hours * HOUR_S,
        policy={"concurrency": 8},
        # To fetch all takes four minutes at that rate. Where one waits, the lab's time moves on for a request that is
        # under way: it may have no answer in time, and is sent again two minutes and a tick later. The limit is just
        # enough to ask about each credential every four minutes.
        bounds=Bounds(none_s=2 * 600, fetches=4, heal_s=None, questions=int(120 * 20 * hours)),
        baseline=False,
        place=place,
    )


def _few(words: str, place: type[Place], bounds: Bounds) -> Scenario:
    return Scenario(
        name=f"many applications: one alone has {words}",
        sentence=f"The platform serves an application {words}: fetches come before questions.",
        duration_s=_THREE_HOURS,
        bounds=bounds,
        baseline=False,
        place=place,
    )


def _superseded(name: str, place: type[Place], fetches: int) -> Scenario:
    return Scenario(
        name=f"superseded for ever: {name}",
        sentence=f"For three hours each credential looks superseded: {name}.",
        duration_s=_THREE_HOURS,
        bounds=Bounds(fetches=fetches, heal_s=None),
        baseline=False,
        place=place,
    )


SCENARIOS = (
    _urgent("silent", CheckCodeSilent),
    _urgent("slow", CheckCodeSlow),
    _limited("each request is answered with 429", EVERYTHING, 20),
    _limited("each fetch is answered with 429", FETCHES, 20),
    _limited("each question is answered with 429", (CHECK_PATH,), 60),
    _limited("each request is answered with 429 and no more", EVERYTHING, 20, Fault.status(429)),
    *(
        _limited(f"each request is answered with {words}", EVERYTHING, 20, fault)
        for words, fault in {
            "429, to come again in a day": Fault.status(429, b"slow down", {"Retry-After": "86400"}),
            "429 and garbage": Fault.status(429, b"{}", {"Retry-After": "soon"}),
            "503, to come again in two minutes": Fault.status(503, b"", {"Retry-After": "120"}),
            "403 and a page": Fault.status(403, b"<html>Forbidden</html>"),
            "404 and a page": Fault.status(404, b"<html>Not found</html>"),
        }.items()
    ),
    _few("two requests a minute", TwoAMinute, Bounds(none_s=0, heal_s=None)),
    _few("one request a minute", OneAMinute, Bounds(none_s=300, heal_s=None)),
    _thirty("which it says in seconds", SixtyLimited, 0.5),
    *(
        _thirty(name, place, 2.5)
        for name, place in {
            "in seconds, over a renewal": SixtyLimited,
            "as a date": SixtyLimitedByDate,
            "without a word": SixtyLimitedSilently,
            "of checkCode only": SixtyQuestionsLimited,
        }.items()
    ),
    _superseded("the platform's clock is 65 s behind, without a Date", NoDateBehind, 10),
    _superseded("the platform's clock is 10 min behind, without a Date", NoDateFarBehind, 10),
    _superseded("the platform's clock is 65 s ahead, without a Date", NoDateAhead, 10),
    # Each credential is superseded at its issue and lives ten minutes, of which seven are used. Two of each fetch
    # count.
    _superseded("a gateway sends each fetch twice, the first answer counts", Twice, 110),
    _superseded("a gateway sends each fetch twice, the last answer counts", TwiceLast, 20),
    # A credential of the other ends the own one ten minutes later: that often each has to fetch, and no more.
    _superseded("two prefixes on one application", TwoDeployments, 60),
)
