"""On every Redis and Valkey that can be had: the same life of a target, the same replies, the same error codes.

By the machine's clock, because libfaketime does not work with each of them: what has to be old is made so by writing
an older expiry.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import trustme

from platform_simulator import CHECK_PATH
from support import redis_versions
from support.flow import Deployment, of
from support.leases import digest
from support.planted import plant
from support.redis_breakages import BREAKAGES, OF_THE_CONNECTION, Breakage
from support.redis_server import RedisServer, free_port
from support.redis_users import Shop, as_user, expected, rights
from support.redis_versions import BUILDS, EMBEDDED, Build, problem
from support.waiting import wait_until
from support.world import World
from token_refresher import AsyncReader
from token_refresher import bootstrap as wiring
from token_refresher.doctor.examine import examine
from token_refresher.doctor.finding import Severity
from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.command import Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Record, Snapshot, Target, Word, fingerprint
from token_refresher.domain.policy import Policy
from token_refresher.reader.sync_reader import Reader
from token_refresher.settings.loader import read
from token_refresher.store.connection import create_client
from token_refresher.store.errors import translated
from token_refresher.store.keys import WIRE_NAME, Keys, keys_of
from token_refresher.store.redis_store import RedisStore

_PROBLEMS = {build.name: problem(build) for build in BUILDS}
EACH = [
    pytest.param(
        build,
        id=build.name,
        marks=pytest.mark.skipif(bool(_PROBLEMS[build.name]), reason=f"NOT TESTED: {_PROBLEMS[build.name]}"),
    )
    for build in BUILDS
]
each = pytest.mark.parametrize("build", EACH)
TARGET = Target("app0000", Kind.JS_TICKET)
LIFE_S = 7200
# What makes the refresher ask about each credential in each run, and act on the answer at once.
EAGER = {"audit_interval_s": 0.001, "audit_min_age_s": 0, "cooldown_s": 0, "complaint_interval_s": 0.001}


@pytest.fixture
def world(build: Build, start_world: Callable[..., World]) -> World:
    # What it writes is on the disk before it answers, so that a kill loses nothing.
    lasting = {"appendonly": "yes", "appendfsync": "always"}
    return start_world(lasting, program=str(build.program), movable=False)


@pytest.fixture
def server(world: World) -> RedisServer:
    return world.redis


def test_each_version_is_the_one_that_it_is_called() -> None:
    """Nothing else would notice that one program stands for all."""
    found = [build for build in BUILDS if not _PROBLEMS[build.name]]
    assert EMBEDDED in {build.name for build in found}
    assert len({build.program.resolve() for build in found}) == len({build.says for build in found}) == len(found)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "has not been fetched"),
        ("echo 'Redis server v=1.2.3'", "does not run here: Redis server v=1.2.3"),
        ("echo 'no such library' >&2; exit 127", "does not run here: no such library"),
        ("exit 3", "it ends with 3"),
        ("echo 'Redis server v=9.9.9'", ""),
    ],
)
def test_a_program_that_is_not_what_it_is_called_is_told(
    script: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_versions, "_SERVERS", tmp_path)
    build = Build("redis-9.9", "v=9.9.")
    build.program.parent.mkdir()
    if script:
        build.program.write_text(f"#!/bin/sh\n{script}\n")
        build.program.chmod(0o755)
    assert problem(build) == "" if not words else words in problem(build)


def test_what_cannot_be_had_is_said_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_versions, "_SERVERS", tmp_path / "servers")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(redis_versions, "BUILDS", (replace(BUILDS[-1], name="redis-of-nobody"),))
    said: list[str] = []
    assert redis_versions.main(said.append) == 0
    assert said
    assert said[0].startswith("redis-of-nobody: NOT FETCHED, so its tests are skipped: ")
    assert list((tmp_path / "servers").iterdir()) == []


# -- a whole life -----------------------------------------------------------------------------------------------------


class Life:
    """A ticket from nothing to a refresh and on, in words."""

    def __init__(self, world: World, url: str = "") -> None:
        self.world, self.deployment = world, Deployment(world)
        self.app_id = self.deployment.app_ids[0]
        if url:
            self.deployment.environ["REDIS_URL"] = url
        self.keys = keys_of(Target(self.app_id, Kind.JS_TICKET))
        self.admin: Any = world.redis.client()

    def run(self, **policy: float) -> str:
        more = {f"POLICY_{name.upper()}": f"{value:g}" for name, value in policy.items()}
        asked = self.world.simulator.count(CHECK_PATH)
        report = wiring.refresher(read(self.deployment.environ | more)).run_once(Command())
        self.deployment.look()
        ticket = of(report, Kind.JS_TICKET)
        ended = ticket.outcome.value if ticket.outcome else "nothing"
        questions = self.world.simulator.count(CHECK_PATH) - asked
        return f"{ticket.reason} {ended}{f', {ticket.failure.code}' if ticket.failure else ''}, asked {questions}"

    def grow_old(self) -> None:
        """A thousand seconds are left of both credentials."""
        for kind in Kind:
            keys = keys_of(Target(self.app_id, kind))
            record = json.loads(self.admin.get(keys.value))
            self.world.simulator.shorten(self.app_id, kind.value, record[WIRE_NAME[kind]], 1000)
            record["expires_in"] = int(self.world.now()) + 1000
            record["issued_at"] = record["expires_in"] - LIFE_S
            self._store(keys, json.dumps(record), px=1_000_000)

    def be_issued_earlier(self) -> None:
        """A credential superseded in the moment of its issue is used to its end; this one was issued long ago."""
        record = json.loads(self.admin.get(self.keys.value))
        record["issued_at"] -= 1000
        self._store(self.keys, json.dumps(record), keepttl=True)

    def _store(self, keys: Keys, value: str, **how: Any) -> None:
        """A value that its lease, where there is one, has settled."""
        self.admin.set(keys.value, value, **how)
        if self.admin.exists(keys.lease):
            self.admin.hset(keys.lease, "value", digest(value))

    def complain(self) -> None:
        code = self.deployment.code(Kind.JS_TICKET)
        assert code
        self.admin.set(self.keys.refused, fingerprint(code), ex=600)

    def story(self) -> list[str]:
        told = [self.run(), self.run()]
        self.grow_old()
        told += [self.run(), self.run(**EAGER)]
        self.complain()
        told.append(self.run(**EAGER))
        told.append(f"complaints left: {self.admin.exists(self.keys.refused)}")
        self.be_issued_earlier()
        self.world.simulator.issue(self.app_id, "js_ticket")
        told.append(self.run(**EAGER))
        return told


WELL = [
    "MISSING issued, asked 0",
    "FRESH nothing, asked 0",
    "NEAR_EXPIRY issued, asked 0",
    "FRESH kept, asked 2",
    "FRESH kept, asked 2",
    "complaints left: 0",
    "SUPERSEDED issued, asked 2",
]


@each
def test_a_target_lives_its_whole_life(world: World) -> None:
    life = Life(world)
    assert life.story() == WELL
    world.redis.restart()
    wait_until("it has read its file", lambda: bool(life.admin.ping()))
    assert life.run() == "FRESH nothing, asked 0"
    newest = world.simulator.newest(life.app_id, "js_ticket")
    assert newest
    assert life.deployment.code(Kind.JS_TICKET) == newest.code
    assert life.deployment.dead == []
    assert life.deployment.missing == 0


@each
def test_both_readers_read_and_complain(world: World) -> None:
    life = Life(world)
    life.run()
    codes = {kind: life.deployment.code(kind) for kind in Kind}

    async def story() -> dict[Kind, str]:
        async with AsyncReader.from_url(world.redis.url, max_age_s=0) as reader:
            found = {kind: (await reader.record(life.app_id, kind)).code for kind in Kind}
            await reader.report_rejected(life.app_id, Kind.JS_TICKET, found[Kind.JS_TICKET])
            return found

    assert asyncio.run(story()) == codes
    assert life.admin.get(life.keys.refused) == fingerprint(codes[Kind.JS_TICKET] or "").encode()
    life.admin.delete(life.keys.refused)
    with Reader.from_url(world.redis.url, max_age_s=0) as reader:
        assert {kind: reader.record(life.app_id, kind).code for kind in Kind} == codes
        reader.report_rejected(life.app_id, Kind.JS_TICKET, codes[Kind.JS_TICKET] or "")
    assert life.admin.exists(life.keys.refused)


# -- TLS --------------------------------------------------------------------------------------------------------------


SPEAK_TLS = [each for build, each in zip(BUILDS, EACH, strict=True) if build.speaks_tls]


@pytest.mark.parametrize("build", SPEAK_TLS)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel"])
def test_a_server_that_speaks_tls_itself_asks_for_the_client_s_certificate(
    build: Build, scheme: str, start_world: Callable[..., World], tmp_path: Path
) -> None:
    files = certificates(tmp_path)
    port = free_port()
    options = {f"tls-{name}-file": str(path) for name, path in files.items()}
    more = {"tls-port": str(port), "tls-auth-clients": "yes"}
    world = start_world(options | more, program=str(build.program), movable=False)
    login, ca = f":{quote(world.redis.password)}@", f"ssl_ca_certs={quote(str(files['ca-cert']))}"
    own = f"&ssl_certfile={quote(str(files['cert']))}&ssl_keyfile={quote(str(files['key']))}"
    with contextlib.ExitStack() as stack:
        url = f"rediss://{login}127.0.0.1:{port}/0"
        if scheme == "rediss+sentinel":
            sentinel = stack.enter_context(TlsSentinel(build, options, world.redis, port))
            url = f"rediss+sentinel://{login}127.0.0.1:{sentinel.port}/mymaster/0"
        life = Life(world, f"{url}?{ca}{own}")
        assert life.story() == WELL
        with Reader.from_url(f"{url}?{ca}{own}", max_age_s=0) as reader:
            assert reader.js_ticket(life.app_id) == life.deployment.code(Kind.JS_TICKET)
        for wrong in (f"{url}?{ca}", url):
            with pytest.raises(StoreError) as raised:
                Life(world, wrong).run()
            # The alert that says why may be overtaken by the end of the connection.
            assert raised.value.code in ("redis_tls", "redis_unreachable")


def certificates(directory: Path) -> dict[str, Path]:
    """Files of an authority of the test's own, as a server's settings call them; client and server share one."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    files = {name: directory / f"{name}.pem" for name in ("ca-cert", "cert", "key")}
    authority.cert_pem.write_to_path(files["ca-cert"])
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    return files


