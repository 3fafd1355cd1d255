"""Redis's clock steps, or a failover leads to another one, or the refreshers' machines are off: whole runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from support.job import KINDS, LOCK_MS, Job
from support.looks import Looks
from support.processes import Child
from support.redis_server import RedisServer, find_faketime
from support.waiting import wait_until
from support.world import SteppedWorld, World

STEPS_S = [30, -30, 900, -900, 86400, -86400]


class TestRedisClock:
    """Redis's clock is set while everything runs. The credentials are right by the platform's."""

    @pytest.fixture
    def stepped(self) -> Iterator[SteppedWorld]:
        with SteppedWorld() as world:
            yield world

    def pass_time(self, job: Job, seconds: int) -> int:
        """Run every five minutes, and look every minute; returns how often a reader found no credential."""
        missing = 0
        for minute in range(seconds // 60):
            if minute % 5 == 0:
                job.tick()
            missing += sum(job.code(kind) is None for kind in KINDS)
            job.look()
            job.world.advance(60)
        return missing

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_between_two_runs(self, step_s: int, stepped: SteppedWorld) -> None:
        job = Job(stepped, tick_s=300)
        assert self.pass_time(job, 1200) == 0
        before = job.fetches()
        stepped.step(step_s)
        assert self.pass_time(job, 600) == 0
        assert max(now - then for now, then in zip(job.fetches(), before, strict=True)) <= 1
        # Beyond the life of every credential that was stored before the step.
        assert self.pass_time(job, 7800) == 0
        job.tick()
        assert job.healthy()

    @pytest.mark.parametrize("step_s", [-2400, -3600, -4500])
    def test_a_step_back_by_less_than_the_age_of_a_code_is_found_while_the_code_still_lives(
        self, step_s: int, stepped: SteppedWorld
    ) -> None:
        """Nothing that Redis recorded shows it: the credentials only seem to live longer."""
        job = Job(stepped, tick_s=300)
        assert self.pass_time(job, 4800) == 0
        before = job.fetches()
        stepped.step(step_s)
        assert self.pass_time(job, 900) == 0
        assert [now - then for now, then in zip(job.fetches(), before, strict=True)] == [1, 1]
        assert self.pass_time(job, 7800) == 0
        job.tick()
        assert job.healthy()

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_under_a_fetch(self, step_s: int, stepped: SteppedWorld) -> None:
        job = Job(stepped, tick_s=300)
        job.due()
        job.tick_with(lambda: stepped.step(step_s), TICKET_PATH)
        job.healed_after()
        self.pass_time(job, 7800)
        job.tick()
        assert job.healthy()

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_after_a_crash(self, step_s: int, stepped: SteppedWorld) -> None:
        job = Job(stepped)
        job.due()
        stepped.simulator.script(TICKET_PATH, Fault.cut(executed=True))
        job.tick()
        stepped.step(step_s)
        job.healed_after(4)


DRIVER = """
import json, os, socket, time
from support.child import say, wrap
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Command
from token_refresher.settings.loader import read

socket.gethostname = lambda: os.environ["FAKETIME"]
refresher = wiring.refresher(read(os.environ))
say(f"clock:{time.time()}")
while (line := input()) == "tick":
    report = refresher.run_once(Command())
    say("ran:" + json.dumps([[each.reason, each.outcome and each.outcome.value] for each in report.targets]))
