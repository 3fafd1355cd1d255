"""The steps of a refresher, each as one atomic action: watch, which only asks, and renew, which only fetches."""

from __future__ import annotations

from collections.abc import Iterator

from . import scripts
from .state import IDLE, LONG, NONE, SETTLED, Numbers, Parts, Pc, Refresher, State, ended, issued, with_refresher

Move = tuple[str, State]


def begin(state: State, i: int, n: Numbers, parts: Parts, *, forced: bool = False) -> Iterator[Move]:
    """Read the target at one instant, and decide whether to ask."""
    state = scripts.note_seen(state, n)
    me = _reads(state, Refresher(fetch=forced))
    due = _question_due(state, n, parts)
    if due and (parts.ask_under_lock or not state.lease.locked):
        yield "a run is to ask about the stored credential", with_refresher(state, i, me._replace(pc=Pc.ASK))
    else:
        yield _renew(state, i, me, parts, through=True, heard=not due)


def _reads(state: State, me: Refresher) -> Refresher:
    lease, value = state.lease, state.value
    return me._replace(seen=value.credential, recorded=value.recorded, mark=lease.mark, locked=lease.locked > 0, ago=0)


def _question_due(state: State, n: Numbers, parts: Parts) -> bool:
    """Watch: a marked value, and one whose audit is due; neither a lock nor the margin keeps from asking."""
    audit_due = scripts.unsettled(state.lease) or state.lease.audited >= n.audit
    return parts.watch and state.value.credential != NONE and audit_due


def _renew(state: State, i: int, me: Refresher, parts: Parts, *, through: bool, heard: bool) -> Move:
    """Renew: none stored, in its margin, forced, or unsettled without a word of checkCode in this run."""
    value = state.value
    due = value.credential == NONE or me.fetch or value.near or value.recorded != LONG
    due = due or (scripts.unsettled(state.lease) and not heard)
    if due and not (parts.lock and state.lease.locked):
        acquires = Refresher(Pc.ACQUIRE, clean=me.clean, seen=me.seen, recorded=me.recorded, mark=me.mark)
        return "finds a fetch due", with_refresher(state, i, acquires)
    what = "finds a fetch due, and the target locked" if due else "finds no fetch due"
    return what, ended(state, i, through=through and me.clean)


def _ask(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    """checkCode tells what is left of the credential's life."""
    ends = state.lives[me.seen]
    said = "the credential is good" if ends == LONG else f"it lives {ends * n.unit_s} s" if ends else "it is rejected"
    return f"asks checkCode: {said}", with_refresher(state, i, me._replace(pc=Pc.NOTE, ends=ends))


def _note(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    """note.lua: true of the value that was asked about, and of no other."""
    if me.ends == NONE:
        state = scripts.note_silent(state, me, n, parts)
        what, after = _renew(state, i, me, parts, through=True, heard=False)
        return f"notes the silence; {what}", after
    if parts.note_same_value and not scripts.same_value(state, me):
        return "meets another value: notes nothing", ended(state, i)
    if me.ends == 0 or me.recorded - me.ends > n.tolerance:
        state = scripts.note_bad(state, me, parts)
        # What acquire compares is what was written.
        me = me._replace(seen=state.value.credential, recorded=state.value.recorded)
        what, after = _renew(state, i, me, parts, through=True, heard=True)
        return f"notes the end of the credential; {what}", after
    settled, state = scripts.note_alive(state, me, n, parts)
    if settled:
        me = me._replace(mark=SETTLED)
    what, after = _renew(state, i, me, parts, through=True, heard=True)
    return f"notes that the credential is good; {what}", after


def _acquire(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    why_not = scripts.may_acquire(state, me, parts)
    if why_not:
        return why_not, ended(state, i)
    state = scripts.acquire(state, n, parts)
    value = state.value
    me = Refresher(Pc.LOOK, clean=me.clean, seen=value.credential, recorded=value.recorded, work=n.work)
    return "takes the lease", with_refresher(state, i, me._replace(attempt=state.lease.attempt))


def _look(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    if me.work:
        return "looks at the deadline: there is time", with_refresher(state, i, me._replace(pc=Pc.SEND))
    late = me._replace(pc=Pc.FINISH_TOO_LATE, clean=False)
    return "looks at the deadline: too late", with_refresher(state, i, late)


def _send(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    return "sends the request", with_refresher(state, i, me._replace(pc=Pc.SENT, flight=n.flight, ago=0, work=0))


def executed(state: State, i: int, n: Numbers) -> State:
    """The platform executes the request of refresher `i`."""
    got = state.refreshers[i]._replace(pc=Pc.STORE, got=len(state.lives), flight=NONE)
    return with_refresher(issued(state, n.grace), i, got)


def _sent(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    if me.flight == NONE:
        unknown = me._replace(pc=Pc.FINISH_UNKNOWN, clean=False)
        return "finds its connection dead: unknown", with_refresher(state, i, unknown)
    return "its request brings a new credential", executed(state, i, n)


def _store(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    was_mine = scripts.mine(state.lease, me, parts)
    what, state = scripts.finish_issued(state, me, n, parts)
    return what, ended(state, i, through=me.clean and was_mine)


def _finish(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    """An attempt that brought no credential; after an unknown end the same run asks."""
    if me.pc == Pc.FINISH_UNKNOWN:
        what, state = scripts.finish_unknown(state, me, n, parts)
        probes = parts.probe and scripts.mine(state.lease, me, parts)
        return what, with_refresher(state, i, Refresher(Pc.PROBE, clean=False)) if probes else ended(state, i)
    was_mine = scripts.mine(state.lease, me, parts)
    what, state = scripts.finish_refused(state, me, parts)
    return what, ended(state, i, through=me.clean and was_mine)


def _probe(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Move:
    if state.value.credential == NONE:
        return "finds nothing to ask about", ended(state, i)
    return "reads again, to ask", with_refresher(state, i, _reads(state, me)._replace(pc=Pc.ASK))


_STEPS = {
    Pc.ASK: _ask,
    Pc.NOTE: _note,
    Pc.ACQUIRE: _acquire,
    Pc.LOOK: _look,
    Pc.SEND: _send,
    Pc.SENT: _sent,
    Pc.STORE: _store,
    Pc.FINISH_REFUSED: _finish,
    Pc.FINISH_TOO_LATE: _finish,
    Pc.FINISH_UNKNOWN: _finish,
    Pc.PROBE: _probe,
}


def step(state: State, i: int, n: Numbers, parts: Parts) -> Iterator[Move]:
    """What refresher `i` does next when nothing disturbs it."""
    me = state.refreshers[i]
    if me == IDLE:
        yield from begin(state, i, n, parts)
    else:
        yield _STEPS[me.pc](state, i, me, n, parts)
