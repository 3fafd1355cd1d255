"""Break the code on purpose, in one place at a time, and count the changes that no test notices.

    make mutation                                                   all; hours
    make mutation MUTATION_ARGS='acquire.lua'                       one script
    make mutation MUTATION_ARGS='--every 10 acquire.lua'            each tenth of its mutants
    make mutation MUTATION_ARGS='token_refresher.domain.life.*'     one module
    make mutation MUTATION_ARGS='token_refresher.domain.life.x_margin_of* finish.lua'

mutmut changes the Python modules that pyproject.toml names ([tool.mutmut]), in a copy below mutants/; `lua` changes the
scripts. Ends with 1 when too many survive. See docs/explanation/verification.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from verification.mutation import lua

_ROOT = Path(__file__).resolve().parents[3]
_WORK = _ROOT / ".run" / "mutation"
_SCRIPTS = _ROOT / "src" / "token_refresher" / "store" / "scripts"
_MUTMUT = [sys.executable, "-m", "mutmut"]
# mutmut imports its own copy of the package, and not the one that this was started with.
_ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
# What mutmut calls a mutant that no test noticed.
_SURVIVED = ("survived", "no tests")
# Percent that must be noticed, a little below what was measured: all of decision and life, all of each ninth mutant of
# the scripts, and of 150 others, chosen at random, 129, which makes 88 of all Python.
_AT_LEAST = {"domain.decision": 99.0, "domain.life": 99.0, "Lua": 97.0, "Python": 86.0}


class Survivor(NamedTuple):
    """A change that no test noticed: where, and the line before and after it."""

    place: str
    before: str
    after: str


def main() -> int:
    """Returns 1 when fewer than the wanted share of the mutants were noticed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="scripts (*.lua), and mutants by mutmut's names (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="at a time (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth mutant of a script")
    given = parser.parse_args()
    _WORK.mkdir(parents=True, exist_ok=True)
    scripts = [name for name in given.names if name.endswith(".lua")]
    modules = [name for name in given.names if not name.endswith(".lua")]
    ended = 0
    if modules or not given.names:
        ended |= _judged("Python", *_of_python(modules, max(1, given.workers)))
    if scripts or not given.names:
        ended |= _judged("Lua", *_of_lua(scripts, max(1, given.workers), given.every))
    return ended


def _of_lua(names: list[str], workers: int, every: int) -> tuple[list[str], Iterator[Survivor]]:
    """The file of each mutant, and those that survive, as they are found."""
    files = [_SCRIPTS / name for name in names] or sorted(_SCRIPTS.glob("*.lua"))
    found = [each for file in files for each in lua.mutants(file.name, file.read_text("utf-8"))][::every]
    alive = lua.survivors(_ROOT, _WORK, found, workers)
    return [each.file for each in found], (Survivor(each.file, each.before, each.after) for each in alive)


def _of_python(names: list[str], workers: int) -> tuple[list[str], Iterator[Survivor]]:
    """The module of each mutant, and those that survive.

    Raises SystemExit when mutmut cannot do it, above all when the tests fail without a mutant.
    """
    # Its results outlive a change of the tests, which would then not be heard.
    shutil.rmtree(_ROOT / "mutants", ignore_errors=True)
    log = _WORK / "mutmut.txt"
    with log.open("w") as output:
        command = [*_MUTMUT, "run", "--max-children", str(workers), *names]
        if subprocess.run(command, cwd=_ROOT, env=_ENVIRON, stdout=output, stderr=subprocess.STDOUT).returncode:
            raise SystemExit(f"mutmut ended without a result, see {log}")
    results = _asked("results", "--all", "true").splitlines()
    states = dict(line.strip().rsplit(": ", 1) for line in results if ": " in line)
    tried = [name for name in states if not names or any(fnmatchcase(name, pattern) for pattern in names)]
    if open_ := [name for name in tried if states[name] == "not checked"]:
        raise SystemExit(f"mutmut left {len(open_)} mutants untried, see {log}")
    alive = (name for name in tried if states[name] in _SURVIVED)
    modules = [name.rpartition(".")[0].removeprefix("token_refresher.") for name in tried]
    return modules, (Survivor(name, *_change(_asked("show", name))) for name in alive)


def _asked(*arguments: str) -> str:
    command = [*_MUTMUT, *arguments]
    return subprocess.run(command, cwd=_ROOT, env=_ENVIRON, capture_output=True, text=True, check=True).stdout


def _change(diff: str) -> tuple[str, str]:
    """The lines that a diff removes and adds, each side as one line."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    sides = (" ".join(line[1:] for line in lines if line.startswith(sign)) for sign in "-+")
    before, after = (" ".join(side.split()) for side in sides)
    return before, after


def _judged(language: str, places: list[str], survivors: Iterator[Survivor]) -> int:
    """Print what survived, and the share that was noticed. Those that no test can or need notice do not count."""
    reasons = {(each["before"], each["after"]) for each in json.loads(_accepted())}
    accepted, survived = Counter[str](), Counter[str]()
    for each in survivors:
        place = each.place if each.place.endswith(".lua") else each.place.rpartition(".")[0]
        place = place.removeprefix("token_refresher.")
        if (each.before, each.after) in reasons:
            accepted[place] += 1
            continue
        survived[place] += 1
        print(f"survived: {each.place}\n  - {each.before}\n  + {each.after}", flush=True)  # noqa: T201 - its result
    made, ended = Counter(places), 0
    for place in [*sorted(made), language]:
        counts = (each.total() if place == language else each[place] for each in (made, survived, accepted))
        text, share = _score(*counts)
        wanted = _AT_LEAST.get(place, 0.0)
        ended |= int(share < wanted)
        print(f"{place}: {text}{f', {wanted:g} % are wanted' * (share < wanted)}")  # noqa: T201
    return ended


def _score(made: int, survived: int, accepted: int) -> tuple[str, float]:
    """As a sentence, and the percent that was noticed; where nothing was changed, nothing was noticed."""
    counted = made - accepted
    share = 100 * (counted - survived) / counted if counted else 100.0 * (made > 0)
    return f"{made} mutants, {survived} survived, {accepted} accepted: {share:.1f} % noticed", share


def _accepted() -> str:
    return Path(__file__).with_name("accepted.json").read_text("utf-8")


if __name__ == "__main__":
    sys.exit(main())
