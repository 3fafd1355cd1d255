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

from token_refresher.bootstrap import caller_of, new_id, platform
from token_refresher.doctor.checks import credentials as codes
from token_refresher.doctor.checks import platform as platforms
from token_refresher.doctor.checks import redis_server as servers
from token_refresher.doctor.checks.function import CHECK as TIME_OUT
from token_refresher.doctor.checks.function import time_out
from token_refresher.doctor.checks.redis_acl import rights
from token_refresher.doctor.context import Bench, Clocks
from token_refresher.doctor.finding import CHECKS, Finding, Light, exit_code, in_order, speaker
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import SettingsError
from token_refresher.domain.model import Kind, Snapshot, Target
from token_refresher.settings.loader import read
from token_refresher.store.redis_store import Store

__all__ = ["CHECKS", "Finding", "Light", "examine", "exit_code"]

# The whole examination, in seconds. One application takes one or two.
_TIME_LIMIT_S = 60.0
_OF_APPLICATIONS = ("platform reachable", "platform white list", "platform secret", "platform clock", "code accepted")
_OF_CODES = ("code stored", "code writers", "run lease", "run timer")


def examine(
    environ: Mapping[str, str],
    *,
    wall: Callable[[], float] = time.time,
    clock: Callable[[], float] = steady_clock,
    make_id: Callable[[], str] = new_id,
    time_limit_s: float = _TIME_LIMIT_S,
) -> list[Finding]:
    """Everything that was found, in the order of CHECKS. Raises nothing of our tree.

    `wall` gives this machine's unix seconds, `clock` is steady (seconds), `make_id` makes a text nobody else makes.
    `time_limit_s` is a duration; what it leaves no time for is grey.
    """
    try:
        settings = read(environ)
    except SettingsError as error:
        say = speaker("settings")
        found = [say(Light.RED, problem, _settings_cure(problem)) for problem in error.problems]
        found += [say(Light.YELLOW, warning, _ODD_CURE) for warning in error.warnings]
        rest = [name for name in CHECKS if name != "settings"]
        return found + [speaker(name)(Light.GREY, "not examined: the settings come first") for name in rest]
    bench = Bench(settings, Clocks(wall, clock, clock() + time_limit_s), make_id)
    bench.found += _settings_in_order(bench)
    try:
        _examine_redis(bench)
        targets = _read(bench)
        _examine_platform(bench, targets)
        bench.check(TIME_OUT, lambda: time_out(bench, environ), of_redis=False)
    finally:
        _close(bench)
    return in_order(bench.found)


_ODD_CURE = "correct or remove it: it may have no effect, or another one than meant"


def _settings_cure(problem: str) -> str:
    if "exclude each other" in problem:
        return "unset CONFIG_FILE, or unset APP_ID, APP_SECRET and APP_NAME"
    if problem.startswith("CONFIG_FILE") and "file" in problem:
        return "correct the path in CONFIG_FILE; it is read by the user that runs this"
    if problem.startswith("policy does not"):
        return "correct these POLICY_... variables (policy in the file) so that the inequality holds, or leave them out"
    if "is missing" in problem or "no application is given" in problem:
        return "set what is missing; the README lists every setting"
    return "correct the setting named; the README lists every setting"


def _settings_in_order(bench: Bench) -> list[Finding]:
    say, settings = speaker("settings"), bench.settings
    odd = [say(Light.YELLOW, warning, _ODD_CURE) for warning in settings.warnings]
    count = len(settings.apps)
    return odd or [say(Light.GREEN, f"in order, with {count} application{'s' if count > 1 else ''}")]


def _examine_redis(bench: Bench) -> None:
    bench.check("redis encryption", lambda: servers.encryption(bench), of_redis=False)
    bench.check("redis reachable", lambda: servers.reach(bench), of_redis=False)
    bench.check("redis clock", lambda: servers.clock(bench))
    bench.check(servers.REST, lambda: servers.server(bench))
    bench.check("redis rights", lambda: rights(bench))


