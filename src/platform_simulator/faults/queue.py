"""What is planned for coming requests: faults and gates, taken in the order they were queued."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, get_args

from platform_simulator.faults.fault import Fault
from platform_simulator.faults.gate import Gate

Where = Literal["before", "after"]
_WHERES: tuple[str, ...] = get_args(Where)


@dataclass
class _Planned:
    path: str
    app_id: str | None
    times: int | None
    fault: Fault


@dataclass(frozen=True)
class _Hold:
    path: str
    app_id: str | None
    where: str
    gate: Gate


@dataclass(frozen=True)
class Plan:
    """What awaits one request."""

    fault: Fault | None = None
    before: Gate | None = None
    after: Gate | None = None


_NOTHING = Plan()


class FaultQueue:
    """The queue of plans. Every method is atomic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_Planned] = []
        self._holds: list[_Hold] = []
        self._gates: list[Gate] = []

    def add(self, path: str, fault: Fault, times: int | None, app_id: str | None) -> None:
        """Plan a fault for the next `times` requests (None: until `clear`)."""
        if times is not None and times < 1:
            raise ValueError(f"times is {times}; it must be at least 1, or None")
        with self._lock:
            self._planned.append(_Planned(path, app_id, times, fault))
            if isinstance(fault.execute_at, Gate):
                self._gates.append(fault.execute_at)

    def hold(self, path: str, where: str, app_id: str | None) -> Gate:
        """Plan a gate for the next request."""
        if where not in _WHERES:
            raise ValueError(f"where is {where!r}, not 'before' or 'after'")
        gate = Gate()
        with self._lock:
            self._holds.append(_Hold(path, app_id, where, gate))
            self._gates.append(gate)
        return gate

    def clear(self) -> None:
        """Forget all plans; requests that already wait at a gate stay there."""
        with self._lock:
            self._planned.clear()
            self._holds.clear()

    def take(self, path: str, app_id: str) -> Plan:
        """What awaits a request that arrives now."""
        # Read without the lock on purpose: the usual case is "nothing planned", in benchmarks.
        if not self._planned and not self._holds:
            return _NOTHING
        with self._lock:
            gates = {where: self._take_gate(path, app_id, where) for where in _WHERES}
            return Plan(self._take_fault(path, app_id), gates["before"], gates["after"])

    def wake_gates(self) -> None:
        """Let all held requests see that the server stops."""
        with self._lock:
            for gate in self._gates:
                gate.wake()

    def _take_fault(self, path: str, app_id: str) -> Fault | None:
        for planned in self._planned:
            if planned.path == path and planned.app_id in (None, app_id):
                if planned.times is not None:
                    planned.times -= 1
                    if planned.times == 0:
                        self._planned.remove(planned)
                return planned.fault
        return None

    def _take_gate(self, path: str, app_id: str, where: str) -> Gate | None:
        for hold in self._holds:
            if hold.path == path and hold.where == where and hold.app_id in (None, app_id):
                self._holds.remove(hold)
                return hold.gate
        return None
