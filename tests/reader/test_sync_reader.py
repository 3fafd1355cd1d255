"""What application instances import: one contract for Reader (threads) and AsyncReader (tasks)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, Fault, Simulator
from support.flow import Deployment, of
from support.processes import Child
from support.redis_server import RedisServer
from support.tcp_proxy import Act, TcpProxy
from support.waiting import wait_until
from support.world import World
from token_refresher import AsyncReader, Reader
from token_refresher.domain.command import Command
from token_refresher.domain.errors import NoCredentialError, SettingsError
from token_refresher.domain.model import Kind, Target, fingerprint
from token_refresher.reader.signing import sign
from token_refresher.settings.loader import read
from token_refresher.store.keys import WIRE_NAME, keys_of

APP = "app0000"
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
KINDS = [TOKEN, TICKET]
# Only a bug makes a test wait this long (seconds).
WAIT_S = 60.0
# A bound with room for a busy machine, far below what an unbounded wait would take (seconds).
SOON_S = 15.0


class DeadError(Exception):
    """What a caller's own code raises when the platform refused its credential."""


class Clock:
    """A steady clock (seconds) that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Subject:
    """Either reader, to be called from a test that is no coroutine."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def do(self, name: str, *arguments: Any) -> Any:
        raise NotImplementedError

    def together(self, count: int, name: str, *arguments: Any, then: Callable[[], None]) -> list[Any]:
        """The results (or errors) of `count` callers; `then` is called once all of them have set out."""
        raise NotImplementedError

    def access_token(self, app_id: str) -> str:
        return str(self.do("access_token", app_id))

    def js_ticket(self, app_id: str) -> str:
        return str(self.do("js_ticket", app_id))

    def record(self, app_id: str, kind: Kind | str) -> Any:
        return self.do("record", app_id, kind)

    def report_rejected(self, app_id: str, kind: Kind | str, code: str) -> Any:
        return self.do("report_rejected", app_id, kind, code)

    def with_code(self, kind: Kind, call: Callable[[str], Any], refused: Any = DeadError) -> Any:
        return self.do("with_code", APP, kind, call, refused)


class Threads(Subject):
    """Reader, called by threads."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)

    make: Any = Reader.from_url
    configure: Any = Reader.from_settings

    def do(self, name: str, *arguments: Any) -> Any:
        return getattr(self.reader, name)(*arguments)

    def together(self, count: int, name: str, *arguments: Any, then: Callable[[], None]) -> list[Any]:
        begun, results = threading.Semaphore(0), []

        def work() -> None:
            begun.release()
            try:
                results.append(self.do(name, *arguments))
            except Exception as error:
                results.append(error)

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert begun.acquire(timeout=WAIT_S)
        then()
        for thread in threads:
            thread.join(WAIT_S)
        assert len(results) == count
        return results

    def end(self) -> None:
        self.reader.close()


class Tasks(Subject):
    """AsyncReader, called by tasks of a loop that runs in a thread of its own."""

    make: Any = AsyncReader.from_url
    configure: Any = AsyncReader.from_settings

    def __init__(self, reader: AsyncReader) -> None:
        super().__init__(reader)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_S)

    def do(self, name: str, *arguments: Any) -> Any:
        return self.run(getattr(self.reader, name)(*arguments))

    def with_code(self, kind: Kind, call: Callable[[str], Any], refused: Any = DeadError) -> Any:
        async def called(code: str) -> Any:
            return call(code)

        return self.do("with_code", APP, kind, called, refused)

    def together(self, count: int, name: str, *arguments: Any, then: Callable[[], None]) -> list[Any]:
        begun = threading.Semaphore(0)

        async def work() -> Any:
            begun.release()
            return await getattr(self.reader, name)(*arguments)

        async def everybody() -> list[Any]:
            return await asyncio.gather(*(work() for _ in range(count)), return_exceptions=True)

        running = asyncio.run_coroutine_threadsafe(everybody(), self.loop)
        for _ in range(count):
            assert begun.acquire(timeout=WAIT_S)
        then()
        return running.result(WAIT_S)

    def end(self) -> None:
        self.do("close")
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()


Start = Callable[..., Any]


@pytest.fixture(params=[Threads, Tasks], ids=["Reader", "AsyncReader"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a reader on a Redis URL, with the options of either class; closed after the test.

    It waits for a busy machine longer than a service would.
    """
    with ExitStack() as started:

        def begin(url: str, **options: Any) -> Any:
            subject = request.param(request.param.make(url, **{"timeout_s": WAIT_S, **options}))
            started.callback(subject.end)
            return subject

        begin.kind = request.param  # type: ignore[attr-defined]
        yield begin


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Stock:
    """Puts real credentials of the simulator (so that the guards look for them) where readers look."""

    def __init__(self, server: RedisServer, simulator: Simulator) -> None:
        self.server, self.simulator, self.client = server, simulator, server.client()

    def put(self, kind: Kind = TICKET, life_s: float = 7200, app_id: str = APP, **members: Any) -> str:
        code = self.simulator.issue(app_id, kind.value).code
        now = int(self.server.now())
        value = {WIRE_NAME[kind]: code, "expires_in": now + int(life_s), "issued_at": now, "fence": 7}
        self.raw(json.dumps(value | members), kind, px=round(life_s * 1000), app_id=app_id)
        return code

    def raw(self, value: str | bytes, kind: Kind = TICKET, app_id: str = APP, **how: Any) -> None:
        self.client.set(keys_of(Target(app_id, kind)).value, value, **(how or {"ex": 7200}))

    def complaint(self, kind: Kind = TICKET) -> str | None:
        found: Any = self.client.get(keys_of(Target(APP, kind)).refused)
        return found.decode() if found else None


