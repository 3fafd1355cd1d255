"""Places with other kinds of Redis, and other ways to Redis and platform, than the plain one."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from support.planted import plant
from support.redis_server import RedisServer
from support.topologies import Cluster, Sentinels
from support.waiting import wait_until
from support.world import World
from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.policy import Policy
from token_refresher.store.connection import create_client

from .forward_proxy import ForwardProxy
from .place import Place
from .platform_certificate import Certificate
from .wire import Wire

# Servers that talk to each other take a silence for death. Their clocks jump by seconds at a time, so what they may
# find out by themselves is measured by nobody's virtual time: it is as good as never (seconds, milliseconds).
_NEVER_S, _NEVER_MS = "100000000", "1000000000"
# A reader waits no longer (seconds) for a Redis that does not answer.
_READER_S = 0.5


class Lasting(Place):
    """Redis has an append-only file, written before it answers."""

    def _new_world(self) -> World:
        return World({"appendonly": "yes", "appendfsync": "always"})


class Impatient(Place):
    """Readers wait for a silent Redis only briefly, so that nobody has to wait for the readers."""

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        self.readers = [server.client(socket_timeout=_READER_S) for server in self.servers]


class BehindWire(Place):
    """The system under test reaches Redis through a `wire`; readers do not."""

    def __init__(self, **policy: float) -> None:
        self._wires: list[Wire] = []
        super().__init__(**policy)

    @property
    def wire(self) -> Wire:
        return self._wires[0]

    def _environ(self, server: RedisServer, policy: dict[str, float]) -> dict[str, str]:
        self._wires.append(Wire(server.port))
        return super()._environ(server, policy) | {"REDIS_URL": self.wire.url(quote(server.password, safe=""))}

    def _cron_settings(self, server: RedisServer) -> dict[str, Any]:
        return super()._cron_settings(server) | {
            "storage_redis": {"host": "127.0.0.1", "port": self.wire.port, "auth": server.password}
        }

    def stop(self) -> None:
        for wire in self._wires:
            wire.stop()
        super().stop()


class WrongRedisClock(Place):
    """Redis's clock can be made to differ from everybody else's, by `step_s` (seconds, ahead)."""

    step_s = 0.0

    def step(self, seconds: float) -> None:
        self.step_s += seconds
        self.world.platform_ahead_s = -self.step_s
        self.world.advance(seconds)

    def now(self) -> float:
        return self.world.now() - self.step_s

    def steady(self) -> float:
        return super().steady() - self.step_s


# -- several servers -------------------------------------------------------------------------


class _MovableSentinels(Sentinels):
    def _start(self, password: str) -> RedisServer:
        options = {"masterauth": password, "repl-diskless-sync-delay": "0", "repl-timeout": _NEVER_S}
        return self._stack.enter_context(RedisServer(options, password=password, faketime=True))


class _MovableCluster(Cluster):
    def __init__(self, password: str) -> None:
        super().__init__(password)
        try:
            wait_until("each master knows its replica", lambda: all(map(self._has_replica, self.nodes[: self.MASTERS])))
            for node in self.nodes:
                node.client().config_set("cluster-node-timeout", _NEVER_MS)
        except BaseException:
            self.stop()
            raise

    def _start(self, password: str, announced: int) -> RedisServer:
        options = {
            "cluster-announce-port": str(announced),
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            # Until they know each other; nobody moves their clocks before.
            "cluster-node-timeout": "2000",
            "repl-diskless-sync-delay": "0",
            "repl-timeout": _NEVER_S,
            "masterauth": password,
        }
        return self._stack.enter_context(RedisServer(options, password=password, faketime=True))

    def _has_replica(self, master: RedisServer) -> bool:
        return bool(self.ask(master, "REPLICAS", self.id_of(master)))


class _ManyServers(Place):
    """The World's own Redis stands idle and keeps the time; the others' clocks follow it."""

    def __init__(self, **policy: float) -> None:
        super().__init__(**policy)
        url = RedisUrl.parse(self.environs[0]["REDIS_URL"])
        self.readers = [create_client(url, Policy(redis_timeout_s=_READER_S))]

    def others(self) -> list[RedisServer]:
        raise NotImplementedError

    def advance_to(self, elapsed_s: float) -> None:
        super().advance_to(elapsed_s)
        for server in self.others():
            server.set_offset(self.world.redis.offset_s)


class SentinelPlace(_ManyServers):
    """A primary, a replica and three sentinels. The baseline has one address, which moves with the primary."""

    def __init__(self, **policy: float) -> None:
        self.topology = _MovableSentinels(plant("redis-password"))
        self.address = Wire(self.topology.primary.port)
        super().__init__(**policy)

    def others(self) -> list[RedisServer]:
        return self.topology.servers

    def _environ(self, server: RedisServer, policy: dict[str, float]) -> dict[str, str]:
        return super()._environ(server, policy) | {"REDIS_URL": self.topology.url}

    def _cron_settings(self, server: RedisServer) -> dict[str, Any]:
        storage = {"host": "127.0.0.1", "port": self.address.port, "auth": self.topology.servers[0].password}
        return super()._cron_settings(server) | {"storage_redis": storage}

    def stop(self) -> None:
        super().stop()
        self.address.stop()
        self.topology.stop()


class ClusterPlace(_ManyServers):
    """Three masters with a replica each. Nobody dies by himself of a silence: faults do what the nodes would do."""

    def __init__(self, **policy: float) -> None:
        self.topology = _MovableCluster(plant("redis-password"))
        super().__init__(**policy)

    def others(self) -> list[RedisServer]:
        return self.topology.nodes

    def _environ(self, server: RedisServer, policy: dict[str, float]) -> dict[str, str]:
        return super()._environ(server, policy) | {"REDIS_URL": self.topology.url}

    def stop(self) -> None:
        super().stop()
        self.topology.stop()


# -- other ways to the platform --------------------------------------------------------------


class ByName(Place):
    """The platform has a name that has to be resolved."""

    NAME = "localhost"

    def _environ(self, server: RedisServer, policy: dict[str, float]) -> dict[str, str]:
        return super()._environ(server, policy) | {"PLATFORM_BASE_URL": self._base().removesuffix("/OAuth2")}

    def _base(self) -> str:
        return super()._base().replace("127.0.0.1", self.NAME)


class OverTls(Place):
    """The platform speaks TLS, with a `certificate` that may expire."""

    # What plain clients of HTTP in this process go by.
    _VARIABLES = ("REQUESTS_CA_BUNDLE", "HTTPS_PROXY")

    def __init__(self, **policy: float) -> None:
        self.certificate = Certificate()
        self._before = {name: os.environ.get(name) for name in self._VARIABLES}
        super().__init__(**policy)

    def _new_world(self) -> World:
        return World(tls=self.certificate.context)

    def _environ(self, server: RedisServer, policy: dict[str, float]) -> dict[str, str]:
        bundle = self._file("platform-ca.pem", self.certificate.authority)
        os.environ["REQUESTS_CA_BUNDLE"] = str(bundle)
        return super()._environ(server, policy) | {"PLATFORM_CA_BUNDLE": str(bundle)}

    def stop(self) -> None:
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        super().stop()


class BehindForwardProxy(OverTls):
    """The platform is reached through a forward proxy."""

    def __init__(self, **policy: float) -> None:
        self.forward_proxy = ForwardProxy()
        super().__init__(**policy)

    def _environ(self, server: RedisServer, policy: dict[str, float]) -> dict[str, str]:
        environ = super()._environ(server, policy)
        os.environ["HTTPS_PROXY"] = self.forward_proxy.url
        return environ | {"PLATFORM_HTTPS_PROXY": self.forward_proxy.url}

    def stop(self) -> None:
        self.forward_proxy.stop()
        super().stop()
