"""Redis: from a URL to a client of redis-py.

| form                                                   | what it reaches                             |
|--------------------------------------------------------|---------------------------------------------|
| `redis://[user:password@]host[:port][/db]`             | one server; `rediss://` with TLS            |
| `unix://[user:password@]/path/to/socket[?db=n]`        | one server over a socket file               |
| `redis+sentinel://[user:password@]h1[:p],h2/name[/db]` | the primary `name`, asked of the sentinels  |
| `redis+cluster://[user:password@]h1[:p],h2`            | a cluster, found through any of these nodes |

`rediss+sentinel` and `rediss+cluster` use TLS. Options as a query: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`
(paths), and for sentinels that have users of their own `sentinel_username`, `sentinel_password`.
"""

from __future__ import annotations

import socket
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff

from token_refresher.domain.errors import SettingsError
from token_refresher.settings.redis_url import TLS_OPTIONS, redis_url
from token_refresher.settings.values import Mistake
from token_refresher.store.errors import client_errors, translated
from token_refresher.store.idle_connections import Failures, NodePool, watched

if TYPE_CHECKING:
    from token_refresher.domain.policy import Policy
    from token_refresher.settings.loader import RedisSettings

_ASYNCHRONOUS = "redis.asyncio"
_SENTINEL_PORT, _REDIS_PORT = 26379, 6379


def connect(settings: RedisSettings, policy: Policy, *, asynchronous: bool = False) -> Any:
    """A client for the URL in `settings`; nothing is sent yet, except that a cluster is asked for its slots.

    Raises SettingsError for a URL that cannot be used, StoreError when a cluster cannot be reached.
    """
    url = settings.url.reveal()
    package = _ASYNCHRONOUS if asynchronous else "redis"
    try:
        scheme = urlsplit(redis_url(url)).scheme
        options = _options(policy, package)
        if scheme != "unix":
            options |= _kept_alive()
        if scheme.endswith("+sentinel"):
            return _through_sentinels(url, options, package)
        if scheme.endswith("+cluster"):
            return _to_cluster(url, options, package)
        library = import_module(package)
        pool = _watch(library.ConnectionPool.from_url(url, **options), Failures(), package)
        # The client owns its pool, and closes it.
        return library.Redis.from_pool(pool)
    except client_errors() as error:
        raise translated(error) from None
    except Mistake as mistake:
        raise SettingsError([f"the address of Redis {mistake}"]) from None
    except (ValueError, TypeError):
        raise SettingsError(["the address of Redis must have a form that the README lists"]) from None


def _options(policy: Policy, package: str) -> dict[str, Any]:
    """Timeouts on everything; no retries of the library's own, which would repeat writes for a minute."""
    return {
        "socket_connect_timeout": policy.redis_timeout_s,
        "socket_timeout": policy.redis_timeout_s,
        "retry": import_module(f"{package}.retry").Retry(NoBackoff(), 0),
        "protocol": 2,
        **_unannounced(),
    }


def _kept_alive() -> dict[str, Any]:
    """What redis-py has to leave out of its keep-alive here: it cannot connect where the kernel refuses an option.

    Keep-alive only finds dead connections sooner, so it is optional.
    """
    wanted: Any = redis.connection.Connection()  # type: ignore[no-untyped-call]
    options = getattr(wanted, "socket_keepalive_options", None) or {}
    if not getattr(wanted, "socket_keepalive", False):
        return {}
    with socket.socket() as probe:
        if not _accepts(probe, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1):
            return {"socket_keepalive": False}
        kept = {name: each for name, each in options.items() if _accepts(probe, socket.IPPROTO_TCP, name, each)}
    return {} if kept == options else {"socket_keepalive_options": kept}


def _accepts(sock: socket.socket, level: int, option: int, value: Any) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _watch(pool: Any, failures: Failures, package: str) -> Any:
    """The pool itself; its connections, none of which exists yet, take part in `failures`."""
    pool.connection_class = watched(pool.connection_class, failures, asynchronous=package == _ASYNCHRONOUS)
    return pool


def _unannounced() -> dict[str, None]:
    """Two commands less on every new connection: the server need not know the library's version."""
    accepted = signature(redis.connection.AbstractConnection.__init__).parameters
    # Newer releases call it by another name, and warn about the older ones.
    return {"driver_info": None} if "driver_info" in accepted else {"lib_name": None, "lib_version": None}


def _parts(url: str) -> tuple[list[tuple[str, int]], list[str], dict[str, Any]]:
    """Hosts, path segments and credentials of a URL with several hosts."""
    split = urlsplit(url)
    userinfo, _, hosts = split.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    default = _SENTINEL_PORT if "sentinel" in split.scheme else _REDIS_PORT
    addresses = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if not host.endswith("]") else ("", "", host)
        addresses.append((name.strip("[]"), int(port)) if name else (port.strip("[]"), default))
    query = dict(parse_qsl(split.query))
    login = {"username": unquote(user) or None, "password": unquote(password) or None}
    tls = {name: query[name] for name in TLS_OPTIONS if name in query}
    if split.scheme.startswith("rediss"):
        tls["ssl"] = "yes"
    return addresses, [part for part in split.path.split("/") if part], {**login, **tls, "query": query}


def _through_sentinels(url: str, options: dict[str, Any], package: str) -> Any:
    addresses, path, more = _parts(url)
    query = more.pop("query")
    to_sentinels = {
        **options,
        "username": query.get("sentinel_username"),
        "password": query.get("sentinel_password"),
        **{name: value for name, value in more.items() if name.startswith("ssl")},
    }
    library = import_module(f"{package}.sentinel")
    sentinels = library.Sentinel(addresses, sentinel_kwargs=to_sentinels, **options, **more)
    client = sentinels.master_for(path[0], db=int(path[1]) if len(path) > 1 else 0)
    # Shared, because one gateway may forget the connections to all of them.
    failures = Failures()
    for each in (*sentinels.sentinels, client):
        _watch(each.connection_pool, failures, package)
    return client


def _to_cluster(url: str, options: dict[str, Any], package: str) -> Any:
    addresses, _, more = _parts(url)
    more.pop("query")
    library, kinds = import_module(f"{package}.cluster"), import_module(f"{package}.connection")
    asynchronous, tls = package == _ASYNCHRONOUS, "ssl" in more
    kind = watched(kinds.SSLConnection if tls else kinds.Connection, Failures(), asynchronous=asynchronous)
    nodes = [library.ClusterNode(host, port) for host, port in addresses]
    if asynchronous:
        client = library.RedisCluster(startup_nodes=nodes, **options, **more)
        # It takes no class of connections, and has none yet.
        client.connection_kwargs["connection_class"] = kind
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = kind
        return client
    more.pop("ssl", None)
    host, port = addresses[0]
    # Only with a URL does it take a class of pools and of connections.
    first = f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}"
    return library.RedisCluster(
        url=first, startup_nodes=nodes[1:], connection_pool_class=NodePool, connection_class=kind, **options, **more
    )
