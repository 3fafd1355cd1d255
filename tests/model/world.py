"""What happens around the refreshers: time, the platform, and faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .refresher import step
from .state import IDLE, LONG, NONE, Numbers, Parts, Pc, Refresher, State, ended, issued, with_refresher

Move = tuple[int, str, State]
WORLD = -1


class Fault(Enum):
    CRASH = "a refresher dies"
    FREEZE = "a refresher stops between two steps, and goes on whenever"
    FREEZE_BEFORE_SEND = "the same between its last look at the deadline and the sending"
    UNKNOWN = "an answer is lost; the request is executed now, later, or never"
    REFUSED = "the platform says no"
    SILENT = "checkCode does not answer"
    LEASE_LOST = "Redis forgets the lease, or goes back to the lease before this one"
    RUN_LOST = "Redis forgets everything that a run wrote, right after the run"
    OUT_OF_BAND = "somebody else fetches a code"


# What the lock has to stand without any audit.
FOR_THE_LOCK = frozenset({Fault.CRASH, Fault.FREEZE, Fault.UNKNOWN, Fault.REFUSED, Fault.SILENT})
ALL = frozenset(Fault)


@dataclass(frozen=True)
class World:
    numbers: Numbers
    parts: Parts
    faults: frozenset[Fault]


def moves(state: State, world: World) -> Iterator[Move]:
    """Everything that can happen next: who, what, and the state after it."""
    waiting = True
    for i, each in enumerate(state.refreshers):
        if each.frozen:
            awake = with_refresher(state, i, each._replace(frozen=False))
            for what, after in step(awake, i, world.numbers, world.parts):
                yield i, f"goes on: {what}", after
            if each.pc == Pc.SENT and each.flight != NONE:
                got = each._replace(pc=Pc.STORE, got=len(state.codes), flight=NONE)
                yield i, "its request is executed", with_refresher(issued(state, world.numbers.grace), i, got)
        else:
            waiting = waiting and each.pc == Pc.IDLE
            for what, after in step(state, i, world.numbers, world.parts):
                yield i, what, after
        if state.faults and each.pc != Pc.IDLE:
            for what, after in _faults_of(state._replace(faults=state.faults - 1), i, each, world):
                yield i, what, after
    for what, after in _around(state, world):
        yield WORLD, what, after
    n = world.numbers
    if waiting and state.since_start < n.start_gap and state.since_through < n.through_gap:
        yield WORLD, "time passes", _later(state, world)


def _faults_of(state: State, i: int, me: Refresher, world: World) -> Iterator[tuple[str, State]]:
    """What can go wrong with refresher `i`; the fault is already counted."""
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
    if me.pc == Pc.SENT:
        if Fault.UNKNOWN in world.faults:
            unknown = Refresher(Pc.FINISH_UNKNOWN, clean=False)
            yield "GETS NO ANSWER", with_refresher(orphaned, i, unknown)
        if Fault.REFUSED in world.faults:
            yield "IS REFUSED", with_refresher(state, i, Refresher(Pc.FINISH_REFUSED, clean=False))
    elif Fault.SILENT in world.faults and me.pc == Pc.AUDIT:
        yield "checkCode DOES NOT ANSWER", ended(state, i)
    elif Fault.SILENT in world.faults and me.pc == Pc.ASK:
        yield "checkCode DOES NOT ANSWER", with_refresher(state, i, me._replace(pc=Pc.LOOK, clean=False))
    if me.pc == Pc.STORE and Fault.RUN_LOST in world.faults and state.owner == i and state.locked:
        yield "stores its code; THE RUN'S WRITES ARE LOST", ended(_rolled_back(state), i)


def _rolled_back(state: State) -> State:
    return state._replace(locked=0, owner=NONE, unsettled=state.before, disputed=False)


def _around(state: State, world: World) -> Iterator[tuple[str, State]]:
    for at in range(len(state.orphans)):
        orphans = state.orphans[:at] + state.orphans[at + 1 :]
        yield "the request is executed late: a new code", issued(state, world.numbers.grace)._replace(orphans=orphans)
    if state.dues and state.value != NONE and not state.near and state.life == LONG:
        yield "the stored code comes due", state._replace(near=True, dues=state.dues - 1)
    if state.dues and IDLE in state.refreshers and not (state.locked and world.parts.lock):
        forced = with_refresher(state, state.refreshers.index(IDLE), Refresher(Pc.ACQUIRE, near=True))
        yield "somebody forces a run", forced._replace(dues=state.dues - 1, since_start=0)
    if not state.faults:
        return
    fewer = state._replace(faults=state.faults - 1)
    if Fault.OUT_OF_BAND in world.faults:
        yield "SOMEBODY ELSE FETCHES a new code", issued(fewer, world.numbers.grace)
    if Fault.LEASE_LOST in world.faults and state.exists:
        gone = State(0, 0, 0, 0, ())._replace(exists=False)._asdict()
        lease = ("exists", "owner", "locked", "unsettled", "before", "disputed", "audited")
        yield "THE LEASE IS LOST", fewer._replace(**{name: gone[name] for name in lease})
        if state.locked:
            yield "THE LEASE IS LOST, the one before is back", _rolled_back(fewer)


def _less(ahead: int, by: int = 1) -> int:
    return ahead if ahead in (LONG, NONE) else max(ahead - by, 0)


def _later(state: State, world: World) -> State:
    """One unit of time later; what has run out is gone."""
    n = world.numbers
    life = _less(state.life)
    gone = life == 0
    return state._replace(
        since_start=state.since_start + 1 if n.start_gap < n.through_gap else 0,
        since_through=state.since_through + 1 if n.through_gap < LONG else 0,
        refreshers=tuple(_older(each, n) if each.frozen else each for each in state.refreshers),
        locked=_less(state.locked),
        audited=min(state.audited + 1, n.audit) if world.parts.audit and state.exists else 0,
        value=NONE if gone else state.value,
        life=LONG if gone else life,
        young=False,
        codes=tuple(_less(each) for each in state.codes),
        orphans=tuple(flight - 1 for flight in state.orphans if flight),
    )


def _older(me: Refresher, n: Numbers) -> Refresher:
    waiting = me.pc == Pc.SENT
    asked = me.pc in (Pc.AUDIT_NOTE, Pc.ASK_NOTE, Pc.FINISH_KEPT, Pc.SENT, Pc.STORE)
    return me._replace(
        work=_less(me.work),
        life=_less(me.life),
        ends=_less(me.ends),
        # The last instant at which it can be executed is over: it is not executed any more.
        flight=NONE if waiting and me.flight <= 0 else me.flight - 1 if waiting else me.flight,
        ago=min(me.ago + 1, n.audit) if asked else 0,
    )
