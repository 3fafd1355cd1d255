"""Settings to live objects. The real clock and the identity of attempts enter here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .connection import connect
from .flight import steady
from .refresh import Refresher
from .settings import Settings
from .store import Store

if TYPE_CHECKING:
    from .open_platform import OpenPlatform


def new_id() -> str:
    """16 hex digits that nobody else ever makes; straight from the kernel, so also after a fork."""
    return os.urandom(8).hex()


def store(settings: Settings) -> Store:
    """The store that `settings` name. Raises SettingsError or StoreError as `connect` does."""
    return Store(connect(settings.redis, settings.policy), settings.policy, settings.redis.key_prefix, time.sleep)


def platform(settings: Settings, clock: Callable[[], float] = steady) -> OpenPlatform:
    """Connections to the platform for one run; to be closed at its end."""
    from .open_platform import OpenPlatform  # only when something is due

    return OpenPlatform(
        policy=settings.policy,
        proxies=settings.proxies,
        pool_size=settings.policy.concurrency,
        ca_bundle=settings.ca_bundle,
        clock=clock,
    )


def refresher(
    settings: Settings,
    on_done: Callable[[str], None] = lambda app_id: None,
    clock: Callable[[], float] = steady,
    wall: Callable[[], float] = time.time,
) -> Refresher:
    """The program, ready to run. Raises SettingsError or StoreError as `connect` does.

    `clock` (seconds) is steady and goes on while the process is stopped, `wall` (unix seconds) the machine's; tests
    hand in their own.
    """
    return Refresher(
        apps=settings.apps,
        policy=settings.policy,
        store=store(settings),
        platform=lambda: platform(settings, clock),
        clock=clock,
        wall=wall,
        new_id=new_id,
        on_done=on_done,
    )
