"""The steps of a refresher, each as one atomic action: what plan.py, renewal.py and the scripts do."""

from __future__ import annotations

from collections.abc import Iterator

from .state import IDLE, LONG, NONE, Numbers, Parts, Pc, Refresher, State, ended, issued, with_refresher

Move = tuple[str, State]


def _decide(state: State, unsettled: bool, condemned: int, *, may_audit: bool, n: Numbers) -> Pc:
    """plan.decide: LOOK to fetch, ASK, AUDIT, or IDLE when nothing is due."""
    if state.value == NONE or state.value == condemned:
        return Pc.LOOK
    if state.young:
        return Pc.IDLE
    if unsettled:
        return Pc.ASK
    if state.near or state.life != LONG:
        return Pc.LOOK
    return Pc.AUDIT if may_audit and state.audited >= n.audit else Pc.IDLE


def start(state: State, i: int, n: Numbers, parts: Parts) -> Move:
    """Load value and lease at one instant, and decide."""
    state = state._replace(since_start=0)
    if parts.lock and state.locked:
        return "a run finds the target locked", state
    unsettled = state.unsettled or not state.exists
    todo = _decide(state, unsettled, LONG, may_audit=parts.audit, n=n)
    if todo == Pc.IDLE:
        return "a run finds nothing to do", state._replace(since_through=0)
    if todo == Pc.AUDIT:
        refresher = Refresher(Pc.AUDIT, seen=state.value, life=state.life)
        return "a run reads the code and is to audit it", with_refresher(state, i, refresher)
    return "a run finds the target due", with_refresher(state, i, Refresher(Pc.ACQUIRE))


