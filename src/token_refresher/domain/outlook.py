"""What those who show state make of it besides danger: what a refresh would do, and when the last one was. Pure."""

from __future__ import annotations

from enum import Enum

from token_refresher.domain.decision import Decision, needless
from token_refresher.domain.model import Kind, Snapshot
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

    They ask about fresh codes at every audit interval; without audits there is nothing to do before the margin.
    """
    wait_s = policy.audit_interval_s or policy.lifetime_s - policy.margin_s
    if any(each.failures for each in snapshot.lease.callers):
        wait_s = max(wait_s, policy.longest_wait_s)
    return wait_s + 2 * policy.tick_s
