"""What Redis says is reported as what it means, in the same words by a run, by both readers and by the doctor."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import trustme
from redis.sentinel import MasterNotFoundError

from support.clients import parse_error
from support.command_line import Call, caller
from support.planted import plant
from support.redis_server import RedisServer, closed_port
from support.scripted_redis import OK, ScriptedRedis, says
from support.tables import each_line
from support.tls import TlsFront
from support.topologies import Sentinel
from support.waiting import wait_until
from token_refresher import AsyncReader, Reader
from token_refresher.doctor.checks.redis_server import version
from token_refresher.doctor.examine import examine
from token_refresher.doctor.finding import Severity
from token_refresher.domain.errors import CATALOGUE, NoCredentialError, SettingsError, StoreError, TokenRefresherError
from token_refresher.store.error_meanings import MEANINGS
from token_refresher.store.errors import translated

APP = "app0000"
READS = ("PTTL", "GET")
# What a run, a reader and the doctor send.
ALL = ("EVAL", *READS, "TIME", "INFO", "CONFIG")
WEB = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Stage:
    """Where cases set up their servers."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder

    def server(self, options: dict[str, str] | None = None, password: str = "") -> RedisServer:
        return self.stack.enter_context(RedisServer(options, password=password))

    def scripted(self, answer: Any, behind: int | None = None) -> str:
        port = self.stack.enter_context(ScriptedRedis(answer, behind)).port
        return f"redis://127.0.0.1:{port}/0"

    def saying(self, sentence: str, *commands: str) -> str:
        return self.scripted(says(sentence, *commands))

    def sentinel(self) -> int:
        one = Sentinel(self.server().port, "", quorum=1)
        self.stack.callback(one.stop)
        asking = redis.Redis(port=one.port, protocol=2)
        wait_until("the sentinel answers", lambda: bool(asking.ping()))
        asking.close()
        return one.port

    def tls(self, *names: str, expired: bool = False) -> tuple[int, str]:
        """The port of a server with a certificate for these names, and the path of its authority."""
        authority = trustme.CA()
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
        certificate = authority.issue_cert(*names, not_after=past if expired else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        path = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        front = self.stack.enter_context(TlsFront(self.server().port, context))
        return front.port, quote(str(path))


@dataclass(frozen=True)
class Case:
    """`url` sets the scene and returns the address; `what` and `advice` are in every door's message."""

    name: str
    url: Callable[[Stage], str]
    code: str
    what: str
    advice: str


def at_a_sentinel(login: str = "") -> Callable[[Stage], str]:
    return lambda stage: f"redis://{login}127.0.0.1:{stage.sentinel()}/0"


def with_password(login: str) -> Callable[[Stage], str]:
    def url(stage: Stage) -> str:
        server = stage.server(password=plant("redis"))
        return f"redis://{login.format(wrong=plant('wrong'))}127.0.0.1:{server.port}/0"

    return url


def tls(*names: str, trusted: bool = True, **how: bool) -> Callable[[Stage], str]:
    def url(stage: Stage) -> str:
        port, ca = stage.tls(*names, **how)
        return f"rediss://127.0.0.1:{port}/0" + (f"?ssl_ca_certs={ca}" if trusted else "")

    return url


def said(sentence: str, *commands: str, login: str = "", db: int = 0) -> Callable[[Stage], str]:
    return lambda stage: stage.saying(sentence, *commands).replace("//", f"//{login}")[:-1] + str(db)


def without_eval(stage: Stage) -> str:
    path = stage.folder / "redis.conf"
    path.write_text('rename-command EVAL ""\n')
    return stage.server({"include": str(path)}).url


LISTED, FORM, BASE = "redis_not_white_listed", "redis_wrong_form", "redis_database"
CASES = (
    Case("the white list of ApsaraDB", said("ERR illegal address: 203.0.113.9:4711"), LISTED,
         "does not serve this machine's address", "white list of the Redis instance"),
    Case("another provider's white list", said("ERR Client ip is not in whitelist"), LISTED,
         "does not serve this machine's address", "white list of the Redis instance"),
    Case("protected mode", said("DENIED Redis is running in protected mode because protected mode is enabled"), LISTED,
         "only its own machine", "requirepass"),
    Case("the server has no such database", lambda s: s.server({"databases": "1"}).url[:-2] + "/7", BASE,
         "no database with the number", "storage_redis.db"),
    Case("the proxy of a cluster has no such database", said("ERR invalid DB index", "SELECT", db=3), BASE,
         "no database with the number", "storage_redis.db"),
    Case("a cluster has one database", lambda s: s.server({"cluster-enabled": "yes"}).url[:-2] + "/3", BASE,
         "a cluster has only database 0", "REDIS_URL"),
    Case("a proxy knows no SELECT", said("ERR unknown command 'SELECT'", "SELECT", db=3), BASE,
         "only one database", "REDIS_URL"),
    Case("redis:// at a node of a cluster", said("MOVED 3999 127.0.0.1:6381", "EVAL", *READS), FORM,
         "a node of a cluster", "redis+cluster://"),
    Case("redis:// at a node that hands its slots over", said("ASK 3999 127.0.0.1:6381", "EVAL", *READS), FORM,
         "a node of a cluster", "redis+cluster://"),
    Case("redis:// at a sentinel", at_a_sentinel(), FORM, "a sentinel answers at 127.0.0.1:", "redis+sentinel://"),
    Case("redis:// with a password at a sentinel", at_a_sentinel(":needless@"), FORM,
         "a sentinel answers at 127.0.0.1:", "redis+sentinel://"),
    Case("redis+sentinel:// at a server", lambda s: f"redis+sentinel://127.0.0.1:{s.server().port}/main/0", FORM,
         "a Redis server answers at 127.0.0.1:", "redis://"),
    Case("redis+sentinel:// at a server with a password",
         lambda s: f"redis+sentinel://127.0.0.1:{s.server(password=plant('redis')).port}/main/0", FORM,
         "a Redis server answers at 127.0.0.1:", "redis://"),
    Case("sentinels with a password", lambda s: s.saying("NOAUTH Authentication required.").replace(
        "redis://", "redis+sentinel://").replace("/0", "/main/0"), "redis_auth",
         "Redis Sentinel at 127.0.0.1:", "sentinel_password"),
    Case("sentinels that know no such name", lambda s: f"redis+sentinel://127.0.0.1:{s.sentinel()}/nobody/0",
         "redis_unreachable", "knows no working primary named nobody", "SENTINEL MASTERS"),
    Case("sentinels of which one is down, and that know no such name",
         lambda s: f"redis+sentinel://127.0.0.1:{closed_port()},127.0.0.1:{s.sentinel()}/nobody/0",
         "redis_unreachable", "knows no working primary named nobody (not reached: 127.0.0.1:", "the primary's name"),
    Case("redis+cluster:// at a server", lambda s: f"redis+cluster://127.0.0.1:{s.server().port}", FORM,
         "not a cluster", "redis://"),
    Case("ApsaraDB of old wants one word",
         said("ERR AUTH Authentication password incomplete.The password is instanceid:password, example: 0571:123456."),
         "redis_auth", "wants an account", "ACCOUNT:PASSWORD"),
    Case("no password is given", with_password(""), "redis_auth", "asks for a password, and none is given", "auth"),
    Case("a wrong password", with_password(":{wrong}@"), "redis_auth", "did not accept the login",
         "correct the password"),
    Case("a password where none is set", lambda s: s.server().url.replace("//", "//:needless@"), "redis_auth",
         "it has no password, and one is given", "take the password out"),
    Case("a server of old has no password",
         said("ERR Client sent AUTH, but no password is set", "AUTH", login=":needless@"), "redis_auth",
         "it has no password, and one is given", "take the password out"),
    Case("a certificate for another name", tls("redis.example"), "redis_tls", "is for another name",
         "the name that the certificate has"),
    Case("an authority that is not trusted", tls("127.0.0.1", trusted=False), "redis_tls", "an authority",
         "ssl_ca_certs"),
    Case("a certificate out of date", tls("127.0.0.1", expired=True), "redis_tls", "out of date", "clock"),
    Case("Redis is full of connections", said("ERR max number of clients reached"), "redis_unreachable",
         "as many connections as it allows", "maxclients"),
    Case("a web server", lambda s: s.scripted(lambda _: WEB), "redis_unreachable",
         "what answers there is not Redis", "host and port in REDIS_URL"),
    Case("nobody listens", lambda _: f"redis://127.0.0.1:{closed_port()}/0", "redis_unreachable",
         "nothing listens there", "host and port in REDIS_URL"),
    Case("no such host", lambda _: "redis://redis.invalid:6379/0", "redis_unreachable",
         "the host name redis.invalid cannot be resolved", "correct host and port in REDIS_URL"),
)  # fmt: skip
# What a reader does not come to see, since it runs no scripts and only reads.
OF_RUNS = (
    Case("EVAL is renamed", without_eval, "redis_no_command",
         "does not know the command EVAL", "Redis 5.0 or newer"),
    Case("EVAL is unknown", said("ERR unknown command `EVAL`, with args beginning with: `x`, ", "EVAL"),
         "redis_no_command", "does not know the command EVAL", "Redis 5.0 or newer"),
    Case("the account may not EVAL", said("NOPERM this user has no permissions to run the 'eval' command", "EVAL"),
         "redis_no_permission", "may not run EVAL", "+eval"),
    Case("an account of ApsaraDB may not EVAL", said("ERR command eval not support for normal user", "EVAL"),
         "redis_no_permission", "may not run EVAL", "+eval"),
    Case("the disk of Redis is full", said("MISCONF Redis is configured to save RDB snapshots, but", "EVAL"),
         "redis_error", "takes no writes (MISCONF)", "provider"),
    Case("another client's script runs", said("BUSY Redis is busy running a script.", "EVAL"),
         "redis_error", "(BUSY)", "SCRIPT KILL"),
)  # fmt: skip
each_of_all = pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in (*CASES, *OF_RUNS)])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, tmp_path)


