"""Everything works through a proxy that refuses what Tair's refuses, and that proxy really refuses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import redis

from support.flow import Deployment, of
from support.tair_proxy import TairProxy
from support.world import World
from token_refresher import AsyncReader
from token_refresher.cli.main import main
from token_refresher.doctor.examine import examine
from token_refresher.doctor.finding import Severity
from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind, Target, fingerprint
from token_refresher.domain.policy import Policy
from token_refresher.reader.sync_reader import Reader
from token_refresher.store.connection import create_client
from token_refresher.store.keys import keys_of

GET = "return redis.call('GET', KEYS[1])"


@pytest.fixture
def proxy(world: World) -> Iterator[TairProxy]:
    with TairProxy(world.redis.port) as proxy:
        yield proxy


@pytest.fixture
def url(world: World, proxy: TairProxy) -> str:
    return proxy.url(quote(world.redis.password, safe=""))


@pytest.fixture
def deployment(world: World, url: str) -> Deployment:
    """One whose runs reach Redis through the proxy; its readers look past it."""
    deployment = Deployment(world)
    deployment.environ["REDIS_URL"] = url
    return deployment


class TestEverythingWorks:
    def test_a_target_lives_its_whole_life(self, deployment: Deployment, proxy: TairProxy) -> None:
        world, app_id = deployment.world, deployment.app_ids[0]
        told = [of(deployment.run(), Kind.JS_TICKET).reason]
        world.advance(300)
        told.append(of(deployment.run(), Kind.JS_TICKET).reason)
        code = deployment.code(Kind.JS_TICKET)
        assert code
        refused = keys_of(Target(app_id, Kind.JS_TICKET)).refused
        world.redis.client().set(refused, fingerprint(code), ex=600)
        world.advance(100)
        told.append(of(deployment.run(), Kind.JS_TICKET).reason)
        assert not world.redis.client().exists(refused)
        deployment.simulator.issue(app_id, "js_ticket")
        world.advance(300)
        told.append(of(deployment.run(), Kind.JS_TICKET).reason)
        deployment.pass_time(7200 - 1000)
        told.append(of(deployment.run(), Kind.JS_TICKET).reason)
        told.append(of(deployment.run(Command(force=True)), Kind.JS_TICKET).reason)
        assert told == ["MISSING", "FRESH", "FRESH", "SUPERSEDED", "NEAR_EXPIRY", "COOLING_DOWN"]
        assert (deployment.dead, deployment.missing) == ([], 0)
        assert deployment.fetches(Kind.JS_TICKET) == 3
        # All of it went through, and nothing was tried that the proxy refuses.
        assert proxy.refused == []
        assert set(proxy.passed) == {"AUTH", "EVAL"}

    def test_many_applications_are_read_in_one_go(self, world: World, url: str, proxy: TairProxy) -> None:
        deployment = Deployment(world, 20)
        deployment.environ["REDIS_URL"] = url
        deployment.run()
        assert all(deployment.code(kind, app_id) for kind in Kind for app_id in deployment.app_ids)
        assert proxy.refused == []

    def test_another_database_is_used(self, deployment: Deployment, world: World, url: str, proxy: TairProxy) -> None:
        deployment.environ["REDIS_URL"] = f"{url.removesuffix('/0')}/1"
        deployment.refresher().run_once(Command())
        assert world.redis.client(db=1).exists(keys_of(Target(deployment.app_ids[0], Kind.JS_TICKET)).value)
        assert proxy.refused == []

    def test_both_readers_read_and_complain(
        self, deployment: Deployment, world: World, url: str, proxy: TairProxy
    ) -> None:
        deployment.run()
        app_id, client = deployment.app_ids[0], world.redis.client()
        code = deployment.code(Kind.JS_TICKET)
        refused = keys_of(Target(app_id, Kind.JS_TICKET)).refused
        with Reader.from_url(url, max_age_s=0) as reader:
            assert reader.js_ticket(app_id) == code
            reader.report_rejected(app_id, Kind.JS_TICKET, code or "")
        assert client.exists(refused)
        client.delete(refused)

        async def story() -> str:
            async with AsyncReader.from_url(url, max_age_s=0) as reader:
                found: str = await reader.js_ticket(app_id)
                await reader.report_rejected(app_id, Kind.JS_TICKET, found)
                return found

        assert asyncio.run(story()) == code
        assert client.exists(refused)
        assert proxy.refused == []

    def test_the_doctor_finds_nothing_wrong(self, deployment: Deployment, world: World, proxy: TairProxy) -> None:
        deployment.run()
        world.advance(30)
        findings = examine(deployment.environ, wall=world.now, clock=deployment.clock)
        # The test's own server keeps nothing on disk, which the doctor notes.
        wrong = {each.name for each in findings if each.severity not in (Severity.GREEN, Severity.GREY)}
        assert wrong <= {"redis persistence", "redis clock", "platform clock", "platform encryption"}
        assert not [each for each in findings if each.severity is Severity.RED]
        assert proxy.refused == []

    def test_the_status_is_shown(
        self, deployment: Deployment, proxy: TairProxy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        deployment.run()
        assert main(["status", "--json"], environ=deployment.environ) == 0
        assert deployment.app_ids[0] in json.dumps(json.loads(capsys.readouterr().out))
        assert proxy.refused == []


# -- what it refuses --------------------------------------------------------------------------------------------------


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """As the refresher has it: one of redis-py's own says who it is, which the proxy refuses."""
    client = create_client(RedisUrl.parse(url), Policy())
    yield client
    client.close()


