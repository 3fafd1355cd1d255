"""The platform answers wrongly, or not at all: once, and for 5, 15 and 28 minutes, always when a fetch is due."""

from __future__ import annotations

from dataclasses import dataclass

from platform_simulator import TICKET_PATH, WRONG_TYPES, Fault
from platform_simulator.credentials import KINDS
from token_refresher.domain.policy import Policy
from verification.lab.scenario import HOUR_S, MINUTE_S, TICK_S, Bounds, Due, Scenario
from verification.lab.troubles import EVERYTHING, FETCHES, Answers, LateExecution, PlatformDown

# Both systems have to fetch within that time, and there is an hour left to heal.
_DURATION_S = 170 * MINUTE_S
_LASTING = {"once": 0, "5 min": 5, "15 min": 15, "28 min": 28}
# What hangs takes real time. All else in the policy is as it is delivered.
_SHORT_WAITS = {"request_total_s": 0.5}
# After a definite no the next attempt comes within 330 s, or at the tick after.
_BACKED_OFF_S = 400.0
# After no definite answer the lock ends within 90 s, and this copy's own wait 120 s later; then all is fetched.
_LOCKED_S = 270.0
_GRACE_S = 600.0
# Between the end of a credential that lives for one tick and the next one a run takes its time.
_BETWEEN_S = 2.0


@dataclass(frozen=True)
class _Case:
    """One way to answer. `unknown`: nobody can tell whether a credential was issued; `issued`: one was, and is lost.

    `life_s`: of the credentials that are issued meanwhile. `extra`: fetches allowed beyond the natural ones for each
    minute that it lasts, both kinds together.
    """

    faults: tuple[Fault, ...]
    unknown: bool = False
    issued: bool = False
    extra: float = 0.0
    paths: tuple[str, ...] = FETCHES
    hangs: bool = False
    baseline: bool = True
    life_s: float | None = None


def _refuses(*faults: Fault, **more: object) -> _Case:
    return _Case(faults, **more)  # type: ignore[arg-type]


def _unknown(*faults: Fault, hangs: bool = False) -> _Case:
    return _Case(faults, unknown=True, hangs=hangs)


def _lost(*faults: Fault, hangs: bool = False) -> _Case:
    """A credential is issued, and nobody gets it: tried again whenever a lock of 90 s has ended."""
    return _Case(faults, unknown=True, issued=True, extra=1.2, hangs=hangs)


def _short(seconds: float) -> _Case:
    """Codes that live for too short a time to be fresh: fetched at every tick."""
    return _Case((Fault.expiry(seconds, lifetime_s=seconds),), extra=2.2, life_s=seconds)


CASES = {
    "http 429": _refuses(Fault.status(429, headers={"Retry-After": "30"})),
    "http 500": _unknown(Fault.status(500)),
    "http 502, html": _unknown(Fault.status(502, b"<html></html>", {"Content-Type": "text/html"})),
    "http 503": _refuses(Fault.status(503, headers={"Retry-After": "120"})),
    "http 504, executed": _lost(Fault.status(504, executed=True)),
    "redirect": _unknown(Fault.redirect(302, "http://127.0.0.1:9/")),
    "html": _unknown(Fault.html()),
    "html, executed": _lost(Fault.html(executed=True)),
    "empty": _unknown(Fault.empty()),
    "truncated": _lost(Fault.truncated()),
    "shorter than announced": _lost(Fault.truncated(honest_length=False)),
    "reset, not executed": _unknown(Fault.cut(executed=False)),
    "reset, executed": _lost(Fault.cut(executed=True)),
    "reset in the answer": _lost(Fault.cut_mid_answer()),
    "no answer, not executed": _unknown(Fault.no_answer(executed=False), hangs=True),
    "no answer, executed": _lost(Fault.no_answer(executed=True), hangs=True),
    # Whoever reads answers without a limit reads this one until the memory is full: not tried with the baseline.
    "endless answer": _Case((Fault.endless_chunks(),), unknown=True, issued=True, extra=1.2, baseline=False),
    "huge answer": _lost(Fault.huge(2_000_000)),
    "gzip bomb": _lost(Fault.gzip_bomb(2_000_000)),
    "slow answer": _Case((Fault.latency(0.1),)),
    "many headers": _lost(Fault.many_headers(200)),
    "wrong types": _lost(*(Fault.wrong_types(variant) for variant in WRONG_TYPES)),
    "status 4000": _refuses(Fault.platform_status(4000, "something is wrong")),
    "status 4102 for the ticket": _refuses(
        Fault.platform_status(4102, "server_access_token is invalid"), paths=(TICKET_PATH,), extra=1.0
    ),
    "status 4103": _refuses(Fault.white_list(4103)),
    "status 2011": _unknown(Fault.platform_status(2011)),
    "expiry 0": _lost(Fault.expiry(0)),
    "expiry null": _lost(Fault.expiry(None)),
    "expiry 60 s": _short(60),
    "expiry 599 s": _short(599),
    "expiry 7201 s": _Case((Fault.expiry(7201),)),
    "expiry 1e12 s": _Case((Fault.expiry(1e12),)),
    "expiry as a word": _Case((Fault.expiry("7200"),)),
    "the same credential again": _Case((Fault.same_code(),)),
    "the same credential with a full life": _Case((Fault.same_code(full_life=True),)),
    "a credential of 512 characters": _Case((Fault.code_length(512),)),
    "a credential outside ASCII": _Case((Fault.unicode_code(),)),
}


