"""What a warm instance and a reader do again and again, measured by pyperf. Started by bench.py, once for each tree.

BENCH_CONFIGS names configuration files of 1 and more applications, separated by colons; BENCH_REDIS_URL is a reader's.
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
import yaml

from support import cron_pattern

_EVENT = b'{"triggerName": "timer", "payload": ""}'


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
        name = f"warm tick, {apps} application{'s' if apps > 1 else ''}"
        runner.bench_time_func(name, _timed(partial(_function, path, apps)))
        # The task knows no other database.
        if not config["storage_redis"]["db"]:
            runner.bench_time_func(f"cron: {name}", _timed(partial(_cron, path)))
    runner.bench_time_func("cached read", _timed(partial(_reader, config["app_info"][0]["app_id"])))


def _timed(make: Callable[[], Callable[[], Any]]) -> Callable[[int], float]:
    """So many steps' CPU (seconds). The step is made by the process that measures it, and by no other."""
    kept: list[Callable[[], Any]] = []

    def measured(loops: int) -> float:
        if not kept:
            kept.append(make())
        step = kept[0]
        began = time.process_time()
        for _ in range(loops):
            step()
        return time.process_time() - began

    return measured


def _function(path: str, apps: int) -> Callable[[], Any]:
    """The handler of a warm instance, with nothing due."""
    os.environ["CONFIG_FILE"] = path
    import index

    context = SimpleNamespace(function=SimpleNamespace(timeout=600))
    index.initialize(context)
    step = partial(index.handler, _EVENT, context)
    # The first one fetches what is due, and asks about it.
    step()
    summary = step()["summary"]
    if summary.get("FRESH") != 2 * apps:
        raise SystemExit(f"something was due in a tick where nothing should be: {summary}")
    return step


def _cron(path: str) -> Callable[[], Any]:
    config, client = cron_pattern.configured(path)
    return lambda: cron_pattern.tick(config, client)


def _reader(app_id: str) -> Callable[[], Any]:
    """A read of the library's copy."""
    from token_refresher import Reader

    reader = Reader.from_url(os.environ["BENCH_REDIS_URL"], max_age_s=60)
    return partial(reader.access_token, app_id)


if __name__ == "__main__":
    main()
