"""Who runs at a tick: the function in this process, and further copies of it as processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.processes import Child

from .systems import started

if TYPE_CHECKING:
    from .stage import Stage


class Crew:
    """The copies of a scenario. The first runs in this process; each deployment has one, and is run in its turn."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._copies: list[Copy] = []
        self._turn = 0

    def start(self) -> None:
        """Start the processes; they end with the scenario."""
        scenario, place = self._stage.scenario, self._stage.place
        for number in range(1, scenario.copies):
            clock_file = None
            if scenario.wrong_clock_s and number == scenario.copies - 1:
                clock_file = place.world.redis.directory / f"clock-of-copy-{number}"
                clock_file.write_text(f"{scenario.wrong_clock_s:+.3f}\n")
            child = started(self._stage.stack, self._stage.system.child(clock_file=clock_file), clock_file)
            self._copies.append(Copy(self._stage, child))
        for copy in self._copies:
            copy.hear()

    def run(self, order: str) -> None:
        """One run of each copy at once, or, by turns, of one."""
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

    def tell(self, order: str) -> None:
        """Have it run; `hear` waits for the end."""
        self._stage.runs += 1
        self.child.send(order)

    def hear(self, wait_s: float = 30.0) -> bool:
        """Wait until it is ready again (True) or is held (False). Raises TimeoutError after `wait_s` real seconds."""
        while True:
            line = self.child.wait_for("", wait_s)
            if line == "ready":
                return True
            if line.startswith("at:"):
                return False
            if line.startswith("failed:"):
                self._stage.failed_runs += 1
