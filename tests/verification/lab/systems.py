"""The two systems that a scenario tries: ours, and the plain cron pattern as the baseline."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import index
from support import cron_pattern
from support.processes import Child
from support.redis_server import find_faketime
from token_refresher.domain.model import Kind, Target
from token_refresher.domain.policy import Policy
from token_refresher.function import handler as function_handler
from token_refresher.settings.loader import read
from token_refresher.store.keys import keys_of

from .place import Place
from .worker import EVENTS, context, refresher

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel shows it; nothing is created here


class System(Protocol):
    """One way to keep credentials fresh. `margin_s` (seconds): with less left it fetches."""

    name: str
    margin_s: float

    def run(self, order: str, deployment: int = 0) -> None:
        """One run in this process, started by "run" (the timer) or "force". Raises what the run raises."""

    def child(
        self,
        hold: str = "",
        deployment: int = 0,
        clock_file: Path | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:
        """A process that runs when asked to.

        `hold` is "point/kind", `clock_file` says how wrong its clock is, `more` goes into its environment.
        """

    def deploy(self) -> None:
        """Take over what the place's settings have become, in this process."""

    def settled(self, client: Any) -> bool:
        """Whether it has nothing left to find out or to wait for, by what it keeps in Redis."""


class Ours:
    """The real function, through its handler."""

    name = "ours"

    def __init__(self, place: Place, policy: Mapping[str, float]) -> None:
        self._place = place
        self.margin_s = float(policy.get("margin_s", Policy.margin_s))
        self._context = context(place.function_timeout_s)
        self.deploy()

    def deploy(self) -> None:
        """A new version of the function, with nothing kept of the one before."""
        found = [read(environ) for environ in self._place.environs]
        self._warm = [(each, refresher(each, self._place.steady, self._place.pause)) for each in found]

    def run(self, order: str, deployment: int = 0) -> None:
        # A warm instance, whose clock is the lab's: what the function would otherwise put together by itself.
        function_handler._warm[:] = [self._warm[deployment]]
        try:
            index.handler(EVENTS[order], self._context)
        finally:
            function_handler._warm.clear()

    def child(
        self,
        hold: str = "",
        deployment: int = 0,
        clock_file: Path | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:
        environ = self._place.environs[deployment] | _environ(self._place, hold, clock_file) | dict(more)
        return Child("from verification.lab.worker import ours; ours()", environ)

    def settled(self, client: Any) -> bool:
        with client.pipeline(transaction=False) as pipe:
            for target in (Target(app_id, kind) for app_id in self._place.app_ids for kind in Kind):
                pipe.hmget(keys_of(target).lease, "mark", "unsettled_since", "locked_until")
            leases = pipe.execute()
        now_ms = self._place.now() * 1000
        # A lease of the algorithm before this one has no mark.
        return all(
            (since == b"0" if mark is None else mark == b"") and int(locked or 0) <= now_ms
            for mark, since, locked in leases
        )


class Baseline:
    """GET, compare with 600 s, POST, SET. It gives a request as long as ours does."""

    name = "baseline"
    margin_s = cron_pattern.FETCH_BELOW_S

    def __init__(self, place: Place, policy: Mapping[str, float]) -> None:
        self._place = place
        self._timeout_s = float(policy.get("request_total_s", Policy.request_total_s))
        self._configured = [cron_pattern.configured(str(path)) for path in place.cron_files]

    def run(self, order: str, deployment: int = 0) -> None:
        below_s = float("inf") if order == "force" else cron_pattern.FETCH_BELOW_S
        config, client = self._configured[deployment]
        cron_pattern.tick(config, client, clock=self._place.now, below_s=below_s, timeout_s=self._timeout_s)

    def deploy(self) -> None:
        """Its files have not changed."""

    def child(
        self,
        hold: str = "",
        deployment: int = 0,
        clock_file: Path | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:
        own = {"CRON_FILE": str(self._place.cron_files[deployment]), "CRON_TIMEOUT_S": str(self._timeout_s)}
        environ = own | _environ(self._place, hold, clock_file) | dict(more)
        return Child("from verification.lab.worker import baseline; baseline()", environ)

    def settled(self, client: Any) -> bool:
        return True


SYSTEMS: dict[str, Callable[[Place, Mapping[str, float]], System]] = {"ours": Ours, "baseline": Baseline}


def started(stack: ExitStack, child: Child, clock_file: Path | None) -> Child:
    """The child, to be ended by the stack, and what libfaketime shares by its pid with it."""
    if clock_file:
        for name in (f"faketime_shm_{child.pid}", f"sem.faketime_sem_{child.pid}"):
            stack.callback((_SHARED_MEMORY / name).unlink, missing_ok=True)
    return stack.enter_context(child)


def _environ(place: Place, hold: str, clock_file: Path | None) -> dict[str, str]:
    environ = {"CLOCK_FILE": str(place.clock_file), "LAB_HOLD": hold}
    if clock_file is None:
        return environ
    return environ | {
        "LD_PRELOAD": find_faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(clock_file),
        "FAKETIME_NO_CACHE": "1",
        # Only the time of day is wrong; no machine's steady clock goes back.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": os.environ.get("TZ", "UTC"),
    }
