"""What application instances import: the credentials that the refresher keeps in Redis, and nothing but Redis."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import redis

from token_refresher.domain.errors import NoCredentialError
from token_refresher.domain.model import Kind, Target
from token_refresher.reader.base import (
    BaseReader,
    Notifier,
    for_another_waiter,
    kind_of,
    log_complaint_failed,
    log_complaint_left,
    log_notify_failed,
    signed_config,
)
from token_refresher.reader.cache import COMPLAINT_TTL_MS, CachedCredential, StoredValue
from token_refresher.reader.signing import CoreConfig
from token_refresher.store.errors import client_errors, translated
from token_refresher.store.idle_connections import place_of, pools_of

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")


class _PendingRead:
    """One read of Redis that is under way, and all who wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: CachedCredential | None = None
        self.error: NoCredentialError | None = None


class Reader(BaseReader):
    """Reads credentials; safe to share between threads, greenlets and, after a fork, processes.

    `key_prefix` is the refresher's REDIS_KEY_PREFIX. `max_age_s` (seconds, at most a tenth of the grace of 600 s) is
    how old a copy in this process may be; `timeout_s` how long a read waits for Redis before the last good credential
    is served. While Redis does not answer, that one is served until the platform may reject it: 600 s after it was
    read, or 1200 s before its end, whichever is later. With `only_within_grace` the first alone counts: for
    applications whose credentials something else fetches too. `policy` is the refresher's. `on_rejected(app_id, kind)`,
    where given, is called after a rejected credential was reported, to start the refresher at once. Raises ValueError
    for a `max_age_s` out of bounds.
    """

    def _begin(self) -> None:
        self._reads: dict[Target, _PendingRead] = {}
        self._lock = threading.Lock()
        _readers.add(self)

    # -- reading ------------------------------------------------------------------------------------------------------

    def access_token(self, app_id: str) -> str:
        """The application's server access_token. Raises NoCredentialError."""
        return (self._cache.get_fresh(Kind.ACCESS_TOKEN, app_id) or self._slow(app_id, Kind.ACCESS_TOKEN)).code

    def js_ticket(self, app_id: str) -> str:
        """The application's js_ticket. Raises NoCredentialError."""
        return (self._cache.get_fresh(Kind.JS_TICKET, app_id) or self._slow(app_id, Kind.JS_TICKET)).code

    def record(self, app_id: str, kind: Kind | str) -> CachedCredential:
        """The credential of a kind and all that is known of it. Raises NoCredentialError, ValueError (unknown kind)."""
        kind = kind_of(kind)
        return self._cache.get_fresh(kind, app_id) or self._slow(app_id, kind)

    def _slow(self, app_id: str, kind: Kind) -> CachedCredential:
        target = Target(app_id, kind)
        return self._cache.get_while_down(target) or self._read(target)

    def _read(self, target: Target) -> CachedCredential:
        """Read Redis, together with all others in this process that want the same right now."""
        with self._lock:
            read = self._reads.get(target)
            first = read is None
            if read is None:
                read = self._reads[target] = _PendingRead()
        if first:
            try:
                read.found = self._ask_redis(target)
            except NoCredentialError as caught:
                read.error = caught
            finally:
                with self._lock:
                    self._reads.pop(target, None)
                read.done.set()
        elif not read.done.wait(2 * self._timeout_s + 0.5):
            return self._cache.serve_stale(target, translated(redis.TimeoutError(), place_of(self._client)))
        if read.found:
            return read.found
        if read.error is None:
            # The read was interrupted (by a greenlet's time-out, for instance): that is no failure of those who wait.
            return self._read(target)
        raise for_another_waiter(read.error, target) from None

    def _ask_redis(self, target: Target) -> CachedCredential:
        asked_at = self._cache.clock()
        key = self._cache.keys_of(target).value
        try:
            try:
                found = self._load(key)
            except (redis.ConnectionError, OSError):
                # A connection that was lost while it was idle is not an outage: the second attempt dials.
                found = self._load(key)
        except client_errors() as error:
            return self._cache.serve_stale(target, translated(error))
        return self._cache.put(target, found, asked_at)

    def _load(self, key: str) -> StoredValue:
        # The life before the value: if a new credential comes in between, the copy only lives too short.
        with self._client.pipeline(transaction=False) as pipe:
            return StoredValue(*pipe.pttl(key).get(key).execute())

    # -- refusals -----------------------------------------------------------------------------------------------------

    def report_rejected(self, app_id: str, kind: Kind | str, code: str) -> str | None:
        """Report that the platform rejected `code`. Returns another one if Redis holds one by now, else None.

        Where Redis still holds the same, a complaint is left for the refresher, which asks the platform in its next
        run. Raises nothing for a Redis that does not answer.
        """
        target = Target(app_id, kind_of(kind))
        self._cache.invalidate(target, code)
        try:
            stored = self.record(app_id, kind)
        except NoCredentialError:
            return None
        if self._must_complain(target, stored, code):
            self._leave_report(target, stored)
        return None if stored.code == code else stored.code

    refused = report_rejected  # the earlier name, which stays

    def _leave_report(self, target: Target, stored: CachedCredential) -> None:
        try:
            self._client.set(self._cache.keys_of(target).refused, stored.fingerprint, px=COMPLAINT_TTL_MS)
        except client_errors() as error:
            return log_complaint_failed(stored, translated(error))
        log_complaint_left(target, stored)
        if self._on_rejected:
            self._notify(self._on_rejected, target)
        return None

    def _notify(self, on_rejected: Notifier, target: Target) -> None:
        """Start the refresher at once; where that fails its next run comes anyway, so the caller need not know."""
        try:
            on_rejected(target.app_id, target.kind.value)
        except Exception as error:
            log_notify_failed(error)

    def with_code(
        self,
        app_id: str,
        kind: Kind | str,
        call: Callable[[str], T],
        refused: type[Exception] | tuple[type[Exception], ...],
    ) -> T:
        """The result of `call(credential)`; when it raises `refused`, once more with the newer credential, if any.

        Raises what `call` raises, and NoCredentialError.
        """
        code = self.record(app_id, kind).code
        try:
            return call(code)
        except refused:
            other = self.report_rejected(app_id, kind, code)
            if other is None:
                raise
        return call(other)

    def core_config(self, app_id: str, url: str) -> CoreConfig:
        """What the page at `url` passes to `core.config`. Raises NoCredentialError, SigningError."""
        return signed_config(app_id, self.js_ticket(app_id), url)

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
        """In the child no thread finishes the parent's reads, and a lock may be held by a thread that is not there."""
        self._lock, self._reads = threading.Lock(), {}


_readers: weakref.WeakSet[Reader] = weakref.WeakSet()


def _after_fork() -> None:
    for reader in list(_readers):
        reader._after_fork()


os.register_at_fork(after_in_child=_after_fork)
