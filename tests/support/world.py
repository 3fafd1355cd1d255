"""A whole small world: a real Redis and the platform, under one clock that a test moves."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from platform_simulator import Simulator
from token_refresher.domain.clock import steady_clock

from .planted import plant
from .redis_server import RedisServer

if TYPE_CHECKING:
    from typing_extensions import Self


class World:
    """`redis` (RedisServer) and `simulator` (Simulator), whose clocks move together; ends with `stop`.

    Keyword arguments go to the Simulator. Applications are made as they are asked for: `app_id(0)`, ...
    `program` is the path of another version's redis-server; without `movable` its clock is the machine's.
    """

    def __init__(
        self, redis_options: dict[str, str] | None = None, *, program: str = "", movable: bool = True, **simulator: Any
    ) -> None:
        self.secrets: dict[str, str] = {}
        self._pausing = threading.Lock()
        # How far the platform's clock is ahead of Redis's.
        self.platform_ahead_s = 0.0
        self._directory = tempfile.TemporaryDirectory(prefix="world-")
        password = plant("redis-password")
        self.redis = RedisServer(redis_options, password=password, faketime=movable, program=program)
        self.simulator = Simulator(clock=lambda: self.now() + self.platform_ahead_s, **simulator)
        self.simulator.start()

    # -- time --------------------------------------------------------------------------------

    def now(self) -> float:
        """The time in this world (unix seconds): Redis's and the platform's, not the test's own."""
        return self.redis.now()

    def steady(self) -> float:
        """The steady clock of a process in this world (seconds)."""
        return steady_clock() + self.redis.offset_s

    def advance(self, seconds: float) -> None:
        """Let time pass, for Redis and the platform at once."""
        self.redis.advance(seconds)

    def pause(self, seconds: float) -> None:
        """Let so much time pass at once, in place of a sleep. Threads that wait at the same time wait together."""
        until_s = self.steady() + seconds
        with self._pausing:
            self.advance(max(0.0, until_s - self.steady()))

    # -- settings ----------------------------------------------------------------------------

    def app_id(self, number: int = 0) -> str:
        """The id of an application that the platform knows, with a secret planted for it."""
        app_id = f"app{number:04d}"
        if app_id not in self.secrets:
            self.secrets[app_id] = plant(f"secret-of-{app_id}")
            self.simulator.add_app(app_id, self.secrets[app_id])
        return app_id

    def settings_env(self, app_count: int = 1, /, **policy: float) -> dict[str, str]:
        """The environment for `token_refresher.settings.loader.read`: this Redis, platform and so many applications.

        One application comes by environment alone, several by the published configuration file. `policy` are
        numbers by their names in Policy (`margin_s=1800`).
        """
        environment = {f"POLICY_{name.upper()}": f"{value:g}" for name, value in policy.items()}
        app_ids = [self.app_id(number) for number in range(app_count)]
        if app_count != 1:
            return environment | {"CONFIG_FILE": str(self._published_file(app_ids))}
        return environment | {
            "APP_ID": app_ids[0],
            "APP_SECRET": self.secrets[app_ids[0]],
            "REDIS_URL": self.redis.url,
            "PLATFORM_BASE_URL": self.simulator.url,
        }

    def _published_file(self, app_ids: list[str]) -> Path:
        """The configuration file in the form that the platform publishes."""
        base = f"{self.simulator.url}/OAuth2"
        content = {
            "proxies": None,
            "storage_redis": {
                "host": "127.0.0.1",
                "port": self.redis.port,
                "auth": self.redis.password,
                "db": 0,
            },
            "oauth_api": {
                "get_server_access_token_url": f"{base}/token",
                "get_user_access_token_url": f"{base}/token",
                "get_js_ticket_url": f"{base}/ticket",
                "refresh_user_token_url": f"{base}/refreshtoken",
            },
            "app_info": [
                {"app_id": app_id, "app_secret": self.secrets[app_id], "app_name": f"name of {app_id}"}
                for app_id in app_ids
            ],
        }
        path = Path(self._directory.name) / f"config-{len(app_ids)}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    # -- the end -----------------------------------------------------------------------------

    def stop(self) -> None:
        """End both servers; may be called repeatedly."""
        self.simulator.stop()
        self.redis.stop()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()


class SteppedWorld(World):
    """Redis's clock alone may step; the platform's goes on."""

    stepped_s = 0.0

    def now(self) -> float:
        return self.redis.now() - self.stepped_s

    def steady(self) -> float:
        return super().steady() - self.stepped_s

    def step(self, seconds: float) -> None:
        self.stepped_s += seconds
        self.redis.advance(seconds)
