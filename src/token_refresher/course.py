"""What happens to one target in the course of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import TokenRefresherError
from .model import Outcome, Snapshot
from .plan import Step
from .report import Failure, TargetReport, of_snapshot


@dataclass
class Course:
    """What happened to one target in this run, so far.

    `snapshot` is the newest knowledge of it; `elsewhere`: another run is at work on it, so its result is about to come.
    """

    snapshot: Snapshot
    step: Step
    elsewhere: bool = False
    outcome: Outcome | None = None
    failure: Failure | None = None
    warnings: list[str] = field(default_factory=list)
    fetches: int = 0
    questions: int = 0

    def fail(self, outcome: Outcome, error: TokenRefresherError) -> None:
        self.outcome, self.failure = outcome, Failure.of(error)

    def asked(self, warnings: Sequence[str]) -> None:
        """Count a question to the platform, and keep what it warned of."""
        self.questions += 1
        self.warnings += warnings

    def merged_into(self, later: Course) -> Course:
        """This and a later go at the same target, as one."""
        later.fetches += self.fetches
        later.questions += self.questions
        later.warnings[:0] = self.warnings
        return later

    def report(self, alarm_below_s: float) -> TargetReport:
        """The target after the run; in danger when less than `alarm_below_s` is left and nobody is at work on it."""
        return of_snapshot(
            self.snapshot,
            self.step.reason.value,
            self.step.sentence,
            outcome=self.outcome,
            failure=self.failure,
            warnings=tuple(self.warnings),
            asks=self.step.ask,
            fetches=self.fetches,
            questions=self.questions,
            in_danger=self.snapshot.seconds_left < alarm_below_s and not self.elsewhere,
        )
