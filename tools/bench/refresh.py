"""Refreshes: everything is due, and the platform answers after 0, 20 or 50 ms."""

from __future__ import annotations

from .measure import BenchError, Sample, Series, Spread, Worker, take_turns
from .place import Python
from .results import Bench, Row
from .servers import configuration

_LATENCIES_MS = (0, 20, 50)
_FAR_MS = 50


def fetched(bench: Bench, worker: Worker, codes: int) -> Sample:
    """One step of a worker with nothing stored. Raises BenchError when it did not fetch everything."""
    bench.redis.empty()
    found = worker.steps(1)
    told = found["told"]
    count = told.get("issued", 0) if isinstance(told, dict) else told
    if count != codes:
        raise BenchError(f"{count} codes were fetched instead of {codes}: {told}")
    return found


def run(bench: Bench) -> None:
    """One application on every Python, many on the newest; both also with TLS."""
    for python in bench.pythons:
        for latency_ms in _LATENCIES_MS:
            if not bench.quick or (latency_ms == _FAR_MS and python == bench.newest):
                _one(bench, python, latency_ms, tls=False)
    _many(bench, bench.newest, tls=False)
    _audit(bench, bench.newest)
    try:
        bench.certificates()
    except LookupError as error:
        bench.notes.append(str(error))
    else:
        _one(bench, bench.newest, _FAR_MS, tls=True)
        _many(bench, bench.newest, tls=True)


def _subjects(
    bench: Bench, python: Python, latency_ms: float, apps: int, cron_apps: int, tls: bool
) -> dict[str, Worker]:
    port = bench.platform(latency_ms, tls=tls).port
    url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    ca = str(bench.certificates()[0]) if tls else ""
    config = configuration(bench.directory / f"cron-{cron_apps}.yaml", bench.redis.port, url, cron_apps)
    found = {
        "ours": bench.worker(python, "function", redis=bench.redis.port, platform=url, apps=apps, ca=ca),
        "cron": bench.worker(python, "cron", config=str(config), ca=ca),
    }
    return found | ({"bare": bench.worker(python, "bare_fetch", port=port, ca=ca)} if apps == 1 else {})


def _one(bench: Bench, python: Python, latency_ms: float, *, tls: bool) -> None:
    subjects = _subjects(bench, python, latency_ms, 1, 1, tls)
    for worker in subjects.values():
        fetched(bench, worker, 2)  # the first step imports
    turns = {name: lambda w=worker: fetched(bench, w, 2) for name, worker in subjects.items()}
    found = take_turns(bench.rounds(7, 25), turns)
    for what, limit in (("wall", 1.15 if latency_ms == _FAR_MS else None), ("cpu", None)):
        title = f"refresh of 1 application at {latency_ms} ms{' with TLS' if tls else ''}, {what}"
        figures = {name: (series.spread(what), "ms") for name, series in found.items()}
        ratio = found["ours"].over(found["bare"], what)
        bench.add(Row("refresh", title, python.version, ratio, "two bare round trips", limit, figures=figures))
        ratio = found["ours"].over(found["cron"], what)
        bench.add(Row("refresh", title, python.version, ratio, "cron"))
    if latency_ms == _FAR_MS and not tls and python == bench.newest:
        bench.curves.setdefault("all due", []).append((1, found["ours"].spread("wall").median, True))
    for worker in subjects.values():
        worker.stop()


