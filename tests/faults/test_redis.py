"""More of what Redis may do: stop in the middle of a script, miss its replicas, fail over to a machine with another
clock, move slots, and let readers look at a replica that lags."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from e2e.test_topologies import APP_ID, LIFETIME_S
from e2e.test_topologies import Job as ScaledJob
from faults.test_redis_server import KINDS, STEPS_S, Job, SteppedWorld, codes_in, of
from support.flow import PUBLIC_KEY, SAMPLE_S, Deployment
from support.planted import plant
from support.redis_server import RedisServer
from support.tcp_proxy import TcpProxy
from support.topologies import Cluster, Sentinels, wait_until
from support.world import World
from token_refresher.domain.command import Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.store.keys import keys_of

TICKET = Target(APP_ID, Kind.JS_TICKET)


@pytest.fixture
def job(world: World) -> Job:
    """Both codes are stored and alive, and are to be renewed now."""
    job = Job(world)
    job.due()
    return job


# -- standing still, and refusing writes --------------------------------------------------------

# What a server is told, after which it answers nobody: for a second, or until the script is killed.
STILL = {"in a script": ("EVAL", "while true do end", "0"), "asleep": ("DEBUG", "SLEEP", "1")}


def stand_still(server: RedisServer, command: tuple[str, ...]) -> None:
    """Let it answer nobody; returns when it has begun. Skips where the command is not allowed."""
    refused: list[str] = []
    # After that it answers again, but only that it is busy.
    server.client().config_set("lua-time-limit", 1000)

    def send() -> None:
        with suppress(redis.ConnectionError, redis.TimeoutError):
            try:
                server.client(socket_timeout=60).execute_command(*command)
            except redis.ResponseError as error:
                if "killed" not in str(error):
                    refused.append(str(error))

    def stands() -> bool:
        try:
            server.client(socket_timeout=0.05).ping()
        except (redis.TimeoutError, redis.ResponseError):
            return True
        return bool(refused)

    threading.Thread(target=send, daemon=True).start()
    wait_until("it stands still", stands)
    if refused:
        pytest.skip(f"NOT TESTED: this Redis does not do it: {refused[0]}")


def goes_on(server: RedisServer) -> None:
    """Returns when it answers everybody again."""

    def answers() -> bool:
        client = server.client(socket_timeout=30)
        with suppress(redis.ResponseError):
            client.script_kill()
        return bool(client.ping())

    wait_until("it goes on", answers)


@pytest.mark.parametrize("how", STILL)
def test_a_server_that_stands_still_before_a_run_costs_no_fetch(job: Job, how: str) -> None:
    stand_still(job.world.redis, STILL[how])
    said = ""
    try:
        job.refresher.run_once(Command())
    except StoreError as error:
        said = error.code
    goes_on(job.world.redis)
    # On a very slow machine it may have gone on before it was asked.
    assert said in ("redis_timeout", "redis_error", "")
    assert job.fetches() == ([1, 1] if said else [2, 2])
    assert job.healed_after() == 1
    assert job.fetches() == [2, 2]


@pytest.mark.parametrize("how", STILL)
def test_a_server_that_stands_still_under_a_fetch_costs_at_most_one_more(job: Job, how: str) -> None:
    report = job.tick_with(lambda: stand_still(job.world.redis, STILL[how]))
    goes_on(job.world.redis)
    assert codes_in(report) <= {"redis_timeout", "redis_error"}
    job.look()
    job.healed_after()
    assert sum(job.fetches()) <= 4 + 1


def want_replicas(server: RedisServer, count: int) -> None:
    server.client().config_set("min-replicas-to-write", count)


def test_a_primary_without_its_replicas_takes_no_writes_so_nothing_is_fetched(job: Job) -> None:
    want_replicas(job.world.redis, 1)
    requests = job.requests()
    report = job.tick()
    assert codes_in(report) == {"redis_error"}
    assert all("NOREPLICAS" in each.failure.message for each in report.targets if each.failure)
    assert job.requests() == requests
    want_replicas(job.world.redis, 0)
    assert job.healed_after() == 1
    assert job.fetches() == [2, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_primary_that_loses_its_replicas_under_a_fetch_costs_one_fetch_more(job: Job, kind: Kind) -> None:
    path = "/OAuth2/token" if kind is Kind.ACCESS_TOKEN else "/OAuth2/ticket"
    broken = of(job.tick_with(lambda: want_replicas(job.world.redis, 1), path), kind)
    assert broken.outcome is Outcome.LOST
    assert broken.failure
    assert "NOREPLICAS" in broken.failure.message
    want_replicas(job.world.redis, 0)
    job.look()
    job.healed_after()
    assert sum(job.fetches()) <= 4 + 1


# -- a failover to another clock ----------------------------------------------------------------


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


# -- sentinels --------------------------------------------------------------------------------


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    with Sentinels(plant("redis-password")) as sentinels:
        yield sentinels


@pytest.fixture
def start_scaled() -> Iterator[Callable[[str], ScaledJob]]:
    jobs: list[ScaledJob] = []

    def start(url: str) -> ScaledJob:
        jobs.append(ScaledJob(url))
        jobs[-1].tick()
        return jobs[-1]

    yield start
    for job in jobs:
        job.stop()


def force_spoiling(job: ScaledJob, name: str, when: str, spoil: Callable[[], object]) -> None:
    """A forced run in which something is done before or after one call to the store, about the ticket."""
    original: Any = getattr(job.refresher.store, name)

    def spoilt(first: Any, *arguments: Any, **more: Any) -> Any:
        about_it = TICKET in (first, getattr(first, "target", None))
        if about_it and when == "before":
            spoil()
        result = original(first, *arguments, **more)
        if about_it and when == "after":
            spoil()
        return result

    setattr(job.refresher.store, name, spoilt)
    with suppress(StoreError):
        job.refresher.run_once(Command(force=True))
    delattr(job.refresher.store, name)


@pytest.mark.parametrize(("name", "when"), [("acquire", "before"), ("finish", "after")])
def test_a_primary_killed_at_any_point_is_replaced_and_costs_one_fetch_more(
    sentinels: Sentinels, start_scaled: Callable[[str], ScaledJob], name: str, when: str
) -> None:
    job = start_scaled(sentinels.url)
    former = sentinels.primary
    force_spoiling(job, name, when, former.kill)
    sentinels.wait_promoted(former)
    wait_until("it heals", job.heals)
    # The natural fetch of both, and at most one of each for what the former primary took with it.
    assert job.fetches() <= 4 + 2


def test_a_primary_frozen_under_a_fetch_and_replaced_changes_nothing_when_it_thaws(
    sentinels: Sentinels, start_scaled: Callable[[str], ScaledJob]
) -> None:
    job = start_scaled(sentinels.url)
    former = sentinels.primary
    force_spoiling(job, "finish", "before", former.pause)
    sentinels.wait_promoted(former)
    wait_until("it heals", job.heals)
    fetches = job.fetches()
    former.resume()
    # What was sent to it while it stood still is carried out there, where nobody looks.
    for refresher in (job.refresher, job.instance()):
        job.refresher = refresher
        job.tick()
        assert job.healthy()
    assert job.fetches() == fetches <= 4 + 2


def test_sentinels_that_are_all_away_hold_everything_up_until_one_is_back(
    sentinels: Sentinels, start_scaled: Callable[[str], ScaledJob]
) -> None:
    job = start_scaled(sentinels.url)
    for sentinel in sentinels.sentinels:
        sentinel._process.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreError) as raised:
        job.refresher.run_once(Command(force=True))
    assert raised.value.code in ("redis_unreachable", "redis_timeout")
    assert job.fetches() == 2
    for sentinel in sentinels.sentinels:
        sentinel._process.send_signal(signal.SIGCONT)
    wait_until("it is read again", job.heals)
    assert job.fetches() <= 2 + LIFETIME_S // 2


# -- a cluster whose slots move -----------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(plant("redis-password")) as cluster:
        yield cluster


def test_a_slot_on_its_way_is_not_taken_for_an_empty_one_and_is_read_again_where_it_is_whole(
    cluster: Cluster, start_scaled: Callable[[str], ScaledJob]
) -> None:
    job, keys = start_scaled(cluster.url), keys_of(TICKET)
    source = cluster.master_of(keys.value)
    sink = next(node for node in cluster.masters if node is not source)
    slot = key_slot(keys.value.encode())

    def move(key: str) -> None:
        command = ("MIGRATE", "127.0.0.1", sink.port, key, 0, 5000, "AUTH", sink.password)
        assert source.client().execute_command(*command) == b"OK"

    def words() -> list[str]:
        """What source and sink say to a script about all keys of the ticket."""
        said = []
        for node in (source, sink):
            with node.client(single_connection_client=True) as client:
                try:
                    client.execute_command("ASKING")
                    client.eval("return 1", 3, *keys)
                    said.append("")
                except redis.ResponseError as error:
                    said.append(type(error).__name__)
        return said

    def cannot_be_read() -> bool:
        report = job.refresher.run_once(Command(force=True, kinds=(Kind.JS_TICKET,)))
        (failure,) = [each.failure for each in report.targets]
        return failure is not None and failure.code == "redis_error"

    before = job.fetches()
    cluster.ask(sink, "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
    cluster.ask(source, "SETSLOT", slot, "MIGRATING", cluster.id_of(sink))
    # Of the three keys one does not exist, which the source takes for moved, and the sink for still to come.
    assert words() == ["AskError", "TryAgainError"]
    assert cannot_be_read()
    move(keys.value)
    assert words() == ["AskError", "TryAgainError"]
    assert cannot_be_read()
    assert job.fetches() == before
    # A reader's complaint goes to the sink already. With all three there, the source is obeyed.
    move(keys.lease)
    with sink.client(single_connection_client=True) as client:
        client.execute_command("ASKING")
        client.set(keys.refused, "0" * 8, ex=60)
    assert words() == ["AskError", ""]
    assert job.healthy()
    assert not [each.failure for each in job.refresher.run_once(Command()).targets if each.failure]
    assert job.fetches() == before
    for node in (sink, source):
        cluster.ask(node, "SETSLOT", slot, "NODE", cluster.id_of(sink))
    assert words() == ["MovedError", ""]
    wait_until("it heals", job.heals)
    assert job.fetches() == before
    assert sink.client().exists(keys.value)


# -- readers of a replica that lags ---------------------------------------------------------------


@dataclass
class CachingReader:
    """A reader in some other language: GET on a replica, and the result kept for so long."""

    replica: Any
    kept_s: float
    read_at: float = float("-inf")
    code: dict[Kind, str | None] = field(default_factory=dict)

    def look(self, now: float) -> None:
        if now - self.read_at >= self.kept_s:
            self.read_at = now
            for kind, (key, member) in PUBLIC_KEY.items():
                value = self.replica.get(key.format(APP_ID))
                self.code[kind] = None if value is None else str(json.loads(value)[member])


@pytest.mark.parametrize(("lag_s", "kept_s", "good"), [(400, 60, True), (160, 300, True), (420, 300, False)], ids=str)
def test_readers_on_a_lagging_replica_hold_good_codes_while_lag_and_cache_are_within_the_grace(
    world: World, start_redis: Callable[..., RedisServer], lag_s: int, kept_s: int, good: bool
) -> None:
    """Less than 480 s together, which leaves two minutes of the grace. Beyond the grace it hurts: so it can fail."""
    deployment = Deployment(world)
    deployment.run()
    options = {"masterauth": world.redis.password, "repl-timeout": "100000", "repl-diskless-sync-delay": "0"}
    world.redis.client().config_set("repl-timeout", 100_000)
    with TcpProxy(world.redis.port) as link:
        replica = start_redis(options, password=world.redis.password, faketime=True, offset_s=world.redis.offset_s)
        client = replica.client()
        client.execute_command("REPLICAOF", "127.0.0.1", link.port)
        wait_until("the replica follows", lambda: client.info("replication")["master_link_status"] == "up")
        for server in (world.redis, replica):
            server.advance(5300)
        # However their caches are out of step.
        readers = [CachingReader(client, kept_s, world.now() - late_s) for late_s in range(0, kept_s, SAMPLE_S)]
        dead, looks = 0, 0
        for second in range(0, 1500, SAMPLE_S):
            # The renewal comes when 1800 s are left, at second 100.
            if second == 80:
                link.refuse()
            if second == 100 + lag_s:
                link.accept_again()
                wait_until("the replica follows again", lambda: world.redis.client().wait(1, 1000) == 1)
            if second % 60 == 0:
                deployment.run()
            for server in (world.redis, replica):
                server.advance(SAMPLE_S)
            for reader in readers:
                reader.look(world.now())
                for kind, code in reader.code.items():
                    looks += 1
                    dead += code is None or not deployment.simulator.valid(APP_ID, kind.value, code)
    assert looks
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (dead == 0) == good
    assert (deployment.dead, deployment.missing) == ([], 0)
