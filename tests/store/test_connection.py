"""From a URL to a client with time limits, and from Redis's many errors to one that says what to do."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from support.clients import parse_error
from support.planted import plant
from support.redis_server import RedisServer, closed_port
from support.tables import each_line
from support.tcp_proxy import Act, TcpProxy
from support.tls import Certificates, TlsFront
from token_refresher.domain.errors import CATALOGUE, SettingsError, StoreError
from token_refresher.domain.model import Kind, Snapshot, Target
from token_refresher.domain.policy import Policy
from token_refresher.reader.base import redis_url
from token_refresher.store.connection import create_client
from token_refresher.store.errors import translated
from token_refresher.store.redis_store import RedisStore

TIMEOUT_S = 0.3
POLICY = Policy(redis_timeout_s=TIMEOUT_S)
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
# What a password may hold, and a URL only percent-encoded.
ODD = "p@ss/wörd:?#%+ 猿"

Open = Callable[[str], Any]


@pytest.fixture
def open_url() -> Iterator[Open]:
    """A client for this URL; closed after the test."""
    clients: list[Any] = []

    def open_one(url: str) -> Any:
        clients.append(create_client(redis_url(url), POLICY))
        return clients[-1]

    yield open_one
    for client in clients:
        client.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


def store_on(client: Any) -> RedisStore:
    return RedisStore(client, POLICY, "", lambda _seconds: None)


def loads(client: Any) -> bool:
    return isinstance(store_on(client).load([TARGET])[0], Snapshot)


def add_user(server: RedisServer, name: str, password: str, *rights: str) -> None:
    server.client().execute_command("ACL", "SETUSER", name, "on", f">{password}", *(rights or ("+@all", "~*")))


class TestOneServer:
    def test_without_a_login(self, redis_server: RedisServer, open_url: Open) -> None:
        assert loads(open_url(f"redis://127.0.0.1:{redis_server.port}"))

    def test_with_a_password_of_any_characters(self, start_redis: Callable[..., RedisServer], open_url: Open) -> None:
        server = start_redis(password=plant("redis", ODD))
        assert loads(open_url(server.url))

    def test_with_a_user_and_a_password_of_any_characters(
        self, start_redis: Callable[..., RedisServer], open_url: Open
    ) -> None:
        server, password = start_redis(password=plant("default-user")), plant("user", ODD)
        add_user(server, "us:er@1", password)
        client = open_url(f"redis://{quote('us:er@1', safe='')}:{quote(password, safe='')}@127.0.0.1:{server.port}/0")
        assert client.acl_whoami() in (b"us:er@1", "us:er@1")
        assert loads(client)

    @pytest.mark.parametrize("db", [0, 5, 15])
    def test_in_another_database(self, db: int, redis_server: RedisServer, open_url: Open) -> None:
        open_url(f"redis://127.0.0.1:{redis_server.port}/{db}").set("here", "x", ex=60)
        assert redis_server.client(db=db).get("here") == b"x"

    def test_over_a_socket_file(self, start_redis: Callable[..., RedisServer], open_url: Open) -> None:
        server = start_redis(password=plant("redis", ODD))
        assert loads(open_url(server.unix_url))

    def test_over_a_socket_file_as_a_user_in_another_database(
        self, start_redis: Callable[..., RedisServer], open_url: Open
    ) -> None:
        server, password = start_redis(), plant("user", ODD)
        add_user(server, "me", password)
        client = open_url(f"unix://me:{quote(password, safe='')}@{server.unix_socket}?db=3")
        client.set("here", "x", ex=60)
        assert server.client(db=3).get("here") == b"x"

    def test_nothing_is_sent_before_something_is_asked(self, proxy: TcpProxy, open_url: Open) -> None:
        open_url(proxy.url())
        assert (proxy.connections, proxy.commands) == (0, 0)

    def test_a_new_connection_costs_no_command_of_its_own(self, proxy: TcpProxy, open_url: Open) -> None:
        open_url(proxy.url()).ping()
        assert proxy.commands == 1


OPTIONS = {
    "SO_KEEPALIVE": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "TCP_KEEPIDLE": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "TCP_KEEPCNT": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
}


class NewerConnection(redis.connection.Connection):
    """What newer releases of redis-py do: they ask for keep-alive by themselves."""

    def __init__(self, *args: Any, **options: Any) -> None:
        newer = {"socket_keepalive": True, "socket_keepalive_options": {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPCNT: 3}}
        super().__init__(*args, **(newer | options))  # type: ignore[no-untyped-call]


class TestKeepAlive:
    """Sandboxes refuse socket options, and redis-py cannot connect where one that it asks for is refused."""

    @pytest.mark.parametrize(
        ("refused", "kept"),
        [
            ([], {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPCNT": 3}),
            (["TCP_KEEPIDLE"], {"SO_KEEPALIVE": 1, "TCP_KEEPCNT": 3}),
            (["SO_KEEPALIVE"], {"SO_KEEPALIVE": 0}),
        ],
        ids=["nothing", "one number", "all of it"],
    )
    def test_what_the_kernel_refuses_is_left_out_and_the_rest_is_asked_for(
        self,
        refused: list[str],
        kept: dict[str, int],
        redis_server: RedisServer,
        open_url: Open,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        plain, denied = socket.socket.setsockopt, [OPTIONS[name] for name in refused]

        def setsockopt(sock: socket.socket, level: int, option: int, value: Any) -> None:
            if (level, option) in denied:
                raise OSError(errno.ENOPROTOOPT, "Protocol not available")
            plain(sock, level, option, value)

        monkeypatch.setattr(redis.connection, "Connection", NewerConnection)
        monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
        client = open_url(f"redis://127.0.0.1:{redis_server.port}")
        assert loads(client)
        connection = client.connection_pool.get_connection()
        assert {name: connection._sock.getsockopt(*OPTIONS[name]) for name in kept} == kept
        client.connection_pool.release(connection)


class TestTls:
    """The embedded redis-server is built without TLS, so something that speaks it stands before it."""

    @pytest.fixture
    def certificates(self, tmp_path: Path) -> Certificates:
        return Certificates(tmp_path)

    @pytest.fixture
    def front(self, redis_server: RedisServer, certificates: Certificates) -> Iterator[TlsFront]:
        with TlsFront(redis_server.port, certificates.context(ask_for_client=False)) as front:
            yield front

    @pytest.fixture
    def strict_front(self, redis_server: RedisServer, certificates: Certificates) -> Iterator[TlsFront]:
        with TlsFront(redis_server.port, certificates.context(ask_for_client=True)) as front:
            yield front

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_the_server_is_verified_against_the_authority_named(
        self, host: str, front: TlsFront, certificates: Certificates, open_url: Open
    ) -> None:
        assert loads(open_url(f"rediss://{host}:{front.port}/0?ssl_ca_certs={quote(str(certificates.ca))}"))

    def test_a_server_of_an_unknown_authority_is_not_talked_to(self, front: TlsFront, open_url: Open) -> None:
        with pytest.raises(StoreError) as raised:
            loads(open_url(f"rediss://127.0.0.1:{front.port}/0"))
        assert raised.value.code == "redis_tls"

    def test_a_certificate_for_another_host_is_not_accepted(
        self, redis_server: RedisServer, certificates: Certificates, open_url: Open
    ) -> None:
        certificates.server = certificates.authority.issue_cert("elsewhere.invalid")
        with TlsFront(redis_server.port, certificates.context(ask_for_client=False)) as front:
            client = open_url(f"rediss://127.0.0.1:{front.port}/0?ssl_ca_certs={quote(str(certificates.ca))}")
            with pytest.raises(StoreError) as raised:
                loads(client)
        assert raised.value.code == "redis_tls"

    def test_a_client_shows_its_certificate(
        self, strict_front: TlsFront, certificates: Certificates, open_url: Open
    ) -> None:
        files = {"ssl_ca_certs": certificates.ca, "ssl_certfile": certificates.cert, "ssl_keyfile": certificates.key}
        query = "&".join(f"{name}={quote(str(path))}" for name, path in files.items())
        assert loads(open_url(f"rediss://127.0.0.1:{strict_front.port}/0?{query}"))

    def test_a_client_without_one_is_turned_away(
        self, strict_front: TlsFront, certificates: Certificates, open_url: Open
    ) -> None:
        ca = quote(str(certificates.ca))
        with pytest.raises(StoreError) as raised:
            loads(open_url(f"rediss://127.0.0.1:{strict_front.port}/0?ssl_ca_certs={ca}"))
        # The alert may be overtaken by the end of the connection.
        assert raised.value.code in ("redis_tls", "redis_unreachable")

    def test_tls_towards_a_server_that_speaks_none_ends_in_time(
        self, redis_server: RedisServer, open_url: Open
    ) -> None:
        with pytest.raises(StoreError):
            loads(open_url(f"rediss://127.0.0.1:{redis_server.port}/0"))

    def test_a_file_that_is_not_there_is_told(self, front: TlsFront, open_url: Open) -> None:
        with pytest.raises((StoreError, SettingsError)):
            loads(open_url(f"rediss://127.0.0.1:{front.port}/0?ssl_ca_certs=/nowhere/ca.pem"))


class TestTimeLimits:
    def limits(self, client: Any) -> tuple[object, object, int]:
        made = client.connection_pool.make_connection()
        return made.socket_timeout, made.socket_connect_timeout, made.retry._retries

    @pytest.mark.parametrize(
        "url",
        [
            "redis://127.0.0.1:1/0",
            "rediss://127.0.0.1:1/0",
            "unix:///nowhere/redis.sock",
            "redis+sentinel://127.0.0.1:1/mymaster/0",
            "rediss+sentinel://user:pass@127.0.0.1:1,localhost:2/mymaster",
        ],
    )
    def test_every_connection_has_them_and_none_is_retried_by_the_library(self, url: str, open_url: Open) -> None:
        assert self.limits(open_url(url)) == (TIMEOUT_S, TIMEOUT_S, 0)

    def test_the_connections_to_sentinels_have_them_too(self, open_url: Open) -> None:
        client = open_url("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster/0")
        sentinels = client.connection_pool.sentinel_manager.sentinels
        assert [self.limits(each) for each in sentinels] == [(TIMEOUT_S, TIMEOUT_S, 0)] * 2

    def test_on_a_silent_server_a_command_goes_out_once(self, proxy: TcpProxy, open_url: Open) -> None:
        client = open_url(proxy.url())
        proxy.script(Act.DROP_REPLY)
        with pytest.raises(redis.TimeoutError):
            client.set("key", "value", ex=60)
        assert (proxy.commands, proxy.connections) == (1, 1)

    def test_on_a_frozen_server_everything_ends_in_time_and_is_repeated_once(
        self, start_redis: Callable[..., RedisServer], open_url: Open
    ) -> None:
        server = start_redis()
        with TcpProxy(server.port) as proxy:
            store = store_on(open_url(proxy.url()))
            store.load([TARGET])
            server.pause()
            before = proxy.commands
            with pytest.raises(StoreError) as raised:
                store.load([TARGET])
            assert raised.value.code == "redis_timeout"
            assert proxy.commands == before + 2
            with pytest.raises(StoreError):
                store.acquire(Snapshot(TARGET, 0, None), "a", "me")
            assert proxy.commands == before + 4

    def test_a_host_that_does_not_answer_at_all_ends_in_time(self, open_url: Open) -> None:
        """A listener whose queue is full lets a connection hang."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            port = listener.getsockname()[1]
            with contextlib.ExitStack() as fillers:
                for _ in range(4):
                    filler = fillers.enter_context(socket.socket())
                    filler.setblocking(False)
                    filler.connect_ex(("127.0.0.1", port))
                with pytest.raises(StoreError) as raised:
                    loads(open_url(f"redis://127.0.0.1:{port}/0"))
        assert raised.value.code == "redis_timeout"

    def test_a_port_without_tls_is_named_as_the_likeliest_cause_of_a_silent_handshake(
        self, redis_server: RedisServer, open_url: Open
    ) -> None:
        with pytest.raises(StoreError) as raised:
            loads(open_url(f"rediss://127.0.0.1:{redis_server.port}/0"))
        assert raised.value.code == "redis_timeout"
        assert "TLS handshake" in raised.value.what
        assert "write redis:// instead of rediss://" in raised.value.advice

    def test_an_unreachable_cluster_is_told_at_once(self) -> None:
        with pytest.raises(StoreError) as raised:
            create_client(redis_url(f"redis+cluster://127.0.0.1:{closed_port()},127.0.0.1:{closed_port()}"), POLICY)
        assert raised.value.code == "redis_unreachable"

    def test_unreachable_sentinels_are_told(self, open_url: Open) -> None:
        client = open_url(f"redis+sentinel://127.0.0.1:{closed_port()},127.0.0.1:{closed_port()}/mymaster/0")
        with pytest.raises(StoreError) as raised:
            loads(client)
        assert raised.value.code == "redis_unreachable"


