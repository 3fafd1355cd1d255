"""What those who show state make of it besides danger: what a refresh would do, and when the last one was. Pure."""

from __future__ import annotations

from enum import Enum

from token_refresher.domain.decision import Decision, needless, retry_delay_s
from token_refresher.domain.model import Caller, Kind, Snapshot
from token_refresher.domain.policy import Policy


class Would(str, Enum):
    """What a refresh would do about one target."""

    ASK = "ask"  # checkCode comes first; its word decides
    FETCH = "fetch"
    WAIT = "wait for its token"  # the ticket is due, and no access_token is there or can be fetched now
    NOTHING = "nothing"


def would(decision: Decision, snapshot: Snapshot, token: tuple[Decision, Snapshot] | None, renewed: bool) -> Would:
    """What a refresh that began now would do first about a target.

    `token` is the application's access_token, where it could be read; `renewed` whether the same run fetches a new one.
    """
    if decision.ask and not needless(decision, snapshot):
        return Would.ASK
    is_ticket = snapshot.target.kind is Kind.JS_TICKET
    if decision.due and is_ticket and not (token and (token[1].live or token[0].due)):
        return Would.WAIT
    if decision.due:
        return Would.FETCH
    # A platform may end the ticket with the access_token that it came by.
    return Would.ASK if is_ticket and renewed and snapshot.live else Would.NOTHING


def traced_at(snapshot: Snapshot, policy: Policy) -> int:
    """When a run last left a trace in the lease (unix milliseconds, Redis's clock); 0 when there is none.

    That is the beginning or the end of an attempt, or a question to checkCode, answered or not.
    """
    lease = snapshot.lease
    began_at = lease.work_until - round(policy.work_s * 1000)
    newest = max(began_at, lease.outcome_at, lease.audited_at, *(each.asked_at for each in lease.callers), 0)
    return min(newest, snapshot.now_ms)


def quiet_s(snapshot: Snapshot, policy: Policy) -> float:
    """How long (s) runs may leave no trace of themselves in a lease.

    They ask about fresh credentials at every audit interval; without audits there is nothing to do before the margin.
    """
    wait_s = policy.audit_interval_s or policy.lifetime_s - policy.margin_s
    if any(each.failures for each in snapshot.lease.callers):
        wait_s = max(wait_s, policy.longest_wait_s)
    return wait_s + 2 * policy.tick_s


# A copy that succeeds on one kind of credential of an application has mended what these say about the other.
_OF_THE_WHOLE_COPY = ("not_white_listed", "no_end")


def failed_at(snapshot: Snapshot, copy: Caller, policy: Policy) -> int:
    """When a copy's last attempt failed, or began if it did not end (unix milliseconds, Redis's clock).

    The lease knows it of the last attempt; of an earlier one it follows from how long the copy waits after it.
    """
    lease = snapshot.lease
    if copy.code == "no_end":
        waits_s = min(policy.tick_s * 2.0 ** min(copy.failures - 1, 30), policy.longest_own_wait_s(0))
        waits_s += policy.work_s + policy.flight_s
        known_ms = lease.work_until - round(policy.work_s * 1000)
    else:
        waits_s, known_ms = retry_delay_s(snapshot.target, copy.failures, policy), lease.outcome_at
    known = lease.by == copy.name and known_ms > 0
    return min(known_ms if known else copy.until - round(waits_s * 1000), snapshot.now_ms)


def note_ends_at(snapshot: Snapshot, copy: Caller, policy: Policy) -> int:
    """Until when (as `failed_at`) a copy that failed is named: ten minutes, and as long as it is to try again."""
    again_ms = copy.until + round(2 * policy.tick_s * 1000)
    return max(failed_at(snapshot, copy, policy) + round(2 * policy.retry_cap_s * 1000), again_ms)


def is_another(snapshot: Snapshot, copy: Caller, own: str, policy: Policy) -> bool:
    """Whether a copy is certainly not this one (`own`) by the name that it had before its settings changed.

    It has left a trace after one that this copy left by its present name.
    """
    live, lease = snapshot.live, snapshot.lease
    # It has whole seconds.
    issued_ms = (live.issued_at + 1) * 1000 if live and live.issued_at and lease.issued_by == own else 0
    traces = [at for at in (issued_ms, lease.caller(own).asked_at) if at]
    return bool(traces) and min(traces) < max(failed_at(snapshot, copy, policy), copy.asked_at)


def is_well_again(failed: Snapshot, copy: Caller, other: Snapshot, policy: Policy) -> bool:
    """Whether a copy that failed on one credential has fetched the application's other one since."""
    lease = other.lease
    fetched = lease.by == lease.issued_by == copy.name and lease.ended and lease.outcome.startswith("issued")
    return fetched and copy.code in _OF_THE_WHOLE_COPY and lease.outcome_at > failed_at(failed, copy, policy)
