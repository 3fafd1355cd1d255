"""One run in each tick, whatever becomes of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from token_refresher.bootstrap import RESTART, secret_refused
from token_refresher.daemon.json_logs import place
from token_refresher.domain.command import Command
from token_refresher.domain.errors import InputError, StoreError, TokenRefresherError
from token_refresher.domain.humanize import counted
from token_refresher.domain.report import Failure, Report
from token_refresher.web.history import DANGER, DEFECT, OK, REDIS, RunHistory

if TYPE_CHECKING:
    from token_refresher.refresh.run import Refresher

# A tick is shortened by up to this part, never lengthened: the policy's inequalities count on a tick at the latest
# every `tick_s`. A tenth of a minute is enough for replicas to drift apart within some ticks.
JITTER = 0.1
# How often a waiting scheduler looks at the clock, which goes on while the machine is suspended; a wait does not.
_LOOK_S = 5.0

_log = logging.getLogger(__name__)


class Scheduler:
    """Begins runs, and waits between them.

    `make` gives the program, before each run and again after a refused secret; where that is another one by then, it
    runs within the same tick. `clock` is steady (seconds), `random` gives numbers from 0 to 1, `new_id` names a run
    that brought no report. `on_run` is called at the end of each run, with its result (one of `history.RESULTS`) and
    the report, if there is one.
    """

    def __init__(
        self,
        make: Callable[[], Refresher],
        history: RunHistory,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        new_id: Callable[[], str],
        on_run: Callable[[str, Report | None], None] = lambda result, report: None,
    ) -> None:
        self._make, self._history, self._clock = make, history, clock
        self._random, self._new_id, self._on_run = random, new_id, on_run
        self._next_at = clock()
        self._woken = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Run at once and then with every tick, until `stop`; a `wake` makes it look at once.

        Raises SettingsError for what no repeat will cure.
        """
        while not stop.is_set():
            self.run_once()
            while not stop.is_set() and (left_s := self.next_delay()) > 0:
                self._woken.wait(min(left_s, _LOOK_S))
                self._woken.clear()
                self._history.heartbeat()

    def next_delay(self) -> float:
        """Duration (seconds) until the next run is to begin; 0 when it is time."""
        return max(0.0, self._next_at - self._clock())

    def run_now(self) -> None:
        """Begin the next run now; during a run, right after it. Any thread may ask."""
        self._next_at = self._clock()
        self.wake()

    def wake(self) -> None:
        """Look at the clock and at `stop` now. Any thread may ask."""
        self._woken.set()

    def run_once(self) -> Report | None:
        """One run, or two after a corrected secret; None when it brought no report, which is logged and counted.

        Raises SettingsError.
        """
        self._next_at = self._clock() + self._history.policy.tick_s * (1 - JITTER * self._random())
        self._history.heartbeat()
        try:
            return self._runs()
        except InputError:
            raise
        except TokenRefresherError as error:
            self._failed(REDIS if isinstance(error, StoreError) else DEFECT, error)
        except Exception as error:
            # A defect of this program, or no memory: the next run may fare better, and nothing else would start it.
            where = f"unexpected {type(error).__name__} in {place(error.__traceback__)}"
            self._failed(DEFECT, TokenRefresherError(where))
        finally:
            self._history.heartbeat()
        return None

    def _runs(self) -> Report:
        program = self._make()
        report = program.run_once(Command())
        self._ended(report)
        if not secret_refused(report):
            return report
        corrected = self._make()
        if corrected is not program:
            self._history.heartbeat()
            report = corrected.run_once(Command())
            self._ended(report)
        if secret_refused(report):
            _log.warning("%s", RESTART)
        return report

    def _ended(self, report: Report) -> None:
        error = report.alarm()
        result = DANGER if error else OK
        self._history.add(report, result)
        self._on_run(result, report)
        counts = report.summary()
        done = f"{counted(counts['targets'], 'credential')}, {counts['fetches']} fetched, {report.took_ms} ms"
        message = str(error) if error else done
        level = logging.ERROR if error else logging.INFO
        _log.log(level, "%s", message, extra={"run_id": report.run_id, "report": report.as_dict()})

    def _failed(self, result: str, error: TokenRefresherError) -> None:
        run_id = self._new_id()
        self._history.failed(result, run_id, Failure.of(error))
        self._on_run(result, None)
        _log.error("the run failed: %s", error, extra={"run_id": run_id})
