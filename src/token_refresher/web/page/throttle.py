"""How long an address that sent wrong tokens waits before its next one is looked at.

A wait holds for one address, so guesses from one keep no other out. It refuses tokens alone: sessions go on.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

# A person mistypes, or pastes the wrong line, less often.
_FREE = 5
# From the last free one on 1, 2, 4 ... seconds, up to a minute: a person who waits gets in.
_LONGEST_WAIT_S = 60
# An address without a wrong token for this long (seconds) starts from the beginning.
_FORGOTTEN_S = 3600
_MOST_ADDRESSES = 1000

_log = logging.getLogger(__name__)


class _Made(NamedTuple):
    """Wrong tokens of one address: how many, and of the last one the instant (steady clock) and a hash."""

    number: int
    at: float
    digest: bytes


class LoginThrottle:
    """How long each address waits after wrong tokens. `clock` is steady (seconds). Any thread may ask."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # The latest last.
        self._made: dict[str, _Made] = {}
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Duration (seconds) until a token from this address is looked at; 0 when it is now."""
        made = self._made.get(_network(address))
        if made is None or made.number < _FREE:
            return 0.0
        wait_s = min(2.0 ** min(made.number - _FREE, 10), _LONGEST_WAIT_S)
        return max(0.0, made.at + wait_s - self._clock())

    def wrong(self, address: str, given: str) -> None:
        """A wrong token came. The same one again is not a new guess: a program with an old token repeats it."""
        key, now = _network(address), self._clock()
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        with self._lock:
            made = self._made.pop(key, None)
            known = made is not None and now - made.at < _FORGOTTEN_S
            if made is not None and known and made.digest == digest:
                self._made[key] = made
                return
            count = made.number + 1 if made is not None and known else 1
            self._made[key] = _Made(count, now, digest)
            self._tidy(now)
        # The first, the second, the fourth ... so that the log stays short.
        if count & (count - 1) == 0:
            _log.warning("a wrong token for the status page came from %s, %d so far", key, count)

    def _tidy(self, now: float) -> None:
        for key, made in list(self._made.items()):
            if now - made.at < _FORGOTTEN_S and len(self._made) <= _MOST_ADDRESSES:
                return
            del self._made[key]


def _network(address: str) -> str:
    """What one client can change at will counts as one: an IPv6 address up to its network of 64 bits."""
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(address)
        if found.version == 6:
            return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
        return str(found)
    return "an unknown address"
