"""One code as it is shown: everything is worded here, nothing is escaped. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from token_refresher.domain.humanize import Instant, duration, instant
from token_refresher.domain.model import Outcome
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import TargetReport
from token_refresher.web.history import RunHistory
from token_refresher.web.page import chart as page_chart
from token_refresher.web.page import severity as page_state
from token_refresher.web.page.chart import Chart
from token_refresher.web.page.severity import State, Tone, Trouble

# A message may hold anything; more than this is not read at a glance.
_LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class Bar:
    """Time left against margin and grace: parts of a whole life in percent, and the same in words (`told`)."""

    left_s: int
    lifetime_s: int
    percent: float
    margin: float
    grace: float
    told: str
    tone: Tone


@dataclass(frozen=True)
class Code:
    """One code as it is shown. `sentence` is "" where it would only repeat the reason's `meaning`.

    `expires` is when readers lose it; `cut` says why that is before its recorded end, where it is. `renewed`: by the
    run reported, and the reason says why.
    """

    id: str
    kind: str
    state: State
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
class Moment:
    """What every code of one page shares."""

    history: RunHistory
    now: int
    age_s: float
    span_s: int


def code(each: TargetReport, state: State, moment: Moment) -> Code:
    """The code that `each` reports, in the given state."""
    left_s = page_state.seconds_left(each, moment.age_s)
    meaning, at = page_state.meaning(each.reason), moment.now - int(moment.age_s)
    recorded_s = page_state.recorded_left(each, at, moment.age_s)
    aged = each.reason == Reason.FRESH.value and recorded_s < each.margin_s
    is_cut = each.cut_at(at)
    told_anew = each.reason != Reason.FRESH.value and each.sentence != meaning
    trouble = page_state.trouble(each)
    # The moment of this run's own outcome is that of the report.
    ended_at = moment.history.latest.report.at if each.outcome and moment.history.latest else each.last_outcome_at
    return Code(
        id=f"code-{slug(each.target.app_id)}-{each.target.kind.value}",
        kind=each.target.kind.value,
        state=state,
        reason=each.reason,
        meaning=meaning,
        sentence="when it was last read" if aged else cut(each.sentence) if told_anew else "",
        renewed=each.outcome is Outcome.ISSUED,
        left=duration(left_s) if left_s else "none",
        expires=instant(at + each.seconds_left if is_cut else each.expires_at, moment.now) if each.expires_at else None,
        cut=f"for as long as a fetch may be out; recorded: {duration(recorded_s)}" if is_cut else "",
        bar=_bar(each, left_s, moment),
        outcome=cut(each.outcome.words if each.outcome else each.ended),
        outcome_meaning=_meaning(each),
        outcome_at=instant(ended_at, moment.now) if ended_at else None,
        fence=each.fence,
        fingerprint=each.fingerprint or "",
        trouble=trouble._replace(message=cut(trouble.message)) if trouble else None,
        warnings=tuple(cut(warning) for warning in each.warnings),
        superseded=tuple(instant(at, moment.now) for at in page_state.recent(each, moment.now)),
        chart=_chart(each, moment) if moment.span_s else None,
    )


def _chart(each: TargetReport, moment: Moment) -> Chart | None:
    points, policy = moment.history.samples(each.target), moment.history.policy
    return page_chart.chart(points, moment.now, moment.span_s, policy, each.life_s, each.margin_s)


def _meaning(each: TargetReport) -> str:
    """What the outcome means, in the words of `model.Outcome`."""
    value = each.outcome.value if each.outcome else each.last_outcome.partition(":")[0]
    return next((outcome.meaning for outcome in Outcome if outcome.value == value), "")


def _bar(each: TargetReport, left_s: int, moment: Moment) -> Bar:
    policy, at = moment.history.policy, moment.now - int(moment.age_s)
    life_s, margin_s = each.life_s or policy.lifetime_s, each.margin_s or policy.margin_s
    grace_s = min(policy.grace_s, margin_s)
    told = f"{duration(left_s)} left" if left_s else "nothing left"
    if left_s < margin_s:
        told += f", less than the {'grace' if left_s < grace_s else 'margin'}"
    tone = Tone.SOON if left_s < margin_s or each.cut_at(at) else Tone.GOOD
    return Bar(
        tone=Tone.BAD if each.in_danger_after(moment.age_s) else tone,
        left_s=min(left_s, int(life_s)),
        lifetime_s=int(life_s),
        percent=_percent(left_s, life_s),
        margin=_percent(margin_s, life_s),
        grace=_percent(grace_s, life_s),
        told=told,
    )


def _percent(seconds: float, life_s: float) -> float:
    return round(min(100.0, 100 * seconds / life_s), 1)


def cut(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """The text, shortened where nobody would read on."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def slug(app_id: str) -> str:
    """An id for HTML, different for each application: letters, digits and - as they are, others by their number."""
    plain = {char for char in app_id if char.isascii() and (char.isalnum() or char == "-")}
    return "".join(char if char in plain else f"_{ord(char):x}_" for char in app_id)
