"""How often anyone has looked at a target, as Redis itself counts: to know that a run waits for another one."""

from __future__ import annotations

from typing import Any

from .waiting import wait_until
from .world import World


class Looks:
    """Counts from when it is made."""

    def __init__(self, world: World) -> None:
        self._client = world.redis.client()
        self._before = self._count()

    def wait_for(self, count: int) -> None:
        """Return when so many targets have been looked at. Raises TimeoutError."""
        wait_until(f"{count} targets are looked at", lambda: self._count() >= self._before + count)

    def _count(self) -> int:
        # Each script asks for the time once.
        told: Any = self._client.info("commandstats")
        return int(told.get("cmdstat_time", {}).get("calls", 0))
