"""`python -m verification.lab`: play scenarios, ours beside the baseline, and say whether the promises were kept.

    PYTHONPATH=src:tests python -m verification.lab                  the bounded part
    PYTHONPATH=src:tests python -m verification.lab --full           everything, whole days included
    PYTHONPATH=src:tests python -m verification.lab --only frozen    scenarios whose name holds this
    PYTHONPATH=src:tests python -m verification.lab --figures        what readers of ours held, and what it cost
    PYTHONPATH=src:tests python -m verification.lab --list

Exit code 1 when a promise was broken. See docs/explanation/verification.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from .bounded import BOUNDED
from .result import Result, broken
from .run import play_all
from .scenario import Scenario
from .scenarios import collected
from .systems import SYSTEMS
from .table import figures, lines, markdown, write

_ROOT = Path(__file__).resolve().parents[3]
# It ends by itself, whatever hangs (seconds). Several times what it takes where nothing else runs.
_LIMIT_S, _LIMIT_FULL_S = 1500, 5400


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="lab", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="whole days, too")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="names that hold it; repeatable")
    parser.add_argument("--list", action="store_true", help="names and sentences, and play nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="for what is left to chance (default: %(default)s)")
    parser.add_argument("--system", choices=sorted(SYSTEMS), help="only this one")
    parser.add_argument("--markdown", action="store_true", help="the table for docs/explanation/verification.md")
    parser.add_argument("--figures", action="store_true", help="ours alone, with questions and runs that failed")
    place = _ROOT / ".run" / "lab"
    parser.add_argument("--directory", type=Path, default=place, help="for its files (default: %(default)s)")
    return parser.parse_args(given)


def chosen(given: argparse.Namespace, scenarios: Mapping[str, Scenario]) -> dict[str, Scenario]:
    """What is to be played. Raises SystemExit when that is nothing."""
    found = {
        name: scenario
        for name, scenario in scenarios.items()
        if (any(text in name for text in given.only) if given.only else given.full or name in BOUNDED)
    }
    if not found:
        raise SystemExit(f"no scenario is called so; --list names all {len(scenarios)}")
    return found


def verdict(scenarios: Mapping[str, Scenario], results: Mapping[str, Mapping[str, Result]]) -> list[str]:
    """What broke, as lines."""
    return [
        f"BROKEN: {name}: {sentence}"
        for name, by_system in results.items()
        if "ours" in by_system
        for sentence in broken(scenarios[name], by_system["ours"])
    ]


def say(text: str) -> None:
    """Progress, which is no result."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for people


def stop(number: int, _frame: object) -> NoReturn:
    """End in order, so that nothing that was started stays behind."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(f"it takes too long, and is given up (signal {number})")


def main(given: list[str] | None = None) -> int:
    """Returns the exit code."""
    asked, began = arguments(given), time.monotonic()
    scenarios = chosen(asked, collected())
    out = sys.stdout.write
    if asked.list:
        for name, scenario in scenarios.items():
            out(f"{name}\n    {scenario.sentence}\n")
            out(f"    OUTSIDE: {scenario.outside}\n" if scenario.outside else "")
        out(f"{len(scenarios)} scenarios\n")
        return 0
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, stop)
    signal.alarm(_LIMIT_FULL_S if asked.full else _LIMIT_S)
    system = "ours" if asked.figures else asked.system
    results, failed = play_all(scenarios, asked.seed, asked.jobs, system, say)
    signal.alarm(0)
    table = (markdown if asked.markdown else lines)(scenarios, results)
    out("\n".join(figures(results) if asked.figures else table) + "\n\n")
    paths = write(asked.directory, scenarios, results, asked.seed)
    wrong = [*(f"BROKEN: {each}" for each in failed), *verdict(scenarios, results)]
    inside = sum(scenario.inside for scenario in scenarios.values())
    out("\n".join([*wrong, ""]) if wrong else "")
    kept = "BROKEN" if wrong else "all promises kept"
    virtual_s = sum(result.duration_s for by_system in results.values() for result in by_system.values())
    out(
        f"{len(scenarios)} scenarios, {inside} inside the assumptions; seed {asked.seed}; "
        f"{virtual_s / 3600:.0f} virtual hours in {time.monotonic() - began:.0f} s; {kept}\n"
        f"written: {paths[0]} and {len(paths) - 1} timelines beside it\n"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
