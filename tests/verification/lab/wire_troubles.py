"""Faults of the way to Redis, which itself is well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .places import BehindWire
from .scenario import Trouble

if TYPE_CHECKING:
    from .stage import Stage


@dataclass(frozen=True, kw_only=True)
class Slow(Trouble):
    """Every answer of Redis takes so long (real seconds)."""

    delay_s: float

    @property
    def name(self) -> str:
        return f"Redis slow by {self.delay_s:g} s"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindWire)
        stage.place.wire.delay_s = self.delay_s

    def end(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindWire)
        stage.place.wire.delay_s = 0.0


@dataclass(frozen=True, kw_only=True)
class Refused(Trouble):
    """Nobody listens where Redis should be; what it holds stays."""

    @property
    def name(self) -> str:
        return "no way to Redis"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindWire)
        stage.place.wire.refuse()

    def end(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindWire)
        stage.place.wire.accept_again()


@dataclass(frozen=True, kw_only=True)
class Partitioned(Trouble):
    """Nothing gets through to Redis; what was sent meanwhile arrives at the end."""

    @property
    def name(self) -> str:
        return "cut off from Redis"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindWire)
        stage.place.wire.dark()

    def end(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindWire)
        stage.place.wire.light()


@dataclass(frozen=True, kw_only=True)
class OldConnections(Trouble):
    """The connections to Redis that are open now die unseen: at the next byte they are reset, or carry nothing."""

    reset: bool

    @property
    def name(self) -> str:
        return "old connections " + ("reset at the next byte" if self.reset else "carry nothing")

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindWire)
        stage.place.wire.condemn(reset=self.reset)
