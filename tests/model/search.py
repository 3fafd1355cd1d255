"""Breadth first through all states, and the shortest way to one in which a reader holds a refused code."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from .state import IDLE, LONG, NONE, State, canonical
from .world import WORLD, Move, World, moves


@dataclass(frozen=True)
class Result:
    states: int
    seconds: float
    # who, what, and the state after it; empty when no reader can ever hold a refused code
    trace: tuple[Move, ...]
    complete: bool = True

    @property
    def safe(self) -> bool:
        return self.complete and not self.trace


def first(refreshers: int, faults: int, dues: int) -> State:
    """A settled, fresh code, audited now, and nobody at work."""
    return State(faults, dues, 0, 0, (IDLE,) * refreshers)


def search(start: State, world: World, at_most: int = 50_000_000) -> Result:
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
    frontier = [start]
    while frontier:
        following: list[State] = []
        for state in frontier:
            for _, _, after in moves(state, world):
                new = canonical(after)
                if new in came_from:
                    continue
                came_from[new] = state
                if new.refused_code_is_read:
                    return Result(len(came_from), time.monotonic() - began, _trace(new, came_from, start, world))
                following.append(new)
        if len(came_from) > at_most:
            return Result(len(came_from), time.monotonic() - began, (), complete=False)
        frontier = following
    return Result(len(came_from), time.monotonic() - began, ())


def _trace(last: State, came_from: dict[State, State | None], start: State, world: World) -> tuple[Move, ...]:
    """The way to `last`, walked again without exchanging names."""
    path: list[State] = []
    at: State | None = last
    while at is not None:
        path.append(at)
        at = came_from[at]
    now, trace = start, []
    for wanted in path[-2::-1]:
        move = next(each for each in moves(now, world) if canonical(each[2]) == wanted)
        trace.append(move)
        now = move[2]
    return tuple(trace)


def _life(life: int, unit_s: int) -> str:
    return "long" if life == LONG else f"{life * unit_s} s"


def _described(state: State, unit_s: int) -> str:
    newest = len(state.codes) - 1
    if state.value == NONE:
        value = "none stored"
    else:
        value = "newest stored" if state.value == newest else "older stored"
        value += f", lives {_life(state.codes[state.value], unit_s)}"
    lease = "lease lost" if not state.exists else f"locked {state.locked * unit_s} s" if state.locked else "unlocked"
    if state.exists:
        lease += ", unsettled" if state.unsettled else ", settled"
    return f"{value}; {lease}"


def told(trace: tuple[Move, ...], unit_s: int) -> list[str]:
    """A trace for people: time, who, what, and the state after it; idle time is told once."""
    lines: list[str] = []
    now = 0
    for at, (who, what, state) in enumerate(trace):
        passes = what == "time passes"
        now += unit_s if passes else 0
        if passes and at + 1 < len(trace) and trace[at + 1][1] == what:
            continue
        name = "" if who == WORLD else "ABC"[who]
        lines.append(f"{now:>5} s  {name:1}  {what:<48}  {_described(state, unit_s)}")
    if trace:
        lines.append(f"{now:>5} s     A READER HOLDS A REFUSED CODE")
    return lines