def _many(bench: Bench, python: Python, *, tls: bool) -> None:
    """100 and 1,000 applications; the cron pattern with so many that it ends in time, and the rest by proportion."""
    cron_apps = 20 if bench.quick else 100
    sizes = (100,) if bench.quick or tls else (10, 100, 1000)
    cron_wall: dict[str, Spread] = {}
    for apps in sizes:
        subjects = _subjects(bench, python, _FAR_MS, apps, cron_apps, tls)
        found = {"ours": Series(), "cron": Series()}
        fetched(bench, subjects["ours"], 2 * apps)
        for _ in range(bench.rounds(2, 3)):
            found["ours"].samples.append(fetched(bench, subjects["ours"], 2 * apps))
            if apps == 100 or not found["cron"].samples:
                found["cron"].samples.append(fetched(bench, subjects["cron"], 2 * cron_apps))
        cron = {what: found["cron"].spread(what).scaled(1 / cron_apps) for what in ("cpu", "wall")}
        cron_wall = cron
        _row_of_many(bench, python, apps, found["ours"], cron, cron_apps, tls)
        if not tls:
            bench.curves.setdefault("all due", []).append((apps, found["ours"].spread("wall").median, True))
        for worker in subjects.values():
            worker.stop()
    if not tls:
        each = cron_wall["wall"].median
        bench.curves["all due, cron"] = [(n, each * n, n == cron_apps) for n in (1, 10, 100, 1000)]
        _concurrency(bench, python)


def _row_of_many(
    bench: Bench, python: Python, apps: int, ours: Series, cron: dict[str, Spread], cron_apps: int, tls: bool
) -> None:
    how = "measured" if apps == cron_apps else f"by proportion from {cron_apps}"
    for what in ("wall", "cpu"):
        each = ours.spread(what).scaled(1 / apps)
        ratio = Spread(cron[what].median / each.median, cron[what].low / each.high, cron[what].high / each.low, each.n)
        limit = 25 if what == "wall" and apps >= 100 and not tls else None
        title = f"refresh of {apps:,} applications at {_FAR_MS} ms{' with TLS' if tls else ''}, {what}"
        figures = {
            "ours": (ours.spread(what), "s"),
            "ours per application": (each, "ms"),
            f"cron per application ({how})": (cron[what], "ms"),
        }
        bench.add(Row("refresh", title, python.version, ratio, "cron over ours", at_least=limit, figures=figures))


def _audit(bench: Bench, python: Python) -> None:
    """What the audit adds every four minutes: one question about each code."""
    url, apps = f"http://127.0.0.1:{bench.platform(_FAR_MS).port}", 100
    known = {"redis": bench.redis.port, "platform": url, "apps": apps}
    first = bench.worker(python, "function", **known)
    fetched(bench, first, 2 * apps)
    first.stop()
    worker = bench.worker(python, "function", **known, action="audit")
    found = Series()
    for _ in range(bench.rounds(3, 5) + 1):
        found.samples.append(worker.steps(1))
        if found.samples[-1]["told"].get("questions") != 2 * apps:
            raise BenchError(f"an audit asked something else: {found.samples[-1]['told']}")
    del found.samples[0]  # it imports
    figures = {
        "wall": (found.spread("wall"), "ms"),
        "CPU": (found.spread(), "ms"),
        "CPU per question": (found.spread().scaled(1 / (2 * apps)), "ms"),
    }
    title = f"audit of {apps} applications at {_FAR_MS} ms: {2 * apps} questions"
    bench.add(Row("refresh", title, python.version, figures=figures))
    worker.stop()


def _concurrency(bench: Bench, python: Python) -> None:
    """What more applications at once would bring."""
    url = f"http://127.0.0.1:{bench.platform(_FAR_MS).port}"
    apps = 100
    subjects = {
        f"{number} at once": bench.worker(
            python, "function", redis=bench.redis.port, platform=url, apps=apps, concurrency=number
        )
        for number in (8, 16, 32, 64)
    }
    for worker in subjects.values():
        fetched(bench, worker, 2 * apps)
    turns = {name: lambda w=worker: fetched(bench, w, 2 * apps) for name, worker in subjects.items()}
    found = take_turns(bench.rounds(1, 5), turns)
    for what in ("wall", "cpu"):
        figures = {name: (series.spread(what), "ms") for name, series in found.items()}
        title = f"refresh of {apps} applications at {_FAR_MS} ms by POLICY_CONCURRENCY, {what}"
        bench.add(Row("refresh", title, python.version, figures=figures))
    for worker in subjects.values():
        worker.stop()
