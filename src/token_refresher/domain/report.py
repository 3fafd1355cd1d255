"""What a run did, as values that go out as JSON. Holds fingerprints, never credentials."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from token_refresher.domain.errors import CATALOGUE, RefreshFailedError, TokenRefresherError
from token_refresher.domain.model import Outcome, Target
from token_refresher.domain.reasons import Reason

# A report lists every target up to this many; of more, only eventful ones, those in trouble first, up to the second.
_LISTED, _MOST_LISTED = 100, 500
# An alarm names at most this many targets: it is one sentence.
_NAMED = 10


@dataclass(frozen=True)
class Failure:
    """One target's failure, as a value."""

    code: str
    message: str
    advice: str
    retryable: bool

    @classmethod
    def of(cls, error: TokenRefresherError) -> Failure:
        return cls(error.code, error.what, error.advice, error.retryable)


@dataclass(frozen=True)
class TargetReport:
    """One target after a run: why it was due or not, what came of it, and how long its credential lasts.

    `seconds_left` is for how long readers have the code: `expires_at` is its recorded end, and while a fetch may be out
    the TTL is shorter. `fetches` counts credentials that were issued, `questions` requests to checkCode. `in_danger`:
    missing or nearly expired; if nothing happens, that begins in `safe_for_s` (duration, below 0: it has).
    `superseded_at` are instants (unix seconds) at which another program's refresh was noticed. `life_s` is what the
    platform gave the credential (0: not known), with less than `margin_s` left it is renewed. `refreshed_at` is when a
    run last left a trace in Redis, the next one does by `refresh_by` (instants, unix seconds, 0: none known). `would`:
    what a refresh would do now ("ask", "fetch", "wait for its token", "nothing"); empty in the report of one that did
    it.
    """

    target: Target
    reason: str
    sentence: str
    outcome: Outcome | None = None
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    fingerprint: str | None = None
    expires_at: int | None = None
    seconds_left: int = 0
    fence: int = 0
    fetches: int = 0
    questions: int = 0
    in_danger: bool = False
    settled: bool = True
    last_outcome: str = ""
    last_outcome_at: int = 0
    superseded_at: tuple[int, ...] = ()
    would: str = ""
    life_s: int = 0
    margin_s: float = 0
    safe_for_s: int | None = None
    refreshed_at: int = 0
    refresh_by: int = 0

    def in_danger_after(self, age_s: float) -> bool:
        """Whether the credential is in danger this long (duration) after the report, if nothing happened since."""
        return self.in_danger or (self.safe_for_s is not None and age_s > self.safe_for_s)

    def cut_at(self, at: int) -> bool:
        """Whether readers have less time than was recorded, at the report's instant: a newer credential may exist."""
        return not self.settled and self.expires_at is not None and self.expires_at - at > self.seconds_left + 2

    @property
    def error(self) -> str:
        """The error code of the failure that counts: this run's own, else the last attempt's; "" when there is none.

        While nothing is to be done about the credential, how an earlier attempt ended is no failure of it: that was
        another copy's, or one by hand, and the credential is as good as before.
        """
        if self.failure:
            return self.failure.code
        code = self.last_outcome.partition(": ")[2]
        return code if code in CATALOGUE and self.reason != Reason.FRESH.value else ""

    @property
    def ended(self) -> str:
        """How the last attempt that Redis knows of ended, in words: "issued", "not sent: not_sent_connect"."""
        outcome, colon, code = self.last_outcome.partition(":")
        return outcome.replace("_", " ") + colon + code

    @property
    def trouble(self) -> str:
        """Which credential is in trouble, how long it lasts and why, in one sentence."""
        why = f"{self.failure.code}: {self.failure.message}" if self.failure else self.sentence
        whose = f"{self.target.app_id} {self.target.kind.value}"
        if self.reason == Reason.NOT_READ.value:
            return f"{whose}: {why}"
        return f"{whose}: {f'{self.seconds_left} s left' if self.fingerprint else 'missing'}, {why}"

    @property
    def eventful(self) -> bool:
        return bool(self.outcome or self.failure or self.warnings or self.in_danger)

    def as_dict(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if value not in (None, (), "")}
        plain.pop("target")
        if self.outcome:
            plain["outcome"] = self.outcome.value
        if self.failure:
            plain["failure"] = vars(self.failure)
        return {"app_id": self.target.app_id, "kind": self.target.kind.value, **plain}


@dataclass(frozen=True)
class Report:
    """What one run did. `at` is an instant (unix seconds, Redis's clock), `took_ms` a duration."""

    run_id: str
    action: str
    at: int
    took_ms: int
    targets: tuple[TargetReport, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def in_danger(self) -> tuple[TargetReport, ...]:
        return tuple(each for each in self.targets if each.in_danger)

    def alarm(self) -> RefreshFailedError | None:
        """The error to raise when a credential is missing or expires soon, or this program itself failed; else None."""
        defects = tuple(each for each in self.targets if each.failure and each.failure.code == "internal_error")
        bad = self.in_danger or defects
        if not bad:
            return None
        named = "; ".join(each.trouble for each in bad[:_NAMED])
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        return RefreshFailedError(named + more)

    def as_dict(self, listed: int = _LISTED) -> dict[str, Any]:
        """JSON-able; all targets up to `listed`, of more only those that have something to tell, 500 at most."""
        whole = len(self.targets) <= listed
        shown = [each for each in self.targets if whole or each.eventful]
        if not whole:
            shown = sorted(shown, key=lambda each: not (each.in_danger or each.failure))[:_MOST_LISTED]
        return {
            "run_id": self.run_id,
            "action": self.action,
            "at": self.at,
            "took_ms": self.took_ms,
            "summary": self.summary(),
            "warnings": list(self.warnings),
            "targets": [each.as_dict() for each in shown],
            "not_listed": len(self.targets) - len(shown),
        }

    def summary(self) -> dict[str, int]:
        """Counts: targets, fetches, questions, in_danger, and each outcome and reason that occurred."""
        counts = Counter(each.outcome.value for each in self.targets if each.outcome)
        counts.update(each.reason for each in self.targets)
        return {
            "targets": len(self.targets),
            "fetches": sum(each.fetches for each in self.targets),
            "questions": sum(each.questions for each in self.targets),
            "in_danger": len(self.in_danger),
            **counts,
        }
