"""What is kept of a target in the course of a run, and what the report makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from token_refresher.domain.decision import Decision
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Lease, Outcome, Record, Snapshot, Target, Unreadable, Word, fingerprint
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.refresh.result import Result

NOW_S = 1_700_000_000
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
DECISION = Decision(TARGET, Reason.NEAR_EXPIRY, "600 s left, less than the margin")
POLICY = Policy()
CODE = "a-code-that-no-one-may-see"


def result(seconds_left: int = 600, ttl_s: float | None = None, **lease: Any) -> Result:
    record = Record("the credential", NOW_S + seconds_left, NOW_S + seconds_left - 7200, fence=7)
    ttl_ms = None if ttl_s is None else round(ttl_s * 1000)
    known = replace(Lease(exists=True, fence=7, mark=""), **lease)
    return Result(Snapshot(TARGET, NOW_S * 1000, record, known, b"a value", ttl_ms=ttl_ms), 5.0, DECISION)


def test_nothing_has_happened_at_first() -> None:
    report = result().report(POLICY)
    assert (report.outcome, report.failure, report.warnings, report.fetches, report.questions) == (None, None, (), 0, 0)
    assert (report.reason, report.sentence, report.would) == ("NEAR_EXPIRY", DECISION.sentence, "")


def test_what_happened_is_reported() -> None:
    one = result()
    one.fetches, one.questions, one.would = 1, 2, "ask"
    one.fail(Outcome.LOST, StoreError("Redis is gone"))
    report = one.report(POLICY)
    assert (report.fetches, report.questions, report.outcome, report.would) == (1, 2, Outcome.LOST, "ask")
    assert report.failure
    assert report.failure.message == "Redis is gone"


def test_the_same_warning_is_given_once() -> None:
    one = result()
    one.warn(["one", "two"])
    one.warn(())
    one.warn(["two", "three"])
    assert one.report(POLICY).warnings == ("one", "two", "three")


def test_less_than_the_limit_is_danger_and_exactly_the_limit_is_not() -> None:
    assert result(seconds_left=599).report(POLICY).in_danger
    assert not result(seconds_left=600).report(POLICY).in_danger


def test_danger_is_danger_while_a_run_is_at_work_on_it_too() -> None:
    at_work: dict[str, Any] = {"work_until": (NOW_S + 20) * 1000, "locked_until": (NOW_S + 80) * 1000}
    assert result(seconds_left=1, **at_work).report(POLICY).in_danger


def test_what_is_left_is_what_readers_find() -> None:
    report = result(seconds_left=5000, ttl_s=299, mark="dead").report(POLICY)
    assert (report.seconds_left, report.in_danger, report.expires_at) == (299, True, NOW_S + 5000)


@pytest.mark.parametrize(
    ("changed", "word", "asked"),
    [
        ({}, Word.ALIVE, True),
        ({"ttl_ms": 1}, Word.ALIVE, True),
        ({"lease": Lease(exists=True, mark="an attempt")}, None, True),
        ({"raw": b"another value"}, None, False),
        ({"raw": None, "record": None}, None, False),
    ],
    ids=["nothing", "the TTL", "the mark", "the value", "gone"],
)
def test_a_word_of_checkcode_is_over_with_another_value_or_another_attempt(
    changed: dict[str, Any], word: Word | None, asked: bool
) -> None:
    one = result()
    one.word, one.asked = Word.ALIVE, True
    fresh = replace(one.snapshot, now_ms=one.snapshot.now_ms + 1, **changed)
    one.see(fresh, 6.0)
    assert (one.word, one.asked, one.snapshot, one.read_at) == (word, asked, fresh, 6.0)


# -- what Redis holds of it ------------------------------------------------------------------


def test_a_live_code_is_shown_by_its_fingerprint() -> None:
    lease = Lease(True, fence=7, mark="", outcome="issued", outcome_at=NOW_S * 1000, superseded=(NOW_S * 1000 - 1,))
    raw = json.dumps({"server_access_token": CODE}).encode()
    snapshot = Snapshot(TARGET, NOW_S * 1000, Record(CODE, NOW_S + 50, NOW_S - 9, 7), lease, raw)
    report = Result(snapshot, 5.0, DECISION, questions=1).report(POLICY)
    assert report.fingerprint == fingerprint(CODE)
    assert (report.expires_at, report.seconds_left, report.fence) == (NOW_S + 50, 50, 7)
    assert (report.settled, report.last_outcome, report.last_outcome_at) == (True, "issued", NOW_S)
    assert (report.superseded_at, report.questions) == ((NOW_S - 1,), 1)
    for text in (json.dumps(report.as_dict()), repr(report), repr(snapshot)):
        assert CODE not in text


@pytest.mark.parametrize("record", [None, Unreadable("not JSON"), Record(CODE, NOW_S, NOW_S - 7200, 7)])
def test_without_a_live_code_nothing_is_left(record: Record | Unreadable | None) -> None:
    report = Result(Snapshot(TARGET, NOW_S * 1000, record), 5.0, DECISION).report(POLICY)
    assert (report.fingerprint, report.expires_at, report.seconds_left, report.fence) == (None, None, 0, 0)
    assert not report.settled
