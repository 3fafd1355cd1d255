"""Measuring: subjects take turns (A B A B ...), so that whatever else the machine does hits them alike."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

TOOLS = Path(__file__).resolve().parents[1]
# The cron pattern is there.
TESTS = TOOLS.parent / "tests"
# A program that ends in a moment, or never: nothing that is measured takes half as long.
_PATIENCE_S = 240.0

Sample = dict[str, Any]


class BenchError(Exception):
    """The benchmark cannot go on, or what it measured did not do its work; the text says why.

    `code` is the exit code that the program ends with for it.
    """

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles over `n` samples."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0], len(values))
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))

    def scaled(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.n)


@dataclass
class Series:
    """The samples of one subject, round by round."""

    samples: list[Sample] = field(default_factory=list)

    def spread(self, what: str = "cpu") -> Spread:
        """Of "cpu", "wall" (seconds) or "peak" (bytes)."""
        return Spread.of([each[what] for each in self.samples])

    def over(self, other: Series, what: str = "cpu", times: float = 1.0) -> Spread:
        """The ratio of this to `times` the other, taken round by round: neighbours in time share the noise."""
        pairs = zip(self.samples, other.samples, strict=True)
        return Spread.of([mine[what] / (theirs[what] * times) for mine, theirs in pairs])


def take_turns(rounds: int, subjects: Mapping[str, Callable[[], Sample]]) -> dict[str, Series]:
    """Every subject once in each round. The first to go changes from round to round."""
    found = {name: Series() for name in subjects}
    names = list(subjects)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].samples.append(subjects[name]())
    return found


class Talker:
    """A process that answers each line with a line; ended by `stop`, or when it does not answer."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, text=True, start_new_session=True
        )
        self.pid = self._process.pid

    def ask(self, question: object) -> Any:
        """Send it as JSON and return the answer. Raises BenchError when the process has ended."""
        assert self._process.stdin  # noqa: S101 - for the type checker
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"a process has ended: {self._process.args}") from None
        return self.hear()

    def hear(self) -> Any:
        """The next line, from JSON. Raises BenchError when the process has ended."""
        assert self._process.stdout  # noqa: S101 - for the type checker
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"a process has ended: {self._process.args}")
        return json.loads(line)

    def stop(self) -> None:
        """Let it end by itself; kill it when it does not."""
        for end in (self._process.stdin, self._process.stdout):
            if end:
                end.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class Launcher(Talker):
    """Starts whole programs and measures them from outside."""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))])

    def run(self, command: Sequence[str], environ: Mapping[str, str], code: int | None = 0) -> Sample:
        """CPU, wall and peak of one run. Raises BenchError when it ends with another exit code than `code`."""
        found: Sample = self.ask({"command": list(command), "environ": dict(environ)})
        if code is not None and found["code"] != code:
            raise BenchError(f"exit code {found['code']} instead of {code}: {' '.join(command)[:2000]}")
        return found


class Worker(Talker):
    """One subject in a process of its own. `ready` is what it cost to get there (CPU seconds)."""

    def __init__(self, python: str, code: Path, subject: str, besides: Sequence[Path] = (), **options: Any) -> None:
        paths = os.pathsep.join(str(path) for path in (*besides, TOOLS, TESTS))
        worker = str(Path(__file__).with_name("worker.py"))
        # Not beside the code: a cold start "as from the zip" must find none there.
        kept = ["-X", f"pycache_prefix={code.parent / 'byte-code'}"]
        command = [python, "-I", "-S", *kept, worker, str(code), paths, subject, json.dumps(options)]
        super().__init__(command, {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"})
        self.ready: float = self.hear()["ready"]

    def steps(self, n: int) -> Sample:
        """Mean CPU and wall seconds of `n` steps, and what the last one told."""
        found: Sample = self.ask({"n": n})
        return found
