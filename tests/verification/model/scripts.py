"""Who may change a credential's TTL, and when: acquire, finish and note, each outcome a rule of its own.

A script is one step. Every rule takes the state and gives the state after it; `me` is the refresher that runs it.
"""

from __future__ import annotations

from .state import (
    LONG,
    LOST,
    NO_LEASE,
    NONE,
    NOTHING,
    SETTLED,
    STRANGE,
    Lease,
    Numbers,
    Parts,
    Refresher,
    Saved,
    State,
    Value,
    new_attempt,
)


def unsettled(lease: Lease) -> bool:
    """A fetch may be out; without a lease Redis does not know."""
    return lease.mark != SETTLED


def marked(lease: Lease) -> bool:
    """An attempt, or another tool's value, left its mark; only then a `mark_since` exists."""
    return lease.mark not in (SETTLED, NO_LEASE)


def same_value(state: State, me: Refresher) -> bool:
    """The bytes are those that were read: the same credential with the same recorded end."""
    return state.value.credential == me.seen and state.value.recorded == me.recorded


def mine(lease: Lease, me: Refresher, parts: Parts) -> bool:
    """The lease carries my attempt, and its lock has not ended."""
    return lease.attempt == me.attempt != NONE and (lease.locked > 0 or not parts.lock)


def mark_with(lease: Lease, mark: int, n: Numbers) -> Lease:
    """`mark_since` is the first instant since the target was settled; a lease made now has never been audited."""
    audited = n.audit if lease.mark == NO_LEASE else lease.audited
    return lease._replace(mark=mark, marked_for=lease.marked_for if marked(lease) else 0, audited=audited)


# acquire


def may_acquire(state: State, me: Refresher, parts: Parts) -> str:
    """Why not; empty when the lease may be taken.

    Value and mark are compared with those that were read: another run that came between has done the work.
    """
    if parts.lock and state.lease.locked:
        return "comes too late for the lease"
    if parts.compare_at_acquire and not (same_value(state, me) and state.lease.mark == me.mark):
        return "finds value or mark changed"
    return ""


def acquire(state: State, n: Numbers, parts: Parts) -> State:
    """Take the lease, leave the mark, cut the TTL: a fetch executed unseen ends the credential a grace from now."""
    lease, value = state.lease, state.value
    if parts.cut and value.credential != NONE:
        # Never longer: an earlier attempt may have ended the credential already.
        value = value._replace(ttl=min(value.ttl, n.grace) if parts.cut_never_lengthens else n.grace)
    attempt = new_attempt(state)
    after = mark_with(lease, attempt, n)._replace(attempt=attempt, locked=n.work + n.flight, before=lease.mark)
    saved = Saved(state.value, lease._replace(attempt=NONE, before=SETTLED), state.since_through)
    return state._replace(lease=after, value=value, saved=saved)


# finish


def finish_issued(state: State, me: Refresher, n: Numbers, parts: Parts) -> tuple[str, State]:
    """Store a credential; under another's mark until sending + grace: a late request may have ended it."""
    lease = state.lease
    since_sent = max(n.grace - me.ago, 1)
    if mine(lease, me, parts) or not parts.owner_check:
        if lease.mark == me.attempt or not parts.issued_settles_only_under_own_mark:
            settled = Lease(SETTLED, audited=me.ago)
            return "stores its credential: settled", state._replace(lease=settled, value=Value(me.got))
        lease = lease._replace(locked=0, audited=me.ago)
        after = state._replace(lease=lease, value=Value(me.got, ttl=since_sent))
        return "stores its credential under another's mark", after
    if lease.mark == NO_LEASE and state.value.credential == NONE:
        after = state._replace(lease=mark_with(lease, me.attempt, n), value=Value(me.got, ttl=since_sent))
        return "stores its credential though lease and value are gone", after
    return late(state, me, n, parts)


def late(state: State, me: Refresher, n: Numbers, parts: Parts) -> tuple[str, State]:
    """Leave a mark after losing the lease: the run at work now must not settle over it.

    A new mark: its own from acquire may have been read by a run that compares it with this one.
    """
    if parts.late_mark:
        mark = new_attempt(state) if parts.late_mark_is_new else me.attempt
        state = state._replace(lease=mark_with(state.lease, mark, n))
    return "finds its lease lost: leaves its mark", state


