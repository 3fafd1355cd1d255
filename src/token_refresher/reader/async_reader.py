"""The reader for asyncio: the same shelf, the same behaviour, one loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import redis

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import NoCodeError, StoreError
from token_refresher.domain.model import Kind, Secret, Target
from token_refresher.domain.policy import Policy
from token_refresher.reader.cache import COMPLAINT_TTL_MS, Found, Reading, Shelf
from token_refresher.reader.signing import CoreConfig, core_config
from token_refresher.reader.sync_reader import TIMEOUT_S, Invoker
from token_refresher.store.connection import connect
from token_refresher.store.errors import client_errors, translated
from token_refresher.store.idle_connections import pools_of

if TYPE_CHECKING:
    from types import TracebackType

    from token_refresher.settings.loader import Settings

T = TypeVar("T")

_log = logging.getLogger("token_refresher.reader")
_POLICY = Policy()


class AsyncReader:
    """Reads codes; to be used from the tasks of one event loop. Arguments as for `Reader`.

    `invoker(app_id, kind)` may be a coroutine function or a plain one, which then runs in a thread.
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
        self._reads: dict[Target, asyncio.Task[Reading]] = {}

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = TIMEOUT_S, **options: Any) -> AsyncReader:
        """A reader for a Redis URL (every form that the README lists); `options` as for the class."""
        from token_refresher.settings.loader import RedisSettings

        client = connect(RedisSettings(Secret(url)), Policy(redis_timeout_s=timeout_s), asynchronous=True)
        return cls(client, timeout_s=timeout_s, **options)

    @classmethod
    def from_settings(cls, settings: Settings, *, timeout_s: float = TIMEOUT_S, **options: Any) -> AsyncReader:
        """A reader for the settings that the refresher runs with."""
        policy = settings.policy
        shared: dict[str, Any] = {
            "key_prefix": settings.redis.key_prefix,
            "max_age_s": policy.reader_cache_s,
            "policy": policy,
        }
        client = connect(settings.redis, Policy(redis_timeout_s=timeout_s), asynchronous=True)
        return cls(client, timeout_s=timeout_s, **(shared | options))

    # -- reading ------------------------------------------------------------------------------------------------------

    async def access_token(self, app_id: str) -> str:
        """The application's server access_token. Raises NoCodeError."""
        return (await self.record(app_id, Kind.ACCESS_TOKEN)).code

    async def js_ticket(self, app_id: str) -> str:
        """The application's js_ticket. Raises NoCodeError."""
        return (await self.record(app_id, Kind.JS_TICKET)).code

    async def record(self, app_id: str, kind: Kind | str) -> Reading:
        """The code of a kind with all that is known of it. Raises NoCodeError, ValueError for an unknown kind."""
        kind = Kind(kind)
        fresh = self._shelf.fresh(kind, app_id)
        if fresh:
            return fresh
        target = Target(app_id, kind)
        return self._shelf.waiting(target) or await self._read(target)

    async def _read(self, target: Target) -> Reading:
        """Read Redis, together with every task that wants the same right now."""
        task = self._reads.get(target)
        if task is None:
            task = self._reads[target] = asyncio.create_task(self._ask_redis(target))
            task.add_done_callback(lambda done: self._reads.pop(target, None))
        try:
            # A task that is cancelled leaves the read to the others.
            return await asyncio.shield(task)
        except NoCodeError as error:
            # Each waiter gets an error of its own: a shared one would collect everybody's traceback.
            what, key, why = error.what, error.key, error.store_error
            raise NoCodeError(what, key=key, app_id=target.app_id, kind=target.kind.value, store_error=why) from None

    async def _ask_redis(self, target: Target) -> Reading:
        asked_at = self._shelf.clock()
        key = self._shelf.keys_of(target).value
        try:
            try:
                found = await self._load(key)
            except (redis.ConnectionError, OSError):
                # A connection that was lost while it was idle is not an outage: the second attempt dials.
                found = await self._load(key)
        except StoreError as error:
            return self._shelf.fail(target, error)
        except client_errors() as error:
            return self._shelf.fail(target, translated(error))
        return self._shelf.put(target, found, asked_at)

    async def _load(self, key: str) -> Found:
        # The life before the value: if a new code comes in between, the copy only lives too short.
        async with self._client.pipeline(transaction=False) as pipe:
            return Found(*await self._in_time(pipe.pttl(key).get(key).execute()))

    async def _in_time(self, reply: Awaitable[T]) -> T:
        """What Redis answers. Raises StoreError when it takes too long, and redis-py's errors."""
        try:
            return await asyncio.wait_for(reply, 2 * self._timeout_s)
        except asyncio.TimeoutError:
            raise StoreError("Redis did not answer in time", code="redis_timeout") from None
        except (AttributeError, RuntimeError):
            # What asyncio (3.12 and 3.13) and uvloop raise for a connection that was lost while it was idle.
            raise redis.ConnectionError("the connection was lost") from None

    # -- refusals -----------------------------------------------------------------------------------------------------

    async def refused(self, app_id: str, kind: Kind | str, code: str) -> str | None:
        """Tell that the platform refused `code`; returns and does what `Reader.refused` does."""
        target = Target(app_id, Kind(kind))
        self._shelf.drop(target, code)
        try:
            reading = await self.record(app_id, kind)
        except NoCodeError:
            return None
        if reading.code != code:
            return reading.code
        self._shelf.drop(target, code)
        if self._shelf.may_complain(target, code):
            await self._complain(target, reading)
        return None

    async def _complain(self, target: Target, reading: Reading) -> None:
        key = self._shelf.keys_of(target).refused
        try:
            await self._in_time(self._client.set(key, reading.fingerprint, px=COMPLAINT_TTL_MS))
        except StoreError as error:
            _log.warning("a complaint about %s could not be left: %s", reading.fingerprint, error)
            return
        except client_errors() as error:
            _log.warning("a complaint about %s could not be left: %s", reading.fingerprint, translated(error))
            return
        _log.warning("the platform refused %s %s: left for the refresher", target.kind.value, reading.fingerprint)
        if self._invoker:
            await self._wake(self._invoker, target)

    async def _wake(self, invoker: Invoker, target: Target) -> None:
        """Start the refresher at once; where that fails its next run comes anyway, so the caller need not know."""
        try:
            # A plain function may wait for the network: the loop must not.
            answer = await asyncio.to_thread(invoker, target.app_id, target.kind.value)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:
            # By its type alone: the words of others may quote anything.
            _log.warning("the refresher could not be started at once: %s", type(error).__name__)

    async def with_code(
        self,
        app_id: str,
        kind: Kind | str,
        call: Callable[[str], Awaitable[T]],
        refused: type[Exception] | tuple[type[Exception], ...],
    ) -> T:
        """The result of `await call(code)`; when it raises `refused`, once more with the code that came instead.

        Raises what `call` raises, and NoCodeError.
        """
        code = (await self.record(app_id, kind)).code
        try:
            return await call(code)
        except refused:
            other = await self.refused(app_id, kind, code)
            if other is None:
                raise
        return await call(other)

    async def core_config(self, app_id: str, url: str) -> CoreConfig:
        """What the page at `url` passes to `core.config`. Raises NoCodeError, SigningError."""
        return core_config(app_id, await self.js_ticket(app_id), os.urandom(16).hex(), int(time.time()), url)

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
