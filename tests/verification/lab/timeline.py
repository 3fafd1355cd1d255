"""What readers held and when, as looks in a row, and what is measured from them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from platform_simulator.credentials import KINDS


class Held(str, Enum):
    """What a reader has after a read. The later, the worse."""

    ACCEPTED = "accepted"
    UNREADABLE = "unreadable"  # Redis did not answer; a reader goes on with its last copy, or has none
    NONE = "none"
    REFUSED = "refused"

    @property
    def badness(self) -> int:
        return list(Held).index(self)


def worst(states: Iterable[Held]) -> Held:
    """The worst of several readers' states."""
    return max(states, key=lambda state: state.badness)


@dataclass(frozen=True)
class Look:
    """All readers at one instant (`at_s`, seconds since the beginning). `healthy`: nothing is left to be healed."""

    at_s: float
    held: dict[str, Held]
    healthy: bool = True


@dataclass(frozen=True)
class Stretch:
    """So long (instants, seconds since the beginning) readers of one kind were in one state."""

    begin_s: float
    end_s: float
    state: Held


@dataclass(frozen=True)
class Band:
    """A fault, from when to when (seconds since the beginning)."""

    name: str
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Fetch:
    """A credential that the platform issued at an instant (seconds since the beginning). `ours`: to this system."""

    at_s: float
    kind: str
    ours: bool


@dataclass
class Timeline:
    """Looks in the order of time. Nothing counts before the first tick: nobody can have read anything."""

    looks: list[Look] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)

    def add(self, look: Look) -> None:
        if self.looks and look.at_s < self.looks[-1].at_s:
            raise ValueError(f"a look at {look.at_s} s after one at {self.looks[-1].at_s} s")
        self.looks.append(look)

    def stretches(self, kind: str) -> list[Stretch]:
        """Equal looks in a row as one stretch; what a look found counts until the next."""
        found: list[Stretch] = []
        for look, after in zip(self.looks, self.looks[1:], strict=False):
            if after.at_s == look.at_s:
                continue
            state = look.held[kind]
            if found and found[-1].state is state:
                found[-1] = Stretch(found[-1].begin_s, after.at_s, state)
            else:
                found.append(Stretch(look.at_s, after.at_s, state))
        return found

    def seconds(self, state: Held, kinds: Sequence[str] = KINDS) -> float:
        """How long readers of any of these kinds were in a state; where two were at once, it counts twice."""
        return sum(s.end_s - s.begin_s for kind in kinds for s in self.stretches(kind) if s.state is state)

    def count(self, state: Held) -> int:
        """Reads that ended in a state."""
        return sum(held is state for look in self.looks for held in look.held.values())

    def last_fault_s(self) -> float:
        """When the last fault ended; 0 where there was none."""
        return max((band.end_s for band in self.bands), default=0.0)

    def heal_s(self) -> float | None:
        """From the end of the last fault until everything was, and stayed, healthy; None where that never came."""
        end_s = self.last_fault_s()
        healed_s = end_s
        for look, after in zip(self.looks, [*self.looks[1:], None], strict=False):
            if look.at_s >= end_s and not look.healthy:
                if after is None:
                    return None
                healed_s = after.at_s
        return healed_s - end_s


def refused_stretches(timeline: Timeline) -> list[str]:
    """Every stretch with a refused credential, as sentences."""
    return [
        f"{kind} refused from {s.begin_s:.0f} to {s.end_s:.0f} s"
        for kind in KINDS
        for s in timeline.stretches(kind)
        if s.state is Held.REFUSED
    ]


def as_plain(timeline: Timeline) -> dict[str, Any]:
    """JSON-able: stretches instead of looks."""

    def rounded(*instants_s: float) -> list[float]:
        return [round(instant_s, 1) for instant_s in instants_s]

    return {
        "stretches": {
            kind: [[*rounded(s.begin_s, s.end_s), s.state.value] for s in timeline.stretches(kind)] for kind in KINDS
        },
        "fetches": [[round(each.at_s, 1), each.kind, each.ours] for each in timeline.fetches],
        "faults": [[*rounded(band.begin_s, band.end_s), band.name] for band in timeline.bands],
    }
