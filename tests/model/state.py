"""What the model consists of: its numbers, its switches, and one state. All times are relative to now."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from token_refresher.policy import Policy

# Longer than anything that is looked at: the life of a code that nothing has shortened.
LONG = 10_000
NONE = -1


@dataclass(frozen=True)
class Numbers:
    """The numbers of the policy in units; a unit is their greatest common divisor."""

    unit_s: int
    work: int
    flight: int
    grace: int
    audit: int
    tolerance: int
    # Some run begins at least this often: the timer's interval, and as late as a run may take.
    start_gap: int
    # Some run gets through undisturbed at least this often; LONG where that is not assumed.
    through_gap: int


@dataclass(frozen=True)
class Parts:
    """The parts of the algorithm; each can be taken out."""

    lock: bool = True
    owner_check: bool = True
    mark: bool = True
    lock_kept_on_unknown: bool = True
    lock_outlives_flight: bool = True
    audit: bool = True
    # `audited_at` is the instant of the question, or of the sending; without, the one at which it is written down.
    note_dated_by_question: bool = True
    finish_dated_by_question: bool = True


class Pc(IntEnum):
    """What a refresher does next."""

    IDLE = 0
    AUDIT = 1  # ask about a code that looks fresh
    AUDIT_NOTE = 2
    ACQUIRE = 3
    ASK = 4  # under the lease: an earlier attempt had no definite end
    ASK_NOTE = 5
    LOOK = 6  # at the deadline
    SEND = 7
    SENT = 8
    STORE = 9
    FINISH_UNKNOWN = 10
    FINISH_REFUSED = 11
    FINISH_RELEASED = 12
    FINISH_KEPT = 13


class Refresher(NamedTuple):
    pc: Pc = Pc.IDLE
    frozen: bool = False
    clean: bool = True  # nothing has disturbed this run
    seen: int = NONE  # the code that it read
    life: int = LONG  # what was recorded of that code's life
    ends: int = NONE  # the life that checkCode named; NONE before an answer
    condemned: bool = False  # checkCode has condemned `seen`
    near: bool = False  # a fetch is due whatever checkCode says
    work: int = 0  # left until work_until
    flight: int = NONE  # left of the request under way
    got: int = NONE  # the code that the platform issued to it
    ago: int = 0  # since the question, or the sending


IDLE = Refresher()


class State(NamedTuple):
    faults: int  # that may still happen
    dues: int  # times that a code may still come due
    since_start: int
    since_through: int
    refreshers: tuple[Refresher, ...]
    # the lease
    exists: bool = True
    owner: int = NONE
    locked: int = 0
    unsettled: bool = False
    before: bool = False
    disputed: bool = False
    audited: int = 0  # ago
    # the stored value
    value: int = 0
    life: int = LONG
    near: bool = False
    young: bool = False
    # the platform: what is left of each code's life, the newest one last; requests that nobody waits for
    codes: tuple[int, ...] = (LONG,)
    orphans: tuple[int, ...] = ()

    @property
    def refused_code_is_read(self) -> bool:
        return self.value != NONE and self.codes[self.value] == 0


def numbers(policy: Policy, tick_s: float, *, through_s: float = math.inf) -> Numbers:
    """The numbers for a timer of `tick_s` and a run that gets through every `through_s`."""
    given = (policy.work_s, policy.flight_s, policy.grace_s, policy.audit_interval_s, policy.audit_tolerance_s, tick_s)
    unit_s = math.gcd(*(int(each) for each in given))
    work, flight, grace, audit, tolerance, tick = (int(each) // unit_s for each in given)
    through = LONG if math.isinf(through_s) else int(through_s) // unit_s + work
    return Numbers(unit_s, work, flight, grace, audit, tolerance, tick + work, through)


def with_refresher(state: State, i: int, refresher: Refresher) -> State:
    everybody = state.refreshers
    return state._replace(refreshers=(*everybody[:i], refresher, *everybody[i + 1 :]))


def ended(state: State, i: int, *, through: bool = False) -> State:
    """The run of refresher `i` is over; its attempt is nobody's any more."""
    state = with_refresher(state, i, IDLE)
    if state.owner == i:
        state = state._replace(owner=NONE)
    return state._replace(since_through=0) if through else state


def issued(state: State, grace: int) -> State:
    """The platform issues a new code; all others live on for the grace at most."""
    return state._replace(codes=(*(min(life, grace) for life in state.codes), LONG))


def _renumbered(state: State) -> State:
    """Only the codes that somebody still knows, and the newest."""
    known = {state.value, len(state.codes) - 1}
    for each in state.refreshers:
        known.add(each.seen)
        known.add(each.got)
    known.discard(NONE)
    if len(known) == len(state.codes):
        return state
    kept = sorted(known)
    new = {old: n for n, old in enumerate(kept)}
    new[NONE] = NONE
    refreshers = tuple(each._replace(seen=new[each.seen], got=new[each.got]) for each in state.refreshers)
    codes = tuple(state.codes[old] for old in kept)
    return state._replace(value=new[state.value], codes=codes, refreshers=refreshers)


def canonical(state: State) -> State:
    """The one state that stands for all that differ only in names."""
    state = _renumbered(state)
    if state.value == NONE and (state.near or state.life != LONG):
        state = state._replace(near=False, life=LONG)
    if state.owner == NONE and not state.locked and state.before:
        state = state._replace(before=False)
    order = sorted(range(len(state.refreshers)), key=lambda i: (state.refreshers[i], i == state.owner))
    if order != list(range(len(order))):
        owner = state.owner if state.owner == NONE else order.index(state.owner)
        state = state._replace(refreshers=tuple(state.refreshers[i] for i in order), owner=owner)
    return state
