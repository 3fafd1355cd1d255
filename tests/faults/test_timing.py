"""Timers that miss, come late, come twice or all at once, and clocks of the machine that are wrong or step."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from platform_simulator import TICKET_PATH, TOKEN_PATH, Fault
from support.flow import TICK_S, Deployment, of
from support.healing import healthy, ticks_to_heal
from support.processes import Child
from support.redis_server import find_faketime
from support.world import World
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind, Outcome
from token_refresher.domain.report import Report

KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]
DAY_S = 86400


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world)
    deployment.age()
    return deployment


# -- timers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("missed", range(1, 8))
def test_up_to_seven_ticks_may_be_missed_after_a_fetch_that_nobody_knows_the_end_of(
    deployment: Deployment, missed: int
) -> None:
    deployment.simulator.script(TICKET_PATH, Fault.cut(executed=True))
    assert of(deployment.run(), Kind.JS_TICKET).outcome is Outcome.UNKNOWN
    deployment.pass_time(missed * TICK_S)
    # The lock holds for a minute and a half, this copy's own wait a minute more: the third tick heals, or a later one.
    assert ticks_to_heal(deployment, at_most=2) == (2 if missed == 1 else 1)
    assert deployment.fetches(Kind.JS_TICKET) <= 3
    assert (deployment.dead, deployment.missing) == ([], 0)


def test_after_ten_missed_ticks_readers_find_nothing_rather_than_a_dead_code(deployment: Deployment) -> None:
    """So the test above can fail: by then the platform has ended what readers held, and Redis has forgotten it."""
    deployment.simulator.script(TICKET_PATH, Fault.cut(executed=True))
    deployment.run()
    before = deployment.code(Kind.JS_TICKET)
    deployment.pass_time(11 * TICK_S)
    assert before is not None
    assert not deployment.simulator.valid(deployment.app_ids[0], Kind.JS_TICKET.value, before)
    assert deployment.missing
    assert deployment.dead == []
    ticks_to_heal(deployment, at_most=1)


def test_ticks_that_come_up_to_a_minute_late_change_nothing(world: World) -> None:
    deployment, chance = Deployment(world), random.Random(59)
    deployment.run()
    late_s = 0.0
    for _ in range(100):
        before, late_s = late_s, chance.uniform(0, TICK_S)
        deployment.pass_time(TICK_S - before + late_s)
        deployment.run()
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)


def run_at_once(deployment: Deployment, copies: int) -> list[Report]:
    """So many copies of the refresher, each a new one."""
    refreshers = [deployment.refresher() for _ in range(copies)]
    with ThreadPoolExecutor(copies) as pool:
        return list(pool.map(lambda refresher: refresher.run_once(Command()), refreshers))


def test_ticks_that_come_twice_fetch_once(world: World) -> None:
    deployment = Deployment(world)
    run_at_once(deployment, 2)
    for _ in range(100):
        deployment.pass_time(TICK_S)
        run_at_once(deployment, 2)
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)


def test_all_ticks_of_an_outage_at_once_fetch_once(deployment: Deployment) -> None:
    deployment.pass_time(15 * TICK_S)
    reports = run_at_once(deployment, 15)
    assert sum(report.summary()["fetches"] for report in reports) == 2
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert healthy(deployment)
    assert (deployment.dead, deployment.missing) == ([], 0)


# -- the machine's clock ------------------------------------------------------------------------

DRIVER = """
import json, os, time
from support.child import say
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Command
from token_refresher.settings.loader import read

refresher = wiring.refresher(read(os.environ))
while line := input():
    say(f"clock:{time.time()}")
    report = refresher.run_once(Command())
    say("ran:" + json.dumps([[each.reason, each.outcome and each.outcome.value] for each in report.targets]))
"""


class Stepping:
    """A warm process on a machine whose clock the test sets, while it runs."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world, self._file = world, directory / "clock-of-the-machine"
        self.set(0)
        environ = {
            "LD_PRELOAD": find_faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.child = Child(DRIVER, world.settings_env() | environ)

    def set(self, ahead_s: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{ahead_s:+d}\n")
        fresh.replace(self._file)

    def begin(self) -> float:
        """Begin a run; by how much its clock is ahead of Redis's then (seconds)."""
        self.child.send("run")
        return float(self.child.wait_for("clock:").removeprefix("clock:")) - self._world.now()

    def end(self) -> list[list[str | None]]:
        told: list[list[str | None]] = json.loads(self.child.wait_for("ran:").removeprefix("ran:"))
        return told


@pytest.fixture
def stepping(world: World, tmp_path: Path) -> Iterator[Stepping]:
    stepping = Stepping(world, tmp_path)
    with stepping.child:
        yield stepping


@pytest.mark.parametrize(("step_s", "path"), [(DAY_S, TICKET_PATH), (-DAY_S, TICKET_PATH), (30, TOKEN_PATH)])
def test_a_clock_of_the_machine_that_is_wrong_and_steps_during_a_run_changes_nothing(
    world: World, stepping: Stepping, step_s: int, path: str
) -> None:
    deployment = Deployment(world)
    stepping.set(step_s)
    assert stepping.begin() == pytest.approx(step_s, abs=20)
    assert stepping.end() == [["MISSING", "issued"], ["MISSING", "issued"]]
    world.advance(6200)
    gate = world.simulator.hold(path, "after")
    stepping.begin()
    gate.wait_reached(30)
    stepping.set(-step_s)
    gate.release()
    assert stepping.end() == [["NEAR_EXPIRY", "issued"], ["NEAR_EXPIRY", "issued"]]
    deployment.look()
    world.advance(100)
    stepping.begin()
    assert stepping.end() == [["FRESH", None], ["FRESH", None]]
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert healthy(deployment)
    assert (deployment.dead, deployment.missing) == ([], 0)
