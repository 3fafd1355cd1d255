"""Runs the tests with the coverage of branches measured, in every process that they start; fails below 95 %.

    .venv/bin/python tools/check_coverage.py [arguments for pytest]

What is measured, and what is left out and why: pyproject.toml, [tool.coverage], and docs/testing.md. Of a process
that is killed nothing is known, and the code that is unpacked from the zip is not looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Where pyproject.toml has the processes put their data.
_DATA = ROOT / ".run" / "coverage"
_AT_LEAST_PERCENT = 95.0
_WORKERS = os.environ.get("PYTEST_WORKERS", "2")
_TESTS = ("-m", "pytest", "-n", _WORKERS, "--dist", "loadgroup")


def main() -> int:
    """Run, combine, print the table. Returns the exit code: of the tests, or 1 when too little is covered."""
    shutil.rmtree(_DATA, ignore_errors=True)
    _DATA.mkdir(parents=True)
    tests = _coverage("run", *_TESTS, *sys.argv[1:])
    _coverage("combine", "--quiet")
    for part in _DATA.glob("data.*"):
        # Of a process that was killed while it wrote: it cannot be read, and stands in the way of the report.
        part.unlink()
    report = _DATA / "coverage.json"
    steps = (("report", "--skip-covered", "--show-missing"), ("json", "--quiet", "-o", str(report)))
    if any(_coverage(*step) for step in steps):
        return 1
    return tests or _enough(report)


def _coverage(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT).returncode


def _enough(report: Path) -> int:
    """Whether both figures are high enough: of lines, and of branches alone, which the table only has together."""
    totals = json.loads(report.read_text())["totals"]
    well = True
    for what, covered, of in (
        ("statements", totals["covered_lines"], totals["num_statements"]),
        ("branches", totals["covered_branches"], totals["num_branches"]),
    ):
        percent = 100.0 * covered / of
        well = well and percent >= _AT_LEAST_PERCENT
        print(f"{what}: {covered} of {of}, {percent:.2f} % (at least {_AT_LEAST_PERCENT:g} % are wanted)")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
