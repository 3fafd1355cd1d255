"""Others who refresh, platforms that end credentials or lie about them, readers who complain, clocks that differ."""

from __future__ import annotations

from typing import ClassVar

from platform_simulator import CHECK_PATH, Fault
from platform_simulator.credentials import ACCESS_TOKEN
from verification.lab.place import Place, TwoDeployments
from verification.lab.scenario import HOUR_S, MINUTE_S, At, Bounds, Due, Scenario
from verification.lab.troubles import Answers, Complaints, Shortened, SomebodyElse

# An audit comes after at most 240 s, a tick and a run.
_AUDITED_S = 330.0
# Whatever others ended for the third time within an hour is used nearly to its end, which is the grace away.
_USED_UP_S = 600.0
_LIES = "checkCode has to tell the truth"


class Lagging(Place):
    """checkCode answers as it would have 5 s ago."""

    simulator_options: ClassVar = {"checkcode_lag_s": 5.0}


class OneCodeShortens(Place):
    """A newer access_token leaves the older one its life, as the platform promises the grace for the ticket only."""

    simulator_options: ClassVar = {"shortens_access_token": False}


class PlatformAhead(Place):
    """The platform's clock is 15 minutes ahead of Redis's."""

    platform_ahead_s = 900.0


class PlatformBehind(Place):
    """The platform's clock is 15 minutes behind Redis's."""

    platform_ahead_s = -900.0


def _somebody(name: str, sentence: str, times: int, lasting_s: float = 0, every_s: float = 60) -> Scenario:
    """`times`: how often we have to refresh because of it, for each kind."""
    return Scenario(
        name=f"somebody else refreshes {name}",
        sentence=f"Somebody else refreshes the same application {sentence}.",
        troubles=(SomebodyElse(start=At(HOUR_S + 10), lasting_s=lasting_s, every_s=every_s),),
        bounds=Bounds(fetches=2 * times, heal_s=_USED_UP_S if lasting_s else _AUDITED_S),
    )


def _shortened(left_s: float, refused_s: float, outside: str) -> Scenario:
    return Scenario(
        name=f"life cut to {left_s:g} s",
        sentence=f"The platform cuts the life of both credentials to {left_s:g} s, and tells nobody.",
        troubles=(Shortened(start=At(HOUR_S + 10), left_s=left_s),),
        outside=outside,
        bounds=Bounds(refused_s=refused_s, fetches=2, heal_s=_AUDITED_S),
    )


def _check(name: str, sentence: str, fault: Fault, fetches: int, outside: str = "", **policy: float) -> Scenario:
    return Scenario(
        name=f"checkCode {name}",
        sentence=f"For an hour, over a fetch that is due, checkCode {sentence}.",
        troubles=(
            Answers(start=At(85 * MINUTE_S), lasting_s=HOUR_S, faults=(fault,), paths=(CHECK_PATH,), label=name),
        ),
        policy=policy,
        outside=outside,
        bounds=Bounds(fetches=fetches, heal_s=_AUDITED_S),
    )


_CHECKS = (
    _check("answers HTTP 500", "answers HTTP 500", Fault.status(500), 0, _LIES),
    _check("answers HTML", "answers a page", Fault.html(), 0, _LIES),
    _check("does not answer", "does not answer", Fault.no_answer(executed=True), 0, _LIES, request_total_s=0.2),
    _check("is slow", "takes its time, but answers", Fault.latency(0.1), 0),
    _check("says yes to everything", "calls every credential good", Fault.check_says(True), 0),
    # It asks every four minutes, and believes what it is told.
    # The first audit after an issue comes up to three quarters of the interval earlier.
    _check("says no to everything", "calls every credential dead", Fault.check_says(False), 2 * 22, _LIES),
)

_LATE_WORDS = (
    Scenario(
        name="checkCode answers after longer than a fetch may take",
        sentence="For 45 minutes checkCode answers only after nearly a whole call, and somebody else refreshes.",
        duration_s=2 * HOUR_S,
        troubles=(
            Answers(
                start=At(40 * MINUTE_S),
                lasting_s=45 * MINUTE_S,
                faults=(Fault.latency(0.35),),
                paths=(CHECK_PATH,),
                label="late words",
            ),
            SomebodyElse(start=At(45 * MINUTE_S)),
        ),
        policy={"read_timeout_s": 0.3, "request_total_s": 0.8},
        bounds=Bounds(fetches=2, heal_s=_AUDITED_S),
    ),
)

