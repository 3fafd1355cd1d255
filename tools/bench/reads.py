"""Reads, as application instances do them: from the library's copy, from Redis, and as others do."""

from __future__ import annotations

from .measure import Series, Spread, take_turns
from .place import Python
from .results import Bench, Row

# The library's defaults: how old a copy may be (seconds), and what one read of Redis is made of.
_MAX_AGE_S = 5.0
_COMMANDS = 2
_READERS = 10_000
_STEPS = {"cached": 20_000, "new connection": 60}
_USUAL_STEPS = 200


def run(bench: Bench) -> None:
    """Reads on every Python, and what ten thousand readers ask of Redis."""
    for python in bench.pythons:
        _reads(bench, python)


def _reads(bench: Bench, python: Python) -> None:
    port = bench.redis.port
    bench.redis.fill(1)
    subjects = {
        "cached": bench.worker(python, "reader", redis=port, max_age_s=60),
        "uncached": bench.worker(python, "reader", redis=port, max_age_s=0),
        "new connection": bench.worker(python, "connect_and_get", redis=port),
        "redis-py GET": bench.worker(python, "redis_get", redis=port),
        "bare socket GET": bench.worker(python, "bare_get", redis=port),
    }
    if bench.peers:
        subjects["wechatpy"] = bench.worker(python, "wechatpy", redis=port)
    steps = {name: _STEPS.get(name, _USUAL_STEPS) for name in subjects}
    for name, worker in subjects.items():
        worker.steps(min(steps[name], 20))
    turns = {name: lambda w=worker, n=steps[name]: w.steps(n) for name, worker in subjects.items()}
    found = take_turns(bench.rounds(9, 31), turns)
    _ratios(bench, python, found)
    if python == bench.newest:
        _load(bench, lambda: subjects["uncached"].steps(3000))
    for worker in subjects.values():
        worker.stop()


def _ratios(bench: Bench, python: Python, found: dict[str, Series]) -> None:
    figures = {name: (series.spread(), "us") for name, series in found.items()}
    wanted = [
        ("cached read", "new connection", "cached", 1000.0),
        ("uncached read", "new connection", "uncached", 5.0),
        ("cached read", "wechatpy", "cached", None),
        ("uncached read", "wechatpy", "uncached", None),
    ]
    for title, other, mine, limit in wanted:
        if other in found:
            ratio = found[other].over(found[mine])
            of = f"{other} over ours"
            bench.add(Row("reads", f"{title}, CPU", python.version, ratio, of, at_least=limit, figures=figures))
            figures = {}
    cached = found["cached"].spread("wall")
    title = "cached read, microseconds"
    bench.add(Row("reads", title, python.version, cached.scaled(1e6), "1 microsecond", at_most=1.0))


def _load(bench: Bench, many_reads) -> None:  # type: ignore[no-untyped-def]
    """Arithmetic from the age of copies, with what one read was measured to cost the server."""
    each: list[float] = []
    for _ in range(bench.rounds(2, 5)):
        before = bench.redis.cpu_s()
        many_reads()
        each.append((bench.redis.cpu_s() - before) / 3000)
    reads_per_s = _READERS / _MAX_AGE_S
    busy = Spread.of(each).scaled(reads_per_s)
    figures = {
        "reads of Redis per second": (reads_per_s, ""),
        "commands per second": (reads_per_s * _COMMANDS, ""),
        "server CPU per read": (Spread.of(each), "us"),
    }
    title = f"Redis under {_READERS:,} readers of one code each, share of one core"
    bench.add(Row("reads", title, bench.newest.version, busy, "one core", figures=figures))
