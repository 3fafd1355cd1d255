"""Processes killed or frozen at every step, two at once, late requests, signals, defects; readers go on reading."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import index
from platform_simulator import TICKET_PATH, TOKEN_PATH
from support.flow import Deployment, holding, of
from support.healing import healthy, newest, ticks_to_heal
from support.processes import Child
from support.world import World
from token_refresher.domain.model import Kind, Outcome
from token_refresher.function import handler as function_handler

TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
KINDS = [TOKEN, TICKET]
# The last tick by which everything has to be healed: work + flight + tick + work, in ticks of 60 s.
HEALED_AFTER_TICKS = 3
STEPS = {
    "before it takes the lease": ("RedisStore", "acquire", False),
    "after it took the lease": ("RedisStore", "acquire", True),
    "before it sends the request": ("Call", "mark_sent", False),
    "between its last look and the send": ("Call", "mark_sent", True),
    "after the answer came": ("RedisStore", "finish", False),
    "after it stored the credential": ("RedisStore", "finish", True),
}
# Where a process is when it is hit: the driver code that holds it there, and the line it then says.
POINTS = {
    "before the lease": (holding("RedisStore", "acquire", TICKET), "at:acquire"),
    "after the lease": (holding("RedisStore", "acquire", TICKET, after=True), "after:acquire"),
    "before the send": ("wrap(Call, 'mark_sent', when=lambda *a, n=iter(range(9)): next(n) == 1)", "at:mark_sent"),
    "after the answer": (holding("RedisStore", "finish", TICKET), "at:finish"),
    "after the store": (holding("RedisStore", "finish", TICKET, after=True), "after:finish"),
}
# A refusal of memory, planted where a run is in the middle of things.
OUT_OF_MEMORY = """
def out_of_memory(original):
    def spoilt_call(*arguments, **kwargs):
        if {when}:
            raise MemoryError("in words")
        return original(*arguments, **kwargs)
    return spoilt_call
{owner}.{name} = out_of_memory({owner}.{name})
"""


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world)
    deployment.age()
    return deployment


def told_by(child: Child) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(child.wait_for("report:").removeprefix("report:"))
    child.join()
    return told


# -- killed or frozen at a step ---------------------------------------------------------------


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
    with deployment.child(holding("RedisStore", "finish", Kind.JS_TICKET)) as child:
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


def test_twenty_processes_at_once_make_one_fetch_for_each_target(world: World) -> None:
    deployment = Deployment(world, 2)
    children = [deployment.child("point('start')") for _ in range(20)]
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
    with deployment.child(holding("RedisStore", "note")) as child:
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


# -- two at once -----------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "reason"), [("before", "FRESH"), ("after", "LOCKED")])
def test_a_tick_while_a_forced_run_is_in_flight_fetches_nothing(world: World, where: Any, reason: str) -> None:
    """It asks about the credential that the other may be ending: it is good until then, and replaced after."""
    deployment = Deployment(world)
    deployment.run()
    world.advance(100)
    gate = deployment.simulator.hold(TOKEN_PATH, where)
    with deployment.child(command="Command(force=True)") as child:
        gate.wait_reached(30)
        report = deployment.run()
        gate.release()
        told = told_by(child)
    assert [each.reason for each in report.targets] == [reason, "FRESH"]
    assert report.summary()["questions"] == 1
    assert report.summary()["fetches"] == 0
    assert told["summary"]["issued"] == 2
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert healthy(deployment)
    assert deployment.dead == []


@pytest.fixture
def warm_function(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One instance of the function, with its program ready."""
    level = logging.getLogger("token_refresher").level
    for name, value in deployment.environ.items():
        monkeypatch.setenv(name, value)
    function_handler._warm.clear()
    index.initialize(None)
    yield
    function_handler._warm.clear()
    logging.getLogger("token_refresher").setLevel(level)


@pytest.mark.usefixtures("warm_function")
def test_two_invocations_in_one_process_make_one_fetch_for_each_code(deployment: Deployment) -> None:
    """As an instance with a concurrency of more than one has them: one program, shared by threads."""
    together, answers = threading.Barrier(2), []

    def invoke() -> None:
        together.wait(30)
        answers.append(index.handler(b"", None))

    gate = deployment.simulator.hold(TOKEN_PATH, "before")
    threads = [threading.Thread(target=invoke) for _ in range(2)]
    for thread in threads:
        thread.start()
    gate.wait_reached(30)
    gate.release()
    for thread in threads:
        thread.join(60)
    assert sum(answer["summary"]["fetches"] for answer in answers) == 2
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert healthy(deployment)
    assert deployment.dead == []


# -- requests later than their leases ---------------------------------------------------------


def test_frozen_before_its_last_look_it_sends_nothing_when_it_thaws(deployment: Deployment) -> None:
    wraps, line = POINTS["before the send"]
    with deployment.child(wraps) as child:
        child.wait_for(line)
        child.freeze()
        deployment.tick(3)
        before = deployment.simulator.count(TICKET_PATH)
        child.thaw()
        child.send("go")
        told = told_by(child)
    assert [each["failure"]["code"] for each in told["targets"] if "failure" in each] == ["not_sent_late"]
    assert deployment.simulator.count(TICKET_PATH) == before
    assert deployment.fetches(TICKET) == 1 + 1
    assert healthy(deployment)
    assert deployment.dead == []


