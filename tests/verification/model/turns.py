"""Whose turn it is: sick copies beside a healthy one, and how long the healthy one waits for the lease.

A simulation of one target that is due, in seconds. Each copy runs once a tick; copies start at any phase.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import count

from token_refresher.domain.policy import Policy

POLICY = Policy()
HORIZON_S = 3600.0
# A run tries no later than this after its beginning, seconds.
RUN_S = 47.0
HEALTHY = 0


class Sickness(Enum):
    REFUSED = "its secret is outdated, or it is off the white list"
    DEAD = "its proxy refuses at once"
    SILENT = "its proxy is silent for 3 to 10 s"
    KILLED = "it is killed right after it took the lease"


@dataclass(frozen=True)
class Rules:
    """The conditions of the algorithm; each can be taken out."""

    own_waits: bool = True  # False: one back-off for all copies
    dial_first: bool = True  # the connection is there before the lease: a sick network holds none
    look_again: bool = True  # within the run, while the lease is taken
    wait_ahead: bool = True  # acquire writes the caller's own wait for the case that its attempt has no end
    bringer_first: bool = True  # after an attempt without an end, for one tick


@dataclass
class Lease:
    """What Redis knows of the target; instants in seconds. A copy's number is its caller id."""

    locked_until: float = 0.0
    open_end: bool = False  # the last attempt had no end
    by: int = HEALTHY
    issued_by: int | None = HEALTHY
    waits: dict[int, float] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    shared_wait: float = 0.0


@dataclass(frozen=True)
class Case:
    sick: tuple[Sickness, ...]
    phases: tuple[float, ...]  # the healthy copy's first
    jitter_s: float = 0.0
    bringer: int | None = HEALTHY  # which copy brought the stored credential
    rules: Rules = Rules()
    policy: Policy = POLICY


ANY = Case((), (0.0,))


def may_try_at(lease: Lease, me: int, now: float, case: Case, rng: random.Random) -> float:
    """`now` when the lease may be taken; else when to look again in this run, or never."""
    rules = case.rules
    wait = lease.waits.get(me, 0.0) if rules.own_waits else lease.shared_wait
    if now < wait:
        return wait if rules.look_again else math.inf
    if now < lease.locked_until:
        if not rules.look_again:
            return math.inf
        return min(lease.locked_until, now + rng.uniform(1, 3))
    first = lease.issued_by
    if rules.bringer_first and lease.open_end and first not in (None, lease.by, me):
        turn = lease.locked_until + case.policy.tick_s
        if now < turn:
            return turn if rules.look_again else math.inf
    return now


def sick_attempt(lease: Lease, me: int, sickness: Sickness, now: float, case: Case, rng: random.Random) -> None:
    """What an attempt of a sick copy leaves."""
    policy, rules = case.policy, case.rules
    if lease.open_end and lease.by == lease.issued_by:
        # Its own attempt had no end, so to have brought one says nothing any more.
        lease.issued_by = None
    failures = lease.failures[me] = lease.failures.get(me, 0) + 1
    lease.by, lease.open_end = me, False
    if sickness is Sickness.KILLED:
        lease.open_end = True
        lease.locked_until = now + policy.work_s + policy.flight_s
        if rules.wait_ahead:
            lease.waits[me] = lease.locked_until + min(60 * 2.0 ** (failures - 1), 600)
        return
    took_s = {Sickness.REFUSED: 0.2, Sickness.DEAD: 0.01}.get(sickness) or rng.uniform(3, 10)
    lease.locked_until = now + took_s
    wait_s = min(policy.retry_base_s * 2.0 ** (failures - 1), policy.retry_cap_s)
    if sickness is not Sickness.REFUSED:
        wait_s = 0 if rules.own_waits else policy.retry_base_s
    lease.waits[me] = lease.shared_wait = lease.locked_until + wait_s


def turn_s(case: Case, seed: int) -> float:
    """Seconds from the healthy copy's first run until it takes the lease; at most the horizon."""
    rng, number, lease = random.Random(seed), count(), Lease(issued_by=case.bringer)
    # when, which copy, and when its run ends; a run that begins has no end yet
    queue = [(phase, next(number), copy, math.nan) for copy, phase in enumerate(case.phases)]
    heapq.heapify(queue)
    while queue:
        now, _, me, run_ends = heapq.heappop(queue)
        if now > HORIZON_S:
            break
        if math.isnan(run_ends):
            run_ends = now + RUN_S
            following = now + case.policy.tick_s + rng.uniform(-case.jitter_s, case.jitter_s)
            heapq.heappush(queue, (following, next(number), me, math.nan))
        sickness = None if me == HEALTHY else case.sick[me - 1]
        if case.rules.dial_first and sickness in (Sickness.DEAD, Sickness.SILENT):
            continue
        at = may_try_at(lease, me, now, case, rng)
        if at > now:
            if at <= run_ends:
                heapq.heappush(queue, (at, next(number), me, run_ends))
            continue
        if sickness is None:
            return now - case.phases[HEALTHY]
        sick_attempt(lease, me, sickness, now, case, rng)
    return HORIZON_S


def cases(like: Case, kind: Sickness | None, sick: int, draws: int) -> Iterator[Case]:
    """Copies of one kind, or of any, that start in the same second, a second earlier, or at any phase."""
    rng = random.Random(7)
    tick = like.policy.tick_s
    for n in range(draws):
        kinds = tuple(kind or rng.choice(list(Sickness)) for _ in range(sick))
        mine = tick + rng.uniform(0, tick)
        together = tuple(mine - rng.uniform(0, 0.3) for _ in kinds)
        earlier = tuple(mine - 1 + rng.uniform(-0.2, 0.2) for _ in kinds)
        anywhere = tuple(tick + rng.uniform(0, tick) for _ in kinds)
        for phases, jitter_s in ((together, 0.0), (earlier, 0.0), (anywhere, 0.0), (anywhere, tick / 12)):
            yield replace(like, sick=kinds, phases=(mine, *phases), jitter_s=jitter_s if n % 2 else 0.0)


def worst_s(kind: Sickness | None, sick: int, like: Case = ANY, draws: int = 300) -> float:
    """The longest that a healthy copy waits for its turn, seconds."""
    return max(turn_s(each, seed) for seed, each in enumerate(cases(like, kind, sick, draws)))


# How many sick copies there are beside the healthy one.
SICK = (1, 2, 4, 8)


@dataclass(frozen=True)
class Named:
    name: str
    kind: Sickness | None  # None: each copy has any sickness
    like: Case
    within: bool = True  # the healthy copy gets its turn within two ticks
    draws: int = 30


def _out(name: str, kind: Sickness | None, **rules: bool) -> Named:
    return Named(name, kind, replace(ANY, rules=Rules(**rules)), within=False)


CASES = [
    *(Named(f"all in, {kind.name.lower()}", kind, ANY) for kind in Sickness),
    Named("all in, any sickness", None, ANY),
    Named("all in, any sickness, timer 300 s", None, replace(ANY, policy=Policy(tick_s=300))),
    _out("one back-off for all, refused", Sickness.REFUSED, own_waits=False),
    _out("no second look, refused", Sickness.REFUSED, look_again=False),
    _out("lease before the connection, silent", Sickness.SILENT, dial_first=False),
    _out("the bringer does not go first, killed", Sickness.KILLED, bringer_first=False),
    Named("no copy has brought one, killed", Sickness.KILLED, replace(ANY, bringer=None), within=False),
    Named(
        "the same, and no wait written ahead",
        Sickness.KILLED,
        replace(ANY, bringer=None, rules=Rules(wait_ahead=False)),
        within=False,
    ),
]
