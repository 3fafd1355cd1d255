"""How long a credential lasts: margins, danger, TTLs, what checkCode's expiry says, and other programs' refreshes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.tables import each_line
from token_refresher.domain.command import Command
from token_refresher.domain.decision import decide
from token_refresher.domain.life import (
    elsewhere,
    ends_at_issue,
    ends_early,
    in_danger,
    margin_of,
    reckoned_end,
    safe_for_s,
    shortened,
    ttl_is_wrong,
)
from token_refresher.domain.model import Kind, Lease, Record, Snapshot, Target, Unreadable
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason

POLICY = Policy()
TARGET = Target("app0000", Kind.JS_TICKET)
NOW_S = 1_700_000_000
NOW = NOW_S * 1000
SETTLED = Lease(exists=True, mark="", audited_at=NOW)
MARKED = replace(SETTLED, mark="dead")
THRICE = tuple(NOW - ago_s * 1000 for ago_s in (3000, 2000, 1000))


def code(left_s: int, age_s: int | None = None) -> Record:
    """A credential with so much left; of a whole life's age unless `age_s` says otherwise."""
    return Record("the credential", NOW_S + left_s, NOW_S - (7200 - left_s if age_s is None else age_s), 7)


def seen(record: Record | Unreadable | None, ttl_s: float | None = None, **lease: Any) -> Snapshot:
    ttl_ms = None if ttl_s is None else round(ttl_s * 1000)
    return Snapshot(TARGET, NOW, record, replace(SETTLED, **lease), ttl_ms=ttl_ms)


# -- ends that come early --------------------------------------------------------------------

SHORTENED = {
    "its whole life": (seen(code(600)), False),
    "a minute less is tolerated": (seen(code(600, 6540)), False),
    "more than a minute less": (seen(code(600, 6539)), True),
    "the end that a newer credential leaves it": (seen(code(660, 3000)), True),
    "later than a newer credential leaves it": (seen(code(661, 3000)), False),
    "a credential of another tool": (seen(replace(code(300), issued_at=None)), False),
    "an expired one": (seen(code(0, 3000)), False),
    "none": (seen(None), False),
    "a life of 300 s": (seen(code(100, 200), life_s=300), False),
    "a life of 300 s that ends early": (seen(code(100, 100), life_s=300), True),
}


@pytest.mark.parametrize("sentence", SHORTENED)
def test_shortened(sentence: str) -> None:
    snapshot, expected = SHORTENED[sentence]
    assert shortened(snapshot, POLICY) is expected


@pytest.mark.parametrize(
    ("left_s", "age_s", "expected"),
    [
        (600, 0, True),
        (660, 0, True),
        (661, 0, False),
        (500, 160, True),
        (500, 161, False),
        # Redis's clock was set back: it seems to end before its issue, of which nothing is known then.
        (500, -499, True),
        (500, -500, False),
        (500, -86400, False),
    ],
)
def test_a_code_that_ends_a_grace_after_its_issue_was_superseded_at_its_issue(
    left_s: int, age_s: int, expected: bool
) -> None:
    record = code(7000, age_s)
    assert ends_at_issue(record, NOW_S + left_s, POLICY) is expected
    assert not ends_at_issue(replace(record, issued_at=None), NOW_S + left_s, POLICY)


MARGINS = {
    "a whole life": (seen(code(7000)), 1800),
    "a life of 300 s": (seen(code(200, 100), life_s=300), 150),
    "an hour": (seen(code(3000, 600), life_s=3600), 900),
    "a life that is not known": (seen(code(7000), life_s=0), 1800),
    "a credential that was superseded by accident": (seen(code(500, 3000), superseded=THRICE[:2]), 1800),
    "a credential superseded for the third time within the hour": (seen(code(500, 3000), superseded=THRICE), 180),
    "a good credential after three supersessions": (seen(code(5000), superseded=THRICE), 1800),
    "a credential superseded three times in more than an hour": (
        seen(code(500, 3000), superseded=(NOW - 3_600_000, *THRICE[1:])),
        1800,
    ),
    "a credential superseded three times in an hour and less than a second": (
        seen(code(500, 3000), superseded=(NOW - 3_599_001, *THRICE[1:])),
        1800,
    ),
    "a credential that was superseded as it was issued": (seen(code(550, 50)), 180),
    "none": (seen(None), 1800),
}


