"""The servers and processes that all other tests stand on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from platform_simulator import CHECK_PATH
from support import skips
from support.loopback import is_local
from support.processes import Child
from support.redis_server import RedisServer, free_port
from support.tables import each_line
from support.tcp_proxy import Act, TcpProxy
from support.waiting import wait_until
from support.world import World

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


def _clock_of(server: RedisServer) -> float:
    reply: Any = server.client().time()
    seconds, microseconds = reply
    return float(seconds + microseconds / 1e6)


def _runs(pid: int) -> bool:
    try:
        return "redis-server" in Path("/proc", str(pid), "cmdline").read_text()
    except OSError:
        return False


class TestRedisServer:
    def test_it_is_empty_for_each_test(self, redis_server: RedisServer) -> None:
        assert redis_server.client().dbsize() == 0
        redis_server.client().set("left", "over", ex=60)

    def test_it_is_empty_again_after_a_test_that_left_something(self, redis_server: RedisServer) -> None:
        assert redis_server.client().dbsize() == 0

    def test_its_clock_moves_both_ways_while_it_runs(self, start_redis: Callable[..., RedisServer]) -> None:
        server = start_redis(faketime=True)
        for offset_s in (400, -900, 0):
            server.set_offset(offset_s)
            assert _clock_of(server) == pytest.approx(server.now(), abs=0.5)

    def test_keys_expire_by_the_moved_clock(self, start_redis: Callable[..., RedisServer]) -> None:
        server = start_redis(faketime=True)
        server.client().set("key", "value", ex=100)
        server.advance(99)
        assert server.client().get("key") == b"value"
        server.advance(2)
        assert server.client().get("key") is None

    def test_its_clock_stays_put_without_faketime(self, redis_server: RedisServer) -> None:
        with pytest.raises(RuntimeError, match="without faketime"):
            redis_server.advance(1)

    def test_its_urls_lead_to_it_whatever_the_password(self, start_redis: Callable[..., RedisServer]) -> None:
        server = start_redis(password="p@ss/wört:?")
        for url in (server.url, server.unix_url):
            client = redis.Redis.from_url(url)
            assert client.ping()
            client.close()

    def test_data_survives_a_restart_when_asked_to(self, start_redis: Callable[..., RedisServer]) -> None:
        server = start_redis()
        server.client().set("key", "value", ex=60)
        server.restart()
        assert server.client().get("key") == b"value"
        server.restart(keep_data=False)
        assert server.client().get("key") is None

    def test_data_is_lost_in_a_crash(self, start_redis: Callable[..., RedisServer]) -> None:
        server = start_redis()
        server.client().set("key", "value", ex=60)
        server.restart()
        server.kill()
        server.restart()
        assert server.client().get("key") is None

    def test_data_survives_a_crash_with_an_append_only_file(self, start_redis: Callable[..., RedisServer]) -> None:
        server = start_redis({"appendonly": "yes", "appendfsync": "always"})
        server.client().set("key", "value", ex=60)
        server.kill()
        server.restart()
        assert server.client().get("key") == b"value"

    def test_a_paused_server_keeps_its_connections_and_does_not_answer(
        self, start_redis: Callable[..., RedisServer]
    ) -> None:
        server = start_redis()
        client = server.client(socket_timeout=0.1)
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()

    def test_options_reach_the_server(self, start_redis: Callable[..., RedisServer]) -> None:
        server = start_redis({"maxmemory": "2mb"})
        assert server.client().config_get("maxmemory") == {"maxmemory": "2097152"}

    def test_a_wrong_option_is_told_with_the_server_s_own_words(self) -> None:
        with pytest.raises(RuntimeError, match="did not start"):
            RedisServer({"maxmemory": "much"})

    def test_nothing_is_left_of_a_stopped_server(self) -> None:
        server = RedisServer(faketime=True)
        server.stop()
        assert not server.alive
        assert server not in RedisServer.running
        assert not server.directory.exists()

    def test_it_does_not_outlive_a_test_run_that_is_killed(self) -> None:
        driver = "from support.redis_server import RedisServer\nprint(RedisServer(faketime=True).pid)\ninput()"
        with Child(driver) as child:
            pid = int(child.wait_for(""))
            child.kill()
        wait_until("it has ended", lambda: not _runs(pid))


class TestWorld:
    def test_redis_and_the_platform_share_one_clock(self, world: World) -> None:
        app_id = world.app_id()
        code = world.simulator.issue(app_id, "js_ticket").code
        for seconds, alive in ((7000, True), (300, False)):
            world.advance(seconds)
            assert world.simulator.valid(app_id, "js_ticket", code) is alive
            assert _clock_of(world.redis) == pytest.approx(world.now(), abs=0.5)

    def test_the_environment_for_one_application_names_it(self, world: World) -> None:
        env = world.settings_env(margin_s=900)
        assert env["APP_ID"] == "app0000"
        assert env["PLATFORM_BASE_URL"] == world.simulator.url
        assert env["POLICY_MARGIN_S"] == "900"
        assert "CONFIG_FILE" not in env

    def test_many_applications_come_by_the_published_file(self, world: World) -> None:
        env = world.settings_env(3)
        assert set(env) == {"CONFIG_FILE"}
        assert len(world.secrets) == 3


class TestTcpProxy:
    def test_it_passes_everything_and_counts(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        client = redis_server.client(port=proxy.port)
        client.set("key", "x" * 200_000, ex=60)
        assert client.get("key") == b"x" * 200_000
        assert proxy.connections == 1

    def test_a_command_cut_before_never_reaches_the_server(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        proxy.script(Act.CUT_BEFORE, b"INCR")
        with pytest.raises(redis.ConnectionError):
            redis_server.client(port=proxy.port).incr("n")
        assert redis_server.client().get("n") is None

    @pytest.mark.keys_without_ttl("a counter shows what arrived")
    @pytest.mark.parametrize("act", [Act.CUT_AFTER, Act.DROP_REPLY])
    def test_a_lost_reply_is_of_a_command_that_was_carried_out(
        self, act: Act, proxy: TcpProxy, redis_server: RedisServer
    ) -> None:
        script = proxy.script(act, b"INCR", nth=2)
        client = redis_server.client(port=proxy.port, socket_timeout=0.2)
        assert client.incr("n") == 1
        with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
            client.incr("n")
        script.wait_reached()
        assert redis_server.client().get("n") == b"2"
        assert client.incr("n") == 3

    def test_a_held_command_is_carried_out_when_released(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        script = proxy.script(Act.HOLD, b"SET")
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"SET key value EX 60\r\n")
            script.wait_reached()
            assert redis_server.client().get("key") is None
            script.release()
            assert client.recv(64) == b"+OK\r\n"

    def test_a_held_reply_comes_when_released(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        script = proxy.script(Act.HOLD_REPLY, b"SET")
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"SET key value EX 60\r\n")
            script.wait_reached()
            assert redis_server.client().get("key") == b"value"
            script.release()
            assert client.recv(64) == b"+OK\r\n"

    def test_cut_breaks_what_is_open_and_new_connections_work(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(64) == b"+PONG\r\n"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                client.recv(64)
        assert redis_server.client(port=proxy.port).ping()

    def test_it_refuses_until_it_accepts_again(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        client = redis_server.client(port=proxy.port)
        assert client.ping()
        proxy.refuse()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        proxy.accept_again()
        assert client.ping()


class TestChild:
    DRIVER = """
