"""From what a history knows to what the template shows: everything is worded here, nothing is escaped. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from token_refresher.domain.humanize import Instant, counted, duration, instant
from token_refresher.domain.model import Action
from token_refresher.domain.report import TargetReport
from token_refresher.web.history import RunHistory
from token_refresher.web.page import chart as page_chart
from token_refresher.web.page import severity as page_state
from token_refresher.web.page.code_view import Code, Moment, code, cut, slug
from token_refresher.web.page.severity import Headline, State, Tone, Trouble

# So many applications in trouble are shown, and so many others; who looks for one of the rest filters.
_TROUBLED, _OTHERS = 300, 200
# A name may hold anything; more than this is not read at a glance.
_LONGEST_NAME = 80
# Fewer applications than this are found by looking.
_WORTH_FILTERING = 10
_UNIX = re.compile(r"\b[0-9]{10}\b")


@dataclass(frozen=True)
class Application:
    """An application with its codes."""

    id: str
    app_id: str
    name: str
    state: State
    codes: tuple[Code, ...]


@dataclass(frozen=True)
class Run:
    """The latest run that brought a report."""

    run_id: str
    action: str
    at: Instant
    took_ms: int


class Warned(NamedTuple):
    """A warning of a run (`text`), and what to do about it."""

    text: str
    advice: str


@dataclass(frozen=True)
class Page:
    """All that the template needs. `not_shown` counts applications; `charts` and `since` speak of all charts.

    `run` brought the report that is shown; `reads` says that it only read. `refreshed` is the last refresh.
    """

    headline: Headline
    run: Run | None
    reads: bool
    refreshed: Instant | None
    failed: Trouble | None
    silent: str
    warnings: tuple[Warned, ...]
    applications: tuple[Application, ...]
    found: int
    configured: int
    not_shown: int
    query: str
    filtered: bool
    charts: str
    since: Instant | None
    margin: str
    grace: str


def page(history: RunHistory, query: str = "") -> Page:
    """The page about `history`; `query` keeps applications whose id or name contains it, in any case."""
    latest, failure, policy = history.latest, history.failure, history.policy
    failed = page_state.of_failure(failure) if failure else None
    report = latest.report if latest else None
    age_s = latest.age_s if latest else 0.0
    now = int(report.at + age_s) if report else 0
    states = [page_state.state(each, report.at, age_s) for each in report.targets] if report else []
    last = page_state.refreshed(report, now) if report else page_state.Refreshed(0, False)
    groups = _groups(report.targets if report else (), states, history, query)
    shown = _limited(groups)
    oldest = _oldest(shown, history)
    span_s = page_chart.span_s(oldest, now) if oldest is not None else 0
    warnings = report.warnings if report else ()
    age = age_s if latest else None
    return Page(
        headline=page_state.headline(
            states, failed, age, policy, bool(warnings), now - last.at if last.overdue else None
        ),
        run=Run(report.run_id, report.action, instant(report.at, now), report.took_ms) if report else None,
        reads=report is not None and report.action == Action.STATUS.value,
        refreshed=instant(last.at, now) if last.at else None,
        failed=failed,
        silent=duration(age_s) if age_s > page_state.silent_s(policy) else "",
        warnings=tuple(Warned(cut(_readable(each, now)), page_state.advice(each)) for each in warnings),
        applications=tuple(_application(app_id, codes, Moment(history, now, age_s, span_s)) for app_id, codes in shown),
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


_Codes = list[tuple[TargetReport, State]]


def _groups(
    targets: Sequence[TargetReport], states: Sequence[State], history: RunHistory, query: str
) -> list[tuple[str, _Codes]]:
    """The codes by application, those in trouble first, else in the order of the settings."""
    wanted, found = query.casefold(), dict[str, _Codes]()
    for each, state in zip(targets, states, strict=True):
        found.setdefault(each.target.app_id, []).append((each, state))
    kept = [
        (app_id, codes)
        for app_id, codes in found.items()
        if wanted in app_id.casefold() or wanted in history.names.get(app_id, "").casefold()
    ]
    return sorted(kept, key=lambda group: _worst(group[1]).tone.rank)


def _limited(groups: Sequence[tuple[str, _Codes]]) -> list[tuple[str, _Codes]]:
    troubled = [group for group in groups if _worst(group[1]).tone.rank <= Tone.SOON.rank]
    return [*troubled[:_TROUBLED], *groups[len(troubled) :][:_OTHERS]]


def _oldest(groups: Sequence[tuple[str, _Codes]], history: RunHistory) -> int | None:
    """The instant of the oldest sample of any chart."""
    kept = (history.samples(each.target) for _, codes in groups for each, _ in codes)
    return min((samples[0].at for samples in kept if samples), default=None)


def _worst(codes: _Codes) -> State:
    return min((state for _, state in codes), key=lambda state: state.tone.rank)


def _application(app_id: str, codes: _Codes, moment: Moment) -> Application:
    return Application(
        id=f"app-{slug(app_id)}",
        app_id=app_id,
        name=cut(moment.history.names.get(app_id, ""), _LONGEST_NAME),
        state=_worst(codes),
        codes=tuple(code(each, state, moment) for each, state in codes),
    )


def _readable(warning: str, now: int) -> str:
    """The warning with times of the day in place of unix seconds."""
    plain = warning.replace(" (unix seconds)", "")
    return _UNIX.sub(lambda found: instant(int(found[0]), now).clock, plain) if plain != warning else warning