REFUSED = {
    "ERR unknown command": ["WAIT 1 0", "HELLO 3", "CLIENT ID", "CLIENT INFO", "CLIENT SETINFO LIB-NAME x", "ACL LIST"],
    "not support for your account": ["SAVE", "BGSAVE", "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "DEBUG SLEEP 0"],
    "must in same slot": ["RENAME one two"],
    "NOSCRIPT": ["EVALSHA e8b7f6b2a6a1d4f0a4a1c5a3d1f7e0b9c8d7e6f5 1 key"],
}


@pytest.mark.parametrize("words", [pytest.param((line, e), id=line) for e, lines in REFUSED.items() for line in lines])
def test_a_command_on_the_list_is_refused_and_never_reaches_the_server(
    words: tuple[str, str], client: Any, world: World, proxy: TairProxy
) -> None:
    command, error = words
    admin = world.redis.client()
    admin.config_resetstat()
    with pytest.raises(redis.RedisError) as raised:
        client.execute_command(*command.split())
    # redis-py takes the first word off the errors that it knows.
    assert error.removeprefix("ERR ") in str(raised.value) or error in type(raised.value).__name__.upper()
    assert proxy.refused == [command.split()[0]]
    assert client.ping()
    assert set(admin.info("commandstats")) == {"cmdstat_auth", "cmdstat_ping", "cmdstat_config"}


@pytest.mark.parametrize(
    ("source", "keys", "error"),
    [
        ("return 1", [], "can't be negative or zero"),
        ("return redis.call('TIME')", [], "can't be negative or zero"),
        (GET, ["one", "two"], "must be in same slot"),
        ("local k = KEYS[1] return redis.call('GET', k)", ["k"], "passed using the KEYS array"),
        ("return redis.call('GET', KEYS[1] .. ':x')", ["k"], "passed using the KEYS array"),
        ("return redis.call('GET', KEYS[i])", ["k"], "passed using the KEYS array"),
        ("return redis.call('GET', ARGV[1])", ["k"], "passed using the KEYS array"),
        ("return redis.call('GET', 'k')", ["k"], "passed using the KEYS array"),
        ("return redis.call('DEL', unpack(KEYS))", ["k"], "passed using the KEYS array"),
        ("return redis.call('SET', KEYS[1], KEYS[2])", ["{k}", "{k}:x"], "passed using the KEYS array"),
        ("return redis.call(ARGV[1], KEYS[1])", ["k"], "must be a single literal string"),
        ("return redis.call('G' .. 'ET', KEYS[1])", ["k"], "must be a single literal string"),
        ("return redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]))", ["k"], "nested"),
        ("return redis.call('PUBLISH', 'channel', 'x')", ["k"], "PUBLISH"),
        ("if 1 then\n redis . pcall(\n 'GET',\n k\n) end", ["k"], "passed using the KEYS array"),
    ],
)
def test_a_script_that_breaks_a_rule_is_refused(source: str, keys: list[str], error: str, client: Any) -> None:
    with pytest.raises(redis.ResponseError, match=error):
        client.eval(source, len(keys), *keys)


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        (GET, ["k"]),
        ("-- redis.call('GET', k)\nreturn redis.call('GET', KEYS[1])", ["k"]),
        ("return redis.call('MGET', KEYS[1], KEYS[2])", ["{k}", "{k}:x"]),
        ("return redis.pcall('SET', KEYS[1], 'a, (b', 'PX', 1000 * (2 + 3))", ["k"]),
        ("redis.call('TIME') return 1", ["k"]),
        # The text is all that is looked at.
        ("KEYS[1] = KEYS[1] .. ':x' return redis.call('GET', KEYS[1])", ["k"]),
    ],
)
def test_a_script_that_keeps_them_is_run(source: str, keys: list[str], client: Any, proxy: TairProxy) -> None:
    client.eval(source, len(keys), *keys)
    assert proxy.refused == []


def test_a_transaction_may_not_hold_a_script(client: Any, proxy: TairProxy) -> None:
    with client.pipeline(transaction=True) as pipe:
        pipe.execute_command("EVAL", GET, 1, "k")
        with pytest.raises(redis.ResponseError):
            pipe.execute()
    with client.pipeline(transaction=True) as pipe:
        pipe.set("k", "v", px=1000)
        assert pipe.execute() == [True]
    assert proxy.refused == ["EVAL"]


def test_a_setting_is_only_said_to_be_set(client: Any, world: World) -> None:
    assert client.config_set("maxmemory", "1000000")
    assert world.redis.client().config_get("maxmemory") == {"maxmemory": "0"}


@pytest.mark.parametrize("call", [lambda c: c.get("k"), lambda c: c.mget("k", "none"), lambda c: c.hgetall("none")])
def test_replies_of_every_form_come_through(call: Callable[[Any], object], client: Any, world: World) -> None:
    world.redis.client().set("k", b"a\r\n$-1\r\n" * 5000, ex=60)
    assert call(client) == call(world.redis.client())