_CLOCKS = (
    Scenario(
        name="the platform's clock 15 min ahead",
        sentence="What checkCode says is 15 minutes later by Redis's clock; somebody else refreshes after an hour.",
        troubles=(SomebodyElse(start=At(HOUR_S + 10)),),
        bounds=Bounds(fetches=2, heal_s=_AUDITED_S),
        place=PlatformAhead,
    ),
    Scenario(
        name="the platform's clock 15 min behind",
        sentence="What checkCode says is 15 minutes earlier by Redis's clock; somebody else refreshes after an hour.",
        troubles=(SomebodyElse(start=At(HOUR_S + 10)),),
        bounds=Bounds(fetches=2, heal_s=_AUDITED_S),
        place=PlatformBehind,
    ),
    Scenario(
        name="checkCode lags 5 s",
        sentence="checkCode knows of what happened 5 s ago; somebody else refreshes every ten minutes for an hour.",
        troubles=(SomebodyElse(start=At(HOUR_S + 10), lasting_s=HOUR_S, every_s=600),),
        bounds=Bounds(fetches=2 * 6, heal_s=_USED_UP_S),
        place=Lagging,
    ),
    Scenario(
        name="a new access_token shortens no old one",
        sentence="The grace is promised for the ticket only: access_tokens live on; somebody else refreshes.",
        troubles=(SomebodyElse(start=At(HOUR_S + 10), lasting_s=HOUR_S, every_s=600),),
        bounds=Bounds(fetches=2 * 6, heal_s=_USED_UP_S),
        place=OneCodeShortens,
    ),
)

_COMPLAINTS = (
    Scenario(
        name="a thousand readers complain without reason",
        sentence="For ten minutes a thousand readers say every minute that good credentials were refused.",
        duration_s=HOUR_S,
        troubles=(Complaints(start=At(30 * MINUTE_S + 10), lasting_s=10 * MINUTE_S),),
    ),
    Scenario(
        name="a thousand readers complain with reason",
        sentence="The platform ends both credentials at once; a thousand readers are refused and say so.",
        troubles=(
            Complaints(start=At(HOUR_S), lasting_s=30 * MINUTE_S, true_ones=True),
            Shortened(start=At(HOUR_S + 10), left_s=0),
        ),
        outside="credentials that die without notice: found by the first run after a complaint",
        bounds=Bounds(refused_s=2 * 130, fetches=2, heal_s=130),
    ),
)

SCENARIOS = (
    _somebody("once", "once", 1),
    _somebody("every minute", "every minute for half an hour", 8, 30 * MINUTE_S),
    _somebody("every 5 min", "every five minutes for two hours", 25, 2 * HOUR_S, 300),
    Scenario(
        name="two deployments on one application",
        sentence="Two whole deployments, each with its own Redis, serve the same application.",
        duration_s=2 * HOUR_S,
        place=TwoDeployments,
        # Each takes the other for somebody else, and answers with a fetch of its own at its next audit: both kinds,
        # both deployments, at most every four minutes.
        bounds=Bounds(fetches=2 * 2 * 30, heal_s=None),
    ),
    *(_shortened(left_s, 0, "") for left_s in (550, 400)),
    *(
        _shortened(left_s, 2 * (310 - left_s), "less is left of a credential than the 330 s in which an audit finds it")
        for left_s in (120, 0)
    ),
    Scenario(
        name="the token dies when the ticket is due",
        sentence="The access_token dies right before a ticket has to be fetched with it.",
        troubles=(Shortened(start=Due(), left_s=0, kinds=(ACCESS_TOKEN,)),),
        outside="a credential that dies without notice: renewed in the run that finds it dead",
        bounds=Bounds(refused_s=2 * 60, fetches=1, heal_s=_AUDITED_S),
    ),
    *_CHECKS,
    *_LATE_WORDS,
    *_CLOCKS,
    *_COMPLAINTS,
)
