"""Faults of processes: a run frozen or killed at a named point of its fetch, as a real child with real signals."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_simulator import Gate
from platform_simulator.credentials import JS_TICKET

from .crew import Copy
from .scenario import Trouble
from .systems import started
from .troubles import PATH_OF
from .worker import POINTS

if TYPE_CHECKING:
    from .stage import Stage

# How often (real seconds) it is looked whether a child's request has reached the platform.
_LOOK_S = 0.02
# How long (real seconds) an answer may take to leave, on a busy machine.
_ANSWERED_S = 2.0


@dataclass(frozen=True, kw_only=True)
class HeldRun(Trouble):
    """The next run that fetches a credential of `kind` is caught at `point`: killed, or frozen for `frozen_s` seconds.

    `meanwhile`: another run starts at that moment. `dies`: it is killed after all, when its request is out.
    `clock_jumps_s`: it is not frozen, but its time of day jumps. `alone`: there is no other run ever after.
    """

    point: str
    kind: str = JS_TICKET
    frozen_s: float | None = None
    meanwhile: bool = False
    dies: bool = False
    clock_jumps_s: float = 0.0
    alone: bool = False
    ends_itself = True

    def __post_init__(self) -> None:
        if self.point not in POINTS:
            raise ValueError(f"{self.point!r} is none of {', '.join(POINTS)}")

    @property
    def name(self) -> str:
        what = "killed" if self.frozen_s is None else f"frozen for {self.frozen_s:g} s"
        what = f"clock jumps by {self.clock_jumps_s:+g} s" if self.clock_jumps_s else what
        return f"{what} {self.point}" + (", then killed" if self.dies else "")

    def begin(self, stage: Stage) -> None:
        if stage.stand_in is not None:
            return stage.over(self)  # another one waits to be caught already
        stage.stand_in = _StandIn(self, stage).run
        return None


class _StandIn:
    """The process that runs in place of the crew until it is caught."""

    def __init__(self, trouble: HeldRun, stage: Stage) -> None:
        self._trouble, self._stage = trouble, stage
        self._gate: Gate | None = None
        self._clock_file = None
        if trouble.clock_jumps_s:
            self._clock_file = stage.place.world.redis.directory / "clock-of-stand-in"
            self._clock_file.write_text("+0.000\n")
        hold = f"{trouble.point}/{trouble.kind}"
        child = stage.system.child("" if trouble.point == "after send" else hold, clock_file=self._clock_file)
        self._copy = Copy(stage, started(stage.stack, child, self._clock_file))
        self._copy.hear()
        if trouble.point == "after send":
            self._gate = stage.simulator.hold(PATH_OF[trouble.kind], "after")

    def run(self, order: str) -> None:
        """One run, which may be the one that is caught."""
        self._copy.tell(order)
        if self._caught():
            self._stage.stand_in = None
            self._strike()

    def _caught(self) -> bool:
        if self._gate is None:
            return not self._copy.hear()
        while True:
            try:
                self._gate.wait_reached(_LOOK_S)
            except TimeoutError:
                pass
            else:
                return True
            try:
                self._copy.hear(_LOOK_S)
            except TimeoutError:
                continue
            return False

    def _strike(self) -> None:
        trouble, stage, child = self._trouble, self._stage, self._copy.child
        if trouble.alone:
            stage.starts.append(list)
        if trouble.clock_jumps_s and self._clock_file:
            self._clock_file.write_text(f"{trouble.clock_jumps_s:+.3f}\n")
            return self._go_on()
        if trouble.frozen_s is None:
            child.kill()
            self._release()
            return stage.over(trouble)
        child.freeze()
        self._release()
        if trouble.meanwhile:
            stage.tick()
        stage.later(trouble.frozen_s, self._thaw)
        return None

    def _release(self) -> None:
        if self._gate is not None:
            self._gate.release()
            # Where faults come by chance, this one answer may be kept back for ever.
            with contextlib.suppress(TimeoutError):
                self._gate.wait_passed(_ANSWERED_S)

    def _thaw(self) -> None:
        if self._trouble.dies:
            return self._send_and_die()
        self._copy.child.thaw()
        return self._go_on()

    def _go_on(self) -> None:
        if self._gate is None:
            self._copy.child.send("go")
        self._copy.hear()
        self._copy.child.stop()
        self._stage.look()
        self._stage.over(self._trouble)

    def _send_and_die(self) -> None:
        gate = self._stage.simulator.hold(PATH_OF[self._trouble.kind], "after")
        self._copy.child.thaw()
        self._copy.child.send("go")
        gate.wait_reached()
        self._copy.child.kill()
        gate.release()
        self._stage.over(self._trouble)
