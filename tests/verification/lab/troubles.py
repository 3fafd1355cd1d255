"""Faults of platform, timer and people: everything but processes that are held."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Gate
from platform_simulator.credentials import ACCESS_TOKEN, JS_TICKET, KINDS
from token_refresher.domain.model import Kind
from token_refresher.reader.sync_reader import Reader

from .scenario import Trouble

if TYPE_CHECKING:
    from .stage import Stage

FETCHES = (TOKEN_PATH, TICKET_PATH)
EVERYTHING = (*FETCHES, CHECK_PATH)
PATH_OF = {ACCESS_TOKEN: TOKEN_PATH, JS_TICKET: TICKET_PATH}


@dataclass(frozen=True, kw_only=True)
class Answers(Trouble):
    """The platform answers wrongly: one request of each path, or, where it lasts, every one.

    `apps` are the numbers of the applications whose requests these are; none: of all.
    """

    faults: tuple[Fault, ...]
    paths: tuple[str, ...] = FETCHES
    apps: tuple[int, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or ", ".join(sorted({fault.name for fault in self.faults}))

    def begin(self, stage: Stage) -> None:
        whose: list[str | None] = [stage.place.app_ids[number] for number in self.apps] or [None]
        for path, app_id in itertools.product(self.paths, whose):
            if not self.lasting_s:
                stage.simulator.script(path, self.faults[0], app_id=app_id)
                continue
            # Each in its turn, the last for the rest.
            for fault in self.faults[:-1]:
                stage.simulator.script(path, fault, app_id=app_id)
            stage.simulator.script(path, self.faults[-1], times=None, app_id=app_id)

    def end(self, stage: Stage) -> None:
        if self.lasting_s:
            stage.simulator.clear_faults()


@dataclass(frozen=True, kw_only=True)
class LateExecution(Trouble):
    """A request is not answered, and carried out only long after the client left."""

    delay_s: float
    kind: str = JS_TICKET
    patience_s: float = 10.0
    ends_itself = True

    @property
    def name(self) -> str:
        return f"executed {self.delay_s:g} s late"

    def begin(self, stage: Stage) -> None:
        gate = Gate()
        stage.simulator.script(PATH_OF[self.kind], Fault.late(gate))
        stage.later(self.delay_s, lambda: self._carry_out(stage, gate))

    def _carry_out(self, stage: Stage, gate: Gate) -> None:
        gate.release()
        # Where faults come by chance, another one may have kept the request from ever coming this far.
        with contextlib.suppress(TimeoutError):
            gate.wait_passed(self.patience_s)
        stage.over(self)


@dataclass(frozen=True, kw_only=True)
class PlatformDown(Trouble):
    """Nobody listens at the platform's address. What it has issued stays as it is."""

    @property
    def name(self) -> str:
        return "platform down"

    def begin(self, stage: Stage) -> None:
        stage.simulator.stop()

    def end(self, stage: Stage) -> None:
        stage.simulator.start()


@dataclass(frozen=True, kw_only=True)
class SomebodyElse(Trouble):
    """Somebody else refreshes the applications of these numbers: once, or again and again (`every_s`)."""

    every_s: float = 60.0
    kinds: tuple[str, ...] = KINDS
    apps: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        return "somebody else refreshes"

    def begin(self, stage: Stage) -> None:
        until_s = stage.place.elapsed_s() + self.lasting_s

        def refresh() -> None:
            for number, kind in itertools.product(self.apps, self.kinds):
                stage.foreign.add(stage.simulator.issue(stage.place.app_ids[number], kind).code)
            if stage.place.elapsed_s() + self.every_s < until_s:
                stage.later(self.every_s, refresh)

        refresh()


@dataclass(frozen=True, kw_only=True)
class Shortened(Trouble):
    """The platform ends the newest credential earlier than it said, and tells nobody."""

    left_s: float
    kinds: tuple[str, ...] = KINDS

    @property
    def name(self) -> str:
        return f"life cut to {self.left_s:g} s"

    def begin(self, stage: Stage) -> None:
        for kind in self.kinds:
            newest = stage.simulator.newest(stage.app_id, kind)
            if newest:
                stage.simulator.shorten(stage.app_id, kind, newest.code, self.left_s)


@dataclass(frozen=True, kw_only=True)
class Complaints(Trouble):
    """So many readers say, every minute, that the platform refused their credential; or only when it really does."""

    readers: int = 1000
    true_ones: bool = False

    @property
    def name(self) -> str:
        return f"{self.readers} readers complain" + (" when refused" if self.true_ones else "")

    def begin(self, stage: Stage) -> None:
        if stage.system.name != "ours":
            return  # there is nobody to complain to
        until_s = stage.place.elapsed_s() + self.lasting_s
        client = stage.place.readers[0]
        readers = [Reader(client, clock=stage.place.steady) for _ in range(self.readers)]

        def complain() -> None:
            for kind in Kind:
                held = stage.code(kind.value)
                if held is None or (self.true_ones and stage.simulator.valid(stage.app_id, kind.value, held)):
                    continue
                for reader in readers:
                    reader.report_rejected(stage.app_id, kind, held)
            if stage.place.elapsed_s() + 60 < until_s:
                stage.later(60, complain)

        complain()


# -- the timer -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Timer(Trouble):
    """The timer's fires are `missed`, `late`, `doubled`; or missed and then made up for all at once (`burst`)."""

    how: str

    @property
    def name(self) -> str:
        return f"ticks {self.how}"

    def begin(self, stage: Stage) -> None:
        missed: list[float] = []

        def skip() -> list[float]:
            missed.append(0.0)
            return []

        ways = {
            "missed": skip,
            "burst": skip,
            "late": lambda: [stage.random.uniform(0, 59)],
            "doubled": lambda: [0.0, 0.0],
        }
        way = ways[self.how]
        stage.starts.append(way)

        def back() -> None:
            stage.starts.remove(way)
            if self.how == "burst":
                for _ in missed:
                    stage.tick()

        stage.later(self.lasting_s, back)


@dataclass(frozen=True, kw_only=True)
class Forced(Trouble):
    """Somebody forces a refresh by hand, again and again."""

    every_s: float

    @property
    def name(self) -> str:
        return f"forced every {self.every_s:g} s"

    def begin(self, stage: Stage) -> None:
        until_s = stage.place.elapsed_s() + self.lasting_s

        def force() -> None:
            stage.tick("force")
            if stage.place.elapsed_s() + self.every_s < until_s:
                stage.later(self.every_s, force)

        force()
