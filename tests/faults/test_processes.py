"""Processes at odds with each other and with themselves: ticks under forced runs, late requests, signals, defects."""

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
from support.flow import Deployment, holding
from support.healing import healthy, newest, ticks_to_heal
from support.processes import Child
from support.world import World
from token_refresher.domain.model import Kind
from token_refresher.function import handler as function_handler

TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
KINDS = [TOKEN, TICKET]
# Where a process is when it is hit: the driver code that holds it there, and the line it then says.
POINTS = {
    "before the lease": (holding("Store", "acquire", TICKET), "at:acquire"),
    "after the lease": (holding("Store", "acquire", TICKET, after=True), "after:acquire"),
    "before the send": ("wrap(Call, 'mark_sent', when=lambda *a, n=iter(range(9)): next(n) == 1)", "at:mark_sent"),
    "after the answer": (holding("Store", "finish", TICKET), "at:finish"),
    "after the store": (holding("Store", "finish", TICKET, after=True), "after:finish"),
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


# -- two at once -----------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "reason"), [("before", "FRESH"), ("after", "LOCKED")])
def test_a_tick_while_a_forced_run_is_in_flight_fetches_nothing(world: World, where: Any, reason: str) -> None:
    """It asks about the code that the other may be ending: not yet ended it is good, ended it has to be replaced."""
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
    with deployment.child(f"{wraps}\n{holding('Store', 'finish', TICKET)}") as child:
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
    """A code that was superseded as it was issued is used until three minutes before its end, another is not."""
    gate = deployment.simulator.hold(TICKET_PATH, "before")
    with deployment.child() as slow:
        gate.wait_reached(30)
        slow.freeze()
        # The lock is over after 90 s, the copy's own wait after 150 s.
        deployment.pass_time(160)
        with deployment.child(holding("Store", "finish", TICKET)) as second:
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
        ("Store", "acquire", "arguments[1].target == spoilt"),
        ("YuanzhibangPlatform", "fetch_js_ticket", "arguments[1].app_id == spoilt.app_id"),
        ("Store", "finish", "arguments[1].target == spoilt"),
    ],
    ids=["before the lease", "before the request", "before the store"],
)
def test_no_memory_for_one_application_is_reported_as_a_defect_and_stops_no_other(
    world: World, owner: str, name: str, when: str
) -> None:
    deployment = Deployment(world, app_count=3)
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
