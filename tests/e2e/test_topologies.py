"""Whole runs through Sentinel and on a Cluster, and what a failover costs.

By the machine's clock and with all durations scaled down: servers that talk to each other do not take it well
when their clocks jump.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from redis.crc import key_slot

from support.planted import plant
from support.redis_server import RedisServer, find_binary
from support.scaled_job import APP_ID, KINDS, ScaledJob
from support.topologies import Cluster, Sentinels
from support.waiting import wait_until
from token_refresher.domain.command import Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Outcome, Snapshot, Target
from token_refresher.store.keys import WIRE_NAME, keys_of

try:
    find_binary()
except FileNotFoundError as missing:
    pytest.skip(f"SENTINEL AND CLUSTER ARE NOT TESTED: {missing}", allow_module_level=True)


@pytest.fixture
def start_job() -> Iterator[Callable[[str], ScaledJob]]:
    jobs: list[ScaledJob] = []

    def start(url: str) -> ScaledJob:
        jobs.append(ScaledJob(url))
        return jobs[-1]

    yield start
    for job in jobs:
        job.stop()


class TestSentinel:
    @pytest.fixture
    def sentinels(self) -> Iterator[Sentinels]:
        with Sentinels(plant("redis-password")) as sentinels:
            yield sentinels

    def test_a_whole_run_works_as_a_user_and_with_one_sentinel_left(
        self, sentinels: Sentinels, start_job: Callable[[str], ScaledJob]
    ) -> None:
        password = plant("user", "p@ss/:?")
        for server in sentinels.servers:
            server.client().execute_command("ACL", "SETUSER", "me", "on", f">{password}", "+@all", "~*")
        job = start_job(f"redis+sentinel://me:{quote(password, safe='')}@{sentinels.url.rpartition('@')[2]}")
        assert [each.outcome for each in job.tick().targets] == [Outcome.ISSUED, Outcome.ISSUED]
        assert job.healthy()
        for kind in KINDS:
            stored: Any = sentinels.primary.client().get(keys_of(Target(APP_ID, kind)).value)
            assert json.loads(stored)[WIRE_NAME[kind]]
        for sentinel in sentinels.sentinels[:2]:
            sentinel.stop()
        job.refresher = job.instance()
        job.tick()
        assert job.healthy()

    @pytest.mark.parametrize("instance", ["warm", "cold"])
    def test_with_all_sentinels_gone_nobody_knows_the_primary_and_nothing_is_fetched(
        self, instance: str, sentinels: Sentinels, start_job: Callable[[str], ScaledJob]
    ) -> None:
        """A connection that still works may lead to a primary that is none any more."""
        job = start_job(sentinels.url)
        job.tick()
        for sentinel in sentinels.sentinels:
            sentinel.stop()
        if instance == "cold":
            job.refresher = job.instance()
        with pytest.raises(StoreError) as raised:
            job.refresher.run_once(Command(force=True))
        assert raised.value.code == "redis_unreachable"
        assert job.fetches() == 2

    def test_a_primary_that_is_killed_under_a_fetch_costs_one_fetch_more(
        self, sentinels: Sentinels, start_job: Callable[[str], ScaledJob]
    ) -> None:
        job = start_job(sentinels.url)
        job.tick()
        former = sentinels.primary
        # The store is repeated for some seconds, which may well be enough.
        job.force_with(former.kill)
        assert job.fetches() == 4
        sentinels.wait_promoted(former)
        wait_until("it heals", job.heals)
        assert job.fetches() <= 4 + 2

    def test_while_there_is_no_primary_nothing_is_fetched(
        self, sentinels: Sentinels, start_job: Callable[[str], ScaledJob]
    ) -> None:
        job = start_job(sentinels.url)
        job.tick()
        former = sentinels.primary
        former.kill()
        with pytest.raises(StoreError) as raised:
            job.refresher.run_once(Command(force=True))
        assert raised.value.code in ("redis_unreachable", "redis_timeout")
        assert job.fetches() == 2
        sentinels.wait_promoted(former)
        wait_until("it heals", job.heals)
        assert job.fetches() <= 2 + 2

    def test_a_switchover_under_a_fetch_heals_although_the_former_primary_goes_on_taking_writes(
        self, sentinels: Sentinels, start_job: Callable[[str], ScaledJob]
    ) -> None:
        """For eight seconds, after which they are lost."""
        job = start_job(sentinels.url)
        job.tick()
        former = sentinels.primary

        def switch_over() -> None:
            sentinels.sentinels[0].fail_over()
            sentinels.wait_promoted(former)

        job.force_with(switch_over)
        wait_until("it heals", job.heals)
        assert job.fetches() <= 4 + 2

    def test_a_primary_that_was_only_frozen_does_not_bring_its_old_data_back(
        self, sentinels: Sentinels, start_job: Callable[[str], ScaledJob]
    ) -> None:
        job = start_job(sentinels.url)
        job.tick()
        former = sentinels.primary
        former.pause()
        sentinels.wait_promoted(former)
        wait_until("it heals", job.heals)
        job.refresher.run_once(Command(force=True))
        former.resume()
        for refresher in (job.refresher, job.instance()):
            job.refresher = refresher
            job.tick()
            assert job.healthy()


class TestCluster:
    @pytest.fixture
    def cluster(self) -> Iterator[Cluster]:
        with Cluster(plant("redis-password")) as cluster:
            yield cluster

    def test_a_whole_run_works_with_every_target_s_keys_in_one_slot(
        self, cluster: Cluster, start_job: Callable[[str], ScaledJob]
    ) -> None:
        job = start_job(cluster.url)
        assert [each.outcome for each in job.tick().targets] == [Outcome.ISSUED, Outcome.ISSUED]
        assert job.healthy()
        found: dict[int, set[bytes]] = {}
        for node in cluster.masters:
            for key in node.client().keys("*"):
                found.setdefault(key_slot(key), set()).add(key)
        expected = [keys_of(Target(APP_ID, kind)) for kind in KINDS]
        assert sorted(map(sorted, found.values())) == sorted(
            sorted((keys.value.encode(), keys.lease.encode())) for keys in expected
        )
        # Targets of many applications lie on all nodes, and are read in one go.
        targets = [Target(f"app{n:04d}", kind) for n in range(60) for kind in KINDS]
        assert all(isinstance(each, Snapshot) for each in job.refresher.store.load(targets))

    def test_a_master_that_is_killed_under_a_fetch_costs_one_fetch_more(
        self, cluster: Cluster, start_job: Callable[[str], ScaledJob]
    ) -> None:
        job = start_job(cluster.url)
        job.tick()
        master = cluster.master_of(keys_of(Target(APP_ID, Kind.JS_TICKET)).value)
        replica = cluster.replica_of(master)
        job.force_with(master.kill)
        before = job.fetches()
        assert before == 4
        self.fails_cleanly(job)
        cluster.wait_promoted(replica)
        wait_until("it heals", job.heals)
        assert job.fetches() <= before + 2

    def fails_cleanly(self, job: ScaledJob) -> None:
        """Whatever a run meets on half a cluster, it is an error of ours that says what."""
        try:
            report = job.refresher.run_once(Command())
        except StoreError:
            return
        assert "internal_error" not in {each.failure.code for each in report.targets if each.failure}

    def test_a_cluster_that_has_lost_a_part_for_good_is_told_as_such(
        self, cluster: Cluster, start_job: Callable[[str], ScaledJob]
    ) -> None:
        job = start_job(cluster.url)
        job.tick()
        master = cluster.master_of(keys_of(Target(APP_ID, Kind.JS_TICKET)).value)
        cluster.replica_of(master).kill()
        master.kill()
        alive = cluster.masters[0]
        wait_until("it is down", lambda: b"cluster_state:fail" in cluster.ask(alive, "INFO"))
        before = job.fetches()
        with pytest.raises(StoreError) as raised:
            job.refresher.run_once(Command(force=True))
        assert raised.value.code in ("redis_loading", "redis_unreachable")
        assert job.fetches() == before
        with pytest.raises(StoreError) as raised:
            job.instance().run_once(Command(force=True))
        assert job.fetches() == before

    def test_a_slot_that_moves_is_followed(self, cluster: Cluster, start_job: Callable[[str], ScaledJob]) -> None:
        job = start_job(cluster.url)
        job.tick()
        keys = keys_of(Target(APP_ID, Kind.JS_TICKET))
        source = cluster.master_of(keys.value)
        sink = next(node for node in cluster.masters if node is not source)
        slot = key_slot(keys.value.encode())
        cluster.ask(sink, "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
        cluster.ask(source, "SETSLOT", slot, "MIGRATING", cluster.id_of(sink))
        self.move(source, sink, keys.value)
        # Half way neither node has both keys: that run cannot read this target, and must not take it for missing.
        before = job.fetches()
        report = job.refresher.run_once(Command())
        assert job.fetches() == before
        assert all(each.reason != "MISSING" for each in report.targets)
        self.move(source, sink, keys.lease)
        for node in (sink, source):
            cluster.ask(node, "SETSLOT", slot, "NODE", cluster.id_of(sink))
        wait_until("it heals", job.heals)
        assert job.fetches() == before
        assert sink.client().exists(keys.value)

    def move(self, source: RedisServer, sink: RedisServer, key: str) -> None:
        command = ("MIGRATE", "127.0.0.1", sink.port, key, 0, 5000, "AUTH", sink.password)
        assert source.client().execute_command(*command) == b"OK"
