"""The numbers of the algorithm: which hold together, and which do not."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from support.tables import each_line
from token_refresher.domain.policy import Policy


def _scaled(factor: float) -> Policy:
    """The whole system that many times as fast."""
    numbers = {field.name: getattr(Policy(), field.name) / factor for field in fields(Policy)}
    return Policy(**{**numbers, "concurrency": 16})


HOLDS = {
    "the numbers as they are": Policy(),
    "a timer that fires every five minutes": Policy(tick_s=300),
    "a timer as slow as five attempts in the margin allow": Policy(tick_s=360, audit_interval_s=210),
    "the audit turned off": Policy(audit_interval_s=0),
    "nothing that may be zero": Policy(
        audit_interval_s=0, audit_min_age_s=0, audit_tolerance_s=0, cooldown_s=0, reader_cache_s=0
    ),
    "ten times as fast": _scaled(10),
    "a hundred times as fast": _scaled(100),
    "a thousand times as fast": _scaled(1000),
    # each inequality at its very edge
    "a request as long as half the work": Policy(request_total_s=15),
    "healing that takes the whole grace": Policy(flight_s=480),
    "an audit that takes the whole grace": Policy(audit_interval_s=510),
    "a margin as long as the grace": Policy(grace_s=1800),
    "a margin just below half the life": Policy(margin_s=3599),
    "a reader's copy as old as a tenth of the grace": Policy(reader_cache_s=60),
}


@each_line("sentence", HOLDS)
def test_these_numbers_hold_together(sentence: str) -> None:
    assert HOLDS[sentence].problems() == []


BROKEN = {
    "request_total_s <= work_s / 2": Policy(request_total_s=15.1),
    "work_s + flight_s + tick_s + work_s <= grace_s": Policy(flight_s=480.1),
    "audit_interval_s + tick_s + work_s <= grace_s": Policy(audit_interval_s=510.1),
    "grace_s <= margin_s": Policy(grace_s=1800.1),
    "margin_s < lifetime_s / 2": Policy(margin_s=3600),
    "reader_cache_s <= grace_s / 10": Policy(reader_cache_s=60.1),
    "audit_min_age_s <= grace_s / 10": Policy(audit_min_age_s=60.1),
    "audit_tolerance_s <= grace_s / 2": Policy(audit_tolerance_s=300.1),
    "cooldown_s <= grace_s / 10": Policy(cooldown_s=60.1),
    "alarm_below_s <= margin_s": Policy(alarm_below_s=1800.1),
    "lifetime_s <= lease_ttl_s": Policy(lease_ttl_s=7199.9),
    "retry_base_s <= retry_cap_s": Policy(retry_base_s=300.1),
    "five attempts (retry_base_s, retry_cap_s, tick_s) <= margin_s": Policy(retry_base_s=400, retry_cap_s=400),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_inequality_is_named_when_it_alone_is_broken(rule: str) -> None:
    assert BROKEN[rule].problems() == [f"policy does not satisfy {rule}"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = Policy(request_total_s=20, flight_s=500, reader_cache_s=100).problems()
    assert len(problems) == 3
    assert len(Policy(work_s=0, tick_s=-1, cooldown_s=-1).problems()) == 3


MAY_BE_ZERO = {"audit_interval_s", "audit_min_age_s", "audit_tolerance_s", "cooldown_s", "reader_cache_s"}


@each_line("name", [field.name for field in fields(Policy)])
def test_no_number_is_negative_and_few_are_zero(name: str) -> None:
    assert [problem for problem in replace(Policy(), **{name: -1}).problems() if name in problem]
    zero = replace(Policy(), **{name: 0}).problems()
    assert zero == ([] if name in MAY_BE_ZERO else [f"policy.{name} must be greater than 0"])


# Shows defects: numbers that are accepted and defeat the algorithm.
DEFEATING = {
    "a lease forgotten while its request is still under way": (
        "lease_ttl_s",
        Policy(lease_ttl_s=60),
    ),
    "a credential that cools down for longer than it lives": (
        "cooldown_s",
        Policy(cooldown_s=7200),
    ),
    "an alarm for credentials that nobody would renew yet": (
        "alarm_below_s",
        Policy(alarm_below_s=1801),
    ),
    "a credential first audited when its grace is over": (
        "audit_min_age_s",
        Policy(audit_min_age_s=3600),
    ),
    "a tolerance longer than what a supersession takes off": (
        "audit_tolerance_s",
        Policy(audit_tolerance_s=7200),
    ),
}


@pytest.mark.parametrize("sentence", DEFEATING)
def test_numbers_that_defeat_the_algorithm_are_refused(sentence: str) -> None:
    name, policy = DEFEATING[sentence]
    assert any(name in problem for problem in policy.problems())


# -- shorter lives, and what follows from the numbers ---------------------------------------


@each_line(
    ("life_s", "margin_s"),
    [
        (0, 1800),
        (-1, 1800),
        (7200, 1800),
        (9000, 1800),
        (7199, 1799.75),
        (3600, 900),
        (900, 225),
        # A quarter would be shorter than one lost run: two ticks and the work, but at most half the life.
        (600, 150),
        (599, 150),
        (300, 150),
        (200, 100),
        (2, 1),
    ],
)
def test_the_margin_is_the_same_share_of_a_shorter_life_and_covers_a_lost_run(life_s: float, margin_s: float) -> None:
    assert Policy().margin_for(life_s) == margin_s


def test_no_margin_is_longer_than_the_one_of_a_whole_life() -> None:
    slow = Policy(tick_s=1000)
    assert slow.margin_for(7000) == 1800
    assert slow.margin_for(1000) == 500


@pytest.mark.parametrize(("life_s", "alarm_s"), [(0, 600), (7200, 600), (9000, 600), (3600, 300), (300, 25), (12, 1)])
def test_an_alarm_comes_as_much_later_as_the_life_is_shorter(life_s: float, alarm_s: float) -> None:
    assert Policy().alarm_for(life_s) == alarm_s
    assert Policy().alarm_for(life_s) <= Policy().margin_for(life_s)


def test_an_attempt_without_an_end_holds_a_target_up_for_its_lock_a_tick_and_the_next_work() -> None:
    assert Policy().heal_s == 180
    assert Policy(tick_s=300).heal_s == 420


def test_the_longest_wait_is_the_lock_and_the_grace_or_a_refusal_with_its_jitter() -> None:
    assert Policy().longest_wait_s == 690
    assert Policy(retry_cap_s=1000).longest_wait_s == pytest.approx(1100)


def test_with_audits_off_a_question_in_vain_waits_as_long_as_a_complaint() -> None:
    assert Policy().question_interval_s == 240
    assert Policy(audit_interval_s=0).question_interval_s == 60