class TlsSentinel:
    """A sentinel that watches over one primary by TLS, and speaks nothing else; from construction until `stop`."""

    def __init__(self, build: Build, options: dict[str, str], primary: RedisServer, port: int) -> None:
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="sentinel-")
        configuration = Path(self._directory.name) / "sentinel.conf"
        settings = "".join(f"{name} {value}\n" for name, value in options.items())
        configuration.write_text(
            f"port 0\ntls-port {self.port}\ntls-replication yes\nbind 127.0.0.1\n{settings}"
            f"sentinel monitor mymaster 127.0.0.1 {port} 1\nsentinel auth-pass mymaster {primary.password}\n"
        )
        configuration.chmod(0o600)
        self._process = subprocess.Popen(
            [str(build.program), str(configuration), "--sentinel"],
            cwd=self._directory.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until("the sentinel listens", self._listens)
        except BaseException:
            self.stop()
            raise

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()

    def __enter__(self) -> TlsSentinel:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()


# -- users ------------------------------------------------------------------------------------------------------------


@each
def test_the_documented_refresher_may_do_all_that_it_has_to(world: World) -> None:
    assert Life(world, as_user(world.redis, "refresher")).story() == WELL


@each
def test_the_doctor_finds_nothing_wrong(world: World) -> None:
    life = Life(world)
    life.run()
    findings = examine(life.deployment.environ)
    assert [finding for finding in findings if finding.severity is Severity.RED] == []
    assert {finding.severity for finding in findings if finding.name.startswith("redis")} == {Severity.GREEN}


@each
@pytest.mark.keys_without_ttl("the right to set one is among those that are taken away")
def test_the_doctor_names_the_right_that_is_missing(world: World) -> None:
    life = Life(world)
    for right in ("+eval", "+time", "+hset", "+pexpire", "~type/*_info/app_id/*"):
        life.deployment.environ["REDIS_URL"] = as_user(world.redis, "refresher", without=right)
        red = [finding for finding in examine(life.deployment.environ) if finding.severity is Severity.RED]
        told = " ".join(f"{finding.says} {finding.fix}" for finding in red if finding.name == "redis rights")
        assert ("keys" if right[0] == "~" else right[1:].upper()) in told


@each
@pytest.mark.parametrize("name", ["reader 7", "reader 6.2", "reader without complaints"])
def test_the_documented_readers_read_complain_and_write_nothing_else(world: World, build: Build, name: str) -> None:
    if name == "reader 7" and build.name == EMBEDDED:
        with pytest.raises(redis.ResponseError, match="Syntax error"):
            as_user(world.redis, name)
        return
    life = Life(world)
    life.run()
    with Reader.from_url(as_user(world.redis, name), max_age_s=0) as reader:
        code = reader.js_ticket(life.app_id)
        reader.report_rejected(life.app_id, Kind.JS_TICKET, code)
    assert code == life.deployment.code(Kind.JS_TICKET)
    assert life.admin.exists(life.keys.refused) == (name != "reader without complaints")
    with redis.Redis.from_url(as_user(world.redis, name)) as client, pytest.raises(redis.ResponseError):
        client.set(life.keys.value, "x")


@pytest.mark.parametrize("build", EACH[1:])
def test_without_any_one_of_its_rights_a_reader_of_redis_7_does_less(world: World) -> None:
    assert Shop(world, "reader 7").story() == expected("reader 7")
    for right in rights("reader 7"):
        world.redis.flush()
        assert Shop(world, "reader 7", without=right).story() != expected("reader 7"), right


@pytest.mark.parametrize("build", EACH[1:])
def test_a_reader_of_redis_7_cannot_write_what_others_read_nor_see_the_leases(world: World) -> None:
    shop = Shop(world, "reader 7")
    before = {key: shop.admin.dump(key) for key in shop.admin.scan_iter()}
    value, lease, refused = keys_of(Target("app0000", Kind.JS_TICKET))
    with redis.Redis.from_url(shop.url) as client:
        for command in (("SET", value, "x"), ("GET", lease), ("GET", refused), ("DEL", refused), ("EXPIRE", value, 1)):
            with pytest.raises(redis.ResponseError, match="permission"):
                client.execute_command(*command)
    assert {key: shop.admin.dump(key) for key in shop.admin.scan_iter()} == before


# -- the scripts ------------------------------------------------------------------------------------------------------


def _about(ms: int) -> str:
    """A duration up to the next quarter of a minute: what is stored is a few seconds old on a loaded machine.

    A fence may be some milliseconds ahead.
    """
    return f"{math.ceil((ms - 1000) / 15_000) * 15} s"


class Bench:
    """One target, and what the store makes of it, without anything that differs from one time to the next."""

    def __init__(self, server: RedisServer) -> None:
        self.admin: Any = server.client()
        self._client = create_client(RedisUrl.parse(server.url), Policy())
        self.store = RedisStore(self._client, Policy(), "", lambda _seconds: None)
        self.keys = keys_of(TARGET)
        self.held: dict[str, Snapshot] = {}

    def close(self) -> None:
        self._client.close()

    def now_ms(self) -> int:
        seconds, micros = self.admin.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def seen(self) -> Snapshot:
        (snapshot,) = self.store.load([TARGET])
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def acquire(self, attempt: str) -> str:
        acquired = self.store.acquire(self.seen(), attempt, "me")
        self.held[attempt] = acquired.snapshot
        return "held" if acquired.held else "not held"

    def finish(self, attempt: str, outcome: str, code: str = "") -> str:
        now_ms = self.now_ms()
        record = Record(code, now_ms // 1000 + LIFE_S, now_ms // 1000, 1) if code else None
        held = self.held.get(attempt, self.seen())
        held = replace(held, lease=replace(held.lease, attempt=attempt))
        wait_s = None if code else 30
        return self.store.finish(
            held, "me", outcome, outcome, record=record, sent_ms=now_ms, life_s=LIFE_S, wait_s=wait_s, code="a_code"
        )

    def note(self, word: Word, ends_in_s: int | None = None, code: str = "") -> object:
        ends_at = None if ends_in_s is None else self.now_ms() // 1000 + ends_in_s
        noted = self.store.note(self.seen(), word, "me", ends_at=ends_at, superseded=True, code=code)
        return noted and (noted.lease.mark, noted.ttl_ms is None, noted.record is None)

    def state(self) -> dict[str, Any]:
        """Everything stored, with each instant as what it is from now on."""
        now = self.now_ms()

        def said(text: bytes) -> str:
            return re.sub(r"\d{13}", lambda found: _about(int(found[0]) - now), text.decode())

        kinds = {name: self.admin.type(key) for name, key in zip(("value", "lease", "refused"), self.keys, strict=True)}
        lease = self.admin.hgetall(self.keys.lease) if kinds["lease"] == b"hash" else {}
        snapshot = self.seen()
        return {
            "kinds": kinds,
            "record": snapshot.record.code if isinstance(snapshot.record, Record) else repr(snapshot.record),
            "left": _about(snapshot.seconds_left * 1000) if snapshot.live else None,
            "lease": {name.decode(): said(value) for name, value in sorted(lease.items())},
            "ttls": [_about(self.admin.pttl(key)) for key in self.keys],
            "complaint": snapshot.complaint,
        }

    def story(self) -> Iterator[object]:
        """Every branch of the four scripts."""
        yield self.state()
        yield from (self.acquire("a"), self.acquire("a"), self.acquire("b"), self.state())
        yield from (self.finish("b", "issued", "late"), self.finish("b", "refused"), self.state())
        yield from (self.finish("a", "issued", "one"), self.finish("a", "issued", "again"), self.state())
        yield from (self.acquire("c"), self.state(), self.finish("c", "refused"), self.state())
        yield from (self.acquire("d"), self.finish("d", "unknown"), self.finish("d", "unknown"), self.state())
        yield from (self.note(Word.SILENT, code="timeout"), self.note(Word.ALIVE), self.state())
        self.admin.hset(self.keys.lease, "locked_until", 0)
        yield from (self.finish("d", "unknown"), self.acquire("e"), self.finish("e", "refused"), self.state())
        self.admin.set(self.keys.refused, fingerprint("one"), ex=600)
        yield from (self.note(Word.DENIED, code="app_denied"), self.state(), self.note(Word.ALIVE), self.state())
        yield from (self.note(Word.ENDS, 600), self.state(), self.note(Word.REFUSED), self.state())
        self.admin.delete(self.keys.lease)
        yield from (self.finish("g", "issued", "orphan"), self.state())
        self.admin.persist(self.keys.value)
        yield from (bool(self.store.see(self.seen(), "me")), self.state())
        yield from self._of_other_types()

    def _of_other_types(self) -> Iterator[object]:
        for key in self.keys:
            self.admin.delete(key)
            self.admin.lpush(key, "x")
            self.admin.expire(key, 600)
        yield from (bool(self.store.see(self.seen(), "me")), self.state())
        yield from (self.acquire("h"), self.state(), self.finish("h", "issued", "two"), self.state())
        yield from (self.note(Word.ALIVE), self.state())


_told: dict[str, list[object]] = {}


def told_by(build: Build, start_redis: Callable[..., RedisServer]) -> list[object]:
    """What the scripts made of everything on that version."""
    if build.name not in _told:
        bench = Bench(start_redis(program=str(build.program)))
        _told[build.name] = list(bench.story())
        bench.close()
    return _told[build.name]


@each
def test_the_scripts_do_the_same_as_on_the_version_that_all_other_tests_run_on(
    build: Build, start_redis: Callable[..., RedisServer]
) -> None:
    usual = told_by(next(each for each in BUILDS if each.name == EMBEDDED), start_redis)
    assert {"done", "lost", "orphan", "held", "not held"} <= {each for each in usual if isinstance(each, str)}
    assert told_by(build, start_redis) == usual


# -- errors -----------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("breakage", [each for each in BREAKAGES if each not in OF_THE_CONNECTION], ids=str)
def test_what_keeps_a_run_from_its_work_is_told_by_the_same_code(world: World, breakage: Breakage) -> None:
    life = Life(world)
    life.run()
    store = wiring.store(read(life.deployment.environ))
    (before,) = store.load([TARGET])
    assert isinstance(before, Snapshot)
    breakage.spoil(world.redis)
    try:
        with pytest.raises(StoreError) as raised:
            store.acquire(before, "attempt", "me")
        if breakage.unread:
            with pytest.raises(StoreError) as reading:
                store.load([TARGET])
            assert reading.value.code == breakage.code
    finally:
        breakage.mend(world.redis)
    assert raised.value.code == breakage.code
    assert breakage.says in raised.value.what


WRITE, READ_HASH, ELSEWHERE = (
    "return redis.call('SET', KEYS[1], '1', 'PX', 60000)",
    "return redis.call('HGET', KEYS[1], 'field')",
    "return redis.call('GET', ARGV[1])",
)
# How the server is made so, and which error code the answer to a script that writes then has.
STATES: dict[str, tuple[list[tuple[str, ...]], str]] = {
    "over its memory": ([("CONFIG", "SET", "maxmemory", "1")], "redis_out_of_memory"),
    "a replica": ([("REPLICAOF", "127.0.0.1", "1")], "redis_read_only"),
    "a replica that is cut off": (
        [("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "1")],
        "redis_loading",
    ),
    "without enough replicas": ([("CONFIG", "SET", "min-replicas-to-write", "1")], "redis_error"),
}


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(redis.RedisError) as raised:
        call()
    return translated(raised.value).code


@each
@pytest.mark.parametrize("state", STATES)
def test_a_server_in_this_state_is_told_by_the_same_code_inside_of_scripts_and_outside(
    server: RedisServer, state: str
) -> None:
    commands, inside = STATES[state]
    admin = server.client()
    for command in commands:
        admin.execute_command(*command)
    # One that is cut off says first of all that it is a replica.
    outside = "redis_read_only" if inside == "redis_loading" else inside
    assert code_of(lambda: admin.set("key", "1", px=60000)) == outside
    assert code_of(lambda: admin.eval(WRITE, 1, "key")) == inside


@each
def test_whoever_may_not_is_told_by_the_same_code_inside_of_scripts_and_outside(server: RedisServer) -> None:
    password = plant("user")
    server.client().execute_command("ACL", "SETUSER", "user", "on", f">{password}", "~key", "+eval", "+get")
    user = server.client(username="user", password=password)
    for call in (
        lambda: user.set("key", "1"),
        lambda: user.get("other"),
        lambda: user.eval(WRITE, 1, "key"),
        lambda: user.eval(WRITE, 1, "other"),
        lambda: user.eval(ELSEWHERE, 1, "key", "other"),
    ):
        assert code_of(call) == "redis_no_permission"
    wrong = server.client(password=plant("wrong-password"))
    assert code_of(wrong.ping) == "redis_auth"
    assert code_of(server.client(password=None).ping) == "redis_auth"


@each
def test_the_name_of_a_user_which_newer_servers_quote_is_not_taken_for_an_error(server: RedisServer) -> None:
    for name in ("readonly", "loading", "masterdown"):
        password = plant("user")
        server.client().execute_command("ACL", "SETUSER", name, "on", f">{password}", "~key", "+eval")
        user = server.client(username=name, password=password)
        assert code_of(lambda user=user: user.eval(WRITE, 1, "key")) == "redis_no_permission"  # type: ignore[misc]


@each
def test_other_errors_are_told_as_such_without_what_the_server_quotes(server: RedisServer) -> None:
    admin = server.client()
    admin.set("key", "a string", ex=60)
    for call in (
        lambda: admin.hget("key", "field"),
        lambda: admin.eval(READ_HASH, 1, "key"),
        lambda: admin.evalsha("0" * 40, 1, "key"),
        lambda: admin.eval("this is no Lua", 1, "key"),
    ):
        assert code_of(call) == "redis_error"
    assert code_of(lambda: admin.execute_command("NO-SUCH-COMMAND", "key")) == "redis_no_command"


@each
def test_a_code_is_stored_although_the_memory_is_full_and_a_complaint_is_not(world: World) -> None:
    life = Life(world)
    life.run()
    life.grow_old()
    life.admin.config_set("maxmemory", "1")
    assert life.run() == "NEAR_EXPIRY issued, asked 0"
    assert code_of(lambda: life.admin.set(life.keys.refused, "x", px=1000)) == "redis_out_of_memory"


@each
def test_a_server_that_still_reads_its_file_is_told_as_such(server: RedisServer) -> None:
    """It listens after about every thousand commands of its file; each of them takes it 50 us and more."""
    server.client().config_set("appendfsync", "no")
    script = "for n = 1, 1000 do redis.call('SET', KEYS[1] .. n, '', 'EX', 86400) end"
    for n in range(12):
        server.client().eval(script, 1, f"filler-{n}-")
    server.options |= {"key-load-delay": "1", "appendfsync": "no"}
    server.kill()
    server.restart()
    client = server.client(socket_timeout=30)
    codes = set()
    never = threading.Event()
    for _ in range(3000):
        try:
            client.eval("return 1", 1, "key")
            break
        except redis.RedisError as error:
            codes.add(translated(error).code)
        never.wait(0.005)
    assert codes == {"redis_loading"}
    with contextlib.suppress(redis.RedisError):
        client.flushall()
