"""From the history of runs to what the template shows: everything is worded here, nothing is escaped. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from token_refresher.domain.command import Action
from token_refresher.domain.humanize import Instant, counted, duration, instant
from token_refresher.domain.model import Outcome
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import TargetReport
from token_refresher.web.history import RunHistory
from token_refresher.web.page import severity
from token_refresher.web.page.chart import Chart, chart, common_span_s
from token_refresher.web.page.severity import CredentialStatus, Headline, Severity, Trouble

# So many applications in trouble are shown, and so many others; who looks for one of the rest filters.
_TROUBLED, _OTHERS = 300, 200
# A message or a name may hold anything; more than this is not read at a glance.
_LONGEST_MESSAGE, _LONGEST_NAME = 400, 80
# Fewer applications than this are found by looking.
_WORTH_FILTERING = 10
_UNIX = re.compile(r"\b[0-9]{10}\b")


@dataclass(frozen=True)
class Bar:
    """Time left against margin and grace: parts of a whole life in percent, and the same in words (`description`)."""

    left_s: int
    lifetime_s: int
    percent: float
    margin: float
    grace: float
    description: str
    severity: Severity


@dataclass(frozen=True)
class CredentialView:
    """One credential as it is shown. `sentence` is "" where it would only repeat the reason's `meaning`.

    `expires` is when readers lose it; `cut` says why that is before its recorded end, where it is. `renewed`: by the
    run reported, and the reason says why.
    """

    id: str
    kind: str
    status: CredentialStatus
    reason: str
    meaning: str
    sentence: str
    renewed: bool
    left: str
    expires: Instant | None
    cut: str
    bar: Bar
    outcome: str
    outcome_meaning: str
    outcome_at: Instant | None
    fence: int
    fingerprint: str
    trouble: Trouble | None
    warnings: tuple[str, ...]
    superseded: tuple[Instant, ...]
    chart: Chart | None


@dataclass(frozen=True)
class ApplicationView:
    """An application with its credentials."""

    id: str
    app_id: str
    name: str
    status: CredentialStatus
    credentials: tuple[CredentialView, ...]


@dataclass(frozen=True)
class RunView:
    """The latest run that brought a report."""

    run_id: str
    action: str
    at: Instant
    took_ms: int


class WarningView(NamedTuple):
    """A warning of a run (`text`), and what to do about it."""

    text: str
    advice: str


@dataclass(frozen=True)
class Page:
    """All that the template needs. `not_shown` counts applications; `charts` and `since` speak of all charts.

    `run` brought the report that is shown; `reads` says that it only read. `refreshed` is the last refresh.
    """

    headline: Headline
    run: RunView | None
    reads: bool
    refreshed: Instant | None
    failed: Trouble | None
    silent: str
    warnings: tuple[WarningView, ...]
    applications: tuple[ApplicationView, ...]
    found: int
    configured: int
    not_shown: int
    query: str
    filtered: bool
    charts: str
    since: Instant | None
    margin: str
    grace: str


@dataclass(frozen=True)
class PageContext:
    """What every credential of one page shares.

    `now` is an instant (unix seconds, Redis's clock). The latest report was made `age_s` before it, and charts begin
    `span_s` before it (durations, seconds).
    """

    history: RunHistory
    now: int
    age_s: float
    span_s: int


def page(history: RunHistory, query: str = "") -> Page:
    """The page about `history`; `query` keeps applications whose id or name contains it, in any case."""
    latest, failure, policy = history.latest, history.failure, history.policy
    failed = severity.failure_trouble(failure) if failure else None
    report = latest.report if latest else None
    age_s = latest.age_s if latest else 0.0
    now = int(report.at + age_s) if report else 0
    statuses = [severity.status_of(each, report.at, age_s) for each in report.targets] if report else []
    last = severity.refreshed(report, now) if report else severity.Refreshed(0, False)
    groups = _groups(report.targets if report else (), statuses, history, query)
    shown = _limited(groups)
    oldest = _oldest(shown, history)
    span_s = common_span_s(oldest, now) if oldest is not None else 0
    context = PageContext(history, now, age_s, span_s)
    warnings = report.warnings if report else ()
    age = age_s if latest else None
    return Page(
        headline=severity.headline(
            statuses, failed, age, policy, bool(warnings), now - last.at if last.overdue else None
        ),
        run=RunView(report.run_id, report.action, instant(report.at, now), report.took_ms) if report else None,
        reads=report is not None and report.action == Action.STATUS.value,
        refreshed=instant(last.at, now) if last.at else None,
        failed=failed,
        silent=duration(age_s) if age_s > severity.silent_s(policy) else "",
        warnings=tuple(WarningView(_cut(_readable(each, now)), severity.advice(each)) for each in warnings),
        applications=tuple(_application(app_id, credentials, context) for app_id, credentials in shown),
        found=len(groups),
        configured=len(history.names),
        not_shown=len(groups) - len(shown),
        query=query,
        filtered=bool(query) or len(history.names) > _WORTH_FILTERING,
        charts=counted(span_s // 3600, "hour") if span_s else "",
        since=instant(oldest, now) if oldest is not None else None,
        margin=duration(policy.margin_s),
        grace=duration(policy.grace_s),
    )


_Credentials = list[tuple[TargetReport, CredentialStatus]]


def _groups(
    targets: Sequence[TargetReport], statuses: Sequence[CredentialStatus], history: RunHistory, query: str
) -> list[tuple[str, _Credentials]]:
    """The credentials by application, those in trouble first, else in the order of the settings."""
    wanted, found = query.casefold(), dict[str, _Credentials]()
    for each, status in zip(targets, statuses, strict=True):
        found.setdefault(each.target.app_id, []).append((each, status))
    kept = [
        (app_id, credentials)
        for app_id, credentials in found.items()
        if wanted in app_id.casefold() or wanted in history.names.get(app_id, "").casefold()
    ]
    return sorted(kept, key=lambda group: _worst(group[1]).severity.rank)


def _limited(groups: Sequence[tuple[str, _Credentials]]) -> list[tuple[str, _Credentials]]:
    troubled = [group for group in groups if _worst(group[1]).severity.rank <= Severity.SOON.rank]
    return [*troubled[:_TROUBLED], *groups[len(troubled) :][:_OTHERS]]


def _oldest(groups: Sequence[tuple[str, _Credentials]], history: RunHistory) -> int | None:
    """The instant of the oldest sample of any chart."""
    kept = (history.samples(each.target) for _, credentials in groups for each, _ in credentials)
    return min((samples[0].at for samples in kept if samples), default=None)


def _worst(credentials: _Credentials) -> CredentialStatus:
    return min((status for _, status in credentials), key=lambda status: status.severity.rank)


def _application(app_id: str, credentials: _Credentials, context: PageContext) -> ApplicationView:
    return ApplicationView(
        id=f"app-{_slug(app_id)}",
        app_id=app_id,
        name=_cut(context.history.names.get(app_id, ""), _LONGEST_NAME),
        status=_worst(credentials),
        credentials=tuple(_credential(each, status, context) for each, status in credentials),
    )


def _readable(warning: str, now: int) -> str:
    """The warning with times of the day in place of unix seconds."""
    plain = warning.replace(" (unix seconds)", "")
    return _UNIX.sub(lambda found: instant(int(found[0]), now).clock, plain) if plain != warning else warning


def _credential(each: TargetReport, status: CredentialStatus, context: PageContext) -> CredentialView:
    """The credential that `each` reports, in the given status."""
    left_s = severity.seconds_left(each, context.age_s)
    meaning, at = severity.reason_meaning(each.reason), context.now - int(context.age_s)
    recorded_s = severity.recorded_left(each, at, context.age_s)
    aged = each.reason == Reason.FRESH.value and recorded_s < each.margin_s
    is_cut = each.cut_at(at)
    ends_at = at + each.seconds_left if is_cut else each.expires_at
    says_more = each.reason != Reason.FRESH.value and each.sentence != meaning
    trouble = severity.trouble_of(each)
    # This run's own outcome came about when the report was made.
    ended_at = context.history.latest.report.at if each.outcome and context.history.latest else each.last_outcome_at
    return CredentialView(
        id=f"credential-{_slug(each.target.app_id)}-{each.target.kind.value}",
        kind=each.target.kind.value,
        status=status,
        reason=each.reason,
        meaning=meaning,
        sentence="when it was last read" if aged else _cut(each.sentence) if says_more else "",
        renewed=each.outcome is Outcome.ISSUED,
        left=duration(left_s) if left_s else "none",
        expires=instant(ends_at, context.now) if ends_at else None,
        cut=f"for as long as a fetch may be out; recorded: {duration(recorded_s)}" if is_cut else "",
        bar=_bar(each, left_s, context),
        outcome=_cut(each.outcome.words if each.outcome else each.ended),
        outcome_meaning=_outcome_meaning(each),
        outcome_at=instant(ended_at, context.now) if ended_at else None,
        fence=each.fence,
        fingerprint=each.fingerprint or "",
        trouble=trouble._replace(message=_cut(trouble.message)) if trouble else None,
        warnings=tuple(_cut(warning) for warning in each.warnings),
        superseded=tuple(instant(at, context.now) for at in severity.recent(each, context.now)),
        chart=_chart(each, context) if context.span_s else None,
    )


def _chart(each: TargetReport, context: PageContext) -> Chart | None:
    samples, policy = context.history.samples(each.target), context.history.policy
    return chart(samples, context.now, context.span_s, policy, each.life_s, each.margin_s)


def _outcome_meaning(each: TargetReport) -> str:
    """What the outcome means, in the words of `Outcome`."""
    value = each.outcome.value if each.outcome else each.last_outcome.partition(":")[0]
    return next((outcome.meaning for outcome in Outcome if outcome.value == value), "")


def _bar(each: TargetReport, left_s: int, context: PageContext) -> Bar:
    policy, at = context.history.policy, context.now - int(context.age_s)
    life_s, margin_s = each.life_s or policy.lifetime_s, each.margin_s or policy.margin_s
    grace_s = min(policy.grace_s, margin_s)
    description = f"{duration(left_s)} left" if left_s else "nothing left"
    if left_s < margin_s:
        description += f", less than the {'grace' if left_s < grace_s else 'margin'}"
    short = left_s < margin_s or each.cut_at(at)
    return Bar(
        severity=Severity.BAD if each.in_danger_after(context.age_s) else Severity.SOON if short else Severity.GOOD,
        left_s=min(left_s, int(life_s)),
        lifetime_s=int(life_s),
        percent=_percent(left_s, life_s),
        margin=_percent(margin_s, life_s),
        grace=_percent(grace_s, life_s),
        description=description,
    )


def _percent(seconds: float, life_s: float) -> float:
    return round(min(100.0, 100 * seconds / life_s), 1)


def _cut(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """The text, shortened to what people read."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _slug(app_id: str) -> str:
    """An id for HTML, different for each application: letters, digits and - as they are, others by their number."""
    plain = {char for char in app_id if char.isascii() and (char.isalnum() or char == "-")}
    return "".join(char if char in plain else f"_{ord(char):x}_" for char in app_id)
