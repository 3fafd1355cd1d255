"""What is asked and what is fetched, and why: every reason, what goes before what, and every boundary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from token_refresher.domain.command import Action, Command
from token_refresher.domain.decision import (
    Decision,
    after_limit,
    at_work,
    can_wait,
    decide,
    question,
    retry_delay_s,
)
from token_refresher.domain.model import Caller, Kind, Lease, Record, Snapshot, Target, Unreadable, Word
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason

POLICY = Policy()
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
NOW_S = 1_700_000_000
NOW = NOW_S * 1000
ME, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"

# Examples are small; only a loaded machine is ever slow with them.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD = Record("GqF3xW", expires_at=NOW_S + 6000, issued_at=NOW_S - 1200, fence=7)
SETTLED = Lease(
    exists=True, attempt="old", finished="old", fence=7, mark="", before="", audited_at=NOW - 100_000, outcome="issued"
)
REFRESH, FORCE, AUDIT, CHECK = Command(), Command(force=True), Command(Action.AUDIT), Command(Action.CHECK)
UNREADABLE = Unreadable("not JSON")
ENDLESS = Unreadable("odd", GOOD.code)


def seen(
    record: Record | Unreadable | None = GOOD, lease: Lease = SETTLED, *, complaint: str | None = None
) -> Snapshot:
    return Snapshot(TARGET, NOW, record, lease, complaint=complaint)


def leased(**fields: Any) -> Lease:
    return replace(SETTLED, **fields)


def waits(seconds: float, name: str = ME, **fields: Any) -> Lease:
    """A lease of which a caller may take its next attempt only after so many seconds."""
    return leased(callers=(Caller(name, until=NOW + round(seconds * 1000), failures=1, **fields),))


def asked(seconds_ago: float, name: str = ME, **fields: Any) -> Lease:
    """A lease of which a caller asked checkCode in vain so many seconds ago."""
    return leased(callers=(Caller(name, asked_at=NOW - round(seconds_ago * 1000)),), **fields)


def dead(ended_s_ago: float = 0, **fields: Any) -> Lease:
    """A lease whose last attempt had no end, and whose lock is over since so many seconds."""
    ends = NOW - round(ended_s_ago * 1000)
    return leased(**{"attempt": "dead", "mark": "dead", "by": OTHER, "locked_until": ends, "work_until": 1} | fields)


def left(seconds: int, **fields: Any) -> Record:
    return replace(GOOD, **{"expires_at": NOW_S + seconds, "issued_at": NOW_S + seconds - 7200} | fields)


def aged(seconds: int) -> Record:
    return replace(GOOD, issued_at=NOW_S - seconds)


# -- is checkCode to be asked? ---------------------------------------------------------------

DOUBT = "an earlier attempt had no definite end: a newer credential may exist"
UNKNOWN = "nothing is known of how the credential came here"
COMPLAINT = "a reader says that the platform refused the stored credential"
DUE, BY_HAND = "its audit is due", "asked for by hand"
AHEAD = "its expiry is further ahead than a credential can live: a clock has stepped"
ENDS_NOWHERE = "readers take a credential whose end cannot be read"
DENIED = "checkCode denied the application to another copy"
WHY = {
    DOUBT: Reason.UNSETTLED,
    UNKNOWN: Reason.UNSETTLED,
    AHEAD: Reason.UNSETTLED,
    ENDS_NOWHERE: Reason.UNSETTLED,
    DENIED: Reason.UNSETTLED,
    COMPLAINT: Reason.REFUSED,
    DUE: Reason.FRESH,
    BY_HAND: Reason.FRESH,
}


class Question(NamedTuple):
    snapshot: Snapshot
    sentence: str | None
    command: Command = REFRESH
    policy: Policy = POLICY


NO_AUDIT = Policy(audit_interval_s=0)
QUESTIONS = {
    "nothing stored": Question(seen(None), None),
    "nothing stored, by hand": Question(seen(None), None, CHECK),
    "an expired credential": Question(seen(left(0)), None, AUDIT),
    "a value that holds no record": Question(seen(UNREADABLE), None, AUDIT),
    "a value whose end cannot be read": Question(seen(ENDLESS), ENDS_NOWHERE),
    "such a value after a question without an answer": Question(seen(ENDLESS, asked(59)), None),
    "such a value of which readers complain": Question(seen(ENDLESS, complaint=GOOD.fingerprint), COMPLAINT),
    "such a value under another's lock": Question(seen(ENDLESS, dead(-40)), DOUBT),
    "such a value of another tool": Question(seen(ENDLESS, leased(mark="none")), UNKNOWN),
    # the audit
    "no audit at the instant of one": Question(seen(lease=leased(audited_at=NOW)), None),
    "no audit before its time": Question(seen(lease=leased(audited_at=NOW - 239_999)), None),
    "an audit when its time has come": Question(seen(lease=leased(audited_at=NOW - 240_000)), DUE),
    "an audit in the future calls for one now": Question(seen(lease=leased(audited_at=NOW + 1_000)), DUE),
    "never audited": Question(seen(lease=leased(audited_at=0)), DUE),
    "by command at once": Question(seen(), BY_HAND, AUDIT),
    "to check, at once": Question(seen(), BY_HAND, CHECK),
    "a credential of nine seconds": Question(seen(aged(9), leased(audited_at=0)), None, AUDIT),
    "a credential of ten seconds": Question(seen(aged(10)), BY_HAND, AUDIT),
    "a credential of nine seconds to check": Question(seen(aged(9)), BY_HAND, CHECK),
    "a credential of another tool has no age": Question(seen(replace(GOOD, issued_at=None)), BY_HAND, AUDIT),
    "the audit is off": Question(seen(lease=leased(audited_at=0)), None, policy=NO_AUDIT),
    "the audit is off, by command": Question(seen(), BY_HAND, AUDIT, NO_AUDIT),
    # whatever else its state is
    "near its expiry": Question(seen(left(1000), leased(audited_at=0)), DUE),
    "while this copy waits": Question(seen(lease=replace(waits(90), audited_at=0)), DUE),
    "while another run is at work": Question(
        seen(lease=leased(audited_at=0, work_until=NOW + 20_000, locked_until=NOW + 80_000)), DUE
    ),
    "while a dead attempt has its lock": Question(seen(lease=dead(-40)), DOUBT),
    "though it is forced": Question(seen(lease=leased(audited_at=0)), DUE, FORCE),
    # doubts
    "an attempt without an end": Question(seen(lease=dead(1)), DOUBT),
    "an attempt without an end, just audited": Question(seen(lease=dead(1, audited_at=NOW)), DOUBT),
    "a credential without a lease": Question(seen(GOOD, Lease()), UNKNOWN),
    "a lease without an attempt": Question(seen(GOOD, Lease(exists=True)), UNKNOWN),
    "a doubt with the audit off": Question(seen(GOOD, Lease()), UNKNOWN, policy=NO_AUDIT),
    "a doubt about a credential of nine seconds": Question(seen(aged(9), dead(1)), None),
    "an expiry as far ahead as a credential can live": Question(seen(left(7260)), None),
    "one further ahead": Question(seen(left(7261)), AHEAD),
    # complaints
    "a complaint": Question(seen(lease=leased(audited_at=NOW - 60_000), complaint=GOOD.fingerprint), COMPLAINT),
    "a complaint about another credential": Question(seen(complaint="00000000"), None),
    "a complaint right after a question": Question(
        seen(lease=leased(audited_at=NOW - 59_999), complaint=GOOD.fingerprint), None
    ),
    "a complaint at the instant of a question": Question(
        seen(lease=leased(audited_at=NOW), complaint=GOOD.fingerprint), None
    ),
    "a complaint before a question in the future": Question(
        seen(lease=leased(audited_at=NOW + 1), complaint=GOOD.fingerprint), COMPLAINT
    ),
    "a complaint goes before a command": Question(seen(complaint=GOOD.fingerprint), COMPLAINT, AUDIT),
    "a complaint near the expiry, while this copy waits": Question(
        seen(left(900), waits(90), complaint=GOOD.fingerprint), COMPLAINT
    ),
    "a complaint about an expired credential": Question(seen(left(-1), complaint=GOOD.fingerprint), None),
    "a complaint about a credential of nine seconds": Question(seen(aged(9), complaint=GOOD.fingerprint), None),
    # a question that brought nothing
    "an audit within a minute of one in vain": Question(seen(lease=asked(59, audited_at=NOW - 400_000)), None),
    "an audit a minute after one in vain": Question(seen(lease=asked(60, audited_at=NOW - 400_000)), DUE),
    "while checkCode stays silent it waits its interval": Question(
        seen(lease=asked(239, audited_at=NOW - 500_000)), None
    ),
    "while checkCode stays silent it asks each interval": Question(
        seen(lease=asked(240, audited_at=NOW - 500_000)), DUE
    ),
    "checkCode is silent for two intervals": Question(seen(lease=asked(100, audited_at=NOW - 480_000)), None),
    # a denial of the application, which another copy has to confirm
    "denied to another copy": Question(seen(lease=leased(denied=GOOD.fingerprint, denied_at=NOW - 1000)), DENIED),
    "denied after this copy asked": Question(
        seen(lease=asked(2, denied=GOOD.fingerprint, denied_at=NOW - 1000)), DENIED
    ),
    "denied as this copy asked": Question(seen(lease=asked(1, denied=GOOD.fingerprint, denied_at=NOW - 1000)), None),
    "denied before this copy asked": Question(
        seen(lease=asked(0.5, denied=GOOD.fingerprint, denied_at=NOW - 1000)), None
    ),
    "denied of another credential": Question(seen(lease=leased(denied="00000000", denied_at=NOW - 1000)), None),
    "denied to this copy, a minute later": Question(
        seen(lease=asked(60, denied=GOOD.fingerprint, denied_at=NOW - 60_000, audited_at=NOW - 500_000)), DUE
    ),
    "denied of another credential, while checkCode stays silent": Question(
        seen(lease=asked(100, denied="00000000", denied_at=NOW - 100_000, audited_at=NOW - 500_000)), None
    ),
    "a doubt waits too": Question(seen(lease=asked(59, mark="dead", attempt="dead")), None),
    "a doubt after its wait": Question(seen(lease=asked(60, mark="dead", attempt="dead")), DOUBT),
    "a complaint waits a minute": Question(seen(lease=asked(59), complaint=GOOD.fingerprint), None),
    "a complaint after a minute": Question(seen(lease=asked(60), complaint=GOOD.fingerprint), COMPLAINT),
    "another copy's question in vain does not count": Question(seen(lease=asked(1, OTHER, audited_at=0)), DUE),
    "a question in vain in the future is none": Question(seen(lease=asked(-5, audited_at=0)), DUE),
    "by command it does not wait": Question(seen(lease=asked(1)), BY_HAND, AUDIT),
}


@pytest.mark.parametrize("sentence", QUESTIONS)
def test_question(sentence: str) -> None:
    case = QUESTIONS[sentence]
    verdict = question(case.snapshot, case.policy, case.command, ME)
    assert (verdict and verdict.sentence) == case.sentence
    assert verdict is None or verdict.reason is WHY[verdict.sentence]
    assert decide(case.snapshot, case.policy, case.command, ME).ask is (case.sentence is not None)


def test_codes_fetched_together_are_first_audited_at_different_times() -> None:
    """The first audit comes up to three quarters of the interval earlier; each later one after a whole interval."""

    def first_s(target: Target) -> int:
        record = replace(GOOD, issued_at=NOW_S, expires_at=NOW_S + 7200)
        lease = leased(audited_at=NOW)
        due = (
            age_s
            for age_s in range(300)
            if question(Snapshot(target, NOW + age_s * 1000, record, lease), POLICY, REFRESH, ME)
        )
        return next(due)

    ages_s = [first_s(Target(f"app{number:04d}", kind)) for number, kind in product(range(60), Kind)]
    assert min(ages_s) >= 60
    assert max(ages_s) <= 240
    assert len(set(ages_s)) > 60
    assert ages_s == [first_s(Target(f"app{number:04d}", kind)) for number, kind in product(range(60), Kind)]


def test_a_later_audit_waits_the_whole_interval() -> None:
    later = replace(GOOD, issued_at=NOW_S - 1000)
    assert question(seen(later, leased(audited_at=NOW - 239_000)), POLICY, REFRESH, ME) is None
    assert question(seen(later, leased(audited_at=NOW - 240_000)), POLICY, REFRESH, ME)
    # The name of this target would have its first audit brought forward by a third.
    first = replace(GOOD, issued_at=NOW_S - 200)
    assert question(seen(first, leased(audited_at=NOW - 200_000)), POLICY, REFRESH, ME)
    # What checkCode said two seconds after the issue, or later, is a first audit.
    assert question(seen(first, leased(audited_at=NOW - 198_001)), POLICY, REFRESH, ME)
    assert question(seen(first, leased(audited_at=NOW - 198_000)), POLICY, REFRESH, ME) is None


# -- is a new credential to be fetched? ------------------------------------------------------------


class Case(NamedTuple):
    snapshot: Snapshot
    reason: Reason
    sentence: str = ""
    command: Command = REFRESH
    word: Word | None = None
    policy: Policy = POLICY


NEAR = "1000 s left, less than the margin of 1800 s"
MISSING = "nothing is stored"
DECISIONS = {
    # the reasons
    "nothing stored is MISSING": Case(seen(None), Reason.MISSING, MISSING),
    "nothing stored and nothing known is MISSING": Case(seen(None, Lease()), Reason.MISSING, MISSING),
    "a value of no use is UNREADABLE": Case(
        seen(UNREADABLE), Reason.UNREADABLE, "the stored value is not JSON; it will be replaced"
    ),
    "a value whose end cannot be read is UNREADABLE whatever checkCode says": Case(
        seen(ENDLESS), Reason.UNREADABLE, "the stored value is odd; it will be replaced", word=Word.ALIVE
    ),
    "so it is after a first denial": Case(seen(ENDLESS), Reason.UNREADABLE, word=Word.DENIED),
    "a credential past its end is EXPIRED": Case(seen(left(-5)), Reason.EXPIRED, "the stored credential has expired"),
    "a fetch without a definite end leaves it UNSETTLED": Case(seen(lease=dead(99)), Reason.UNSETTLED, DOUBT),
    "a credential of unknown origin is UNSETTLED": Case(seen(GOOD, Lease()), Reason.UNSETTLED, UNKNOWN),
    "a credential with little life left is NEAR_EXPIRY": Case(seen(left(1000)), Reason.NEAR_EXPIRY, NEAR),
    "a good credential asked for by hand is FORCED": Case(seen(), Reason.FORCED, BY_HAND, FORCE),
    "a good credential is FRESH": Case(seen(), Reason.FRESH, "6000 s left"),
    "a reader's complaint alone fetches nothing": Case(seen(complaint=GOOD.fingerprint), Reason.FRESH),
    "nor does an audit that is due": Case(seen(lease=leased(audited_at=0)), Reason.FRESH),
    "the other kind of a forced one is FRESH": Case(
        seen(), Reason.FRESH, "", Command(kinds=(Kind.JS_TICKET,), force=True)
    ),
    "the other kind of a forced one waits": Case(
        seen(None, waits(9)), Reason.BACKING_OFF, "", Command(kinds=(Kind.JS_TICKET,), force=True)
    ),
    "a forced kind is FORCED": Case(seen(), Reason.FORCED, "", Command(kinds=(Kind.ACCESS_TOKEN,), force=True)),
    # the margin
    "exactly the margin left is FRESH": Case(seen(left(1800)), Reason.FRESH),
    "a second less than the margin is NEAR_EXPIRY": Case(seen(left(1799)), Reason.NEAR_EXPIRY),
    "one second left is NEAR_EXPIRY": Case(seen(left(1)), Reason.NEAR_EXPIRY),
    "at its expiry a credential is EXPIRED": Case(seen(left(0)), Reason.EXPIRED),
    "the cut TTL of a fetch that may be out makes no credential due": Case(
        replace(seen(), ttl_ms=300_000), Reason.FRESH, "6000 s left"
    ),
    # the lock
    "a lease at work is LOCKED": Case(
        seen(None, leased(work_until=NOW + 20_000, locked_until=NOW + 80_000)),
        Reason.LOCKED,
        "another run may be fetching; its lease ends in 80 s",
    ),
    "a lock left by an attempt without an end is named as that": Case(
        seen(None, dead(-40)),
        Reason.LOCKED,
        "an earlier run stopped in the middle of a request; the next try may come in 40 s",
    ),
    "a lock left by an attempt without an end names this copy's own wait where it is longer": Case(
        seen(None, dead(-40, callers=waits(70).callers)),
        Reason.LOCKED,
        "an earlier run stopped in the middle of a request; other copies may try again in 40 s, this one in 70 s",
    ),
    "a lock left by an attempt without an end names no own wait that is as long": Case(
        seen(None, dead(-40, callers=waits(40).callers)),
        Reason.LOCKED,
        "an earlier run stopped in the middle of a request; the next try may come in 40 s",
    ),
    "a lock left by an attempt without an end names no other copy's wait": Case(
        seen(None, dead(-40, callers=waits(70, OTHER).callers)),
        Reason.LOCKED,
        "an earlier run stopped in the middle of a request; the next try may come in 40 s",
    ),
    "a lock left by an attempt without an answer is named as that": Case(
        seen(None, dead(-40, outcome="unknown: http_504", outcome_at=NOW - 10_000)),
        Reason.LOCKED,
        "an earlier run got no answer; the next try may come in 40 s",
    ),
    "a millisecond before the lock's end it is LOCKED": Case(seen(None, leased(locked_until=NOW + 1)), Reason.LOCKED),
    "at the lock's end it is over": Case(seen(None, leased(locked_until=NOW)), Reason.MISSING),
    "half a second after the lock's end it is over": Case(seen(None, leased(locked_until=NOW - 500)), Reason.MISSING),
    "a lock as long as a fresh one is LOCKED": Case(seen(None, leased(locked_until=NOW + 90_000)), Reason.LOCKED),
    "a lock further ahead than a fresh one can be is over": Case(
        seen(None, leased(locked_until=NOW + 90_001)), Reason.MISSING
    ),
    "working time alone locks nothing": Case(seen(None, leased(work_until=NOW + 9_000)), Reason.MISSING),
    "a lock over a good credential is nothing to wait for": Case(
        seen(lease=leased(locked_until=NOW + 9_000)), Reason.FRESH
    ),
    "force does not open a lock": Case(seen(lease=leased(locked_until=NOW + 9_000)), Reason.LOCKED, "", FORCE),
    # this copy's own wait
    "a millisecond before its next attempt it is BACKING_OFF": Case(seen(left(900), waits(0.001)), Reason.BACKING_OFF),
    "at the time of its next attempt it is due": Case(seen(left(900), waits(0)), Reason.NEAR_EXPIRY),
    "it says what it waits after": Case(
        seen(None, waits(9, code="wrong_secret")), Reason.BACKING_OFF, "MISSING, but waits 9 s after: wrong_secret"
    ),
    "and that an attempt said nothing": Case(
        seen(None, waits(9)), Reason.BACKING_OFF, "MISSING, but waits 9 s after: an attempt"
    ),
    "another copy's wait holds this one back from nothing": Case(seen(None, waits(9, OTHER)), Reason.MISSING),
    "the longest wait written ahead is BACKING_OFF": Case(seen(None, waits(690)), Reason.BACKING_OFF),
    "a wait longer than any is over: the clock stepped": Case(seen(None, waits(690.001)), Reason.MISSING),
    "an expired credential waits too": Case(seen(left(-9), waits(9)), Reason.BACKING_OFF),
    "an unreadable value waits too": Case(seen(UNREADABLE, waits(9)), Reason.BACKING_OFF),
    "a doubt without an answer waits too": Case(
        seen(lease=replace(waits(9), mark="dead", attempt="dead")), Reason.BACKING_OFF
    ),
    "by hand it does not wait": Case(seen(None, waits(9)), Reason.MISSING, "", FORCE),
    "a wait does not make a good credential due": Case(seen(lease=waits(9)), Reason.FRESH),
    # who last brought a credential goes first
    "after a dead attempt it yields to the last bringer": Case(
        seen(None, dead(0, issued_by=OTHER, by="cccccccccccc")),
        Reason.YIELDING,
        "MISSING, but the copy that last brought a credential goes first for a tick",
    ),
    "for a tick and no longer": Case(seen(None, dead(60, issued_by=OTHER, by="cccccccccccc")), Reason.MISSING),
    "up to its last moment": Case(seen(None, dead(59.999, issued_by=OTHER, by="cccccccccccc")), Reason.YIELDING),
    "the last bringer itself goes": Case(seen(None, dead(0, issued_by=ME)), Reason.MISSING),
    "where the last bringer died itself it goes first no more": Case(
        seen(None, dead(0, issued_by=OTHER, by=OTHER)), Reason.MISSING
    ),
    "where no copy ever brought a credential chance decides": Case(seen(None, dead(0)), Reason.MISSING),
    "after an attempt that ended no copy yields": Case(
        seen(None, leased(issued_by=OTHER, by="cccccccccccc")), Reason.MISSING
    ),
    "a person does not yield": Case(seen(None, dead(0, issued_by=OTHER, by="cccccccccccc")), Reason.MISSING, "", FORCE),
    "a lock that a stepped clock left far ahead makes no copy yield": Case(
        seen(None, dead(-200, issued_by=OTHER, by="cccccccccccc")), Reason.MISSING
    ),
    "a timer of five minutes yields for one of its ticks": Case(
        seen(None, dead(299, issued_by=OTHER, by="cccccccccccc")), Reason.YIELDING, policy=Policy(tick_s=300)
    ),
    # the age of the credential
    "a credential just issued is COOLING_DOWN, even by hand": Case(
        seen(aged(5)), Reason.COOLING_DOWN, "FORCED, but the credential is only 5 s old", FORCE
    ),
    "a second before the end of cooling down": Case(seen(aged(29)), Reason.COOLING_DOWN, "", FORCE),
    "at the end of cooling down": Case(seen(aged(30)), Reason.FORCED, "", FORCE),
    "issued this very second": Case(seen(aged(0)), Reason.COOLING_DOWN, "", FORCE),
    "an issue in the future has no age": Case(seen(aged(-500)), Reason.FORCED, "", FORCE),
    "a credential of another tool has no age": Case(seen(replace(GOOD, issued_at=None)), Reason.FORCED, "", FORCE),
    "cooling down goes before backing off": Case(seen(left(900, issued_at=NOW_S - 5), waits(9)), Reason.COOLING_DOWN),
    "an expired credential does not cool down": Case(seen(left(-1, issued_at=NOW_S - 5)), Reason.EXPIRED),
    "a young and good credential is simply FRESH": Case(seen(aged(5)), Reason.FRESH),
    # an expiry that no credential can have
    "an expiry as far ahead as a credential can live is FRESH": Case(seen(left(7260)), Reason.FRESH),
    "one further ahead is UNSETTLED": Case(seen(left(7261)), Reason.UNSETTLED, AHEAD),
    # what checkCode said in this run
    "a credential in doubt that lives is FRESH": Case(seen(lease=dead(9)), Reason.FRESH, word=Word.ALIVE),
    "a credential in doubt that ends is judged by its end": Case(
        seen(left(1000), dead(9)), Reason.NEAR_EXPIRY, word=Word.ENDS
    ),
    "a credential in doubt without an answer is fetched for": Case(
        seen(lease=dead(99)), Reason.UNSETTLED, word=Word.SILENT
    ),
    "a denial settles no doubt": Case(seen(lease=dead(99)), Reason.UNSETTLED, word=Word.DENIED),
    "an impossible expiry that lives is FRESH": Case(seen(left(9999)), Reason.FRESH, word=Word.ALIVE),
    "a settled credential that checkCode says nothing of is FRESH": Case(seen(), Reason.FRESH, word=Word.SILENT),
    "a credential once denied is FRESH": Case(seen(), Reason.FRESH, word=Word.DENIED),
    "a credential that was refused and is gone is REFUSED": Case(
        seen(None), Reason.REFUSED, "the platform refuses the stored credential", word=Word.REFUSED
    ),
    "a credential that was denied twice and is gone is REFUSED": Case(
        seen(None),
        Reason.REFUSED,
        "the platform twice denied the application of the stored credential",
        word=Word.DENIED,
    ),
    "another credential that was stored meanwhile is none of it": Case(seen(), Reason.FRESH, word=Word.REFUSED),
    "one without a credential to lose is MISSING": Case(seen(None), Reason.MISSING, word=Word.SILENT),
}


@pytest.mark.parametrize("sentence", DECISIONS)
def test_decide(sentence: str) -> None:
    case = DECISIONS[sentence]
    decision = decide(case.snapshot, case.policy, case.command, ME, case.word)
    assert decision.reason is case.reason
    assert case.sentence in ("", decision.sentence)
    assert decision.target == TARGET
    assert decision.due is case.reason.due
    assert decision.sentence
    assert GOOD.code not in decision.sentence
    assert case.word is None or not decision.ask


def test_every_reason_of_a_decision_is_reached_by_a_table_row() -> None:
    reached = {case.reason for case in DECISIONS.values()}
    assert reached == set(Reason) - {Reason.SUPERSEDED, Reason.NOT_READ}


def test_exactly_six_reasons_are_not_due() -> None:
    names = {reason.value for reason in Reason if not reason.due}
    assert names == {"LOCKED", "BACKING_OFF", "YIELDING", "COOLING_DOWN", "NOT_READ", "FRESH"}


def test_every_reason_has_a_meaning_of_its_own() -> None:
    assert len({reason.meaning for reason in Reason}) == len(Reason)
    assert Reason.FRESH.meaning == "nothing to do"


def test_at_once_leaves_out_own_waits_and_nothing_else() -> None:
    def at_once(snapshot: Snapshot) -> Reason:
        return decide(snapshot, POLICY, REFRESH, ME, at_once=True).reason

    assert at_once(seen(None, waits(9))) is Reason.MISSING
    assert at_once(seen(None, dead(0, issued_by=OTHER, by="cccccccccccc"))) is Reason.MISSING
    assert at_once(seen(None, leased(locked_until=NOW + 9_000))) is Reason.LOCKED
    assert at_once(seen(left(900, issued_at=NOW_S - 5))) is Reason.COOLING_DOWN


# -- what goes before what -------------------------------------------------------------------

_FLAWS: tuple[tuple[Reason, Callable[[Snapshot, Command], tuple[Snapshot, Command]]], ...] = (
    (
        Reason.LOCKED,
        lambda seen, command: (replace(seen, lease=replace(seen.lease, locked_until=NOW + 1)), command),
    ),
    (Reason.MISSING, lambda seen, command: (replace(seen, record=None), command)),
    (Reason.UNSETTLED, lambda seen, command: (replace(seen, lease=replace(seen.lease, mark="dead")), command)),
    (Reason.NEAR_EXPIRY, lambda seen, command: (replace(seen, record=left(100)), command)),
    (Reason.FORCED, lambda seen, command: (seen, replace(command, force=True))),
)


@pytest.mark.parametrize("first", range(len(_FLAWS)), ids=[reason.value for reason, _ in _FLAWS])
def test_of_several_flaws_the_first_in_order_is_the_reason(first: int) -> None:
    snapshot, command = seen(), REFRESH
    for _, spoil in reversed(_FLAWS[first:]):
        snapshot, command = spoil(snapshot, command)
    assert decide(snapshot, POLICY, command, ME).reason is _FLAWS[first][0]


def test_unreadable_and_expired_come_where_missing_does() -> None:
    lease = leased(mark="dead")
    for record, reason in ((UNREADABLE, Reason.UNREADABLE), (left(-1), Reason.EXPIRED)):
        assert decide(seen(record, lease), POLICY, FORCE, ME).reason is reason
        locked = replace(lease, locked_until=NOW + 1)
        assert decide(seen(record, locked), POLICY, FORCE, ME).reason is Reason.LOCKED


# -- whatever Redis holds --------------------------------------------------------------------

_instants = st.one_of(
    st.just(0), st.integers(NOW - 400_000, NOW + 400_000), st.integers(0, 10**15), st.integers(0, 2**53)
)
_names = st.sampled_from(("", ME, OTHER, "garbage"))
_callers = st.builds(
    Caller, name=_names, until=_instants, failures=st.integers(0, 10**15), asked_at=_instants, code=st.text(max_size=8)
)
_leases = st.builds(
    Lease,
    exists=st.booleans(),
    attempt=st.text(max_size=4),
    finished=st.text(max_size=4),
    fence=_instants,
    work_until=_instants,
    locked_until=_instants,
    mark=st.text(max_size=4),
    mark_since=_instants,
    before=st.text(max_size=4),
    by=_names,
    issued_by=_names,
    callers=st.lists(_callers, max_size=3).map(tuple),
    audited_at=_instants,
    denied=st.text(max_size=8),
    denied_at=_instants,
    life_s=st.integers(0, 10**6),
    outcome=st.text(max_size=8),
    outcome_at=_instants,
    superseded=st.lists(_instants, max_size=5).map(tuple),
)
_seconds = _instants.map(lambda instant: instant // 1000)
_records = st.one_of(
    st.none(),
    st.builds(Unreadable, st.text(max_size=8)),
    st.builds(Record, code=st.text(min_size=1), expires_at=_seconds, issued_at=st.none() | _seconds, fence=_instants),
)
_commands = st.builds(Command, action=st.sampled_from(Action), force=st.booleans())
_complaints = st.none() | st.just("") | st.text(alphabet="0123456789abcdef", min_size=8, max_size=8)
_NO_CODE = (Reason.MISSING, Reason.UNREADABLE, Reason.EXPIRED, Reason.REFUSED)
_WAITING = (Reason.LOCKED, Reason.BACKING_OFF, Reason.YIELDING)


@unhurried
@given(
    record=_records,
    lease=_leases,
    command=_commands,
    complaint=_complaints,
    complains_rightly=st.booleans(),
    word=st.none() | st.sampled_from(Word),
    at_once=st.booleans(),
)
def test_deciding_never_fails_and_depends_on_nothing_but_what_it_is_given(
    record: Record | Unreadable | None,
    lease: Lease,
    command: Command,
    complaint: str | None,
    complains_rightly: bool,
    word: Word | None,
    at_once: bool,
) -> None:
    if complains_rightly and isinstance(record, Record):
        complaint = record.fingerprint
    snapshot = Snapshot(TARGET, NOW, record, lease, complaint=complaint)
    before = repr((snapshot, command, POLICY))
    decision = decide(snapshot, POLICY, command, ME, word, at_once=at_once)
    assert decision == decide(snapshot, POLICY, command, ME, word, at_once=at_once)
    assert repr((snapshot, command, POLICY)) == before
    # Whatever the reason: a held lease keeps everyone out, and only a live credential can be asked about.
    if 0 < lease.locked_until - NOW <= (POLICY.work_s + POLICY.flight_s) * 1000:
        assert not decision.due
    assert not decision.ask or snapshot.live is not None
    if snapshot.live is None:
        assert decision.reason in (*_NO_CODE, *_WAITING)


@unhurried
@given(lease=_leases, record=_records)
def test_nothing_in_redis_keeps_a_target_from_being_renewed_for_longer_than_the_policy_allows(
    lease: Lease, record: Record | Unreadable | None
) -> None:
    # Further ahead than they can have been set, both count as over until then.
    later_s = int(POLICY.longest_wait_s + POLICY.tick_s) + 1
    end = replace(record, expires_at=NOW_S) if isinstance(record, Record) else record
    callers = tuple(replace(each, until=min(each.until, NOW + 690_000)) for each in lease.callers)
    lease = replace(lease, locked_until=min(lease.locked_until, NOW + 90_000), callers=callers)
    assert decide(Snapshot(TARGET, NOW + later_s * 1000, end, lease), POLICY, REFRESH, ME).due


@unhurried
@given(lease=_leases, record=_records, command=_commands)
def test_no_lock_and_no_wait_for_a_fetch_puts_a_question_off(
    lease: Lease, record: Record | Unreadable | None, command: Command
) -> None:
    """The watch depends on nothing of the renewal."""
    free = replace(
        lease,
        locked_until=0,
        work_until=0,
        by="",
        issued_by="",
        callers=tuple(replace(each, until=0, failures=0, code="") for each in lease.callers),
    )
    was, now = (question(Snapshot(TARGET, NOW, record, each), POLICY, command, ME) for each in (lease, free))
    assert was == now


# -- waiting after a definite no -------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "base_s"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 300), (6, 300), (40, 300), (10**15, 300)],
)
def test_the_wait_doubles_up_to_its_cap_and_is_at_most_a_tenth_longer(failures: int, base_s: int) -> None:
    for number in range(50):
        wait_s = retry_delay_s(Target(f"app{number}", Kind.JS_TICKET), failures, POLICY)
        assert base_s <= wait_s < base_s * 1.1


@pytest.mark.parametrize(("left_s", "wait_s"), [(1800, 300), (1200, 300), (800, 200), (100, 25), (1, 0.25), (0, 300)])
def test_the_wait_is_never_longer_than_a_quarter_of_what_is_left(left_s: int, wait_s: float) -> None:
    assert wait_s <= retry_delay_s(TARGET, 9, POLICY, left_s) <= wait_s * 1.1


def test_the_wait_is_the_same_every_time_and_differs_between_targets() -> None:
    targets = [Target(f"app{number}", kind) for number, kind in product(range(50), Kind)]
    waits = [retry_delay_s(target, 3, POLICY) for target in targets]
    assert waits == [retry_delay_s(target, 3, POLICY) for target in targets]
    assert len(set(waits)) > 80


def test_the_jitter_is_the_same_on_every_machine() -> None:
    # zlib.crc32(b"app0000/access_token") % 1000 is 414; Python's own hash would differ by process
    assert retry_delay_s(TARGET, 1, POLICY) == pytest.approx(30 * 1.0414)


def test_no_wait_is_taken_for_a_clock_that_stepped() -> None:
    for number, failures in product(range(50), range(1, 12)):
        target = Target(f"app{number}", Kind.ACCESS_TOKEN)
        wait_s = retry_delay_s(target, failures, POLICY)
        snapshot = replace(seen(None, waits(wait_s)), target=target)
        assert decide(snapshot, POLICY, REFRESH, ME).reason is Reason.BACKING_OFF


def _attempts(target: Target, policy: Policy, first_tick_s: float) -> int:
    """How often a credential is tried for before it expires when every attempt is refused."""
    begin = NOW - int(policy.margin_s * 1000)
    record, own, tick, tries = replace(GOOD, expires_at=NOW_S, issued_at=NOW_S - 7200), Caller(ME), 0, 0
    while (now := begin + round((first_tick_s + tick * policy.tick_s) * 1000)) < NOW:
        lease = leased(callers=(own,), audited_at=now)
        if decide(Snapshot(target, now, record, lease), policy, REFRESH, ME).due:
            tries += 1
            wait_ms = round(retry_delay_s(target, tries, policy) * 1000)
            own = replace(own, failures=tries, until=now + wait_ms)
        tick += 1
    return tries


@pytest.mark.parametrize("tick_s", [60, 300])
def test_five_attempts_fit_into_the_margin(tick_s: int) -> None:
    policy = Policy(tick_s=tick_s)
    assert policy.problems() == []
    for number, kind, share in product(range(60), Kind, (0.001, 0.5, 1)):
        assert _attempts(Target(f"app{number}", kind), policy, tick_s * share) >= 5


AT_WORK = {
    "none": (0, False),
    "a run, for another second": (NOW + 1_000, True),
    "a run who has just begun": (NOW + 30_000, True),
    "a run whose time is just over": (NOW, False),
    "a run with more time than there is": (NOW + 30_001, False),
}


@pytest.mark.parametrize("sentence", AT_WORK)
def test_at_work_is(sentence: str) -> None:
    work_until, expected = AT_WORK[sentence]
    assert at_work(seen(None, leased(work_until=work_until)), POLICY) is expected


AFTER_LIMIT = {
    "waiting after a limit": (Reason.BACKING_OFF, "rate_limited", ME, True),
    "waiting after another failure": (Reason.BACKING_OFF, "http_504", ME, False),
    "not waiting, whatever the last attempt met": (Reason.LOCKED, "rate_limited", ME, False),
    "waiting after a limit that another copy met": (Reason.BACKING_OFF, "rate_limited", OTHER, False),
}


@pytest.mark.parametrize("sentence", AFTER_LIMIT)
def test_after_limit_is(sentence: str) -> None:
    reason, code, name, expected = AFTER_LIMIT[sentence]
    snapshot = seen(lease=leased(callers=(Caller(name, code=code),)))
    assert after_limit(snapshot, Decision(TARGET, reason, ""), ME) is expected


LATE_MS = round(1.5 * POLICY.question_interval_s * 1000)
CAN_WAIT = {
    "an audit that is due": (seen(), True),
    "an audit that is almost long overdue": (seen(lease=leased(audited_at=NOW - LATE_MS + 1)), True),
    "an audit that is long overdue": (seen(lease=leased(audited_at=NOW - LATE_MS)), False),
    "the doubt of an unsettled credential": (seen(lease=leased(mark="dead")), False),
    "a complaint": (seen(complaint=GOOD.fingerprint), False),
    "a denial that another copy met": (seen(lease=leased(denied=GOOD.fingerprint)), False),
}


@pytest.mark.parametrize("sentence", CAN_WAIT)
def test_can_wait_is(sentence: str) -> None:
    snapshot, expected = CAN_WAIT[sentence]
    assert can_wait(snapshot, POLICY) is expected