@pytest.fixture
def environ() -> dict[str, str]:
    base = f"http://127.0.0.1:{closed_port()}"
    return {"APP_ID": APP, "APP_SECRET": plant("secret"), "PLATFORM_BASE_URL": base, "POLICY_REDIS_TIMEOUT_S": "1"}


@pytest.fixture
def call(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(environ, capsys)


# -- the same in every door -------------------------------------------------------------------------------------------


@each_of_all
def test_every_door_says_what_happened_and_what_to_do(
    case: Case, stage: Stage, call: Call, environ: dict[str, str]
) -> None:
    url = case.url(stage)
    ended = call("refresh", REDIS_URL=url)
    assert ended.code == 4
    assert ended.err.startswith(f"error: {case.code}: ")
    assert case.what in ended.err
    assert case.advice in ended.err.partition("What to do: ")[2]
    found = examine(environ | {"REDIS_URL": url})
    red = [finding for finding in found if finding.severity is Severity.RED and not finding.name.startswith("platform")]
    assert any(case.what in finding.says and case.advice in finding.fix for finding in red), red
    if case in OF_RUNS:
        return
    for error in (read_error(url), asyncio.run(async_read_error(url))):
        assert case.what in error.what
        assert case.advice in error.advice


def read_error(url: str) -> TokenRefresherError:
    """What Reader raises at this address."""
    with pytest.raises((NoCredentialError, StoreError)) as raised, Reader.from_url(url) as reader:
        reader.js_ticket(APP)
    return raised.value


async def async_read_error(url: str) -> TokenRefresherError:
    """What AsyncReader raises at this address."""
    with pytest.raises((NoCredentialError, StoreError)) as raised:
        async with AsyncReader.from_url(url) as reader:
            await reader.js_ticket(APP)
    return raised.value


def test_a_message_names_host_and_port(call: Call) -> None:
    port = closed_port()
    assert f"at 127.0.0.1:{port}" in call("refresh", REDIS_URL=f"redis://127.0.0.1:{port}/0").err


# -- accounts in one word ---------------------------------------------------------------------------------------------


def of_old(words: list[str]) -> bytes | None:
    """A server before 6.0: AUTH takes a password alone."""
    if words[0].upper() == "AUTH" and len(words) > 2:
        return b"-ERR wrong number of arguments for 'auth' command\r\n"
    return None


def login(server: RedisServer, user: str, password: str, stage: Stage, answer: Any = of_old) -> tuple[Any, list[str]]:
    """What Reader and AsyncReader find, and the single words with which they tried to log in."""
    with ScriptedRedis(answer, server.port) as old:
        url = f"redis://{user}:{quote(password, safe='')}@127.0.0.1:{old.port}/0"
        found: list[Any] = []
        with Reader.from_url(url) as reader:
            found.append(raised_by(lambda: reader.js_ticket(APP)))

        async def read() -> None:
            async with AsyncReader.from_url(url) as reader:
                await reader.js_ticket(APP)

        found.append(raised_by(lambda: asyncio.run(read())))
        assert found[0] == found[1]
        return found[0], [words[1] for words in old.commands if words[0] == "AUTH" and len(words) == 2]


def raised_by(action: Callable[[], object]) -> str:
    try:
        action()
    except NoCredentialError as error:
        return error.store_error.code if error.store_error else "logged in"
    return "logged in"


def test_an_account_and_its_password_in_one_word_come_first(stage: Stage) -> None:
    password = plant("account")
    server = stage.server(password=f"shop:{password}")
    found, tried = login(server, "shop", password, stage)
    assert found == "logged in"
    assert tried == [f"shop:{password}"] * 2


def test_the_password_alone_comes_last(stage: Stage) -> None:
    password = plant("default")
    found, tried = login(stage.server(password=password), "default", password, stage)
    assert found == "logged in"
    assert tried[:2] == [f"default:{password}", password]


def test_where_neither_is_right_the_login_is_what_failed(stage: Stage) -> None:
    found, _ = login(stage.server(password=plant("other")), "shop", plant("account"), stage)
    assert found == "redis_auth"


def test_an_instance_that_calls_the_password_incomplete_gets_one_word(stage: Stage) -> None:
    password = plant("account")

    def incomplete(words: list[str]) -> bytes | None:
        if words[0] == "AUTH" and ":" not in words[-1]:
            return b"-ERR AUTH Authentication password incomplete.The password is instanceid:password\r\n"
        return None

    server = stage.server(password=f"r-1:{password}")
    assert login(server, "r-1", password, stage, incomplete)[0] == "logged in"


def test_a_connection_that_is_lost_during_the_login_sends_no_further_word(stage: Stage) -> None:
    password = plant("redis")

    def loses_it(words: list[str]) -> bytes | None:
        if words[0] == "AUTH" and len(words) == 2:
            raise ConnectionResetError
        return of_old(words)

    server = stage.server(password=password)
    found, tried = login(server, "default", password, stage, loses_it)
    assert (found, set(tried)) == ("redis_unreachable", {f"default:{password}"})


def test_newer_servers_are_sent_no_single_word(stage: Stage) -> None:
    password = plant("redis")
    found, tried = login(stage.server(password=password), "default", password, stage, lambda words: None)
    assert (found, tried) == ("logged in", [])


# -- settings ---------------------------------------------------------------------------------------------------------


@each_line(
    ("url", "what"),
    [
        ("redis://{}@host:6379/0", "colon before its password"),
        ("rediss://{}@host:6379/0", "colon before its password"),
        ("redis+sentinel://{}@host/main", "colon before its password"),
        ("unix://{}@/run/redis.sock", "colon before its password"),
        ("rediss://:{}@host?ssl_ca_certs=/nowhere/ca.pem", "a file that exists as its option ssl_ca_certs"),
        ("rediss://:{}@host?ssl_certfile=/nowhere/c.pem", "a file that exists as its option ssl_certfile"),
        ("rediss://:{}@host?ssl_ca_certs=/proc/self/status", "CA certificates (PEM) as its option ssl_ca_certs"),
        ("rediss://:{}@host?ssl_certfile=/proc/self/status", "ssl_certfile and ssl_keyfile"),
        ("rediss://:{}@host?ssl_keyfile=/proc/self/status", "ssl_certfile beside ssl_keyfile"),
        ("rediss://:{}@host?ssl_cert_reqs=none", "the option ssl_cert_reqs, which is not accepted"),
        ("rediss://:{}@host?ssl_ca_cert=/x", "did you mean ssl_ca_certs?"),
        ("redis://:{}@host?socket_timeout=3", "the option socket_timeout: no options are accepted with redis://"),
        ("redis://:{}@host?ssl_ca_certs=/x", "begin with rediss:// to have the option ssl_ca_certs"),
        ("redis://:{}@host?db=3", "write the database's number after the host"),
        ("rediss://:{}@host?ssl_ca_certs=", "its option ssl_ca_certs a value"),
        ("redis://:{0}@host?{0}=1", "its name is not shown"),
        ("redis+sentinel://:{}@host", "must name the primary"),
        ("redis+sentinel://:{}@host/main/first", "after the primary's name"),
        ("redis+cluster://:{}@host/3", "a cluster has only database 0"),
        ("redis://:{}@host/0#x", "must not have a part after #"),
    ],
)
def test_an_address_that_cannot_work_is_a_mistake_in_the_settings(
    url: str, what: str, call: Call, environ: dict[str, str]
) -> None:
    address = url.format(plant("Pass-W0rd"))
    ended = call("refresh", REDIS_URL=address)
    assert ended.code == 3
    assert what in ended.err
    assert "REDIS_URL must" in ended.err
    for make in (Reader.from_url, AsyncReader.from_url):
        with pytest.raises(SettingsError) as raised:
            make(address)
        assert what in raised.value.what
    found = [each for each in examine(environ | {"REDIS_URL": address}) if each.severity is Severity.RED]
    assert any(what in each.says and each.name == "settings" for each in found)


# -- the doctor, and the words themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.3"},
         "Valkey 8.1.3 (compatible with Redis 7.2.4)"),
        ({"redis_version": "7.4.0", "server_name": "redis"}, "7.4.0"),
        ({"redis_version": "6.2.14"}, "6.2.14"),
        ({"redis_version": "7.0.15", "server_name": "\x1b[31m", "\x1b[31m_version": "1"}, "7.0.15"),
    ],
)  # fmt: skip
def test_a_fork_shows_its_own_version(info: dict[str, Any], says: str) -> None:
    assert version(info).says == says


