"""Faults of one Redis server."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import redis

from platform_simulator.credentials import JS_TICKET
from support.waiting import wait_until

from .places import WrongRedisClock
from .scenario import Trouble
from .troubles import PATH_OF

if TYPE_CHECKING:
    from support.redis_server import RedisServer

    from .stage import Stage

# Right after what happens at the same instant (seconds).
JUST_AFTER_S = 0.001
# Only a bug makes a scenario wait this long (real seconds).
_WAIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class _OfRedis(Trouble):
    """Something is wrong with the one server."""

    called: ClassVar[str]

    @property
    def name(self) -> str:
        return f"Redis {self.called}"

    def begin(self, stage: Stage) -> None:
        self.spoil(stage.place.world.redis)

    def end(self, stage: Stage) -> None:
        self.mend(stage.place.world.redis)

    def spoil(self, server: RedisServer) -> None:
        raise NotImplementedError

    def mend(self, server: RedisServer) -> None:
        """Nothing to do, unless said otherwise."""


def start_anew(server: RedisServer) -> None:
    """With what is on its disk, which it has read when this returns: virtual time would make hours of a second."""
    server.restart()
    asked = server.client()
    wait_until("it has read its file", lambda: bool(asked.ping()))


class Stopped(_OfRedis):
    """Ended in order, with what it holds saved; started anew at the end."""

    called = "stopped"

    def spoil(self, server: RedisServer) -> None:
        with contextlib.suppress(redis.ConnectionError):
            server.client().execute_command("SHUTDOWN", "SAVE")

    def mend(self, server: RedisServer) -> None:
        start_anew(server)


class Killed(_OfRedis):
    """By SIGKILL; started anew at the end, with what is on its disk."""

    called = "killed"

    def spoil(self, server: RedisServer) -> None:
        server.kill()

    def mend(self, server: RedisServer) -> None:
        start_anew(server)


class Paused(_OfRedis):
    """It takes connections and commands, and answers when it is over."""

    called = "frozen"

    def spoil(self, server: RedisServer) -> None:
        server.pause()

    def mend(self, server: RedisServer) -> None:
        server.resume()


class ReadOnly(_OfRedis):
    """A replica of nobody."""

    called = "read-only"

    def spoil(self, server: RedisServer) -> None:
        server.client().execute_command("REPLICAOF", "127.0.0.1", "1")

    def mend(self, server: RedisServer) -> None:
        server.client().execute_command("REPLICAOF", "NO", "ONE")


class Full(_OfRedis):
    """Over its maxmemory, and it evicts nothing."""

    called = "out of memory"

    def spoil(self, server: RedisServer) -> None:
        server.client().config_set("maxmemory", "1")

    def mend(self, server: RedisServer) -> None:
        server.client().config_set("maxmemory", "0")


class Flushed(_OfRedis):
    """All keys are gone."""

    called = "flushed"

    def spoil(self, server: RedisServer) -> None:
        server.client().flushall()


@dataclass(frozen=True, kw_only=True)
class Restored(Trouble):
    """A snapshot is taken, a person forces new credentials, and Redis dies and comes back with the snapshot."""

    @property
    def name(self) -> str:
        return "Redis restored from a snapshot"

    def begin(self, stage: Stage) -> None:
        server = stage.place.world.redis
        server.client(socket_timeout=30).save()
        stage.tick("force")
        server.kill()
        start_anew(server)


@dataclass(frozen=True, kw_only=True)
class UnderFetch(Trouble):
    """Another fault begins when a request for `kind` has been carried out and is not yet answered."""

    fault: Trouble
    kind: str = JS_TICKET
    ends_itself = True

    @property
    def name(self) -> str:
        return f"{self.fault.name} under a fetch"

    def begin(self, stage: Stage) -> None:
        gate = stage.simulator.hold(PATH_OF[self.kind], "after")

        def strike() -> None:
            try:
                gate.wait_reached(_WAIT_S)
                self.fault.begin(stage)
            finally:
                gate.release()

        striking = threading.Thread(target=strike, daemon=True)
        striking.start()
        stage.later(JUST_AFTER_S, lambda: self._follow(stage, striking))

    def _follow(self, stage: Stage, striking: threading.Thread) -> None:
        """The run is over, and the fault goes on."""
        striking.join(_WAIT_S)
        stage.later(self.fault.lasting_s, lambda: self._end(stage))

    def _end(self, stage: Stage) -> None:
        self.fault.end(stage)
        stage.over(self)


@dataclass(frozen=True, kw_only=True)
class ClockOfRedis(Trouble):
    """Redis's clock alone is wrong by so much (seconds, ahead), and right again at the end."""

    ahead_s: float

    @property
    def name(self) -> str:
        return f"Redis's clock {self.ahead_s:+g} s"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, WrongRedisClock)
        stage.place.step(self.ahead_s)

    def end(self, stage: Stage) -> None:
        assert isinstance(stage.place, WrongRedisClock)
        stage.place.step(-self.ahead_s)
