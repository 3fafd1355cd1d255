"""Settings to live objects, and whether those still hold. The real clock and the identity of attempts enter here.

The daemon and a warm function call `reload_if_changed` before each run. The files that were read are compared by
content: Kubernetes swaps links, and copies keep times. They are parsed only after a change. New settings that are
wrong, or whose Redis does not answer, are refused until they are right, and the old ones stay in use meanwhile.
Environment variables and the options of a command line do not change while a process runs.
"""

from __future__ import annotations

import hmac
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, overload

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import SettingsError, StoreError
from token_refresher.domain.model import App, Kind, Target
from token_refresher.refresh.limits import Limits
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import Settings, read_from
from token_refresher.store.connection import create_client
from token_refresher.store.redis_store import RedisStore

if TYPE_CHECKING:
    from token_refresher.domain.report import Report
    from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform
    from token_refresher.settings.origin import Origin

# What to say of a secret that is refused and stays the same.
RESTART = (
    "wrong_secret: a corrected file counts with the next run, a corrected environment variable only once this process "
    "is started again"
)

_log = logging.getLogger(__name__)


def new_id() -> str:
    """16 hex digits that are never made again; straight from the kernel, so also after a fork."""
    return os.urandom(8).hex()


def store(settings: Settings) -> RedisStore:
    """The store that `settings` name. Raises StoreError as `create_client` does."""
    client = create_client(settings.redis.url, settings.policy)
    return RedisStore(client, settings.policy, settings.redis.key_prefix, time.sleep)


def platform(settings: Settings, clock: Callable[[], float] = steady_clock) -> YuanzhibangPlatform:
    """Connections to the platform for one run; to be closed at its end."""
    from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform  # only when something is due

    return YuanzhibangPlatform(
        policy=settings.policy,
        proxies={scheme: proxy.text for scheme, proxy in settings.proxies.items()},
        pool_size=settings.policy.concurrency,
        ca_bundle=settings.ca_bundle,
        clock=clock,
    )


def caller_of(settings: Settings, host: str, app: App) -> str:
    """What this copy of the program is called in the leases of an application: 12 hex digits.

    Copies differ by what may make one of them fail and not the other: secret, proxy, platform and host, whose address
    may be on the white list or not. The digits do not reveal any of it.
    """
    proxies = sorted((scheme, proxy.text.reveal()) for scheme, proxy in settings.proxies.items())
    what = repr((app.app_id, proxies, app.endpoints, host)).encode("utf-8", "surrogatepass")
    return hmac.new(app.secret.reveal().encode("utf-8", "surrogatepass"), what, "sha256").hexdigest()[:12]


def refresher(
    settings: Settings,
    on_done: Callable[[str], None] = lambda app_id: None,
    clock: Callable[[], float] = steady_clock,
    wall: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> Refresher:
    """The program, ready to run. Raises StoreError as `create_client` does.

    `clock` (seconds) is steady and goes on while the process is stopped, `wall` (unix seconds) the machine's, `pause`
    waits (seconds); tests hand in their own.
    """
    return Refresher(
        apps=settings.apps,
        policy=settings.policy,
        store=store(settings),
        platform=lambda: platform(settings, clock),
        clock=clock,
        wall=wall,
        pause=pause,
        new_id=new_id,
        callers=_callers(settings),
        limits=Limits(clock),
        on_done=on_done,
    )


def _callers(settings: Settings) -> dict[str, str]:
    host = socket.gethostname()
    return {app.app_id: caller_of(settings, host, app) for app in settings.apps}


# -- whether they still hold ------------------------------------------------------------------------


@overload
def reload_if_changed(settings: Settings, program: Refresher, *, asked: bool = False) -> tuple[Settings, Refresher]: ...
@overload
def reload_if_changed(
    settings: Settings, program: Refresher | None, *, asked: bool = False
) -> tuple[Settings, Refresher | None]: ...
def reload_if_changed(
    settings: Settings, program: Refresher | None, *, asked: bool = False
) -> tuple[Settings, Refresher | None]:
    """The settings and the program to use from now on: those given, unless the files say something else by now.

    `program` is None where none could be built yet. `asked`: read the files even if none has changed. What becomes of
    it is logged, mistakes once as long as they are the same; `settings.origin.refused` has them. Raises StoreError
    where none could be built, nor can be now.
    """
    origin = settings.origin
    # While something is refused, what it lacks may be in none of the files noted, such as a CA certificate.
    if not (asked or origin.refused or origin.changed()):
        return settings, program
    if not origin.files:
        _log.warning(
            "nothing to read again: all settings come from environment variables, which a running process keeps; "
            "restart it to change them"
        )
        return settings, program
    try:
        found = read_from(origin.again())
        if found == settings:
            origin.follow(found.origin)
            _log.info("settings read again: nothing has changed")
            return settings, program
        rebuilt = _rebuilt(settings, program, found)
    except (SettingsError, StoreError) as error:
        if program is None and isinstance(error, StoreError):
            raise
        _refuse(origin, error)
        return settings, program
    from token_refresher.settings.changes import changes

    _log.info("settings reloaded, used from the next run on: %s", ", ".join(changes(settings, found)))
    for warning in found.warnings:
        _log.warning("%s", warning)
    return found, rebuilt


def _rebuilt(settings: Settings, program: Refresher | None, found: Settings) -> Refresher:
    """The program over `found`. Raises SettingsError, and StoreError where another Redis does not answer."""
    if program is None:
        return refresher(found)
    rebuilt = _changed(program, settings, found)
    if found.redis != settings.redis:
        rebuilt.store.read(Target(found.apps[0].app_id, Kind.ACCESS_TOKEN))
    return rebuilt


def _refuse(origin: Origin, error: SettingsError | StoreError) -> None:
    problems = error.problems if isinstance(error, SettingsError) else (f"Redis: {error.code}: {error.what}",)
    if problems != origin.refused:
        _log.error("changed settings are refused, the old ones stay in use: %s", "; ".join(problems))
    origin.refused = problems


def _changed(old: Refresher, before: Settings, after: Settings) -> Refresher:
    """The program over `before`, with the settings `after`. Raises StoreError as `create_client` does.

    What it remembers of the platform's limits stays, and so do the connections to Redis where nothing about them has
    changed.
    """
    same = (before.redis, before.policy) == (after.redis, after.policy)
    return replace(
        old,
        apps=after.apps,
        policy=after.policy,
        store=old.store if same else store(after),
        platform=lambda: platform(after, old.clock),
        callers=_callers(after),
    )


def secret_refused(report: Report) -> bool:
    """Whether the platform refused a secret in this run: it may have been rotated, so the files are looked at again."""
    return any(each.failure and each.failure.code == "wrong_secret" for each in report.targets)
