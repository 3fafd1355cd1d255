"""Breadth first through all states, and the shortest way to one that breaks a promise."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Any

from .canonical import canonical
from .state import LONG, NO_LEASE, NONE, SETTLED, State
from .world import TIME, WORLD, Move, Promise, World, broken, moves


@dataclass(frozen=True)
class Result:
    states: int
    seconds: float
    # who, what, and the state after it; empty when no promise can be broken
    trace: tuple[Move, ...]
    found: Promise | None = None
    complete: bool = True

    @property
    def safe(self) -> bool:
        return self.complete and not self.trace


def search(start: State, world: World, at_most: int = 10_000_000) -> Result:
    """Every state that can be reached, or a shortest way to one that must not be."""
    collecting = gc.isenabled()
    # Nothing here is a cycle, and looking for cycles among a million tuples takes as long as the search.
    gc.disable()
    try:
        return _search(start, world, at_most)
    finally:
        if collecting:
            gc.enable()


def _search(start: State, world: World, at_most: int) -> Result:
    began = time.monotonic()
    start = canonical(start)
    came_from: dict[State, State | None] = {start: None}
    parts = _Parts()
    frontier = [start]
    while frontier:
        following: list[State] = []
        for state in frontier:
            for _, what, after in moves(state, world):
                new = canonical(after)
                found = broken(state, what, after, world)
                if found is not None:
                    trace = _trace(state, came_from, world)
                    trace += _last_step(trace[-1][2] if trace else start, what, new, world)
                    return Result(len(came_from), time.monotonic() - began, trace, found)
                if new not in came_from:
                    new = parts.of(new)
                    came_from[new] = state
                    following.append(new)
        if len(came_from) > at_most:
            return Result(len(came_from), time.monotonic() - began, (), complete=False)
        frontier = following
    return Result(len(came_from), time.monotonic() - began, ())


class _Parts(dict[tuple[object, object], Any]):
    """One object for all equal parts, since a million states have few different ones: two thirds less memory."""

    def of(self, state: State) -> State:
        """The same state, made of shared parts."""
        return state._replace(
            refreshers=self._one(tuple(self._one(each) for each in state.refreshers)),
            lease=self._one(state.lease),
            value=self._one(state.value),
            saved=self._one(state.saved),
            lives=self._one(state.lives),
            orphans=self._one(state.orphans),
        )

    def _one(self, part: Any) -> Any:
        # By its class, too: a lease and a value may hold equal numbers.
        return self.setdefault((part.__class__, part), part)


def _trace(last: State, came_from: dict[State, State | None], world: World) -> tuple[Move, ...]:
    """The way to `last`, walked again without exchanging names."""
    path: list[State] = []
    at: State | None = last
    while at is not None:
        path.append(at)
        at = came_from[at]
    now, trace = path[-1], []
    for wanted in path[-2::-1]:
        move = next(each for each in moves(now, world) if canonical(each[2]) == wanted)
        trace.append(move)
        now = move[2]
    return tuple(trace)


def _last_step(now: State, what: str, wanted: State, world: World) -> tuple[Move, ...]:
    return (next(each for each in moves(now, world) if each[1] == what and canonical(each[2]) == wanted),)


def _time(ahead: int, unit_s: int) -> str:
    return "long" if ahead == LONG else f"{ahead * unit_s} s"


def _described(state: State, unit_s: int) -> str:
    lease, value = state.lease, state.value
    if value.credential == NONE:
        stored = "none stored"
    else:
        stored = "newest" if value.credential == len(state.lives) - 1 else "older"
        stored += f", TTL {_time(value.ttl, unit_s)}, lives {_time(state.lives[value.credential], unit_s)}"
    mark = {NO_LEASE: "lease lost", SETTLED: "settled"}.get(lease.mark, "marked")
    return f"{stored}; {mark}" + (f", locked {lease.locked * unit_s} s" if lease.locked else "")


def shown(result: Result, unit_s: int) -> list[str]:
    """A trace for people: time, who, what, and the state after it; idle time is one line."""
    lines: list[str] = []
    now = 0
    for at, (who, what, state) in enumerate(result.trace):
        now += unit_s if what == TIME else 0
        if what == TIME and at + 1 < len(result.trace) and result.trace[at + 1][1] == what:
            continue
        name = "" if who == WORLD else "ABC"[who]
        lines.append(f"{now:>5} s  {name:1}  {what:<60}  {_described(state, unit_s)}")
    if result.found is not None:
        lines.append(f"{now:>5} s     FOUND: {result.found.value}")
    return lines
