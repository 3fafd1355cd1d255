"""Processes that die or freeze at every step of the flow, while readers go on reading."""

from __future__ import annotations

import json

import pytest

from platform_simulator import TICKET_PATH, TOKEN_PATH
from support.flow import Deployment, holding, of
from support.world import World
from token_refresher.domain.model import Kind, Outcome

# The last tick by which everything has to be healed: work + flight + tick + work, in ticks of 60 s.
HEALED_AFTER_TICKS = 3
KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]
STEPS = {
    "before it takes the lease": ("Store", "acquire", False),
    "after it took the lease": ("Store", "acquire", True),
    "before it sends the request": ("Call", "mark_sent", False),
    "between its last look and the send": ("Call", "mark_sent", True),
    "after the answer came": ("Store", "finish", False),
    "after it stored the code": ("Store", "finish", True),
}


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world)
    deployment.age()
    return deployment


def hold(step: str, kind: Kind) -> tuple[str, str]:
    """Driver code that holds a child at a step, and the line it says there."""
    owner, name, after = STEPS[step]
    line = f"{'after' if after else 'at'}:{name}"
    if owner == "Call":
        # A call does not know what it carries: the first is the token's, the second the ticket's.
        nth = KINDS.index(kind) + 1
        counted = f"calls = iter(range(1, 9))\nwrap(Call, {name!r}, before={not after}, after={after}"
        return f"{counted}, when=lambda *a: next(calls) == {nth})", line
    return holding(owner, name, kind, after=after), line


def assert_healed(deployment: Deployment) -> None:
    deployment.tick(HEALED_AFTER_TICKS)
    report = deployment.tick()
    assert deployment.dead == []
    for kind in KINDS:
        target = of(report, kind)
        assert (target.reason, target.settled, target.in_danger) == ("FRESH", True, False)
        newest = deployment.simulator.newest(deployment.app_ids[0], kind.value)
        assert newest is not None
        assert deployment.code(kind) == newest.code


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_at_any_step_the_next_ticks_heal_and_no_reader_held_a_refused_code(
    deployment: Deployment, step: str, kind: Kind
) -> None:
    wraps, line = hold(step, kind)
    with deployment.child(wraps) as child:
        child.wait_for(line)
        child.kill()
    deployment.look()
    assert_healed(deployment)
    # The natural fetch of each kind, and at most one more for the one that was in flight.
    assert deployment.fetches(Kind.ACCESS_TOKEN) + deployment.fetches(Kind.JS_TICKET) <= 2 + 2 + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_while_the_platform_works_leaves_a_mark_that_heals(
    deployment: Deployment, kind: Kind, when: str
) -> None:
    path = TOKEN_PATH if kind is Kind.ACCESS_TOKEN else TICKET_PATH
    gate = deployment.simulator.hold(path, "before" if when == "before" else "after")
    with deployment.child() as child:
        gate.wait_reached(10)
        child.kill()
        gate.release()
        gate.wait_passed(10)
    assert of(deployment.run(), kind).reason == "LOCKED"
    assert_healed(deployment)


@pytest.mark.parametrize("frozen_s", [30, 70, 200, 700])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_frozen_at_any_step_never_stores_an_older_code_over_a_newer(
    deployment: Deployment, step: str, frozen_s: int
) -> None:
    wraps, line = hold(step, Kind.JS_TICKET)
    with deployment.child(wraps) as child:
        child.wait_for(line)
        child.freeze()
        for _ in range(frozen_s // 60):
            deployment.tick()
        deployment.pass_time(frozen_s % 60)
        child.thaw()
        child.send("go")
        child.wait_for("report:")
        child.join()
    deployment.look()
    assert_healed(deployment)
    assert deployment.fetches(Kind.JS_TICKET) <= 1 + 1 + 2


def test_a_request_sent_long_after_its_lease_by_a_process_that_then_dies_is_found_by_the_audit(
    deployment: Deployment,
) -> None:
    wraps, line = hold("between its last look and the send", Kind.JS_TICKET)
    gate = None
    with deployment.child(wraps) as child:
        child.wait_for(line)
        child.freeze()
        deployment.tick(3)
        settled = deployment.code(Kind.JS_TICKET)
        gate = deployment.simulator.hold(TICKET_PATH, "after")
        child.thaw()
        child.send("go")
        gate.wait_reached(10)
        child.kill()
        gate.release()
    assert deployment.code(Kind.JS_TICKET) == settled
    newest = deployment.simulator.newest(deployment.app_ids[0], "js_ticket")
    assert newest is not None
    assert newest.code != settled
    deployment.tick(9)
    assert deployment.dead == []
    assert deployment.code(Kind.JS_TICKET) != settled


def test_the_slower_of_two_finishers_stores_nothing_and_says_so(deployment: Deployment) -> None:
    with deployment.child(holding("Store", "finish", Kind.JS_TICKET)) as child:
        child.wait_for("at:finish")
        child.freeze()
        deployment.tick(2)
        newer = deployment.code(Kind.JS_TICKET)
        child.thaw()
        child.send("go")
        report = json.loads(child.wait_for("report:").removeprefix("report:"))
        child.join()
    ticket = next(each for each in report["targets"] if each["kind"] == "js_ticket")
    assert ticket["outcome"] == Outcome.LOST.value
    assert ticket["failure"]["code"] == "store_lost"
    assert deployment.code(Kind.JS_TICKET) == newer
    after = of(deployment.run(), Kind.JS_TICKET)
    assert after.reason == "COOLING_DOWN"
    assert after.sentence.startswith("UNSETTLED")
    assert_healed(deployment)


def test_fifty_processes_at_once_make_one_fetch_for_each_target(world: World) -> None:
    deployment = Deployment(world, app_count=2)
    children = [deployment.child("point('start')") for _ in range(50)]
    try:
        for child in children:
            child.wait_for("at:start", timeout_s=100)
        for child in children:
            child.send("go")
        for child in children:
            child.wait_for("report:", timeout_s=100)
            child.join()
    finally:
        for child in children:
            child.stop()
    for app_id in deployment.app_ids:
        for kind in KINDS:
            assert deployment.fetches(kind, app_id) == 1
            assert deployment.code(kind, app_id) is not None
    deployment.look()
    assert deployment.dead == []


def test_an_answer_noted_long_after_it_was_given_does_not_put_the_next_audit_off(world: World) -> None:
    deployment = Deployment(world)
    deployment.run()
    deployment.pass_time(250)
    with deployment.child(holding("Store", "note")) as child:
        child.wait_for("at:note")
        child.send("go")
        child.wait_for("at:note")
        child.freeze()
        deployment.simulator.issue(deployment.app_ids[0], "js_ticket")
        deployment.pass_time(290)
        child.thaw()
        child.send("go")
        child.wait_for("report:")
        child.join()
    deployment.pass_time(30)
    assert of(deployment.run(), Kind.JS_TICKET).reason == "SUPERSEDED"
    assert deployment.dead == []
