"""What a scenario plays in: Redis, the platform, the clock of both, and the settings for whoever runs there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import yaml

from platform_simulator import Simulator
from support.authorities import one_authority
from support.redis_server import RedisServer
from support.world import World
from token_refresher.store.errors import client_errors


class Place:
    """One World, and what is needed to run systems in it; ends with `stop`.

    Scenarios with other kinds of Redis put a subclass in its place. `environs` holds the settings of every deployment
    of our system, `cron_files` those of the baseline, `readers` a client of each deployment's readers. A subclass may
    name more `deployments` and `apps`, options for the simulator, how far the platform's clock is ahead, and how long a
    run may take (seconds).
    """

    deployments = 1
    apps = 1
    simulator_options: ClassVar[dict[str, Any]] = {}
    platform_ahead_s = 0.0
    function_timeout_s = 60.0

    def __init__(self, **policy: float) -> None:
        self.world = self._new_world()
        self.more: list[RedisServer] = []
        # Credentials that the platform issued before the beginning, to others.
        self.planted: set[str] = set()
        self._pausing = threading.Lock()
        try:
            self.began = self.world.now()
            self.app_ids = [self.world.app_id(number) for number in range(self.apps)]
            self.app_id = self.app_ids[0]
            for _ in range(1, self.deployments):
                clock = self.world.redis.offset_s
                self.more.append(RedisServer(password=self.world.redis.password, faketime=True, offset_s=clock))
            self.readers: list[Any] = [server.client(socket_timeout=1) for server in self.servers]
            self.environs = [self._environ(server, policy) for server in self.servers]
            self.cron_files = [self._cron_file(server) for server in self.servers]
        except BaseException:
            self.stop()
            raise

    def _new_world(self) -> World:
        world = World(**self.simulator_options)
        world.platform_ahead_s = self.platform_ahead_s
        return world

    @property
    def read_ids(self) -> list[str]:
        """The applications whose readers count."""
        return self.app_ids

    @property
    def servers(self) -> list[RedisServer]:
        """One for each deployment."""
        return [self.world.redis, *self.more]

    @property
    def simulator(self) -> Simulator:
        return self.world.simulator

    # -- time --------------------------------------------------------------------------------

    def now(self) -> float:
        """The time of this place (unix seconds)."""
        return self.world.now()

    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self.now() - self.began

    def advance_to(self, elapsed_s: float) -> None:
        """Let time pass until then; nothing when it is later already, because work takes its time here, too."""
        ahead_s = elapsed_s - self.elapsed_s()
        if ahead_s > 0:
            self.world.advance(ahead_s)
            for server in self.more:
                server.set_offset(self.world.redis.offset_s)

    def pause(self, seconds: float) -> None:
        """Let so much time pass at once: what a run that waits is given in place of a sleep.

        Threads that wait at the same time wait together, and not one after the other.
        """
        until_s = self.elapsed_s() + seconds
        with self._pausing:
            self.advance_to(until_s)

    def steady(self) -> float:
        """The clock for our function: steady, and moved along with the place."""
        return self.world.steady()

    @property
    def clock_file(self) -> Path:
        """Holds how far the place's time is ahead of the machine's (seconds), for other processes."""
        return self.world.redis.clock_file

    # -- settings ----------------------------------------------------------------------------

    def _environ(self, server: RedisServer, policy: dict[str, float]) -> dict[str, str]:
        bundle = self._file("ca.pem", one_authority())
        own = {"REDIS_URL": server.url, "PLATFORM_CA_BUNDLE": str(bundle)}
        return self.world.settings_env(self.apps, **policy) | own

    def change_secret(self, secret: str) -> None:
        """What is deployed from now on has this secret for its only application."""
        self.environs = [environ | {"APP_SECRET": secret} for environ in self.environs]

    def _cron_file(self, server: RedisServer) -> Path:
        return self._file(f"cron-{server.port}.yaml", yaml.safe_dump(self._cron_settings(server)))

    def _cron_settings(self, server: RedisServer) -> dict[str, Any]:
        return {
            "storage_redis": {"host": "127.0.0.1", "port": server.port, "auth": server.password},
            "oauth_api": {
                "get_server_access_token_url": f"{self._base()}/token",
                "get_js_ticket_url": f"{self._base()}/ticket",
            },
            "app_info": [{"app_id": each, "app_secret": self.world.secrets[each]} for each in self.app_ids],
        }

    def _base(self) -> str:
        return f"{self.simulator.url}/OAuth2"

    def _file(self, name: str, text: str) -> Path:
        path = self.world.redis.directory / name
        path.write_text(text)
        return path

    # -- the end -----------------------------------------------------------------------------

    def stop(self) -> None:
        """End everything; may be called repeatedly."""
        for server in self.more:
            server.stop()
        self.world.stop()


class TwoDeployments(Place):
    """Two of them, each with a Redis of its own, on one application."""

    deployments = 2


@contextmanager
def opened(place: Place) -> Iterator[Place]:
    """The place, stopped at the end."""
    try:
        yield place
    finally:
        place.stop()


# Those of clusters, too, which stand outside of redis-py's tree.
READ_ERRORS = client_errors()
