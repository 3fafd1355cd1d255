"""Renew: fetch one new credential under the lease, and store it. See docs/explanation/design.md."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from token_refresher.domain.command import Command
from token_refresher.domain.decision import after_limit, at_work, decide, own_wait_s, retry_delay_s, unanswered
from token_refresher.domain.errors import (
    NotSentError,
    PlatformError,
    RefusedError,
    StoreError,
    TokenRefresherError,
    UnknownOutcomeError,
)
from token_refresher.domain.life import margin_of
from token_refresher.domain.model import App, Kind, Outcome, Record
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.refresh.limits import Limits, fetching
from token_refresher.refresh.result import Result
from token_refresher.refresh.watch import Watch

if TYPE_CHECKING:
    from token_refresher.domain.platform_answer import Issued
    from token_refresher.refresh.ports import Platform, Store

# Seconds between repeats of the one command that must not be lost: storing a credential that was fetched.
_STORE_PAUSES = (0.0, 0.2, 1.0, 2.0)
# A limit that ends so soon (s) is waited for in the run: the platform says it in whole seconds, rounded up.
_SOON_S = 5.0
# The shortest wait (s) before a target is looked at again.
_AT_ONCE_S = 0.01


class Renew:
    """Fetches credentials, one call each; safe to be used by several threads at once.

    `clock` is steady (seconds) and goes on while the process is stopped, `until` its instant by which the run has to be
    over. `new_attempt` makes a text that is never made again. `callers` names this copy for each application id.
    """

    def __init__(
        self,
        store: Store,
        platform: Platform,
        policy: Policy,
        command: Command,
        limits: Limits,
        watch: Watch,
        *,
        clock: Callable[[], float],
        until: float,
        new_attempt: Callable[[], str],
        callers: Mapping[str, str],
    ) -> None:
        self._store, self._platform, self._policy, self._command = store, platform, policy, command
        self._limits, self._watch, self._callers = limits, watch, callers
        self._clock, self._new_attempt = clock, new_attempt
        # No attempt begins later: the request and its end in Redis still have to fit in.
        self._until, self._begin_until = until, until - policy.request_total_s - policy.redis_timeout_s

    def attempt(
        self, app: App, result: Result, token: Result | None = None, *, at_once: bool = False, force: bool = False
    ) -> float | None:
        """Fetch a credential for one target, if that is due; failures of the platform are values in the result.

        `token` is the application's access_token, for a ticket. `at_once` leaves out this copy's own wait, `force`
        renews a credential that looks fresh. Returns the seconds after which to look at the target again in this run
        (0: it has changed), None when all is done that can be done now. Raises StoreError.
        """
        command = replace(self._command, force=True, kinds=()) if force else self._command
        result.decision = decide(
            result.snapshot, self._policy, command, self._callers[app.app_id], result.word, at_once=at_once
        )
        if not result.decision.due:
            return self._look_again_s(app, result)
        if result.snapshot.target.kind is Kind.JS_TICKET and (token is None or token.snapshot.live is None):
            missing = RefusedError("there is no live access_token to fetch the ticket with", code="no_token")
            result.fail(Outcome.DEFERRED, missing)
            return None
        interface = fetching(app, result.snapshot.target.kind)
        with self._limits.turn(interface, app.app_id) as wait_s:
            if wait_s and self._clock() + wait_s <= self._begin_until:
                self._limits.crowd(interface)
                return wait_s
            return self._begin(app, result, token, wait_s)

    def _begin(self, app: App, result: Result, token: Result | None, wait_s: float) -> float | None:
        """Take the lease and fetch, where that may begin now; returns what `attempt` does. Raises StoreError."""
        if not self._may_begin(app, result, wait_s):
            return None
        asked_at = self._clock()
        acquired = self._store.acquire(result.snapshot, self._new_attempt(), self._callers[app.app_id])
        found_at = self._clock()
        result.see(acquired.snapshot, found_at)
        if not acquired.held:
            return 0.0
        self._fetch(app, result, min(asked_at + self._policy.work_s, self._until), token)
        return _AT_ONCE_S if self._comes_again(app, result) else None

    def _comes_again(self, app: App, result: Result) -> bool:
        """Whether the target is looked at again in this run, once, after a limit that several met."""
        interface = fetching(app, result.snapshot.target.kind)
        limited = result.failure is not None and result.failure.code == "rate_limited"
        if not limited or result.limited or not self._limits.several(interface):
            return False
        result.limited = True
        self._limits.crowd(interface)
        return True

    def _may_begin(self, app: App, result: Result, wait_s: float) -> bool:
        """Whether time is left, no limit forbids it, and the platform can be reached; else the result says why not.

        The connection is in hand before the lease is taken, so that a copy without a network never holds one.
        """
        try:
            if wait_s:
                raise RefusedError(f"the platform limits requests: {wait_s:.0f} s more to wait", code="rate_limited")
            if self._clock() > self._begin_until:
                where = fetching(app, result.snapshot.target.kind).platform
                raise NotSentError(f"no time left in this run for a request to {where}", code="not_sent_late")
            self._platform.dial(app, result.snapshot.target.kind, self._begin_until)
        except PlatformError as error:
            late = error.code in ("not_sent_late", "rate_limited")
            result.fail(Outcome.DEFERRED if late else Outcome.NOT_SENT, error)
            return False
        return True

    def _look_again_s(self, app: App, result: Result) -> float | None:
        """When to look again at a target whose lease is taken; None where that can wait for the next run.

        While its holder may still end its attempt, soon; else, or where it has no definite end, when the lock ends.
        So, too, where a limit of the platform ends in a moment.
        """
        snapshot, policy, caller = result.snapshot, self._policy, self._callers[app.app_id]
        if after_limit(snapshot, result.decision, caller):
            interface = fetching(app, snapshot.target.kind)
            wait_s = own_wait_s(snapshot, policy, caller) + result.read_at - self._clock() + _AT_ONCE_S
            if wait_s > _SOON_S and not self._limits.several(interface):
                return None
            self._limits.crowd(interface)
            return self._in_time(wait_s)
        if result.decision.reason is not Reason.LOCKED or snapshot.seconds_left >= margin_of(snapshot, policy):
            return None
        lease, now_ms = snapshot.lease, snapshot.now_ms + (self._clock() - result.read_at) * 1000
        wait_s = (lease.locked_until - now_ms) / 1000 + _AT_ONCE_S
        if not unanswered(snapshot, policy) and now_ms < lease.work_until + policy.request_total_s * 1000:
            # From 1 to 3 s, by chance, so that copies which wait do not all come at once.
            wait_s = min(wait_s, 1 + 2 * zlib.crc32(self._new_attempt().encode()) / 2**32)
        return self._in_time(wait_s)

    def _in_time(self, wait_s: float) -> float | None:
        """The wait, where an attempt may still begin after it. What was read a while ago may be over."""
        wait_s = max(wait_s, _AT_ONCE_S)
        return wait_s if self._clock() + wait_s <= self._begin_until else None

    def _fetch(self, app: App, result: Result, send_until: float, token: Result | None) -> None:
        """One request to the platform, and its end in Redis. Raises StoreError."""
        interface = fetching(app, result.snapshot.target.kind)
        try:
            if token is None or token.snapshot.live is None:
                issued = self._platform.fetch_access_token(app, send_until)
            else:
                issued = self._platform.fetch_js_ticket(app, token.snapshot.live.code, send_until)
        except NotSentError as error:
            late = error.code == "not_sent_late"
            result.fail(Outcome.DEFERRED if late else Outcome.NOT_SENT, error)
            # Nothing reached the platform: trying again in each run does no harm.
            return self._finish(app, result, "refused")
        except RefusedError as error:
            result.fail(Outcome.REFUSED, error)
            return self._finish(app, result, "refused", self._refused_s(app, result, error))
        except UnknownOutcomeError as error:
            self._limits.passed(interface, app.app_id)
            result.fail(Outcome.UNKNOWN, error)
            self._finish(app, result, "unknown")
            return self._ask_what_became(app, result)
        self._limits.passed(interface, app.app_id)
        result.warn(issued.warnings)
        return self._store_issued(app, result, issued)

    def _refused_s(self, app: App, result: Result, error: RefusedError) -> float:
        """How long this copy waits (s) after a definite no.

        A limit that others meet, too, is not held against this application: it comes again when it may.
        """
        target, lease, policy = result.snapshot.target, result.snapshot.lease, self._policy
        interface = fetching(app, target.kind)
        failures = lease.caller(self._callers[app.app_id]).failures
        wait_s = retry_delay_s(target, failures, policy, result.snapshot.seconds_left)
        if error.code != "rate_limited":
            self._limits.passed(interface, app.app_id)
            return wait_s
        asked_s = error.retry_after_s or policy.retry_base_s
        self._limits.limited(interface, app.app_id, asked_s)
        return asked_s if self._limits.several(interface) else max(wait_s, asked_s)

    def _ask_what_became(self, app: App, result: Result) -> None:
        """Ask after a request without a definite answer, which may have ended the stored credential at once."""
        failed = result.outcome, result.failure
        result.see(self._store.read(result.snapshot.target), self._clock())
        decision = result.decision
        self._watch.look(app, result)
        result.outcome, result.failure = failed
        result.decision = decision

    def _finish(self, app: App, result: Result, ending: str, wait_s: float | None = None) -> None:
        """Enter in the lease how an attempt ended that brought no credential. Raises StoreError."""
        failure, held = result.failure, result.snapshot
        assert failure is not None  # noqa: S101 - callers have failed the result
        called = result.outcome.value if result.outcome else ending
        note, caller = f"{called}: {failure.code}", self._callers[app.app_id]
        ended = self._store.finish(held, caller, ending, note, wait_s=wait_s, code=failure.code)
        lease = replace(held.lease, outcome=note, outcome_at=held.now_ms)
        if ending == "refused" and ended == "done":
            settled = not held.lease.before
            life_ms = held.seconds_left * 1000 if settled and held.live else held.ttl_ms
            lease = replace(lease, mark=lease.before, work_until=0, locked_until=0, finished=lease.attempt)
            result.snapshot = replace(held, lease=lease, ttl_ms=life_ms)
        else:
            result.snapshot = replace(held, lease=lease)

    def _store_issued(self, app: App, result: Result, issued: Issued) -> None:
        """Store a credential that came; its life counts from before the request was sent."""
        held, stored = result.snapshot, result.snapshot.live
        issued_at = held.now_ms / 1000 + max(0.0, issued.sent_at - result.read_at)
        record = Record(issued.code, int(issued_at + issued.lifetime_s), int(issued_at), held.lease.fence)
        note, wait_s, life_s, result.fetches = "issued", None, issued.lifetime_s, result.fetches + 1
        if stored and stored.code == issued.code:
            record = self._same_again(app, result, stored, record)
            # The platform has no newer one to give: come back a few times before the end, not in every run.
            wait_s = min(self._policy.retry_cap_s, max(1.0, (record.expires_at - issued_at) / 5))
            # What it gave now is the rest of a life, which makes the margin no shorter.
            life_s = held.lease.life_s
            note = "issued: the platform handed out the same credential again"
            result.warn(["the platform handed out the same credential again"])
        try:
            ended = self._store.finish(
                held,
                self._callers[app.app_id],
                "issued",
                note,
                record=record,
                sent_ms=int(issued_at * 1000),
                life_s=life_s,
                wait_s=wait_s,
                pauses=_STORE_PAUSES,
            )
        except StoreError as error:
            return result.fail(Outcome.LOST, error)
        if ended == "lost":
            lost = TokenRefresherError("the lease was taken over meanwhile", code="store_lost")
            return result.fail(Outcome.LOST, lost)
        result.outcome, result.failure = Outcome.ISSUED, None
        result.see(self._store.as_stored(held, record, life_s, note, ended), self._clock())
        return None

    def _same_again(self, app: App, result: Result, stored: Record, claimed: Record) -> Record:
        """The record of a credential handed out twice: it ends as checkCode says, else at the earlier claim."""
        known = stored.expires_at
        try:
            checked = self._watch.ask(app, result)
        except PlatformError as error:
            result.warn([f"checkCode: {error.code}: {error.what}"])
        else:
            if checked.valid and checked.expires_at is not None:
                known = int(self._watch.end_of(result, checked)[0])
        return replace(claimed, expires_at=min(known, claimed.expires_at), issued_at=stored.issued_at)


def wait_is_for_another(result: Result, policy: Policy) -> bool:
    """Whether another run is fetching for this target right now."""
    return result.decision.reason is Reason.LOCKED and at_work(result.snapshot, policy)
