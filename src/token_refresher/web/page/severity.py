"""How bad is it: of a single credential, in one word, and of all together, in a headline. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from token_refresher.domain import life
from token_refresher.domain.command import Action
from token_refresher.domain.errors import CATALOGUE
from token_refresher.domain.humanize import counted, duration
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import Failure, Report, TargetReport
from token_refresher.refresh.run import SICK_COPY

_MEANINGS = {reason.value: reason.meaning for reason in Reason}
_DUE = {reason.value for reason in Reason if reason.due}
_WAITING = {each.value for each in (Reason.LOCKED, Reason.BACKING_OFF, Reason.YIELDING, Reason.COOLING_DOWN)}
# A page that gets no reports looks healthy for ever: this many ticks without news is news.
_SILENT_TICKS = 3


class Severity(str, Enum):
    """How urgent something is, the worst first. The value is the name of a style and of an icon."""

    BAD = "bad"
    SOON = "soon"
    CALM = "calm"
    GOOD = "good"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class CredentialStatus(NamedTuple):
    """How one access_token or js_ticket is, in a word (`word`), and how urgent that is."""

    severity: Severity
    word: str


class Trouble(NamedTuple):
    """What failed, and what to do. `message` may be ""."""

    code: str
    message: str
    advice: str
    retryable: bool


def reason_meaning(reason: str) -> str:
    """What a reason means, in the words of `domain.reasons.Reason`."""
    return _MEANINGS.get(reason, "")


def seconds_left(each: TargetReport, age_s: float) -> int:
    """How long a credential lasts from now on, `age_s` after it was reported."""
    return max(0, int(each.seconds_left - age_s))


def recorded_left(each: TargetReport, at: int, age_s: float) -> int:
    """How long a credential lasts by its record, `age_s` after the report at `at`; readers may have it for less."""
    return max(0, int((each.expires_at or 0) - at - age_s))


def trouble_of(each: TargetReport) -> Trouble | None:
    """What fails with this target, in the run reported or in the last attempt (`TargetReport.error`)."""
    if each.failure:
        return failure_trouble(each.failure)
    code = each.error
    return Trouble(code, "", CATALOGUE[code].advice, CATALOGUE[code].retryable) if code else None


def failure_trouble(failure: Failure) -> Trouble:
    return Trouble(failure.code, failure.message, failure.advice, failure.retryable)


def recent(each: TargetReport, at: int) -> tuple[int, ...]:
    """When, within the hour before `at`, another program's refresh of this credential was noticed (instants)."""
    return life.recent(each.superseded_at, at)


def status_of(each: TargetReport, at: int, age_s: float) -> CredentialStatus:
    """The status of one credential, `age_s` after it was reported at `at`."""
    left_s, failed = seconds_left(each, age_s), trouble_of(each)
    if each.reason == Reason.NOT_READ.value:
        return CredentialStatus(Severity.BAD, "Not read")
    if each.in_danger_after(age_s):
        return CredentialStatus(Severity.BAD, "Expires soon" if left_s else "No credential")
    if failed:
        return CredentialStatus(Severity.SOON if failed.retryable else Severity.BAD, "Failing")
    if each.reason in (Reason.SUPERSEDED.value, Reason.REFUSED.value) and not each.outcome:
        return CredentialStatus(Severity.SOON, each.reason.capitalize())
    aged = each.reason == Reason.FRESH.value and recorded_left(each, at, age_s) < each.margin_s
    if aged or (each.reason in _DUE and not each.outcome):
        return CredentialStatus(Severity.SOON, "Due")
    if recent(each, at):
        return CredentialStatus(Severity.SOON, "Superseded")
    if each.warnings:
        return CredentialStatus(Severity.SOON, "Look")
    if each.reason in _WAITING:
        return CredentialStatus(Severity.CALM, "Waiting")
    return CredentialStatus(Severity.GOOD, "Fresh")


class Refreshed(NamedTuple):
    """When credentials were last refreshed (`at`, unix seconds, 0: not known), and whether that is too long ago."""

    at: int
    overdue: bool


def refreshed(report: Report, now: int) -> Refreshed:
    """The last refresh that Redis knows of; a run that only reads is none."""
    if report.action != Action.STATUS.value:
        return Refreshed(report.at, False)
    newest = max((each.refreshed_at for each in report.targets), default=0)
    return Refreshed(newest, bool(newest) and now > max(each.refresh_by for each in report.targets))


def advice(warning: str) -> str:
    """What to do about a warning of a run."""
    if warning.startswith(SICK_COPY):
        return "find that copy (an old container, a machine with another secret or address), and mend or stop it"
    return "find who else holds this application's secret: an older task, another deployment, a machine of your own"


class Headline(NamedTuple):
    """All together: a sentence (`text`) and a shorter one (`brief`, for the window's title)."""

    severity: Severity
    text: str
    brief: str


def headline(
    statuses: Sequence[CredentialStatus],
    failed: Trouble | None,
    age_s: float | None,
    policy: Policy,
    warned: bool,
    dead_s: float | None = None,
) -> Headline:
    """The sentence on top. `age_s` is the latest report's age, None when there is none.

    `dead_s` is how long ago the last refresh was, where that is too long.
    """
    bad = sum(each.severity is Severity.BAD for each in statuses)
    soon = sum(each.severity is Severity.SOON for each in statuses)
    if age_s is None and not failed:
        return Headline(Severity.CALM, "Waiting for the first run", "waiting")
    if bad:
        need = "needs" if bad == 1 else "need"
        return Headline(
            Severity.BAD, f"{bad} of {counted(len(statuses), 'credential')} {need} you", f"{bad} in trouble"
        )
    if failed:
        return Headline(Severity.BAD, "The last run failed", "run failed")
    if age_s is not None and age_s > silent_s(policy):
        return Headline(Severity.BAD, f"No run for {duration(age_s)}", "no run")
    if dead_s is not None:
        return Headline(Severity.BAD, f"No refresh for {duration(dead_s)}", "no refresh")
    if soon or warned:
        what = f"{counted(soon, 'credential')} to keep an eye on" if soon else "with a warning"
        return Headline(Severity.SOON, f"No credential is in danger, {what}", "keep an eye on it")
    every = "The credential is" if len(statuses) == 1 else f"All {len(statuses)} credentials are"
    return Headline(Severity.GOOD, f"{every} fine", "all fine")


def silent_s(policy: Policy) -> float:
    """How old the latest report may be before the page says so (duration, seconds)."""
    return _SILENT_TICKS * policy.tick_s + 2 * policy.work_s
