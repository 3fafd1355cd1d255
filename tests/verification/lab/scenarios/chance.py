"""Everything at once, by chance, from the seed."""

from __future__ import annotations

from verification.lab.chance import Chance
from verification.lab.scenario import DAY_S, HOUR_S, At, Bounds, Scenario

# Hanging requests take real time.
_SHORT_WAITS = {"request_total_s": 0.5}


def _random(name: str, duration_s: float) -> Scenario:
    return Scenario(
        name=name,
        sentence="At every tick each of ten kinds of fault strikes with 1 %: answers, kills, freezes, others, ticks.",
        duration_s=duration_s,
        troubles=(Chance(start=At(30), lasting_s=duration_s - HOUR_S),),
        policy=_SHORT_WAITS,
        # A credential goes out for nothing with about every second fault; none is missing for longer than a lock.
        bounds=Bounds(none_s=None, fetches=int(duration_s / 600), heal_s=400),
    )


SCENARIOS = (
    *(_random(f"six random hours, {number}", 7 * HOUR_S) for number in range(1, 4)),
    *(_random(f"a random day, {number}", DAY_S) for number in range(1, 4)),
)
