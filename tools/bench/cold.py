"""Cold start: a whole process, from its start through imports and settings to the end of a tick with nothing due."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .measure import TESTS, TOOLS, Sample, Series, Spread, take_turns
from .place import Python
from .results import Bench, Row
from .servers import configuration
from .subjects import environment

# The exit code 0 says that the tick found both codes fresh, and fetched nothing.
OURS = """
import sys
sys.path.insert(0, {code!r})
import index
from types import SimpleNamespace
event = b'{{"triggerTime": "2026-01-01T00:00:00Z", "triggerName": "timer", "payload": ""}}'
told = index.handler(event, SimpleNamespace(function=SimpleNamespace(timeout=60)))
sys.exit(0 if told["summary"].get("FRESH") == {codes} else 3)
"""
CRON = """
import sys
sys.path.insert(0, {code!r})
sys.path.append({tests!r})
from support import cron_pattern as cron
sys.exit(cron.tick(*cron.configured({config!r})))
"""
WECHATPY = """
import sys
sys.path.insert(0, {code!r})
sys.path[1:1] = [{peers!r}, {tools!r}]
from bench import subjects
sys.exit(subjects.wechatpy({redis})() != 64)
"""
NOTHING = "pass"
REDIS_PY = "import sys; sys.path.insert(0, {code!r}); import redis"


def commands(bench: Bench, config: Path, apps: int = 1) -> dict[str, tuple[str, dict[str, str]]]:
    """What is started, by name: a program's text and its environment."""
    known = {"code": str(bench.code), "tools": str(TOOLS), "tests": str(TESTS)}
    known |= {"config": str(config), "codes": 2 * apps}
    found = {
        "ours": (OURS, environment(bench.redis.port, "http://127.0.0.1:9")),
        "ours, from the file": (OURS, {"CONFIG_FILE": str(config)}),
        "cron": (CRON, {}),
        "python alone": (NOTHING, {}),
        "import redis": (REDIS_PY, {}),
    }
    if bench.peers:
        found["wechatpy"] = (WECHATPY, {})
        known |= {"peers": str(bench.peers), "redis": bench.redis.port}
    return {name: (text.format(**known), environ) for name, (text, environ) in found.items()}


def command_line(python: Python, text: str, cache: Path | None) -> list[str]:
    """The command for a program's text; `cache` holds the byte code of what it imports, None: compiled every time."""
    kept = ["-X", f"pycache_prefix={cache}"] if cache else ["-B"]
    return [python.path, "-I", "-S", *kept, "-c", text]


def run(bench: Bench) -> None:
    """Cold starts on every Python, with and without byte code at hand; then what is imported."""
    config = configuration(bench.directory / "one.yaml", bench.redis.port, "http://127.0.0.1:9", 1)
    programs = commands(bench, config)
    bench.redis.fill(1)
    for python in bench.pythons:
        cache = bench.directory / "byte-code"
        for text, environ in programs.values():
            bench.launcher.run(command_line(python, text, cache), environ)
        _rows(bench, python, _measure(bench, python, programs, cache, bench.rounds(4, 21)), "byte code at hand", 0.5)
        chosen = {name: programs[name] for name in ("ours", "ours, from the file", "cron")}
        series = _measure(bench, python, chosen, None, bench.rounds(2, 7))
        _rows(bench, python, series, "compiled anew, as from the zip", None)
        _imports(bench, python, programs["ours"], cache)
    _instructions(bench, {name: programs[name] for name in ("ours", "ours, from the file", "cron")})


def _measure(
    bench: Bench, python: Python, programs: Mapping[str, tuple[str, dict[str, str]]], cache: Path | None, rounds: int
) -> dict[str, Series]:
    def one(text: str, environ: dict[str, str]) -> Callable[[], Sample]:
        return lambda: bench.launcher.run(command_line(python, text, cache), environ)

    return take_turns(rounds, {name: one(*program) for name, program in programs.items()})