def _acquire(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    if parts.lock and state.locked:
        yield "comes too late for the lease", ended(state, i)
        return
    before = state.unsettled or not state.exists
    condemned = me.seen if me.condemned else LONG
    todo = _decide(state, before, condemned, may_audit=False, n=n)
    # Before the lease, `near` of a refresher says that its run was forced.
    near = me.near or state.near or state.life != LONG
    if todo == Pc.IDLE and me.near and not state.young:
        todo = Pc.LOOK
    state = state._replace(
        exists=True,
        owner=i,
        locked=n.work + (n.flight if parts.lock_outlives_flight else 0),
        before=before,
        unsettled=True if parts.mark else before,
        disputed=False,
        audited=state.audited if state.exists else n.audit,
    )
    me = Refresher(
        Pc.FINISH_RELEASED if todo == Pc.IDLE else todo,
        clean=me.clean,
        seen=state.value,
        life=state.life,
        condemned=me.condemned and me.seen == state.value,
        near=near,
        work=n.work,
    )
    yield "takes the lease and reads the value again", with_refresher(state, i, me)


def _ask(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    """checkCode tells what is left of the code's life."""
    named = state.codes[me.seen]
    condemned = me.life - named > n.tolerance or named == 0
    answered = me._replace(pc=Pc(me.pc + 1), ends=named, condemned=condemned, ago=0)
    said = "condemns the code" if condemned else "says the code is good"
    yield f"asks checkCode, which {said}", with_refresher(state, i, answered)


def _note(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    """note.lua, and what is decided then."""
    if state.exists or me.condemned:
        state = state._replace(exists=True, audited=_known_since(me, parts))
    if me.condemned:
        state = state._replace(unsettled=True)
        if state.value == me.seen and state.life == me.life:
            state = state._replace(value=state.value if me.ends else NONE, life=me.ends or LONG)
    if me.pc == Pc.AUDIT_NOTE:
        if me.condemned:
            yield "notes that the code is superseded", with_refresher(state, i, me._replace(pc=Pc.ACQUIRE))
        else:
            yield "notes that the code is good", ended(state, i, through=me.clean)
        return
    todo = Pc.LOOK if me.condemned or me.near else Pc.FINISH_KEPT
    yield "notes what checkCode said", with_refresher(state, i, me._replace(pc=todo))


def _known_since(me: Refresher, parts: Parts) -> int:
    noting = me.pc in (Pc.AUDIT_NOTE, Pc.ASK_NOTE)
    return me.ago if (parts.note_dated_by_question if noting else parts.finish_dated_by_question) else 0


def _look(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    if me.work:
        yield "looks at the deadline: there is time", with_refresher(state, i, me._replace(pc=Pc.SEND))
    else:
        late = me._replace(pc=Pc.FINISH_RELEASED, clean=False)
        yield "looks at the deadline: too late", with_refresher(state, i, late)


def _send(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    sent = me._replace(pc=Pc.SENT, flight=n.flight, ago=0, seen=NONE, life=LONG, ends=NONE, condemned=False, near=False)
    yield "sends the request", with_refresher(state, i, sent)


def _sent(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    if me.flight == NONE:
        unknown = me._replace(pc=Pc.FINISH_UNKNOWN, clean=False)
        yield "finds its connection dead: unknown", with_refresher(state, i, unknown)
    else:
        got = me._replace(pc=Pc.STORE, got=len(state.codes), flight=NONE)
        yield "its request brings a new code", with_refresher(issued(state, n.grace), i, got)


def _is_mine(state: State, i: int, parts: Parts) -> bool:
    return state.exists and state.owner == i and (state.locked > 0 or not parts.lock)


def _store(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    """finish.lua for an issued code."""
    mine = _is_mine(state, i, parts) or not parts.owner_check
    orphan = not state.exists and state.value == NONE
    if mine or orphan:
        state = state._replace(value=me.got, life=LONG, near=False, young=me.ago == 0)
    if mine:
        state = state._replace(exists=True, locked=0, unsettled=state.disputed, audited=_known_since(me, parts))
        yield "stores its code: settled", ended(state, i, through=me.clean)
        return
    audited = state.audited if state.exists else n.audit
    state = state._replace(exists=True, disputed=True, unsettled=True, audited=audited)
    yield "finds its lease lost: the target is disputed", ended(state, i)


def _finish(state: State, i: int, me: Refresher, n: Numbers, parts: Parts) -> Iterator[Move]:
    """finish.lua for an attempt that brought no code."""
    what = me.pc.name.removeprefix("FINISH_").lower()
    if not _is_mine(state, i, parts):
        yield f"finishes ({what}), its lease is lost", ended(state, i)
        return
    if me.pc == Pc.FINISH_UNKNOWN:
        if not parts.lock_kept_on_unknown:
            state = state._replace(locked=0)
        yield "finishes: unknown, the lock stays", ended(state, i)
        return
    kept = me.pc == Pc.FINISH_KEPT
    audited = _known_since(me, parts) if kept else state.audited
    unsettled = state.disputed or (state.before and not kept)
    state = state._replace(locked=0, unsettled=unsettled, audited=audited)
    yield f"finishes: {what}", ended(state, i, through=me.clean)


_STEPS = {
    Pc.AUDIT: _ask,
    Pc.AUDIT_NOTE: _note,
    Pc.ACQUIRE: _acquire,
    Pc.ASK: _ask,
    Pc.ASK_NOTE: _note,
    Pc.LOOK: _look,
    Pc.SEND: _send,
    Pc.SENT: _sent,
    Pc.STORE: _store,
    Pc.FINISH_UNKNOWN: _finish,
    Pc.FINISH_REFUSED: _finish,
    Pc.FINISH_RELEASED: _finish,
    Pc.FINISH_KEPT: _finish,
}


def step(state: State, i: int, n: Numbers, parts: Parts) -> Iterator[Move]:
    """What refresher `i` does next when nothing disturbs it."""
    me = state.refreshers[i]
    if me == IDLE:
        yield start(state, i, n, parts)
    else:
        yield from _STEPS[me.pc](state, i, me, n, parts)