"""


class TestClientClock:
    """The machines that refreshers run on are ten minutes off, in either direction; each has a name of its own."""

    def start(self, world: World, offset_s: int) -> Child:
        clock = {"LD_PRELOAD": find_faketime(), "FAKETIME": f"{offset_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        child = Child(DRIVER, world.settings_env() | clock)
        shown = float(child.wait_for("clock:").removeprefix("clock:"))
        assert shown - world.now() == pytest.approx(offset_s, abs=30)
        return child

    def result(self, child: Child) -> list[list[str | None]]:
        result: list[list[str | None]] = json.loads(child.wait_for("ran:").removeprefix("ran:"))
        return result

    def run(self, child: Child) -> list[list[str | None]]:
        child.send("tick")
        return self.result(child)

    @pytest.fixture
    def ahead(self, world: World) -> Iterator[Child]:
        with self.start(world, 600) as child:
            yield child

    @pytest.fixture
    def behind(self, world: World) -> Iterator[Child]:
        with self.start(world, -600) as child:
            yield child

    @pytest.mark.parametrize("first", ["ahead", "behind"])
    def test_two_that_differ_by_twenty_minutes_never_fetch_at_once(
        self, first: str, world: World, ahead: Child, behind: Child
    ) -> None:
        one, other = (ahead, behind) if first == "ahead" else (behind, ahead)
        gate = world.simulator.hold(TOKEN_PATH, "before")
        one.send("tick")
        gate.wait_reached()
        looks = Looks(world)
        other.send("tick")
        looks.wait_for(4)
        assert world.simulator.count(TOKEN_PATH) == 1
        gate.release()
        assert [outcome for _, outcome in self.result(one)] == ["issued", "issued"]
        assert self.result(other) == [["FRESH", None], ["FRESH", None]]
        assert Job(world).fetches() == [1, 1]

    @pytest.mark.parametrize("first", ["ahead", "behind"])
    def test_a_crashed_one_s_lock_ends_for_the_other_when_redis_says_so(
        self, first: str, world: World, ahead: Child, behind: Child
    ) -> None:
        one, other = (ahead, behind) if first == "ahead" else (behind, ahead)
        gate, began = world.simulator.hold(TOKEN_PATH, "before"), world.now()
        one.send("tick")
        gate.wait_reached()
        one.kill()
        world.advance(85)
        # Nothing is stored, so the run waits for the lock's end.
        assert self.run(other) == [["MISSING", "issued"], ["MISSING", "issued"]]
        assert LOCK_MS <= (world.now() - began) * 1000 < LOCK_MS + 5000
        gate.release()

    @pytest.mark.parametrize("who", ["ahead", "behind"])
    def test_expiry_is_the_platform_s_and_it_is_renewed_when_it_is_due(
        self, who: str, world: World, ahead: Child, behind: Child
    ) -> None:
        child = ahead if who == "ahead" else behind
        job = Job(world)
        assert self.run(child) == [["MISSING", "issued"], ["MISSING", "issued"]]
        for kind in KINDS:
            key = job.keys(kind).value
            stored: Any = world.redis.client().get(key)
            newest = world.simulator.newest(job.app_id, kind.value)
            assert newest
            assert json.loads(stored)["expires_in"] == pytest.approx(newest.expires_at, abs=5)
            assert newest.expires_at - 10 <= world.now() + int(world.redis.client().pttl(key)) / 1000
            assert world.now() + int(world.redis.client().pttl(key)) / 1000 <= newest.expires_at + 1
        world.advance(7200 - 1800 - 60)
        assert [reason for reason, _ in self.run(child)] == ["FRESH", "FRESH"]
        world.advance(120)
        assert self.run(child) == [["NEAR_EXPIRY", "issued"], ["NEAR_EXPIRY", "issued"]]
        assert job.healthy()
        assert job.fetches() == [2, 2]

    @pytest.mark.parametrize("who", ["ahead", "behind"])
    def test_another_one_s_refresh_is_noticed_and_a_good_code_is_not_condemned(
        self, who: str, world: World, ahead: Child, behind: Child
    ) -> None:
        child = ahead if who == "ahead" else behind
        job = Job(world)
        self.run(child)
        world.advance(240)
        assert [reason for reason, _ in self.run(child)] == ["FRESH", "FRESH"]
        assert world.simulator.count(CHECK_PATH) == 2
        world.simulator.issue(job.app_id, "js_ticket")
        world.advance(240)
        assert self.run(child)[1] == ["SUPERSEDED", "issued"]
        assert job.healthy()


# -- a failover to another clock ---


class FailingOverWorld(SteppedWorld):
    """Its Redis has a replica on a machine whose clock is another, and which takes over."""

    def fail_over(self, step_s: float) -> None:
        former = self.redis
        options = {"masterauth": former.password, "repl-diskless-sync-delay": "0"}
        other = RedisServer(options, password=former.password, faketime=True, offset_s=former.offset_s + step_s)
        client = other.client()
        client.execute_command("REPLICAOF", "127.0.0.1", former.port)
        wait_until("the replica follows", lambda: client.info("replication")["master_link_status"] == "up")
        assert former.client().wait(1, 10_000) == 1
        former.kill()
        former.stop()
        client.execute_command("REPLICAOF", "NO", "ONE")
        self.redis, self.stepped_s = other, self.stepped_s + step_s


@pytest.fixture
def failing_over() -> Iterator[FailingOverWorld]:
    with FailingOverWorld() as world:
        yield world


@pytest.mark.parametrize(
    ("step_s", "state"),
    [
        *((step_s, "due") for step_s in STEPS_S),
        *((step_s, "fresh") for step_s in (86400, -86400)),
        *((step_s, "unsettled") for step_s in (900, -900)),
    ],
)
def test_a_failover_to_a_machine_with_another_clock(failing_over: FailingOverWorld, step_s: int, state: str) -> None:
    job = Job(failing_over)
    job.fresh() if state == "fresh" else job.due()
    if state == "unsettled":
        gate = failing_over.simulator.hold("/OAuth2/ticket", "before")
        job.refresher = Job(failing_over, request_total_s=0.5).refresher
        job.tick()
        gate.release()
        gate.wait_passed(30)
    before = job.fetches()
    failing_over.fail_over(step_s)
    job = Job(failing_over)
    job.look()
    job.healed_after(4)
    assert all(now - then <= 2 for now, then in zip(job.fetches(), before, strict=True))
    for _ in range(10):
        failing_over.advance(300)
        job.tick()
        assert all(job.code(kind) for kind in KINDS)
    assert job.healthy()
