"""The algorithm, searched exhaustively within bounds: see docs/model.md. Longer bounds: `python -m model.check`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model.cases import COARSE, EXACT, Case, parts_out, through_s, whole
from model.check import check, main
from model.search import first, told
from model.state import LONG, NONE, canonical, numbers
from model.world import moves
from token_refresher.policy import Policy

PAGE = Path(__file__).resolve().parents[1] / "docs" / "model.md"
WHOLE, OUT = whole(COARSE, faults=2), parts_out(COARSE)


@pytest.mark.parametrize("policy", [COARSE, EXACT], ids=["coarse", "exact"])
def test_the_numbers_of_the_model_are_those_of_a_valid_policy(policy: Policy) -> None:
    assert policy.problems() == []
    for tick_s in (60, 300):
        n = numbers(policy, tick_s, through_s=through_s(policy))
        assert (n.grace * n.unit_s, n.audit * n.unit_s) == (policy.grace_s, policy.audit_interval_s)
        assert (n.work * n.unit_s, n.flight * n.unit_s) == (policy.work_s, policy.flight_s)
        assert n.work + n.flight + n.start_gap <= n.grace
        assert n.audit + n.through_gap == n.grace


def test_the_coarse_policy_leaves_nothing_to_spare_for_the_longest_timer() -> None:
    assert COARSE.audit_interval_s + 300 + COARSE.work_s == COARSE.grace_s


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_no_reader_holds_a_refused_code_when_all_parts_are_in(case: Case) -> None:
    result = check(case)
    assert result.complete
    assert not result.trace, "\n".join(told(result.trace, case.world.numbers.unit_s))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", OUT, ids=lambda case: case.name)
def test_a_part_taken_out_is_found_and_the_way_is_as_long_as_the_page_says(case: Case) -> None:
    result = check(case)
    assert result.trace
    last = result.trace[-1][2]
    assert last.value != NONE
    assert last.codes[last.value] == 0
    row = re.search(rf"^\| {re.escape(case.name)} \| (\d+) \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    assert (int(row[1]), int(row[2])) == (case.faults, len(result.trace))


def test_one_fault_fewer_than_the_page_says_is_not_enough() -> None:
    for case in OUT:
        if case.faults == 1:
            fewer = Case(case.name, case.world, 0, case.dues)
            assert check(fewer).safe, case.name


def test_a_trace_is_a_way_that_the_model_can_go_and_names_time_and_place() -> None:
    case = OUT[2]
    result = check(case)
    state = canonical(first(2, case.faults, case.dues))
    for _, what, after in result.trace:
        assert after in [each for _, w, each in moves(state, case.world) if w == what]
        state = after
    text = told(result.trace, case.world.numbers.unit_s)
    assert re.fullmatch(r" +0 s +somebody forces a run +newest stored, lives long; unlocked, settled", text[0])
    assert re.fullmatch(r" +600 s +A READER HOLDS A REFUSED CODE", text[-1])


def test_a_fresh_code_without_faults_stays_fresh() -> None:
    state = first(2, 0, 0)
    assert state.life == LONG
    case = WHOLE[2]
    result = check(Case(case.name, case.world, 0, 2))
    assert result.safe


def test_the_command_tells_each_case_and_fails_on_what_it_did_not_expect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "write-ahead", "--traces"]) == 0
    told_of = capsys.readouterr().out
    assert "no write-ahead mark" in told_of
    assert "found in" in told_of
    assert "A READER HOLDS A REFUSED CODE" in told_of
    assert main(["--only", "write-ahead", "--states", "10"]) == 1
    assert "UNEXPECTED" in capsys.readouterr().out
