"""How bad is it, in one word and one tone: of a single code, and of all together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from .errors import CATALOGUE
from .page_words import counted, duration
from .plan import Reason
from .policy import Policy
from .report import Failure, TargetReport

_MEANINGS = {reason.value: reason.meaning for reason in Reason}
_DUE = {reason.value for reason in Reason if reason.due}
# A page that nobody feeds looks healthy for ever: this many ticks without news is news.
_SILENT_TICKS = 3
# For as long as a report counts other people's refreshes.
_OTHERS_WITHIN_S = 3600


class Tone(str, Enum):
    """How urgent something is, the worst first. The value is the name of a style and of an icon."""

    BAD = "bad"
    SOON = "soon"
    CALM = "calm"
    GOOD = "good"

    @property
    def rank(self) -> int:
        return list(Tone).index(self)


class State(NamedTuple):
    """One code in a word (`word`), with its tone."""

    tone: Tone
    word: str


class Trouble(NamedTuple):
    """What failed, and what to do. `message` may be ""."""

    code: str
    message: str
    advice: str
    retryable: bool


def meaning(reason: str) -> str:
    """What a reason means, in the words of `plan.Reason`."""
    return _MEANINGS.get(reason, "")


def seconds_left(each: TargetReport, age_s: float) -> int:
    """How long a code lasts from now on, `age_s` after it was reported."""
    return max(0, int(each.seconds_left - age_s))


def trouble(each: TargetReport) -> Trouble | None:
    """What went wrong with this target in the run reported, or in the last attempt that anybody made."""
    if each.failure:
        return of_failure(each.failure)
    code = each.last_outcome.partition(": ")[2]
    if code not in CATALOGUE:
        return None
    return Trouble(code, "", CATALOGUE[code].advice, CATALOGUE[code].retryable)


def of_failure(failure: Failure) -> Trouble:
    return Trouble(failure.code, failure.message, failure.advice, failure.retryable)


def recent(each: TargetReport, at: int) -> tuple[int, ...]:
    """When, within the hour before `at`, somebody else's refresh of this code was noticed (instants)."""
    return tuple(when for when in each.superseded_at if at - when < _OTHERS_WITHIN_S)


def state(each: TargetReport, at: int, age_s: float, policy: Policy) -> State:
    """The state of one code, `age_s` after it was reported at `at`."""
    left_s, failed = seconds_left(each, age_s), trouble(each)
    elsewhere = each.reason == Reason.LOCKED.value and not each.in_danger
    if each.reason == Reason.NOT_READ.value:
        return State(Tone.BAD, "Not read")
    if each.in_danger or (left_s < policy.alarm_below_s and not elsewhere):
        return State(Tone.BAD, "Expires soon" if left_s else "No code")
    if failed:
        return State(Tone.SOON if failed.retryable else Tone.BAD, "Failing")
    if each.reason in (Reason.SUPERSEDED.value, Reason.REFUSED.value) and not each.outcome:
        return State(Tone.SOON, each.reason.capitalize())
    aged = each.reason == Reason.FRESH.value and left_s < policy.margin_s
    if aged or (each.reason in _DUE and not each.outcome):
        return State(Tone.SOON, "Due")
    if recent(each, at):
        return State(Tone.SOON, "Superseded")
    if each.warnings:
        return State(Tone.SOON, "Look")
    if each.reason in (Reason.LOCKED.value, Reason.BACKING_OFF.value, Reason.COOLING_DOWN.value):
        return State(Tone.CALM, "Waiting")
    return State(Tone.GOOD, "Fresh")


class Headline(NamedTuple):
    """All together: a sentence (`text`) and a shorter one (`brief`, for the window's title)."""

    tone: Tone
    text: str
    brief: str


def headline(
    states: Sequence[State], failed: Trouble | None, age_s: float | None, policy: Policy, warned: bool
) -> Headline:
    """The sentence on top. `age_s` is the latest report's age, None when there is none."""
    bad = sum(each.tone is Tone.BAD for each in states)
    soon = sum(each.tone is Tone.SOON for each in states)
    if age_s is None and not failed:
        return Headline(Tone.CALM, "Waiting for the first run", "waiting")
    if bad:
        need = "needs" if bad == 1 else "need"
        return Headline(Tone.BAD, f"{bad} of {counted(len(states), 'code')} {need} you", f"{bad} in trouble")
    if failed:
        return Headline(Tone.BAD, "The last run failed", "run failed")
    if age_s is not None and age_s > silent_s(policy):
        return Headline(Tone.BAD, f"No run for {duration(age_s)}", "no run")
    if soon or warned:
        what = f"{counted(soon, 'code')} to keep an eye on" if soon else "but somebody interferes"
        return Headline(Tone.SOON, f"No code is in danger, {what}", "keep an eye on it")
    every = "The code is" if len(states) == 1 else f"All {len(states)} codes are"
    return Headline(Tone.GOOD, f"{every} fine", "all fine")


def silent_s(policy: Policy) -> float:
    """How old the latest report may be before the page says so (duration, seconds)."""
    return _SILENT_TICKS * policy.tick_s + 2 * policy.work_s
