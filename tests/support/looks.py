"""How often anyone has looked at a target, as Redis itself counts: to know that a run waits for another one."""

from __future__ import annotations

import time
from typing import Any

from .world import World

_WAIT_S = 30


class Looks:
    """Counts from when it is made."""

    def __init__(self, world: World) -> None:
        self._client = world.redis.client()
        self._before = self._count()

    def wait_for(self, count: int) -> None:
        """Return when so many targets have been looked at. Raises TimeoutError."""
        end = time.monotonic() + _WAIT_S
        while self._count() < self._before + count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._count() - self._before} of {count} looks within {_WAIT_S} s")
            time.sleep(0.02)

    def _count(self) -> int:
        # Each script asks for the time once.
        told: Any = self._client.info("commandstats")
        return int(told.get("cmdstat_time", {}).get("calls", 0))
