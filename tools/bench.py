"""`make bench`: what a run costs, side by side with what users would have instead. A table, a JSON file and a plot.

    .venv/bin/python tools/bench.py                  quick: under 90 seconds where nothing else runs
    .venv/bin/python tools/bench.py --full           more rounds, and what takes longer; under 10 minutes
    .venv/bin/python tools/bench.py --only cold,reads

Everything runs from the unpacked zip, on the loopback, and is ended with it. Medians over interleaved rounds, in
brackets the quartiles. Nobody's settings are read. See docs/explanation/performance.md for how to read it.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from bench import cold, day, plot, reads, refresh, table, warm
from bench import zip as package
from bench.measure import BenchError, Launcher
from bench.place import ROOT, peers, pythons, unpacked
from bench.results import Bench
from bench.servers import RedisServer

SECTIONS = {
    "cold": cold.run,
    "warm": warm.run,
    "refresh": refresh.run,
    "reads": reads.run,
    "day": day.run,
    "memory": warm.memory,
    "zip": package.run,
}
# It ends by itself, whatever hangs. Four times what it takes where nothing else runs.
_LIMIT_QUICK_S, _LIMIT_FULL_S = 360, 1800


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few rounds (the default)")
    size.add_argument("--full", action="store_true", help="more rounds, more applications, counted instructions")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas (default: %(default)s)")
    parser.add_argument("--python", action="append", help="instead of python3.10 and python3.12; repeatable")
    parser.add_argument("--directory", type=Path, default=ROOT / ".run", help="for its files (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="measure this zip, instead of one made from the tree")
    given = parser.parse_args()
    given.only = given.only.split(",")
    unknown = sorted(set(given.only) - set(SECTIONS))
    if unknown:
        parser.error(f"unknown section {unknown[0]}; there are {', '.join(SECTIONS)}")
    return given


def say(text: str) -> None:
    """Progress, which is no result."""
    print(text, file=sys.stderr, flush=True)


def prepared(given: argparse.Namespace, stack: contextlib.ExitStack) -> Bench:
    """Everything that sections need, ended by `stack`. Raises BenchError."""
    directory: Path = given.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    say("making the zip ...")
    archive, code = unpacked(directory, given.archive)
    others, why = peers(directory)
    redis = RedisServer()
    stack.callback(redis.stop)
    bench = Bench(
        quick=not given.full,
        directory=directory,
        pythons=pythons(given.python),
        archive=archive,
        code=code,
        peers=others,
        redis=redis,
        launcher=stack.enter_context(Launcher()),
        stack=stack,
    )
    bench.notes += [why] if why else []
    return bench


def measure(bench: Bench, sections: list[str]) -> None:
    """The sections one after the other; one that cannot be measured stops no other."""
    for name in sections:
        began = time.monotonic()
        try:
            SECTIONS[name](bench)
        except (BenchError, LookupError) as error:
            bench.notes.append(f"{name} is not complete: {error}")
        say(f"{name}: {time.monotonic() - began:.0f} s")


def stop(number: int, _frame: object) -> NoReturn:
    """End in order, so that nothing that was started stays behind."""
    signal.signal(number, signal.SIG_IGN)
    if number == signal.SIGALRM:
        say("it takes too long, and is given up")
    raise SystemExit(128 + number)


def main() -> int:
    """Returns the exit code: 0 when everything was measured, whatever came out."""
    given = arguments()
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, stop)
    signal.alarm(_LIMIT_FULL_S if given.full else _LIMIT_QUICK_S)
    with contextlib.ExitStack() as stack:
        try:
            bench = prepared(given, stack)
        except BenchError as error:
            say(f"error: {error}")
            return error.code
        measure(bench, given.only)
    result, picture = bench.directory / "bench.json", bench.directory / "bench.svg"
    print("\n".join(table.lines(bench.rows)))
    for note in bench.notes:
        print(f"note: {note}")
    table.write_json(bench, result, time.monotonic() - began)
    plot.write(bench.curves, picture)
    print(f"\n{time.monotonic() - began:.0f} s; written: {result}" + (f", {picture}" if bench.curves else ""))
    return 1 if any("is not complete" in note for note in bench.notes) else 0


if __name__ == "__main__":
    sys.exit(main())
