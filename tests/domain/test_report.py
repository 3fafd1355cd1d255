"""What a run did, as it leaves: JSON of bounded size without secrets, and the sentence of an alarm."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from token_refresher.domain.errors import RefreshFailedError, StoreError
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.report import Failure, Report, TargetReport

NOW_S = 1_700_000_000
FAILURE = Failure("wrong_secret", 'the platform answered 4001 "secret is wrong"', "check the secret", False)


def target(number: int = 0, kind: Kind = Kind.ACCESS_TOKEN) -> Target:
    return Target(f"app{number:04d}", kind)


def fresh(number: int = 0) -> TargetReport:
    return TargetReport(target(number), "FRESH", "5000 s left", seconds_left=5000, expires_at=NOW_S + 5000)


def missing(number: int = 0, failure: Failure | None = FAILURE) -> TargetReport:
    return TargetReport(
        target(number), "MISSING", "nothing is stored", Outcome.REFUSED, failure, fetches=1, in_danger=True
    )


def run(*targets: TargetReport) -> Report:
    return Report("0123456789abcdef", "refresh", NOW_S, 12, targets, ("a warning",))


def test_a_report_leaves_as_json_and_comes_back_the_same() -> None:
    told = run(fresh(1), missing(2)).as_dict()
    assert json.loads(json.dumps(told)) == told


def test_a_report_in_full() -> None:
    assert run(fresh(1), missing(2)).as_dict() == {
        "run_id": "0123456789abcdef",
        "action": "refresh",
        "at": NOW_S,
        "took_ms": 12,
        "summary": {
            "targets": 2,
            "fetches": 1,
            "questions": 0,
            "in_danger": 1,
            "refused": 1,
            "FRESH": 1,
            "MISSING": 1,
        },
        "warnings": ["a warning"],
        "targets": [
            {
                "app_id": "app0001",
                "kind": "access_token",
                "reason": "FRESH",
                "sentence": "5000 s left",
                "expires_at": NOW_S + 5000,
                "seconds_left": 5000,
                "fence": 0,
                "fetches": 0,
                "questions": 0,
                "in_danger": False,
                "settled": True,
                "last_outcome_at": 0,
                "life_s": 0,
                "margin_s": 0,
                "refreshed_at": 0,
                "refresh_by": 0,
            },
            {
                "app_id": "app0002",
                "kind": "access_token",
                "reason": "MISSING",
                "sentence": "nothing is stored",
                "outcome": "refused",
                "failure": {
                    "code": "wrong_secret",
                    "message": 'the platform answered 4001 "secret is wrong"',
                    "advice": "check the secret",
                    "retryable": False,
                },
                "seconds_left": 0,
                "fence": 0,
                "fetches": 1,
                "questions": 0,
                "in_danger": True,
                "settled": True,
                "last_outcome_at": 0,
                "life_s": 0,
                "margin_s": 0,
                "refreshed_at": 0,
                "refresh_by": 0,
            },
        ],
        "not_listed": 0,
    }


def test_every_member_of_a_target_s_report_leaves_with_it() -> None:
    full = TargetReport(
        target(), "MISSING", "nothing", Outcome.LOST, FAILURE, ("w",), "f" * 8, 1, 2, 3, 4, 5, True, False,
        "issued", 6, (7,), "ask", 8, 9.0, 10, 11, 12,
    )  # fmt: skip
    names = {field.name for field in fields(TargetReport)} - {"target"}
    told = full.as_dict()
    assert set(told) == names | {"app_id", "kind"}
    assert json.loads(json.dumps(told))["superseded_at"] == [7]


def test_a_code_comes_into_danger_while_no_report_comes() -> None:
    each = replace(fresh(), safe_for_s=4400)
    assert not each.in_danger_after(4400)
    assert each.in_danger_after(4401)
    assert replace(each, in_danger=True).in_danger_after(0)
    assert not replace(each, safe_for_s=None).in_danger_after(10**9)


def test_how_the_last_attempt_ended_in_words() -> None:
    for told, words in {"": "", "issued": "issued", "not_sent: not_sent_dns": "not sent: not_sent_dns"}.items():
        assert replace(fresh(), last_outcome=told).ended == words


def test_a_code_that_readers_lose_before_its_recorded_end_is_cut_while_a_newer_one_may_exist() -> None:
    cut = replace(fresh(), seconds_left=600, settled=False)
    assert cut.cut_at(NOW_S)
    assert not replace(cut, settled=True).cut_at(NOW_S)
    assert not replace(cut, seconds_left=4998).cut_at(NOW_S)
    assert not replace(cut, expires_at=None).cut_at(NOW_S)


def test_a_report_does_not_change_by_being_told() -> None:
    report = run(fresh(1))
    report.as_dict()["warnings"].append("of the door")
    assert report.as_dict()["warnings"] == ["a warning"]


@pytest.mark.parametrize("count", [1, 99, 100])
def test_up_to_a_hundred_targets_are_all_listed(count: int) -> None:
    told = run(*(fresh(number) for number in range(count))).as_dict()
    assert (len(told["targets"]), told["not_listed"]) == (count, 0)


def test_of_more_the_uneventful_are_only_counted() -> None:
    told = run(*(fresh(number) for number in range(100)), missing(100)).as_dict()
    assert [each["app_id"] for each in told["targets"]] == ["app0100"]
    assert told["not_listed"] == 100
    assert told["summary"]["targets"] == 101


EVENTFUL = {
    "an outcome": TargetReport(target(), "NEAR_EXPIRY", "", Outcome.ISSUED),
    "a failure": TargetReport(target(), "NEAR_EXPIRY", "", failure=FAILURE),
    "a warning": TargetReport(target(), "FRESH", "", warnings=("odd",)),
    "danger": TargetReport(target(), "LOCKED", "", in_danger=True),
}


@pytest.mark.parametrize("sentence", EVENTFUL)
def test_a_target_is_listed_among_many_for(sentence: str) -> None:
    told = run(*(fresh(number) for number in range(1, 201)), EVENTFUL[sentence]).as_dict()
    assert [each["app_id"] for each in told["targets"]] == ["app0000"]


def test_a_report_of_ten_thousand_quiet_targets_is_small() -> None:
    told = run(*(fresh(number) for number in range(10_000))).as_dict()
    assert len(json.dumps(told)) < 1000
    assert told["summary"]["FRESH"] == told["not_listed"] == 10_000


def test_a_report_of_many_failures_takes_little_room_for_each() -> None:
    told = run(*(missing(number) for number in range(1_000))).as_dict()
    assert len(told["targets"]) == 500
    assert told["not_listed"] == 500
    assert len(json.dumps(told)) < 600 * 500


def test_of_many_targets_those_in_trouble_are_listed_first() -> None:
    issued = [replace(fresh(number), outcome=Outcome.ISSUED) for number in range(900)]
    told = run(*issued, missing(1_000)).as_dict()
    assert told["targets"][0]["app_id"] == "app1000"
    assert len(told["targets"]) == 500


# -- the alarm -------------------------------------------------------------------------------


def test_there_is_no_alarm_as_long_as_no_code_is_in_danger() -> None:
    failed = TargetReport(target(), "NEAR_EXPIRY", "", Outcome.REFUSED, FAILURE, seconds_left=1700)
    assert run().alarm() is None
    assert run(fresh(), failed).alarm() is None


def test_an_alarm_names_whose_code_is_in_danger_and_why() -> None:
    error = run(fresh(1), missing(2), missing(3, failure=None)).alarm()
    assert isinstance(error, RefreshFailedError)
    assert error.code == "credentials_in_danger"
    assert error.what == (
        'app0002 access_token: missing, wrong_secret: the platform answered 4001 "secret is wrong"; '
        "app0003 access_token: missing, nothing is stored"
    )


def test_a_defect_of_ours_is_an_alarm_even_when_all_codes_are_well() -> None:
    defect = TargetReport(target(4), "NOT_READ", "", failure=Failure("internal_error", "unexpected", "", True))
    assert "app0004" in str(run(fresh(1), defect).alarm())


@pytest.mark.parametrize(("count", "ending"), [(10, False), (11, " and 1 more"), (500, " and 490 more")])
def test_an_alarm_names_at_most_ten(count: int, ending: str | bool) -> None:
    error = run(*(missing(number) for number in range(count))).alarm()
    assert error is not None
    assert error.what.count("access_token") == 10
    assert "app0009" in error.what
    assert "app0010" not in error.what
    assert len(str(error)) < 4000
    assert error.what.endswith(ending) if isinstance(ending, str) else "more" not in error.what


def test_a_failure_says_what_its_error_said_of_itself() -> None:
    error = StoreError("Redis did not answer in time", code="redis_timeout", app_id="app0000")
    assert Failure.of(error) == Failure("redis_timeout", error.what, error.advice, True)
