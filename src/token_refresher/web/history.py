"""The runs so far: the latest report, a day of samples of each target, and whether all is well. Thread-safe.

The scheduler writes, everything that is served reads; nothing in here can start a run. Holds what reports hold, so
fingerprints and never credentials, and of the settings only names and policy.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from token_refresher.domain.model import Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Failure, Report, TargetReport

# How a run ended: all is well; some credential is in danger; Redis could not be read; a defect of this program stopped
# it.
OK, DANGER, REDIS, DEFECT = RESULTS = ("ok", "danger", "redis", "defect")

_DAY_S = 86400
# Memory: one sample takes some 200 bytes, so that thousands of applications stay below 20 MB in all.
_SAMPLES, _MOST_EACH, _LEAST_EACH = 100_000, 600, 24
# A day of runs, at a tick of a minute.
_RUNS = 1440
# More sentences than this help no one.
_REASONS = 10


class Sample(NamedTuple):
    """One target after one run. `at` (instant, unix seconds) is by Redis's clock; `outcome` and `error` may be "".

    `error` is a key of CATALOGUE. Another `fence` or `fingerprint` is another credential.
    """

    at: int
    seconds_left: int
    reason: str
    outcome: str
    error: str
    in_danger: bool
    fingerprint: str
    fence: int


class Run(NamedTuple):
    """One run. `at` (instant, unix seconds) is by this machine's clock; `result` is one of RESULTS.

    `fetches` counts credentials that were issued.
    """

    at: int
    result: str
    run_id: str
    took_ms: int = 0
    fetches: int = 0
    error: str = ""


class Latest(NamedTuple):
    """The latest report, and how long ago it was made (duration, seconds)."""

    report: Report
    age_s: float

    def seconds_left(self, target: TargetReport) -> int:
        """How long this target's credential lasts from now on (duration, seconds); 0 when there is none."""
        return max(0, int(target.seconds_left - self.age_s))


