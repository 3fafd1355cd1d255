"""What an examination works with, and how one check that fails is kept from stopping the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from token_refresher.doctor.finding import Check, Finding
from token_refresher.domain.addresses import PlatformUrl, ProxyUrl
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import StoreError
from token_refresher.settings.loader import Settings
from token_refresher.store.errors import translated

# What ends the examination of Redis: everything further would only wait.
_GONE = (
    "redis_unreachable",
    "redis_tls",
    "redis_timeout",
    "redis_auth",
    "redis_not_white_listed",
    "redis_wrong_form",
    "redis_database",
)


@dataclass(frozen=True)
class Clocks:
    """`wall` gives unix seconds of this machine; `steady` never steps (seconds), `until` is its instant of the end."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = steady_clock
    until: float = float("inf")

    @property
    def left_s(self) -> float:
        return self.until - self.steady()


@dataclass
class CheckContext:
    """Settings and live objects. `gone` says why Redis cannot be examined (any more); empty while it can."""

    settings: Settings
    clocks: Clocks
    new_id: Callable[[], str]
    client: Any = None
    gone: str = ""
    # How far Redis's clock is ahead of this machine's, once that is known (seconds).
    redis_ahead_s: float | None = None
    found: list[Finding] = field(default_factory=list)

    def run(
        self, names: str | Sequence[str], examine: Callable[[], Iterable[Finding]], *, of_redis: bool = True
    ) -> None:
        """Add what `examine` finds. When it cannot: one finding for each of `names`, with the reason.

        `of_redis` (bool): it needs Redis, so it is left out when Redis is gone.
        """
        wanted = (names,) if isinstance(names, str) else tuple(names)
        if of_redis and self.gone:
            self.found += [Check(name).grey(f"not examined: {self.gone}") for name in wanted]
        elif self.clocks.left_s <= 0:
            self.found += [Check(name).grey("not examined: no time was left") for name in wanted]
        else:
            self._add(wanted, examine)

    def _add(self, names: Sequence[str], examine: Callable[[], Iterable[Finding]]) -> None:
        try:
            for finding in examine():
                self.found.append(finding)
        except StoreError as error:
            self.found += [self._failed(name, error) for name in names]
        except (redis.RedisError, OSError) as error:
            self.found += [self._failed(name, translated(error)) for name in names]
        except Exception as error:
            # A defect of ours must not hide what the other checks find. Its words may quote anything.
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"this check itself failed: {type(error).__name__} in {place.name}, line {place.lineno}"
            fix = "report this defect of the program, with the place that is named"
            self.found += [Check(name).red(what, fix) for name in names]

    def _failed(self, name: str, error: StoreError) -> Finding:
        if error.code in _GONE:
            self.gone = error.what
        return Check(name).red(error.what, error.advice)

    # -- Redis --------------------------------------------------------------------------------------------------------

    def ask(self, *command: str) -> list[Any]:
        """The reply to a command that only asks, of every server that takes writes. Raises redis's own errors."""
        nodes = getattr(self.client, "get_primaries", None)
        if nodes is None:
            return [self.client.execute_command(*command)]
        return [self.client.execute_command(*command, target_nodes=node) for node in nodes()]

    def info(self, section: str) -> list[dict[str, Any]]:
        """One section of INFO, of every server that takes writes. Raises redis's own errors."""
        return [reply for reply in self.ask("INFO", section) if isinstance(reply, dict)]


def proxy_of(url: PlatformUrl, settings: Settings) -> ProxyUrl | None:
    """The proxy that requests to `url` go through; None: directly."""
    return settings.proxies.get(url.scheme)
