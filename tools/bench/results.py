"""What was found: rows with a ratio, the target it is held against, and the figures it comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .measure import Launcher, Spread, Worker
from .place import Python
from .servers import Helper, RedisServer, certificate

# Unit of a figure -> what seconds, bytes or a plain number are multiplied by.
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "MB": 1e-6, "": 1.0}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `ratio` is of what `of` says; `at_most` or `at_least` is its target, where it has one. `figures` are named medians
    in seconds or bytes, each with the unit it is shown in.
    """

    section: str
    what: str
    python: str = ""
    ratio: Spread | None = None
    of: str = ""
    at_most: float | None = None
    at_least: float | None = None
    figures: Mapping[str, tuple[Spread | float, str]] = field(default_factory=dict)
    note: str = ""

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""

    @property
    def reached(self) -> bool | None:
        """Whether the median meets the target; None where there is none."""
        if self.ratio is None or not self.target:
            return None
        limit = self.at_most if self.at_most is not None else self.at_least
        assert limit is not None  # noqa: S101 - for the type checker
        return self.ratio.median <= limit if self.at_most is not None else self.ratio.median >= limit

    def shown(self) -> list[str]:
        """The figures as texts."""
        found = []
        for name, (value, unit) in self.figures.items():
            number = (value.median if isinstance(value, Spread) else value) * _UNITS[unit]
            found.append(f"{name} {number:,.3g} {unit}".rstrip() if number < 1000 else f"{name} {number:,.0f} {unit}")
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; figures in seconds, bytes or counts."""
        figures = {
            name: asdict(value) if isinstance(value, Spread) else value for name, (value, _) in self.figures.items()
        }
        return {**asdict(self), "figures": figures, "target": self.target, "reached": self.reached}


@dataclass
class Bench:
    """What sections work with. `details` goes into the JSON beside the rows; `curves` into the plot."""

    quick: bool
    directory: Path
    pythons: Sequence[Python]
    archive: Path
    code: Path
    peers: Path | None
    redis: RedisServer
    launcher: Launcher
    stack: contextlib.ExitStack
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float, bool]]] = field(default_factory=dict)
    _helpers: dict[tuple[object, ...], Helper] = field(default_factory=dict)
    _tls: tuple[Path, Path] | None = None

    @property
    def newest(self) -> Python:
        """The Python of the newer runtime: where one is enough."""
        return self.pythons[-1]

    def rounds(self, quick: int, full: int) -> int:
        return quick if self.quick else full

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def worker(self, python: Python, subject: str, **options: Any) -> Worker:
        """A subject in a process of its own, until the section's end or `stop`."""
        besides = [self.peers] if self.peers else []
        return self.stack.enter_context(Worker(python.path, self.code, subject, besides, **options))

    def platform(self, latency_ms: float, apps: int = 1000, tls: bool = False) -> Helper:
        """A simulator that answers after so long; started when first asked for."""
        more = (self.certificates()[1],) if tls else ()
        return self._helper("simulator.py", apps, latency_ms, *more)

    def delayed_redis(self, latency_ms: float) -> Helper:
        """Redis, so far away."""
        return self._helper("delay.py", self.redis.port, latency_ms)

    def certificates(self) -> tuple[Path, Path]:
        """CA, and the simulator's certificate. Raises LookupError where they cannot be made."""
        if self._tls is None:
            self._tls = certificate(self.directory)
        if self._tls is None:
            raise LookupError("trustme is not installed, so nothing is measured with TLS")
        return self._tls

    def _helper(self, *command: object) -> Helper:
        if command not in self._helpers:
            helper = Helper(str(command[0]), *command[1:])
            self.stack.callback(helper.stop)
            self._helpers[command] = helper
        return self._helpers[command]
