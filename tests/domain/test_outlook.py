"""What a snapshot tells those who show state: danger to come, traces of runs, and what a refresh would do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from token_refresher.domain.decision import Decision, at_work, unanswered
from token_refresher.domain.life import in_danger, safe_for_s
from token_refresher.domain.model import Caller, Kind, Lease, Record, Snapshot, Target, Unreadable
from token_refresher.domain.outlook import Would, quiet_s, traced_at, would
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason

POLICY = Policy()
TOKEN, TICKET = Target("app0000", Kind.ACCESS_TOKEN), Target("app0000", Kind.JS_TICKET)
NOW_S = 1_700_000_000
NOW = NOW_S * 1000


def seen(left_s: int | None = 5000, *, age_s: int | None = None, ttl_s: float | None = None, **lease: Any) -> Snapshot:
    """A token with so much left, of a whole life's age unless `age_s` says otherwise; without `left_s` nothing."""
    issued_at = NOW_S - (7200 - (left_s or 0) if age_s is None else age_s)
    record = None if left_s is None else Record("the credential", NOW_S + left_s, issued_at, 7)
    ttl_ms = None if ttl_s is None else round(ttl_s * 1000)
    return Snapshot(TOKEN, NOW, record, replace(Lease(True, mark=""), **lease), ttl_ms=ttl_ms)


# -- danger ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snapshot", "safe_s"),
    [
        (seen(5000), 4400),
        (seen(600), 0),
        (seen(599), -1),
        (seen(None), -600),
        (replace(seen(), record=Unreadable("not JSON")), -600),
        (seen(5000, ttl_s=600, mark="an attempt"), 300),
        (seen(5000, ttl_s=299, mark="an attempt"), -1),
        # A newer credential ended it: the grace is left at most, and the lock may take a part of it.
        (seen(590, age_s=3000), 290),
        (seen(299, age_s=3000), -1),
        (seen(200, age_s=100, life_s=300), 175),
    ],
)
def test_a_code_is_in_danger_when_its_safe_time_is_over(snapshot: Snapshot, safe_s: int) -> None:
    assert safe_for_s(snapshot, POLICY) == safe_s
    assert in_danger(snapshot, POLICY) is (safe_s < 0)


def test_time_that_passes_uses_up_the_safe_time() -> None:
    for snapshot in (seen(5000), seen(5000, ttl_s=600, mark="x"), seen(590, age_s=3000)):
        later = replace(snapshot, now_ms=NOW + 100_000, ttl_ms=snapshot.ttl_ms and snapshot.ttl_ms - 100_000)
        assert safe_for_s(later, POLICY) == safe_for_s(snapshot, POLICY) - 100


# -- attempts ----------------------------------------------------------------------------------

_HELD: dict[str, Any] = {"attempt": "a", "work_until": NOW + 20_000, "locked_until": NOW + 80_000}


@pytest.mark.parametrize(
    ("outcome", "outcome_at", "works"),
    [
        ("", 0, True),
        ("issued", NOW - 5_000_000, True),
        ("unknown: no_answer", NOW - 10_001, True),
        ("unknown: no_answer", NOW - 10_000, False),
        ("unknown: bad_answer", NOW - 1, False),
    ],
)
def test_no_run_is_at_work_once_an_unknown_end_is_entered(outcome: str, outcome_at: int, works: bool) -> None:
    snapshot = seen(**_HELD, outcome=outcome, outcome_at=outcome_at)
    assert at_work(snapshot, POLICY) is works
    assert unanswered(snapshot, POLICY) is not works


# -- traces ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lease", "at"),
    [
        ({}, 0),
        ({"outcome_at": NOW - 9}, NOW - 9),
        ({"outcome_at": NOW - 9, "audited_at": NOW - 7}, NOW - 7),
        ({"work_until": NOW + 29_000}, NOW - 1000),
        ({"audited_at": NOW - 9, "callers": (Caller("a", asked_at=NOW - 5), Caller("b", asked_at=NOW - 6))}, NOW - 5),
        ({"audited_at": NOW + 10**9}, NOW),
    ],
)
def test_the_newest_trace_of_a_run(lease: dict[str, Any], at: int) -> None:
    assert traced_at(seen(**lease), POLICY) == at


def test_how_long_runs_may_leave_no_trace() -> None:
    assert quiet_s(seen(), POLICY) == 240 + 120
    assert quiet_s(seen(callers=(Caller("a", failures=1),)), POLICY) == POLICY.longest_wait_s + 120
    assert quiet_s(seen(), replace(POLICY, audit_interval_s=0)) == 5400 + 120


# -- what a refresh would do ---------------------------------------------------------------------

DUE, LOCKED, FRESH = (Decision(TOKEN, reason, "") for reason in (Reason.NEAR_EXPIRY, Reason.LOCKED, Reason.FRESH))
ASK = replace(FRESH, ask=True)
LIVE, GONE = seen(5000), seen(None)
ENDLESS = replace(LIVE, record=Unreadable("odd", "a credential"))


@pytest.mark.parametrize(
    ("decision", "snapshot", "expected"),
    [
        (FRESH, LIVE, Would.NOTHING),
        (LOCKED, GONE, Would.NOTHING),
        (ASK, LIVE, Would.ASK),
        (replace(LOCKED, ask=True), LIVE, Would.ASK),
        (DUE, LIVE, Would.FETCH),
        (replace(DUE, ask=True), LIVE, Would.FETCH),
        (replace(DUE, ask=True), seen(5000, mark="an attempt"), Would.ASK),
        (replace(DUE, ask=True), replace(LIVE, complaint="0a1b2c3d"), Would.ASK),
        # It is replaced whatever checkCode says.
        (replace(DUE, ask=True), replace(ENDLESS, lease=Lease(True)), Would.FETCH),
        (replace(DUE, ask=True), replace(ENDLESS, complaint="0a1b2c3d"), Would.ASK),
        (replace(LOCKED, ask=True), ENDLESS, Would.ASK),
    ],
)
def test_what_would_be_done_about_a_token(decision: Decision, snapshot: Snapshot, expected: Would) -> None:
    assert would(decision, snapshot, (decision, snapshot), False) is expected


@pytest.mark.parametrize(
    ("decision", "snapshot", "token", "renewed", "expected"),
    [
        (DUE, GONE, (FRESH, LIVE), False, Would.FETCH),
        (DUE, GONE, (DUE, GONE), True, Would.FETCH),
        (DUE, GONE, (LOCKED, LIVE), False, Would.FETCH),
        (DUE, GONE, (LOCKED, GONE), False, Would.WAIT),
        (DUE, GONE, None, False, Would.WAIT),
        (FRESH, LIVE, (DUE, LIVE), True, Would.ASK),
        (FRESH, LIVE, (DUE, LIVE), False, Would.NOTHING),
        (LOCKED, GONE, (DUE, GONE), True, Would.NOTHING),
    ],
)
def test_what_would_be_done_about_a_ticket(
    decision: Decision, snapshot: Snapshot, token: tuple[Decision, Snapshot] | None, renewed: bool, expected: Would
) -> None:
    assert would(decision, replace(snapshot, target=TICKET), token, renewed) is expected
