"""Warm ticks with nothing due: one application against round trips, many against the cron pattern, and memory."""

from __future__ import annotations

from .measure import BenchError, Sample, Series, Spread, Worker, take_turns
from .place import Python
from .results import Bench, Row
from .servers import configuration

# How far away a Redis in the same region is, roughly: answers are held back by this much (ms).
_NETWORK_MS = 1.0
# Steps of one turn: long enough for the clock, short enough that neighbours share the noise.
_TURN_S = 0.05


def ticks(worker: Worker, apps: int, steps: int) -> Sample:
    """So many ticks of ours. Raises BenchError when anything was due."""
    found = worker.steps(steps)
    if found["told"].get("FRESH") != 2 * apps:
        raise BenchError(f"something was due, or not found, in a tick where nothing should be: {found['told']}")
    return found


def turns(subjects: dict[str, Worker], rounds: int, apps: int = 1) -> dict[str, Series]:
    """Interleaved turns of these workers; each does as many steps as fit into a turn."""
    steps = {}
    for name, worker in subjects.items():
        worker.steps(2)
        steps[name] = max(1, round(_TURN_S / worker.steps(3)["wall"]))

    def one(name: str, worker: Worker) -> Sample:
        return ticks(worker, apps, steps[name]) if name == "ours" else worker.steps(steps[name])

    return take_turns(rounds, {name: lambda n=name, w=worker: one(n, w) for name, worker in subjects.items()})


def run(bench: Bench) -> None:
    """One application on every Python; many on the newest."""
    for python in bench.pythons:
        bench.redis.fill(1)
        _one(bench, python, bench.redis.port, "")
    _one(bench, bench.newest, bench.delayed_redis(_NETWORK_MS).port, f", Redis {_NETWORK_MS:g} ms away")
    _many(bench, bench.newest)
    _reading_settings(bench, bench.newest)


def _one(bench: Bench, python: Python, port: int, where: str) -> None:
    config = configuration(bench.directory / "one.yaml", port, "http://127.0.0.1:9", 1)
    subjects = {
        "ours": bench.worker(python, "function", redis=port),
        "redis-py GET": bench.worker(python, "redis_get", redis=port),
        "redis-py, same scripts": bench.worker(python, "redis_scripts", redis=port),
        "bare socket, same bytes": bench.worker(python, "bare_scripts", redis=port),
        "bare socket GET": bench.worker(python, "bare_get", redis=port),
        "cron": bench.worker(python, "cron", config=str(config)),
    }
    found = turns(subjects, bench.rounds(9, 41))
    for what in ("cpu", "wall"):
        figures = {name: (series.spread(what), "us") for name, series in found.items()}
        for other in ("redis-py GET", "redis-py, same scripts", "bare socket, same bytes"):
            limit = 1.3 if other == "redis-py GET" else None
            title = f"warm tick, nothing due, 1 application{where}, {what}"
            ratio = found["ours"].over(found[other], what)
            bench.add(Row("warm", title, python.version, ratio, other, limit, figures=figures))
            figures = {}
    if port == bench.redis.port and python == bench.newest:
        _server_cost(bench, subjects["bare socket, same bytes"])
    for worker in subjects.values():
        worker.stop()


def _server_cost(bench: Bench, worker: Worker) -> None:
    """What the two scripts of one application cost Redis."""
    ticks_done, each = 2000, []
    for _ in range(bench.rounds(2, 5)):
        before = bench.redis.cpu_s()
        worker.steps(ticks_done)
        each.append((bench.redis.cpu_s() - before) / ticks_done)
    figures = {"server CPU": (Spread.of(each), "us")}
    bench.add(Row("warm", "Redis's own work in a tick, for each application", bench.newest.version, figures=figures))


