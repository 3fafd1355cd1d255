"""Values that another tool stored, or whose end cannot be read: readers take their credentials all the same."""

from __future__ import annotations

from dataclasses import replace

from platform_simulator import CHECK_PATH, TOKEN_PATH, Fault
from verification.lab.filled_places import EndAsDate, EndAsNull, GoodEndAsDate
from verification.lab.people import StoredByOthers
from verification.lab.scenario import HOUR_S, MINUTE_S, At, Bounds, Scenario, Trouble
from verification.lab.troubles import FETCHES, Answers, PlatformDown

# A value is first looked at by the next run.
_TICK_S = 60.0
_WITHOUT_NOTICE = "credentials that die without notice: found by the next run"
_STORED_AT = HOUR_S + 20
_REFUSES = Fault.platform_status(4000, "secret is wrong")
_LASTING_S = 4 * HOUR_S

_AWAY = PlatformDown(start=At(_STORED_AT + 10), lasting_s=_LASTING_S)
_SILENT_CHECK = Answers(
    start=At(_STORED_AT + 1), lasting_s=_LASTING_S, faults=(Fault.status(500, b"x"),), paths=(CHECK_PATH,)
)
_NO_FETCH = Answers(start=At(_STORED_AT + 2), lasting_s=_LASTING_S, faults=(_REFUSES,), paths=(TOKEN_PATH,))


def _strange(
    name: str, how: str, stored: StoredByOthers, *more: Trouble, outside: str = "", refused_s: float = 0
) -> Scenario:
    return Scenario(
        name=f"another tool's value, {name}",
        sentence=f"Another tool fetches both credentials and stores them over ours, {how}.",
        duration_s=6 * HOUR_S if more else 2 * HOUR_S,
        troubles=(stored, *more),
        outside=outside,
        bounds=Bounds(refused_s=refused_s, none_s=None if more else 0, fetches=None, heal_s=400),
        baseline=False,
    )


_STORED = (
    _strange(
        "in milliseconds",
        "with their end in milliseconds and no TTL, and the platform is away for four hours",
        StoredByOthers(start=At(_STORED_AT), factor=1000),
        _AWAY,
    ),
    _strange(
        "for a day",
        "with an end a day ahead and no TTL, and the platform is away for four hours",
        StoredByOthers(start=At(_STORED_AT), claimed_s=86_400),
        _AWAY,
    ),
    _strange(
        "with a TTL of a day",
        "with their end in milliseconds and a TTL of a day, and the platform is away for four hours",
        StoredByOthers(start=At(_STORED_AT), factor=1000, ttl_s=86_400),
        _AWAY,
    ),
    _strange(
        "checkCode silent, no fetch",
        "with their end in milliseconds; for four hours checkCode answers HTTP 500, and each fetch is refused",
        StoredByOthers(start=At(_STORED_AT), factor=1000),
        _SILENT_CHECK,
        _NO_FETCH,
    ),
    _strange(
        "of ten minutes",
        "which die in ten minutes and claim two hours, and the platform is away for four hours",
        StoredByOthers(start=At(_STORED_AT), left_s=600),
        _AWAY,
        outside="nothing at all is learned: silence keeps a credential for 1800 s at most",
        refused_s=2 * (1800 + _TICK_S - 600),
    ),
    _strange("while all is well", "in their own form", StoredByOthers(start=At(_STORED_AT))),
    _strange(
        "outdated credentials",
        "the last ones but one, with their end in milliseconds",
        StoredByOthers(start=At(_STORED_AT), outdated=True, factor=1000),
    ),
    _strange(
        "a date as their end",
        "with a date in words as their end, and the platform is away for four hours",
        StoredByOthers(start=At(_STORED_AT), says="2030-01-01 00:00:00"),
        _AWAY,
    ),
    _strange(
        "a date as the end of dying credentials",
        "which die within 30 s, with a date in words as their end, and no fetch brings a new token",
        StoredByOthers(start=At(_STORED_AT), says="2030-01-01 00:00:00", left_s=30),
        _NO_FETCH,
        outside=_WITHOUT_NOTICE,
        refused_s=2 * _TICK_S,
    ),
)


def _unreadable(name: str, what: str, place: type[EndAsDate], refused_s: float = 0) -> Scenario:
    base = Scenario(
        name=f"unreadable value, {name}",
        sentence=f"Values are found with {what}; for 50 minutes no fetch succeeds.",
        duration_s=2 * HOUR_S,
        troubles=(Answers(start=At(1), lasting_s=50 * MINUTE_S, faults=(_REFUSES,), paths=FETCHES),),
        bounds=Bounds(refused_s=refused_s, none_s=None if refused_s else 0, fetches=2, heal_s=400),
        baseline=False,
        place=place,
    )
    return replace(base, outside=_WITHOUT_NOTICE if refused_s else "")


SCENARIOS = (
    *_STORED,
    _unreadable("a date", "a date as the end of credentials that die within 30 s", EndAsDate, 2 * _TICK_S),
    _unreadable("null", "null as the end of credentials that die within 30 s", EndAsNull, 2 * _TICK_S),
    _unreadable("a date, good credentials", "a date as the end of credentials that live for two hours", GoodEndAsDate),
)
