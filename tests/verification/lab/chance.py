"""Faults by chance: at every tick each kind of fault may strike, from a seed, so that a run can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from platform_simulator import CHECK_PATH, WRONG_TYPES, Fault
from platform_simulator.credentials import KINDS

from .held import HeldRun
from .scenario import At, Due, Trouble
from .troubles import PATH_OF, Answers, LateExecution, Shortened, SomebodyElse, Timer
from .worker import POINTS

if TYPE_CHECKING:
    from .stage import Stage

# Between one tick and the next (seconds).
_EVERY_S = 60.0
_NOW = At(0)
# One answer of each sort. What makes big answers is left out: it says nothing more, and takes time.
_ANSWERS: tuple[Fault, ...] = (
    *(Fault.status(number) for number in (429, 500, 502, 503, 504)),
    *(Fault.platform_status(number) for number in (4000, 4103, 2011)),
    *(Fault.wrong_types(variant) for variant in WRONG_TYPES),
    *(Fault.expiry(value) for value in (0, -1, 7201, 1e12, "7200", None)),
    *(Fault.cut(executed) for executed in (True, False)),
    *(Fault.no_answer(executed) for executed in (True, False)),
    *(Fault.html(executed) for executed in (True, False)),
    Fault.cut_mid_answer(),
    Fault.truncated(),
    Fault.empty(executed=True),
    Fault.same_code(),
    Fault.unicode_code(),
)


@dataclass(frozen=True, kw_only=True)
class Chance(Trouble):
    """At every tick, each of the ways below strikes with the probability `share`. What meets a fetch waits for one."""

    share: float = 0.01

    @property
    def name(self) -> str:
        return f"{self.share:.0%} random faults"

    def begin(self, stage: Stage) -> None:
        until_s = stage.place.elapsed_s() + self.lasting_s

        def draw() -> None:
            for trouble in drawn(stage.random, self.share):
                stage.plan(trouble)
            if stage.place.elapsed_s() + _EVERY_S < until_s:
                stage.later(_EVERY_S, draw)

        draw()

    def end(self, stage: Stage) -> None:
        stage.simulator.clear_faults()
        stage.forget_planned()


def drawn(chance: Random, share: float) -> list[Trouble]:
    """What strikes at one tick."""
    # Drawn in any case, so that chance takes the same course whatever strikes.
    return [trouble for trouble in [way(chance) for way in _WAYS] if chance.random() < share]


def _answer(chance: Random) -> Trouble:
    path = chance.choice(tuple(PATH_OF.values()))
    return Answers(start=Due(), faults=(chance.choice(_ANSWERS),), paths=(path,))


def _check(chance: Random) -> Trouble:
    return Answers(start=_NOW, faults=(chance.choice(_ANSWERS[:8]),), paths=(CHECK_PATH,))


def _late(chance: Random) -> Trouble:
    delay_s, kind = chance.uniform(1, 240), chance.choice(KINDS)
    return LateExecution(start=Due(), delay_s=delay_s, kind=kind, patience_s=0.1)


def _killed(chance: Random) -> Trouble:
    return HeldRun(start=Due(), point=chance.choice(POINTS), kind=chance.choice(KINDS))


def _frozen(chance: Random) -> Trouble:
    frozen_s = chance.choice((30, 70, 200, 700))
    point, kind = chance.choice(POINTS), chance.choice(KINDS)
    return HeldRun(start=Due(), point=point, kind=kind, frozen_s=frozen_s)


def _somebody(chance: Random) -> Trouble:
    return SomebodyElse(start=_NOW, kinds=(chance.choice(KINDS),))


def _shortened(chance: Random) -> Trouble:
    return Shortened(start=_NOW, left_s=chance.uniform(420, 600), kinds=(chance.choice(KINDS),))


def _missed(chance: Random) -> Trouble:
    return Timer(start=_NOW, lasting_s=60 * chance.choice((1, 2)), how="missed")


def _late_tick(chance: Random) -> Trouble:
    return Timer(start=_NOW, lasting_s=60, how="late")


def _doubled(chance: Random) -> Trouble:
    return Timer(start=_NOW, lasting_s=60, how="doubled")


_WAYS: tuple[Callable[[Random], Trouble], ...] = (
    _answer,
    _check,
    _late,
    _killed,
    _frozen,
    _somebody,
    _shortened,
    _missed,
    _late_tick,
    _doubled,
)