@pytest.mark.parametrize("sentence", MARGINS)
def test_margin_of(sentence: str) -> None:
    snapshot, margin_s = MARGINS[sentence]
    assert margin_of(snapshot, POLICY) == margin_s


def test_a_code_that_ends_early_is_superseded_and_due() -> None:
    decision = decide(seen(code(500, 3000)), POLICY, Command(), "me")
    assert (decision.reason, decision.due) == (Reason.SUPERSEDED, True)
    assert decision.sentence == "a newer credential exists; the platform ends this one in 500 s"


def test_a_code_that_others_supersede_in_a_row_is_used_nearly_to_its_end() -> None:
    """To renew it at once would only supersede theirs in turn."""
    for left_s, reason in ((500, Reason.FRESH), (180, Reason.FRESH), (179, Reason.SUPERSEDED)):
        snapshot = seen(code(left_s, 3000), superseded=THRICE)
        assert decide(snapshot, POLICY, Command(), "me").reason is reason
        at_issue = seen(code(left_s, 600 - left_s))
        assert decide(at_issue, POLICY, Command(), "me").reason is reason


def test_elsewhere_is_three_times_within_the_hour() -> None:
    assert elsewhere((6000, 7000, 8000), 9000) == (6000, 7000, 8000)
    assert elsewhere((5401, 7000, 8000), 9000) == (5401, 7000, 8000)
    assert elsewhere((5400, 7000, 8000), 9000) == ()
    assert elsewhere((1, 6000, 7000, 8000), 9000) == (6000, 7000, 8000)
    assert elsewhere((7000, 8000), 9000) == ()
    assert elsewhere((), 9000) == ()


# -- danger ----------------------------------------------------------------------------------

AT_WORK: dict[str, Any] = {"attempt": "a", "work_until": NOW + 20_000, "locked_until": NOW + 80_000}
DANGER = {
    "nothing stored": (seen(None), True),
    "nothing stored, while a run is at work": (seen(None, **AT_WORK), True),
    "a value that holds no record": (seen(Unreadable("not JSON"), 500), True),
    "an expired credential": (seen(code(0), 1), True),
    "ten minutes": (seen(code(600), 600), False),
    "a second less": (seen(code(599), 599), True),
    "a second less, while a run is at work": (seen(code(599), 599, **AT_WORK), True),
    "a TTL cut to the grace": (seen(code(6000), 600, mark="a"), False),
    "a cut TTL of half the grace": (seen(code(6000), 300, mark="a"), False),
    "a cut TTL of less than half the grace": (seen(code(6000), 299, mark="a"), True),
    "a TTL that is over": (seen(code(6000), -1), True),
    "a value without a TTL": (seen(code(6000)), False),
    "a life of 300 s, half of it left": (seen(code(150, 150), 150, life_s=300), False),
    "a life of 300 s, a twelfth of it left": (seen(code(25, 275), 25, life_s=300), False),
    "a life of 300 s, less than a twelfth of it left": (seen(code(24, 276), 24, life_s=300), True),
    "a life of less than two ticks, a tick of it left": (seen(code(60, 59), 60, life_s=119), False),
    "a life of less than two ticks, less than a tick of it left": (seen(code(59, 60), 59, life_s=119), True),
    "a life of two ticks, less than a tick of it left": (seen(code(59, 61), 59, life_s=120), False),
    "a credential that others supersede in a row, before it is due": (
        seen(code(180, 3000), 180, superseded=THRICE),
        False,
    ),
    "a credential that others supersede in a row, when it is due": (
        seen(code(179, 3000), 179, superseded=THRICE),
        True,
    ),
}


@each_line("sentence", DANGER)
def test_in_danger(sentence: str) -> None:
    snapshot, expected = DANGER[sentence]
    assert in_danger(snapshot, POLICY) is expected


def test_who_knows_the_margin_need_not_have_it_reckoned_again() -> None:
    """Below one tick a credential may end before the next run, so danger begins a tick before the end."""
    assert safe_for_s(seen(code(5000), 5000), POLICY, POLICY.tick_s - 1) == 5000 - POLICY.tick_s
    assert safe_for_s(seen(code(5000), 5000), POLICY) == 5000 - POLICY.alarm_for(0)


# -- the TTL that a value must have ----------------------------------------------------------

