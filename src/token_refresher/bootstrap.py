"""Settings to live objects. The real clock and the identity of attempts enter here."""

from __future__ import annotations

import hmac
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.model import App
from token_refresher.refresh.limits import Limits
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import Settings
from token_refresher.store.connection import connect
from token_refresher.store.redis_store import Store

if TYPE_CHECKING:
    from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform


def new_id() -> str:
    """16 hex digits that nobody else ever makes; straight from the kernel, so also after a fork."""
    return os.urandom(8).hex()


def store(settings: Settings) -> Store:
    """The store that `settings` name. Raises SettingsError or StoreError as `connect` does."""
    return Store(connect(settings.redis, settings.policy), settings.policy, settings.redis.key_prefix, time.sleep)


def platform(settings: Settings, clock: Callable[[], float] = steady_clock) -> YuanzhibangPlatform:
    """Connections to the platform for one run; to be closed at its end."""
    from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform  # only when something is due

    return YuanzhibangPlatform(
        policy=settings.policy,
        proxies=settings.proxies,
        pool_size=settings.policy.concurrency,
        ca_bundle=settings.ca_bundle,
        clock=clock,
    )


def caller_of(settings: Settings, host: str, app: App) -> str:
    """What this copy of the program is called in the leases of an application: 12 hex digits.

    Copies differ by what may make one of them fail and not the other: secret, proxy, platform and host, whose address
    may be on the white list or not. The digits do not reveal any of it.
    """
    proxies = sorted((scheme, address.reveal()) for scheme, address in settings.proxies.items())
    what = repr((app.app_id, proxies, app.endpoints, host)).encode("utf-8", "surrogatepass")
    return hmac.new(app.secret.reveal().encode("utf-8", "surrogatepass"), what, "sha256").hexdigest()[:12]


def refresher(
    settings: Settings,
    on_done: Callable[[str], None] = lambda app_id: None,
    clock: Callable[[], float] = steady_clock,
    wall: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> Refresher:
    """The program, ready to run. Raises SettingsError or StoreError as `connect` does.

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


def renewed(old: Refresher, before: Settings, after: Settings) -> Refresher:
    """The program over `before`, with the settings `after`. Raises SettingsError or StoreError as `connect` does.

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


def _callers(settings: Settings) -> dict[str, str]:
    host = socket.gethostname()
    return {app.app_id: caller_of(settings, host, app) for app in settings.apps}
