"""What a warm instance and a reader do again and again, measured by pyperf. Started by bench.py, once for each tree.

BENCH_CONFIGS names configuration files of 1 and more applications, separated by colons; BENCH_FAR_CONFIG another one,
of a platform with a latency; BENCH_REDIS_URL is the database that they name.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pyperf
import redis
import yaml

from support import cron_pattern

_TICK = b'{"triggerName": "timer", "payload": ""}'
_AUDIT = b'{"action": "audit"}'


Make = Callable[[], Callable[[], Any]]


def main() -> None:
    """Each of pyperf's processes comes here; it measures what it is asked for."""
    runner = pyperf.Runner()
    configs = os.environ["BENCH_CONFIGS"].split(":")
    # Reports are written by others' code, and go nowhere here.
    logging.disable(logging.CRITICAL)
    for path in configs:
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        apps = len(config["app_info"])
        many = f"{apps} application{'s' if apps > 1 else ''}"
        measured: dict[str, tuple[Make, Make | None]] = {
            f"warm tick, {many}": (partial(_tick, path, apps), partial(_cron, path)),
            # Whatever is stored is gone before each.
            f"refresh, {many}": (partial(_refresh, path, apps), partial(_cron, path, emptied=True)),
            f"audit, {many}": (partial(_audit, path, apps), None),
        }
        # The task knows no other database.
        of_cron = not config["storage_redis"]["db"]
        for name, (make, make_cron) in measured.items():
            runner.bench_time_func(name, _timed(make))
            if make_cron and of_cron:
                runner.bench_time_func(f"cron: {name}", _timed(make_cron))
    far = os.environ["BENCH_FAR_CONFIG"]
    runner.bench_time_func(
        f"refresh, {many}, 50 ms away: time", _timed(partial(_refresh, far, apps), time.perf_counter)
    )
    runner.bench_time_func("cached read", _timed(partial(_reader, config["app_info"][0]["app_id"])))


def _timed(make: Make, clock: Callable[[], float] = time.process_time) -> Callable[[int], float]:
    """So many steps' CPU, or time (seconds). The step is made by the process that measures it, and by no other."""
    kept: list[Callable[[], Any]] = []

    def measured(loops: int) -> float:
        if not kept:
            kept.append(make())
        step = kept[0]
        began = clock()
        for _ in range(loops):
            step()
        return clock() - began

    return measured


def _function(path: str) -> Callable[[bytes], Any]:
    """The handler of a warm instance; returns the summary of its report."""
    os.environ["CONFIG_FILE"] = path
    import index

    context = SimpleNamespace(function=SimpleNamespace(timeout=600))
    index.initialize(context)
    return lambda event: index.handler(event, context)["summary"]


def _tick(path: str, apps: int) -> Callable[[], Any]:
    """A tick with nothing due."""
    handler = _function(path)
    # The first one fetches what is due, and asks about it.
    handler(_TICK)
    _expect(handler(_TICK), "FRESH", 2 * apps)
    return partial(handler, _TICK)


def _refresh(path: str, apps: int) -> Callable[[], Any]:
    """A tick that fetches everything, since Redis is empty."""
    handler, client = _function(path), redis.Redis.from_url(os.environ["BENCH_REDIS_URL"])
    client.flushdb()
    _expect(handler(_TICK), "MISSING", 2 * apps)
    return lambda: (client.flushdb(), handler(_TICK))


def _audit(path: str, apps: int) -> Callable[[], Any]:
    """Two questions for each application."""
    handler = _function(path)
    handler(_TICK)
    _expect(handler(_AUDIT), "FRESH", 2 * apps)
    return partial(handler, _AUDIT)


def _expect(summary: dict[str, int], reason: str, targets: int) -> None:
    if summary.get(reason) != targets:
        raise SystemExit(f"not each of {targets} credentials is {reason}: {summary}")


def _cron(path: str, *, emptied: bool = False) -> Callable[[], Any]:
    config, client = cron_pattern.configured(path)
    if emptied:
        return lambda: (client.flushdb(), cron_pattern.tick(config, client))
    return lambda: cron_pattern.tick(config, client)


def _reader(app_id: str) -> Callable[[], Any]:
    """A read of the library's copy."""
    from token_refresher import Reader

    reader = Reader.from_url(os.environ["BENCH_REDIS_URL"], max_age_s=60)
    return partial(reader.access_token, app_id)


if __name__ == "__main__":
    main()
