"""What is searched: the whole algorithm, and the algorithm with one condition taken out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from token_refresher.domain.policy import Policy

from .state import Numbers, Parts, numbers
from .world import ALL, OWN_FETCHES, REDIS, Fault, Promise, World

# Units of a minute: `work_s` rounded up to one. The margin is as short as a policy allows that rolls at all, so that
# what silence prolongs ends early; the search grows with it.
COARSE = Policy(work_s=60, margin_s=900)

# The three kinds of promise that a case may search for.
SAFE = (Promise.NOT_REJECTED, Promise.ROLL_BOUNDED)
INVARIANTS = (*SAFE, Promise.ONE_REQUEST, Promise.SETTLED_LIVES)
KEPT = (Promise.NEWEST_KEPT,)
# Others store theirs, the platform is away: which faults, and which promise.
_STRANGE = ((Fault.STORED, Fault.SILENT), (Promise.STRANGE_BOUNDED,))


@dataclass(frozen=True)
class Case:
    name: str
    world: World
    faults: int
    dues: int = 1
    refreshers: int = 2
    # What the search must find; None where it must find nothing.
    expects: Promise | None = None
    # Longer than three seconds: only `python -m verification.model` searches it.
    slow: bool = False


def through_s(policy: Policy) -> float:
    """How often the watch of a run has to get through for the audit to come in time, seconds."""
    return policy.grace_s - policy.audit_interval_s - policy.work_s


def _world(
    n: Numbers, faults: Iterable[Fault], promises: Iterable[Promise], parts: Parts, silent_run_counts: bool = False
) -> World:
    return World(n, parts, frozenset(faults), frozenset(promises), silent_run_counts)


def whole(policy: Policy = COARSE) -> list[Case]:
    """Nothing is taken out: nothing must be found."""
    alone, watched = numbers(policy), numbers(policy, through_s=through_s(policy))
    others, parts = ALL - REDIS, Parts()
    redis = {*REDIS, Fault.CRASH, Fault.UNKNOWN, Fault.OUT_OF_BAND}
    late = OWN_FETCHES | {Fault.FREEZE_BEFORE_SEND}
    heard = others - {Fault.SILENT}
    stored = heard | {Fault.STORED}
    long = partial(Case, slow=True)
    unheard = {Fault.UNKNOWN, Fault.REFUSED, Fault.CRASH, Fault.SILENT}
    return [
        Case("own fetches, one fault", _world(alone, OWN_FETCHES, INVARIANTS, parts), 1),
        Case("others store theirs over ours, a watch each 330 s", _world(watched, stored, SAFE, parts), 1),
        Case(
            "what others store goes within a margin, checkCode silent",
            _world(watched, *_STRANGE, parts, True),
            2,
            dues=0,
            refreshers=1,
        ),
        long("others store theirs over ours, two faults", _world(watched, stored, SAFE, parts), 2),
        long("own fetches, three refreshers", _world(alone, OWN_FETCHES, INVARIANTS, parts), 1, refreshers=3),
        long("own fetches, two faults", _world(alone, OWN_FETCHES, INVARIANTS, parts), 2),
        long("own fetches, two occasions", _world(alone, OWN_FETCHES, INVARIANTS, parts), 2, 2),
        long("own fetches, three faults", _world(alone, OWN_FETCHES, INVARIANTS, parts), 3),
        long("all but Redis's losses, a watch each 330 s", _world(watched, others, SAFE, parts), 2),
        long("Redis's losses, a watch each 330 s", _world(watched, redis, SAFE, parts), 2),
        long("late sends, a watch each 330 s", _world(watched, late, SAFE, parts), 2),
        long("the newest is kept, checkCode answers", _world(watched, heard, KEPT, parts), 2),
        long("the newest is kept for the margin, checkCode silent", _world(watched, unheard, KEPT, parts, True), 2),
    ]


_SLOW = (
    "refused restores though unsettled",
    "alive under a lock counts from now",
    "alive under a lock changes nothing",
    "silence prolongs nothing",
    "silence prolongs without bound",
)


def parts_out(policy: Policy = COARSE) -> list[Case]:
    """One condition is taken out, and the faults that it answers to are let loose."""
    found = [*_acquire_and_finish(policy), *_note_and_watch(policy)]
    return [replace(each, slow=each.name in _SLOW) for each in found]


def _acquire_and_finish(policy: Policy) -> list[Case]:
    n = numbers(policy)
    bad = Promise.NOT_REJECTED
    die, freeze, lost, no = Fault.CRASH, Fault.FREEZE, Fault.UNKNOWN, Fault.REFUSED
    silent = Fault.SILENT

    def case(name: str, parts: Parts, faults: int, *kinds: Fault) -> Case:
        return Case(name, _world(n, kinds, (bad,), parts), faults, expects=bad)

    return [
        case("no cut", Parts(cut=False), 1, die),
        case("the cut may lengthen", Parts(cut_never_lengthens=False), 2, die),
        case("refused restores though unsettled", Parts(restore_only_if_settled_before=False), 3, die, no, silent),
        case("refused restores though the lease is lost", Parts(owner_check_when_refused=False), 1, die, freeze),
        case("no owner check", Parts(owner_check=False), 1, die, freeze),
        case("unknown restores", Parts(unknown_leaves_the_cut=False), 1, lost),
        case("the lock ends with unknown", Parts(lock_kept_on_unknown=False), 1, lost),
        case("no lock", Parts(lock=False), 0),
    ]


def _note_and_watch(policy: Policy) -> list[Case]:
    alone, watched = numbers(policy), numbers(policy, through_s=through_s(policy))
    bad, kept = Promise.NOT_REJECTED, Promise.NEWEST_KEPT
    die, freeze, lost, no = Fault.CRASH, Fault.FREEZE, Fault.UNKNOWN, Fault.REFUSED
    others, silent = Fault.OUT_OF_BAND, Fault.SILENT

    def own(name: str, parts: Parts, faults: int, *kinds: Fault, expects: Promise = bad) -> Case:
        return Case(name, _world(alone, kinds, (expects,), parts), faults, expects=expects)

    def watch(name: str, parts: Parts, dues: int, faults: int, *kinds: Fault) -> Case:
        return Case(name, _world(watched, kinds, (bad,), parts), faults, dues, expects=bad)

    def keep(name: str, parts: Parts, dues: int, *kinds: Fault) -> Case:
        return Case(name, _world(watched, kinds, (kept,), parts, silent in kinds), 2, dues, expects=kept)

    bounded = Promise.ROLL_BOUNDED
    strange = Case(
        "another tool's value counts as settled",
        _world(watched, *_STRANGE, Parts(strange_is_unsettled=False), True),
        2,
        dues=0,
        refreshers=1,
        expects=Promise.STRANGE_BOUNDED,
    )
    late = Case(
        "a late process leaves its old mark",
        _world(alone, (freeze,), (Promise.SETTLED_LIVES,), Parts(late_mark_is_new=False)),
        1,
        refreshers=3,
        expects=Promise.SETTLED_LIVES,
    )
    return [
        late,
        strange,
        own("alive settles though locked when read", Parts(settle_only_if_unlocked_when_read=False), 1, die),
        own("alive settles under another mark", Parts(settle_only_under_the_mark_read=False), 1, die, freeze),
        own("alive under a lock restores", Parts(alive_under_lock="recorded"), 1, die),
        own("alive under a lock counts from now", Parts(alive_under_lock="now"), 2, die, freeze),
        own("silence prolongs without bound", Parts(roll_bounded=False), 2, die, silent, expects=bounded),
        watch("no watch", Parts(watch=False), 0, 1, others),
        watch("no question under a lock", Parts(ask_under_lock=False), 1, 2, others, die),
        watch("an answer counts from its note", Parts(note_dated_by_question=False), 0, 2, others, freeze),
        keep("note does not compare the value", Parts(note_same_value=False), 0, others, freeze),
        keep("alive under a lock changes nothing", Parts(alive_under_lock="unchanged"), 1, lost, freeze),
        keep("silence prolongs nothing", Parts(silence_rolls=False), 1, silent),
        keep("refused does not restore", Parts(restore_after_refusal=False), 1, no, silent),
    ]


def not_needed(policy: Policy = COARSE) -> list[Case]:
    """Taken out, and still nothing is found: each spares requests, or serves what the model does not have."""
    alone, watched = numbers(policy), numbers(policy, through_s=through_s(policy))
    out = {
        "acquire does not compare": Parts(compare_at_acquire=False),
        "no question after unknown": Parts(probe=False),
        "issued settles under another's mark": Parts(issued_settles_only_under_own_mark=False),
    }
    lost = _world(watched, (Fault.LEASE_LOST, Fault.FREEZE), SAFE, Parts(late_mark=False))
    return [
        *(Case(name, _world(alone, OWN_FETCHES, SAFE, parts), 1) for name, parts in out.items()),
        Case("a late process leaves no mark, the lease lost", lost, 2),
    ]