@pytest.fixture
def stock(redis_server: RedisServer, simulator: Simulator) -> Stock:
    return Stock(redis_server, simulator)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "token_refresher.reader"]


# -- reading ----------------------------------------------------------------------------------


def test_both_kinds_are_read_under_the_public_keys(start: Start, redis_server: RedisServer, stock: Stock) -> None:
    token, ticket = stock.put(TOKEN), stock.put(TICKET)
    reader = start(redis_server.url)
    assert (reader.access_token(APP), reader.js_ticket(APP)) == (token, ticket)


@pytest.mark.parametrize("kind", [TICKET, "js_ticket"])
def test_a_record_says_all_that_is_known_of_a_code(
    start: Start, redis_server: RedisServer, stock: Stock, kind: Kind | str
) -> None:
    code = stock.put(TICKET, fence=42)
    record = start(redis_server.url).record(APP, kind)
    now = redis_server.now()
    assert (record.code, record.fence, record.stale) == (code, 42, False)
    assert record.fingerprint == fingerprint(code)
    assert record.expires_at == pytest.approx(now + 7200, abs=SOON_S)
    assert record.issued_at == pytest.approx(now, abs=SOON_S)
    assert code not in repr(record)


def test_a_kind_that_does_not_exist_is_a_value_error(start: Start, redis_server: RedisServer) -> None:
    with pytest.raises(ValueError, match="unknown kind; accepted are access_token, js_ticket"):
        start(redis_server.url).record(APP, "ticket")


def test_a_missing_code_names_its_key_and_how_to_find_out_why(start: Start, redis_server: RedisServer) -> None:
    with pytest.raises(NoCredentialError) as caught:
        start(redis_server.url).js_ticket(APP)
    assert caught.value.key == "type/js_ticket_info/app_id/app0000"
    assert caught.value.key in str(caught.value)
    assert "nothing is stored" in str(caught.value)
    assert "token-refresher status" in str(caught.value)
    assert (caught.value.app_id, caught.value.kind) == (APP, "js_ticket")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"\xff\xfe garbage", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"server_access_token": "of another kind", "expires_in": 1}', "js_ticket is not a text"),
        (b'{"js_ticket": "code without an expiry"}', "expires_in is not an instant"),
    ],
)
def test_a_value_that_is_no_record_is_told_without_being_quoted(
    start: Start, redis_server: RedisServer, stock: Stock, value: bytes, why: str
) -> None:
    stock.raw(value)
    with pytest.raises(NoCredentialError, match=why) as caught:
        start(redis_server.url).js_ticket(APP)
    assert "garbage" not in str(caught.value)
    assert "code without an expiry" not in str(caught.value)


def test_a_key_of_another_type_is_an_error_that_names_it(start: Start, redis_server: RedisServer) -> None:
    key = keys_of(Target(APP, TICKET)).value
    redis_server.client().hset(key, "a", "b")
    redis_server.client().expire(key, 60)
    with pytest.raises(NoCredentialError, match=r"answered with an error.*js_ticket_info"):
        start(redis_server.url).js_ticket(APP)


@pytest.mark.keys_without_ttl("another tool writes the public keys like this")
def test_a_value_of_another_tool_without_ttl_is_read_until_the_expiry_that_it_names(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock
) -> None:
    code, now = stock.put(TICKET), int(time.time())
    stock.raw(json.dumps({"js_ticket": code, "expires_in": str(now + 1000)}), keepttl=False)
    reader = start(redis_server.url, clock=clock)
    record = reader.record(APP, TICKET)
    assert (record.code, record.expires_at, record.issued_at, record.fence) == (code, now + 1000, None, 0)
    stock.raw(json.dumps({"js_ticket": code, "expires_in": now - 1}), keepttl=False)
    clock.now += 10
    with pytest.raises(NoCredentialError, match="expired"):
        reader.js_ticket(APP)


def test_settings_give_the_reader_its_redis_its_prefix_and_its_cache(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock
) -> None:
    code = stock.put(TICKET)
    value: Any = redis_server.client().get(keys_of(Target(APP, TICKET)).value)
    redis_server.client().set("mine:" + keys_of(Target(APP, TICKET)).value, value, ex=7200)
    redis_server.client().delete(keys_of(Target(APP, TICKET)).value)
    environ = {
        "APP_ID": APP,
        "APP_SECRET": "unused",
        "REDIS_URL": redis_server.url,
        "REDIS_KEY_PREFIX": "mine:",
        "POLICY_READER_CACHE_S": "20",
    }
    subject = start.kind(start.kind.configure(read(environ), clock=clock))  # type: ignore[attr-defined]
    try:
        assert subject.js_ticket(APP) == code
        redis_server.flush()
        clock.now += 19.9
        assert subject.js_ticket(APP) == code
        clock.now += 0.1
        with pytest.raises(NoCredentialError, match="mine:type/js_ticket_info"):
            subject.js_ticket(APP)
    finally:
        subject.end()


