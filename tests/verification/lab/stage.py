"""The engine: one scenario with one system, event after event in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from platform_simulator import Simulator
from platform_simulator.credentials import KINDS
from support.cron_pattern import KEYS

from .crew import Crew
from .place import READ_ERRORS, Place
from .scenario import At, Due, Scenario, Trouble
from .stored import MEMBERS, code_in, expiry_in
from .systems import System
from .timeline import Band, Fetch, Held, Look, Timeline, worst

# How often readers look. Twenty seconds is what the slowest reader of the published clients may cache, many times over.
SAMPLE_S = 20.0
# The recorded expiry may be later than the real one by so much (seconds): as long as checkCode may be off.
_ABOUT_S = 60.0
# A credential that is due waits for the next tick, and a tick may fall out: not yet stale (ticks, seconds).
_OVERDUE_TICKS, _OVERDUE_S = 2, 10.0
# Ends are recorded in whole seconds, and work takes its time here, too: what is due so soon (seconds) after the timer
# fires may be fetched by this run already, or only by the next.
_NEARLY_S = 5.0
# At the same instant readers look first, then faults begin or end, then the timer fires.
_LOOK, _TROUBLE, _TIMER = range(3)


class Stage:
    """Everything that faults may touch while a scenario plays. Instants are seconds since the beginning.

    The last of `starts` gives, for each time the timer fires, after how many seconds runs begin; `foreign` holds the
    credentials that somebody else fetched. `stand_in`, where set, does the next runs in place of the crew. `calm_runs`:
    runs that ended well although readers found no credential after it.
    """

    def __init__(self, scenario: Scenario, system: System, place: Place, seed: int) -> None:
        self.scenario, self.system, self.place = scenario, system, place
        # The same for every system, so that all get the same faults.
        self.random = random.Random(f"{seed}/{scenario.name}")
        self.timeline = Timeline()
        self.stack = ExitStack()
        self.crew = Crew(self)
        self.stand_in: Callable[[str], None] | None = None
        self.starts: list[Callable[[], list[float]]] = [lambda: [0.0]]
        self.foreign: set[str] = set(place.planted)
        self.runs = self.failed_runs = self.calm_runs = 0
        self._events: list[tuple[float, int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._waiting: list[Trouble] = []
        self._optional: list[Trouble] = []
        self._planned: dict[int, Trouble] = {}
        self._open: dict[int, tuple[Trouble, float]] = {}
        # By kind what each reader found for each application.
        self.read: dict[str, list[tuple[str, bytes | None]]] = {}

    @property
    def simulator(self) -> Simulator:
        return self.place.simulator

    @property
    def app_id(self) -> str:
        return self.place.app_id

    # -- the course of events ----------------------------------------------------------------

    def play(self) -> Timeline:
        """From the first tick to the end; every process that was started is gone then."""
        with self.stack:
            self.crew.start()
            self.tick()
            self._every(self.scenario.tick_s, _TIMER, self._timer)
            self._every(SAMPLE_S, _LOOK, self.look)
            for trouble in self.scenario.troubles:
                if isinstance(trouble.start, At):
                    self._schedule(trouble.start.at_s, _TROUBLE, partial(self.begin, trouble))
                else:
                    self._waiting.append(trouble)
            while self._events[0][0] < self.scenario.duration_s:
                at_s, _, _, action = heapq.heappop(self._events)
                self.place.advance_to(at_s)
                action()
            self.place.advance_to(self.scenario.duration_s)
            self.look()
        self.timeline.fetches = self._fetches()
        return self.timeline

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after so many seconds."""
        self._schedule(self.place.elapsed_s() + delay_s, _TROUBLE, action)

    def _schedule(self, at_s: float, rank: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, rank, next(self._order), action))

    def _every(self, interval_s: float, rank: int, action: Callable[[], None]) -> None:
        times = itertools.count(1)

        def again() -> None:
            self._schedule(next(times) * interval_s, rank, once)

        def once() -> None:
            action()
            again()

        again()

    # -- runs --------------------------------------------------------------------------------

    def _timer(self) -> None:
        self._begin_due()
        delays_s = self.starts[-1]()
        ahead_s = self.crew.begin_early() if delays_s else 0.0
        for delay_s in delays_s:
            delay_s += ahead_s
            if delay_s:
                self.later(delay_s, self.tick)
            else:
                self.tick()

    def tick(self, order: str = "run") -> None:
        """One run (of each copy), and readers look at once at what it did."""
        failed = self.failed_runs
        if self.stand_in is not None:
            self.stand_in(order)
        else:
            self.crew.run(order)
        self.look()
        missing = Held.NONE in self.timeline.looks[-1].held.values()
        self.calm_runs += missing and failed == self.failed_runs

    # -- faults ------------------------------------------------------------------------------

    def begin(self, trouble: Trouble) -> None:
        """A fault begins now."""
        self._open[id(trouble)] = (trouble, self.place.elapsed_s())
        trouble.begin(self)
        if not trouble.ends_itself:
            self.later(trouble.lasting_s, lambda: self._end(trouble)) if trouble.lasting_s else self._end(trouble)

    def plan(self, trouble: Trouble) -> None:
        """A fault that is not in the scenario's list: now, or when a fetch is due, which may never come."""
        # Kept, so that no other one gets its identity.
        self._planned[id(trouble)] = trouble
        if isinstance(trouble.start, At):
            self.begin(trouble)
        else:
            self._optional.append(trouble)

    def forget_planned(self) -> None:
        """What waits for a fetch that is due waits no longer."""
        self._optional.clear()

    def _end(self, trouble: Trouble) -> None:
        trouble.end(self)
        self.over(trouble)

    def over(self, trouble: Trouble) -> None:
        """A fault has ended."""
        _, began_s = self._open.pop(id(trouble))
        self.timeline.bands.append(Band(trouble.name, began_s, self.place.elapsed_s()))

    def unfinished(self) -> list[str]:
        """Faults that never came, or never ended: then the scenario has not shown what it says."""
        begun = [trouble for trouble, _ in self._open.values() if id(trouble) not in self._planned]
        return [trouble.name for trouble in [*self._waiting, *begun]]

    def _begin_due(self) -> None:
        if not (self._waiting or self._optional) or not self.due():
            return
        now_s = self.place.elapsed_s()
        for waiting in (self._waiting, self._optional):
            for trouble in list(waiting):
                if isinstance(trouble.start, Due) and now_s >= trouble.start.after_s:
                    waiting.remove(trouble)
                    self.begin(trouble)

    def due(self) -> bool:
        """Whether the system would fetch now, by what is stored; where it is nearly so, time passes until it is."""
        self.look()
        ends = [expiry_in(raw) for found in self.read.values() for _, raw in found if raw is not None]
        ahead_s = min(ends, default=math.inf) - self.place.now() - self.system.margin_s
        if ahead_s > _NEARLY_S:
            return False
        self.place.advance_to(self.place.elapsed_s() + ahead_s)
        return True

    # -- readers -----------------------------------------------------------------------------

    def look(self) -> None:
        """Every reader reads, and the platform itself says whether it would accept what they hold."""
        held = {}
        for kind in KINDS:
            self.read[kind] = []
            readers = [(client, app_id) for client in self.place.readers for app_id in self.place.read_ids]
            held[kind] = worst(self._held(client, kind, app_id) for client, app_id in readers)
        quiet = bool(self._waiting or self._open or not self.timeline.bands)
        self.timeline.add(Look(self.place.elapsed_s(), held, quiet or self._healthy(held)))

    def code(self, kind: str) -> str | None:
        """What the last look found for the first application in the first deployment."""
        raw = next((raw for app_id, raw in self.read[kind] if app_id == self.app_id), None)
        return code_in(raw, kind) if raw else None

    def _held(self, client: Any, kind: str, app_id: str) -> Held:
        try:
            raw = client.get(KEYS[MEMBERS[kind]].format(app_id))
        except READ_ERRORS:
            return Held.UNREADABLE
        self.read[kind].append((app_id, raw))
        code = code_in(raw, kind) if raw else None
        if code is None:
            return Held.NONE
        return Held.ACCEPTED if self.simulator.valid(app_id, kind, code) else Held.REFUSED

    def _healthy(self, held: dict[str, Held]) -> bool:
        """Whether every credential is accepted, fresh, and dies no sooner than recorded, and the system is settled."""
        if any(state is not Held.ACCEPTED for state in held.values()):
            return False
        now = self.place.now()
        overdue_s = _OVERDUE_TICKS * self.scenario.tick_s + _OVERDUE_S
        for kind, found in self.read.items():
            for app_id, raw in found:
                expires_at, code = expiry_in(raw or b""), code_in(raw or b"", kind) or ""
                until = (self.simulator.valid_until(app_id, kind, code) or 0.0) - self.place.platform_ahead_s
                if expires_at - now < self.system.margin_s - overdue_s or until < expires_at - _ABOUT_S:
                    return False
        try:
            return all(self.system.settled(client) for client in self.place.readers)
        except READ_ERRORS:
            return False

    def _fetches(self) -> list[Fetch]:
        began = self.place.began + self.place.platform_ahead_s
        return [
            Fetch(issued.issued_at - began, kind, issued.code not in self.foreign)
            for app_id in self.place.app_ids
            for kind in KINDS
            for issued in self.simulator.issued(app_id, kind)
        ]
