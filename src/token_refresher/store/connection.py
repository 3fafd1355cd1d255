"""Redis: from an address (`domain.addresses.RedisUrl`) to a client of redis-py."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff

from token_refresher.domain.addresses import TLS_OPTIONS, RedisUrl, Topology
from token_refresher.domain.host_port import HostPort
from token_refresher.store.errors import client_errors, translated
from token_refresher.store.idle_connections import Failures, NodePool, watched
from token_refresher.store.place import Place

if TYPE_CHECKING:
    from token_refresher.domain.policy import Policy

_ASYNCHRONOUS = "redis.asyncio"


def create_client(url: RedisUrl, policy: Policy, *, asynchronous: bool = False) -> Any:
    """A client for this address; nothing is sent yet, except that a cluster is asked for its slots.

    Raises StoreError when a cluster cannot be reached.
    """
    package = _ASYNCHRONOUS if asynchronous else "redis"
    options = _options(policy, package) | _login(url)
    if url.topology is not Topology.SOCKET:
        options |= _kept_alive()
    if url.topology is Topology.SENTINEL:
        return _through_sentinels(url, options, package)
    if url.topology is not Topology.CLUSTER:
        return _to_server(url, options, package)
    try:
        return _to_cluster(url, options, package)
    except client_errors() as error:
        raise translated(error, Place.of(url)) from None


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


def _unannounced() -> dict[str, None]:
    """Two commands less on every new connection: the server need not know the library's version."""
    accepted = signature(redis.connection.AbstractConnection.__init__).parameters
    # Newer releases call it by another name, and warn about the older ones.
    return {"driver_info": None} if "driver_info" in accepted else {"lib_name": None, "lib_version": None}


def _login(url: RedisUrl) -> dict[str, str | None]:
    return {"username": url.username.reveal() or None, "password": url.password.reveal() or None}


def _tls(url: RedisUrl) -> dict[str, str]:
    """The files that are named; redis-py has the address's names for them."""
    return {name: getattr(url, name) for name in TLS_OPTIONS if getattr(url, name)}


def _connection_class(url: RedisUrl, package: str, failures: Failures) -> Any:
    kinds = import_module(f"{package}.connection")
    if url.topology is Topology.SOCKET:
        kind = kinds.UnixDomainSocketConnection
    else:
        kind = kinds.SSLConnection if url.tls else kinds.Connection
    return watched(kind, failures, Place.of(url), asynchronous=package == _ASYNCHRONOUS)


def _to_server(url: RedisUrl, options: dict[str, Any], package: str) -> Any:
    library = import_module(package)
    where: dict[str, Any] = {"path": url.socket_path}
    if url.topology is Topology.SERVER:
        ((host, port),) = url.addresses
        where = {"host": host, "port": port, **_tls(url)}
    kind = _connection_class(url, package, Failures())
    pool = library.ConnectionPool(connection_class=kind, db=url.database, **where, **options)
    # The client owns its pool, and closes it.
    return library.Redis.from_pool(pool)


def _placed(
    kind: Any,
    name: str,
    place: Place,
    failure: type[Exception],
    more: Callable[[Any, Exception, Place], None] = lambda *_: None,
) -> Any:
    """`kind` of redis-py, whose method of this name notes the address in such an error, which is about all of it.

    `more` is called with the object, the error and the address.
    """
    method = getattr(kind, name)

    @contextlib.contextmanager
    def noted(self: Any) -> Iterator[None]:
        try:
            yield
        except failure as error:
            error.place = place  # type: ignore[attr-defined]
            more(self, error, place)
            raise

    def synchronous(self: Any, *args: Any) -> Any:
        with noted(self):
            return method(self, *args)

    async def asynchronous(self: Any, *args: Any) -> Any:
        with noted(self):
            return await method(self, *args)

    return type(kind.__name__, (kind,), {name: asynchronous if iscoroutinefunction(method) else synchronous})


def _some_answered(sentinels: Any, error: Exception, place: Place) -> None:
    """Where a sentinel answered, the error is about the primary's name: the others' failures hide that in its text."""
    text = str(error)
    silent = [each for each in sentinels.sentinels if f"{each} - " in text]
    if silent and len(silent) < len(sentinels.sentinels):
        error.args = (text.partition(" : ")[0],)
        kept = (each.connection_pool.connection_kwargs for each in silent)
        error.place = place.without(HostPort(each["host"], each["port"]) for each in kept)  # type: ignore[attr-defined]


def _through_sentinels(url: RedisUrl, options: dict[str, Any], package: str) -> Any:
    tls: dict[str, Any] = {"ssl": True, **_tls(url)} if url.tls else {}
    to_sentinels = {
        **options,
        "username": url.sentinel_username.reveal() or None,
        "password": url.sentinel_password.reveal() or None,
        **tls,
    }
    library, place = import_module(f"{package}.sentinel"), Place.of(url)
    kind = _placed(library.Sentinel, "discover_master", place, library.MasterNotFoundError, _some_answered)
    sentinels = kind(url.addresses, sentinel_kwargs=to_sentinels, **options, **tls)
    client = sentinels.master_for(url.primary, db=url.database)
    # Shared, because one gateway may forget the connections to all of them.
    failures = Failures()
    for each in (*sentinels.sentinels, client):
        pool = each.connection_pool
        # None of its connections exists yet.
        pool.connection_class = watched(pool.connection_class, failures, place, asynchronous=package == _ASYNCHRONOUS)
    return client


def _to_cluster(url: RedisUrl, options: dict[str, Any], package: str) -> Any:
    library, kind = import_module(f"{package}.cluster"), _connection_class(url, package, Failures())
    nodes = [library.ClusterNode(host, port) for host, port in url.addresses]
    options |= _tls(url)
    if package == _ASYNCHRONOUS:
        cluster = _placed(library.RedisCluster, "initialize", Place.of(url), redis.exceptions.RedisClusterException)
        client = cluster(startup_nodes=nodes, ssl=url.tls, **options)
        # It takes no class of connections, and has none yet.
        client.connection_kwargs["connection_class"] = kind
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = kind
        return client
    host, port = url.addresses[0]
    # Only with a URL does it take a class of pools and of connections.
    return library.RedisCluster(
        url=f"redis://{HostPort(host, port)}",
        startup_nodes=nodes[1:],
        connection_pool_class=NodePool,
        connection_class=kind,
        **options,
    )
