"""Search everything and tell what was found: `python -m model.check --help`."""

from __future__ import annotations

import argparse
import sys

from .cases import COARSE, EXACT, Case, parts_out, whole
from .search import Result, first, search, told


def check(case: Case, refreshers: int = 2, at_most: int = 50_000_000) -> Result:
    return search(first(refreshers, case.faults, case.dues), case.world, at_most)


def line(case: Case, result: Result) -> str:
    found = f"found in {len(result.trace)} steps" if result.trace else "nothing found"
    found += "" if result.complete else " SO FAR: too many states"
    return f"{case.name:<45} faults {case.faults} {result.states:>9} states {result.seconds:>6.1f} s  {found}"


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="model.check", description=__doc__)
    parser.add_argument("--faults", type=int, default=2, help="faults that the whole algorithm has to stand (2)")
    parser.add_argument("--refreshers", type=int, default=2, choices=(1, 2, 3))
    parser.add_argument("--exact", action="store_true", help="units of 30 s: the default policy as it is, slower")
    parser.add_argument("--only", default="", metavar="WORDS", help="only cases with these words in their name")
    parser.add_argument("--traces", action="store_true", help="tell every counterexample, not only unexpected ones")
    parser.add_argument("--states", type=int, default=50_000_000, help="give up a case beyond this many states")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """0 when the whole is safe within the bounds and every part taken out is found."""
    options = _arguments(given)
    policy = EXACT if options.exact else COARSE
    wrong = 0
    for case in whole(policy, options.faults) + parts_out(policy):
        if options.only not in case.name:
            continue
        result = check(case, options.refreshers, options.states)
        as_expected = result.safe if case.safe else bool(result.trace)
        wrong += not as_expected
        sys.stdout.write(line(case, result) + ("" if as_expected else "  UNEXPECTED") + "\n")
        if result.trace and (options.traces or not as_expected):
            sys.stdout.write("\n".join(told(result.trace, case.world.numbers.unit_s)) + "\n\n")
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
