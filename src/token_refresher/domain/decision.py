"""Decide what is due, and why: ordered lists of named checks over what was read. Pure.

Two questions, and the first depends on nothing of the second. `question`: is checkCode to be asked about the stored
credential? It needs no lease, no token and no secret, and waits for no back-off. `decide`: is a new credential to be
fetched?
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from token_refresher.domain.command import Action, Command
from token_refresher.domain.life import age_of, margin_of, shortened
from token_refresher.domain.model import UNKNOWN_ORIGIN, Snapshot, Target, Unreadable, Word
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason


class Verdict(NamedTuple):
    """A reason, and the same as a sentence for a person."""

    reason: Reason
    sentence: str


@dataclass(frozen=True)
class Decision:
    """What to do about one target, and why. `ask` means: checkCode is asked about the stored credential first."""

    target: Target
    reason: Reason
    sentence: str
    ask: bool = False

    @property
    def due(self) -> bool:
        return self.reason.due


# -- is checkCode to be asked? ---------------------------------------------------------------


def question(snapshot: Snapshot, policy: Policy, command: Command, caller: str) -> Verdict | None:
    """Why checkCode is to be asked about the stored credential now; None when it is not.

    A credential younger than `audit_min_age_s` is never asked about: the platform's own replicas may lag. After a
    question without a definite answer the same `caller` waits; others do not.
    """
    if snapshot.code is None:
        return None
    if command.action is Action.CHECK:
        return Verdict(Reason.FRESH, "asked for by hand")
    if _young(snapshot, policy.audit_min_age_s) is not None:
        return None
    asked_s = _since(snapshot.lease.caller(caller).asked_at, snapshot)
    if _complained(snapshot, policy) and asked_s >= policy.complaint_interval_s:
        return Verdict(Reason.REFUSED, "a reader says that the platform refused the stored credential")
    if command.action is Action.AUDIT:
        return Verdict(Reason.FRESH, "asked for by hand")
    if _denied_to_another(snapshot, caller):
        return Verdict(Reason.UNSETTLED, "checkCode denied the application to another copy")
    if asked_s < _next_question_s(snapshot, policy):
        return None
    doubt = _unsettled(snapshot) or _impossible(snapshot, policy) or _endless(snapshot)
    if doubt:
        return doubt
    wait_s = _audit_wait_s(snapshot, policy)
    if policy.audit_interval_s and _since(snapshot.lease.audited_at, snapshot) >= wait_s:
        return Verdict(Reason.FRESH, "its audit is due")
    return None


def _since(instant_ms: int, snapshot: Snapshot) -> float:
    """Seconds since an instant of Redis's clock; infinite for none, and for one that lies ahead: the clock stepped."""
    since_s = (snapshot.now_ms - instant_ms) / 1000
    return since_s if instant_ms and since_s >= 0 else float("inf")


