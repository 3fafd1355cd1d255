"""The timer, copies, clocks, and processes that are frozen or killed in the middle of a fetch."""

from __future__ import annotations

from platform_simulator.credentials import ACCESS_TOKEN, JS_TICKET
from verification.lab.held import HeldRun
from verification.lab.scenario import DAY_S, HOUR_S, MINUTE_S, TICK_S, At, Bounds, Due, Scenario
from verification.lab.troubles import Forced, SomebodyElse, Timer
from verification.lab.worker import POINTS

_SHORT_S = 170 * MINUTE_S
_LONG = {30: "30 s", 300: "5 min", 3600: "1 h"}
# After the end of a fault: the lock of 90 s, and a tick.
_LOCK_ENDS = 180.0
# A fetch that turns up after its lease: noticed by the next audit, at most 240 s and a tick later.
_AUDITED = 330.0


def _frozen(point: str, seconds: int) -> Scenario:
    return Scenario(
        name=f"frozen {_LONG[seconds]} {point}",
        sentence=f"A run stands still for {_LONG[seconds]} {point}, first one of the ticket, then one of the token.",
        duration_s=5 * HOUR_S,
        troubles=(
            HeldRun(start=Due(), point=point, kind=JS_TICKET, frozen_s=seconds),
            HeldRun(start=Due(2.5 * HOUR_S), point=point, kind=ACCESS_TOKEN, frozen_s=seconds),
        ),
        bounds=Bounds(fetches=4, heal_s=_AUDITED),
    )


def _killed(point: str) -> Scenario:
    return Scenario(
        name=f"killed {point}",
        sentence=f"A run dies by SIGKILL {point}, first one of the ticket, then one of the token.",
        duration_s=5 * HOUR_S,
        troubles=(
            HeldRun(start=Due(), point=point, kind=JS_TICKET),
            HeldRun(start=Due(2.5 * HOUR_S), point=point, kind=ACCESS_TOKEN),
        ),
        bounds=Bounds(fetches=2, heal_s=_LOCK_ENDS),
    )


def _missed(ticks: int) -> Scenario:
    gap_s = (ticks + 1) * TICK_S
    too_long = gap_s > 330
    return Scenario(
        name=f"{ticks} ticks missed",
        sentence=f"Somebody else refreshes when a fetch is due, and the timer fires {ticks} times without a run.",
        duration_s=_SHORT_S,
        troubles=(
            Timer(start=Due(), lasting_s=ticks * TICK_S - 1, how="missed"),
            SomebodyElse(start=Due()),
        ),
        outside=f"{gap_s:.0f} s without a run, and the audit wants one every 330 s: heals with the next run" * too_long,
        bounds=Bounds(fetches=2, heal_s=_LOCK_ENDS),
    )


_COPIES = (
    Scenario(
        name="overlapping timers",
        sentence="Two timers fire at the same moments, each for a process of its own.",
        copies=2,
        bounds=Bounds(heal_s=0),
    ),
    Scenario(
        name="overlapping timers, one slow",
        sentence="A run stands still for 5 s before it stores, another begins and ends meanwhile; ticket, then token.",
        duration_s=5 * HOUR_S,
        troubles=(
            HeldRun(start=Due(), point="before store", kind=JS_TICKET, frozen_s=5, meanwhile=True),
            HeldRun(start=Due(2.5 * HOUR_S), point="before store", kind=ACCESS_TOKEN, frozen_s=5, meanwhile=True),
        ),
        bounds=Bounds(heal_s=_LOCK_ENDS),
    ),
    Scenario(
        name="ten copies at once",
        sentence="Ten processes run at every tick, all at the same moment.",
        copies=10,
        bounds=Bounds(heal_s=0),
    ),
    Scenario(
        name="forced refreshes for hours",
        sentence="Somebody forces a refresh every five minutes, while the timer goes on.",
        troubles=(Forced(start=At(10), lasting_s=3 * HOUR_S, every_s=300),),
        bounds=Bounds(fetches=2 * 36),
    ),
    Scenario(
        name="forced refreshes all day",
        sentence="Somebody forces a refresh every two minutes of a day, while the timer goes on.",
        duration_s=DAY_S,
        troubles=(Forced(start=At(10), lasting_s=DAY_S - HOUR_S, every_s=120),),
        bounds=Bounds(fetches=2 * 690),
    ),
    Scenario(
        name="frozen 5 min after its last look, then killed",
        sentence="A run stands still between its last look at the deadline and the send, sends, and dies.",
        troubles=(HeldRun(start=Due(), point="after its last look", frozen_s=300, dies=True),),
        bounds=Bounds(fetches=2, heal_s=_AUDITED),
    ),
)


def _wrong_clock(ahead_s: float) -> Scenario:
    how = "fast" if ahead_s > 0 else "slow"
    return Scenario(
        name=f"one copy's clock 10 min {how}",
        sentence=f"Two copies run in turns; the time of day of one is 10 minutes {how}.",
        duration_s=_SHORT_S,
        copies=2,
        turns=True,
        wrong_clock_s=ahead_s,
        bounds=Bounds(heal_s=0),
    )


def _jump(seconds: float) -> Scenario:
    return Scenario(
        name=f"clock jumps by {seconds:+g} s in a run",
        sentence=f"After the platform's answer came, the process's time of day jumps by {seconds:+g} s.",
        troubles=(HeldRun(start=Due(), point="after answer", clock_jumps_s=seconds),),
        bounds=Bounds(heal_s=0),
    )


_TICKS = (
    *(_missed(ticks) for ticks in range(1, 8)),
    Scenario(
        name="late ticks",
        sentence="Every run begins up to 59 s after its tick.",
        troubles=(Timer(start=At(30), lasting_s=3.5 * HOUR_S, how="late"),),
    ),
    Scenario(
        name="doubled ticks",
        sentence="Every tick comes twice.",
        troubles=(Timer(start=At(30), lasting_s=3.5 * HOUR_S, how="doubled"),),
    ),
    Scenario(
        name="four ticks missed, then all at once",
        sentence="From when a fetch is due four ticks are kept back, and then come all at once.",
        troubles=(Timer(start=Due(), lasting_s=4 * TICK_S - 1, how="burst"),),
    ),
)

SCENARIOS = (
    Scenario(name="a quiet day", sentence="A day without faults.", duration_s=DAY_S, bounds=Bounds(heal_s=0)),
    *_COPIES,
    *(_frozen(point, seconds) for point in POINTS for seconds in _LONG),
    *(_killed(point) for point in POINTS),
    *(_wrong_clock(ahead_s) for ahead_s in (600, -600)),
    *(_jump(seconds) for seconds in (600, -600)),
    *_TICKS,
)
