"""Connections that die while nobody uses them: they cost one wait at most, and no read and no run."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from support.clients import client_of
from support.planted import plant
from support.redis_server import RedisServer
from support.tcp_proxy import Act, End, TcpProxy
from support.tls import Certificates, TlsFront
from support.topologies import NAME, Cluster, Sentinel
from support.waiting import wait_until
from support.world import World
from token_refresher import AsyncReader, Reader
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Outcome, Record, Snapshot, Target
from token_refresher.domain.policy import Policy
from token_refresher.settings.loader import read
from token_refresher.store.keys import keys_of
from token_refresher.store.record_json import write_record
from token_refresher.store.redis_store import RedisStore

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow

# How long a silent connection is waited for.
TIMEOUT_S = 2.0
POLICY = Policy(redis_timeout_s=TIMEOUT_S)
# How a read begins on the wire; a client of a cluster sends other commands with the same words.
_READ = b"*2\r\n$4\r\nPTTL\r\n"
APPS = [f"app{number:04d}" for number in range(6)]
TARGETS = [Target(app, kind) for app in APPS for kind in Kind]
ENDS = pytest.mark.parametrize("end", End, ids=lambda end: end.value)


@dataclass
class Way:
    """A way to Redis: `proxies` carry every connection of a client, `holders` its plain commands to servers."""

    url: str
    proxies: list[TcpProxy]
    holders: list[TcpProxy]
    put: Callable[[str, bytes], object]

    def age(self, end: End) -> None:
        for proxy in self.proxies:
            proxy.age(end)

    def in_flight_together(self, count: int, work: Callable[[], object]) -> None:
        """Run `work`, with the answers to its `count` reads held until all of them are under way."""
        scripts = [holder.script(Act.HOLD_REPLY, _READ) for holder in self.holders for _ in range(count)]

        def release() -> None:
            wait_until("all reads are under way", lambda: sum(each.reached.is_set() for each in scripts) == count)
            for holder in self.holders:
                holder.disarm()
            for script in scripts:
                script.release()

        thread = threading.Thread(target=release)
        thread.start()
        work()
        thread.join()


def _one_server(stack: ExitStack, path: Path) -> Way:
    server = stack.enter_context(RedisServer(password=plant("redis-password", "p@ss/:?")))
    proxy = stack.enter_context(TcpProxy(server.port))
    url = proxy.url(quote(server.password, safe=""))
    return Way(url, [proxy], [proxy], lambda key, value: server.client().set(key, value, ex=3600))


def _over_tls(stack: ExitStack, path: Path) -> Way:
    server, certificates = stack.enter_context(RedisServer()), Certificates(path)
    holder = stack.enter_context(TcpProxy(server.port))
    front = stack.enter_context(TlsFront(holder.port, certificates.context(ask_for_client=False)))
    proxy = stack.enter_context(TcpProxy(front.port))
    url = f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={quote(str(certificates.ca))}"
    return Way(url, [proxy], [holder], lambda key, value: server.client().set(key, value, ex=3600))


def _through_sentinels(stack: ExitStack, path: Path) -> Way:
    server = stack.enter_context(RedisServer())
    proxy = stack.enter_context(TcpProxy(server.port))
    proxies = [proxy]
    for _ in range(2):
        # Its own connection to the primary dies with the others, and it must not take the primary for dead.
        sentinel = Sentinel(proxy.port, server.password, quorum=1, down_after_ms=60_000)
        stack.callback(sentinel.stop)
        proxies.append(stack.enter_context(TcpProxy(sentinel.port)))
    url = f"redis+sentinel://127.0.0.1:{proxies[1].port},127.0.0.1:{proxies[2].port}/{NAME}/0"
    return Way(url, proxies, [proxy], lambda key, value: server.client().set(key, value, ex=3600))


def _to_cluster(stack: ExitStack, path: Path) -> Way:
    proxies = [stack.enter_context(TcpProxy(0)) for _ in range(2 * Cluster.MASTERS)]
    cluster = stack.enter_context(Cluster(plant("redis-password"), proxies))
    hosts = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies)
    url = f"redis+cluster://:{quote(cluster.nodes[0].password, safe='')}@{hosts}"
    keys = {key: cluster.master_of(key) for key in (keys_of(target).value for target in TARGETS)}
    return Way(url, proxies, proxies, lambda key, value: keys[key].client().set(key, value, ex=3600))


WAYS = {
    "one server": _one_server,
    "TLS": _over_tls,
    "Sentinel": _through_sentinels,
    "Cluster": _to_cluster,
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    """Each form of Redis, with the access_tokens of all APPS."""
    with ExitStack() as stack:
        way = WAYS[request.param](stack, tmp_path)
        for app in APPS:
            value = write_record(Kind.ACCESS_TOKEN, Record(f"code of {app}", 4_000_000_000, 1, 1))
            way.put(keys_of(Target(app, Kind.ACCESS_TOKEN)).value, value.encode())
        yield way


def threads_read(reader: Reader) -> list[object]:
    """What one thread for each application reads, all of them at once."""
    found: dict[str, object] = {}

    def work(app: str) -> None:
        try:
            found[app] = reader.access_token(app)
        except Exception as error:
            found[app] = error

    threads = [threading.Thread(target=work, args=(app,)) for app in APPS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[app] for app in APPS]


ALL_CODES = [f"code of {app}" for app in APPS]


class TestReaders:
    @ENDS
    def test_six_threads_all_read_after_two_quiet_hours(self, end: End, way: Way) -> None:
        with Reader.from_url(way.url, timeout_s=TIMEOUT_S, max_age_s=0) as reader:
            way.in_flight_together(len(APPS), lambda: threads_read(reader))
            way.age(end)
            reader._cache._entries[Kind.ACCESS_TOKEN].clear()
            assert threads_read(reader) == ALL_CODES

    @ENDS
    def test_six_tasks_all_read_after_two_quiet_hours(self, end: End, way: Way) -> None:
        async def read_all() -> list[object]:
            async with AsyncReader.from_url(way.url, timeout_s=TIMEOUT_S, max_age_s=0) as reader:

                async def together() -> list[Any]:
                    return await asyncio.gather(*(reader.access_token(app) for app in APPS), return_exceptions=True)

                loop = asyncio.get_running_loop()
                held = loop.create_future()

                def work() -> None:
                    loop.call_soon_threadsafe(held.set_result, None)
                    asyncio.run_coroutine_threadsafe(together(), loop).result()

                await asyncio.to_thread(way.in_flight_together, len(APPS), work)
                await held
                way.age(end)
                reader._cache._entries[Kind.ACCESS_TOKEN].clear()
                return await together()

        assert asyncio.run(read_all()) == ALL_CODES


class TestRuns:
    @ENDS
    def test_a_store_whose_idle_connections_died_loads_everything(self, end: End, way: Way) -> None:
        client = client_of(way.url, POLICY)
        store = RedisStore(client, POLICY, "", lambda _seconds: None)
        for _ in range(2):
            loaded = [each for each in store.load(TARGETS) if isinstance(each, Snapshot)]
            assert len(loaded) == len(TARGETS)
            way.age(end)
        for snapshot in loaded:
            assert store.acquire(snapshot, "attempt", "a caller").held
        client.close()

    @ENDS
    def test_after_a_run_one_idle_connection_is_left_and_its_end_fails_no_run(self, end: End) -> None:
        with World() as world, TcpProxy(world.redis.port) as proxy:
            environ = world.settings_env(12, redis_timeout_s=TIMEOUT_S)
            url = proxy.url(quote(world.redis.password, safe=""))
            text = Path(environ["CONFIG_FILE"]).read_text()
            Path(environ["CONFIG_FILE"]).write_text(text.replace(f"port: {world.redis.port}", f"port: {proxy.port}"))
            refresher = wiring.refresher(read(environ), wall=world.now)
            assert url
            for command in (Command(), Command(), Command(force=True), Command()):
                report = refresher.run_once(command)
                assert {each.outcome for each in report.targets} <= {Outcome.ISSUED, None}
                assert not [each.failure for each in report.targets if each.failure]
                wait_until("one idle connection is left", lambda: proxy.open == 1)
                proxy.age(end)


class TestOneFailure:
    def test_it_does_not_disturb_what_another_thread_waits_for(self, redis_server: RedisServer) -> None:
        with TcpProxy(redis_server.port) as proxy:
            client = client_of(proxy.url(), POLICY)
            client.set("here", "value", ex=60)
            held, answers = proxy.script(Act.HOLD_REPLY, b"GET"), []
            thread = threading.Thread(target=lambda: answers.append(client.get("here")))
            thread.start()
            held.wait_reached()
            client.ping()
            proxy.age(End.RESET)
            sent = proxy.commands
            with pytest.raises(redis.ConnectionError):
                client.ping()
            held.release()
            thread.join()
            assert (answers, proxy.commands) == ([b"value"], sent)
            client.close()

    def test_an_old_connection_to_a_former_primary_is_left(self, start_redis: Callable[..., RedisServer]) -> None:
        """The address leads to the new primary, but a connection that is open goes on leading to the former one."""
        former, primary = start_redis(), start_redis()
        with TcpProxy(former.port) as proxy:
            client = client_of(proxy.url(), POLICY)
            store = RedisStore(client, POLICY, "", lambda _seconds: None)
            (snapshot,) = store.load([TARGETS[0]])
            assert isinstance(snapshot, Snapshot)
            former.client().execute_command("REPLICAOF", "127.0.0.1", str(primary.port))
            proxy.lead_to(primary.port)
            assert store.acquire(snapshot, "attempt", "a caller").held
            assert primary.client().exists(keys_of(TARGETS[0]).lease)
            client.close()

    def test_a_replica_that_serves_nothing_is_named_by_every_answer_of_a_pipeline(
        self, start_redis: Callable[..., RedisServer]
    ) -> None:
        server = start_redis({"replica-serve-stale-data": "no"})
        client = client_of(server.url, POLICY)
        store = RedisStore(client, POLICY, "", lambda _seconds: None)
        store.load(TARGETS)
        server.client().execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreError) as raised:
            store.load(TARGETS)
        assert raised.value.code == "redis_loading"
        client.close()

    def test_a_server_that_is_silent_on_a_new_connection_too_costs_one_more_wait(
        self, redis_server: RedisServer
    ) -> None:
        with TcpProxy(redis_server.port) as proxy:
            store = RedisStore(client_of(proxy.url(), Policy(redis_timeout_s=0.2)), POLICY, "", lambda _seconds: None)
            store.load(TARGETS)
            sent = proxy.commands
            for _ in range(2):
                proxy.script(Act.DROP_REPLY)
            with pytest.raises(StoreError) as raised:
                store.load(TARGETS[:1])
            assert (raised.value.code, proxy.commands) == ("redis_timeout", sent + 2)


@pytest.mark.parametrize("said", [b"$x\r\n", b"*9e9\r\n", b":\r\n", b"*1\r\n" * 20_000], ids=["a", "b", "c", "d"])
@pytest.mark.parametrize("login", ["", ":password@"], ids=["a command", "the login"])
def test_what_is_not_redis_is_unreachable(said: bytes, login: str) -> None:
    def answer() -> None:
        for _ in range(2):
            with listener.accept()[0] as peer:
                peer.recv(1000)
                peer.sendall(said)
                peer.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = client_of(f"redis://{login}127.0.0.1:{listener.getsockname()[1]}", POLICY)
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(StoreError) as caught:
            RedisStore(client, POLICY, "", lambda _seconds: None).load(TARGETS[:1])
        client.close()
        thread.join()
    assert caught.value.code == "redis_unreachable"