BAD_URLS = [
    "",
    "{}",
    "http://user:{}@host:6379",
    "memcached://:{}@host",
    "redis://:{}@host:port/0",
    "redis://:{}@host:99999999/0",
    "redis://:{}@[::1/0",
    "redis+sentinel://:{}@host:26379",
    "redis+sentinel://:{}@host:26379/",
    "redis+sentinel://:{}@host:port/mymaster/0",
    "redis+sentinel://:{}@host:26379/mymaster/first",
    "redis+sentinel://:{}@[::1/mymaster",
    "redis+cluster://:{}@host:port",
    "redis+cluster://:{}@[::1",
    "redis://:{}@host:6379/0?ssl_ca_certs",
    "redis://:{}@host:6379/0?no_such_option=1",
    "redis://:{}@host:6379/0?socket_timeout=soon",
]


class TestBadUrls:
    @each_line("form", BAD_URLS)
    def test_they_are_told_without_the_url(self, form: str, no_secrets: Callable[[object], None]) -> None:
        secret = plant("in-a-bad-url")
        url = form.format(secret)
        with pytest.raises((SettingsError, StoreError)) as raised:
            # What cannot be known before is told at the first use, and not by an error of the library.
            loads(create_client(redis_url(url), POLICY))
        no_secrets(str(raised.value))
        no_secrets("".join(traceback.format_exception(raised.type, raised.value, raised.tb)))
        no_secrets(repr(vars(raised.value)))

    @each_line("form", [form for form in BAD_URLS if "?" not in form])
    def test_what_is_no_form_of_the_table_is_a_mistake_in_the_settings(self, form: str) -> None:
        with pytest.raises(SettingsError):
            redis_url(form.format(plant("in-a-bad-url")))


