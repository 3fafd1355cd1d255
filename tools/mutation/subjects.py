"""What is mutated, and which tests have to notice."""

from __future__ import annotations

from typing import NamedTuple

_CLIENT = "platforms/yuanzhibang/test_client"
_RESPONSE = "platforms/yuanzhibang/test_response"
_HTTP_RESPONSE = "platforms/http/test_response"
_SYNC, _STATEFUL = "reader/test_sync_reader", "reader/test_readers_stateful"


class Subject(NamedTuple):
    """A file below src/token_refresher.

    `tests` are run for each mutant, of them only those that run its line; `slow` those in which processes are killed
    and servers broken, for what `tests` let live.
    """

    file: str
    tests: tuple[str, ...]
    slow: tuple[str, ...] = ()


_RUNS = ("e2e/test_audit", "faults/test_platform")
_PROCESSES = ("faults/test_processes", "faults/test_redis")

SUBJECTS = (
    Subject("domain/decision.py", ("domain/test_decision", "domain/test_life"), _RUNS),
    Subject("domain/command.py", ("domain/test_command", "domain/test_decision"), _RUNS),
    Subject("domain/policy.py", ("domain/test_policy",), ("domain/test_decision",)),
    Subject(
        "platforms/yuanzhibang/response.py",
        (_RESPONSE,),
        (_CLIENT,),
    ),
    Subject("platforms/http/response.py", (_HTTP_RESPONSE, _RESPONSE), (_CLIENT,)),
    Subject("platforms/http/call.py", ("platforms/http/test_call",), (_CLIENT,)),
    Subject(
        "platforms/yuanzhibang/client.py",
        (_CLIENT, _RESPONSE),
        ("faults/test_platform",),
    ),
    Subject("refresh/application.py", ("refresh/test_application", "refresh/test_run"), (*_RUNS, *_PROCESSES)),
    Subject("refresh/limits.py", ("refresh/test_limits",), _RUNS),
    Subject("refresh/renew.py", ("refresh/test_renew",), (*_RUNS, *_PROCESSES)),
    Subject("refresh/result.py", ("refresh/test_result",), _RUNS),
    Subject(
        "refresh/run.py", ("refresh/test_run", "refresh/test_application", "domain/test_report"), (*_RUNS, *_PROCESSES)
    ),
    Subject("refresh/watch.py", ("refresh/test_watch", "refresh/test_renew"), (*_RUNS, *_PROCESSES)),
    Subject(
        "store/redis_store.py",
        ("store/test_redis_store", "store/test_lease"),
        (*_RUNS, "faults/test_redis", "e2e/test_topologies"),
    ),
    Subject("store/idle_connections.py", ("store/test_idle_connections",)),
    Subject(
        "reader/cache.py",
        ("reader/test_cache", _SYNC),
        ("reader/test_async_reader", _STATEFUL),
    ),
    Subject("reader/base.py", ("reader/test_base", _SYNC), (_STATEFUL,)),
    Subject("reader/sync_reader.py", (_SYNC,), (_STATEFUL,)),
    Subject("reader/async_reader.py", ("reader/test_async_reader",), (_STATEFUL,)),
    Subject("store/scripts/acquire.lua", ("store/test_scripts",), ("store/test_lease", "store/test_redis_store")),
    Subject("store/scripts/finish.lua", ("store/test_scripts",), ("store/test_lease", "store/test_redis_store")),
    Subject("store/scripts/load.lua", ("store/test_scripts",), ("store/test_lease", "store/test_redis_store")),
    Subject("store/scripts/note.lua", ("store/test_scripts",), ("store/test_lease", "store/test_redis_store")),
    Subject("store/scripts/prelude.lua", ("store/test_scripts",), ("store/test_lease", "store/test_redis_store")),
)
