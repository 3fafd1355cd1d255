"""Codes that are dead, or must be presumed to be: a reader holds none of them longer than it takes to find out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from platform_simulator.credentials import ACCESS_TOKEN, JS_TICKET
from verification.lab.filled_places import (
    LibraryBehindWire,
    ManyApps,
    NoGrace,
    NoTokenGrace,
    TokenEndsTickets,
    TooLongTtl,
    TooLongTtlAway,
    WithoutTtl,
    WithoutTtlAway,
)
from verification.lab.held import HeldRun
from verification.lab.people import Disabled, Lost, SecretReset, TakenOut, Withdrawn
from verification.lab.place import Place
from verification.lab.scenario import HOUR_S, MINUTE_S, At, Bounds, Due, Scenario, Trouble
from verification.lab.troubles import (
    EVERYTHING,
    FETCHES,
    Answers,
    Complaints,
    Forced,
    PlatformDown,
    Shortened,
    SomebodyElse,
)
from verification.lab.wire_troubles import Refused

# An audit comes after at most 240 s, a tick and a run. Both kinds are counted together.
_AUDITED_S = 330.0
# A denial is believed when a second one follows an audit later.
_DENIED_S = 2 * _AUDITED_S
_SLOW_TIMER = {"tick_s": 300.0}
_WITHOUT_NOTICE = "credentials that die without notice: found by the next audit"
_DURATION_S = 3 * HOUR_S


def _scenario(
    name: str, sentence: str, *troubles: Trouble, outside: str = "", refused_s: float = 0, **more: object
) -> Scenario:
    """What counts is that no credential is refused; until all is well again readers may find none."""
    bounds = Bounds(refused_s=refused_s, none_s=None, fetches=None, heal_s=None)
    base = Scenario(
        name=f"presumed dead: {name}",
        sentence=sentence,
        duration_s=_DURATION_S,
        troubles=troubles,
        outside=outside,
        bounds=bounds,
        baseline=False,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def _reset(name: str, sentence: str, start: At | Due, *more: Trouble, refused_s: float = _AUDITED_S) -> Scenario:
    return _scenario(
        f"secret reset, {name}",
        f"The secret is reset on the console, both credentials die; the function never gets the new one: {sentence}.",
        SecretReset(start=start, hard=True, deployed=False),
        *more,
        outside=_WITHOUT_NOTICE,
        refused_s=2 * refused_s,
    )


_FRESH = At(HOUR_S + 10)
_IN_MARGIN = At(100 * MINUTE_S)
_FORCED = Forced(start=_FRESH, lasting_s=HOUR_S, every_s=60)
_NO_TOKEN = Lost(start=At(_FRESH.at_s + 1), kinds=(ACCESS_TOKEN,))
_COMPLAINT = Complaints(start=At(HOUR_S), lasting_s=90 * MINUTE_S, readers=1, true_ones=True)

_RESETS = (
    _reset("credentials are fresh", "the credentials are an hour old", _FRESH),
    _reset("credentials are due", "a fetch is due", Due()),
    _reset("a reader complains", "a reader says so", _FRESH, _COMPLAINT),
    _reset("runs are forced", "a run is forced each minute", _FRESH, _FORCED),
    _reset("the token is missing", "the token is deleted a second later", _FRESH, _NO_TOKEN),
    replace(
        _reset("slow timer", "the timer fires every five minutes", _FRESH, refused_s=570),
        tick_s=300.0,
        policy=_SLOW_TIMER,
    ),
    _scenario(
        "secret reset, deployed after 45 min",
        "The secret is reset on the console, the credentials die, and the function gets the new one after 45 minutes.",
        SecretReset(start=_FRESH, hard=True, lasting_s=45 * MINUTE_S),
        outside=_WITHOUT_NOTICE,
        bounds=Bounds(refused_s=2 * _AUDITED_S, none_s=2 * 50 * MINUTE_S, fetches=2, heal_s=400),
    ),
)


def _rotated(name: str, start: At | Due, operator_after_s: float, *more: Trouble, **settings: object) -> Scenario:
    found = _scenario(
        f"secret rotated softly, {name}",
        "The secret is rotated, old credentials live on; the operator fetches by hand with the new one; the function "
        f"gets it 45 minutes later: {name}.",
        SecretReset(start=start, lasting_s=45 * MINUTE_S, operator_after_s=operator_after_s),
        *more,
        bounds=Bounds(none_s=2 * 45 * MINUTE_S, fetches=4, heal_s=400),
    )
    return replace(found, **settings)  # type: ignore[arg-type]


_ROTATIONS = (
    _rotated("a fetch is due", Due(), 300),
    _rotated("a fetch is due, by hand at once", Due(), 10),
    _rotated("a fetch is due, by hand after 20 min", Due(), 1200),
    _rotated("credentials are fresh", _FRESH, 300),
    _rotated("a reader complains", Due(), 300, replace(_COMPLAINT, start=At(80 * MINUTE_S))),
    _rotated(
        "runs are forced",
        Due(),
        300,
        Forced(start=Due(), lasting_s=45 * MINUTE_S, every_s=120),
        # A ticket needs no secret: as long as the token lives, each forced run fetches one.
        bounds=Bounds(none_s=2 * 45 * MINUTE_S, fetches=14, heal_s=400),
    ),
    _rotated("slow timer", Due(), 300, tick_s=300.0, policy=_SLOW_TIMER),
    _rotated("a twin beside it", Due(), 300, copies=2),
)


def _disabled(name: str, start: At | Due, *more: Trouble, **settings: object) -> Scenario:
    found = _scenario(
        f"application disabled, {name}",
        f"The application is disabled for 75 minutes: checkCode, too, says that it is unknown: {name}.",
        Disabled(start=start, lasting_s=75 * MINUTE_S),
        *more,
        outside=_WITHOUT_NOTICE,
        bounds=Bounds(refused_s=2 * _DENIED_S, none_s=2 * 80 * MINUTE_S, fetches=2, heal_s=400),
        duration_s=3.5 * HOUR_S,
    )
    return replace(found, **settings)  # type: ignore[arg-type]


_DISABLED = (
    _disabled("credentials are fresh", _FRESH),
    _disabled("credentials are due", Due()),
    _disabled("in the margin", _IN_MARGIN),
    _disabled("a reader complains", _FRESH, _COMPLAINT),
    _disabled("a twin beside it", _FRESH, copies=2),
)


def _says_disabled(name: str, status: int, message: str) -> Scenario:
    return _scenario(
        f"application disabled, {name}",
        f"The application is disabled for 100 minutes, and each interface says so in words of its own: {message}.",
        Answers(
            start=_FRESH,
            lasting_s=100 * MINUTE_S,
            faults=(Fault.platform_status(status, message),),
            paths=EVERYTHING,
            label=message,
        ),
        Shortened(start=_FRESH, left_s=0),
        outside=_WITHOUT_NOTICE,
        bounds=Bounds(refused_s=2 * _DENIED_S, none_s=2 * 110 * MINUTE_S, fetches=2, heal_s=400),
        duration_s=3.5 * HOUR_S,
    )


_SAY_DISABLED = (
    _says_disabled("with a word of limits", 4000, "应用已被限制使用"),
    _says_disabled("with a word of later", 4000, "应用已停用，请稍后联系客服"),
    _says_disabled("with a word of quotas", 4000, "app is suspended: quota"),
    _says_disabled("as a lack of permission", 4103, "application is disabled"),
    _says_disabled("as not added", 4104, "application disabled"),
)


def _refuses_to_say(name: str, fault: Fault, lasting_s: float = 3 * HOUR_S) -> Scenario:
    return _scenario(
        f"checkCode refuses, {name}",
        f"For {lasting_s / MINUTE_S:g} minutes checkCode answers {name} about good credentials, of which none goes.",
        Answers(start=At(30 * MINUTE_S), lasting_s=lasting_s, faults=(fault,), paths=(CHECK_PATH,), label=name),
        bounds=Bounds(heal_s=400),
        duration_s=4 * HOUR_S,
    )


_REFUSES_TO_SAY = (
    _refuses_to_say("that the address is not on the white list", Fault.white_list()),
    _refuses_to_say("that the address is not on the white list (4000)", Fault.white_list(4000)),
    _refuses_to_say("that the caller has no permission", Fault.platform_status(4103, "no permission")),
    _refuses_to_say("status 4104", Fault.platform_status(4104, "too many requests")),
    _refuses_to_say("HTTP 429", Fault.status(429, b"too many requests", {"Retry-After": "60"})),
    _refuses_to_say("HTTP 403", Fault.status(403, b"<html>Forbidden</html>")),
    _refuses_to_say(
        "HTTP 502 that the application is unknown",
        Fault.status(502, b'{"status": "4000", "message": "app_id is invalid", "data": []}'),
    ),
    _refuses_to_say("once that the application is unknown", Fault.platform_status(4000, "app_id is invalid"), 90),
)


def _alone(name: str, sentence: str, *troubles: Trouble, **more: Any) -> Scenario:
    return _scenario(f"alone, {name}", f"{sentence}, and no run follows.", *troubles, **more)


def _killed_alone(point: str, kind: str) -> Scenario:
    held = HeldRun(start=Due(), point=point, kind=kind, alone=True)
    return _alone(f"killed {point}, {kind}", f"A run that fetches the {kind} is killed {point}", held)


def _answered_alone(name: str, fault: Fault, *more: Trouble, start: At | Due | None = None) -> Scenario:
    start = start or Due()
    answers = Answers(start=start, faults=(fault,), paths=FETCHES)
    return _alone(f"{name}", f"Each fetch of one run ends so: {name}", answers, *more, Withdrawn(start=start))


_ALONE = (
    *(_killed_alone(point, JS_TICKET) for point in ("after its lease", "before send", "after send", "before store")),
    *(_killed_alone(point, ACCESS_TOKEN) for point in ("after send", "before store")),
    _alone(
        "frozen 90 min after send",
        "A run is frozen after its request left, goes on after 90 minutes",
        HeldRun(start=Due(), point="after send", frozen_s=90 * MINUTE_S, alone=True),
        duration_s=4 * HOUR_S,
    ),
    _alone(
        "frozen 90 min before store",
        "A run is frozen before it stores, goes on after 90 minutes",
        HeldRun(start=Due(), point="before store", frozen_s=90 * MINUTE_S, alone=True),
        duration_s=4 * HOUR_S,
    ),
    _alone(
        "a forced run killed after send",
        "A forced run is killed after its request left, with credentials 20 minutes old",
        HeldRun(start=At(20 * MINUTE_S + 1), point="after send", alone=True),
        Forced(start=At(20 * MINUTE_S + 2), every_s=60),
    ),
    _answered_alone("no answer, executed", Fault.cut(executed=True)),
    _answered_alone("no answer, not executed", Fault.cut(executed=False)),
    _answered_alone("an error page, executed", Fault.html(executed=True)),
    _answered_alone(
        "a forced one without an answer",
        Fault.cut(executed=True),
        Forced(start=At(20 * MINUTE_S + 1), every_s=60),
        start=At(20 * MINUTE_S),
    ),
    _alone(
        "everything silent for five minutes, executed",
        "For five minutes nothing is answered, though carried out",
        Answers(start=Due(), lasting_s=300, faults=(Fault.cut(executed=True),), paths=EVERYTHING),
        Withdrawn(start=Due(), after_s=301),
        outside="checkCode is silent: nothing definite is known until it answers, and no run asks afterwards",
        refused_s=2 * 600,
    ),
)

_OLD_VALUES = (
    *(
        _scenario(
            f"{words}, platform away{' from the first run' * from_the_first}",
            f"A value is found {words}, and the platform is away for 2.5 hours{' already' * from_the_first}.",
            PlatformDown(start=At(0 if from_the_first else 10), lasting_s=2.5 * HOUR_S),
            bounds=Bounds(none_s=None, fetches=None, heal_s=400),
            duration_s=4 * HOUR_S,
            place=_place,
        )
        for words, places in {
            "without TTL": (WithoutTtl, WithoutTtlAway),
            "with a TTL of a day": (TooLongTtl, TooLongTtlAway),
        }.items()
        for from_the_first, _place in enumerate(places)
    ),
    _scenario(
        "taken out with a value without TTL",
        "An application with a value without TTL is taken out of the configuration two minutes after the first run.",
        TakenOut(start=At(130)),
        place=WithoutTtl,
    ),
    _scenario(
        "taken out with a value without TTL, platform away",
        "The platform is away from the first run on, and an application with a value without TTL is taken out.",
        PlatformDown(start=At(0), lasting_s=2.5 * HOUR_S),
        TakenOut(start=At(130)),
        place=WithoutTtlAway,
    ),
    _scenario(
        "taken out after a run was killed",
        "A run is killed after its request left, and its applications' first one is taken out a second later.",
        HeldRun(start=Due(), point="after send"),
        TakenOut(start=At(91 * MINUTE_S + 1)),
        place=ManyApps,
    ),
)

_LOCKS = (
    _scenario(
        "killed under its lock while others fetch",
        "A run is killed before its request leaves, and at that moment another deployment fetches both credentials.",
        HeldRun(start=Due(), point="before send"),
        SomebodyElse(start=Due()),
        bounds=Bounds(fetches=2, heal_s=_AUDITED_S),
    ),
    _scenario(
        "killed under its lock while others fetch, slow timer",
        "The timer fires every five minutes; a run is killed before its request leaves; others fetch both credentials.",
        HeldRun(start=Due(), point="before send"),
        SomebodyElse(start=Due()),
        bounds=Bounds(fetches=2, heal_s=600),
        tick_s=300.0,
        policy=_SLOW_TIMER,
    ),
    _scenario(
        "killed again and again under its lock while others fetch",
        "Each run that fetches within a quarter of an hour is killed under its lock; others fetch both credentials.",
        HeldRun(start=Due(), point="before send"),
        *(HeldRun(start=At(90 * MINUTE_S + 70 + 120 * number), point="before send") for number in range(8)),
        SomebodyElse(start=Due()),
        bounds=Bounds(fetches=4, none_s=None, heal_s=600),
    ),
)

_NO_GRACE = "the platform leaves a superseded credential no grace"


def _at_once(name: str, paths: tuple[str, ...], fault: Fault, place: type[Place] = NoGrace) -> Scenario:
    return _scenario(
        f"no grace, {name}",
        f"A new credential ends the old one at once, and a fetch ends so: {name}.",
        Answers(start=Due(), faults=(fault,), paths=paths),
        outside=_NO_GRACE,
        bounds=Bounds(none_s=2 * 240, fetches=4, heal_s=_AUDITED_S + 60),
        place=place,
    )


def _ends_ticket(name: str, sentence: str, *troubles: Trouble, fetches: int = 3) -> Scenario:
    return _scenario(
        f"a new token ends the ticket, {name}",
        f"A new access_token ends the ticket at once; {sentence}.",
        *troubles,
        outside="a new access_token ends the ticket, too",
        bounds=Bounds(none_s=120, fetches=fetches, heal_s=None),
        place=TokenEndsTickets,
    )


# From then on a ticket is due at another time than its token.
_TICKET_LOST = Lost(start=At(45 * MINUTE_S + 10), kinds=(JS_TICKET,))
_TOKEN_LOST = Lost(start=At(45 * MINUTE_S + 10), kinds=(ACCESS_TOKEN,))


_GRACELESS = (
    _at_once("token without an answer", (TOKEN_PATH,), Fault.cut(executed=True), NoTokenGrace),
    _at_once("ticket without an answer", (TICKET_PATH,), Fault.cut(executed=True)),
    _at_once("token with a cut answer", (TOKEN_PATH,), Fault.truncated()),
    _at_once("both with an error page", FETCHES, Fault.html(executed=True)),
    _ends_ticket("both are due at once", "both are renewed in one run"),
    _ends_ticket("the ticket is due later", "the ticket is younger than its token", _TICKET_LOST),
    _ends_ticket("the token is lost", "the token is deleted and fetched again", _TOKEN_LOST),
    _ends_ticket(
        "the token's fetch is not answered",
        "the ticket is younger than its token, and no answer comes with the new token",
        _TICKET_LOST,
        Answers(start=Due(), faults=(Fault.cut(executed=True),), paths=(TOKEN_PATH,)),
        fetches=5,
    ),
)

_READERS = (
    _scenario(
        "the library cut off from Redis over a refresh",
        "Our own Reader reaches no Redis for two hours, from right before the credentials are fetched.",
        Refused(start=Due(), lasting_s=80 * MINUTE_S),
        place=LibraryBehindWire,
    ),
    _scenario(
        "the library cut off from Redis long before a refresh",
        "Our own Reader reaches no Redis for two hours, from half an hour before the credentials are fetched.",
        Refused(start=At(HOUR_S), lasting_s=110 * MINUTE_S),
        place=LibraryBehindWire,
    ),
)

SCENARIOS = (
    *_RESETS,
    *_ROTATIONS,
    *_DISABLED,
    *_SAY_DISABLED,
    *_REFUSES_TO_SAY,
    *_ALONE,
    *_OLD_VALUES,
    *_LOCKS,
    *_GRACELESS,
    *_READERS,
)
