"""Faults of Redis as Sentinel and as a Cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.crc import key_slot

from platform_simulator.credentials import JS_TICKET
from support.waiting import wait_until
from token_refresher.domain.model import Kind, Target
from token_refresher.store.keys import Keys, keys_of

from .places import ClusterPlace, SentinelPlace
from .redis_troubles import JUST_AFTER_S
from .scenario import Trouble

if TYPE_CHECKING:
    from support.redis_server import RedisServer

    from .stage import Stage

# A replica answers a primary that waits for it within milliseconds (milliseconds; a loaded machine takes longer).
_ACKNOWLEDGED_MS = 20_000


@dataclass(frozen=True, kw_only=True)
class FailOver(Trouble):
    """The primary is killed right after the next run, and the sentinels let the replica take over.

    `loses`: the replica never got what that run wrote. `forced`: that run is one more, started by a person.
    """

    loses: bool = False
    forced: bool = False
    ends_itself = True

    @property
    def name(self) -> str:
        return "failover" + (" that loses the last writes" if self.loses else "")

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, SentinelPlace)
        topology = stage.place.topology
        former = topology.primary
        (replica,) = (server for server in topology.servers if server is not former)
        if self.loses:
            _cut_off(former, replica)
        if self.forced:
            stage.tick("force")
        stage.later(JUST_AFTER_S, lambda: self._fail(stage, former, replica))

    def _fail(self, stage: Stage, former: RedisServer, replica: RedisServer) -> None:
        assert isinstance(stage.place, SentinelPlace)
        if self.loses:
            value = _keys(stage).value
            assert former.client().get(value) != replica.client().get(value), "nothing would be lost"
        else:
            assert former.client(socket_timeout=30).execute_command("WAIT", 1, _ACKNOWLEDGED_MS) == 1
        former.kill()
        stage.place.topology.wait_promoted(former)
        stage.place.address.lead_to(replica.port)
        stage.over(self)


def _cut_off(primary: RedisServer, replica: RedisServer) -> None:
    """Let the replica fall behind: it is thrown out, and knows no password to come back with."""
    replica.client().config_set("masterauth", "")
    primary.client().execute_command("CLIENT", "KILL", "TYPE", "replica")
    link = replica.client()
    wait_until("the replica has noticed", lambda: link.info("replication")["master_link_status"] == "down")


@dataclass(frozen=True, kw_only=True)
class SwitchOver(Trouble):
    """The replica takes over although the primary is well, which goes on taking writes for some seconds."""

    @property
    def name(self) -> str:
        return "switchover"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, SentinelPlace)
        topology = stage.place.topology
        former = topology.primary
        topology.sentinels[0].fail_over()
        stage.place.address.lead_to(topology.wait_promoted(former).port)

    def end(self, stage: Stage) -> None:
        """The sentinels tell the former primary after some real seconds, for which virtual time stands still."""
        assert isinstance(stage.place, SentinelPlace)
        topology = stage.place.topology
        primary = topology.primary
        (former,) = (server for server in topology.servers if server is not primary)
        asked = former.client()
        wait_until("the former primary follows", lambda: asked.info("replication").get("master_link_status") == "up")


# -- Cluster -----------------------------------------------------------------------------------------------------------


def _keys(stage: Stage) -> Keys:
    return keys_of(Target(stage.app_id, Kind(JS_TICKET)))


@dataclass(frozen=True, kw_only=True)
class NodeDies(Trouble):
    """The master that has the ticket is killed; at the end its replica takes over, as the nodes would agree on."""

    @property
    def name(self) -> str:
        return "a node dies"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, ClusterPlace)
        topology = stage.place.topology
        master = topology.master_of(_keys(stage).value)
        replica = topology.replica_of(master)
        # What it had acknowledged, its replica has.
        master.client(socket_timeout=30).execute_command("WAIT", 1, _ACKNOWLEDGED_MS)
        master.kill()
        stage.later(self.lasting_s, lambda: topology.ask(replica, "FAILOVER", "TAKEOVER"))


@dataclass(frozen=True, kw_only=True)
class SlotMoves(Trouble):
    """The slot of the ticket moves to another master; half way, until the end, neither node has all of its keys."""

    @property
    def name(self) -> str:
        return "a slot moves"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, ClusterPlace)
        topology, keys = stage.place.topology, _keys(stage)
        source = topology.master_of(keys.value)
        sink = next(node for node in topology.masters if node is not source)
        slot = key_slot(keys.value.encode())
        topology.ask(sink, "SETSLOT", slot, "IMPORTING", topology.id_of(source))
        topology.ask(source, "SETSLOT", slot, "MIGRATING", topology.id_of(sink))
        _move(source, sink, keys.value)

        def finish() -> None:
            _move(source, sink, keys.lease)
            for node in (sink, source):
                topology.ask(node, "SETSLOT", slot, "NODE", topology.id_of(sink))

        stage.later(self.lasting_s, finish)


def _move(source: RedisServer, sink: RedisServer, key: str) -> None:
    moved: Any = source.client().execute_command("MIGRATE", "127.0.0.1", sink.port, key, 0, 5000, "AUTH", sink.password)
    assert moved in (b"OK", b"NOKEY")