@pytest.mark.parametrize("max_age_s", [-1, 60.1, float("nan")])
def test_a_cache_that_could_outlive_the_grace_is_not_accepted(start: Start, max_age_s: float) -> None:
    with pytest.raises(ValueError, match="max_age_s must be from 0 to 60"):
        start("redis://127.0.0.1:1", max_age_s=max_age_s)


def test_a_url_that_cannot_be_used_is_a_settings_error_without_its_password(start: Start) -> None:
    with pytest.raises(SettingsError) as caught:
        start("http://:hidden@127.0.0.1/")
    assert "hidden" not in str(caught.value)


def test_a_page_gets_a_signature_by_the_stored_ticket(start: Start, redis_server: RedisServer, stock: Stock) -> None:
    ticket, url = stock.put(TICKET), "https://example.com:8443/a/?x=1#top"
    first = start(redis_server.url).do("core_config", APP, url)
    assert (first["app_id"], first["url"]) == (APP, url)
    assert int(first["timestamp"]) == pytest.approx(time.time(), abs=SOON_S)
    assert first["signature"] == sign(ticket, first["nonce_str"], int(first["timestamp"]), url)
    second = start(redis_server.url).do("core_config", APP, url)
    assert second["nonce_str"] != first["nonce_str"]


# -- the cache --------------------------------------------------------------------------------


def test_a_copy_is_used_up_to_its_age_and_not_a_moment_longer(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock
) -> None:
    old = stock.put(TICKET)
    reader = start(redis_server.url, clock=clock)
    assert reader.js_ticket(APP) == old
    new = stock.put(TICKET)
    clock.now += 4.999
    assert reader.js_ticket(APP) == old
    clock.now += 0.001
    assert reader.js_ticket(APP) == new


def test_a_copy_is_never_used_beyond_the_expiry_of_its_code(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock
) -> None:
    stock.put(TICKET, life_s=40)
    reader = start(redis_server.url, clock=clock, max_age_s=60)
    reader.js_ticket(APP)
    redis_server.flush()
    clock.now += 40 - SOON_S
    reader.js_ticket(APP)
    clock.now += SOON_S
    with pytest.raises(NoCredentialError):
        reader.js_ticket(APP)


def test_with_an_age_of_zero_every_read_asks_redis_in_one_round_trip(
    start: Start, proxy: TcpProxy, stock: Stock
) -> None:
    stock.put(TICKET)
    reader = start(proxy.url(), max_age_s=0)
    for _ in range(10):
        reader.js_ticket(APP)
    assert (proxy.commands, proxy.connections) == (10, 1)


def test_copies_of_kinds_and_applications_are_kept_apart(start: Start, proxy: TcpProxy, stock: Stock) -> None:
    stored = {(app, kind): stock.put(kind, app_id=app) for app in ("app0000", "app0001") for kind in KINDS}
    reader = start(proxy.url())
    for _ in range(3):
        for (app, kind), code in stored.items():
            assert reader.record(app, kind).code == code
    assert proxy.commands == len(stored)


def test_a_thousand_that_miss_at_once_make_one_read(start: Start, proxy: TcpProxy, stock: Stock) -> None:
    code = stock.put(TICKET)
    reader = start(proxy.url(), timeout_s=WAIT_S)
    held = proxy.script(Act.HOLD, b"GET")
    got = reader.together(1000, "js_ticket", APP, then=held.release)
    assert got == [code] * 1000
    assert proxy.commands == 1


def test_each_of_many_that_miss_nothing_at_once_gets_an_error_of_its_own(start: Start, proxy: TcpProxy) -> None:
    reader = start(proxy.url(), timeout_s=WAIT_S)
    held = proxy.script(Act.HOLD, b"GET")
    got = reader.together(50, "js_ticket", APP, then=held.release)
    assert all(isinstance(each, NoCredentialError) for each in got)
    assert len({id(each) for each in got}) == 50


# -- a Redis that is down or slow -----------------------------------------------------------------


