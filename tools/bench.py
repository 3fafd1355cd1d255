"""`make bench`: what a run costs, beside the plain cron task, and beside another tree. A short table.

    make bench                                             this tree; two to three minutes
    make bench BENCH_ARGS='--against /path/to/other/tree'  and how many times the other tree's cost it is

All rows but one are CPU, which other programs disturb least. A cold start is a whole process, from its start to the end
of a tick with nothing due; the rest is measured by pyperf (bench_warm.py).
Everything runs on the loopback, against a redis-server and the simulator of the platform.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyperf

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "src"), str(_ROOT / "tests")]

from platform_simulator import Simulator  # noqa: E402 - its place had to be made known first
from support.redis_server import RedisServer  # noqa: E402

_PACKAGES = sysconfig.get_path("purelib")
_COUNTS = (1, 100)
_COLD = "cold start"
# The exit code 0 says that the tick found all credentials fresh, and fetched nothing.
_OURS = """
import sys
sys.path[:0] = [{source!r}]
sys.path.append({packages!r})
import index
told = index.handler(b'{{"triggerName": "timer", "payload": ""}}', None)
sys.exit(0 if told["summary"].get("FRESH") == 2 else 3)
"""
_CRON = """
import sys
sys.path[:0] = [{tests!r}]
sys.path.append({packages!r})
from support import cron_pattern as cron
sys.exit(cron.tick(*cron.configured({config!r})))
"""


class Tree(NamedTuple):
    """A checkout, and its own database of Redis: each fills it by itself, in its own form."""

    source: Path
    database: int


class Place(NamedTuple):
    """Where everything runs: the folder for files, the server, and the platform's addresses, near and far."""

    folder: Path
    redis: RedisServer
    platform: str
    far_platform: str

    def config(self, apps: int, database: int, *, far: bool = False) -> Path:
        """A configuration file in the form that the platform publishes."""
        platform = self.far_platform if far else self.platform
        lines = [
            f"storage_redis: {{host: 127.0.0.1, port: {self.redis.port}, db: {database}}}",
            "oauth_api:",
            f"  get_server_access_token_url: '{platform}/OAuth2/token'",
            f"  get_js_ticket_url: '{platform}/OAuth2/ticket'",
            "app_info:",
            *(f"- {{app_id: {_app_id(number)}, app_secret: {_SECRET}}}" for number in range(apps)),
        ]
        path = self.folder / f"{apps}-{database}{'-far' * far}.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path


_SECRET = "made-up-for-the-benchmark"  # noqa: S105 - only the simulator takes it


def _app_id(number: int) -> str:
    return f"b{number:05d}"


def main() -> int:
    """Measure, and print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="TREE", help="another checkout, measured in turns with this")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each tree (default: %(default)s)")
    parser.add_argument("--cold-starts", type=int, default=5, help="in each turn (default: %(default)s)")
    given = parser.parse_args()
    trees = [Tree(_ROOT / "src", 0)]
    if given.against:
        trees.append(Tree(given.against.resolve() / "src", 1))
    with _place() as place:
        found = [_measured(place, trees, given) for _ in range(given.rounds)]
    print("\n".join(_table(found, len(trees))))
    return 0


@contextlib.contextmanager
def _place() -> Iterator[Place]:
    secrets = {_app_id(number): _SECRET for number in range(max(_COUNTS))}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        RedisServer() as redis,
        Simulator(secrets) as near,
        Simulator(secrets, latency_s=0.05) as far,
    ):
        yield Place(Path(folder), redis, near.url, far.url)


def _measured(place: Place, trees: list[Tree], given: argparse.Namespace) -> list[dict[str, float]]:
    """One turn of each tree: medians (seconds) by what is measured."""
    warm = [_warm(place, tree) for tree in trees]
    cold: list[dict[str, list[float]]] = [{} for _ in trees]
    # The first run of each makes the byte code, and the credentials fresh.
    for number in range(given.cold_starts + 1):
        for tree, times in zip(trees, cold, strict=True):
            for name, cpu_s in _cold(place, tree, first=not number).items():
                if number:
                    times.setdefault(name, []).append(cpu_s)
    medians = [{name: statistics.median(each) for name, each in times.items()} for times in cold]
    return [one | other for one, other in zip(medians, warm, strict=True)]


def _cold(place: Place, tree: Tree, *, first: bool) -> dict[str, float]:
    known = {"source": str(tree.source), "packages": _PACKAGES, "tests": str(_ROOT / "tests")}
    environ = {
        "APP_ID": _app_id(0),
        "APP_SECRET": _SECRET,
        "REDIS_URL": f"redis://127.0.0.1:{place.redis.port}/{tree.database}",
        "PLATFORM_BASE_URL": place.platform,
    }
    found = {_COLD: _cpu_s(_OURS.format(**known), environ, place.folder, None if first else 0)}
    # The task knows no other database.
    if not tree.database:
        config = str(place.config(1, 0))
        found[f"cron: {_COLD}"] = _cpu_s(_CRON.format(**known, config=config), {}, place.folder)
    return found


def _cpu_s(text: str, environ: dict[str, str], cache: Path, wanted: int | None = 0) -> float:
    """CPU seconds of a whole process. Raises SystemExit when it ends with another exit code (None: any)."""
    # Without the site module: an environment's own packages and their hooks are not the function's.
    command = [sys.executable, "-I", "-S", "-X", f"pycache_prefix={cache}", "-c", text]
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    process = os.posix_spawn(command[0], command, environ, file_actions=quiet)
    _, status, used = os.wait4(process, 0)
    code = os.waitstatus_to_exitcode(status)
    if wanted is not None and code != wanted:
        raise SystemExit(f"exit code {code} of a cold start:\n{text}")
    return used.ru_utime + used.ru_stime


def _warm(place: Place, tree: Tree) -> dict[str, float]:
    output = place.folder / "warm.json"
    output.unlink(missing_ok=True)
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{tree.source}:{_ROOT / 'tests'}",
        "BENCH_CONFIGS": ":".join(str(place.config(count, tree.database)) for count in _COUNTS),
        "BENCH_FAR_CONFIG": str(place.config(max(_COUNTS), tree.database, far=True)),
        "BENCH_REDIS_URL": f"redis://127.0.0.1:{place.redis.port}/{tree.database}",
    }
    command = [sys.executable, str(Path(__file__).with_name("bench_warm.py"))]
    options = ["--quiet", "--copy-env", "--processes=1", "--values=5", "--warmups=1", f"--output={output}"]
    if subprocess.run([*command, *options], env=environ).returncode:
        raise SystemExit(f"pyperf could not measure {tree.source}")
    return {each.get_name(): each.median() for each in pyperf.BenchmarkSuite.load(str(output))}


def _table(rounds: list[list[dict[str, float]]], trees: int) -> list[str]:
    """Medians over the rounds; a ratio is the median of the rounds' ratios, as neighbors in time share the noise."""
    heads = ["CPU of a", "this tree", "cron task / this tree", "this tree / other tree"][: 3 + (trees > 1)]
    rows = [heads]
    for name in (name for name in rounds[0][0] if not name.startswith("cron: ")):
        row = [name, _shown(statistics.median(each[0][name] for each in rounds))]
        cron = f"cron: {name}"
        row.append(_ratio([each[0][cron] / each[0][name] for each in rounds]) if cron in rounds[0][0] else "")
        if trees > 1:
            row.append(_ratio([each[0][name] / each[1][name] for each in rounds]))
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shown(seconds: float) -> str:
    for unit, size in (("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _ratio(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
