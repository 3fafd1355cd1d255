"""One run: read everything, decide, renew what is due, report. `run_once` is the program; all else are doors to it."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .course import Course
from .errors import RefreshFailedError, StoreError, TokenRefresherError
from .model import Action, App, Command, Kind, Outcome, Snapshot, Target
from .plan import Condemned, Reason, Step, Verdict, at_work, decide
from .policy import Policy
from .report import Failure, Report, TargetReport
from .selection import tokens_for, wanted
from .store import Store

if TYPE_CHECKING:
    from .open_platform import OpenPlatform
    from .renewal import Renewal

# Somebody else's refreshes, noticed this often within an hour, are no accident.
_OTHERS, _OTHERS_WITHIN_S = 3, 3600

Read = Snapshot | StoreError


@dataclass(frozen=True)
class Refresher:
    """Everything a run needs, handed in.

    `platform` opens connections to the platform for one run. `clock` is steady (seconds), `wall` the machine's own
    (unix seconds). `new_id` makes a text that nobody else ever makes. `on_done` is told of each finished application
    (for a progress bar).
    """

    apps: Sequence[App]
    policy: Policy
    store: Store
    platform: Callable[[], OpenPlatform]
    clock: Callable[[], float]
    wall: Callable[[], float]
    new_id: Callable[[], str]
    on_done: Callable[[str], None] = lambda app_id: None

    def run_once(self, command: Command, time_limit_s: float | None = None) -> Report:
        """Do one run within `time_limit_s` (duration; None: two working times) and tell what came of it.

        Raises StoreError when Redis could not be read: then nothing was fetched. Failures of single targets are values
        in the report; `alarm` tells whether they are worth an exception.
        """
        began = self.clock()
        until = began + (2 * self.policy.work_s if time_limit_s is None else time_limit_s)
        targets = wanted(tuple(app.app_id for app in self.apps), command)
        needed = targets if not command.kinds else [*targets, *tokens_for(targets)]
        found = dict(zip(needed, self.store.load(needed), strict=True))
        job = _Job(self, command, found, self.clock(), until)
        chosen = {target.app_id for target in targets}
        reports = job.run([app for app in self.apps if app.app_id in chosen], targets)
        self.store.rest()
        at = max((read.now_ms for read in found.values() if isinstance(read, Snapshot)), default=0) // 1000
        took_ms = round((self.clock() - began) * 1000)
        return Report(self.new_id(), command.action.value, at, took_ms, tuple(reports), _warnings(reports, at))


def alarm(report: Report) -> RefreshFailedError | None:
    """The error to raise when some code is missing or about to expire, or the program itself failed; else None."""
    defects = [each for each in report.targets if each.failure and each.failure.code == "internal_error"]
    bad = report.in_danger or tuple(defects)
    if not bad:
        return None
    told = [
        f"{each.target.app_id} {each.target.kind.value}: {each.seconds_left} s left, "
        + (f"{each.failure.code}: {each.failure.message}" if each.failure else each.sentence)
        for each in bad[:10]
    ]
    more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
    return RefreshFailedError("; ".join(told) + more)


class _Job:
    """The work of one run, application by application."""

    def __init__(
        self, refresher: Refresher, command: Command, found: dict[Target, Read], read_at: float, until: float
    ) -> None:
        self._refresher, self._command, self._found = refresher, command, found
        self._read_at, self._until = read_at, until
        self._alarm_below_s = refresher.policy.alarm_below_s
        self._steps: dict[Target, Step] = {}

    def run(self, apps: Sequence[App], targets: Sequence[Target]) -> list[TargetReport]:
        """Reports for every target, in order. Only applications with something to do cost a thread."""
        wanted_of: dict[str, list[Target]] = {}
        for target in targets:
            wanted_of.setdefault(target.app_id, []).append(target)
        busy = [app for app in apps if any(self._has_work(target) for target in wanted_of[app.app_id])]
        done = self._work(busy, wanted_of) if busy else {}
        reports: list[TargetReport] = []
        for app in apps:
            reports += done.get(app.app_id) or [self._idle(target) for target in wanted_of[app.app_id]]
        return reports

    def _work(self, busy: Sequence[App], wanted_of: dict[str, list[Target]]) -> dict[str, list[TargetReport]]:
        """The reports of applications with something to do, by their ids; each in a thread, as far as there are any."""
        # Most runs find nothing due, and a cold start pays for every module.
        from concurrent.futures import ThreadPoolExecutor

        from .renewal import Renewal

        done: dict[str, list[TargetReport]] = {}
        workers = min(self._refresher.policy.concurrency, len(busy))
        with self._refresher.platform() as platform, ThreadPoolExecutor(workers) as pool:
            renewal = Renewal(
                self._refresher.store,
                platform,
                self._refresher.policy,
                self._command,
                clock=self._refresher.clock,
                wall=self._refresher.wall,
                read_at=self._read_at,
                until=self._until,
                new_attempt=self._refresher.new_id,
            )

            def work(app: App) -> None:
                done[app.app_id] = self._application(renewal, app, wanted_of[app.app_id])

            for app in busy:
                # Where no more threads can be started, those that there are do it, or else this one.
                with contextlib.suppress(RuntimeError):
                    pool.submit(work, app)
            pool.shutdown()
            for app in busy:
                if app.app_id not in done:
                    work(app)
        return done

    def _has_work(self, target: Target) -> bool:
        read = self._found[target]
        if isinstance(read, StoreError) or self._command.action is Action.STATUS:
            return False
        step = self._step(read)
        return step.due or step.ask or (self._command.action is Action.CHECK and read.live is not None)

    def _step(self, read: Snapshot) -> Step:
        """What was read asks for; decided once, though most targets are looked at twice."""
        if read.target not in self._steps:
            self._steps[read.target] = decide(read, self._refresher.policy, self._command)
        return self._steps[read.target]

    def _idle(self, target: Target) -> TargetReport:
        read = self._found[target]
        if isinstance(read, StoreError):
            reason, failure = Reason.NOT_READ.value, Failure.of(read)
            return TargetReport(target, reason, read.what, Outcome.DEFERRED, failure, in_danger=True)
        step = self._step(read)
        elsewhere = step.reason is Reason.LOCKED and at_work(read, self._refresher.policy)
        return Course(read, step, elsewhere).report(self._alarm_below_s)

    def _application(self, renewal: Renewal, app: App, targets: Sequence[Target]) -> list[TargetReport]:
        """Renew one application's targets; a defect of ours in it is reported and stops no other."""
        try:
            return self._renewed(renewal, app, targets)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} in {place.name}, line {place.lineno}"
            failure = Failure.of(TokenRefresherError(f"unexpected {where}"))
            return [replace(self._idle(each), outcome=Outcome.DEFERRED, failure=failure) for each in targets]
        finally:
            self._refresher.on_done(app.app_id)

    def _renewed(self, renewal: Renewal, app: App, targets: Sequence[Target]) -> list[TargetReport]:
        """A token comes before its ticket; a ticket refused for its token renews the token and tries once more."""
        courses: dict[Target, Course] = {}
        token_target = Target(app.app_id, Kind.ACCESS_TOKEN)
        for target in targets:
            read = self._found[target]
            if isinstance(read, StoreError):
                continue
            if target.kind is Kind.ACCESS_TOKEN:
                courses[target] = renewal.renew(app, read)
                continue
            token = self._token(renewal, app, token_target, courses, read)
            course = renewal.renew(app, read, token)
            if course.failure and course.failure.code == "token_invalid" and token and token.live:
                dead = Condemned(
                    token.live.fingerprint, Verdict(Reason.REFUSED, "the ticket interface refuses the access_token")
                )
                again = renewal.renew(app, token, None, dead)
                first = courses.get(token_target)
                courses[token_target] = first.merged_into(again) if first else again
                renewed = courses[token_target].snapshot
                if renewed.live and renewed.live.code != token.live.code:
                    course = course.merged_into(renewal.renew(app, course.snapshot, renewed, at_once=True))
            first = courses.get(token_target)
            if course.failure and course.failure.code == "no_token" and first and first.elsewhere:
                course.step = Step(target, Reason.LOCKED, "another run is fetching the access_token that it needs")
                course.outcome, course.failure, course.elsewhere = None, None, True
            courses[target] = course
        reports = [course.report(self._alarm_below_s) for course in courses.values()]
        return reports + [self._idle(target) for target in targets if target not in courses]

    def _token(
        self, renewal: Renewal, app: App, target: Target, courses: dict[Target, Course], ticket: Snapshot
    ) -> Snapshot | None:
        """The application's access_token; where only tickets were asked for, it is renewed when there is none."""
        if target in courses:
            return courses[target].snapshot
        read = self._found[target]
        if isinstance(read, StoreError):
            return None
        if read.live or not decide(ticket, self._refresher.policy, self._command).due:
            return read
        courses[target] = renewal.renew(app, read)
        return courses[target].snapshot


def _warnings(reports: Sequence[TargetReport], at: int) -> tuple[str, ...]:
    """What concerns more than one target or one run."""
    return tuple(
        f"someone else refreshes application {each.target.app_id} too: its {each.target.kind.value} was superseded "
        f"{len(recent)} times within the hour, at {', '.join(str(when) for when in recent)} (unix seconds)"
        for each in reports
        if len(recent := [when for when in each.superseded_at if at - when < _OTHERS_WITHIN_S]) >= _OTHERS
    )