import os, sys
from support.child import say, wrap

class Work:
    def step(self, n):
        say(f"did:{n}")
        return n

wrap(Work, "step", after=True, when=lambda self, n: n == 2)
for n in (1, 2, 3):
    Work().step(n)
say("argument:" + sys.argv[1])
say("variable:" + os.environ["MARK"])
print("to stderr", file=sys.stderr)
"""

    @pytest.fixture
    def child(self) -> Iterator[Child]:
        with Child(self.DRIVER, {"MARK": "of the test"}, ["first"]) as child:
            yield child

    def test_it_waits_at_its_point_and_goes_on_when_told(self, child: Child) -> None:
        child.wait_for("at:step")
        assert "did:1" in child.stdout
        assert "did:2" not in child.stdout
        child.send("go")
        child.wait_for("after:step")
        assert "did:2" in child.stdout
        child.send("go")
        assert child.wait_for("argument:") == "argument:first"
        assert child.wait_for("variable:") == "variable:of the test"
        assert child.join() == 0
        assert child.stderr == "to stderr\n"

    def test_killed_at_its_point_it_does_nothing_more(self, child: Child) -> None:
        child.wait_for("at:step")
        child.kill()
        assert child.returncode == -signal.SIGKILL
        assert "did:2" not in child.stdout

    def test_frozen_it_hears_go_only_when_thawed(self, child: Child) -> None:
        child.wait_for("at:step")
        child.freeze()
        child.send("go")
        with pytest.raises(TimeoutError):
            child.wait_for("did:2", timeout_s=0.2)
        child.thaw()
        child.wait_for("did:2")

    def test_its_end_is_told_with_what_it_said_last(self) -> None:
        with Child("raise SystemExit('no luck')") as child:
            with pytest.raises(ChildProcessError, match="no luck"):
                child.wait_for("never")
            with pytest.raises(ChildProcessError):
                child.wait_for("never")

    def test_it_ends_when_the_test_is_gone(self, child: Child) -> None:
        child.wait_for("at:step")
        child.send("")
        assert child.join() == 1
        assert "nobody lets this child go on" in child.stderr


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", True),  # noqa: S104 - nothing is bound here
        (b"127.0.0.1", True),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
        ("oauth.yuanzhibang.com", False),
    ],
)
def test_only_this_machine_is_local(host: Any, local: bool) -> None:
    assert is_local(host) is local


def test_names_that_do_not_exist_are_not_looked_up() -> None:
    with pytest.raises(socket.gaierror):
        socket.create_connection(("nowhere.invalid", 80), 1)


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_the_simulator_of_the_fixture_answers_on_the_loopback(simulator: Any) -> None:
    assert simulator.url.startswith("http://127.0.0.1:")
    assert simulator.count(CHECK_PATH) == 0


class TestSkips:
    @pytest.mark.parametrize("reason", ["NOT TESTED, the package registry cannot be reached: x", "no chromium with x"])
    def test_what_a_machine_lacks_is_accepted(self, reason: str) -> None:
        assert skips.accepted(reason)

    @pytest.mark.parametrize("reason", ["", "NOT TESTED yet", "could not import 'yaml': No module named 'yaml'"])
    def test_anything_else_is_not(self, reason: str) -> None:
        assert not skips.accepted(reason)

    def test_in_ci_any_other_skip_is_a_failure(self, tmp_path: Path) -> None:
        (tmp_path / "test_skipped.py").write_text(_SKIPPED)
        path = f"{Path(__file__).parents[1]}{os.pathsep}{Path(__file__).parents[2] / 'src'}"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "support.skips", "-p", "no:cacheprovider", "."]
        for ci, ended in (("true", "1 failed, 1 skipped, 1 error"), ("", "3 skipped")):
            environ = os.environ | {"PYTHONPATH": path, "CI": ci}
            done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
            assert ended in done.stdout, done.stdout


_SKIPPED = """
import pytest

def test_yet():
    pytest.skip("NOT TESTED yet")

@pytest.mark.skipif(True, reason="never")
def test_never():
    pass

def test_no_browser():
    pytest.skip("no chromium here")
"""


class TestTables:
    def test_a_line_that_fails_is_named(self) -> None:
        seen: list[int] = []

        @each_line(("number", "word"), [(1, "one"), (2, "two"), (3, "three")])
        def test(number: int, word: str) -> None:
            seen.append(number)
            assert word != "two"

        with pytest.raises(AssertionError, match=r"with \{'number': 2, 'word': 'two'\}"):
            test()
        assert seen == [1, 2]

    def test_an_error_that_does_not_come_fails_its_line(self) -> None:
        @each_line("text", ["x", "1"])
        def test(text: str) -> None:
            with pytest.raises(ValueError, match="invalid literal"):
                int(text)

        with pytest.raises(AssertionError, match=r"with \{'text': '1'\}: DID NOT RAISE"):
            test()

    def test_a_table_without_lines_is_a_mistake(self) -> None:
        with pytest.raises(AssertionError, match="there is no line"):
            each_line("text", [])(lambda text: None)()
