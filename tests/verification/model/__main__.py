"""`python -m verification.model`: search everything, and print the tables of docs/explanation/verification.md.

    PYTHONPATH=src:tests python -m verification.model                   everything: three hours, 2 GB
    PYTHONPATH=src:tests python -m verification.model --only "no cut"   cases whose name holds this
    PYTHONPATH=src:tests python -m verification.model --traces          the way to each counterexample, too

Exit code 1 when something was found in the whole, or a condition taken out was not found.
"""

from __future__ import annotations

import argparse
import sys

from . import denials, turns
from .cases import Case, not_needed, parts_out, whole
from .search import Result, search, shown
from .state import first


def check(case: Case, at_most: int = 10_000_000) -> Result:
    """Search one case."""
    return search(first(case.refreshers, case.faults, case.dues), case.world, at_most)


def row(case: Case, result: Result) -> str:
    """One line of the table."""
    found = f"found in {len(result.trace)} steps" if result.trace else "nothing"
    found += "" if result.complete else " SO FAR: too many states"
    bounds = f"{case.refreshers} | {case.faults} | {case.dues}"
    return f"| {case.name} | {bounds} | {result.states:,} | {found} |  {result.seconds:.0f} s"


def _search_all(only: str, at_most: int, traces: bool) -> int:
    wrong = 0
    for case in [*parts_out(), *not_needed(), *whole()]:
        if only not in case.name:
            continue
        result = check(case, at_most)
        as_expected = result.found is case.expects and result.complete
        wrong += not as_expected
        sys.stdout.write(row(case, result) + ("" if as_expected else "  UNEXPECTED") + "\n")
        if result.trace and (traces or not as_expected):
            sys.stdout.write("\n".join(shown(result, case.world.numbers.unit_s)) + "\n\n")
        sys.stdout.flush()
    return wrong


def _search_denials(only: str, traces: bool) -> int:
    wrong = 0
    for case in denials.CASES:
        if only not in case.name:
            continue
        result = denials.check(case)
        wrong += result.wrong != case.wrong
        found = f"{len(result.way)} steps" if result.wrong else f"nothing; gone after {result.longest * 60} s"
        sys.stdout.write(f"| {case.name} | {case.faults} | {result.states:,} | {found} |\n")
        if result.wrong and traces:
            sys.stdout.write("    " + "; ".join(result.way) + "\n")
        sys.stdout.flush()
    return wrong


def _draw_turns(only: str) -> int:
    wrong = 0
    for case in turns.CASES:
        if only not in case.name:
            continue
        worst = [turns.worst_s(case.kind, sick, case.like, case.draws) for sick in turns.SICK]
        within = max(worst) <= 2 * case.like.policy.tick_s
        wrong += within is not case.within
        sys.stdout.write(f"| {case.name} | {' | '.join(f'{each:.0f}' for each in worst)} |\n")
        sys.stdout.flush()
    return wrong


def main(given: list[str] | None = None) -> int:
    """0 when all is as docs/explanation/verification.md says."""
    parser = argparse.ArgumentParser(prog="model", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name holds this")
    parser.add_argument("--traces", action="store_true", help="print every counterexample, not only unexpected ones")
    parser.add_argument("--states", type=int, default=10_000_000, help="give up a case beyond this many states")
    options = parser.parse_args(given)
    wrong = _search_denials(options.only, options.traces) + _draw_turns(options.only)
    wrong += _search_all(options.only, options.states, options.traces)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
