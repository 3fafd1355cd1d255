"""What happens to one target in the course of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from token_refresher.domain.decision import Decision
from token_refresher.domain.errors import TokenRefresherError
from token_refresher.domain.life import margin_of, safe_for_s
from token_refresher.domain.model import Outcome, Snapshot, Word
from token_refresher.domain.outlook import quiet_s, traced_at
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Failure, TargetReport


@dataclass
class Result:
    """What came of one target so far.

    `snapshot` is the newest knowledge of it, `read_at` the instant of the steady clock (seconds) right after it came.
    `word` is what checkCode said of its credential in this run, and `asked` whether it was asked about that very
    credential. `fetches` counts credentials that were issued, `questions` requests to checkCode. `would` is what a
    refresh would do. `limited`: it came again in this run after a limit of the platform.
    """

    snapshot: Snapshot
    read_at: float
    decision: Decision
    word: Word | None = None
    asked: bool = False
    outcome: Outcome | None = None
    failure: Failure | None = None
    warnings: list[str] = field(default_factory=list)
    fetches: int = 0
    questions: int = 0
    would: str = ""
    limited: bool = False

    def see(self, snapshot: Snapshot, read_at: float) -> None:
        """The target was read again. A word of checkCode about another value, or before another attempt, is over."""
        if snapshot.raw != self.snapshot.raw or snapshot.lease.mark != self.snapshot.lease.mark:
            self.word = None
        if snapshot.raw != self.snapshot.raw:
            self.asked = False
        self.snapshot, self.read_at = snapshot, read_at

    def fail(self, outcome: Outcome, error: TokenRefresherError) -> None:
        self.outcome, self.failure = outcome, Failure.of(error)

    def warn(self, sentences: Sequence[str]) -> None:
        self.warnings += [each for each in sentences if each not in self.warnings]

    def report(self, policy: Policy) -> TargetReport:
        """The target after the run."""
        snapshot, lease, live = self.snapshot, self.snapshot.lease, self.snapshot.live
        margin_s = margin_of(snapshot, policy)
        safe_s = safe_for_s(snapshot, policy, margin_s)
        refreshed_at = traced_at(snapshot, policy) // 1000
        return TargetReport(
            target=snapshot.target,
            reason=self.decision.reason.value,
            sentence=self.decision.sentence,
            outcome=self.outcome,
            failure=self.failure,
            warnings=tuple(self.warnings),
            fingerprint=live.fingerprint if live else None,
            expires_at=live.expires_at if live else None,
            seconds_left=snapshot.readable_s,
            fence=live.fence if live else 0,
            fetches=self.fetches,
            questions=self.questions,
            in_danger=safe_s < 0,
            settled=lease.settled,
            last_outcome=lease.outcome,
            last_outcome_at=lease.outcome_at // 1000,
            superseded_at=tuple(at // 1000 for at in lease.superseded),
            would=self.would,
            life_s=lease.life_s,
            margin_s=margin_s,
            safe_for_s=math.floor(safe_s),
            refreshed_at=refreshed_at,
            refresh_by=refreshed_at + round(quiet_s(snapshot, policy)) if refreshed_at else 0,
        )
