"""The refresher in a World as one warm instance, and what a test does to a run of it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from platform_simulator import TICKET_PATH, TOKEN_PATH
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Snapshot, Target
from token_refresher.domain.report import Report
from token_refresher.settings.loader import read
from token_refresher.store.keys import WIRE_NAME, Keys, keys_of

from .world import World

TICK_S = 60
# A credential that is this old has less than the margin left.
DUE_S = 5500
# What is left of a command's time-out; a healthy Redis answers within a millisecond.
TIMEOUT_S = 0.3
# The design's bound: work + flight + tick + work = 30 + 60 + 60 + 30 s.
HEALED_WITHIN = 3
KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]


LOCK_MS = 90_000


class Job:
    """The refresher in a World, as a warm instance that is woken tick after tick.

    `on_pause` is called instead of waiting between the repeats of a command. Where the run itself waits, the World's
    time goes on by so much, and nothing sleeps.
    """

    def __init__(self, world: World, url: str = "", **policy: float) -> None:
        self.world, self.app_id = world, world.app_id()
        environment = world.settings_env(**{"redis_timeout_s": TIMEOUT_S, **policy})
        self.settings = read(environment | ({"REDIS_URL": url} if url else {}))
        store = wiring.store(self.settings)
        store._pause = lambda seconds: self.on_pause(seconds)
        program = wiring.refresher(self.settings, clock=world.steady, wall=world.now, pause=world.pause)
        self.refresher = replace(program, store=store)
        self.on_pause: Callable[[float], None] = lambda _seconds: None
        # Whatever becomes of the server, it connects again; and it waits for no frozen one.
        self.peek: Any = world.redis.client(socket_timeout=TIMEOUT_S)

    # -- looking -----------------------------------------------------------------------------

    def keys(self, kind: Kind) -> Keys:
        return keys_of(Target(self.app_id, kind))

    def code(self, kind: Kind) -> str | None:
        """What a reader finds, read as the published clients do; None when there is nothing, or no record."""
        try:
            code = json.loads(self.peek.get(self.keys(kind).value) or b"{}").get(WIRE_NAME[kind])
        except (redis.ResponseError, ValueError, AttributeError, RecursionError):
            return None
        return str(code) if code else None

    def look(self) -> None:
        """No reader ever holds a credential that the platform refuses. Whoever cannot read holds none."""
        if not self.world.redis.alive or self.world.redis.paused:
            return
        with contextlib.suppress(redis.RedisError):
            for kind in KINDS:
                code = self.code(kind)
                assert code is None or self.world.simulator.valid(self.app_id, kind.value, code), kind

    def fetches(self) -> list[int]:
        return [self.world.simulator.fetches(self.app_id, kind.value) for kind in KINDS]

    def requests(self) -> int:
        """What may have issued a credential."""
        return self.world.simulator.count(TOKEN_PATH) + self.world.simulator.count(TICKET_PATH)

    def healthy(self) -> bool:
        """Both credentials are there, are the newest ones, and nothing is locked or unsettled."""
        for kind in KINDS:
            newest = self.world.simulator.newest(self.app_id, kind.value)
            (seen,) = self.refresher.store.load([Target(self.app_id, kind)])
            assert isinstance(seen, Snapshot)
            locked = 0 < seen.lease.locked_until - seen.now_ms <= LOCK_MS
            if newest is None or self.code(kind) != newest.code or locked or not seen.lease.settled:
                return False
        return True

    # -- running -----------------------------------------------------------------------------

    def tick(self, command: Command | None = None) -> Report:
        """One run. Raises StoreError as it does."""
        self.look()
        try:
            return self.refresher.run_once(command or Command())
        finally:
            self.look()

    def tick_with(self, spoil: Callable[[], object], path: str = TOKEN_PATH, where: Any = "after") -> Report:
        """One run with something done to it while the platform's answer is under way."""
        gate = self.world.simulator.hold(path, where)
        reports: list[Report] = []
        run = threading.Thread(target=lambda: reports.append(self.refresher.run_once(Command())))
        run.start()
        gate.wait_reached()
        try:
            spoil()
        finally:
            gate.release()
            run.join()
        self.look()
        return reports[0]

    def fresh(self) -> None:
        """A first run that goes well."""
        self.tick()
        assert self.healthy()

    def due(self) -> None:
        """Both credentials are stored and alive, and are to be renewed now."""
        self.fresh()
        self.world.advance(DUE_S)

    def healed_after(self, within: int = HEALED_WITHIN) -> int:
        """Ticks until all is well again, at most `within`."""
        for count in range(1, within + 1):
            self.world.advance(TICK_S)
            with contextlib.suppress(StoreError):
                self.tick()
            if self.healthy():
                return count
        raise AssertionError(f"not healed within {within} ticks: {self.tick(Command(Action.STATUS)).as_dict()}")


def codes_in(report: Report) -> set[str]:
    """The codes of all errors in a report."""
    return {each.failure.code for each in report.targets if each.failure}
