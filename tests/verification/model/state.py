"""What the model consists of: its numbers, its parts, and one state. All times are in units and count from now."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from token_refresher.domain.policy import Policy

# Longer than anything that is looked at: the life of a credential that nothing has shortened.
LONG = 10_000
NONE = -1

# A mark: settled, "no lease" (Redis holds no hash), strange, or the attempt that made the target unsettled: 2, 3, ...
# Attempts have no order: only whether two of them are the same counts. A mark that was read and can never come
# back is NONE.
SETTLED = 0
NO_LEASE = 1
# A settled lease that finds a value which it did not settle: as none, but known since when.
STRANGE = -2


@dataclass(frozen=True)
class Numbers:
    """The numbers of the policy in units; a unit is their greatest common divisor."""

    unit_s: int
    work: int
    flight: int
    grace: int
    audit: int
    tolerance: int
    margin: int
    # The watch of some run gets through undisturbed at least this often; LONG where that is not assumed.
    through_gap: int


@dataclass(frozen=True)
class Parts:
    """The conditions of the algorithm; each can be taken out. Where a value is named, it is that of the algorithm."""

    # acquire
    lock: bool = True
    compare_at_acquire: bool = True
    cut: bool = True
    cut_never_lengthens: bool = True
    # finish
    owner_check: bool = True  # a credential is stored only by the attempt in the lease, before its lock ends
    owner_check_when_refused: bool = True
    restore_after_refusal: bool = True
    restore_only_if_settled_before: bool = True
    unknown_leaves_the_cut: bool = True
    lock_kept_on_unknown: bool = True
    late_mark: bool = True
    late_mark_is_new: bool = True  # not the one that its acquire wrote, which others may have read
    issued_settles_only_under_own_mark: bool = True
    # note
    note_same_value: bool = True
    settle_only_if_unlocked_when_read: bool = True
    settle_only_under_the_mark_read: bool = True
    alive_under_lock: str = "question"  # TTL up to: question + grace | now + grace | recorded | unchanged
    note_dated_by_question: bool = True
    silence_rolls: bool = True
    roll_bounded: bool = True
    strange_is_unsettled: bool = True  # a value that the lease did not settle, since another tool wrote it
    # watch
    watch: bool = True
    ask_under_lock: bool = True
    probe: bool = True  # after an unknown outcome, in the same run


class Pc(IntEnum):
    """What a refresher does next."""

    IDLE = 0
    ASK = 1
    NOTE = 2
    ACQUIRE = 3
    LOOK = 4  # at the deadline
    SEND = 5
    SENT = 6
    STORE = 7
    FINISH_REFUSED = 8
    FINISH_TOO_LATE = 9
    FINISH_UNKNOWN = 10
    PROBE = 11


class Refresher(NamedTuple):
    pc: Pc = Pc.IDLE
    frozen: bool = False
    clean: bool = True  # nothing has disturbed this run
    # what it read
    seen: int = NONE  # the credential
    recorded: int = LONG  # the recorded end of that credential
    locked: bool = False
    # what it knows
    ends: int = NONE  # the life that checkCode named; NONE: no answer
    fetch: bool = False  # a fetch is due whatever checkCode says
    ago: int = 0  # since the reading before its question, or since the sending
    # its attempt
    work: int = 0  # left until work_until
    flight: int = NONE  # left of the request under way
    got: int = NONE  # the credential that the platform issued to it
    # the mark that it read, and the one of its own attempt; last, so that canonical can leave them out
    mark: int = NONE
    attempt: int = NONE


IDLE = Refresher()


class Value(NamedTuple):
    credential: int = NONE
    recorded: int = LONG
    ttl: int = LONG
    near: bool = False  # less than the margin is left of it
    rolled: bool = False  # its TTL comes from the row "silent" alone
    strange: int = NONE  # since another tool wrote it, or checkCode last called it good; NONE: the lease settled it


NOTHING = Value()


class Lease(NamedTuple):
    mark: int = NO_LEASE
    attempt: int = NONE
    locked: int = 0
    before: int = SETTLED  # the mark that acquire found
    marked_for: int = 0  # since mark_since
    audited: int = 0  # ago


LOST = Lease()


class Saved(NamedTuple):
    """What Redis held before the last acquire, and goes back to when it loses the writes since."""

    value: Value
    lease: Lease
    since_through: int


class State(NamedTuple):
    faults: int  # that may still happen
    dues: int  # occasions to fetch that may still come
    since_through: int
    silent: bool  # the platform was away once: from now on it may be away at every question and request
    refreshers: tuple[Refresher, ...]
    lease: Lease
    value: Value
    saved: Saved | None = None
    # the platform: what is left of each credential's life, the newest one last; requests whose sender is gone
    lives: tuple[int, ...] = (LONG,)
    orphans: tuple[int, ...] = ()

    @property
    def requests(self) -> int:
        """How many requests may still be executed."""
        waited_for = sum(each.pc == Pc.SENT and each.flight != NONE for each in self.refreshers)
        return waited_for + len(self.orphans)


def numbers(policy: Policy, *, through_s: float = math.inf) -> Numbers:
    """The numbers for a watch that gets through every `through_s` seconds."""
    given = (
        policy.work_s,
        policy.flight_s,
        policy.grace_s,
        policy.audit_interval_s,
        policy.audit_tolerance_s,
        policy.margin_s,
    )
    unit_s = math.gcd(*(int(each) for each in given))
    work, flight, grace, audit, tolerance, margin = (int(each) // unit_s for each in given)
    through = LONG if math.isinf(through_s) else int(through_s) // unit_s + work
    return Numbers(unit_s, work, flight, grace, audit, tolerance, margin, through)


def first(refreshers: int, faults: int, dues: int) -> State:
    """A settled, fresh credential, audited now, and no run at work."""
    return State(faults, dues, 0, False, (IDLE,) * refreshers, Lease(SETTLED), Value(0))


def with_refresher(state: State, i: int, refresher: Refresher) -> State:
    everybody = state.refreshers
    return state._replace(refreshers=(*everybody[:i], refresher, *everybody[i + 1 :]))


def ended(state: State, i: int, *, through: bool = False) -> State:
    """The run of refresher `i` is over."""
    state = with_refresher(state, i, IDLE)
    return state._replace(since_through=0) if through else state


def issued(state: State, grace: int) -> State:
    """The platform issues a new credential; all others live on for the grace at most."""
    return state._replace(lives=(*(min(life, grace) for life in state.lives), LONG))


def new_attempt(state: State) -> int:
    """A mark that is not yet in use."""
    known = [state.lease.mark, state.lease.attempt, state.lease.before]
    known += [mark for each in state.refreshers for mark in (each.mark, each.attempt)]
    if state.saved is not None:
        known.append(state.saved.lease.mark)
    return max(NO_LEASE, *known) + 1