def test_sent_after_the_lease_by_one_that_dies_with_the_answer_it_costs_one_renewal(deployment: Deployment) -> None:
    wraps = "wrap(Call, 'mark_sent', before=False, after=True, when=lambda *a, n=iter(range(9)): next(n) == 1)"
    with deployment.child(f"{wraps}\n{holding('RedisStore', 'finish', TICKET)}") as child:
        child.wait_for("after:mark_sent")
        child.freeze()
        # The next one fetches after two minutes and a half; the late one is carried out two minutes after that.
        deployment.tick(5)
        gate = deployment.simulator.hold(TICKET_PATH, "after")
        child.thaw()
        child.send("go")
        gate.wait_reached(30)
        gate.release()
        child.wait_for("at:finish")
        child.kill()
    # Nothing in Redis tells of it: the audit does, after four minutes at the latest.
    ticks_to_heal(deployment, at_most=5)
    # The first one, the natural one, the late one itself, and the renewal.
    assert deployment.fetches(TICKET) == 4
    assert deployment.dead == []


@pytest.mark.parametrize(("waits_s", "at_most"), [(70, 5), (0, 8)], ids=["after a minute", "at once"])
def test_an_old_request_carried_out_while_a_newer_answer_waits_to_be_stored_is_found_in_time(
    deployment: Deployment, waits_s: float, at_most: int
) -> None:
    """A credential that was superseded as it was issued is used until three minutes before its end, another is not."""
    gate = deployment.simulator.hold(TICKET_PATH, "before")
    with deployment.child() as slow:
        gate.wait_reached(30)
        slow.freeze()
        # The lock is over after 90 s, the copy's own wait after 150 s.
        deployment.pass_time(160)
        with deployment.child(holding("RedisStore", "finish", TICKET)) as second:
            second.wait_for("at:finish")
            deployment.pass_time(waits_s)
            gate.release()
            gate.wait_passed(30)
            late = newest(deployment, TICKET)
            second.send("go")
            told_by(second)
        assert deployment.code(TICKET) != late
        slow.thaw()
        told_by(slow)
    ticks_to_heal(deployment, at_most)
    # The first one, the natural one, the old one, and the renewal.
    assert deployment.fetches(TICKET) <= 4
    assert deployment.dead == []
    assert deployment.missing == 0


# -- ended by a signal ------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
def test_told_to_end_and_then_killed_at_any_point_the_next_ticks_heal(deployment: Deployment, point: str) -> None:
    """What a function or a container gets when its time is over: SIGTERM, and SIGKILL if that was not enough."""
    wraps, line = POINTS[point]
    with deployment.child(wraps) as child:
        child.wait_for(line)
        os.kill(child.pid, signal.SIGTERM)
        child.kill()
        assert child.returncode in (-signal.SIGTERM, -signal.SIGKILL)
    # Two ticks: the first waits for the end of the dead one's lock, 90 s; the second comes after its own wait, 150 s.
    ticks_to_heal(deployment, at_most=2)
    # Of what was fetched and not stored, the ticket alone.
    assert deployment.fetches(TOKEN) == 2
    assert deployment.fetches(TICKET) <= 3
    assert (deployment.dead, deployment.missing) == ([], 0)


# -- defects ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [
        ("RedisStore", "acquire", "arguments[1].target == spoilt"),
        ("YuanzhibangPlatform", "fetch_js_ticket", "arguments[1].app_id == spoilt.app_id"),
        ("RedisStore", "finish", "arguments[1].target == spoilt"),
    ],
    ids=["before the lease", "before the request", "before the store"],
)
def test_no_memory_for_one_application_is_reported_as_a_defect_and_stops_no_other(
    world: World, owner: str, name: str, when: str
) -> None:
    deployment = Deployment(world, 3)
    deployment.age()
    spoilt, *others = deployment.app_ids
    planted = OUT_OF_MEMORY.format(owner=owner, name=name, when=when)
    with deployment.child(f"spoilt = Target({spoilt!r}, Kind.JS_TICKET)\n{planted}") as child:
        told = told_by(child)
    failures = {(each["app_id"], each["failure"]["code"]) for each in told["targets"] if "failure" in each}
    assert failures == {(spoilt, "internal_error")}
    said = {each["failure"]["message"] for each in told["targets"] if "failure" in each}
    # By type and place: the words of an exception may quote anything.
    assert [each.partition(",")[0] for each in said] == ["unexpected MemoryError in spoilt_call"]
    for app_id in others:
        assert [deployment.fetches(kind, app_id) for kind in KINDS] == [2, 2]
    ticks_to_heal(deployment, at_most=2)
    assert sum(deployment.fetches(kind, spoilt) for kind in KINDS) <= 4 + 1
    assert (deployment.dead, deployment.missing) == ([], 0)
