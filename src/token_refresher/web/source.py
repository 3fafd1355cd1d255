"""What the page needs to be told, as protocols: `daemon_state.State` is one such source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from token_refresher.domain.model import Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Failure, Report


class Latest(Protocol):
    """The latest report, and how long ago it was made (`age_s`, duration)."""

    @property
    def report(self) -> Report: ...

    @property
    def age_s(self) -> float: ...


class Point(Protocol):
    """One target at an instant (`at`, unix seconds, Redis's clock). `error` is a key of CATALOGUE or "".

    Another `fence` or `fingerprint` is another code.
    """

    @property
    def at(self) -> int: ...

    @property
    def seconds_left(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def outcome(self) -> str: ...

    @property
    def error(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def fence(self) -> int: ...


class Source(Protocol):
    """Where the page gets what it shows; asked by several threads at once.

    `names` maps ids of applications to their names. `failure` is why the last run brought no report, None when it
    brought one. `history` is one target's last day, oldest first, as long as this process has been running.
    """

    @property
    def names(self) -> Mapping[str, str]: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def latest(self) -> Latest | None: ...

    @property
    def failure(self) -> Failure | None: ...

    def history(self, target: Target) -> Sequence[Point]: ...