def _many(bench: Bench, python: Python) -> None:
    """Applications by the hundred, against the cron pattern with 100."""
    port = bench.redis.port
    bench.redis.fill(10_000)
    config = configuration(bench.directory / "hundred.yaml", port, "http://127.0.0.1:9", 100)
    cron = bench.worker(python, "cron", config=str(config))
    cron.steps(1)
    for apps in (1, 10, 100, 1000, 10_000):
        bench.redis.fill(apps)
        ours = bench.worker(python, "function", redis=port, apps=apps)
        ticks(ours, apps, 1)
        rounds = bench.rounds(2, 7) if apps == 10_000 else bench.rounds(5, 21)
        steps = max(1, 100 // apps)
        subjects = {"ours": lambda w=ours, a=apps, s=steps: ticks(w, a, s), "cron": lambda: cron.steps(1)}
        bench.redis.fill(max(apps, 100))
        found = take_turns(rounds, subjects)
        _row_of_many(bench, python, apps, found)
        bench.curves.setdefault("nothing due", []).append((apps, found["ours"].spread("wall").median, True))
        ours.stop()
    _far_away(bench, python)
    at_100 = found["cron"].spread("wall").median
    bench.curves["nothing due, cron"] = [(n, at_100 * n / 100, n == 100) for n in (1, 10, 100, 1000, 10_000)]
    cron.stop()


def _far_away(bench: Bench, python: Python) -> None:
    """100 applications, with a network between here and Redis: what one pipeline is for."""
    port, apps = bench.delayed_redis(_NETWORK_MS).port, 100
    config = configuration(bench.directory / "far.yaml", port, "http://127.0.0.1:9", apps)
    bench.redis.fill(apps)
    ours = bench.worker(python, "function", redis=port, apps=apps)
    cron = bench.worker(python, "cron", config=str(config))
    cron.steps(1)
    ticks(ours, apps, 1)
    turns_of = {"ours": lambda: ticks(ours, apps, 1), "cron": lambda: cron.steps(1)}
    found = take_turns(bench.rounds(3, 11), turns_of)
    figures = {name: (series.spread("wall"), "ms") for name, series in found.items()}
    title = f"warm tick, nothing due, 100 applications, Redis {_NETWORK_MS:g} ms away, wall"
    ratio = found["cron"].over(found["ours"], "wall")
    bench.add(Row("warm", title, python.version, ratio, "cron over ours", at_least=20, figures=figures))
    ours.stop()
    cron.stop()


def _row_of_many(bench: Bench, python: Python, apps: int, found: dict[str, Series]) -> None:
    if apps < 100:
        return
    figures = {}
    for what in ("cpu", "wall"):
        ratio = found["cron"].over(found["ours"], what, 100 / apps)
        figures = {
            f"ours {what}": (found["ours"].spread(what), "ms"),
            f"ours {what} per application": (found["ours"].spread(what).scaled(1 / apps), "us"),
            f"cron {what} per application": (found["cron"].spread(what).scaled(1 / 100), "us"),
        }
        limit = 20 if apps == 100 and what == "wall" else None
        title = f"warm tick, nothing due, {apps:,} applications, {what} per application"
        bench.add(Row("warm", title, python.version, ratio, "cron over ours", at_least=limit, figures=figures))
    if apps == 10_000:
        cpu = found["ours"].spread()
        title = "warm tick, nothing due, 10,000 applications, seconds of CPU"
        bench.add(Row("warm", title, python.version, cpu, "1 s", at_most=1.0, figures={"ours": (cpu, "s")}))


def _reading_settings(bench: Bench, python: Python) -> None:
    """What an instance pays once for a file of many applications."""
    for apps in (100, 1000) if bench.quick else (100, 1000, 10_000):
        path = configuration(bench.directory / "many.yaml", 1, "http://127.0.0.1:9", apps)
        ours = bench.worker(python, "settings", path=str(path))
        cron = bench.worker(python, "plain_settings", path=str(path))
        subjects = {"ours": lambda w=ours: w.steps(1), "cron": lambda w=cron: w.steps(1)}
        found = take_turns(1 if apps > 1000 or bench.quick else 3, subjects)
        figures = {name: (series.spread(), "ms") for name, series in found.items()}
        title = f"reading a file of {apps:,} applications, CPU, once per instance"
        bench.add(Row("warm", title, python.version, found["ours"].over(found["cron"]), "cron", figures=figures))
        ours.stop()
        cron.stop()


def memory(bench: Bench) -> None:
    """Peak of a process from its start to its end."""
    for apps in (1, 10_000):
        bench.redis.fill(apps)
        peaks = [_peak(bench, apps, due=False) for _ in range(bench.rounds(1, 3))]
        title = f"peak with {apps:,} application{'s' if apps > 1 else ''}, nothing due"
        _peak_row(bench, title, peaks)
    bench.redis.empty()
    for apps in (100,) if bench.quick else (1000,):
        _peak_row(bench, f"peak with {apps:,} applications, all refreshed", [_peak(bench, apps, due=True)])


def _peak_row(bench: Bench, title: str, peaks: list[float]) -> None:
    found = Spread.of(peaks)
    ratio = found.scaled(1 / (128 * 1024 * 1024))
    figures = {"peak": (found, "MB")}
    bench.add(Row("memory", title, bench.newest.version, ratio, "128 MB", at_most=0.8, figures=figures))


# A worker's own text, for one step: what it needs beside the subject is a few hundred kilobytes.
_PEAK = """
import sys
sys.path.insert(0, {code!r})
sys.path.append({tools!r})
from bench import subjects
told = subjects.function(redis={redis}, platform={platform!r}, apps={apps})()
sys.exit(0 if told.get({word!r}) == {expected} else 3)
"""


def _peak(bench: Bench, apps: int, *, due: bool) -> float:
    from .cold import command_line
    from .measure import TOOLS

    platform = f"http://127.0.0.1:{bench.platform(0).port}" if due else ""
    text = _PEAK.format(
        code=str(bench.code),
        tools=str(TOOLS),
        redis=bench.redis.port,
        platform=platform,
        apps=apps,
        word="issued" if due else "FRESH",
        expected=2 * apps,
    )
    command = command_line(bench.newest, text, bench.directory / "byte-code")
    peak: float = bench.launcher.run(command, {})["peak"]
    return peak
