"""Days in virtual time: a tick a minute, and how many codes are fetched.

Run by `fetches` in a process of its own, because what it moves clocks with belongs to the tests. Its argument is the
number of half days; prints what it counted, as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from .measure import BenchError, Spread
from .results import Bench, Row

_ROOT = Path(__file__).resolve().parents[2]
_HALF_S = 43_200
_TICK_S = 60


def simulate(halves: int) -> dict[str, float]:
    """Ticks over so many half days. Seconds are virtual."""
    from support.world import World
    from token_refresher.bootstrap import refresher
    from token_refresher.domain.command import Command
    from token_refresher.settings.loader import read

    logging.disable(logging.CRITICAL)
    with World() as world:
        settings = read(world.settings_env(1))
        program, app_id = refresher(settings), world.app_id(0)
        fetches = questions = 0
        for _ in range(halves * _HALF_S // _TICK_S):
            told = program.run_once(Command()).summary()
            fetches, questions = fetches + told["fetches"], questions + told["questions"]
            world.advance(_TICK_S)
        counted = [world.simulator.fetches(app_id, kind) for kind in ("access_token", "js_ticket")]
        policy = settings.policy
    if sum(counted) != fetches:
        raise BenchError(f"{fetches} fetches were reported, {sum(counted)} seen")
    life_s = policy.lifetime_s - policy.margin_s
    return {"fetches": fetches, "questions": questions, "days": halves / 2, "life_s": life_s}


def run(bench: Bench) -> None:
    """Fetches per code and day, against the least that a margin of this size allows."""
    halves = bench.rounds(1, 8)
    command = [sys.executable, "-m", "bench.day", str(halves)]
    paths = [str(_ROOT / part) for part in ("src", "tests", "tools")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    if done.returncode:
        bench.notes.append(f"no day was simulated: {done.stderr.strip().splitlines()[-1:]}")
        return
    told = json.loads(done.stdout)
    # The first code is fetched at the very start, each later one when the margin begins.
    least = 2 * -(-told["days"] * 2 * _HALF_S // told["life_s"])
    ratio = told["fetches"] / least
    figures = {
        "fetches per code and day": (told["fetches"] / 2 / told["days"], ""),
        "least": (least / 2 / told["days"], ""),
        "questions (checkCode) per code and day": (told["questions"] / 2 / told["days"], ""),
    }
    title = f"fetches in {told['days']:g} simulated days, a tick a minute"
    bench.add(Row("day", title, "", Spread(ratio, ratio, ratio, 1), "the least", 1.02, figures=figures))


if __name__ == "__main__":
    print(json.dumps(simulate(int(sys.argv[1]))))
