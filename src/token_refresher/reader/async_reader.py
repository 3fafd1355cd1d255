"""The reader for asyncio: the same cache, the same behaviour, one loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import redis

from token_refresher.domain.errors import NoCredentialError, StoreError
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


class AsyncReader(BaseReader):
    """Reads credentials; to be used from the tasks of one event loop. Arguments as for `Reader`.

    `on_rejected(app_id, kind)` may be a coroutine function or a plain one, which then runs in a thread.
    """

    _asynchronous = True

    def _begin(self) -> None:
        self._reads: dict[Target, asyncio.Task[CachedCredential]] = {}

    # -- reading ------------------------------------------------------------------------------------------------------

    async def access_token(self, app_id: str) -> str:
        """The application's server access_token. Raises NoCredentialError."""
        return (await self.record(app_id, Kind.ACCESS_TOKEN)).code

    async def js_ticket(self, app_id: str) -> str:
        """The application's js_ticket. Raises NoCredentialError."""
        return (await self.record(app_id, Kind.JS_TICKET)).code

    async def record(self, app_id: str, kind: Kind | str) -> CachedCredential:
        """The credential of a kind and all that is known of it. Raises NoCredentialError, ValueError (unknown kind)."""
        kind = kind_of(kind)
        fresh = self._cache.get_fresh(kind, app_id)
        if fresh:
            return fresh
        target = Target(app_id, kind)
        return self._cache.get_while_down(target) or await self._read(target)

    async def _read(self, target: Target) -> CachedCredential:
        """Read Redis, together with every task that wants the same right now."""
        task = self._reads.get(target)
        if task is None:
            task = self._reads[target] = asyncio.create_task(self._ask_redis(target))
            task.add_done_callback(lambda done: self._reads.pop(target, None))
        try:
            # A task that is cancelled leaves the read to the others.
            return await asyncio.shield(task)
        except NoCredentialError as error:
            raise for_another_waiter(error, target) from None

    async def _ask_redis(self, target: Target) -> CachedCredential:
        asked_at = self._cache.clock()
        key = self._cache.keys_of(target).value
        try:
            try:
                found = await self._load(key)
            except (redis.ConnectionError, OSError):
                # A connection that was lost while it was idle is not an outage: the second attempt dials.
                found = await self._load(key)
        except StoreError as error:
            return self._cache.serve_stale(target, error)
        except client_errors() as error:
            return self._cache.serve_stale(target, translated(error))
        return self._cache.put(target, found, asked_at)

    async def _load(self, key: str) -> StoredValue:
        # The life before the value: if a new credential comes in between, the copy only lives too short.
        async with self._client.pipeline(transaction=False) as pipe:
            return StoredValue(*await self._in_time(pipe.pttl(key).get(key).execute()))

    async def _in_time(self, reply: Awaitable[T]) -> T:
        """What Redis answers. Raises StoreError when it takes too long, and redis-py's errors."""
        try:
            return await asyncio.wait_for(reply, 2 * self._timeout_s)
        except asyncio.TimeoutError:
            raise translated(redis.TimeoutError(), place_of(self._client)) from None
        except (AttributeError, RuntimeError):
            # What asyncio (3.12 and 3.13) and uvloop raise for a connection that was lost while it was idle.
            raise redis.ConnectionError("the connection was lost") from None

    # -- refusals -----------------------------------------------------------------------------------------------------

    async def report_rejected(self, app_id: str, kind: Kind | str, code: str) -> str | None:
        """Report that the platform rejected `code`; returns and does what `Reader.report_rejected` does."""
        target = Target(app_id, kind_of(kind))
        self._cache.invalidate(target, code)
        try:
            stored = await self.record(app_id, kind)
        except NoCredentialError:
            return None
        if self._must_complain(target, stored, code):
            await self._leave_report(target, stored)
        return None if stored.code == code else stored.code

    refused = report_rejected  # the earlier name, which stays

    async def _leave_report(self, target: Target, stored: CachedCredential) -> None:
        key = self._cache.keys_of(target).refused
        try:
            await self._in_time(self._client.set(key, stored.fingerprint, px=COMPLAINT_TTL_MS))
        except StoreError as error:
            return log_complaint_failed(stored, error)
        except client_errors() as error:
            return log_complaint_failed(stored, translated(error))
        log_complaint_left(target, stored)
        if self._on_rejected:
            await self._notify(self._on_rejected, target)
        return None

    async def _notify(self, on_rejected: Notifier, target: Target) -> None:
        """Start the refresher at once; where that fails its next run comes anyway, so the caller need not know."""
        try:
            # A plain function may wait for the network: the loop must not.
            answer = await asyncio.to_thread(on_rejected, target.app_id, target.kind.value)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:
            log_notify_failed(error)

    async def with_code(
        self,
        app_id: str,
        kind: Kind | str,
        call: Callable[[str], Awaitable[T]],
        refused: type[Exception] | tuple[type[Exception], ...],
    ) -> T:
        """The result of `await call(credential)`; when it raises `refused`, once more with the newer credential.

        Raises what `call` raises, and NoCredentialError.
        """
        code = (await self.record(app_id, kind)).code
        try:
            return await call(code)
        except refused:
            other = await self.report_rejected(app_id, kind, code)
            if other is None:
                raise
        return await call(other)

    async def core_config(self, app_id: str, url: str) -> CoreConfig:
        """What the page at `url` passes to `core.config`. Raises NoCredentialError, SigningError."""
        return signed_config(app_id, await self.js_ticket(app_id), url)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connections to Redis; harmless when repeated."""
        await self._client.aclose()
        # The client does not close a pool that it was handed.
        for pool in pools_of(self._client):
            await pool.disconnect()

    async def __aenter__(self) -> AsyncReader:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
