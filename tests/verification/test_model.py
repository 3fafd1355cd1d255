"""The algorithm, searched exhaustively within bounds. For long: `python -m verification.model`."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from token_refresher.domain.policy import Policy
from verification.model import denials, turns
from verification.model.__main__ import check, main
from verification.model.canonical import canonical
from verification.model.cases import COARSE, Case, not_needed, parts_out, through_s, whole
from verification.model.search import shown
from verification.model.state import first, numbers
from verification.model.world import Promise, moves

OUT = parts_out()
# What the searches found before: so many states, and for a condition taken out so many steps to its counterexample.
STATES = {
    "own fetches, one fault": 40_765,
    "others store theirs over ours, a watch each 330 s": 74_639,
    "what others store goes within a margin, checkCode silent": 56_049,
    "own fetches, three refreshers": 162_646,
    "own fetches, two faults": 2_343_487,
    "all but Redis's losses, a watch each 330 s": 6_287_671,
    "Redis's losses, a watch each 330 s": 262_766,
    "the newest is kept, checkCode answers": 1_133_132,
    "others store theirs over ours, two faults": 1_775_972,
    "own fetches, two occasions": 7_182_424,
    "late sends, a watch each 330 s": 5_627_070,
    "the newest is kept for the margin, checkCode silent": 3_736_237,
}
STEPS = {
    "no cut": 16,
    "the cut may lengthen": 21,
    "refused restores though unsettled": 24,
    "refused restores though the lease is lost": 30,
    "no owner check": 27,
    "unknown restores": 20,
    "the lock ends with unknown": 20,
    "no lock": 25,
    "a late process leaves its old mark": 20,
    "another tool's value counts as settled": 32,
    "alive settles though locked when read": 19,
    "alive settles under another mark": 25,
    "alive under a lock restores": 19,
    "alive under a lock counts from now": 20,
    "silence prolongs without bound": 30,
    "no watch": 12,
    "no question under a lock": 15,
    "an answer counts from its note": 21,
    "note does not compare the value": 23,
    "alive under a lock changes nothing": 20,
    "silence prolongs nothing": 33,
    "refused does not restore": 19,
}
# Where two denials take away a good credential, the steps to it; else how long the value outlives the application.
DENIALS = {
    "denials: timer 60 s, an audit interval between": "gone after 600 s",
    "denials: a run each 330 s, an audit interval between": "7 steps",
    "denials: a run each 330 s, two intervals between": "gone after 1500 s",
    "denials: alive does not clear": "13 steps",
    "denials: the first makes no question due": "8 steps",
}


def test_the_numbers_of_the_model_are_those_of_a_valid_policy() -> None:
    assert COARSE.problems() == []
    n = numbers(COARSE, through_s=through_s(COARSE))
    assert (n.grace * n.unit_s, n.audit * n.unit_s) == (COARSE.grace_s, COARSE.audit_interval_s)
    assert (n.work * n.unit_s, n.flight * n.unit_s) == (COARSE.work_s, COARSE.flight_s)
    assert n.margin * n.unit_s == COARSE.margin_s
    assert n.audit + n.through_gap == n.grace


def test_units_of_a_minute_change_only_the_work_and_the_margin() -> None:
    assert replace(COARSE, work_s=Policy().work_s, margin_s=Policy().margin_s) == Policy()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [each for each in whole() if not each.slow], ids=lambda case: case.name)
def test_no_promise_is_broken_when_all_conditions_are_in(case: Case) -> None:
    result = check(case)
    assert result.complete
    assert not result.trace, "\n".join(shown(result, case.world.numbers.unit_s))
    assert result.states == STATES[case.name]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [each for each in OUT if not each.slow], ids=lambda case: case.name)
def test_a_condition_taken_out_is_found_in_as_many_steps_as_before(case: Case) -> None:
    result = check(case)
    assert result.found is case.expects
    assert len(result.trace) == STEPS[case.name]


def test_every_condition_taken_out_has_its_steps_and_every_case_a_name_of_its_own() -> None:
    assert [case.name for case in OUT] == list(STEPS)
    names = [case.name for case in [*whole(), *OUT, *not_needed()]]
    names += [*(case.name for case in denials.CASES), *(case.name for case in turns.CASES)]
    assert len(names) == len(set(names))


def test_one_fault_fewer_than_that_is_not_enough() -> None:
    for case in OUT:
        if case.faults == 1:
            assert check(replace(case, faults=0)).safe, case.name


def test_a_trace_is_a_way_that_the_model_can_go_and_names_time_and_place() -> None:
    case = OUT[0]
    result = check(case)
    state = canonical(first(case.refreshers, case.faults, case.dues))
    for _, what, after in result.trace:
        assert after in [each for _, w, each in moves(state, case.world) if w == what]
        state = after
    text = shown(result, case.world.numbers.unit_s)
    assert re.fullmatch(r" +0 s +someone forces a run: \S.* newest, TTL long, lives long; settled", text[0])
    assert text[-1].endswith(f"FOUND: {Promise.NOT_REJECTED.value}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [each for each in denials.CASES if not each.faults], ids=lambda case: case.name)
def test_two_denials_take_away_only_what_the_platform_has_disabled(case: denials.Case) -> None:
    result = denials.check(case)
    assert result.wrong is case.wrong
    found = f"{len(result.way)} steps" if result.wrong else f"gone after {result.longest * 60} s"
    assert found == DENIALS[case.name]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", turns.CASES, ids=lambda case: case.name)
def test_a_healthy_copy_gets_its_turn_within_two_ticks_and_only_with_all_rules(case: turns.Named) -> None:
    draws = 8 if case.within else case.draws
    worst_s = max(turns.worst_s(case.kind, sick, case.like, draws) for sick in turns.SICK)
    assert (worst_s <= 2 * case.like.policy.tick_s) is case.within


def test_the_command_prints_each_case_and_fails_on_what_it_did_not_expect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no cut", "--traces"]) == 0
    printed = capsys.readouterr().out
    assert "| no cut | 2 | 1 | 1 |" in printed
    assert "FOUND: a reader holds a rejected credential" in printed
    assert main(["--only", "no cut", "--states", "10"]) == 1
    assert "UNEXPECTED" in capsys.readouterr().out
