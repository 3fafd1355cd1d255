"""What happens around the refreshers: time, the platform, and faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .refresher import begin, executed, step
from .scripts import stored_by_others
from .state import (
    IDLE,
    LONG,
    LOST,
    NONE,
    NOTHING,
    SETTLED,
    STRANGE,
    Numbers,
    Parts,
    Pc,
    Refresher,
    Saved,
    State,
    Value,
    ended,
    issued,
    with_refresher,
)

Move = tuple[int, str, State]
WORLD = -1
TIME = "time passes"


class Fault(Enum):
    CRASH = "a refresher dies"
    FREEZE = "a refresher stops between two steps, and goes on whenever"
    FREEZE_BEFORE_SEND = "the same between its last look at the deadline and the sending"
    UNKNOWN = "an answer is lost; the request is executed now, later, or never"
    REFUSED = "the platform says no"
    SILENT = "the platform is away: from then on it leaves unanswered what it likes, checkCode included"
    LEASE_LOST = "Redis forgets the lease, or goes back to what it held before the last acquire"
    RUN_LOST = "Redis forgets everything that a run wrote, right after the run"
    OUT_OF_BAND = "someone else fetches a credential"
    STORED = "someone else fetches a credential, and stores it or an outdated one over ours, without a TTL"


class Promise(Enum):
    """What must never be."""

    NOT_REJECTED = "a reader holds a rejected credential, and not because checkCode is silent"
    ONE_REQUEST = "two requests are under way"
    SETTLED_LIVES = "a settled credential has another TTL than its recorded end"
    NEWEST_KEPT = "the platform's newest credential is taken from readers"
    STRANGE_BOUNDED = "what another tool stored outlives a margin after the first watch, without a word of checkCode"
    ROLL_BOUNDED = "a credential that only silence keeps outlives mark_since + margin"


# What the promise has to stand although no run ever comes again.
OWN_FETCHES = frozenset({Fault.CRASH, Fault.FREEZE, Fault.UNKNOWN, Fault.REFUSED, Fault.SILENT})
REDIS = frozenset({Fault.LEASE_LOST, Fault.RUN_LOST})
ALL = frozenset(Fault) - {Fault.STORED}


@dataclass(frozen=True)
class World:
    numbers: Numbers
    parts: Parts
    faults: frozenset[Fault]
    promises: frozenset[Promise] = frozenset({Promise.NOT_REJECTED})
    # A run to which checkCode did not answer counts as one that got through.
    silent_run_counts: bool = False


def moves(state: State, world: World) -> Iterator[Move]:
    """Everything that can happen next: who, what, and the state after it."""
    n, parts = world.numbers, world.parts
    waiting = True
    for i, each in enumerate(state.refreshers):
        if each.frozen:
            awake = with_refresher(state, i, each._replace(frozen=False))
            for what, after in step(awake, i, n, parts):
                yield i, f"goes on: {what}", after
            if each.pc == Pc.SENT and each.flight != NONE:
                yield i, "its request is executed", executed(state, i, n)
        else:
            waiting = waiting and each.pc == Pc.IDLE
            for what, after in step(state, i, n, parts):
                yield i, what, after
        if each.pc != Pc.IDLE:
            for what, after in _disturbed(state, i, each, world):
                yield i, what, after
    for what, after in _around(state, world):
        yield WORLD, what, after
    if waiting and state.since_through < n.through_gap:
        yield WORLD, TIME, _later(state, world)


def _disturbed(state: State, i: int, me: Refresher, world: World) -> Iterator[tuple[str, State]]:
    """What can go wrong with refresher `i`."""
    yield from _unanswered(state, i, me, world)
    if not state.faults:
        return
    state = state._replace(faults=state.faults - 1)
    under_way = (me.flight,) if me.pc == Pc.SENT and me.flight != NONE else ()
    orphaned = state._replace(orphans=tuple(sorted(state.orphans + under_way)))
    # A run that dies before it has written anything is as good as none.
    if Fault.CRASH in world.faults and me.pc > Pc.ACQUIRE:
        yield "DIES", ended(orphaned, i)
    freeze = Fault.FREEZE_BEFORE_SEND if me.pc == Pc.SEND else Fault.FREEZE
    if freeze in world.faults and not me.frozen:
        yield "FREEZES", with_refresher(state, i, me._replace(frozen=True, clean=False))
    if me.frozen:
        return
    if me.pc == Pc.SENT and Fault.UNKNOWN in world.faults:
        unknown = me._replace(pc=Pc.FINISH_UNKNOWN, flight=NONE, clean=False)
        yield "GETS NO ANSWER", with_refresher(orphaned, i, unknown)
    if me.pc == Pc.SENT and Fault.REFUSED in world.faults:
        refused = me._replace(pc=Pc.FINISH_REFUSED, flight=NONE, clean=False)
        yield "IS REFUSED", with_refresher(state, i, refused)
    if me.pc != Pc.STORE or Fault.RUN_LOST not in world.faults or me.attempt != state.lease.attempt:
        return
    if state.saved is not None and state.lease.locked:
        yield "stores its credential; THE RUN'S WRITES ARE LOST", ended(_rolled_back(state, state.saved), i)


def _unanswered(state: State, i: int, me: Refresher, world: World) -> Iterator[tuple[str, State]]:
    """The platform is away: one fault for as long as it lasts. What it does not answer, it does not execute."""
    if Fault.SILENT not in world.faults or me.frozen or not (state.faults or state.silent):
        return
    less = state if state.silent else state._replace(faults=state.faults - 1, silent=True)
    clean = me.clean and world.silent_run_counts
    if me.pc == Pc.ASK:
        unheard = me._replace(pc=Pc.NOTE, ends=NONE, clean=clean)
        yield "checkCode DOES NOT ANSWER", with_refresher(less, i, unheard)
    if me.pc == Pc.SENT and me.flight != NONE:
        unknown = me._replace(pc=Pc.FINISH_UNKNOWN, flight=NONE, clean=clean)
        yield "gets no answer, THE PLATFORM IS AWAY", with_refresher(less, i, unknown)


def _rolled_back(state: State, saved: Saved) -> State:
    value = NOTHING if saved.value.ttl <= 0 else saved.value
    return state._replace(lease=saved.lease, value=value, since_through=saved.since_through, saved=None)


def _around(state: State, world: World) -> Iterator[tuple[str, State]]:
    for at in range(len(state.orphans)):
        orphans = state.orphans[:at] + state.orphans[at + 1 :]
        after = issued(state, world.numbers.grace)._replace(orphans=orphans)
        yield "the request is executed late: a new credential", after
    value = state.value
    if state.dues and value.credential != NONE and not value.near and value.recorded == LONG:
        near = state._replace(value=value._replace(near=True), dues=state.dues - 1)
        yield "the stored credential comes due", near
    if state.dues and IDLE in state.refreshers and not state.lease.locked:
        i = state.refreshers.index(IDLE)
        for what, after in begin(state._replace(dues=state.dues - 1), i, world.numbers, world.parts, forced=True):
            yield f"someone forces a run: {what}", after
    if not state.faults:
        return
    fewer = state._replace(faults=state.faults - 1)
    if Fault.OUT_OF_BAND in world.faults:
        yield "SOMEONE ELSE FETCHES a new credential", issued(fewer, world.numbers.grace)
    if Fault.STORED in world.faults:
        theirs = issued(fewer, world.numbers.grace)
        newest = len(theirs.lives) - 1
        yield "SOMEONE ELSE STORES a new credential", stored_by_others(theirs, newest, world.parts)
        yield "SOMEONE ELSE STORES an outdated credential", stored_by_others(theirs, newest - 1, world.parts)
    if Fault.LEASE_LOST in world.faults and state.lease != LOST:
        yield "THE LEASE IS LOST", fewer._replace(lease=LOST, saved=None)
        if state.lease.locked and state.saved is not None:
            yield "THE LEASE BEFORE IS BACK", _rolled_back(fewer, state.saved)


def _less(ahead: int) -> int:
    return ahead if ahead in (LONG, NONE) else max(ahead - 1, 0)


def _value_later(value: Value, n: Numbers) -> Value:
    if value.strange != NONE:
        value = value._replace(strange=min(value.strange + 1, _strange_at_most(n) + 1))
    if value.credential == NONE or value == Value(value.credential):
        return value
    return value._replace(recorded=_less(value.recorded), ttl=_less(value.ttl))


def _strange_at_most(n: Numbers) -> int:
    return n.margin + min(n.through_gap, LONG)


def _later(state: State, world: World) -> State:
    """One unit of time later; what has run out is gone."""
    n, lease, saved = world.numbers, state.lease, state.saved
    counts = Fault.SILENT in world.faults and (lease.mark > SETTLED or lease.mark == STRANGE) and lease != LOST
    lease = lease._replace(
        locked=_less(lease.locked),
        audited=min(lease.audited + 1, n.audit),
        marked_for=min(lease.marked_for + 1, n.margin + 1) if counts else 0,
    )
    value = _value_later(state.value, n)
    through = 1 if n.through_gap < LONG else 0
    if saved is not None:
        older = saved.lease._replace(audited=min(saved.lease.audited + 1, n.audit))
        saved = Saved(_value_later(saved.value, n), older, saved.since_through + through)
    return state._replace(
        since_through=state.since_through + through,
        refreshers=tuple(_older(each, n) if each.frozen else each for each in state.refreshers),
        lease=lease if state.lease != LOST else LOST,
        value=NOTHING if value.ttl == 0 else value,
        saved=saved,
        lives=tuple(_less(each) for each in state.lives),
        orphans=tuple(flight - 1 for flight in state.orphans if flight),
    )


def _older(me: Refresher, n: Numbers) -> Refresher:
    counts = me.pc in (Pc.ASK, Pc.NOTE, Pc.SENT, Pc.STORE)
    # The last instant at which a request can be executed is over: it is not executed any more.
    waiting = me.pc == Pc.SENT
    flight = (NONE if me.flight <= 0 else me.flight - 1) if waiting else me.flight
    return me._replace(
        recorded=_less(me.recorded),
        ends=_less(me.ends),
        ago=min(me.ago + 1, n.grace) if counts else 0,
        work=_less(me.work),
        flight=flight,
    )


def broken(before: State, what: str, after: State, world: World) -> Promise | None:
    """The promise that this step breaks."""
    value, lease, promises = after.value, after.lease, world.promises
    stored = value.credential != NONE
    if stored and not after.lives[value.credential] and not value.rolled and Promise.NOT_REJECTED in promises:
        return Promise.NOT_REJECTED
    if value.rolled and lease.marked_for > world.numbers.margin and Promise.ROLL_BOUNDED in promises:
        return Promise.ROLL_BOUNDED
    if stored and value.strange > _strange_at_most(world.numbers) and Promise.STRANGE_BOUNDED in promises:
        return Promise.STRANGE_BOUNDED
    if after.requests > 1 and Promise.ONE_REQUEST in promises:
        return Promise.ONE_REQUEST
    if stored and lease.mark == SETTLED and value.ttl != value.recorded and Promise.SETTLED_LIVES in promises:
        return Promise.SETTLED_LIVES
    if Promise.NEWEST_KEPT in promises and what == TIME and not stored and before.value.credential != NONE:
        # Not before mark_since + margin where checkCode is silent.
        lost = before.lives[before.value.credential] == LONG and lease.marked_for < world.numbers.margin
        return Promise.NEWEST_KEPT if lost else None
    return None