TTLS = {
    "nothing stored": (seen(None), False),
    "none": (seen(code(5000)), True),
    "until the recorded end": (seen(code(5000), 5000), False),
    "a second's rounding more": (seen(code(5000), 5001), False),
    "longer": (seen(code(5000), 5001.001), True),
    "shorter": (seen(code(5000), 10), False),
    "the grace, while a newer credential may exist": (seen(code(5000), 600, mark="dead"), False),
    "longer than the grace, while a newer credential may exist": (seen(code(5000), 601.001, mark="dead"), True),
    "until its end within the grace": (seen(code(100), 100, mark="dead"), False),
    "beyond its end within the grace": (seen(code(100), 102, mark="dead"), True),
    "none, of a value that holds no record": (seen(Unreadable("not JSON")), True),
    "the grace, of a value that holds no record": (seen(Unreadable("not JSON"), 600), False),
    "longer than the grace, of a value that holds no record": (seen(Unreadable("not JSON"), 601.001), True),
    "a credential past its end": (seen(code(-5), 5), True),
    "a credential whose end lies further ahead than any life": (seen(code(90_000), 7260), False),
    "longer than any life, of a credential whose end lies further ahead": (seen(code(90_000), 7261.001), True),
    "none, of a credential whose end is in milliseconds": (seen(replace(code(0), expires_at=NOW)), True),
    "longer than the grace, of a value whose end cannot be read": (seen(Unreadable("odd", "a credential"), 602), True),
    "the grace, of a value whose end cannot be read": (seen(Unreadable("odd", "a credential"), 600), False),
    "a credential without a lease": (replace(seen(code(5000), 5000), lease=Lease()), True),
}


@each_line("sentence", TTLS)
def test_ttl_is_wrong(sentence: str) -> None:
    snapshot, expected = TTLS[sentence]
    assert ttl_is_wrong(snapshot, POLICY) is expected


# -- what checkCode's expiry says ------------------------------------------------------------

GOOD = code(5000)
ENDS_EARLY = {
    "the expiry that is recorded": (0, 0.0, False),
    "a minute early is tolerated": (-60, 0.0, False),
    "more than a minute early": (-61, 0.0, True),
    "ten minutes early": (-600, 0.0, True),
    "later than recorded": (+900, 0.0, False),
    # the platform's clock is ahead of Redis's (or behind): its instants are, too
    "a platform ten minutes behind, and a good credential": (-600, -600.0, False),
    "a platform ten minutes ahead, and a good credential": (+600, 600.0, False),
    "a platform ten minutes behind, and a superseded credential": (-600 - 3000, -600.0, True),
    "a platform ten minutes ahead, and a superseded credential": (600 - 3000, 600.0, True),
    # a Date header that lies: what the expiry says by itself counts too
    "a Date an hour ahead, and a good credential": (0, 3600.0, False),
    "a Date an hour behind, and a good credential": (0, -3600.0, False),
    "a Date an hour ahead, and a credential that is superseded": (-3000, 3600.0, True),
    "a Date years ahead, and a good credential": (0, 1e9, False),
}


@each_line("sentence", ENDS_EARLY)
def test_ends_early(sentence: str) -> None:
    later_s, skew_s, expected = ENDS_EARLY[sentence]
    assert ends_early(GOOD, reckoned_end(GOOD.expires_at + later_s, skew_s, POLICY), POLICY) is expected


@pytest.mark.parametrize(
    ("later_s", "skew_s", "expected"),
    [(0, 0.0, False), (0, 61.0, True), (0, 3600.0, True), (0, -3600.0, False), (600, 600.0, False), (0, 60.0, False)],
)
def test_where_a_third_clock_confirms_the_platforms_a_step_of_rediss_clock_shows(
    later_s: int, skew_s: float, expected: bool
) -> None:
    for apart_s in (0.0, 60.0, -60.0):
        assert ends_early(GOOD, reckoned_end(GOOD.expires_at + later_s, skew_s, POLICY, apart_s), POLICY) is expected


@pytest.mark.parametrize("apart_s", [None, 61.0, -61.0])
def test_without_a_third_clock_the_later_end_counts(apart_s: float | None) -> None:
    assert reckoned_end(NOW_S, 3600.0, POLICY, apart_s) == NOW_S
    assert reckoned_end(NOW_S, -3600.0, POLICY, apart_s) == NOW_S + 3600
    assert reckoned_end(NOW_S, 3600.0, POLICY, 0.0) == NOW_S - 3600
