"""Two denials take a value away: when checkCode calls the application itself invalid.

A copy that points at another platform is denied for ever; its denials must never take a good value away. Where the
platform has really disabled the application, the value must be gone after a while. One target, searched completely.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .cases import COARSE
from .state import NONE, Numbers, numbers


@dataclass(frozen=True)
class Rules:
    """The conditions of the algorithm; each can be taken out."""

    alive_clears: bool = True
    denial_is_no_audit: bool = True  # else it puts off the question of the healthy copy
    denial_makes_due: bool = True  # while a denial is noted, every other copy asks at each run
    first_dated_when_noted: bool = True  # else by its question, which may be long ago


@dataclass(frozen=True)
class Denials:
    """All times in units."""

    numbers: Numbers
    gap: int  # a run of the healthy copy gets through at least this often
    between: int  # a second denial counts when it comes at least this long after the first
    rules: Rules = Rules()

    @property
    def horizon(self) -> int:
        """The search does not distinguish longer times."""
        return 2 * (2 * self.numbers.audit + 2 * self.gap + self.between)


class Found(NamedTuple):
    states: int
    wrong: bool  # a good value was taken away
    way: list[str]
    longest: int  # for which a value outlived its application


class Copy(NamedTuple):
    healthy: bool
    waited: int  # since it was denied last; at most the audit interval
    asked: int = NONE  # ago: it has an answer and is frozen
    said_alive: bool = False


class Denied(NamedTuple):
    copies: tuple[Copy, ...]
    faults: int
    complaints: int
    complaint: bool = False
    stored: bool = True
    audited: int = 0  # ago
    first: int = NONE  # the first denial, ago
    since_healthy: int = 0
    disabled: int = NONE  # ago


Move = tuple[str, Denied]


def first_state(d: Denials, sick: int, faults: int, complaints: int) -> Denied:
    copies = tuple(Copy(n == 0, d.numbers.audit) for n in range(sick + 1))
    return Denied(copies, faults, complaints)


def _due(state: Denied, me: Copy, d: Denials) -> bool:
    if not state.stored or me.waited < d.numbers.audit:
        return False
    doubted = state.first != NONE and d.rules.denial_makes_due
    return state.complaint or doubted or state.audited >= d.numbers.audit


def _with(state: Denied, i: int, me: Copy) -> Denied:
    return state._replace(copies=(*state.copies[:i], me, *state.copies[i + 1 :]))


def _note(state: Denied, i: int, alive: bool, asked: int, d: Denials) -> Denied:
    """What an answer to a question of `asked` units ago leaves."""
    me, rules = state.copies[i], d.rules
    if alive:
        first = NONE if rules.alive_clears else state.first
        return state._replace(audited=asked, first=first)
    state = _with(state, i, me._replace(waited=asked))
    if not rules.denial_is_no_audit:
        state = state._replace(audited=asked)
    if state.first == NONE:
        return state._replace(first=0 if rules.first_dated_when_noted else asked)
    enough = state.first - asked >= d.between
    return state._replace(stored=False, first=NONE) if enough else state


def moves(state: Denied, d: Denials) -> Iterator[Move]:
    """Everything that can happen next."""
    for i, me in enumerate(state.copies):
        who = "the healthy copy" if me.healthy else "a sick copy"
        if me.asked != NONE:
            awake = _with(state, i, me._replace(asked=NONE, said_alive=False))
            yield f"{who} goes on", _note(awake, i, me.said_alive, me.asked, d)
            continue
        ran = state._replace(since_healthy=0) if me.healthy else state
        if not _due(state, me, d):
            yield f"{who} has nothing to ask", ran
            continue
        alive = me.healthy and state.disabled == NONE
        said = "alive" if alive else "denied"
        asks = ran._replace(complaint=False)
        yield f"{who} asks: {said}", _note(asks, i, alive, 0, d)
        if state.faults:
            frozen = me._replace(asked=0, said_alive=alive)
            yield (
                f"{who} asks: {said}, FREEZES",
                _with(state._replace(complaint=False), i, frozen)._replace(faults=state.faults - 1),
            )
    if state.complaints and state.stored:
        yield "a reader complains", state._replace(complaint=True, complaints=state.complaints - 1)
    if state.disabled == NONE:
        yield "the application is disabled", state._replace(disabled=0)
    if state.since_healthy < d.gap:
        yield "time passes", _later(state, d)


def _later(state: Denied, d: Denials) -> Denied:
    most = d.horizon

    def older(ago: int) -> int:
        return ago if ago == NONE else min(ago + 1, most)

    return state._replace(
        copies=tuple(
            each._replace(waited=min(each.waited + 1, d.numbers.audit), asked=older(each.asked))
            for each in state.copies
        ),
        audited=min(state.audited + 1, most),
        first=older(state.first),
        since_healthy=state.since_healthy + 1,
        disabled=older(state.disabled),
    )


def _canonical(state: Denied) -> Denied:
    return state._replace(copies=(state.copies[0], *sorted(state.copies[1:])))


def search(d: Denials, sick: int, faults: int, complaints: int) -> Found:
    """Every state, or the shortest way to one in which a good value was taken away."""
    start = first_state(d, sick, faults, complaints)
    came_from: dict[Denied, tuple[Denied, str] | None] = {start: None}
    frontier, longest = [start], 0
    while frontier:
        following = []
        for state in frontier:
            for what, after in moves(state, d):
                new = _canonical(after)
                if new in came_from:
                    continue
                came_from[new] = (state, what)
                if new.stored:
                    longest = max(longest, new.disabled)
                    following.append(new)
                elif new.disabled == NONE:
                    return Found(len(came_from), True, _way(new, came_from), longest)
        frontier = following
    return Found(len(came_from), False, [], longest)


def _way(last: Denied, came_from: dict[Denied, tuple[Denied, str] | None]) -> list[str]:
    steps = []
    step = came_from[last]
    while step is not None:
        steps.append(step[1])
        step = came_from[step[0]]
    return steps[::-1]


@dataclass(frozen=True)
class Case:
    name: str
    denials: Denials
    faults: int = 0
    complaints: int = 1
    wrong: bool = False  # a good value must be found to be taken away


def check(case: Case, sick: int = 1) -> Found:
    """Search one case."""
    return search(case.denials, sick, case.faults, case.complaints)


_N = numbers(COARSE)
# A run each tick of 60 s that may take as long again; and a run that gets through each 330 s, as the audit needs it.
_OFTEN, _SELDOM = 2, 6


def _out(name: str, faults: int, complaints: int, **rules: bool) -> Case:
    return Case(name, Denials(_N, _OFTEN, _N.audit, Rules(**rules)), faults, complaints, wrong=True)


CASES = [
    Case("denials: timer 60 s, an audit interval between", Denials(_N, _OFTEN, _N.audit)),
    Case("denials: the same, one frozen", Denials(_N, _OFTEN, _N.audit), 1),
    Case("denials: a run each 330 s, an audit interval between", Denials(_N, _SELDOM, _N.audit), wrong=True),
    Case("denials: a run each 330 s, two intervals between", Denials(_N, _SELDOM, 2 * _N.audit)),
    _out("denials: alive does not clear", 0, 0, alive_clears=False),
    _out("denials: the first makes no question due", 0, 1, denial_makes_due=False),
    _out("denials: the first dated by its question", 1, 1, first_dated_when_noted=False),
]
