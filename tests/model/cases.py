"""What is searched: the whole algorithm, and the algorithm with a part taken out."""

from __future__ import annotations

from dataclasses import dataclass

from token_refresher.policy import Policy

from .state import Parts, numbers
from .world import ALL, FOR_THE_LOCK, Fault, World

# The default policy in units of a minute: `work_s` rounded up to one. It is a valid policy, and both inequalities
# about the grace hold with nothing to spare for a timer of 300 s, the longest that is allowed.
COARSE = Policy(work_s=60)
EXACT = Policy()


@dataclass(frozen=True)
class Case:
    name: str
    world: World
    faults: int
    dues: int = 1
    safe: bool = False


def through_s(policy: Policy) -> float:
    """How often a run has to get through for the audit to come in time."""
    return policy.grace_s - policy.audit_interval_s - policy.work_s


def lock_alone(policy: Policy, tick_s: float, parts: Parts, more: frozenset[Fault] = frozenset()) -> World:
    """No audit, only faults that the lock has to stand, and any of the runs may be disturbed."""
    return World(numbers(policy, tick_s), parts, FOR_THE_LOCK | more)


def everything(policy: Policy, tick_s: float, parts: Parts, gap_s: float | None = None) -> World:
    """All faults, as long as a run gets through often enough."""
    gap_s = through_s(policy) if gap_s is None else gap_s
    return World(numbers(policy, tick_s, through_s=gap_s), parts, ALL)


def whole(policy: Policy, faults: int) -> list[Case]:
    """Nothing is taken out: nothing must be found."""
    alone = Parts(audit=False)
    return [
        Case("lock alone, timer 60 s", lock_alone(policy, 60, alone), faults, 2, safe=True),
        # With this timer two disturbed runs in a row are the whole grace.
        Case("lock alone, timer 300 s", lock_alone(policy, 300, alone), 1, 2, safe=True),
        Case("whole, timer 60 s", everything(policy, 60, Parts()), faults, safe=True),
        Case("whole, timer 300 s", everything(policy, 300, Parts()), faults, safe=True),
    ]


def parts_out(policy: Policy) -> list[Case]:
    """One part is taken out of the lock, which works without the audit; or the audit, or a part of it."""

    def lock(name: str, parts: Parts) -> Case:
        return Case(name, lock_alone(policy, 60, parts), 1)

    def no_audit(fault: Fault, faults: int, name: str) -> Case:
        return Case(f"no audit: {name}", lock_alone(policy, 60, Parts(audit=False), frozenset({fault})), faults)

    noted_late = Parts(note_dated_by_question=False)
    finished_late = Parts(finish_dated_by_question=False)
    return [
        lock("no lock", Parts(audit=False, lock=False)),
        lock("no owner check", Parts(audit=False, owner_check=False)),
        lock("no write-ahead mark", Parts(audit=False, mark=False)),
        lock("lock released on unknown", Parts(audit=False, lock_kept_on_unknown=False)),
        lock("lock shorter than the flight", Parts(audit=False, lock_outlives_flight=False)),
        no_audit(Fault.OUT_OF_BAND, 1, "somebody else fetches"),
        no_audit(Fault.RUN_LOST, 1, "a run's writes lost"),
        no_audit(Fault.LEASE_LOST, 2, "lease lost, and one more"),
        no_audit(Fault.FREEZE_BEFORE_SEND, 2, "frozen before the send, then dead"),
        Case("audit dated when noted, timer 60 s", everything(policy, 60, noted_late), 2, 0),
        Case("audit dated when noted, timer 300 s", everything(policy, 300, noted_late), 2, 0),
        Case("audit dated when finished, timer 300 s", everything(policy, 300, finished_late), 2),
        Case("a run gets through every 480 s only", everything(policy, 60, Parts(), 480), 3, 0),
    ]