def test_no_advice_points_at_a_log_that_a_managed_instance_does_not_have() -> None:
    of_redis = [entry.advice for code, entry in CATALOGUE.items() if code.startswith("redis_")]
    for advice in (*of_redis, *(meaning.advice for meaning in MEANINGS)):
        assert " log" not in advice
        assert len(advice) < 130


@each_line(
    ("sentence", "code"),
    [
        ("ERR unknown command `EVAL`, with args beginning with: `READONLY OOM WRONGPASS`", "redis_no_command"),
        ("NOPERM User illegal address has no permissions to run the 'eval' command", "redis_no_permission"),
        ("ERR Error running script (call to f_1): @user_script:1: OOM command not allowed", "redis_out_of_memory"),
        ("ERR Unknown Redis command called from script script: 1", "redis_no_command"),
        ("ERR something else", "redis_error"),
        ("ERR ask your administrator who moved the key", "redis_error"),
    ],
)
def test_words_that_a_server_quotes_decide_nothing(sentence: str, code: str) -> None:
    assert translated(parse_error(sentence)).code == code


@each_line(
    ("said", "code"),
    [
        ("AuthenticationError('Authentication required.')", "redis_auth"),
        ("AuthenticationError('invalid username-password pair or user is disabled.')", "redis_auth"),
        (
            "AuthenticationError('AUTH <password> called without any password configured for the default user.')",
            "redis_auth",
        ),
        ("TimeoutError('Timeout reading from socket')", "redis_timeout"),
        ("BusyLoadingError('Redis is loading the dataset in memory')", "redis_loading"),
        ("ConnectionError('Connection closed by server.')", "redis_unreachable"),
        ("TimeoutError('')", "redis_unreachable"),
    ],
)
def test_of_what_sentinels_said_the_words_count_and_not_the_classes_that_redis_py_names(said: str, code: str) -> None:
    error = MasterNotFoundError(f"No master found for 'main' : Redis<ConnectionPool<x>> - {said}")
    assert translated(error).code == code


def test_the_fake_answers_as_it_is_told() -> None:
    with ScriptedRedis(lambda words: OK if words[0] == "PING" else b"-ERR no\r\n") as fake:
        client = redis.Redis(port=fake.port, protocol=2, lib_name=None, lib_version=None)
        with pytest.raises(redis.ResponseError):
            client.get("x")
        client.close()