class RunHistory:
    """What the runs so far have shown.

    `names` (id to name) and `policy` change with the settings, all else with each run. `mistakes` are those of changed
    settings that were refused, empty when there are none. `clock` is steady (seconds), `now` gives unix seconds.
    Every method may be called by any thread.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        policy: Policy,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.names: Mapping[str, str] = MappingProxyType(dict(names))
        self.policy = policy
        self.mistakes: tuple[str, ...] = ()
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._beaten_at = clock()
        self._read_at: float | None = None
        self._report: tuple[Report, float] | None = None
        self._failure: Failure | None = None
        self._runs: deque[Run] = deque(maxlen=_RUNS)
        self._samples: dict[Target, deque[Sample]] = {}
        self._room = max(_LEAST_EACH, min(_MOST_EACH, _SAMPLES // max(1, 2 * len(names))))

    # -- for the scheduler ------------------------------------------------------------------------

    def heartbeat(self) -> None:
        """The scheduler is alive."""
        with self._lock:
            self._beaten_at = self._clock()

    def reconfigured(self, names: Mapping[str, str], policy: Policy) -> None:
        """The settings have changed; what is known of applications that are gone is forgotten."""
        with self._lock:
            self.names, self.policy = MappingProxyType(dict(names)), policy
            self._samples = {each: samples for each, samples in self._samples.items() if each.app_id in names}

    def redis_answered(self) -> None:
        """All targets were just read from Redis."""
        with self._lock:
            self._read_at = self._clock()

    def add(self, report: Report, result: str) -> None:
        """A run came to its end."""
        with self._lock:
            self._report, self._failure = (report, self._clock()), None
            fetches = sum(each.fetches for each in report.targets)
            self._runs.append(Run(int(self._now()), result, report.run_id, report.took_ms, fetches))
            for each in report.targets:
                self._remember(each, report.at)

    def failed(self, result: str, run_id: str, failure: Failure) -> None:
        """A run brought no report."""
        with self._lock:
            self._failure = failure
            self._runs.append(Run(int(self._now()), result, run_id, error=failure.code))

    def _remember(self, target: TargetReport, at: int) -> None:
        """Keep whatever happened; of the quiet runs between only so many that a day fits into half the room."""
        samples = self._samples.setdefault(target.target, deque(maxlen=self._room))
        last = samples[-1] if samples else None
        sample = Sample(
            at,
            target.seconds_left,
            target.reason,
            target.outcome.value if target.outcome else "",
            target.failure.code if target.failure else "",
            target.in_danger,
            target.fingerprint or "",
            target.fence,
        )
        changed = last is None or sample[2:] != last[2:]
        if changed or last is None or at - last.at >= 2 * _DAY_S / self._room:
            samples.append(sample)
        while samples and at - samples[0].at > _DAY_S:
            samples.popleft()

    # -- for what is served ------------------------------------------------------------------

    @property
    def latest(self) -> Latest | None:
        """The latest report; None before the first."""
        with self._lock:
            return Latest(self._report[0], self._clock() - self._report[1]) if self._report else None

    @property
    def failure(self) -> Failure | None:
        """Why the last run brought no report; None when it brought one."""
        with self._lock:
            return self._failure

    def runs(self) -> tuple[Run, ...]:
        """The runs of the last day, oldest first."""
        with self._lock:
            return tuple(self._runs)

    def samples(self, target: Target) -> tuple[Sample, ...]:
        """A day of one target, oldest first: every change, and between changes a sample now and then."""
        with self._lock:
            return tuple(self._samples.get(target, ()))

    def warnings(self) -> tuple[str, ...]:
        """What ought to be looked at although all may be well, as sentences: the page's, besides danger.

        Settings that are refused, what fails although its credential is good for a while, and the warnings of the last
        run.
        """
        with self._lock:
            report = self._report[0] if self._report else None
        mistakes = "; ".join(self.mistakes)
        found = [f"changed settings are refused, the old ones stay in use: {mistakes}"] if mistakes else []
        if report is None:
            return tuple(found)
        failing = [each for each in report.targets if each.error and not each.in_danger]
        found += [f"{each.target.app_id} {each.target.kind.value}: {each.error}" for each in failing[:_REASONS]]
        if len(failing) > _REASONS:
            found.append(f"and {len(failing) - _REASONS} more")
        return (*found, *report.warnings)

    def unhealthy_reasons(self) -> tuple[str, ...]:
        """Why not all is well, as sentences; empty when it is.

        It is when Redis was read within the last two ticks and no credential is in danger, now and not only when the
        latest report was made.
        """
        with self._lock:
            read_ago_s = None if self._read_at is None else self._clock() - self._read_at
            report, failure = self._report, self._failure
        found = []
        because = f" ({failure.code})" if failure else ""
        if read_ago_s is None:
            found.append(f"Redis has not been read yet{because}")
        elif read_ago_s >= 2 * self.policy.tick_s:
            found.append(f"Redis was last read {read_ago_s:.0f} s ago{because}")
        elif failure and failure.code == "internal_error":
            found.append("the last run was stopped by a defect (internal_error)")
        elif report is None:
            found.append("the first run has not ended yet")
        age_s = self._clock() - report[1] if report else 0.0
        bad = [each for each in report[0].targets if each.in_danger_after(age_s)] if report else []
        for each in bad[:_REASONS]:
            why = each.failure.code if each.failure else f"{each.reason}: {each.sentence}"
            left_s = max(0, int(each.seconds_left - age_s))
            found.append(f"{each.target.app_id} {each.target.kind.value}: {left_s} s left ({why})")
        if len(bad) > _REASONS:
            found.append(f"and {len(bad) - _REASONS} more")
        return tuple(found)

    @property
    def is_live(self) -> bool:
        """Whether the scheduler gave a heartbeat: it has to within a tick and a run, and twice that is waited for."""
        with self._lock:
            return self._clock() - self._beaten_at < 2 * (self.policy.tick_s + 2 * self.policy.work_s)
