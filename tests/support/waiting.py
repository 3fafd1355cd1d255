"""The one way in which a test waits for something that it cannot be woken by."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import redis

# Only a bug makes a test wait this long.
_WAIT_S = 30.0
_ASK_EVERY_S = 0.01


def wait_until(what: str, true: Callable[[], bool], timeout_s: float = _WAIT_S) -> None:
    """Return as soon as `true()` holds; an error of Redis counts as not yet. Raises TimeoutError, naming `what`."""
    deadline, never = time.monotonic() + timeout_s, threading.Event()
    while True:
        with contextlib.suppress(redis.RedisError):
            if true():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        never.wait(_ASK_EVERY_S)
