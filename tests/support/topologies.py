"""Redis as Sentinel and as a Cluster, from the same program as the single server."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from .redis_server import RedisServer, find_binary, free_port
from .tcp_proxy import TcpProxy
from .waiting import wait_until

NAME = "mymaster"
# How long a server is silent until the others take it for dead. Short, because tests wait for it.
_DOWN_AFTER_MS = 500
# Nodes of a cluster talk to each other on a port that is this much higher.
_BUS = 10000


def _is_primary(server: RedisServer) -> bool:
    return bool(server.client(socket_timeout=1).info("replication")["role"] == "master")


def _is_linked(replica: RedisServer) -> bool:
    return bool(replica.client(socket_timeout=1).info("replication").get("master_link_status") == "up")


class Sentinel:
    """One redis-server that runs as a Sentinel, with no data and no password of its own."""

    def __init__(self, primary_port: int, password: str, quorum: int, down_after_ms: int = _DOWN_AFTER_MS) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="sentinel-"))
        configuration = self._directory / "sentinel.conf"
        # It writes what it learns into this file.
        configuration.write_text(
            f"port {self.port}\n"
            "bind 127.0.0.1\n"
            f"dir {self._directory}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {primary_port} {quorum}\n"
            + (f"sentinel auth-pass {NAME} {password}\n" if password else "")
            + f"sentinel down-after-milliseconds {NAME} {down_after_ms}\n"
            f"sentinel failover-timeout {NAME} 3000\n"
        )
        configuration.chmod(0o600)
        self._process = subprocess.Popen(
            [find_binary(), str(configuration), "--sentinel"],
            env=os.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._client: Any = redis.Redis(host="127.0.0.1", port=self.port, protocol=2, socket_timeout=1)

    def state(self) -> dict[str, str]:
        reply: Any = self._client.execute_command("SENTINEL", "MASTER", NAME)
        words = [each.decode() for each in reply]
        return dict(zip(words[::2], words[1::2], strict=True))

    def fail_over(self) -> None:
        """Let the replica take over although the primary is well."""
        self._client.execute_command("SENTINEL", "FAILOVER", NAME)

    def stop(self) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


class Sentinels:
    """A primary, its replica and three sentinels who agree on it; from construction until `stop`."""

    def __init__(self, password: str) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self.servers = [self._start(password) for _ in range(2)]
            primary, replica = self.servers
            replica.client().execute_command("REPLICAOF", "127.0.0.1", str(primary.port))
            wait_until("the replica follows", lambda: _is_linked(replica))
            self.sentinels = [Sentinel(primary.port, primary.password, quorum=2) for _ in range(3)]
            for sentinel in self.sentinels:
                self._stack.callback(sentinel.stop)
            wait_until("the sentinels know each other", self._complete)
        except BaseException:
            self.stop()
            raise

    def _start(self, password: str) -> RedisServer:
        # Without a delay before the first copy is sent; either may become the other's replica.
        options = {"masterauth": password, "repl-diskless-sync-delay": "0"}
        return self._stack.enter_context(RedisServer(options, password=password))

    def _complete(self) -> bool:
        states = [sentinel.state() for sentinel in self.sentinels]
        return all((state["num-other-sentinels"], state["num-slaves"]) == ("2", "1") for state in states)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{quote(self.servers[0].password, safe='')}@{hosts}/{NAME}/0"

    @property
    def primary(self) -> RedisServer:
        """Whoever the sentinels say it is."""
        port = self.sentinels[0].state()["port"]
        return next(server for server in self.servers if str(server.port) == port)

    def wait_promoted(self, former: RedisServer) -> RedisServer:
        """Wait until the other one has taken over and every sentinel says so; returns it."""
        (other,) = [server for server in self.servers if server is not former]
        wait_until("the replica is promoted", lambda: _is_primary(other))
        wait_until(
            "all sentinels know the new primary",
            lambda: all(sentinel.state()["port"] == str(other.port) for sentinel in self.sentinels),
        )
        return other

    def stop(self) -> None:
        self._stack.close()

    def __enter__(self) -> Sentinels:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()


class Cluster:
    """Three masters, each with a replica; from construction until `stop`.

    With `proxies`, one for each node, clients and the other nodes are led through them.
    """

    MASTERS = 3

    def __init__(self, password: str, proxies: Sequence[TcpProxy] = ()) -> None:
        self._stack = contextlib.ExitStack()
        try:
            ports = [proxy.port for proxy in proxies] or [0] * 2 * self.MASTERS
            self.nodes = [self._start(password, port) for port in ports]
            self._announced = {node.port: port or node.port for node, port in zip(self.nodes, ports, strict=True)}
            for node, proxy in zip(self.nodes, proxies, strict=False):
                proxy.lead_to(node.port)
            self._join()
        except BaseException:
            self.stop()
            raise

    def _start(self, password: str, announced: int) -> RedisServer:
        options = {
            "cluster-announce-port": str(announced),
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(_DOWN_AFTER_MS),
            "repl-diskless-sync-delay": "0",
            "masterauth": password,
        }
        return self._stack.enter_context(RedisServer(options, password=password))

    def _join(self) -> None:
        for n, node in enumerate(self.nodes):
            self.ask(node, "SET-CONFIG-EPOCH", n + 1)
            node.client().config_set("cluster-announce-bus-port", node.port + _BUS)
        bounds = [n * REDIS_CLUSTER_HASH_SLOTS // self.MASTERS for n in range(self.MASTERS + 1)]
        for n in range(self.MASTERS):
            self.ask(self.nodes[n], "ADDSLOTS", *range(bounds[n], bounds[n + 1]))
        for node in self.nodes[1:]:
            self.ask(node, "MEET", "127.0.0.1", self._announced[self.nodes[0].port], self.nodes[0].port + _BUS)
        known = str(len(self.nodes))
        wait_until("the nodes know each other", lambda: self._all("cluster_known_nodes", known))
        for n in range(self.MASTERS):
            replica, master_id = self.nodes[self.MASTERS + n], self.id_of(self.nodes[n])
            wait_until("a replica has its master", lambda r=replica, i=master_id: bool(self.ask(r, "REPLICATE", i)))  # type: ignore[misc]
        wait_until("the replicas follow", lambda: all(_is_linked(node) for node in self.nodes[self.MASTERS :]))
        self.wait_ok()

    def _all(self, name: str, value: str) -> bool:
        return all(self._info(node)[name] == value for node in self.nodes if node.alive)

    def _info(self, node: RedisServer) -> dict[str, str]:
        lines = self.ask(node, "INFO").decode().split()
        return dict(line.split(":", 1) for line in lines)

    def ask(self, node: RedisServer, *command: object) -> Any:
        """A CLUSTER command to one node."""
        client = node.client(socket_timeout=5)
        try:
            return client.execute_command("CLUSTER", *[str(each) for each in command])
        finally:
            client.close()

    def id_of(self, node: RedisServer) -> str:
        return str(self.ask(node, "MYID").decode())

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{quote(self.nodes[0].password, safe='')}@{hosts}"

    @property
    def masters(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.alive and _is_primary(node)]

    def master_of(self, key: str) -> RedisServer:
        """The node that serves a key, as the nodes themselves see it."""
        slot = key_slot(key.encode())
        for node in self.masters:
            for line in self.ask(node, "NODES").decode().splitlines():
                words = line.split()
                if "myself" in words[2] and any(_holds(each, slot) for each in words[8:]):
                    return node
        raise LookupError(f"no node serves slot {slot}")

    def replica_of(self, master: RedisServer) -> RedisServer:
        lines = self.ask(master, "REPLICAS", self.id_of(master))
        ports = [int(line.decode().split()[1].split("@")[0].rpartition(":")[2]) for line in lines]
        return next(node for node in self.nodes if self._announced[node.port] in ports)

    def wait_promoted(self, replica: RedisServer) -> None:
        wait_until("the replica is promoted", lambda: _is_primary(replica))
        self.wait_ok()

    def wait_ok(self) -> None:
        wait_until("every node takes the cluster for whole", lambda: self._all("cluster_state", "ok"))

    def stop(self) -> None:
        self._stack.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()


def _holds(slots: str, slot: int) -> bool:
    """Whether a slot is in a range as CLUSTER NODES writes it: "5", "5-9"; "[..." is one that moves."""
    first, _, last = slots.partition("-")
    return not slots.startswith("[") and int(first) <= slot <= int(last or first)
