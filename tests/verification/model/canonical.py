"""One state for all that differ only in names: credentials, attempts and refreshers that may be exchanged."""

from __future__ import annotations

from itertools import pairwise, permutations

from .state import IDLE, LOST, NO_LEASE, NONE, SETTLED, STRANGE, Refresher, State


def canonical(state: State) -> State:
    state = _credentials_renumbered(_without_what_no_longer_counts(state))
    everyone = sorted(state.refreshers, key=_without_marks)
    if not any(a != b and a[:-2] == b[:-2] for a, b in pairwise(everyone)):
        return _marks_renumbered(state, tuple(everyone))
    # Refreshers that differ in their marks alone: the marks' new numbers depend on who comes first.
    orders = (each for each in permutations(everyone) if sorted(each, key=_without_marks) == list(each))
    return min((_marks_renumbered(state, each) for each in orders), key=_marks)


def _without_what_no_longer_counts(state: State) -> State:
    """Drop who owned a lease that no refresher holds any more, and what Redis cannot go back to."""
    lease, value = state.lease, state.value
    if lease.mark == NO_LEASE:
        lease = LOST
    elif lease.attempt != NONE and all(each.attempt != lease.attempt for each in state.refreshers):
        lease = lease._replace(attempt=NONE, before=SETTLED)
    if lease.marked_for and (lease.mark == SETTLED or not (state.silent or state.faults)):
        lease = lease._replace(marked_for=0)
    saved = state.saved if state.faults and lease.locked else None
    if lease is state.lease and value is state.value and saved is state.saved:
        return state
    return state._replace(lease=lease, value=value, saved=saved)


def _credentials_renumbered(state: State) -> State:
    """Keep the credentials that a refresher or Redis still knows, and the newest."""
    known = {state.value.credential, len(state.lives) - 1}
    if state.saved is not None:
        known.add(state.saved.value.credential)
    for each in state.refreshers:
        known.add(each.seen)
        known.add(each.got)
    known.discard(NONE)
    if len(known) == len(state.lives):
        return state
    kept = sorted(known)
    new = {old: n for n, old in enumerate(kept)}
    new[NONE] = NONE
    saved = state.saved
    if saved is not None:
        saved = saved._replace(value=saved.value._replace(credential=new[saved.value.credential]))
    return state._replace(
        refreshers=tuple(each._replace(seen=new[each.seen], got=new[each.got]) for each in state.refreshers),
        value=state.value._replace(credential=new[state.value.credential]),
        saved=saved,
        lives=tuple(state.lives[old] for old in kept),
    )


def _marks(state: State) -> tuple[int, ...]:
    lease = state.lease
    return (lease.attempt, *(mark for each in state.refreshers for mark in (each.mark, each.attempt)))


def _without_marks(each: Refresher) -> tuple[int, ...]:
    return each[:-2]


def _marks_renumbered(state: State, everyone: tuple[Refresher, ...]) -> State:
    """Number attempts in the order in which they are met; NONE for a mark that was read and cannot come back."""
    lease, saved = state.lease, state.saved
    new = {NONE: NONE, SETTLED: SETTLED, NO_LEASE: NO_LEASE, STRANGE: STRANGE}
    met = [lease.mark, lease.before, *(each.attempt for each in everyone)]
    if saved is not None:
        met.append(saved.lease.mark)
    for mark in met:
        if mark not in new:
            new[mark] = len(new) - 2
    if lease.mark > NO_LEASE or lease.before > NO_LEASE or lease.attempt != NONE:
        lease = lease._replace(mark=new[lease.mark], before=new[lease.before], attempt=new.get(lease.attempt, NONE))
    if saved is not None and saved.lease.mark > NO_LEASE:
        saved = saved._replace(lease=saved.lease._replace(mark=new[saved.lease.mark]))
    if any(each.mark > NO_LEASE or each.attempt > NO_LEASE for each in everyone):
        everyone = tuple(
            each._replace(mark=new.get(each.mark, NONE), attempt=new[each.attempt]) if each != IDLE else each
            for each in everyone
        )
    if everyone == state.refreshers and lease is state.lease and saved is state.saved:
        return state
    return state._replace(lease=lease, refreshers=everyone, saved=saved)