def finish_refused(state: State, me: Refresher, parts: Parts) -> tuple[str, State]:
    """Nothing was issued: as settled as before, and only if that was settled back to the recorded end."""
    lease, value = state.lease, state.value
    if not mine(lease, me, parts) and parts.owner_check_when_refused:
        return "its lease is lost: writes nothing", state
    if lease.mark == NO_LEASE:
        return "no lease is left: writes nothing", state
    replaced = value.strange != NONE and not same_value(state, me)
    under_own_mark = lease.mark == me.attempt and not replaced
    was_settled = lease.before == SETTLED and under_own_mark
    restore = parts.restore_after_refusal and same_value(state, me) and value.credential != NONE
    restore = restore and (was_settled or not parts.restore_only_if_settled_before)
    if restore:
        value = value._replace(ttl=value.recorded, rolled=False)
    mark = lease.before if under_own_mark else lease.mark
    lease = LOST if mark == NO_LEASE else lease._replace(locked=0, mark=mark)
    what = "finishes: nothing issued" + (", restores" if restore else "")
    return what, state._replace(lease=lease, value=value)


def finish_unknown(state: State, me: Refresher, n: Numbers, parts: Parts) -> tuple[str, State]:
    """Leave everything: the request may still be executed, so the lock, the mark and the cut stay."""
    if not mine(state.lease, me, parts):
        return late(state, me, n, parts)
    if not parts.unknown_leaves_the_cut and state.value.credential != NONE and same_value(state, me):
        state = state._replace(value=state.value._replace(ttl=state.value.recorded))
    if not parts.lock_kept_on_unknown:
        state = state._replace(lease=state.lease._replace(locked=0))
    return "finishes: unknown, the lock stays", state


def stored_by_others(state: State, credential: int, parts: Parts) -> State:
    """Another tool writes over the value, with an end and without a TTL: the lease did not settle that."""
    lease = state.lease
    if lease.mark == SETTLED and parts.strange_is_unsettled:
        lease = lease._replace(mark=STRANGE, marked_for=0)
    return state._replace(lease=lease, value=Value(credential, strange=0))


# note


def note_seen(state: State, n: Numbers) -> State:
    """Without the platform: a marked value lives for a grace at most, also where a late process left the mark."""
    if marked(state.lease) and state.value.credential != NONE and n.grace < state.value.ttl:
        return state._replace(value=state.value._replace(ttl=n.grace))
    return state


def note_silent(state: State, me: Refresher, n: Numbers, parts: Parts) -> State:
    """Prolong to question + grace, not beyond mark_since + margin: no answer says that the credential is bad."""
    value, lease = state.value, state.lease
    if not parts.silence_rolls or not marked(lease) or not same_value(state, me):
        return state
    bound = n.margin - lease.marked_for if parts.roll_bounded else LONG
    ttl = min(value.recorded, n.grace - me.ago, bound)
    return state._replace(value=value._replace(ttl=ttl, rolled=True)) if ttl > value.ttl else state


def note_bad(state: State, me: Refresher, parts: Parts) -> State:
    """Take away a rejected credential, and give one that was superseded the end that checkCode named."""
    value = state.value
    shorter = value._replace(recorded=min(value.recorded, me.ends), ttl=min(value.ttl, me.ends))
    return _audited(state._replace(value=shorter if me.ends else NOTHING), me, parts)


def note_alive(state: State, me: Refresher, n: Numbers, parts: Parts) -> tuple[bool, State]:
    """Settle, if no request can have been out since the question; otherwise vouch for question + grace only."""
    state = _audited(state, me, parts)
    value, lease = state.value, state.lease
    unlocked = not me.locked or not parts.settle_only_if_unlocked_when_read
    if unlocked and (lease.mark == me.mark or not parts.settle_only_under_the_mark_read):
        age = me.ago if parts.note_dated_by_question else 0
        lease = lease._replace(mark=SETTLED, audited=age)
        known = value._replace(ttl=value.recorded, rolled=False, strange=NONE)
        return True, state._replace(lease=lease, value=known)
    if value.strange != NONE:
        value = value._replace(strange=0)
    upto = {"question": n.grace - me.ago, "now": n.grace, "recorded": LONG, "unchanged": 0}[parts.alive_under_lock]
    ttl = min(value.recorded, upto)
    if ttl >= value.ttl:
        value = value._replace(ttl=ttl, rolled=False)
    return False, state._replace(value=value)


def _audited(state: State, me: Refresher, parts: Parts) -> State:
    """`audited_at` is the instant of the reading before the question: an old answer must not look new."""
    if state.lease.mark == NO_LEASE:
        return state
    return state._replace(lease=state.lease._replace(audited=me.ago if parts.note_dated_by_question else 0))
