"""Decide what is due, and why: an ordered list of named checks over what was read. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from .model import Action, Command, Lease, Record, Snapshot, Target, Unreadable
from .policy import Policy


class Reason(str, Enum):
    """Why a target is due, or is not. Shown unchanged in reports, logs, command line and README."""

    meaning: str

    MISSING = "MISSING", "nothing is stored"
    UNREADABLE = "UNREADABLE", "what is stored is no record; it is replaced"
    EXPIRED = "EXPIRED", "the stored code has expired"
    UNSETTLED = "UNSETTLED", "an earlier attempt had no definite end: the platform is asked what became of it"
    REFUSED = "REFUSED", "the platform refuses the stored code, or a reader says so"
    SUPERSEDED = "SUPERSEDED", "somebody else fetched a newer code: the stored one dies within ten minutes"
    NEAR_EXPIRY = "NEAR_EXPIRY", "less than the margin is left"
    FORCED = "FORCED", "asked for by hand"
    LOCKED = "LOCKED", "not now: another run is at work, or was and did not end"
    BACKING_OFF = "BACKING_OFF", "not now: the platform refused a moment ago"
    COOLING_DOWN = "COOLING_DOWN", "not now: the code was issued a moment ago"
    NOT_READ = "NOT_READ", "not now: Redis could not be read for it"
    FRESH = "FRESH", "nothing to do"

    def __new__(cls, value: str, meaning: str) -> Reason:
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.meaning = meaning
        return reason

    @property
    def due(self) -> bool:
        return self not in _NOT_DUE


_NOT_DUE = (Reason.LOCKED, Reason.BACKING_OFF, Reason.COOLING_DOWN, Reason.NOT_READ, Reason.FRESH)


class Verdict(NamedTuple):
    """A reason, and the same as a sentence for a person."""

    reason: Reason
    sentence: str


class Condemned(NamedTuple):
    """A code that the platform no longer accepts, or soon will not: due as long as that very code is stored."""

    fingerprint: str
    verdict: Verdict


@dataclass(frozen=True)
class Step:
    """What to do about one target, and why. `ask` means: ask checkCode first, its answer decides."""

    target: Target
    reason: Reason
    sentence: str
    ask: bool = False

    @property
    def due(self) -> bool:
        return self.reason.due


Check = Callable[[Snapshot, Policy, Command], Verdict | None]


def _ahead(instant_ms: int, snapshot: Snapshot, at_most_s: float) -> float:
    """Seconds until `instant_ms`; 0 when it is past, or further ahead than it can have been set: the clock stepped."""
    ahead = (instant_ms - snapshot.now_ms) / 1000
    return ahead if 0 < ahead <= at_most_s else 0


def _locked(snapshot: Snapshot, policy: Policy, _: Command) -> Verdict | None:
    ahead = _ahead(snapshot.lease.locked_until, snapshot, policy.work_s + policy.flight_s)
    if not ahead:
        return None
    return Verdict(Reason.LOCKED, f"another run may be fetching; its lease ends in {ahead:.0f} s")


def _without_code(snapshot: Snapshot, *_: object) -> Verdict | None:
    if snapshot.record is None:
        return Verdict(Reason.MISSING, "nothing is stored")
    if isinstance(snapshot.record, Unreadable):
        return Verdict(Reason.UNREADABLE, f"the stored value is {snapshot.record.why}; it will be replaced")
    if not snapshot.live:
        return Verdict(Reason.EXPIRED, "the stored code has expired")
    return None


def _impossible(snapshot: Snapshot, policy: Policy, _: Command) -> Verdict | None:
    if snapshot.seconds_left <= policy.lifetime_s + policy.audit_tolerance_s:
        return None
    return Verdict(Reason.UNSETTLED, "its expiry is further ahead than a code can live: a clock has stepped")


def _unsettled(snapshot: Snapshot, *_: object) -> Verdict | None:
    if snapshot.lease.settled:
        return None
    known = "an earlier attempt had no definite end: a newer code may exist"
    return Verdict(Reason.UNSETTLED, known if snapshot.lease.exists else "nothing is known of how the code came here")


def _complained(snapshot: Snapshot, policy: Policy, _: Command) -> Verdict | None:
    if not snapshot.live or snapshot.complaint != snapshot.live.fingerprint:
        return None
    asked_ago = (snapshot.now_ms - snapshot.lease.audited_at) / 1000
    if 0 <= asked_ago < policy.complaint_interval_s:
        return None
    return Verdict(Reason.REFUSED, "a reader says that the platform refused the stored code")


def _near_expiry(snapshot: Snapshot, policy: Policy, _: Command) -> Verdict | None:
    if snapshot.seconds_left >= policy.margin_s:
        return None
    return Verdict(Reason.NEAR_EXPIRY, f"{snapshot.seconds_left} s left, less than the margin of {policy.margin_s:g} s")


def _forced(_: Snapshot, __: Policy, command: Command) -> Verdict | None:
    return Verdict(Reason.FORCED, "asked for by hand") if command.force else None


_CHECKS: tuple[Check, ...] = (
    _locked,
    _without_code,
    _impossible,
    _unsettled,
    _complained,
    _near_expiry,
    _forced,
)


def _backing_off(reason: Reason, snapshot: Snapshot, policy: Policy, command: Command) -> float:
    """Seconds still to wait after a definite no; 0 when the attempt may be made.

    Never for a person who asks by hand, and never for a live code that may have been superseded: its time runs out.
    """
    if command.force or (reason is Reason.UNSETTLED and snapshot.live):
        return 0
    return _ahead(snapshot.lease.retry_at, snapshot, policy.retry_cap_s * 1.2)


def _young(snapshot: Snapshot, below_s: float) -> float | None:
    """The age of the live code in seconds, if that is below `below_s`. An issue in the future has no age."""
    issued_at = snapshot.live.issued_at if snapshot.live else None
    age_s = -1.0 if issued_at is None else snapshot.now_ms / 1000 - issued_at
    return age_s if 0 <= age_s < below_s else None


def _held_back(verdict: Verdict, snapshot: Snapshot, policy: Policy, command: Command, at_once: bool) -> Verdict | None:
    """Why something that is due has to wait all the same; None when it need not."""
    age_s = _young(snapshot, policy.cooldown_s)
    if age_s is not None:
        return Verdict(Reason.COOLING_DOWN, f"{verdict.reason.value}, but the code is only {age_s:.0f} s old")
    wait_s = 0.0 if at_once else _backing_off(verdict.reason, snapshot, policy, command)
    if wait_s:
        last = snapshot.lease.outcome or "an earlier attempt"
        return Verdict(Reason.BACKING_OFF, f"{verdict.reason.value}, but waits {wait_s:.0f} s after: {last}")
    return None


def decide(
    snapshot: Snapshot,
    policy: Policy,
    command: Command,
    condemned: Condemned | None = None,
    *,
    at_once: bool = False,
) -> Step:
    """What to do about one target.

    `condemned` is what checkCode or the ticket interface said of a code of it; `at_once` leaves out the back-off.
    """
    target, live = snapshot.target, snapshot.live
    if condemned and live and live.fingerprint == condemned.fingerprint and not _locked(snapshot, policy, command):
        return Step(target, *condemned.verdict)
    for check in _CHECKS:
        verdict = check(snapshot, policy, command)
        if verdict is None:
            continue
        waits = _held_back(verdict, snapshot, policy, command, at_once) if verdict.reason.due else None
        if waits:
            return Step(target, *waits)
        asks_first = verdict.reason in (Reason.UNSETTLED, Reason.REFUSED) and live is not None
        return Step(target, *verdict, ask=asks_first)
    return Step(target, Reason.FRESH, f"{snapshot.seconds_left} s left", ask=_audit_due(snapshot, policy, command))


def _audit_due(snapshot: Snapshot, policy: Policy, command: Command) -> bool:
    """Whether checkCode should be asked about a code that looks fresh."""
    if not snapshot.live or _young(snapshot, policy.audit_min_age_s) is not None:
        return False
    if command.action is Action.AUDIT:
        return True
    since = (snapshot.now_ms - snapshot.lease.audited_at) / 1000
    return bool(policy.audit_interval_s) and not 0 <= since < policy.audit_interval_s


def superseded(
    record: Record, valid_until: int | None, skew_s: float, policy: Policy, apart_s: float | None = None
) -> bool:
    """Whether checkCode's expiry shows that `record` ends too late: a newer code exists, or Redis's clock was set back.

    `valid_until` is an instant of the platform's clock, None for a code that it refuses; `skew_s` how far that clock
    was seen to be ahead of Redis's. It has to look too early with and without that correction, so that neither a wrong
    clock in Redis nor a wrong Date header makes a good code look superseded. `apart_s` is how far the platform's clock
    is ahead of this machine's (None: not known). Where those two agree, the correction alone decides: only so a step
    of Redis's clock shows that is shorter than a code's life.
    """
    if valid_until is None:
        return True
    earlier_s = record.expires_at - (valid_until - skew_s)
    if apart_s is None or abs(apart_s) > policy.audit_tolerance_s:
        earlier_s = min(earlier_s, record.expires_at - valid_until)
    return earlier_s > policy.audit_tolerance_s


def retry_delay_s(target: Target, failures: int, policy: Policy, left_s: float = 0) -> float:
    """How long to wait after the `failures`-th definite no in a row (from 1): doubling, capped, up to 10 % longer.

    The jitter comes from the app id, so that applications spread out and a target's own delays stay reproducible. Never
    longer than a quarter of what is left of a live code (`left_s`): the last minutes are no time to wait.
    """
    base: float = min(policy.retry_base_s * 2.0 ** min(failures - 1, 30), policy.retry_cap_s)
    wait_s = base * (1 + zlib.crc32(f"{target.app_id}/{target.kind.value}".encode()) % 1000 / 10_000)
    return min(wait_s, left_s / 4) if left_s > 0 else wait_s


def at_work(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether another run is within its working time on this target: its result is about to come."""
    return bool(_ahead(snapshot.lease.work_until, snapshot, policy.work_s))


def as_before(lease: Lease) -> Lease:
    """A lease just acquired, as it was before: what a decision under the lease has to be made from."""
    return replace(lease, attempt="", work_until=0, locked_until=0, unsettled_since=lease.before, before=0)