def _complained(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether a reader complained of the stored credential, and no recent word of checkCode answers it."""
    mine = snapshot.complaint is not None and snapshot.complaint == snapshot.fingerprint
    return mine and _since(snapshot.lease.audited_at, snapshot) >= policy.complaint_interval_s


def _denied_to_another(snapshot: Snapshot, caller: str) -> bool:
    """Whether checkCode last denied the application, and this caller has not asked since."""
    lease = snapshot.lease
    mine = lease.denied == snapshot.fingerprint
    return mine and lease.caller(caller).asked_at < lease.denied_at


def _unsettled(snapshot: Snapshot) -> Verdict | None:
    if snapshot.lease.settled:
        return None
    known = snapshot.lease.mark != UNKNOWN_ORIGIN
    what = "an earlier attempt had no definite end: a newer credential may exist"
    return Verdict(Reason.UNSETTLED, what if known else "nothing is known of how the credential came here")


def _impossible(snapshot: Snapshot, policy: Policy) -> Verdict | None:
    if snapshot.seconds_left <= policy.longest_life_s:
        return None
    return Verdict(Reason.UNSETTLED, "its expiry is further ahead than a credential can live: a clock has stepped")


def _endless(snapshot: Snapshot) -> Verdict | None:
    unreadable = isinstance(snapshot.record, Unreadable) and snapshot.record.code is not None
    return Verdict(Reason.UNSETTLED, "readers take a credential whose end cannot be read") if unreadable else None


def _next_question_s(snapshot: Snapshot, policy: Policy) -> float:
    """How long a caller waits after a question without an answer (s).

    Soon at first, since one lost answer must not put an audit off beyond the grace, and after a denial, which another
    one has to confirm; while checkCode stays silent as long as after an answer.
    """
    if snapshot.lease.denied and snapshot.lease.denied == snapshot.fingerprint:
        return policy.complaint_interval_s
    silent_s = _since(snapshot.lease.audited_at, snapshot)
    return policy.complaint_interval_s if silent_s < 2 * policy.question_interval_s else policy.question_interval_s


def _audit_wait_s(snapshot: Snapshot, policy: Policy) -> float:
    """How old the last word of checkCode may be (s).

    The first audit after an issue comes up to three quarters of the interval earlier, by the target's name: credentials
    that were all fetched together are not all asked about in the same run.
    """
    live = snapshot.live
    first = live and live.issued_at is not None and snapshot.lease.audited_at < (live.issued_at + 2) * 1000
    return policy.audit_interval_s * (1 - 0.75 * _share(snapshot.target)) if first else policy.audit_interval_s


def _share(target: Target) -> float:
    """A number from 0 to 1 that is always the same for a target, and spreads targets out."""
    return zlib.crc32(f"{target.app_id}/{target.kind.value}".encode()) % 1000 / 1000


# -- is a new credential to be fetched? ------------------------------------------------------------

Check = Callable[[Snapshot, Policy, Command, "Word | None"], "Verdict | None"]


def _without_code(snapshot: Snapshot, _: Policy, __: Command, word: Word | None) -> Verdict | None:
    if word is Word.REFUSED and snapshot.code is None:
        return Verdict(Reason.REFUSED, "the platform refuses the stored credential")
    if word is Word.DENIED and snapshot.code is None:
        return Verdict(Reason.REFUSED, "the platform twice denied the application of the stored credential")
    if snapshot.record is None:
        return Verdict(Reason.MISSING, "nothing is stored")
    if isinstance(snapshot.record, Unreadable):
        return Verdict(Reason.UNREADABLE, f"the stored value is {snapshot.record.why}; it will be replaced")
    return None if snapshot.live else Verdict(Reason.EXPIRED, "the stored credential has expired")


def _in_doubt(snapshot: Snapshot, policy: Policy, _: Command, word: Word | None) -> Verdict | None:
    return None if word in (Word.ALIVE, Word.ENDS) else _unsettled(snapshot) or _impossible(snapshot, policy)


def _near_expiry(snapshot: Snapshot, policy: Policy, _: Command, word: Word | None) -> Verdict | None:
    if snapshot.seconds_left >= policy.margin_s:
        return None  # no margin is longer
    margin_s = margin_of(snapshot, policy)
    if snapshot.seconds_left >= margin_s:
        return None
    if shortened(snapshot, policy):
        what = f"a newer credential exists; the platform ends this one in {snapshot.seconds_left} s"
        return Verdict(Reason.SUPERSEDED, what)
    return Verdict(Reason.NEAR_EXPIRY, f"{snapshot.seconds_left} s left, less than the margin of {margin_s:g} s")


def _forced(snapshot: Snapshot, _: Policy, command: Command, __: Word | None) -> Verdict | None:
    return Verdict(Reason.FORCED, "asked for by hand") if _by_hand(snapshot, command) else None


def _by_hand(snapshot: Snapshot, command: Command) -> bool:
    """Whether a person forces the renewal of this very kind, and not of the other one of its application."""
    return command.force and (not command.kinds or snapshot.target.kind in command.kinds)


_CHECKS: tuple[Check, ...] = (_without_code, _in_doubt, _near_expiry, _forced)


def decide(
    snapshot: Snapshot,
    policy: Policy,
    command: Command,
    caller: str,
    word: Word | None = None,
    *,
    at_once: bool = False,
) -> Decision:
    """What to do about one target; `word` is what checkCode said of it in this run, `at_once` leaves out own waits.

    A credential that is in doubt is fetched only where checkCode gave no word: asking is harmless, fetching shortens a
    life.
    """
    target = snapshot.target
    asks = word is None and question(snapshot, policy, command, caller) is not None
    verdict = next((found for check in _CHECKS if (found := check(snapshot, policy, command, word))), None)
    if verdict is None:
        return Decision(target, Reason.FRESH, f"{snapshot.seconds_left} s left", asks)
    waits = _locked(snapshot, policy, caller) or _held_back(verdict, snapshot, policy, command, caller, at_once)
    return Decision(target, *(waits or verdict), asks)


def needless(decision: Decision, snapshot: Snapshot) -> bool:
    """Whether the fetch that is due makes a question needless: it replaces the credential whatever the answer is."""
    return decision.due and snapshot.complaint is None and (snapshot.lease.settled or snapshot.live is None)


def _locked(snapshot: Snapshot, policy: Policy, caller: str) -> Verdict | None:
    ahead_s = _ahead(snapshot.lease.locked_until, snapshot, policy.work_s + policy.flight_s)
    if not ahead_s:
        return None
    if at_work(snapshot, policy):
        return Verdict(Reason.LOCKED, f"another run may be fetching; its lease ends in {ahead_s:.0f} s")
    what = "got no answer" if unanswered(snapshot, policy) else "stopped in the middle of a request"
    own_s = own_wait_s(snapshot, policy, caller)
    if own_s > ahead_s:
        again = f"other copies may try again in {ahead_s:.0f} s, this one in {own_s:.0f} s"
    else:
        again = f"the next try may come in {ahead_s:.0f} s"
    return Verdict(Reason.LOCKED, f"an earlier run {what}; {again}")


def _held_back(
    verdict: Verdict, snapshot: Snapshot, policy: Policy, command: Command, caller: str, at_once: bool
) -> Verdict | None:
    """Why something that is due has to wait all the same; None when it need not."""
    why = verdict.reason.value
    age_s = _young(snapshot, policy.cooldown_s)
    if age_s is not None:
        return Verdict(Reason.COOLING_DOWN, f"{why}, but the credential is only {age_s:.0f} s old")
    if _by_hand(snapshot, command) or at_once:
        return None
    wait_s = own_wait_s(snapshot, policy, caller)
    if wait_s:
        code = snapshot.lease.caller(caller).code or "an attempt"
        return Verdict(Reason.BACKING_OFF, f"{why}, but waits {wait_s:.0f} s after: {code}")
    if _yields(snapshot, policy, caller):
        return Verdict(Reason.YIELDING, f"{why}, but the copy that last brought a credential goes first for a tick")
    return None


def own_wait_s(snapshot: Snapshot, policy: Policy, caller: str) -> float:
    """How long this caller still waits (s) after its last attempt, when the target was read; 0: not at all."""
    return _ahead(snapshot.lease.caller(caller).until, snapshot, policy.longest_wait_s)


def after_limit(snapshot: Snapshot, decision: Decision, caller: str) -> bool:
    """Whether this caller waits because the platform limited its last attempt."""
    return decision.reason is Reason.BACKING_OFF and snapshot.lease.caller(caller).code == "rate_limited"


def can_wait(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether a question may come after fetches that wait: it is an audit, and not long overdue."""
    lease = snapshot.lease
    calm = lease.settled and snapshot.complaint is None and not lease.denied
    return calm and _since(lease.audited_at, snapshot) < 1.5 * policy.question_interval_s


def _yields(snapshot: Snapshot, policy: Policy, caller: str) -> bool:
    """Whether, after an attempt without an end, another copy goes first: the one that last brought a credential.

    So a copy that dies in each attempt cannot hold the lease against a healthy one for ever.
    """
    lease = snapshot.lease
    if lease.ended or not lease.issued_by or lease.issued_by in (lease.by, caller):
        return False
    return 0 <= (snapshot.now_ms - lease.locked_until) / 1000 < policy.tick_s


def _ahead(instant_ms: int, snapshot: Snapshot, at_most_s: float) -> float:
    """Seconds until `instant_ms`; 0 when it is past, or further ahead than it can have been set: the clock stepped."""
    ahead = (instant_ms - snapshot.now_ms) / 1000
    return ahead if 0 < ahead <= at_most_s else 0


def _young(snapshot: Snapshot, below_s: float) -> float | None:
    """The age of the live credential in seconds, if that is below `below_s`. An issue in the future has no age."""
    age_s = age_of(snapshot)
    return age_s if age_s is not None and 0 <= age_s < below_s else None


def retry_delay_s(target: Target, failures: int, policy: Policy, left_s: float = 0) -> float:
    """How long to wait after the `failures`-th definite no in a row (from 1): doubling, capped, up to 10 % longer.

    The jitter comes from the app id, so that applications spread out and a target's own delays stay reproducible. Never
    longer than a quarter of what is left of a live credential (`left_s`): the last minutes are no time to wait.
    """
    base: float = min(policy.retry_base_s * 2.0 ** min(failures - 1, 30), policy.retry_cap_s)
    wait_s = base * (1 + _share(target) / 10)
    return min(wait_s, left_s / 4) if left_s > 0 else wait_s


def at_work(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether another run is within its working time on this target, and its result is about to come."""
    return not unanswered(snapshot, policy) and bool(_ahead(snapshot.lease.work_until, snapshot, policy.work_s))


def unanswered(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether the last attempt got no definite answer, and its run lived to enter that. Its lock stays all the same."""
    lease = snapshot.lease
    return lease.outcome.startswith("unknown") and lease.outcome_at >= lease.work_until - policy.work_s * 1000
