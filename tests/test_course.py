"""What is kept of a target in the course of a run: several goes as one, and what the report makes of it."""

from __future__ import annotations

from token_refresher.course import Course
from token_refresher.errors import StoreError
from token_refresher.model import Kind, Lease, Outcome, Record, Snapshot, Target
from token_refresher.plan import Reason, Step

NOW_S = 1_700_000_000
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
STEP = Step(TARGET, Reason.NEAR_EXPIRY, "600 s left, less than the margin")


def course(seconds_left: int = 600, step: Step = STEP) -> Course:
    record = Record("the code", NOW_S + seconds_left, NOW_S - 100, fence=7)
    return Course(Snapshot(TARGET, NOW_S * 1000, record, Lease(exists=True, fence=7)), step)


def test_nothing_has_happened_at_first() -> None:
    told = course().report(alarm_below_s=0)
    assert (told.outcome, told.failure, told.warnings, told.fetches, told.questions) == (None, None, (), 0, 0)
    assert (told.reason, told.sentence, told.asks) == ("NEAR_EXPIRY", STEP.sentence, False)


def test_two_goes_are_told_as_one_with_what_the_first_warned_of_first() -> None:
    first, later = course(), course()
    first.fetches, first.questions, first.warnings = 1, 2, ["one", "two"]
    later.fetches, later.questions, later.warnings = 10, 20, ["three", "four"]
    later.fail(Outcome.LOST, StoreError("Redis is gone"))
    told = first.merged_into(later).report(alarm_below_s=0)
    assert (told.fetches, told.questions) == (11, 22)
    assert told.warnings == ("one", "two", "three", "four")
    assert told.outcome is Outcome.LOST
    assert told.failure
    assert told.failure.message == "Redis is gone"


def test_a_question_is_counted_with_its_warnings() -> None:
    asking = course()
    asking.asked(["one"])
    asking.asked([])
    asking.asked(["two"])
    told = asking.report(alarm_below_s=0)
    assert (told.questions, told.warnings) == (3, ("one", "two"))


def test_less_than_the_limit_is_danger_and_exactly_the_limit_is_not() -> None:
    assert course(seconds_left=599).report(alarm_below_s=600).in_danger
    assert not course(seconds_left=600).report(alarm_below_s=600).in_danger


def test_nothing_is_in_danger_while_another_run_is_at_work_on_it() -> None:
    waiting = course(seconds_left=1)
    waiting.elsewhere = True
    assert not waiting.report(alarm_below_s=600).in_danger
