"""The plain client behaves like redis-py in all that a run needs of it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import Child
from support.redis_server import RedisServer
from token_refresher.direct import Direct, reach
from token_refresher.redis_errors import ServerError, translated

_ECHO = "return {KEYS[1], ARGV[1], 7, false, {}}"


def _client(url: str, timeout_s: float = 3.0) -> Direct:
    client = reach(url, timeout_s)
    assert client is not None
    return client


def test_replies_of_every_kind_come_as_redis_py_gives_them(redis_server: RedisServer) -> None:
    client = _client(redis_server.url)
    assert client.eval(_ECHO, 1, "k\r\né", b"\0\r\n") == redis_server.client().eval(_ECHO, 1, "k\r\né", b"\0\r\n")
    assert client.execute_command("SET", "k", "v", "PX", 60_000) == b"OK"
    client.close()


def test_in_a_pipeline_an_error_stands_in_its_place(redis_server: RedisServer) -> None:
    client = _client(redis_server.url)
    with client.pipeline() as pipe:
        for script in ("return 1", "return redis.error_reply('NOPERM no')", "return 3"):
            pipe.execute_command("EVAL", script, 0)
        first, wrong, last = pipe.execute(raise_on_error=False)
        assert (first, last, translated(wrong).code) == (1, 3, "redis_no_permission")
        with pytest.raises(ServerError):
            pipe.execute()
    client.close()


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_password_and_database_are_said_first(start_redis: Callable[..., RedisServer], unix: bool) -> None:
    server = start_redis(password="p@ss:/ word")
    url = server.unix_url.replace("db=0", "db=3") if unix else server.url.removesuffix("0") + "3"
    client = _client(url)
    client.eval("return redis.call('SET', KEYS[1], '1', 'PX', 60000)", 1, "here")
    assert server.client(db=3).get("here") == b"1"
    client.close()


def test_a_wrong_password_is_told_as_such(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(password="right")
    with pytest.raises(ServerError) as caught:
        _client(f"redis://:wrong@127.0.0.1:{server.port}").eval("return 1", 0, "")
    assert translated(caught.value).code == "redis_auth"


def test_a_connection_that_died_while_nobody_used_it_is_not_used_again(redis_server: RedisServer) -> None:
    client = _client(redis_server.url)
    client.eval("return 1", 0, "")
    redis_server.client().client_kill_filter(_type="normal", skipme=True)
    time.sleep(0.05)
    assert client.eval("return 2", 0, "") == 2
    client.close()


def test_a_server_that_says_nothing_is_given_up_in_time(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    client = _client(server.url, timeout_s=0.2)
    client.eval("return 1", 0, "")
    server.pause()
    with pytest.raises(TimeoutError) as caught:
        client.eval("return 2", 0, "")
    assert translated(caught.value).code == "redis_timeout"
    server.resume()
    # The late answer belongs to a connection that nobody uses any more.
    assert client.eval("return 3", 0, "") == 3
    client.close()


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$x\r\n", b"*9e9\r\n", b":\r\n", b"\r\n"])
def test_what_is_no_redis_is_refused(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = _client(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout_s=2)

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.recv(1000)
                peer.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match="no Redis") as caught:
            client.eval("return 1", 0, "")
        thread.join()
    assert translated(caught.value).code == "redis_unreachable"


@pytest.mark.parametrize("said", [b"", b"+O", b"$5\r\nab"], ids=["nothing", "half a line", "half a value"])
def test_a_reply_that_breaks_off_is_no_reply(said: bytes) -> None:
    with _Scripted([said]) as server:
        client = _client(server.url)
        with pytest.raises(ConnectionResetError) as caught:
            client.eval("return 1", 0, "")
    assert translated(caught.value).code == "redis_unreachable"


def test_to_a_server_that_knows_no_users_the_password_is_said_alone() -> None:
    refusal = b"-ERR wrong number of arguments for 'auth' command\r\n"
    with _Scripted([refusal, b"+OK\r\n", b":7\r\n"]) as server:
        client = _client(server.url.replace("//", "//default:right@"))
        assert client.eval("return 7", 0) == 7
        client.close()
    words = [part.split(b"\r\n")[2::2] for part in server.asked]
    assert words[:2] == [[b"AUTH", b"default", b"right"], [b"AUTH", b"right"]]


def test_a_socket_file_that_is_not_there_is_told_as_unreachable(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        _client(f"unix://{tmp_path}/none.sock").eval("return 1", 0)
    assert translated(caught.value).code == "redis_unreachable"


class _Scripted:
    """A server for one connection that gives these answers, one for each command, and then closes."""

    def __init__(self, answers: list[bytes]) -> None:
        self.asked: list[bytes] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with self._listener.accept()[0] as peer:
            for answer in self._answers:
                self.asked.append(peer.recv(1000))
                peer.sendall(answer)

    def __enter__(self) -> _Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._thread.join()
        self._listener.close()


def test_a_name_that_cannot_be_one_is_told_as_unreachable() -> None:
    # In a process of its own: it fails before anything is looked up, which the guard here forbids.
    tried = f"""
from token_refresher.direct import reach
from token_refresher.redis_errors import client_errors, translated
try:
    reach("redis://{"a" * 64}.example", 1.0).eval("return 1", 0)
except client_errors() as error:
    print(translated(error).code)
"""
    with Child(tried) as child:
        child.wait_for("redis_unreachable")


def test_after_an_error_the_next_command_dials_anew(redis_server: RedisServer) -> None:
    client = _client(redis_server.url)
    first = client.execute_command("CLIENT", "ID")
    assert client.execute_command("CLIENT", "ID") == first
    with pytest.raises(ServerError):
        client.eval("return redis.error_reply('READONLY no')", 0)
    assert client.execute_command("CLIENT", "ID") != first
    client.close()


def test_a_child_process_takes_connections_of_its_own(redis_server: RedisServer) -> None:
    client = _client(redis_server.url)
    mine = client.eval("return 1", 0, "") and client.execute_command("CLIENT", "ID")
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, str(client.execute_command("CLIENT", "ID")).encode())
        os._exit(0)
    os.wait()
    assert int(os.read(read, 100)) != mine
    os.close(read)
    os.close(write)
    client.close()


@pytest.mark.parametrize(
    "url",
    [
        "rediss://h:1/0",
        "redis+sentinel://h/m",
        "redis+cluster://h",
        "redis://h:1/0?x=1",
        "redis://user@h",
        "redis://h:x",
        "redis:///0",
        "unix://host/run/redis.sock",
    ],
)
def test_what_needs_more_goes_through_redis_py(url: str) -> None:
    assert reach(url, 1.0) is None