class TestTranslation:
    """Every error of a real server becomes a StoreError with the right error code, and no secret in its chain."""

    def failure(self, action: Callable[[], object], no_secrets: Callable[[object], None]) -> StoreError:
        with pytest.raises(StoreError) as raised:
            action()
        error = raised.value
        no_secrets("".join(traceback.format_exception(raised.type, error, raised.tb)))
        # Loggers that walk the chain by themselves do not ask whether it is suppressed.
        link: BaseException | None = error
        while link is not None:
            no_secrets(str(link))
            link = link.__cause__ or link.__context__
        assert error.what
        assert error.code in CATALOGUE
        assert 10 < len(error.advice) < 140
        return error

    @pytest.fixture
    def failing(self, no_secrets: Callable[[object], None], open_url: Open) -> Callable[[str], StoreError]:
        def fail(url: str, *, write: bool = False) -> StoreError:
            store = store_on(open_url(url))
            if write:
                return self.failure(lambda: store.acquire(Snapshot(TARGET, 0, None), "a", "me"), no_secrets)
            return self.failure(lambda: store.load([TARGET]), no_secrets)

        return fail

    def test_no_login_where_one_is_needed(
        self, start_redis: Callable[..., RedisServer], failing: Callable[..., StoreError]
    ) -> None:
        server = start_redis(password=plant("redis"))
        assert failing(f"redis://127.0.0.1:{server.port}/0").code == "redis_auth"

    @pytest.mark.parametrize("user", ["", "somebody", "default"])
    def test_a_wrong_login(
        self, user: str, start_redis: Callable[..., RedisServer], failing: Callable[..., StoreError]
    ) -> None:
        server = start_redis(password=plant("redis"))
        error = failing(f"redis://{user}:{plant('wrong')}@127.0.0.1:{server.port}/0")
        assert error.code == "redis_auth"
        assert not error.retryable

    def test_a_password_where_none_is_set(self, redis_server: RedisServer, failing: Callable[..., StoreError]) -> None:
        error = failing(f"redis://:{plant('needless')}@127.0.0.1:{redis_server.port}/0")
        assert error.code == "redis_auth"

    @pytest.mark.parametrize(
        "rights",
        [
            ("+@all", "-eval", "~*"),
            ("+@all",),
            ("+@all", "~other*"),
            ("+@all", "-time", "~*"),
            ("+@all", "-get", "~*"),
            ("+@all", "-hgetall", "~*"),
            ("-@all", "~*"),
        ],
        ids=" ".join,
    )
    def test_a_user_without_the_rights(
        self,
        rights: tuple[str, ...],
        start_redis: Callable[..., RedisServer],
        failing: Callable[..., StoreError],
    ) -> None:
        server, password = start_redis(), plant("user")
        add_user(server, "limited", password, *rights)
        error = failing(f"redis://limited:{password}@127.0.0.1:{server.port}/0", write=True)
        assert error.code == "redis_no_permission"

    def test_a_replica(self, start_redis: Callable[..., RedisServer], failing: Callable[..., StoreError]) -> None:
        server = start_redis()
        server.client().execute_command("REPLICAOF", "127.0.0.1", "1")
        assert failing(server.url, write=True).code == "redis_read_only"

    def test_a_replica_that_waits_for_its_primary(
        self, start_redis: Callable[..., RedisServer], failing: Callable[..., StoreError]
    ) -> None:
        server = start_redis({"replica-serve-stale-data": "no"})
        server.client().execute_command("REPLICAOF", "127.0.0.1", "1")
        assert failing(server.url).code == "redis_loading"

    def test_a_server_without_memory(
        self, start_redis: Callable[..., RedisServer], no_secrets: Callable[[object], None], open_url: Open
    ) -> None:
        server = start_redis({"maxmemory": "1", "maxmemory-policy": "noeviction"})
        client = open_url(server.url)

        def write() -> None:
            try:
                client.eval("return redis.call('SET', KEYS[1], ARGV[1], 'EX', 60)", 1, "key", plant("value"))
            except redis.RedisError as error:
                raise translated(error) from None

        error = self.failure(write, no_secrets)
        assert error.code == "redis_out_of_memory"

    @each_line(
        ("text", "code"),
        [
            # A server before 7 wraps what happens in a script, later ones do not; some have words of their own.
            ("OOM command not allowed when used memory > 'maxmemory'.", "redis_out_of_memory"),
            ("OOM command not allowed when used memory > 'maxmemory'. script: 1, on @user:1.", "redis_out_of_memory"),
            ("ERR Error running script: @user_script:1: -OOM command not allowed", "redis_out_of_memory"),
            ("READONLY You can't write against a read only replica.", "redis_read_only"),
            ("READONLY You can't write against a read only replica. script: 1, on @user_script:1.", "redis_read_only"),
            ("READONLY You can't write against a read only slave.", "redis_read_only"),
            ("ERR Error running script: @user_script:1: -READONLY You can't write against a read", "redis_read_only"),
            ("NOPERM this user has no permissions to run the 'eval' command", "redis_no_permission"),
            ("NOPERM User limited has no permissions to run the 'eval' command", "redis_no_permission"),
            ("ERR ACL failure in script: User me has no permissions to run the 'time' command", "redis_no_permission"),
            ("NOPERM ACL failure in script: User me has no permissions to access one of", "redis_no_permission"),
            ("NOAUTH Authentication required.", "redis_auth"),
            ("WRONGPASS invalid username-password pair or user is disabled.", "redis_auth"),
            ("ERR invalid password", "redis_auth"),
            ("ERR AUTH <password> called without any password configured", "redis_auth"),
            ("LOADING Redis is loading the dataset in memory", "redis_loading"),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "redis_loading"),
            ("CLUSTERDOWN The cluster is down", "redis_loading"),
            ("CLUSTERDOWN Hash slot not served", "redis_loading"),
        ],
    )
    def test_every_wording_of_servers_old_and_new(self, text: str, code: str) -> None:
        error = parse_error(text)
        assert translated(error).code == code

    @pytest.mark.parametrize("word", ["BUSY", "MISCONF", "NOREPLICAS", "CROSSSLOT", "TRYAGAIN"])
    def test_what_is_rare_is_told_by_its_first_word(self, word: str) -> None:
        error = translated(parse_error(f"{word} and more that may quote a credential"))
        assert error.code in ("redis_error", "redis_loading")
        assert "quote" not in str(error)
        if word not in redis._parsers.BaseParser.EXCEPTION_CLASSES:
            assert word in error.what

    def test_an_error_that_quotes_its_arguments_is_not_quoted(
        self, redis_server: RedisServer, no_secrets: Callable[[object], None], open_url: Open
    ) -> None:
        code = plant("code")
        client = open_url(redis_server.url)

        def fail() -> None:
            try:
                client.execute_command(code, code)
            except redis.RedisError as error:
                raise translated(error) from None

        with pytest.raises(StoreError) as raised:
            fail()
        no_secrets("".join(traceback.format_exception(raised.type, raised.value, raised.tb)))
        assert raised.value.code == "redis_no_command"

    def test_a_refused_connection(self, failing: Callable[..., StoreError]) -> None:
        error = failing(f"redis://:{plant('redis')}@127.0.0.1:{closed_port()}/0")
        assert error.code == "redis_unreachable"
        assert error.retryable

    def test_a_socket_file_that_is_not_there(self, failing: Callable[..., StoreError], tmp_path: Path) -> None:
        assert failing(f"unix://:{plant('redis')}@{tmp_path}/redis.sock").code == "redis_unreachable"

    def test_a_name_that_is_not_known(self, failing: Callable[..., StoreError]) -> None:
        assert failing(f"redis://:{plant('redis')}@redis.invalid:6379/0").code == "redis_unreachable"

    def test_a_server_without_the_database(
        self, start_redis: Callable[..., RedisServer], failing: Callable[..., StoreError]
    ) -> None:
        assert failing(start_redis({"databases": "1"}).url.removesuffix("/0") + "/7").code == "redis_database"

    def test_something_that_is_no_redis(self, failing: Callable[..., StoreError]) -> None:
        def answer(listener: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.close()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=answer, args=(listener,), daemon=True)
            thread.start()
            error = failing(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
        assert error.code in ("redis_error", "redis_unreachable")
