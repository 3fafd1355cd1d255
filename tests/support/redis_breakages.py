"""Ways to spoil a redis-server so that it does not do what is asked, and to mend it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import redis

from .redis_server import RedisServer
from .waiting import wait_until


@dataclass
class Breakage:
    """A way in which Redis does not do what is asked, and back.

    `code` is the error that is told. `unread`: it cannot even be read, so the run itself raises.
    """

    name: str
    code: str
    unread: bool
    spoil: Callable[[RedisServer], object]
    mend: Callable[[RedisServer], object]
    says: str = field(default="")

    def __str__(self) -> str:
        return self.name


def _config(name: str, value: str) -> Callable[[RedisServer], object]:
    return lambda server: server.client().config_set(name, value)


def _acl(*rules: str) -> Callable[[RedisServer], object]:
    return lambda server: server.client().execute_command("ACL", "SETUSER", "default", *rules)


def _replicate_nobody(server: RedisServer) -> None:
    server.client().execute_command("REPLICAOF", "127.0.0.1", "1")


def _replicate_nobody_silently(server: RedisServer) -> None:
    server.client().config_set("replica-serve-stale-data", "no")
    _replicate_nobody(server)


def _be_primary(server: RedisServer) -> None:
    server.client().execute_command("REPLICAOF", "NO", "ONE")


def _pause_clients(which: str) -> Callable[[RedisServer], object]:
    return lambda server: server.client().execute_command("CLIENT", "PAUSE", "40000", which)


def _let_pause_end(server: RedisServer) -> None:
    """Nobody can end it, for whoever could is paused too."""
    server.advance(41)
    assert server.client().ping()


def _keep_busy(server: RedisServer) -> None:
    """Run a script without end."""

    def run() -> None:
        with contextlib.suppress(redis.RedisError):
            server.client(socket_timeout=None).eval("while true do end", 0)

    def busy() -> bool:
        try:
            server.client().get("any")
        except redis.ResponseError as error:
            return "BUSY" in str(error)
        return False

    server.client().config_set("lua-time-limit", "1")
    threading.Thread(target=run, daemon=True).start()
    wait_until("it is busy", busy)


def _kill_script(server: RedisServer) -> None:
    server.client().script_kill()
    wait_until("the script is killed", lambda: bool(server.client().ping()))


def _fail_to_save(server: RedisServer) -> None:
    """A snapshot that could not be saved makes Redis refuse writes."""
    (server.directory / "dump.rdb").mkdir()
    client = server.client()
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_until("it could not save", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def _save_again(server: RedisServer) -> None:
    (server.directory / "dump.rdb").rmdir()
    server.client().config_set("save", "")


BREAKAGES = [
    Breakage("killed", "redis_unreachable", True, RedisServer.kill, RedisServer.restart),
    Breakage("frozen", "redis_timeout", True, RedisServer.pause, RedisServer.resume),
    Breakage("all clients paused", "redis_timeout", True, _pause_clients("ALL"), _let_pause_end),
    Breakage("writing clients paused", "redis_timeout", True, _pause_clients("WRITE"), _let_pause_end),
    Breakage("a replica", "redis_read_only", False, _replicate_nobody, _be_primary),
    Breakage("a replica without its primary", "redis_loading", True, _replicate_nobody_silently, _be_primary),
    Breakage("busy with a script", "redis_error", True, _keep_busy, _kill_script, says="BUSY"),
    Breakage("unable to save", "redis_error", False, _fail_to_save, _save_again, says="MISCONF"),
    Breakage("without the right to EVAL", "redis_no_permission", True, _acl("-eval"), _acl("+eval")),
    Breakage("without the right to the keys", "redis_no_permission", True, _acl("resetkeys"), _acl("~*")),
    Breakage("without the right to TIME", "redis_no_permission", True, _acl("-time"), _acl("+time")),
    Breakage("without the right to HSET", "redis_no_permission", False, _acl("-hset"), _acl("+hset")),
]
# After these a command is repeated, because nobody knows whether it arrived.
OF_THE_CONNECTION = BREAKAGES[:4]
