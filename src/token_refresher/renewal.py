"""The story of one target: ask, take the lease, look again, fetch, store. See docs/design.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from .asking import Asker, Moment
from .course import Course
from .errors import (
    NotSentError,
    RefusedError,
    StoreError,
    TokenRefresherError,
    UnknownOutcomeError,
)
from .model import Action, App, Command, Kind, Lease, Outcome, Record, Snapshot
from .open_platform import Issued, OpenPlatform
from .plan import Condemned, Reason, Step, as_before, at_work, decide, retry_delay_s
from .policy import Policy
from .records import write_record
from .store import Store

# Seconds between repeats of the one command that must not be lost: storing a code that was fetched.
_STORE_PAUSES = (0.0, 0.2, 1.0, 2.0)


class _Held(NamedTuple):
    """A lease that is held, and instants of the steady clock (seconds) that are on the safe side of Redis's own.

    `asked` is before the lease was taken, so `asked + work_s` comes before the lease's `work_until`. `at` is after, so
    what has passed since `at` is no more than what has passed on Redis's clock since `lease.now_ms`.
    """

    attempt: str
    lease: Snapshot
    asked: float
    at: float


class Renewal:
    """Renews targets, one call each; safe to be used by several threads at once.

    `clock` is steady (seconds) and goes on while the process is stopped, `wall` is the machine's (unix seconds).
    `until` is the instant of `clock` by which the run has to be over, `read_at` the one at which the snapshots were
    read. `new_attempt` makes a text that nobody else ever makes.
    """

    def __init__(
        self,
        store: Store,
        platform: OpenPlatform,
        policy: Policy,
        command: Command,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        read_at: float,
        until: float,
        new_attempt: Callable[[], str],
    ) -> None:
        self._store, self._platform, self._policy, self._command = store, platform, policy, command
        self._clock, self._read_at, self._until, self._new_attempt = clock, read_at, until, new_attempt
        self._asker = Asker(store, platform, policy, clock, wall, until)

    def renew(
        self,
        app: App,
        snapshot: Snapshot,
        token: Snapshot | None = None,
        condemned: Condemned | None = None,
        *,
        at_once: bool = False,
    ) -> Course:
        """Do what is due for one target. Raises nothing of the tree: failures are values in the result.

        `token` is the application's access_token, for a ticket; `condemned` a code already known to be dead;
        `at_once` leaves out the back-off.
        """
        course = Course(snapshot, self._decide(snapshot, condemned, at_once))
        course.elsewhere = course.step.reason is Reason.LOCKED and at_work(snapshot, self._policy)
        try:
            if self._command.action is Action.CHECK:
                self._check(app, course)
                return course
            if course.step.ask and course.step.reason is not Reason.UNSETTLED:
                condemned = self._audit(app, course) or condemned
            if course.step.due:
                self._attempt(app, course, token, condemned, at_once)
        except StoreError as error:
            course.fail(Outcome.DEFERRED, error)
        return course

    def _decide(self, snapshot: Snapshot, condemned: Condemned | None = None, at_once: bool = False) -> Step:
        return decide(snapshot, self._policy, self._command, condemned, at_once=at_once)

    def _check(self, app: App, course: Course) -> None:
        """Ask about the stored code, whatever is due, and change nothing."""
        if course.snapshot.live is None:
            return
        answer = self._asker.ask(app, Moment(course.snapshot, self._read_at))
        course.asked(answer.warnings)
        course.outcome = Outcome.KEPT if answer.alive else None
        if answer.condemned:
            course.step = Step(course.snapshot.target, *answer.condemned.verdict)

    def _audit(self, app: App, course: Course) -> Condemned | None:
        """Ask about a code that looks fresh, or that a reader complained of, and decide anew."""
        snapshot = course.snapshot
        answer = self._asker.ask_and_note(app, Moment(snapshot, self._read_at))
        course.asked(answer.warnings)
        if answer.condemned:
            course.step = self._decide(snapshot, answer.condemned)
            return answer.condemned
        # Without an answer nothing is renewed for a complaint's sake; the complaint stays for the next run.
        course.outcome = Outcome.KEPT if answer.alive else None
        course.snapshot = replace(snapshot, complaint=None)
        course.step = replace(self._decide(course.snapshot), ask=False)
        return None

    def _attempt(
        self, app: App, course: Course, token: Snapshot | None, condemned: Condemned | None, at_once: bool
    ) -> None:
        """Take the lease, look again, and renew if that is still due. Raises StoreError."""
        target = course.snapshot.target
        if target.kind is Kind.JS_TICKET and (token is None or token.live is None):
            missing = RefusedError("there is no live access_token to fetch the ticket with", code="no_token")
            return course.fail(Outcome.DEFERRED, missing)
        asked = self._clock()
        if asked + self._policy.request_total_s + self._policy.redis_timeout_s > self._until:
            return course.fail(Outcome.DEFERRED, NotSentError("no time left in this run", code="not_sent_late"))
        acquired = self._store.acquire(course.snapshot, self._new_attempt())
        if acquired is None:
            course.step, course.elsewhere = Step(target, Reason.LOCKED, "another run took the lease first"), True
            return None
        held = _Held(acquired.attempt, acquired.snapshot, asked, self._clock())
        course.snapshot = replace(held.lease, lease=as_before(held.lease.lease))
        course.step = self._decide(course.snapshot, condemned, at_once)
        if course.step.due and course.step.ask:
            condemned = self._settle_by_asking(app, course, held) or condemned
        if not course.step.due:
            ending = "kept" if course.outcome is Outcome.KEPT else "released"
            return self._finish(course, held, ending)
        self._fetch(app, course, held, token)
        if condemned and course.outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
            self._withdraw(course, condemned)
        return None

    def _settle_by_asking(self, app: App, course: Course, held: _Held) -> Condemned | None:
        """An earlier attempt had no definite end: asking is harmless, fetching would shorten a life."""
        answer = self._asker.ask_and_note(app, Moment(held.lease, held.at))
        course.asked(answer.warnings)
        if answer.condemned:
            course.step = self._decide(course.snapshot, answer.condemned)
        elif answer.alive:
            course.outcome = Outcome.KEPT
            settled = replace(course.snapshot.lease, exists=True, unsettled_since=0)
            course.snapshot = replace(course.snapshot, lease=settled)
            course.step = replace(self._decide(course.snapshot), ask=False)
        return answer.condemned

    def _fetch(self, app: App, course: Course, held: _Held, token: Snapshot | None) -> None:
        """One request to the platform, and its end in Redis. Raises StoreError."""
        send_until = min(held.asked + self._policy.work_s, self._until)
        target = course.snapshot.target
        try:
            if token is None or token.live is None:
                issued = self._platform.server_token(app, send_until)
            else:
                issued = self._platform.js_ticket(app, token.live.code, send_until)
        except NotSentError as error:
            late = error.code == "not_sent_late"
            course.fail(Outcome.DEFERRED if late else Outcome.REFUSED, error)
            # Nothing reached the platform, so trying again in every run harms nobody.
            return self._finish(course, held, "released" if late else "refused", self._policy.retry_base_s)
        except RefusedError as error:
            course.fetches += 1
            course.fail(Outcome.REFUSED, error)
            failures, left_s = course.snapshot.lease.failures + 1, course.snapshot.seconds_left
            wait_s = retry_delay_s(target, failures, self._policy, left_s)
            return self._finish(course, held, "refused", wait_s)
        except UnknownOutcomeError as error:
            course.fetches += 1
            course.fail(Outcome.UNKNOWN, error)
            return self._finish(course, held, "unknown")
        course.fetches += 1
        course.warnings += issued.warnings
        return self._keep(app, course, held, issued)

    def _finish(self, course: Course, held: _Held, ending: str, wait_s: float = 0) -> None:
        """Enter in the lease how an attempt ended that brought no code."""
        note = f"{ending}: {course.failure.code}" if course.failure else ending
        began_ms = held.lease.now_ms
        self._store.finish(course.snapshot.target, held.attempt, ending, note, wait_s=wait_s, began_ms=began_ms)
        if ending != "released":
            lease = held.lease.lease if ending == "unknown" else course.snapshot.lease
            course.snapshot = replace(course.snapshot, lease=replace(lease, outcome=note))

    def _keep(self, app: App, course: Course, held: _Held, issued: Issued) -> None:
        """Store a code that came; its life counts from before the request was sent."""
        target, stored, lease = course.snapshot.target, course.snapshot.live, held.lease.lease
        issued_at = held.lease.now_ms / 1000 + max(0.0, issued.sent_at - held.at)
        record = Record(issued.code, int(issued_at + issued.lifetime_s), int(issued_at), lease.fence)
        note, wait_s = "issued", 0.0
        if stored and stored.code == issued.code:
            record = self._same_again(app, course, held, stored, record)
            # The platform has no newer one to give: come back a few times before the end, not in every run.
            wait_s = min(self._policy.retry_cap_s, max(1.0, (record.expires_at - issued_at) / 5))
            note = "issued: the platform handed out the same code again"
            course.warnings.append("the platform handed out the same code again")
        try:
            result = self._store.finish(
                target,
                held.attempt,
                "issued",
                note,
                value=write_record(target.kind, record),
                expires_at=record.expires_at,
                wait_s=wait_s,
                began_ms=held.lease.now_ms,
                pauses=_STORE_PAUSES,
            )
        except StoreError as error:
            return course.fail(Outcome.LOST, error)
        if result == "lost":
            return course.fail(Outcome.LOST, TokenRefresherError("the lease was not ours any more", code="store_lost"))
        course.outcome = Outcome.ISSUED
        unsettled = 0 if result == "done" else held.lease.now_ms
        ended = Lease(True, fence=record.fence, unsettled_since=unsettled, outcome=note, outcome_at=held.lease.now_ms)
        course.snapshot = replace(held.lease, record=record, lease=replace(ended, superseded=lease.superseded))
        return None

    def _same_again(self, app: App, course: Course, held: _Held, stored: Record, claimed: Record) -> Record:
        """The record of a code that was handed out twice: it ends as checkCode says, else at the earlier claim."""
        answer = self._asker.ask(app, Moment(held.lease, held.at))
        course.asked(answer.warnings)
        known = stored.expires_at if answer.valid_until is None else answer.valid_until
        return replace(claimed, expires_at=min(known, claimed.expires_at), issued_at=stored.issued_at)

    def _withdraw(self, course: Course, condemned: Condemned) -> None:
        """A code that is known to be dead and could not be replaced: better none than one that is refused."""
        dead = course.snapshot.live
        if condemned.verdict.reason is Reason.REFUSED and dead and dead.fingerprint == condemned.fingerprint:
            self._store.note_superseded(course.snapshot, expires_at=1)
            course.snapshot = replace(course.snapshot, record=None, raw=None)
