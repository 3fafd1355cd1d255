"""Each kind of URL at each kind of port: the message names the address and what to write instead."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.planted import plant
from support.redis_server import RedisServer, closed_port
from support.tls import Certificates, TlsFront
from support.topologies import NAME, Cluster, Sentinel
from support.waiting import wait_until
from token_refresher import AsyncReader
from token_refresher.doctor.checks.redis_server import reach
from token_refresher.doctor.context import CheckContext, Clocks
from token_refresher.doctor.finding import Severity
from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.errors import NoCredentialError, StoreError
from token_refresher.domain.model import Kind, Target
from token_refresher.domain.policy import Policy
from token_refresher.settings.loader import read
from token_refresher.store.connection import create_client
from token_refresher.store.idle_connections import place_of
from token_refresher.store.place import Place
from token_refresher.store.redis_store import RedisStore

TIMEOUT_S = 0.5
TARGET = Target("app0000", Kind.ACCESS_TOKEN)


@dataclass(frozen=True)
class Ports:
    """One port for each kind of thing that answers; `ca` is the path of the authority of those with TLS."""

    plain: int
    tls: int
    sentinel: int
    tls_sentinel: int
    node: int
    tls_node: int
    password: str
    ca: Path


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    with ExitStack() as stack:
        certificates = Certificates(tmp_path_factory.mktemp("tls"))

        def behind_tls(port: int) -> int:
            return stack.enter_context(TlsFront(port, certificates.context(ask_for_client=False))).port

        server = stack.enter_context(RedisServer())
        sentinel = Sentinel(server.port, "", quorum=1)
        stack.callback(sentinel.stop)
        wait_until("the sentinel watches its primary", lambda: "flags" in sentinel.state())
        cluster = stack.enter_context(Cluster(plant("cluster")))
        node = cluster.nodes[0].port
        yield Ports(
            server.port,
            behind_tls(server.port),
            sentinel.port,
            behind_tls(sentinel.port),
            node,
            behind_tls(node),
            cluster.nodes[0].password,
            certificates.ca,
        )


def refused(url: str) -> StoreError:
    """What a run is told at this address."""
    try:
        client = create_client(RedisUrl.parse(url), Policy(redis_timeout_s=TIMEOUT_S))
    except StoreError as error:
        return error
    try:
        (found,) = RedisStore(client, Policy(), "", lambda _seconds: None).load([TARGET])
    except StoreError as error:
        return error
    finally:
        client.close()
    # One target that cannot be read is a value.
    assert isinstance(found, StoreError)
    return found


def examined(url: str) -> tuple[str, str]:
    """What the doctor says about the same address, and its advice."""
    environ = {"APP_ID": "app0000", "APP_SECRET": plant("secret"), "REDIS_URL": url}
    context = CheckContext(read(environ | {"POLICY_REDIS_TIMEOUT_S": str(TIMEOUT_S)}), Clocks(), lambda: "id")
    (finding,) = reach(context)
    if context.client is not None:
        context.client.close()
    assert finding.severity is Severity.RED
    return finding.says, finding.fix


SILENT = "did not answer"
CLOSED = "cannot be reached: the connection was closed"
NO_SENTINEL = "a Redis server answers at {at}, not a sentinel"
NO_CLUSTER = "the Redis server at {at} is not a cluster"
A_SENTINEL = "a sentinel answers at {at}, not a Redis server"
# The scheme, what answers there, what is said, and what the advice says to write.
WRONG = [
    ("rediss", "plain", f"Redis at {{at}} {SILENT}", "write redis:// instead of rediss://"),
    ("redis+sentinel", "plain", NO_SENTINEL, "write redis:// (redis+cluster:// for a cluster)"),
    (
        "rediss+sentinel",
        "plain",
        f"Redis Sentinel at {{at}} {SILENT}",
        "redis+sentinel:// instead of rediss+sentinel://",
    ),
    ("redis+cluster", "plain", NO_CLUSTER, "write redis:// instead of redis+cluster://"),
    ("rediss+cluster", "plain", f"Redis Cluster at {{at}} {SILENT}", "redis+cluster:// instead of rediss+cluster://"),
    ("redis", "tls", f"Redis at {{at}} {CLOSED}", "write rediss:// in REDIS_URL if the port speaks TLS"),
    ("redis+sentinel", "tls", f"Redis Sentinel at {{at}} {CLOSED}", "write rediss+sentinel:// in REDIS_URL if"),
    ("rediss+sentinel", "tls", NO_SENTINEL, "write rediss:// (rediss+cluster:// for a cluster)"),
    ("redis+cluster", "tls", f"Redis Cluster at {{at}} {CLOSED}", "write rediss+cluster:// in REDIS_URL if"),
    ("rediss+cluster", "tls", NO_CLUSTER, "write rediss:// instead of rediss+cluster://"),
    ("redis", "sentinel", A_SENTINEL, "write redis+sentinel://HOST:PORT/NAME"),
    ("rediss", "sentinel", f"Redis at {{at}} {SILENT}", "write redis:// instead of rediss://"),
    ("rediss+sentinel", "sentinel", SILENT, "redis+sentinel:// instead of rediss+sentinel://"),
    ("redis+cluster", "sentinel", A_SENTINEL, "write redis+sentinel://HOST:PORT/NAME"),
    ("rediss+cluster", "sentinel", SILENT, "redis+cluster:// instead of rediss+cluster://"),
    ("redis", "tls_sentinel", CLOSED, "write rediss:// in REDIS_URL if the port speaks TLS"),
    ("rediss", "tls_sentinel", A_SENTINEL, "write rediss+sentinel://HOST:PORT/NAME"),
    ("redis+sentinel", "tls_sentinel", CLOSED, "write rediss+sentinel:// in REDIS_URL if"),
    ("rediss+sentinel", "tls_sentinel", "(the primary that Sentinel names) did not answer", "tls-replication"),
    ("rediss+cluster", "tls_sentinel", A_SENTINEL, "write rediss+sentinel://HOST:PORT/NAME"),
    ("rediss", "node", SILENT, "write redis:// instead of rediss://"),
    ("redis+sentinel", "node", NO_SENTINEL, "redis+cluster:// for a cluster"),
    ("rediss+sentinel", "node", SILENT, "redis+sentinel:// instead of rediss+sentinel://"),
    ("rediss+cluster", "node", SILENT, "redis+cluster:// instead of rediss+cluster://"),
    ("redis", "tls_node", CLOSED, "write rediss:// in REDIS_URL if the port speaks TLS"),
    ("rediss+sentinel", "tls_node", NO_SENTINEL, "rediss+cluster:// for a cluster"),
    ("redis+cluster", "tls_node", CLOSED, "write rediss+cluster:// in REDIS_URL if"),
    ("rediss+cluster", "tls_node", SILENT, "tls-cluster"),
]
TAILS = {"sentinel": f"/{NAME}", "cluster": "", "": "/0"}


def url_of(scheme: str, where: str, ports: Ports) -> str:
    login = f":{ports.password}@" if "node" in where else ""
    tail = TAILS[scheme.partition("+")[2]]
    options = f"?ssl_ca_certs={ports.ca}" if scheme.startswith("rediss") else ""
    return f"{scheme}://{login}127.0.0.1:{getattr(ports, where)}{tail}{options}"


@pytest.mark.xdist_group("places")
@pytest.mark.parametrize(("scheme", "where", "what", "advice"), WRONG, ids=[f"{s} at {w}" for s, w, *_ in WRONG])
def test_a_wrong_scheme_is_named_with_the_one_to_write(
    scheme: str, where: str, what: str, advice: str, ports: Ports
) -> None:
    url = url_of(scheme, where, ports)
    error = refused(url)
    assert what.format(at=f"127.0.0.1:{getattr(ports, where)}") in error.what
    assert advice in error.advice
    assert examined(url) == (error.what, error.advice)


@pytest.mark.xdist_group("places")
@pytest.mark.parametrize(
    ("scheme", "where", "advice"),
    [("redis", "node", "redis+cluster:// instead of redis://"),
     ("rediss", "tls_node", "rediss+cluster:// instead of rediss://")],
)  # fmt: skip
def test_a_node_of_a_cluster_is_told_by_the_keys_that_it_does_not_hold(
    scheme: str, where: str, advice: str, ports: Ports
) -> None:
    url = url_of(scheme, where, ports)
    client = create_client(RedisUrl.parse(url), Policy())
    targets = [Target(f"app{number:04}", Kind.ACCESS_TOKEN) for number in range(9)]
    found = RedisStore(client, Policy(), "", lambda _seconds: None).load(targets)
    client.close()
    moved = [each for each in found if isinstance(each, StoreError)]
    assert moved
    assert all("is a node of a cluster that does not hold the key" in each.what for each in moved)
    assert all(advice in each.advice for each in moved)


@pytest.mark.parametrize(
    ("scheme", "name", "setting"),
    [
        ("redis", "Redis", "host and port in REDIS_URL (in the file: storage_redis.host and port, or url)"),
        ("redis+sentinel", "Redis Sentinel", "the hosts and ports of the sentinels in REDIS_URL (storage_redis.url)"),
        ("redis+cluster", "Redis Cluster", "the hosts and ports of the nodes in REDIS_URL (storage_redis.url)"),
    ],
)
def test_every_address_that_was_tried_is_named_with_its_setting(scheme: str, name: str, setting: str) -> None:
    tried = [f"127.0.0.1:{closed_port()}" for _ in range(1 if scheme == "redis" else 2)]
    tail = TAILS[scheme.partition("+")[2]]
    error = refused(f"{scheme}://{','.join(tried)}{tail}")
    assert error.what == f"{name} at {', '.join(tried)} cannot be reached: nothing listens there"
    assert error.advice == f"correct {setting}; check that Redis runs"
    error = refused(f"{scheme}://redis.invalid{tail}")
    assert "cannot be reached: the host name redis.invalid cannot be resolved" in error.what
    assert setting in error.advice


def test_the_name_that_the_sentinels_do_not_know_is_shown_with_their_addresses(ports: Ports) -> None:
    url = f"redis+sentinel://127.0.0.1:{ports.sentinel}/nobody"
    error = refused(url)
    assert error.what == f"Redis Sentinel at 127.0.0.1:{ports.sentinel} knows no working primary named nobody"
    assert "correct the primary's name after the hosts in REDIS_URL (storage_redis.url)" in error.advice
    assert asyncio.run(read_error(url)).what == error.what
    # It may be a password in the wrong place.
    odd = refused(url.replace("nobody", "P4ss%24word"))
    assert "no working primary of this name" in odd.what


async def read_error(url: str) -> StoreError:
    with pytest.raises(NoCredentialError) as raised:
        async with AsyncReader.from_url(url) as reader:
            await reader.js_ticket("app0000")
    assert raised.value.store_error
    return raised.value.store_error


def test_the_nodes_are_named_to_asyncio_too() -> None:
    tried = [f"127.0.0.1:{closed_port()}" for _ in range(2)]
    error = asyncio.run(read_error(f"redis+cluster://{','.join(tried)}"))
    assert error.what == f"Redis Cluster at {', '.join(tried)} cannot be reached: nothing listens there"


@pytest.mark.xdist_group("places")
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster", "unix"])
def test_a_client_knows_its_whole_address(scheme: str, asynchronous: bool, ports: Ports) -> None:
    where = {"redis": "plain", "redis+sentinel": "sentinel", "redis+cluster": "node"}
    url = RedisUrl.parse(url_of(scheme, where[scheme], ports) if scheme in where else "unix:///a/socket")
    client = create_client(url, Policy(), asynchronous=asynchronous)
    assert place_of(client) == Place.of(url)
    if not asynchronous:
        client.close()


def test_a_right_that_a_cluster_s_user_lacks_is_named(ports: Ports) -> None:
    admin = RedisUrl.parse(f"redis://:{ports.password}@127.0.0.1:{ports.node}")
    client = create_client(admin, Policy())
    client.execute_command("ACL", "SETUSER", "narrow", "on", ">narrow", "~*", "+get")
    client.close()
    error = refused(f"redis+cluster://narrow:narrow@127.0.0.1:{ports.node}")
    assert (error.code, "may not run CLUSTER" in error.what) == ("redis_no_permission", True)


# -- socket files -----------------------------------------------------------------------------------------------------


def missing(path: Path) -> None:
    """Nothing there."""


def a_file(path: Path) -> None:
    path.write_text("no socket")


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


SOCKETS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "none there": (missing, "the file does not exist", "correct the path in REDIS_URL (storage_redis.url)"),
    "a file": (a_file, "no server listens at it", "with this path as its unixsocket"),
    "one that a server left behind": (left_behind, "no server listens at it", "with this path as its unixsocket"),
}


@pytest.mark.parametrize("name", SOCKETS)
def test_a_socket_file_is_spoken_of_as_a_file(name: str, tmp_path: Path) -> None:
    make, what, advice = SOCKETS[name]
    path = tmp_path / "s"
    make(path)
    error = refused(f"unix://{path}")
    assert error.what == f"Redis at the socket {path} cannot be reached: {what}"
    assert advice in error.advice
    assert examined(f"unix://{path}") == (error.what, error.advice)
    assert not {"host", "port", "rediss"} & set(f"{error.what} {error.advice}".replace(":", " ").split())


def test_a_socket_that_this_user_may_not_open_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_args: Any) -> None:
        raise PermissionError(13, os.strerror(13))

    # A test may run as root, who may open all.
    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", denied)
        error = refused(f"unix://{tmp_path / 's'}")
    assert error.what.endswith("cannot be reached: this user may not open it")
    assert "unixsocketperm" in error.advice


def test_a_socket_whose_server_is_frozen_is_told_as_that(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen(0)
        told = [refused(f"unix://{path}"), refused(f"unix://{path}")]
    assert [each.code for each in told] == ["redis_timeout"] * 2
    assert all("network" not in each.advice for each in told)
