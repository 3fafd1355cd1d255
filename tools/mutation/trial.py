"""Mutants on trial: a copy of the tree, and pytest in a process forked from one that has everything imported."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .mutants import Mutant
from .nursery import Nursery
from .plugin import FOUND, TRACE, WANTED

_COPIED = ("src", "tests", "tools", "docs", "examples", "pyproject.toml", "requirements.txt")
# A mutant that goes on for ever.
_SLACK_S, _TIMES = 15.0, 4.0
_LONGEST_S = 1800
PASSED, NONE_RUN = 0, 5


class Trace(NamedTuple):
    """How many seconds each test takes, and which tests run which line of which file of the package."""

    seconds: dict[str, float]
    lines: dict[str, dict[str, list[str]]]

    def of(self, mutant: Mutant, finders: Counter[str]) -> list[str]:
        """The tests that run a mutant: first those that found the most so far, then the quick ones."""
        known = self.lines.get(Path(mutant.file).name, {})
        lines = [str(line) for line in range(mutant.first, mutant.last + 1) if str(line) in known]
        # What runs at import, and what is no Python, concerns all.
        some = bool(known) and all(known[line] for line in lines)
        tests = {test for line in lines for test in known[line]} if some else set(self.seconds)
        return sorted(tests, key=lambda test: (-finders[test], self.seconds[test]))


class Court:
    """The copy of the tree, in which one file at a time is changed."""

    def __init__(self, root: Path, directory: Path) -> None:
        self._tree = directory / "tree"
        self._directory = directory
        # What pytest said last.
        self.output = directory / "output.txt"
        shutil.rmtree(self._tree, ignore_errors=True)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in _COPIED:
            source, target = root / name, self._tree / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=ignored)
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        (self._tree / ".tools").symlink_to(root / ".tools")
        self._writes = 0
        # How many mutants each test has found.
        self.finders: Counter[str] = Counter()
        self._nurseries: dict[tuple[tuple[str, ...], bool], Nursery] = {}
        self._traces: dict[tuple[str, ...], Trace] = {}

    def trace(self, tests: tuple[str, ...]) -> Trace:
        """The tests on the code as it is. Raises SystemExit when they fail."""
        if tests not in self._traces:
            path = self._directory / "trace.json"
            path.unlink(missing_ok=True)
            if self._run(tests, False, _LONGEST_S, {TRACE: str(path)}) != PASSED or not path.exists():
                raise SystemExit(f"error: {', '.join(tests)}: they fail without a mutant, see {self.output}")
            self._traces[tests] = Trace(**json.loads(path.read_text()))
        return self._traces[tests]

    def judge(self, mutant: Mutant, tests: tuple[str, ...], late: bool) -> int:
        """PASSED, TIMED_OUT, NONE_RUN, or any other number when the mutant was found; `late` as for a Nursery."""
        trace = self.trace(tests)
        wanted = trace.of(mutant, self.finders)
        usual_s = sum(trace.seconds[each] for each in wanted)
        if not wanted:
            return NONE_RUN
        found, order = self._directory / "found.txt", self._directory / "wanted.json"
        found.unlink(missing_ok=True)
        order.write_text(json.dumps(wanted))
        environ = {FOUND: str(found), WANTED: str(order)}
        path = self._tree / "src" / "token_refresher" / mutant.file
        original = path.read_text(encoding="utf-8")
        self._write(path, mutant.source)
        try:
            code = self._run(tests, late, _SLACK_S + _TIMES * usual_s, environ)
        finally:
            self._write(path, original)
        if found.exists():
            self.finders[found.read_text()] += 1
        return code

    def _write(self, path: Path, source: str) -> None:
        path.write_text(source, encoding="utf-8")
        # What Python keeps compiled goes by time and size: no two writes may have the same time.
        self._writes += 1
        os.utime(path, (1_000_000_000 + self._writes, 1_000_000_000 + self._writes))

    def _run(self, tests: tuple[str, ...], late: bool, limit_s: float, environ: dict[str, str]) -> int:
        if (tests, late) not in self._nurseries:
            files = [f"tests/test_{name}.py" for name in tests]
            self._nurseries[tests, late] = Nursery(self._tree, files, self.output, late)
        return self._nurseries[tests, late].run(limit_s, environ)

    def close(self) -> None:
        """End the sessions."""
        # Each holds what the earlier ones are spoken to by: none ends before all are told.
        for nursery in self._nurseries.values():
            nursery.tell_to_end()
        for nursery in self._nurseries.values():
            nursery.wait()


def warm() -> None:
    """Import what every session needs, so that no mutant pays for it: nothing of the package and its tests."""
    import coverage
    import hypothesis.stateful
    import pytest
    import redis.asyncio
    import redis.cluster
    import requests
    import trustme

    del coverage, hypothesis, pytest, redis, requests, trustme
