"""How long a stored credential lasts: its margin, its danger, and what its end as checkCode names it means. Pure."""

from __future__ import annotations

from token_refresher.domain.model import Record, Snapshot, Unreadable
from token_refresher.domain.policy import Policy

# Supersessions noticed this often within an hour are no accident.
_OTHERS, _OTHERS_WITHIN_S = 3, 3600


def elsewhere(superseded_at: tuple[int, ...], now_s: int) -> tuple[int, ...]:
    """The instants (unix seconds) within the last hour at which others refreshed; none if by accident."""
    found = recent(superseded_at, now_s)
    return found if len(found) >= _OTHERS else ()


def recent(superseded_at: tuple[int, ...], now_s: int) -> tuple[int, ...]:
    """The instants (unix seconds) within the last hour at which others refreshed."""
    return tuple(at for at in superseded_at if now_s - at < _OTHERS_WITHIN_S)


def margin_of(snapshot: Snapshot, policy: Policy) -> float:
    """With less than this left (s) the credential is renewed: less for a short life, and after supersessions in a row.

    In a row, renewing at once would only supersede the others' credential in turn: each one is used nearly to its end.
    """
    margin_s = policy.margin_for(snapshot.lease.life_s)
    if not shortened(snapshot, policy):
        return margin_s
    in_a_row = elsewhere(tuple(at // 1000 for at in snapshot.lease.superseded), snapshot.now_ms // 1000)
    return min(margin_s, policy.heal_s) if in_a_row or _superseded_at_issue(snapshot, policy) else margin_s


def shortened(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether the platform ends the live credential so soon that a newer one must exist."""
    live, life_s = snapshot.live, snapshot.lease.life_s or policy.lifetime_s
    if live is None or live.issued_at is None or snapshot.seconds_left > policy.grace_s + policy.audit_tolerance_s:
        return False
    return live.expires_at < live.issued_at + life_s - policy.audit_tolerance_s


def _superseded_at_issue(snapshot: Snapshot, policy: Policy) -> bool:
    live = snapshot.live
    return live is not None and ends_at_issue(live, live.expires_at, policy)


def ends_at_issue(record: Record, ends_at: int, policy: Policy) -> bool:
    """Whether a credential that ends at `ends_at` (unix seconds) was superseded in the moment in which it was issued.

    So it is where something on the way executes each request twice.
    """
    issued_at = record.issued_at
    return issued_at is not None and issued_at < ends_at <= issued_at + policy.grace_s + policy.audit_tolerance_s


def safe_for_s(snapshot: Snapshot, policy: Policy, margin_s: float | None = None) -> float:
    """Seconds until a credential is in danger; below 0 it is in danger. `margin_s` is `margin_of`, where known."""
    margin_s = margin_of(snapshot, policy) if margin_s is None else margin_s
    # With a margin below one tick a credential may end before the next run, however well this one went.
    alarm_s = policy.tick_s if margin_s < policy.tick_s else min(policy.alarm_for(snapshot.lease.life_s), margin_s)
    # While the TTL is cut because a fetch may be out, each word of checkCode prolongs it; and what a newer credential
    # ended has the grace at most, which the lock may take a part of. Below half the grace nothing came of either.
    late_s = min(alarm_s, policy.grace_s / 2)
    recorded_s = late_s if shortened(snapshot, policy) else alarm_s
    return min(snapshot.seconds_left - recorded_s, snapshot.readable_s - late_s)


def in_danger(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether readers have no credential, or soon will have none, also while a run is at work on it.

    The one place that decides it, for exit code, health, page, doctor, alarm and report.
    """
    return safe_for_s(snapshot, policy) < 0


def ttl_is_wrong(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether a stored value would outlive its end, any credential's life, or the grace while a newer one may exist.

    So it is with values of other tools, and after Redis's clock was set back. A second's difference is rounding.
    """
    if snapshot.record is None:
        return False
    if isinstance(snapshot.record, Unreadable):
        at_most_ms: float = policy.grace_s * 1000
    else:
        at_most_ms = min(snapshot.record.expires_at * 1000 - snapshot.now_ms, policy.longest_life_s * 1000)
        if not snapshot.lease.settled:
            at_most_ms = min(at_most_ms, policy.grace_s * 1000)
    return snapshot.ttl_ms is None or snapshot.ttl_ms > at_most_ms + 1000


def reckoned_end(valid_until: int, skew_s: float, policy: Policy, apart_s: float | None = None) -> float:
    """The instant of Redis's clock (unix seconds) before which a credential does not end, from what checkCode names.

    `valid_until` is an instant of the platform's clock; `skew_s` how far that clock was seen to be ahead of Redis's. It
    is taken with and without that correction, and the later one counts, so that neither a wrong clock in Redis nor a
    wrong Date header makes a good credential look superseded. `apart_s` is how far the platform's clock is ahead of
    this machine's (None: not known). Where those two agree, the correction alone decides: only so a step of Redis's
    clock shows that is shorter than a credential's life.
    """
    corrected = valid_until - skew_s
    if apart_s is not None and abs(apart_s) <= policy.audit_tolerance_s:
        return corrected
    return max(corrected, valid_until)


def ends_early(record: Record, ends_at: float, policy: Policy) -> bool:
    """Whether a credential ends so much earlier than recorded that a newer one exists, or a clock was set back."""
    return record.expires_at - ends_at > policy.audit_tolerance_s


def age_of(snapshot: Snapshot) -> float | None:
    """Seconds since the live credential was issued; None when there is none, or it does not say."""
    issued_at = snapshot.live.issued_at if snapshot.live else None
    return None if issued_at is None else snapshot.now_ms / 1000 - issued_at
