"""Break the code on purpose, one small change at a time, and see whether the tests notice. A table and a JSON file.

    .venv/bin/python tools/mutate.py plan.py flight.py     all mutants of these files; minutes
    .venv/bin/python tools/mutate.py --sample 20           twenty of each file, chosen by --seed
    .venv/bin/python tools/mutate.py plan.py --survivors   once more those that the last time nothing noticed
    .venv/bin/python tools/mutate.py --table               what came out so far

Run with the environment that `make tools` makes. The tests run in a copy below .run; the tree itself is not touched.
See docs/explanation/verification.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutation import nursery, trial
from mutation import results as kept
from mutation.lua import of_lua
from mutation.mutants import Mutant, of_python
from mutation.results import EQUIVALENT, KILLED, SURVIVED, TIMED_OUT, Equivalents, Result
from mutation.subjects import SUBJECTS, Subject

ROOT = Path(__file__).resolve().parents[1]
_REQUIREMENTS = ROOT / "requirements-mutation.txt"
_MISSED = (trial.PASSED, trial.NONE_RUN)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    names = [subject.file for subject in SUBJECTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only so many mutants of each file")
    parser.add_argument("--seed", default="1", help="chooses the sample (default: %(default)s)")
    parser.add_argument("--survivors", action="store_true", help="only those that survived the last time")
    parser.add_argument("--slow", action="store_true", help="what survives also against the slow tests")
    parser.add_argument("--list", action="store_true", help="show the mutants, and run nothing")
    parser.add_argument("--table", action="store_true", help="show what came out so far, and run nothing")
    parser.add_argument("--directory", type=Path, default=ROOT / ".run" / "mutation", help="(default: %(default)s)")
    given = parser.parse_args()
    unknown = sorted(set(given.files) - set(names))
    if unknown:
        parser.error(f"unknown file {unknown[0]}; there are {', '.join(names)}")
    return given


def install(directory: Path) -> None:
    """cosmic-ray, where it is not there yet. Raises SystemExit."""
    target = directory / f"tools-{hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:8]}"
    if not target.is_dir():
        fresh = target.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--target", str(fresh), "--requirement", str(_REQUIREMENTS)]
        if subprocess.run(command).returncode:
            raise SystemExit("error: pip could not install cosmic-ray")
        fresh.rename(target)
    sys.path.append(str(target))


def mutants(subject: Subject) -> list[Mutant]:
    """Every mutant of a file."""
    source = (ROOT / "src" / "token_refresher" / subject.file).read_text(encoding="utf-8")
    make = of_lua if subject.file.endswith(".lua") else of_python
    found: Counter[tuple[object, ...]] = Counter()
    named = []
    for mutant in make(subject.file, source):
        found[mutant[:5]] += 1
        # The same change to an equal line of the same function has a name of its own.
        number = found[mutant[:5]]
        named.append(mutant._replace(place=f"{mutant.place} #{number}") if number > 1 else mutant)
    return named


def tried(subject: Subject, chosen: list[Mutant], court: trial.Court, slow: bool) -> list[Result]:
    """What comes of these mutants. Raises SystemExit when the tests fail without any."""
    equivalents = Equivalents()
    found = []
    for number, mutant in enumerate(chosen, 1):
        reason = equivalents.reason(mutant)
        outcome = EQUIVALENT if reason else SURVIVED
        for tests in () if reason else (subject.tests, subject.slow if slow else ()):
            # The tests of scripts read them while they run.
            late = subject.file.endswith(".lua") and tests == subject.tests
            code = court.judge(mutant, tests, late) if tests else trial.NONE_RUN
            if code not in _MISSED:
                outcome = TIMED_OUT if code == nursery.TIMED_OUT else KILLED
                break
        found.append(Result(*mutant[:6], outcome, reason))
        if outcome == SURVIVED or number % 25 == 0:
            print(f"{number}/{len(chosen)} {outcome}: {mutant.first}: {mutant.line}", flush=True)
    return found


def main() -> int:
    """Returns 0 when no mutant survived."""
    given = arguments()
    given.directory.mkdir(parents=True, exist_ok=True)
    subjects = [subject for subject in SUBJECTS if not given.files or subject.file in given.files]
    if given.table:
        everything = [each for subject in subjects for each in kept.read(place(given, subject))]
    else:
        install(given.directory)
        everything = made(given, subjects)
    for each in everything:
        if each.outcome == SURVIVED:
            print(f"survived: {each.file}:{each.line} {each.operator} {each.place}: {each.before}  ->  {each.after}")
    print("\n".join(kept.table(everything)))
    return 1 if any(each.outcome == SURVIVED for each in everything) else 0


def place(given: argparse.Namespace, subject: Subject) -> Path:
    """Where the results of a file are kept."""
    directory: Path = given.directory
    return directory / (subject.file.replace("/", "-") + ".json")


def made(given: argparse.Namespace, subjects: list[Subject]) -> list[Result]:
    """The mutants that were asked for, and what came of them; of all of a file it is kept."""
    everything: list[Result] = []
    trial.warm()
    with contextlib.closing(trial.Court(ROOT, given.directory)) as court:
        for subject in subjects:
            before = {each[:5]: each for each in kept.read(place(given, subject))}
            chosen = mutants(subject)
            if given.survivors:
                chosen = [each for each in chosen if each[:5] in before and before[each[:5]].outcome == SURVIVED]
            if given.sample:
                # Chosen by a seed, so that a run can be repeated.
                chance = random.Random(given.seed)  # noqa: S311 - to be repeated, not to be secret
                chosen = chance.sample(chosen, min(given.sample, len(chosen)))
            if given.list:
                print("\n".join(f"{each.first}: {each.operator}: {each.line}" for each in chosen))
                continue
            results = tried(subject, chosen, court, given.slow)
            if given.survivors:
                results = list((before | {each[:5]: each for each in results}).values())
            if given.survivors or not given.sample:
                kept.write(place(given, subject), results)
            everything += results
    return everything


if __name__ == "__main__":
    sys.exit(main())
