"""What a run did, as tables for people, and what a check found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from token_refresher.cli.output import Output
from token_refresher.cli.table import Cell, Style
from token_refresher.domain.errors import CATALOGUE
from token_refresher.domain.humanize import counted, duration
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.outlook import Would
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import Report, TargetReport
from token_refresher.refresh.run import EARLIER_SELF
from token_refresher.settings.loader import Settings

_DEAD = (Reason.REFUSED.value, Reason.SUPERSEDED.value)
_HARMLESS = (Reason.LOCKED.value, Reason.YIELDING.value, Reason.COOLING_DOWN.value)
# Due, and left for a later run.
_POSTPONED = (*_HARMLESS, Reason.BACKING_OFF.value)
# Counted apart from what was fetched and what was asked about.
_WITHOUT_CODE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.LOST, Outcome.DEFERRED)
_WOULD = {Would.FETCH: Style.SOON, Would.ASK: Style.PLAIN, Would.WAIT: Style.SOON, Would.NOTHING: Style.QUIET}
_ENDINGS = {
    Outcome.ISSUED: Style.GOOD,
    Outcome.KEPT: Style.GOOD,
    Outcome.DEFERRED: Style.SOON,
}


def show_status(report: Report, settings: Settings, output: Output) -> None:
    """What is stored, and how long it lasts."""
    rows = [
        [
            *_names(each, settings),
            _reason(each),
            _time_left(each, report.at, settings.policy),
            _last(each, report.at),
            _print_of(each),
        ]
        for each in report.targets
    ]
    output.table(("APPLICATION", "KIND", "STATE", "TIME LEFT", "LAST OUTCOME", "FINGERPRINT"), rows)
    _warn(report, output)
    for each in report.targets:
        if each.error:
            output.note(f"{_called(each)}: last {each.ended}. What to do: {CATALOGUE[each.error].advice}.")


def show_plan(report: Report, settings: Settings, output: Output) -> None:
    """What a refresh would do, and why."""
    would = [Would(each.would or Would.NOTHING) for each in report.targets]
    rows = [
        [
            *_names(each, settings),
            Cell(what.value, _WOULD[what]),
            _reason(each),
            Cell(each.sentence),
        ]
        for each, what in zip(report.targets, would, strict=True)
    ]
    output.table(("APPLICATION", "KIND", "WOULD", "REASON", "WHY"), rows)
    waiting = f", {would.count(Would.WAIT)} waiting for an access_token" if Would.WAIT in would else ""
    of_all = f"{would.count(Would.FETCH)} of {counted(len(rows), 'credential')}"
    counts = f"{of_all} would be fetched, {would.count(Would.ASK)} asked about"
    output.result(f"\n{counts}{waiting}; nothing was done.")
    _warn(report, output)


def show_refresh(report: Report, settings: Settings, output: Output) -> None:
    """What was done, why, and what came of it."""
    rows = [
        [
            *_names(each, settings),
            _reason(each),
            _ending(each),
            _time_left(each, report.at, settings.policy),
            _print_of(each),
        ]
        for each in report.targets
    ]
    output.table(("APPLICATION", "KIND", "REASON", "OUTCOME", "TIME LEFT", "FINGERPRINT"), rows)
    counts = report.summary()
    more = "".join(f"{counts[each.value]} {each.words}, " for each in _WITHOUT_CODE if counts.get(each.value))
    output.result(
        f"\n{counted(counts['targets'], 'credential')}: {counts['fetches']} fetched, {more}"
        f"{counts['questions']} asked about, {counts['in_danger']} in danger; took {report.took_ms} ms."
    )
    for sentence in (*_by_older_token(report), *_held_back(report)):
        output.result(sentence)
    _warn(report, output)


def _by_older_token(report: Report) -> Iterator[str]:
    """Of each application whose ticket came although its access_token was to be renewed and was not."""
    renewed = {each.target: each.outcome for each in report.targets}
    for each in report.targets:
        if each.target.kind is Kind.JS_TICKET and each.outcome is Outcome.ISSUED:
            token = renewed.get(Target(each.target.app_id, Kind.ACCESS_TOKEN))
            if token in _WITHOUT_CODE:
                yield (
                    f"{each.target.app_id}: the js_ticket was fetched with the access_token that was stored before; "
                    f"the new access_token was {token.words}."
                )


def _held_back(report: Report) -> Iterator[str]:
    """Of each credential that is due and was left, why."""
    for each in report.targets:
        if each.reason in _POSTPONED and each.outcome in (None, Outcome.KEPT):
            waits = each.reason == Reason.BACKING_OFF.value and each.error
            advice = f" What to do: {CATALOGUE[each.error].advice}." if waits else ""
            yield f"{_called(each)}: not renewed, {each.reason}: {each.sentence}.{advice}"


def show_check(report: Report, settings: Settings, output: Output) -> None:
    """What the platform says of each stored credential."""
    rows = [
        [
            *_names(each, settings),
            _said(each),
            Cell(each.sentence),
            _time_left(each, report.at, settings.policy),
            _print_of(each),
        ]
        for each in report.targets
    ]
    output.table(("APPLICATION", "KIND", "PLATFORM SAYS", "WHY", "TIME LEFT", "FINGERPRINT"), rows)
    if output.quiet:
        for each in (*dead(report), *unanswered(report)):
            output.note(f"{_called(each)}: {_said(each).text}: {each.sentence}", Style.BAD)
    _warn(report, output)


def dead(report: Report) -> Sequence[TargetReport]:
    """Of a check: the targets whose stored credential is refused, or will be soon because a newer one exists."""
    return [each for each in report.targets if each.reason in _DEAD and each.outcome is not Outcome.KEPT]


def unanswered(report: Report) -> Sequence[TargetReport]:
    """Of a check: the targets about which the platform gave no definite answer, or could not be asked."""
    asked = [each for each in report.targets if (each.questions or each.warnings) and each.outcome is None]
    return [each for each in asked if each.reason not in _DEAD]


def _said(each: TargetReport) -> Cell:
    if each.outcome is Outcome.KEPT:
        return Cell("alive", Style.GOOD)
    if each.questions and each.reason in _DEAD:
        return Cell("dead" if each.reason == Reason.REFUSED.value else "superseded", Style.BAD)
    return Cell("no answer", Style.SOON) if each.questions else Cell("(not asked)", Style.QUIET)


def _names(each: TargetReport, settings: Settings) -> tuple[Cell, Cell]:
    app = settings.app(each.target.app_id)
    name = f" ({app.name})" if app and app.name else ""
    return Cell(f"{each.target.app_id}{name}"), Cell(each.target.kind.value)


def _called(each: TargetReport) -> str:
    return f"{each.target.app_id} {each.target.kind.value}"


def _reason(each: TargetReport) -> Cell:
    if each.reason == Reason.FRESH.value:
        return Cell(each.reason, Style.GOOD)
    if each.in_danger:
        return Cell(each.reason, Style.BAD)
    return Cell(each.reason, Style.QUIET if each.reason in _HARMLESS else Style.SOON)


def _time_left(each: TargetReport, at: int, policy: Policy) -> Cell:
    left_s = each.seconds_left
    if each.fingerprint is None:
        return Cell("none", Style.BAD, bar=0)
    style = Style.SOON if each.cut_at(at) or left_s < each.margin_s else Style.GOOD
    says = f"{duration(left_s)}, a fetch may be out" if each.cut_at(at) else duration(left_s)
    return Cell(says, Style.BAD if each.in_danger else style, left_s / (each.life_s or policy.lifetime_s))


def _ending(each: TargetReport) -> Cell:
    if not each.outcome:
        return Cell("-", Style.QUIET)
    return Cell(each.outcome.words, _ENDINGS.get(each.outcome, Style.BAD))


def _last(each: TargetReport, at: int) -> Cell:
    if not each.last_outcome:
        return Cell("-", Style.QUIET)
    age = f", {duration(at - each.last_outcome_at)} ago" if each.last_outcome_at else ""
    return Cell(f"{each.ended}{age}")


def _print_of(each: TargetReport) -> Cell:
    return Cell(each.fingerprint or "-", Style.PLAIN if each.fingerprint else Style.QUIET)


def _warn(report: Report, output: Output) -> None:
    """Below the table, and not part of it: what a person should know or do."""
    for each in report.targets:
        for warning in each.warnings:
            output.note(f"warning: {_called(each)}: {warning}", Style.SOON)
    for warning in report.warnings:
        # What may be over by itself needs no person.
        if not (output.quiet and warning.endswith(EARLIER_SELF)):
            output.note(f"warning: {warning}", Style.SOON)
    output.note_odd()
    for each in report.targets:
        if each.failure:
            says = f"{each.failure.code}: {each.failure.message}. What to do: {each.failure.advice}."
            output.note(f"{_called(each)}: {says}", Style.BAD)
        elif output.quiet and each.in_danger:
            # No table says it; and what fails for a ticket may come of this.
            advice = f". What to do: {CATALOGUE[each.error].advice}." if each.error else ""
            output.note(f"{each.trouble}{advice}", Style.BAD)
    if report.in_danger:
        verb = "is" if len(report.in_danger) == 1 else "are"
        how_many = f"{len(report.in_danger)} of {counted(len(report.targets), 'credential')}"
        output.note(f"{how_many} {verb} missing or nearly expired.", Style.BAD)
