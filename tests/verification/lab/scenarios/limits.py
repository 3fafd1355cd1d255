"""What one interface, one application or one platform said is never taken for the word of another."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from platform_simulator.credentials import JS_TICKET
from verification.lab.filled_places import ManyApps
from verification.lab.held import HeldRun
from verification.lab.people import Lost, Moved
from verification.lab.scenario import HOUR_S, MINUTE_S, At, Bounds, Due, Scenario, Trouble
from verification.lab.troubles import FETCHES, Answers, Complaints, Forced, Shortened, SomebodyElse

# Found within an audit, a tick and a run.
_AUDITED_S = 330.0
_HARD = "credentials that die without notice: found by the first run after a complaint, or by an audit"
_FAR = "Fri, 01 Jan 2038 00:00:00 GMT"
# Time-outs take real time.
_HASTE = {"request_total_s": 0.3, "work_s": 1, "redis_timeout_s": 0.5}


def _limit(retry_after: str, status: int = 429) -> Fault:
    return Fault.status(status, b"too many requests", {"Retry-After": retry_after} if retry_after else {})


_DAILY = Fault.platform_status(4000, "调用次数超过每日上限")


# -- a limit of fetches and a question, a limit of questions and a fetch ---------------------------


class _Twelve(ManyApps):
    """Twelve applications, of which two are sick."""

    apps, sick = 12, 2


class _TwelveFive(_Twelve):
    """Five are sick."""

    sick = 5


class _Thirty(ManyApps):
    """Thirty applications, of which twelve are sick."""

    apps, sick = 30, 12


class _ThirtyTwenty(_Thirty):
    """Twenty are sick."""

    sick = 20


class _Many(ManyApps):
    """120 applications, of which 80 are sick."""

    apps, sick = 120, 80


def _fetches(name: str, fault: Fault, *more: Trouble, paths: tuple[str, ...] = FETCHES, tick_s: float = 60) -> Scenario:
    """Nothing can be fetched for 40 minutes: readers may be left with no credential, but never with a dead one."""
    hard = any(isinstance(each, Shortened) for each in more)
    told = any(isinstance(each, Complaints) for each in more)
    limited = Answers(start=Due(), lasting_s=40 * MINUTE_S, faults=(fault,), paths=paths, label="limited")
    return Scenario(
        name=f"limits: {name}",
        sentence=f"For 40 minutes, from when a fetch is due: {name}.",
        duration_s=3 * HOUR_S,
        troubles=(limited, *more),
        tick_s=tick_s,
        policy={"tick_s": tick_s} if tick_s != 60 else {},
        outside=_HARD if hard else "",
        bounds=Bounds(
            refused_s=2 * (130 if told else _AUDITED_S) if hard else 0,
            none_s=None,
            fetches=None,
            heal_s=2 * _AUDITED_S + tick_s,
        ),
        baseline=False,
    )


_RESET = Shortened(start=At(95 * MINUTE_S), left_s=0)
_ELSE = SomebodyElse(start=Due())

_FETCHES = (
    *(
        _fetches(f"fetches get 429 {words}, someone else refreshes", _limit(retry_after), _ELSE)
        for words, retry_after in {
            "for 300 s": "300",
            "for 120 s": "120",
            "until a date": _FAR,
            "without a word": "",
        }.items()
    ),
    _fetches("fetches get 503 for 300 s, someone else refreshes", _limit("300", 503), _ELSE),
    _fetches("a slow timer, fetches get 429 for 300 s, someone else refreshes", _limit("300"), _ELSE, tick_s=300),
    _fetches("tickets alone get 429 for 300 s, someone else refreshes", _limit("300"), _ELSE, paths=(TICKET_PATH,)),
    _fetches("tokens alone get 429 for 300 s, credentials die", _limit("300"), _RESET, paths=(TOKEN_PATH,)),
    _fetches(
        "fetches get 503 for 300 s, credentials die, readers complain",
        _limit("300", 503),
        _RESET,
        Complaints(start=At(95 * MINUTE_S), lasting_s=40 * MINUTE_S, readers=3, true_ones=True),
    ),
    _fetches(
        "a daily limit of tokens, forced each minute, credentials die",
        _DAILY,
        Forced(start=Due(), lasting_s=40 * MINUTE_S, every_s=60),
        _RESET,
        paths=(TOKEN_PATH,),
    ),
)


def _questions(name: str, retry_after: str, trouble: Trouble, none_s: float) -> Scenario:
    fault = _limit(retry_after)
    return Scenario(
        name=f"limits: questions get 429 for {retry_after} s, {name}",
        sentence=f"For 70 minutes checkCode alone limits: {name}.",
        duration_s=3 * HOUR_S,
        troubles=(
            Answers(
                start=trouble.start, lasting_s=70 * MINUTE_S, faults=(fault,), paths=(CHECK_PATH,), label="limited"
            ),
            trouble,
        ),
        bounds=Bounds(none_s=none_s, fetches=None, heal_s=2 * _AUDITED_S),
        baseline=False,
    )


_QUESTIONS = tuple(
    scenario
    for retry_after in ("55", "295")
    for scenario in (
        _questions("a run is killed", retry_after, HeldRun(start=Due(), point="before send"), 0),
        _questions("a ticket is deleted", retry_after, Lost(start=At(50 * MINUTE_S + 1), kinds=(JS_TICKET,)), 60),
    )
)


# -- applications that are sick, and others -------------------------------------------------------


def _beside(
    name: str,
    place: type[ManyApps],
    trouble: Trouble,
    concurrency: int = 64,
    *,
    policy: Mapping[str, float] = MappingProxyType({}),
) -> Scenario:
    """Someone else refreshes three of the healthy applications, twenty minutes after the others fell ill."""
    assert isinstance(trouble.start, At)
    superseded = At(trouble.start.at_s + 20 * MINUTE_S)
    return Scenario(
        name=f"limits: {name}, {concurrency} at once",
        sentence=f"{name[0].upper()}{name[1:]}, {concurrency} at once; the credentials of three others are superseded.",
        duration_s=superseded.at_s + 40 * MINUTE_S,
        troubles=(trouble, SomebodyElse(start=superseded, apps=(place.apps - 1, place.apps - 4, place.apps - 6))),
        policy={"concurrency": concurrency, **policy},
        bounds=Bounds(fetches=None, heal_s=None),
        baseline=False,
        place=place,
    )


def _sick(place: type[ManyApps], fault: Fault, paths: tuple[str, ...], start_s: float) -> Answers:
    apps = tuple(range(place.sick))
    return Answers(start=At(start_s), lasting_s=55 * MINUTE_S, faults=(fault,), paths=paths, apps=apps, label="sick")


def _moved(how: Literal["refuses", "hangs", "limits"]) -> Moved:
    return Moved(start=At(20 * MINUTE_S), how=how)


# Right before credentials are due; and while they are fresh.
_DUE_S, _FRESH_S = 89 * MINUTE_S, 20 * MINUTE_S
_BROKEN, _CUT, _HANGS = Fault.status(500, b"oops"), Fault.cut(executed=False), Fault.no_answer(executed=False)

_BESIDE = (
    *(
        _beside(f"fetches of two get 429 for {ra} s", _Twelve, _sick(_Twelve, _limit(ra), FETCHES, _DUE_S), at_once)
        for ra, at_once in (("300", 64), ("300", 1), ("295", 6), ("30", 6))
    ),
    *(
        _beside(
            f"fetches of five get 429 for {ra} s", _TwelveFive, _sick(_TwelveFive, _limit(ra), FETCHES, _DUE_S), at_once
        )
        for ra, at_once in (("300", 64), ("300", 1), ("30", 3))
    ),
    *(
        _beside(
            f"questions of five get 429 {words}",
            _TwelveFive,
            _sick(_TwelveFive, _limit(ra), (CHECK_PATH,), _FRESH_S),
            at_once,
        )
        for words, ra, at_once in (
            ("for 300 s", "300", 1),
            ("for 30 s", "30", 1),
            ("for 30 s", "30", 3),
            ("without a word", "", 64),
        )
    ),
    *(
        _beside(
            "questions of twelve get 429",
            _Thirty,
            _sick(_Thirty, _limit(""), (CHECK_PATH,), _FRESH_S),
            at_once,
        )
        for at_once in (1, 6)
    ),
    *(
        _beside("twelve questions are cut off", _Thirty, _sick(_Thirty, _CUT, (CHECK_PATH,), _FRESH_S), at_once)
        for at_once in (1, 6)
    ),
    *(
        _beside(
            "twelve questions hang", _Thirty, _sick(_Thirty, _HANGS, (CHECK_PATH,), _FRESH_S), at_once, policy=_HASTE
        )
        for at_once in (1, 6)
    ),
    _beside("eighty questions get HTTP 500", _Many, _sick(_Many, _BROKEN, (CHECK_PATH,), _FRESH_S), 6),
    *(
        _beside("the platform of twenty refuses connections", _ThirtyTwenty, _moved("refuses"), at_once)
        for at_once in (1, 64)
    ),
    _beside("the platform of twenty hangs", _ThirtyTwenty, _moved("hangs"), 6, policy=_HASTE),
    _beside("the platform of twenty limits all", _ThirtyTwenty, _moved("limits"), 6),
)

SCENARIOS = (*_FETCHES, *_QUESTIONS, *_BESIDE)
