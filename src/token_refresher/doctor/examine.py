"""Examine everything that a new user gets wrong, and what a person woken at night wants to know.

Nothing is fetched and no real key is changed. Whatever fails, the checks that do not depend on it go on; those that do
are grey and say why. The time is bounded.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import redis

from token_refresher import bootstrap
from token_refresher.doctor.checks import credentials, function, platform, redis_acl, redis_server
from token_refresher.doctor.context import CheckContext, Clocks
from token_refresher.doctor.finding import CHECKS, Check, Finding, in_order
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import SettingsError
from token_refresher.domain.humanize import counted
from token_refresher.domain.interrupted import Interrupted
from token_refresher.domain.model import Kind, Snapshot, Target
from token_refresher.settings.loader import read
from token_refresher.store.redis_store import RedisStore

# The whole examination, in seconds. One application takes one or two.
_TIME_LIMIT_S = 60.0
_OF_APPLICATIONS = (
    "platform reachable",
    "platform white list",
    "platform secret",
    "platform clock",
    "credential accepted",
)
_OF_CREDENTIALS = ("credential stored", "credential writers", "run lease", "run timer")


def examine(
    environ: Mapping[str, str],
    *,
    wall: Callable[[], float] = time.time,
    clock: Callable[[], float] = steady_clock,
    make_id: Callable[[], str] = bootstrap.new_id,
    time_limit_s: float = _TIME_LIMIT_S,
) -> list[Finding]:
    """Everything that was found, in the order of CHECKS. Raises nothing of our tree, and Interrupted.

    `wall` gives this machine's unix seconds, `clock` is steady (seconds), `make_id` makes a text that is never made
    again. `time_limit_s` is a duration; what it leaves no time for is grey.
    """
    try:
        settings = read(environ)
    except SettingsError as error:
        check = Check("settings")
        found = [check.red(problem, _settings_fix(problem)) for problem in error.problems]
        found += [check.yellow(warning, _ODD_FIX) for warning in error.warnings]
        rest = [name for name in CHECKS if name != "settings"]
        return found + [Check(name).grey("not examined: the settings come first") for name in rest]
    context = CheckContext(settings, Clocks(wall, clock, clock() + time_limit_s), make_id)
    context.found += _settings_in_order(context)
    try:
        _examine_redis(context)
        targets = _read(context)
        _examine_platform(context, targets)
        context.run(function.CHECK, lambda: function.time_out(context, environ), of_redis=False)
    except KeyboardInterrupt:
        raise Interrupted(_unexamined(context)) from None
    finally:
        _close(context)
    return in_order(context.found)


def _unexamined(context: CheckContext) -> str:
    found = {each.name for each in context.found}
    return f"not examined: {', '.join(name for name in CHECKS if name not in found)}"


_ODD_FIX = "correct it or remove it: it may have no effect, or not the one you mean"


def _settings_fix(problem: str) -> str:
    if problem.startswith("set either APP_ID"):
        return "unset CONFIG_FILE, or unset APP_ID, APP_SECRET and APP_NAME"
    if problem.startswith("CONFIG_FILE") and "(the file " in problem:
        return "correct that file at the place that is named"
    if problem.startswith("CONFIG_FILE") and "file" in problem:
        return "correct the path in CONFIG_FILE; it is read by the user that runs this"
    if problem.startswith("policy does not"):
        return "correct these POLICY_... variables (policy in the file) so that the inequality holds, or leave them out"
    if "is missing" in problem or "no application is given" in problem:
        return "set what is missing; docs/reference/configuration.md lists every setting"
    return "correct the setting that is named; docs/reference/configuration.md lists every setting"


def _settings_in_order(context: CheckContext) -> list[Finding]:
    check, settings = Check("settings"), context.settings
    odd = [check.yellow(warning, _ODD_FIX) for warning in settings.warnings]
    return odd or [check.green(f"in order, with {counted(len(settings.apps), 'application')}")]


def _examine_redis(context: CheckContext) -> None:
    context.run("redis encryption", lambda: redis_server.encryption(context), of_redis=False)
    context.run("redis reachable", lambda: redis_server.reach(context), of_redis=False)
    context.run("redis clock", lambda: redis_server.clock(context))
    context.run(redis_server.REST, lambda: redis_server.server(context))
    context.run("redis rights", lambda: redis_acl.rights(context))


# -- what is stored ----------------------------------------------------------------------------------------------------


def _read(context: CheckContext) -> list[credentials.Stored]:
    """Every target as it is, with its findings; empty when nothing can be read."""
    targets = [Target(app.app_id, kind) for app in context.settings.apps for kind in Kind]
    found: list[credentials.Stored] = []

    def look() -> list[Finding]:
        policy, prefix = context.settings.policy, context.settings.redis.key_prefix
        store = RedisStore(context.client, policy, prefix, lambda seconds: None)
        callers = {
            app.app_id: bootstrap.caller_of(context.settings, socket.gethostname(), app)
            for app in context.settings.apps
        }
        findings = []
        for target, loaded in zip(targets, store.load(targets), strict=True):
            if isinstance(loaded, Snapshot):
                found.append(credentials.Stored(loaded, callers[target.app_id]))
            else:
                check = Check("credential stored", f"{target.app_id} {target.kind.value}")
                findings.append(check.red(loaded.what, loaded.advice))
        for each in found:
            findings += [credentials.stored(each, policy), credentials.writers(each), credentials.lease(each, policy)]
        return findings + list(credentials.timer(found, policy))

    context.run(_OF_CREDENTIALS, look)
    return found


# -- the platform ------------------------------------------------------------------------------------------------------


def _examine_platform(context: CheckContext, targets: Sequence[credentials.Stored]) -> None:
    context.run("platform reachable", lambda: platform.unused_proxies(context), of_redis=False)
    of_app: dict[str, list[credentials.Stored]] = {}
    for each in targets:
        of_app.setdefault(each.snapshot.target.app_id, []).append(each)

    def ask() -> list[Finding]:
        findings: list[Finding] = []
        for answers in _asked(context, of_app):
            mine = of_app.get(answers.app.app_id, [])
            findings += platform.judged(context, answers)
            findings += [credentials.accepted(each, answers, context) for each in mine]
            findings.append(platform.clock(context, answers))
        return findings

    context.run(_OF_APPLICATIONS, ask, of_redis=False)
    if not targets:
        context.found.append(
            Check("credential accepted").grey(f"not examined: {context.gone or 'no credential was read'}")
        )


def _asked(context: CheckContext, of_app: Mapping[str, Sequence[credentials.Stored]]) -> list[platform.Answers]:
    """The questions about every application, several at once."""
    apps = context.settings.apps
    with bootstrap.platform(context.settings, context.clocks.steady) as connections:

        def ask(position: int) -> platform.Answers:
            app = apps[position]
            snapshots = [each.snapshot for each in of_app.get(app.app_id, [])]
            return platform.asked(app, snapshots, connections, context.clocks)

        pool = ThreadPoolExecutor(min(context.settings.policy.concurrency, len(apps)))
        try:
            return list(pool.map(ask, range(len(apps))))
        finally:
            # After Ctrl-C nothing is worth waiting for; else all have ended.
            pool.shutdown(wait=False, cancel_futures=True)


def _close(context: CheckContext) -> None:
    if context.client is not None:
        with contextlib.suppress(redis.RedisError, OSError):
            context.client.close()
            # The client does not close a pool that it was handed; one of a cluster has none.
            pool = getattr(context.client, "connection_pool", None)
            if pool is not None:
                pool.disconnect()
