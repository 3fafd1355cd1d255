"""The refresher on a Redis of several servers: by the machine's clock, all durations scaled down.

Servers that talk to each other do not take it well when their clocks jump.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from platform_simulator import Simulator
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Snapshot, Target
from token_refresher.domain.report import Report
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import read

from .planted import plant

LIFETIME_S, GRACE_S = 60, 8
# One second of work stands for thirty; the inequalities of the policy hold.
SCALED = {
    "lifetime_s": LIFETIME_S,
    "grace_s": GRACE_S,
    "margin_s": 16,
    "work_s": 1.2,
    "flight_s": 1,
    "tick_s": 1,
    "request_total_s": 0.6,
    "connect_timeout_s": 0.5,
    "read_timeout_s": 0.5,
    "redis_timeout_s": 0.5,
    "audit_interval_s": 3,
    "audit_tolerance_s": 2,
    "audit_min_age_s": 0,
    "complaint_interval_s": 1,
    "cooldown_s": 0,
    "alarm_below_s": 5,
    "retry_base_s": 0.5,
    "retry_cap_s": 1,
    "reader_cache_s": 0.5,
}
KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]
APP_ID = "app0000"


class ScaledJob:
    """The refresher of one application on whatever `url` leads to."""

    def __init__(self, url: str) -> None:
        secret = plant(f"secret-of-{APP_ID}")
        self.simulator = Simulator({APP_ID: secret}, lifetime_s=LIFETIME_S, grace_s=GRACE_S)
        self.simulator.start()
        policy = {f"POLICY_{name.upper()}": f"{value:g}" for name, value in SCALED.items()}
        base = {"APP_ID": APP_ID, "APP_SECRET": secret, "PLATFORM_BASE_URL": self.simulator.url}
        self.settings = read(base | policy | {"REDIS_URL": url})
        self.refresher = self.instance()

    def instance(self) -> Refresher:
        """A cold one."""
        return wiring.refresher(self.settings)

    def tick(self) -> Report:
        report = self.refresher.run_once(Command())
        self.healthy()
        return report

    def healthy(self) -> bool:
        """Both credentials are stored, newest and settled. Raises AssertionError when a reader finds a refused one."""
        well = True
        for kind in KINDS:
            snapshot = self.refresher.store.load([Target(APP_ID, kind)])[0]
            assert isinstance(snapshot, Snapshot)
            code = snapshot.live.code if snapshot.live else None
            newest = self.simulator.newest(APP_ID, kind.value)
            assert code is None or self.simulator.valid(APP_ID, kind.value, code)
            well = well and newest is not None and code == newest.code and snapshot.lease.settled
        return well

    def heals(self) -> bool:
        """Tick, and tell whether all is well. For `wait_until`."""
        try:
            self.tick()
            return self.healthy()
        except StoreError:
            return False

    def fetches(self) -> int:
        return sum(self.simulator.fetches(APP_ID, kind.value) for kind in KINDS)

    def force_with(self, spoil: Callable[[], object]) -> Report:
        """A forced run with something done while the ticket is under way."""
        original = self.refresher.store.acquire

        def spoilt(snapshot: Snapshot, attempt: str, caller: str) -> Any:
            acquired = original(snapshot, attempt, caller)
            if snapshot.target.kind is Kind.JS_TICKET:
                spoil()
            return acquired

        self.refresher.store.acquire = spoilt  # type: ignore[method-assign]
        try:
            return self.refresher.run_once(Command(force=True))
        finally:
            del self.refresher.store.acquire

    def stop(self) -> None:
        self.simulator.stop()
