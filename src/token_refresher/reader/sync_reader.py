"""What application instances import: the codes that the refresher keeps in Redis, and nothing but Redis."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import redis

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import NoCodeError, StoreError
from token_refresher.domain.model import Kind, Secret, Target
from token_refresher.domain.policy import Policy
from token_refresher.reader.cache import COMPLAINT_TTL_MS, Found, Reading, Shelf
from token_refresher.reader.signing import CoreConfig, core_config
from token_refresher.store.connection import connect
from token_refresher.store.errors import client_errors, translated
from token_refresher.store.idle_connections import pools_of

if TYPE_CHECKING:
    from types import TracebackType

    from token_refresher.settings.loader import Settings

T = TypeVar("T")
Invoker = Callable[[str, str], object]

_log = logging.getLogger("token_refresher.reader")
_POLICY = Policy()
# A read of Redis takes a millisecond; whoever waits this long (seconds) is better served with the last good code.
TIMEOUT_S = 1.0


class _Read:
    """One read of Redis that is under way, and everybody who waits for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.reading: Reading | None = None
        self.error: NoCodeError | None = None


class Reader:
    """Reads codes; safe to share between threads, greenlets and, after a fork, processes.

    `max_age_s` (seconds, at most a tenth of the grace of 600 s) is how old a copy in this process may be; `timeout_s`
    how long a read waits for Redis before the last good code is served. While Redis does not answer, that code is
    served until the platform may refuse it: 600 s after it was read, or 1200 s before its end, whichever is later. With
    `only_within_grace` the first alone counts: for applications whose codes something else fetches too. `policy` is
    the refresher's. `invoker(app_id, kind)`, where given, is called after a complaint was left, to start the refresher
    at once. Raises ValueError for a `max_age_s` out of bounds, SettingsError for a URL that cannot be used.
    """

    def __init__(
        self,
        client: Any,
        *,
        key_prefix: str = "",
        max_age_s: float = Policy.reader_cache_s,
        timeout_s: float = TIMEOUT_S,
        invoker: Invoker | None = None,
        clock: Callable[[], float] = steady_clock,
        only_within_grace: bool = False,
        policy: Policy = _POLICY,
    ) -> None:
        self._client, self._timeout_s, self._invoker = client, timeout_s, invoker
        self._shelf = Shelf(max_age_s, key_prefix, clock, time.time, policy, only_within_grace)
        self._reads: dict[Target, _Read] = {}
        self._lock = threading.Lock()
        _readers.add(self)

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = TIMEOUT_S, **options: Any) -> Reader:
        """A reader for a Redis URL (every form that the README lists); `options` as for the class."""
        from token_refresher.settings.loader import RedisSettings

        settings, policy = RedisSettings(Secret(url)), Policy(redis_timeout_s=timeout_s)
        return cls(connect(settings, policy), timeout_s=timeout_s, **options)

    @classmethod
    def from_settings(cls, settings: Settings, *, timeout_s: float = TIMEOUT_S, **options: Any) -> Reader:
        """A reader for the settings that the refresher runs with."""
        policy = settings.policy
        shared: dict[str, Any] = {
            "key_prefix": settings.redis.key_prefix,
            "max_age_s": policy.reader_cache_s,
            "policy": policy,
        }
        client = connect(settings.redis, Policy(redis_timeout_s=timeout_s))
        return cls(client, timeout_s=timeout_s, **(shared | options))

    # -- reading ------------------------------------------------------------------------------------------------------

    def access_token(self, app_id: str) -> str:
        """The application's server access_token. Raises NoCodeError."""
        return (self._shelf.fresh(Kind.ACCESS_TOKEN, app_id) or self._slow(app_id, Kind.ACCESS_TOKEN)).code

    def js_ticket(self, app_id: str) -> str:
        """The application's js_ticket. Raises NoCodeError."""
        return (self._shelf.fresh(Kind.JS_TICKET, app_id) or self._slow(app_id, Kind.JS_TICKET)).code

    def record(self, app_id: str, kind: Kind | str) -> Reading:
        """The code of a kind with all that is known of it. Raises NoCodeError, ValueError for an unknown kind."""
        kind = Kind(kind)
        return self._shelf.fresh(kind, app_id) or self._slow(app_id, kind)

    def _slow(self, app_id: str, kind: Kind) -> Reading:
        target = Target(app_id, kind)
        return self._shelf.waiting(target) or self._read(target)

    def _read(self, target: Target) -> Reading:
        """Read Redis, together with everybody in this process who wants the same right now."""
        with self._lock:
            read = self._reads.get(target)
            first = read is None
            if read is None:
                read = self._reads[target] = _Read()
        if first:
            try:
                read.reading = self._ask_redis(target)
            except NoCodeError as caught:
                read.error = caught
            finally:
                with self._lock:
                    self._reads.pop(target, None)
                read.done.set()
        elif not read.done.wait(2 * self._timeout_s + 0.5):
            return self._shelf.fail(target, StoreError("Redis did not answer in time", code="redis_timeout"))
        if read.reading:
            return read.reading
        if read.error is None:
            # Whoever read was interrupted (by a greenlet's time-out, for instance); that is nobody else's failure.
            return self._read(target)
        # Each waiter gets an error of its own: a shared one would collect everybody's traceback.
        what, key, why = read.error.what, read.error.key, read.error.store_error
        raise NoCodeError(what, key=key, app_id=target.app_id, kind=target.kind.value, store_error=why) from None

    def _ask_redis(self, target: Target) -> Reading:
        asked_at = self._shelf.clock()
        key = self._shelf.keys_of(target).value
        try:
            try:
                found = self._load(key)
            except (redis.ConnectionError, OSError):
                # A connection that was lost while it was idle is not an outage: the second attempt dials.
                found = self._load(key)
        except client_errors() as error:
            return self._shelf.fail(target, translated(error))
        return self._shelf.put(target, found, asked_at)

    def _load(self, key: str) -> Found:
        # The life before the value: if a new code comes in between, the copy only lives too short.
        with self._client.pipeline(transaction=False) as pipe:
            return Found(*pipe.pttl(key).get(key).execute())

    # -- refusals -----------------------------------------------------------------------------------------------------

    def refused(self, app_id: str, kind: Kind | str, code: str) -> str | None:
        """Tell that the platform refused `code`. Returns another code if Redis holds one by now, else None.

        Where Redis still holds the same, a complaint is left for the refresher, which asks the platform in its next
        run. Raises nothing for a Redis that does not answer.
        """
        target = Target(app_id, Kind(kind))
        self._shelf.drop(target, code)
        try:
            reading = self.record(app_id, kind)
        except NoCodeError:
            return None
        if reading.code != code:
            return reading.code
        self._shelf.drop(target, code)
        if self._shelf.may_complain(target, code):
            self._complain(target, reading)
        return None

    def _complain(self, target: Target, reading: Reading) -> None:
        try:
            self._client.set(self._shelf.keys_of(target).refused, reading.fingerprint, px=COMPLAINT_TTL_MS)
        except client_errors() as error:
            _log.warning("a complaint about %s could not be left: %s", reading.fingerprint, translated(error))
            return
        _log.warning("the platform refused %s %s: left for the refresher", target.kind.value, reading.fingerprint)
        if self._invoker:
            self._wake(self._invoker, target)

    def _wake(self, invoker: Invoker, target: Target) -> None:
        """Start the refresher at once; where that fails its next run comes anyway, so the caller need not know."""
        try:
            invoker(target.app_id, target.kind.value)
        except Exception as error:
            # By its type alone: the words of others may quote anything.
            _log.warning("the refresher could not be started at once: %s", type(error).__name__)

    def with_code(
        self,
        app_id: str,
        kind: Kind | str,
        call: Callable[[str], T],
        refused: type[Exception] | tuple[type[Exception], ...],
    ) -> T:
        """The result of `call(code)`; when it raises `refused`, once more with the code that came instead, if any.

        Raises what `call` raises, and NoCodeError.
        """
        code = self.record(app_id, kind).code
        try:
            return call(code)
        except refused:
            other = self.refused(app_id, kind, code)
            if other is None:
                raise
        return call(other)

    def core_config(self, app_id: str, url: str) -> CoreConfig:
        """What the page at `url` passes to `core.config`. Raises NoCodeError, SigningError."""
        return core_config(app_id, self.js_ticket(app_id), os.urandom(16).hex(), int(time.time()), url)

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections to Redis; harmless when repeated."""
        self._client.close()
        # The client does not close a pool that it was handed.
        for pool in pools_of(self._client):
            pool.disconnect()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        """In the child nobody finishes the parent's reads, and a lock may be held by a thread that is not there."""
        self._lock, self._reads = threading.Lock(), {}


_readers: weakref.WeakSet[Reader] = weakref.WeakSet()


def _after_fork() -> None:
    for reader in list(_readers):
        reader._after_fork()


os.register_at_fork(after_in_child=_after_fork)