def _rows(bench: Bench, python: Python, found: Mapping[str, Series], state: str, at_most: float | None) -> None:
    cpu = {name: (series.spread(), "ms") for name, series in found.items()}
    for name in ("ours", "ours, from the file"):
        how = "settings from the environment" if name == "ours" else "settings from the file"
        ratio = found[name].over(found["cron"])
        what = f"cold start, {how}, {state}"
        bench.add(Row("cold", what, python.version, ratio, "CPU of the cron pattern", at_most, figures=cpu))
    if "wechatpy" in found:
        ratio = found["ours"].over(found["wechatpy"])
        bench.add(Row("cold", f"cold start, {state}", python.version, ratio, "CPU of reading through wechatpy"))
    peak = {name: (series.spread("peak"), "MB") for name, series in found.items()}
    if at_most is not None:
        bench.add(Row("memory", "peak of a cold start", python.version, figures=peak))


# -- what is imported ----------------------------------------------------------------------------

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)")
# Each module's least time over these runs: what is more is the machine's.
_RUNS = 3


def _imports(bench: Bench, python: Python, program: tuple[str, dict[str, str]], cache: Path) -> None:
    """Time of imports on the path of a tick with nothing due, summed by top-level package, into the details."""
    least: dict[str, int] = {}
    line = command_line(python, program[0], cache)
    for _ in range(_RUNS):
        done = subprocess.run([line[0], "-X", "importtime", *line[1:]], env=program[1], capture_output=True, text=True)
        for micros, module in _LINE.findall(done.stderr):
            least[module] = min(int(micros), least.get(module, int(micros)))
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for module, micros in least.items():
        sums[module.partition(".")[0]] += micros
        counts[module.partition(".")[0]] += 1
    found = {top: {"ms": round(micros / 1000, 2), "modules": counts[top]} for top, micros in sums.most_common()}
    bench.details.setdefault("imports", {})[python.version] = found
    shown = {name: (sums[name] / 1e6, "ms") for name, _ in sums.most_common(6)}
    total = sum(sums.values()) / 1e6
    what = f"imports of a cold start ({len(least)} modules)"
    bench.add(Row("imports", what, python.version, figures={"all": (total, "ms"), **shown}))


# -- instructions --------------------------------------------------------------------------------


def _counter() -> tuple[str, list[str], str] | None:
    """What counts instructions here: its name, its command, and how its result looks."""
    if shutil.which("perf"):
        done = subprocess.run(["perf", "stat", "-e", "instructions:u", "true"], capture_output=True, text=True)
        if done.returncode == 0 and "not supported" not in done.stderr and "not counted" not in done.stderr:
            return "perf", ["perf", "stat", "-e", "instructions:u"], r"([\d,]+)\s+instructions"
    if shutil.which("valgrind"):
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        return "valgrind", command, r"I\s+refs:\s+([\d,]+)"
    return None


def _instructions(bench: Bench, programs: Mapping[str, tuple[str, dict[str, str]]]) -> None:
    """Instructions of a cold start: the same on a busy machine as on an idle one."""
    counter = _counter()
    if counter is None:
        bench.notes.append("neither perf nor valgrind counts instructions here: not counted")
        return
    name, command, pattern = counter
    if bench.quick and name == "valgrind":
        bench.notes.append("instructions are counted by valgrind here, which is slow: only with --full")
        return
    for python in bench.pythons:
        count = {
            each: _counted([*command, *command_line(python, text, bench.directory / "byte-code")], environ, pattern)
            for each, (text, environ) in programs.items()
        }
        figures = {each: (found / 1e6, "") for each, found in count.items()}
        for each in ("ours", "ours, from the file"):
            what = f"cold start, million instructions ({name}), {each}"
            ratio = count[each] / count["cron"]
            bench.add(Row("cold", what, python.version, _single(ratio), "the cron pattern", 0.5, figures=figures))


def _single(value: float) -> Spread:
    return Spread(value, value, value, 1)


def _counted(command: Sequence[str], environ: Mapping[str, str], pattern: str) -> int:
    done = subprocess.run(list(command), env={"PATH": "/usr/bin:/bin", **environ}, capture_output=True, text=True)
    found = re.search(pattern, done.stderr)
    if not found:
        raise LookupError(f"{command[0]} said nothing that was expected: {done.stderr[-300:]}")
    return int(found[1].replace(",", ""))
