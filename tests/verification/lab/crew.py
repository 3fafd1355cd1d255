"""Who runs at a tick: the function in this process, and further copies of it as processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from support.processes import Child

from .systems import started
from .worker import ANY

if TYPE_CHECKING:
    from .stage import Stage

# How long (real seconds) a guest that begins first may work before the others begin.
_HEAD_START_S = 0.3


class Crew:
    """The copies of a scenario. The first runs in this process; each deployment has one, and is run in its turn.

    `guests` are copies that a fault brings along: they begin before all others.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._copies: list[Copy] = []
        self._turn = 0
        self.guests: list[Guest] = []

    def start(self) -> None:
        """Start the processes; they end with the scenario."""
        scenario, place = self._stage.scenario, self._stage.place
        for number in range(1, scenario.copies):
            clock_file = None
            if scenario.wrong_clock_s and number == scenario.copies - 1:
                clock_file = place.world.redis.directory / f"clock-of-copy-{number}"
                clock_file.write_text(f"{scenario.wrong_clock_s:+.3f}\n")
            child = self._stage.system.child(clock_file=clock_file, more={"LAB_HOST": f"copy-{number}"})
            self._copies.append(Copy(self._stage, started(self._stage.stack, child, clock_file)))
        for copy in self._copies:
            copy.hear()

    def begin_early(self) -> float:
        """Let the guests begin whose timer fires earlier; returns by how much (seconds)."""
        early = [guest for guest in self.guests if guest.ahead_s]
        for guest in early:
            guest.set_off("run")
        return max((guest.ahead_s for guest in early), default=0.0)

    def run(self, order: str) -> None:
        """One run of each copy at once, or, by turns, of one."""
        for guest in self.guests:
            if not guest.ahead_s:
                guest.set_off(order)
        self._run_copies(order)
        for guest in self.guests:
            guest.come_back()

    def _run_copies(self, order: str) -> None:
        if self._stage.scenario.turns:
            self._turn = (self._turn + 1) % (len(self._copies) + 1)
            if self._turn:
                self._copies[self._turn - 1].tell(order)
                self._copies[self._turn - 1].hear()
                return
        else:
            for copy in self._copies:
                copy.tell(order)
        for deployment in range(self._stage.place.deployments):
            self._here(order, deployment)
        if not self._stage.scenario.turns:
            for copy in self._copies:
                copy.hear()

    def _here(self, order: str, deployment: int) -> None:
        stage = self._stage
        stage.runs += 1
        try:
            stage.system.run(order, deployment)
        except Exception:
            # Whatever it is: the timer fires again, as it would for a function or a cron task that failed.
            stage.failed_runs += 1


class Copy:
    """One process of the system under test."""

    def __init__(self, stage: Stage, child: Child) -> None:
        self._stage, self.child = stage, child
        # The instant of the place's steady clock at which it goes on.
        self._paused_until: float | None = None

    def tell(self, order: str) -> None:
        """Have it run; `hear` waits for the end."""
        self._stage.runs += 1
        self.child.send(order)

    def hear(self, wait_s: float = 30.0, *, pauses: bool = True) -> bool | None:
        """Wait until it is ready again (True) or is held (False); without `pauses` also until it pauses (None).

        Raises TimeoutError after `wait_s` real seconds.
        """
        while True:
            if self._paused_until is not None:
                if not pauses:
                    return None
                place = self._stage.place
                place.pause(max(0.0, self._paused_until - place.steady()))
                self._paused_until = None
                self.child.send()
            line = self.child.wait_for("", wait_s)
            if line == "ready":
                return True
            if line.startswith("at:"):
                return False
            if line.startswith("pauses:"):
                self._paused_until = float(line.partition(":")[2])
            if line.startswith("failed:"):
                self._stage.failed_runs += 1


class Guest:
    """A copy with settings of its own (`environ`), whose timer fires `ahead_s` seconds before that of the others.

    With `killed` (a point) it is killed there whenever it comes so far, and starts again at the next tick.
    """

    def __init__(self, stage: Stage, environ: Mapping[str, str], ahead_s: float, killed: str) -> None:
        self._stage, self._environ, self._killed = stage, dict(environ), killed
        self.ahead_s = ahead_s
        self._copy: Copy | None = None
        self._away = False

    def set_off(self, order: str) -> None:
        """Begin a run, and go on by itself where that takes longer than a head start."""
        if self._copy is None:
            hold = f"{self._killed}/{ANY}" if self._killed else ""
            child = self._stage.system.child(hold, more=self._environ)
            self._copy = Copy(self._stage, started(self._stage.stack, child, None))
            self._copy.hear()
        self._copy.tell(order)
        self._away = True
        try:
            self._ended(self._copy.hear(_HEAD_START_S, pauses=False))
        except TimeoutError:
            return

    def come_back(self) -> None:
        """Wait for the end of the run, where there is one."""
        if self._copy is not None and self._away:
            self._ended(self._copy.hear())

    def _ended(self, ready: bool | None) -> None:
        self._away = ready is None
        if ready is False and self._copy is not None:
            self._copy.child.kill()
            self._copy = None

    def leave(self) -> None:
        """Run no more."""
        self.come_back()
        if self._copy is not None:
            self._copy.child.stop()
        self._copy = None