def test_when_redis_is_down_the_last_code_serves_while_it_is_surely_good_with_one_line_in_the_log(
    start: Start, proxy: TcpProxy, stock: Stock, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    code = stock.put(TICKET)
    reader = start(proxy.url(), clock=clock)
    assert not reader.record(APP, TICKET).stale
    proxy.refuse()
    # 600 s more than until the refresher fetches the next one.
    for _ in range(59):
        clock.now += 100
        record = reader.record(APP, TICKET)
        assert (record.code, record.stale) == (code, True)
        assert reader.js_ticket(APP) == code
    serving = "serving the last credentials that were read, until the platform may refuse them"
    (line,) = told(caplog)
    where = f"Redis at 127.0.0.1:{proxy.port}"
    assert line.startswith(f"{where} cannot be reached: nothing listens there (redis_unreachable): {serving}. ")
    assert "What to do: correct host and port" in line
    clock.now += 100
    for _ in range(3):
        with pytest.raises(NoCredentialError, match=r"cannot be reached: .*, and no credential is left from before"):
            reader.js_ticket(APP)
        clock.now += 10
    assert len(told(caplog)) == 1
    assert stock.simulator.count() == 0


def test_a_reader_that_wants_the_grace_alone_serves_no_longer(
    start: Start, proxy: TcpProxy, stock: Stock, clock: Clock
) -> None:
    code = stock.put(TICKET)
    reader = start(proxy.url(), clock=clock, only_within_grace=True)
    reader.js_ticket(APP)
    proxy.refuse()
    clock.now += 599
    assert reader.js_ticket(APP) == code
    clock.now += 1
    with pytest.raises(NoCredentialError, match="no credential is left from before"):
        reader.js_ticket(APP)


def test_settings_say_how_long_a_reader_that_is_cut_off_serves(
    start: Start, proxy: TcpProxy, stock: Stock, clock: Clock
) -> None:
    code = stock.put(TICKET)
    environ = {
        "APP_ID": APP,
        "APP_SECRET": "unused",
        "REDIS_URL": proxy.url(),
        "POLICY_GRACE_S": "900",
        "POLICY_MARGIN_S": "2400",
        # More than a tenth of the usual grace.
        "POLICY_READER_CACHE_S": "80",
    }
    subject = start.kind(start.kind.configure(read(environ), clock=clock))  # type: ignore[attr-defined]
    try:
        assert subject.js_ticket(APP) == code
        proxy.refuse()
        clock.now += 7200 - 2400 + 900 - 10
        assert subject.js_ticket(APP) == code
        clock.now += 10
        with pytest.raises(NoCredentialError):
            subject.js_ticket(APP)
    finally:
        subject.end()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_readers_that_are_cut_off_over_a_refresh_hold_no_refused_code(start: Start, world: World) -> None:
    """One is cut off after each ten minutes of a credential's life; all look every half minute until it is gone."""
    deployment = Deployment(world)
    deployment.run()
    password, seen = world.redis.password, []
    with ExitStack() as lines:
        readers = []
        for minute in range(120):
            if minute % 10 == 0:
                line = lines.enter_context(TcpProxy(world.redis.port))
                readers.append(start(line.url(password), clock=deployment.clock, timeout_s=10, max_age_s=0))
                seen.append([held(readers[-1], kind) for kind in KINDS])
                line.refuse()
            for _ in range(2):
                world.advance(30)
                for reader in readers:
                    for kind in KINDS:
                        code = held(reader, kind)
                        assert code is None or world.simulator.valid(APP, kind.value, code)
            deployment.run()
    assert all(code is not None for codes in seen for code in codes)


def held(reader: Subject, kind: Kind) -> str | None:
    try:
        return str(reader.record(APP, kind).code)
    except NoCredentialError:
        return None


def test_nothing_is_kept_of_ids_that_are_not_in_redis_whether_it_answers_or_not(
    start: Start, proxy: TcpProxy, clock: Clock
) -> None:
    reader = start(proxy.url(), clock=clock)
    for answers in (True, False):
        if not answers:
            proxy.refuse()
        for number in range(120):
            with pytest.raises(NoCredentialError):
                reader.js_ticket(f"unknown-{number}")
            assert reader.report_rejected(f"unknown-{number}", TICKET, "made up") is None
        cache = reader.reader._cache
        assert (len(reader.reader._reads), sum(map(len, cache._entries.values())), len(cache._complained)) == (0, 0, 0)
        assert len(cache._retry_at) <= (0 if answers else 100)


def test_when_redis_comes_back_it_is_read_again_and_that_is_told_once(
    start: Start, proxy: TcpProxy, stock: Stock, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    stock.put(TICKET)
    reader = start(proxy.url(), clock=clock)
    reader.js_ticket(APP)
    for _ in range(2):
        proxy.refuse()
        clock.now += 10
        assert reader.record(APP, TICKET).stale
        proxy.accept_again()
        newer = stock.put(TICKET)
        clock.now += 10
        for _ in range(3):
            record = reader.record(APP, TICKET)
            assert (record.code, record.stale) == (newer, False)
            clock.now += 10
    lines = [line.partition(":")[0] for line in told(caplog)]
    assert lines == ["Redis at 127.0.0.1", "Redis answers again"] * 2


def test_one_target_that_fails_for_good_does_not_fill_the_log_while_others_are_read(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    stock.put(TICKET)
    key = keys_of(Target(APP, TOKEN)).value
    redis_server.client().hset(key, "a", "b")
    redis_server.client().expire(key, 600)
    reader = start(redis_server.url, clock=clock)
    for _ in range(10):
        with pytest.raises(NoCredentialError):
            reader.access_token(APP)
        reader.js_ticket(APP)
        clock.now += 10
    assert len(told(caplog)) == 1


def test_a_connection_that_breaks_is_no_outage(
    start: Start, proxy: TcpProxy, stock: Stock, caplog: pytest.LogCaptureFixture
) -> None:
    token, ticket = stock.put(TOKEN), stock.put(TICKET)
    reader = start(proxy.url(), max_age_s=0)
    assert reader.js_ticket(APP) == ticket
    proxy.cut()
    # Of this one there is no copy to serve instead.
    assert reader.access_token(APP) == token
    proxy.script(Act.CUT_AFTER, b"GET")
    assert not reader.record(APP, TICKET).stale
    assert told(caplog) == []


def test_after_a_failure_redis_is_left_alone_for_a_moment(
    start: Start, proxy: TcpProxy, stock: Stock, clock: Clock
) -> None:
    code = stock.put(TICKET)
    reader = start(proxy.url(), clock=clock)
    reader.js_ticket(APP)
    clock.now += 10
    for _ in range(2):
        proxy.script(Act.CUT_BEFORE, b"GET")
    before = proxy.commands
    for _ in range(100):
        assert reader.record(APP, TICKET).stale
        assert reader.js_ticket(APP) == code
    assert proxy.commands == before + 2
    clock.now += 1
    assert not reader.record(APP, TICKET).stale


def test_a_redis_that_stands_still_is_waited_for_only_so_long(
    start: Start, start_redis: Callable[..., RedisServer], simulator: Simulator, clock: Clock
) -> None:
    server = start_redis()
    code = Stock(server, simulator).put(TICKET)
    reader = start(server.url, clock=clock, timeout_s=0.3)
    reader.js_ticket(APP)
    server.pause()
    clock.now += 10
    began = time.monotonic()
    got = reader.together(20, "record", APP, TICKET, then=lambda: None)
    assert time.monotonic() - began < SOON_S
    assert {(each.code, each.stale) for each in got} == {(code, True)}
    began = time.monotonic()
    with pytest.raises(NoCredentialError, match=f"Redis at 127.0.0.1:{server.port} did not answer in time"):
        reader.access_token(APP)
    assert time.monotonic() - began < SOON_S
    server.resume()
    clock.now += 10
    assert not reader.record(APP, TICKET).stale
    assert simulator.count() == 0


def test_a_reader_never_fetches_whatever_it_finds(start: Start, world: World, clock: Clock) -> None:
    deployment = Deployment(world)
    deployment.run()
    before = world.simulator.count()
    reader = start(world.redis.url, clock=clock)
    for kind in KINDS:
        code = reader.record(APP, kind).code
        reader.report_rejected(APP, kind, code)
        world.redis.client().delete(keys_of(Target(APP, kind)).value)
        clock.now += 10
        with pytest.raises(NoCredentialError):
            reader.record(APP, kind)
        reader.report_rejected(APP, kind, code)
    impatient = start(world.redis.url, clock=clock, timeout_s=0.3)
    world.redis.pause()
    with pytest.raises(NoCredentialError):
        impatient.record("app0001", TICKET)
    assert world.simulator.count() == before


# -- refusals -------------------------------------------------------------------------------------


def test_a_refused_code_is_exchanged_for_the_newer_one_without_a_complaint(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock
) -> None:
    woken: list[Any] = []
    old = stock.put(TICKET)
    reader = start(redis_server.url, clock=clock, on_rejected=lambda *about: woken.append(about))
    assert reader.js_ticket(APP) == old
    new = stock.put(TICKET)
    assert reader.report_rejected(APP, TICKET, old) == new
    assert reader.js_ticket(APP) == new
    # Again, by one who comes late: the copy is the newer one, and stays.
    assert reader.report_rejected(APP, TICKET, old) == new
    assert (stock.complaint(), woken) == (None, [])


@pytest.mark.parametrize("kind", [TICKET, "js_ticket"])
def test_a_refused_code_that_is_still_stored_is_left_as_a_complaint_and_wakes_the_refresher(
    start: Start, redis_server: RedisServer, stock: Stock, caplog: pytest.LogCaptureFixture, kind: Kind | str
) -> None:
    woken: list[Any] = []
    code = stock.put(TICKET)
    reader = start(redis_server.url, on_rejected=lambda *about: woken.append(about))
    assert reader.report_rejected(APP, kind, code) is None
    assert stock.complaint() == fingerprint(code)
    life_ms: Any = redis_server.client().pttl(keys_of(Target(APP, TICKET)).refused)
    assert 0 < life_ms <= 600_000
    assert woken == [(APP, "js_ticket")]
    assert told(caplog) == [f"the platform refused js_ticket {fingerprint(code)}: left for the refresher"]


def test_a_refused_code_of_which_nothing_is_stored_leaves_nothing(
    start: Start, redis_server: RedisServer, stock: Stock
) -> None:
    reader = start(redis_server.url)
    assert reader.report_rejected(APP, TICKET, "a credential from elsewhere") is None
    assert redis_server.client().dbsize() == 0


def test_a_refused_code_is_served_no_more_even_when_redis_is_down(start: Start, proxy: TcpProxy, stock: Stock) -> None:
    code = stock.put(TICKET)
    reader = start(proxy.url())
    reader.js_ticket(APP)
    proxy.refuse()
    assert reader.report_rejected(APP, TICKET, code) is None
    with pytest.raises(NoCredentialError):
        reader.js_ticket(APP)
    assert stock.complaint() is None


def test_complaints_about_one_code_are_made_at_most_once_a_minute(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock
) -> None:
    woken: list[Any] = []
    code = stock.put(TICKET)
    reader = start(redis_server.url, clock=clock, on_rejected=lambda *about: woken.append(about))
    complaint = keys_of(Target(APP, TICKET)).refused
    for _ in range(600):
        reader.report_rejected(APP, TICKET, code)
        stock.client.delete(complaint)
        clock.now += 1
    assert len(woken) == 10


def test_each_newer_code_may_be_complained_of_at_once(
    start: Start, redis_server: RedisServer, stock: Stock, clock: Clock
) -> None:
    reader = start(redis_server.url, clock=clock)
    for kind in (TICKET, TOKEN, TICKET):
        code = stock.put(kind)
        assert reader.report_rejected(APP, kind, code) is None
        assert stock.complaint(kind) == fingerprint(code)


def test_a_complaint_that_cannot_be_left_is_told_and_breaks_nothing(
    start: Start, proxy: TcpProxy, stock: Stock, caplog: pytest.LogCaptureFixture
) -> None:
    woken: list[Any] = []
    code = stock.put(TICKET)
    reader = start(proxy.url(), on_rejected=lambda *about: woken.append(about))
    proxy.script(Act.CUT_BEFORE, b":refused")
    assert reader.report_rejected(APP, TICKET, code) is None
    assert (stock.complaint(), woken) == (None, [])
    assert len(told(caplog)) == 1
    assert f"a complaint about {fingerprint(code)} could not be left" in told(caplog)[0]


def test_a_complaint_that_redis_does_not_answer_is_waited_for_only_so_long(
    start: Start, proxy: TcpProxy, stock: Stock, caplog: pytest.LogCaptureFixture
) -> None:
    code = stock.put(TICKET)
    reader = start(proxy.url(), timeout_s=0.3)
    proxy.script(Act.DROP_REPLY, b":refused")
    began = time.monotonic()
    assert reader.report_rejected(APP, TICKET, code) is None
    assert time.monotonic() - began < SOON_S
    assert len(told(caplog)) == 1
    assert f"Redis at 127.0.0.1:{proxy.port} did not answer in time" in told(caplog)[0]


def test_an_invoker_that_fails_is_told_by_type_alone_and_breaks_no_caller(
    start: Start, redis_server: RedisServer, stock: Stock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(app_id: str, kind: str) -> None:
        raise ConnectionError("with words that may hold a secret")

    code = stock.put(TICKET)
    assert start(redis_server.url, on_rejected=fail).report_rejected(APP, TICKET, code) is None
    assert stock.complaint() == fingerprint(code)
    assert told(caplog)[1:] == ["the refresher could not be started at once: ConnectionError"]
    assert "with words" not in caplog.text


# -- with_code ------------------------------------------------------------------------------------


def test_a_call_that_succeeds_is_made_once(start: Start, redis_server: RedisServer, stock: Stock) -> None:
    code = stock.put(TICKET)
    tried: list[str] = []

    def call(code: str) -> str:
        tried.append(code)
        return "done"

    reader = start(redis_server.url)
    assert reader.with_code(TICKET, call) == "done"
    assert tried == [code]


def test_a_call_that_is_refused_is_made_once_more_with_the_newer_code(
    start: Start, redis_server: RedisServer, stock: Stock
) -> None:
    old = stock.put(TICKET)
    reader = start(redis_server.url)
    reader.js_ticket(APP)
    new = stock.put(TICKET)
    tried: list[str] = []

    def call(code: str) -> str:
        tried.append(code)
        if code == old:
            raise DeadError
        return "done"

    assert reader.with_code(TICKET, call) == "done"
    assert tried == [old, new]


def test_a_call_that_is_refused_twice_is_not_made_a_third_time(
    start: Start, redis_server: RedisServer, stock: Stock
) -> None:
    old = stock.put(TICKET)
    reader = start(redis_server.url)
    reader.js_ticket(APP)
    new = stock.put(TICKET)
    tried: list[str] = []

    def call(code: str) -> None:
        tried.append(code)
        stock.put(TICKET)
        raise DeadError

    with pytest.raises(DeadError):
        reader.with_code(TICKET, call)
    assert tried[0] == old
    assert len(tried) == 2
    assert new not in tried[:1]


def test_a_call_that_is_refused_with_the_stored_code_raises_its_own_error_and_complains(
    start: Start, redis_server: RedisServer, stock: Stock
) -> None:
    code = stock.put(TICKET)
    tried: list[str] = []

    def call(code: str) -> None:
        tried.append(code)
        raise DeadError("the caller's own words")

    with pytest.raises(DeadError, match="the caller's own words"):
        start(redis_server.url).with_code(TICKET, call, (KeyError, DeadError))
    assert tried == [code]
    assert stock.complaint() == fingerprint(code)


def test_a_call_that_fails_otherwise_is_no_refusal(start: Start, redis_server: RedisServer, stock: Stock) -> None:
    code = stock.put(TICKET)

    def call(code: str) -> None:
        raise KeyError("something else")

    reader = start(redis_server.url)
    with pytest.raises(KeyError):
        reader.with_code(TICKET, call)
    assert stock.complaint() is None
    assert reader.js_ticket(APP) == code


# -- complaints, as the refresher hears them ------------------------------------------------------


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and old enough to be renewed when something is wrong with them."""
    deployment = Deployment(world)
    deployment.run()
    deployment.tick()
    return deployment


def questions(deployment: Deployment) -> int:
    """How often checkCode was asked about tickets."""
    asked = [each for each in deployment.simulator.requests if each.path == CHECK_PATH]
    return sum(each.kind == TICKET.value for each in asked)


@pytest.mark.slow
@pytest.mark.parametrize("dead", [True, False], ids=["the credential is dead", "the credential is alive"])
def test_a_thousand_complainers_cause_one_question_and_at_most_one_fetch(
    start: Start, deployment: Deployment, dead: bool
) -> None:
    code = deployment.code(TICKET)
    assert code is not None
    readers = [start(deployment.world.redis.url, clock=deployment.clock, timeout_s=10) for _ in range(4)]
    if dead:
        deployment.simulator.revoke(APP, "js_ticket", code)
    for reader in readers:
        got = reader.together(250, "refused", APP, TICKET, code, then=lambda: None)
        assert got == [None] * 250
    asked, fetched = questions(deployment), deployment.fetches(TICKET)
    deployment.world.advance(60)
    report = deployment.run()
    assert questions(deployment) == asked + 1
    assert deployment.fetches(TICKET) == fetched + dead
    ticket = of(report, TICKET)
    assert (ticket.questions, ticket.fetches) == (1, int(dead))
    deployment.tick(3)
    assert questions(deployment) == asked + 1
    if dead:
        assert {reader.js_ticket(APP) for reader in readers} == {deployment.code(TICKET)} != {code}


@pytest.mark.slow
@pytest.mark.parametrize("tick_s", [10, 60])
def test_a_lying_reader_causes_at_most_one_needless_question_a_minute_and_no_fetch(
    start: Start, deployment: Deployment, tick_s: int
) -> None:
    reader = start(deployment.world.redis.url, clock=deployment.clock, timeout_s=10)
    client = deployment.world.redis.client()
    asked, fetched = questions(deployment), deployment.fetches(TICKET)
    for _ in range(600 // tick_s):
        for _ in range(5):
            code = reader.js_ticket(APP)
            reader.report_rejected(APP, TICKET, code)
            # And others that keep no measure at all.
            client.set(keys_of(Target(APP, TICKET)).refused, fingerprint(code), ex=600)
            deployment.world.advance(tick_s / 5)
        deployment.run()
    assert 5 <= questions(deployment) - asked <= 10
    assert deployment.fetches(TICKET) == fetched
    assert deployment.dead == []


def test_complaints_about_an_old_code_cause_no_question(start: Start, deployment: Deployment) -> None:
    reader = start(deployment.world.redis.url, clock=deployment.clock, timeout_s=10)
    old = reader.js_ticket(APP)
    reader.report_rejected(APP, TICKET, old)
    deployment.run(Command(force=True, kinds=(TICKET,)))
    asked, fetched = questions(deployment), deployment.fetches(TICKET)
    stored: Any = deployment.world.redis.client().get(keys_of(Target(APP, TICKET)).refused)
    assert stored in (None, fingerprint(old).encode())
    deployment.world.redis.client().set(keys_of(Target(APP, TICKET)).refused, fingerprint(old), ex=600)
    assert reader.report_rejected(APP, TICKET, old) == deployment.code(TICKET)
    deployment.tick(3)
    assert questions(deployment) == asked
    assert deployment.fetches(TICKET) == fetched


def test_a_complaint_that_checkcode_does_not_answer_waits_for_the_next_run(
    start: Start, deployment: Deployment
) -> None:
    reader = start(deployment.world.redis.url, clock=deployment.clock, timeout_s=10)
    code = reader.js_ticket(APP)
    deployment.simulator.revoke(APP, "js_ticket", code)
    reader.report_rejected(APP, TICKET, code)
    fetched = deployment.fetches(TICKET)
    deployment.simulator.script(CHECK_PATH, Fault.status(500))
    assert of(deployment.run(), TICKET).warnings
    assert deployment.fetches(TICKET) == fetched
    deployment.tick()
    assert deployment.fetches(TICKET) == fetched + 1


# -- the process around it ------------------------------------------------------------------------


def test_a_closed_reader_leaves_no_connection_and_may_be_closed_again(
    start: Start, redis_server: RedisServer, stock: Stock
) -> None:
    stock.put(TICKET)
    reader = start(redis_server.url)
    reader.together(20, "js_ticket", APP, then=lambda: None)
    watcher = redis_server.client()
    before = len(watcher.client_list())
    reader.do("close")
    reader.do("close")
    # The server notices a closed connection when it comes round to it.
    wait_until("the connection is gone", lambda: len(watcher.client_list()) < before)


@pytest.mark.parametrize("name", ["Reader", "AsyncReader"])
def test_importing_a_reader_brings_nothing_but_redis(name: str) -> None:
    driver = (
        f"import sys; from token_refresher import {name}; {name}.from_url('redis://127.0.0.1:1'); "
        "print(' '.join(sorted({each.split('.')[0] for each in sys.modules})))"
    )
    sources = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", driver],
        env=os.environ | {"PYTHONPATH": str(sources)},
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    found = set(done.stdout.split())
    assert "redis" in found
    assert not found & {"requests", "urllib3", "yaml", "fc2", "rich", "platform_simulator"}


def test_one_who_is_interrupted_while_reading_leaves_the_others_to_read_themselves(
    proxy: TcpProxy, stock: Stock
) -> None:
    code = stock.put(TICKET)
    reading, waiting, go = threading.Event(), threading.Event(), threading.Event()
    calls: list[str] = []

    def clock() -> float:
        name = threading.current_thread().name
        calls.append(name)
        if name == "victim" and calls.count(name) == 2:
            # As a worker's time-out would, in the middle of the read that all wait for.
            reading.set()
            go.wait(WAIT_S)
            raise SystemExit
        if name == "waiter":
            waiting.set()
        return time.monotonic()

    got: list[str] = []
    with Reader.from_url(proxy.url(), clock=clock) as reader:

        def read() -> None:
            with pytest.raises(SystemExit):
                reader.js_ticket(APP)

        victim = threading.Thread(target=read, name="victim")
        waiter = threading.Thread(target=lambda: got.append(reader.js_ticket(APP)), name="waiter")
        victim.start()
        assert reading.wait(WAIT_S)
        waiter.start()
        assert waiting.wait(WAIT_S)
        go.set()
        victim.join(WAIT_S)
        waiter.join(WAIT_S)
    assert got == [code]


_PRELOADED = """
import os
from support.child import say
from token_refresher import Reader

reader = Reader.from_url(os.environ["URL"], max_age_s=0)
apps = ["app%04d" % number for number in range(5)]
wanted = [reader.js_ticket(app) for app in apps]

def work(number):
    return all(reader.js_ticket(apps[number]) == wanted[number] for _ in range(200))

children = []
for number in range(4):
    pid = os.fork()
    if not pid:
        os._exit(0 if work(number) else 1)
    children.append(pid)
well = work(4)
ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
say("ends:%s %s" % (well, ends))
reader.close()
"""


def test_processes_forked_with_a_reader_in_use_do_not_share_its_connection(proxy: TcpProxy, stock: Stock) -> None:
    for number in range(5):
        stock.put(TICKET, app_id=f"app{number:04d}")
    with Child(_PRELOADED, {"URL": proxy.url()}) as child:
        assert child.wait_for("ends:") == "ends:True [0, 0, 0, 0]"
        assert child.join() == 0
    assert proxy.connections == 5


_FORKED_IN_A_READ = """
import os, threading, warnings
from support.child import ask, say
from token_refresher import Reader

warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
reader = Reader.from_url(os.environ["URL"], timeout_s=30)
thread = threading.Thread(target=reader.js_ticket, args=("app0000",))
thread.start()
ask("reading")
pid = os.fork()
if not pid:
    # Nobody here finishes the parent's read.
    reader.js_ticket("app0000")
    os._exit(0)
say("child:%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread.join()
reader.close()
"""


def test_a_process_forked_in_the_middle_of_a_read_reads_for_itself(proxy: TcpProxy, stock: Stock) -> None:
    stock.put(TICKET)
    held = proxy.script(Act.HOLD, b"GET")
    with Child(_FORKED_IN_A_READ, {"URL": proxy.url()}) as child:
        child.wait_for("reading")
        held.wait_reached()
        child.send("go")
        assert child.wait_for("child:", timeout_s=20) == "child:0"
        held.release()
        assert child.join() == 0


_GREENLETS = """
from gevent import monkey
monkey.patch_all()
import os, gevent
from support.child import say
from token_refresher import Reader

reader = Reader.from_url(os.environ["URL"], timeout_s=60)
greenlets = [gevent.spawn(reader.js_ticket, "app0000") for _ in range(1000)]
for _ in range(10):
    gevent.sleep(0)
say("free")
gevent.joinall(greenlets)
failures = sum(not each.successful() for each in greenlets)
say("codes:%d failures:%d" % (len({each.value for each in greenlets}), failures))
reader.close()
"""


@pytest.mark.slow
def test_under_gevent_a_read_holds_up_no_other_greenlet_and_a_thousand_make_one(proxy: TcpProxy, stock: Stock) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed: pip install gevent")
    stock.put(TICKET)
    held = proxy.script(Act.HOLD, b"GET")
    with Child(_GREENLETS, {"URL": proxy.url()}) as child:
        child.wait_for("free")
        held.wait_reached()
        held.release()
        assert child.wait_for("codes:") == "codes:1 failures:0"
        assert child.join() == 0
    assert proxy.commands == 1