# -- what is stored ----------------------------------------------------------------------------------------------------


def _read(bench: Bench) -> list[codes.Stored]:
    """Every target as it is, with its findings; empty when nothing can be read."""
    targets = [Target(app.app_id, kind) for app in bench.settings.apps for kind in Kind]
    found: list[codes.Stored] = []

    def look() -> list[Finding]:
        policy, prefix = bench.settings.policy, bench.settings.redis.key_prefix
        store = Store(bench.client, policy, prefix, lambda seconds: None)
        callers = {app.app_id: caller_of(bench.settings, socket.gethostname(), app) for app in bench.settings.apps}
        findings = []
        for target, loaded in zip(targets, store.load(targets), strict=True):
            if isinstance(loaded, Snapshot):
                found.append(codes.Stored(loaded, callers[target.app_id]))
            else:
                say = speaker("code stored", f"{target.app_id} {target.kind.value}")
                findings.append(say(Light.RED, loaded.what, loaded.advice))
        for each in found:
            findings += [codes.stored(each, policy), codes.writers(each), codes.lease(each, policy)]
        return findings + list(codes.timer(found, policy))

    bench.check(_OF_CODES, look)
    return found


# -- the platform ------------------------------------------------------------------------------------------------------


def _examine_platform(bench: Bench, targets: Sequence[codes.Stored]) -> None:
    bench.check("platform reachable", lambda: platforms.unused_proxies(bench), of_redis=False)
    of_app: dict[str, list[codes.Stored]] = {}
    for each in targets:
        of_app.setdefault(each.snapshot.target.app_id, []).append(each)

    def ask() -> list[Finding]:
        findings: list[Finding] = []
        for answers in _asked(bench, of_app):
            mine = of_app.get(answers.app.app_id, [])
            findings += platforms.judged(bench, answers)
            findings += [codes.accepted(each, answers, bench) for each in mine]
            findings += _clock(bench, answers)
        return findings

    bench.check(_OF_APPLICATIONS, ask, of_redis=False)
    if not targets:
        bench.found.append(speaker("code accepted")(Light.GREY, f"not examined: {bench.gone or 'no code was read'}"))


def _asked(bench: Bench, of_app: Mapping[str, Sequence[codes.Stored]]) -> list[platforms.Answers]:
    """The questions about every application, several at once."""
    apps = bench.settings.apps
    with platform(bench.settings, bench.clocks.steady) as connections:

        def ask(position: int) -> platforms.Answers:
            app = apps[position]
            snapshots = [each.snapshot for each in of_app.get(app.app_id, [])]
            return platforms.asked(app, snapshots, connections, bench.clocks)

        with ThreadPoolExecutor(min(bench.settings.policy.concurrency, len(apps))) as pool:
            return list(pool.map(ask, range(len(apps))))


def _clock(bench: Bench, answers: platforms.Answers) -> list[Finding]:
    """The platform's clock by its Date header, against Redis's, by whose clock codes expire."""
    say = speaker("platform clock", answers.app.app_id)
    if not answers.ahead_s:
        return [say(Light.GREY, "not known: no answer with a Date header came")]
    ahead_s = next(iter(answers.ahead_s.values()))
    if bench.redis_ahead_s is None:
        return [servers.clocks_apart(say, "the platform's clock", "this machine's", ahead_s, bench)]
    return [servers.clocks_apart(say, "the platform's clock", "Redis's", ahead_s - bench.redis_ahead_s, bench)]


def _close(bench: Bench) -> None:
    if bench.client is not None:
        with contextlib.suppress(redis.RedisError, OSError):
            bench.client.close()
            # The client does not close a pool that it was handed; one of a cluster has none.
            pool = getattr(bench.client, "connection_pool", None)
            if pool is not None:
                pool.disconnect()
