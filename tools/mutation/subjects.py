"""What is mutated, and which tests have to notice."""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """A file below src/token_refresher.

    `tests` are run for each mutant, of them only those that run its line; `slow` those in which processes are killed
    and servers broken, for what `tests` let live.
    """

    file: str
    tests: tuple[str, ...]
    slow: tuple[str, ...] = ()


_RUNS = ("audit", "answer_faults")
_PROCESSES = ("killed_and_frozen", "redis_faults")

SUBJECTS = (
    Subject("domain/decision.py", ("plan", "plan_life"), _RUNS),
    Subject("domain/command.py", ("selection", "plan"), _RUNS),
    Subject("domain/policy.py", ("policy",), ("plan",)),
    Subject("platforms/yuanzhibang/response.py", ("answers",), ("open_platform",)),
    Subject("platforms/http/call.py", ("flight",), ("open_platform",)),
    Subject("platforms/yuanzhibang/client.py", ("open_platform", "answers"), ("answer_faults",)),
    Subject("refresh/application.py", ("refresh", "run"), (*_RUNS, *_PROCESSES)),
    Subject("refresh/limits.py", ("limits",), _RUNS),
    Subject("refresh/renew.py", ("renew",), (*_RUNS, *_PROCESSES)),
    Subject("refresh/result.py", ("result",), _RUNS),
    Subject("refresh/run.py", ("run", "refresh", "report"), (*_RUNS, *_PROCESSES)),
    Subject("refresh/watch.py", ("watch", "renew"), (*_RUNS, *_PROCESSES)),
    Subject("store/redis_store.py", ("store", "lease"), (*_RUNS, "redis_faults", "topologies")),
    Subject("store/idle_connections.py", ("idle_connections",)),
    Subject("reader/cache.py", ("shelf", "reader"), ("async_reader", "reader_machine")),
    Subject("reader/sync_reader.py", ("reader",), ("reader_machine",)),
    Subject("reader/async_reader.py", ("async_reader",), ("reader_machine",)),
    Subject("store/scripts/acquire.lua", ("scripts",), ("lease", "store")),
    Subject("store/scripts/finish.lua", ("scripts",), ("lease", "store")),
    Subject("store/scripts/load.lua", ("scripts",), ("lease", "store")),
    Subject("store/scripts/note.lua", ("scripts",), ("lease", "store")),
    Subject("store/scripts/prelude.lua", ("scripts",), ("lease", "store")),
)