def _bounds(case: _Case, lasting_s: float) -> Bounds:
    """Without an issue that somebody gets, no credential outlives its grace; no refresher can help that."""
    minutes, again_s = lasting_s / MINUTE_S, _LOCKED_S if case.unknown else _BACKED_OFF_S
    # The margin begins with a tick, and the first attempt after the end may come after the credential's.
    gone_s = lasting_s + again_s - (_GRACE_S if case.issued else Policy.margin_s - TICK_S)
    gone_s = max(0.0, gone_s) if lasting_s else 0.0
    fetches = int(case.extra * minutes) + (len(KINDS) if case.extra else 0)
    none_s = gone_s if case.life_s is None else max(gone_s, minutes * _BETWEEN_S)
    # A short life is used until its own, shorter margin.
    heal_s = again_s if case.life_s is None else max(again_s, case.life_s)
    return Bounds(none_s=len(KINDS) * none_s, fetches=fetches, heal_s=heal_s)


def _scenario(name: str, case: _Case, length: str) -> Scenario:
    lasting_s = _LASTING[length] * MINUTE_S
    how = f"for {length}, from when a fetch is due" if lasting_s else "once, to the next fetch of each kind"
    return Scenario(
        name=f"answer: {name}, {length}",
        sentence=f"The platform answers like this {how}: {name}.",
        duration_s=_DURATION_S,
        troubles=(Answers(start=Due(), lasting_s=lasting_s, faults=case.faults, paths=case.paths, label=name),),
        policy=_SHORT_WAITS if case.hangs else {},
        bounds=_bounds(case, lasting_s),
        baseline=case.baseline,
    )


def _late(delay_s: float) -> Scenario:
    return Scenario(
        name=f"executed {delay_s:g} s late",
        sentence=f"A ticket request times out, and is carried out {delay_s:g} s after it was sent.",
        duration_s=_DURATION_S,
        troubles=(LateExecution(start=Due(), delay_s=delay_s),),
        policy=_SHORT_WAITS,
        # A credential that is superseded as it was issued is used nearly to its end.
        bounds=Bounds(fetches=2, heal_s=480),
    )


def _down(minutes: float) -> Scenario:
    longer = minutes > 30
    return Scenario(
        name=f"platform down, {minutes:g} min",
        sentence=f"Nobody listens at the platform's address for {minutes:g} minutes, from when a fetch is due.",
        duration_s=_DURATION_S + (60 * minutes if longer else 0),
        troubles=(PlatformDown(start=Due(), lasting_s=60 * minutes),),
        outside="down for longer than the margin of 30 minutes: heals when it is back" if longer else "",
        bounds=Bounds(none_s=120 * (minutes - 30) + 2 * _BACKED_OFF_S if longer else 0, heal_s=_BACKED_OFF_S),
    )


_SILENT = Scenario(
    name="platform silent, checkCode included, 28 min",
    sentence="Every request is carried out and none is answered, those to checkCode included.",
    duration_s=_DURATION_S,
    troubles=(
        Answers(start=Due(), lasting_s=28 * MINUTE_S, faults=(Fault.no_answer(executed=True),), paths=EVERYTHING),
    ),
    policy=_SHORT_WAITS,
    outside="checkCode has to answer; design.md names this as the one case that lasts longer than the grace",
    # From the end of the grace until the recorded expiry, which the margin puts 30 minutes ahead.
    bounds=Bounds(refused_s=2 * 28 * MINUTE_S, none_s=2 * 10 * MINUTE_S, fetches=40, heal_s=_LOCKED_S),
)

SCENARIOS = (
    *(_scenario(name, case, length) for name, case in CASES.items() for length in _LASTING),
    Scenario(
        name="answer: every wrong type in its turn",
        sentence="At every refresh another answer of the wrong shape; both credentials, all shapes.",
        duration_s=(len(WRONG_TYPES) + 1) * 2 * HOUR_S,
        troubles=tuple(
            Answers(start=Due(number * 2 * HOUR_S), faults=(Fault.wrong_types(variant),), label=variant)
            for number, variant in enumerate(WRONG_TYPES)
        ),
        bounds=Bounds(fetches=2 * len(WRONG_TYPES), heal_s=_LOCKED_S),
    ),
    *(_late(delay_s) for delay_s in (1, 60, 119, 240)),
    *(_down(minutes) for minutes in (5, 15, 28, 120)),
    _SILENT,
)
