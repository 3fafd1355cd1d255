"""Where an error of redis-py happened, in the words in which a message names it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from token_refresher.domain.addresses import RedisUrl, Topology
from token_refresher.domain.host_port import HostPort

# What a URL may say is shown only where it cannot be a misplaced password.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
# By topology: what is there, and which setting leads to it.
_SHOWN = {
    Topology.SERVER: ("Redis", "host and port in REDIS_URL (in the file: storage_redis.host and port, or url)"),
    Topology.SOCKET: ("Redis", "the path in REDIS_URL (storage_redis.url)"),
    Topology.SENTINEL: ("Redis Sentinel", "the hosts and ports of the sentinels in REDIS_URL (storage_redis.url)"),
    Topology.CLUSTER: ("Redis Cluster", "the hosts and ports of the nodes in REDIS_URL (storage_redis.url)"),
}


@dataclass(frozen=True)
class Place:
    """One or more addresses of Redis, and what the URL says about them.

    `found` (bool): the address is not in the URL, Redis itself named it. `primary` (str) is what the sentinels call it.
    `unreached` are sentinels that did not answer while others did.
    """

    topology: Topology = Topology.SERVER
    tls: bool = False
    hosts: tuple[HostPort, ...] = ()
    socket_path: str = ""
    primary: str = ""
    found: bool = False
    unreached: tuple[HostPort, ...] = ()
    database: int = 0

    @classmethod
    def of(cls, url: RedisUrl) -> Place:
        """All addresses of a URL, with the usual port where it has none."""
        hosts = tuple(HostPort(*each) for each in url.addresses)
        return cls(url.topology, url.tls, hosts, url.socket_path, url.primary, database=url.database)

    def at(self, connection: Any) -> Place:
        """The address that one connection leads to."""
        host, port = getattr(connection, "host", None), getattr(connection, "port", None)
        if not (host and port):
            return self
        only = HostPort(str(host), int(port))
        return replace(self, hosts=(only,), socket_path="", found=only not in self.hosts)

    def without(self, unreached: Iterable[HostPort]) -> Place:
        """The sentinels that answered, where these did not."""
        silent = tuple(unreached)
        return replace(self, hosts=tuple(each for each in self.hosts if each not in silent), unreached=silent)

    def words(self) -> dict[str, str]:
        """What the names in braces of `error_meanings.Meaning` stand for."""
        name, setting = _SHOWN[self.topology]
        where = ", ".join(map(str, self.hosts)) or (f"the socket {self.socket_path}" if self.socket_path else "")
        if self.found and self.topology is Topology.SENTINEL:
            name, where = "Redis", f"{where} (the primary that Sentinel names)"
        elif self.found:
            name, where = "Redis", f"{where} (a node that the cluster names)"
        redis = "rediss" if self.tls else "redis"
        form = "" if self.topology is Topology.SOCKET else self.topology.value
        return {
            "redis": f"{name} at {where}" if where else name,
            "database": str(self.database),
            "there": f"at {where}" if where else "there",
            "host": self._host(),
            "address": setting,
            "scheme": "unix" if self.topology is Topology.SOCKET else redis + form,
            "plain": f"redis{form}",
            "secure": f"rediss{form}",
            "server": redis,
            "sentinel": f"{redis}+sentinel",
            "cluster": f"{redis}+cluster",
            "unreached": f" (not reached: {', '.join(map(str, self.unreached))})" if self.unreached else "",
            "primary": f"named {self.primary}" if _NAME.fullmatch(self.primary) else "of this name",
        }

    def _host(self) -> str:
        names = [each.host for each in self.hosts if not each.is_address]
        if not names:
            return "the host name"
        return f"the host name {names[0]}" if len(names) == 1 else f"one of the host names {', '.join(names)}"
