"""What both readers share: how they are made, and how they judge and log what the platform rejected."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import InvalidValueError, NoCredentialError, SettingsError, StoreError
from token_refresher.domain.model import Kind, Target
from token_refresher.domain.policy import Policy
from token_refresher.reader.cache import CachedCredential, CredentialCache
from token_refresher.reader.signing import CoreConfig, core_config
from token_refresher.store.connection import create_client

if TYPE_CHECKING:
    from token_refresher.settings.loader import Settings

R = TypeVar("R", bound="BaseReader")
Notifier = Callable[[str, str], object]

_log = logging.getLogger("token_refresher.reader")
_POLICY = Policy()
# A read of Redis takes a millisecond; after so long (seconds) the last good credential is the better answer.
TIMEOUT_S = 1.0


def redis_url(url: str) -> RedisUrl:
    """The address of Redis that a reader is given. Raises SettingsError."""
    try:
        return RedisUrl.parse(url)
    except InvalidValueError as error:
        raise SettingsError([f"the address of Redis {error.what}"]) from None


class BaseReader:
    """A reader without its reads: those differ between threads and asyncio. The arguments are described at `Reader`."""

    _asynchronous = False

    def __init__(
        self,
        client: Any,
        *,
        key_prefix: str = "",
        max_age_s: float = Policy.reader_cache_s,
        timeout_s: float = TIMEOUT_S,
        on_rejected: Notifier | None = None,
        clock: Callable[[], float] = steady_clock,
        only_within_grace: bool = False,
        policy: Policy = _POLICY,
    ) -> None:
        self._client, self._timeout_s, self._on_rejected = client, timeout_s, on_rejected
        self._cache = CredentialCache(max_age_s, key_prefix, clock, time.time, policy, only_within_grace)
        self._begin()

    def _begin(self) -> None:
        """Begin without any read under way. Each reader keeps those in its own way."""
        raise NotImplementedError

    @classmethod
    def from_url(cls: type[R], url: str, *, key_prefix: str = "", timeout_s: float = TIMEOUT_S, **options: Any) -> R:
        """A reader for a Redis URL (every form that the README lists).

        `key_prefix` is the refresher's REDIS_KEY_PREFIX; `timeout_s` (seconds) and `options` are those of the class.
        Raises SettingsError for a URL that cannot be used, StoreError when a cluster cannot be reached.
        """
        client = create_client(redis_url(url), Policy(redis_timeout_s=timeout_s), asynchronous=cls._asynchronous)
        return cls(client, key_prefix=key_prefix, timeout_s=timeout_s, **options)

    @classmethod
    def from_settings(cls: type[R], settings: Settings, *, timeout_s: float = TIMEOUT_S, **options: Any) -> R:
        """A reader for the settings that the refresher runs with. `options` win over what they say."""
        policy = settings.policy
        shared: dict[str, Any] = {
            "key_prefix": settings.redis.key_prefix,
            "max_age_s": policy.reader_cache_s,
            "policy": policy,
        }
        client = create_client(settings.redis.url, Policy(redis_timeout_s=timeout_s), asynchronous=cls._asynchronous)
        return cls(client, timeout_s=timeout_s, **(shared | options))

    def _must_complain(self, target: Target, stored: CachedCredential, rejected: str) -> bool:
        """Whether Redis still holds what was rejected, and a complaint about it is due. It is not served again."""
        if stored.code != rejected:
            return False
        self._cache.invalidate(target, rejected)
        return self._cache.may_complain(target, rejected)


def kind_of(kind: Kind | str) -> Kind:
    """The kind by its name. Raises ValueError, which does not repeat what was given: it may be a credential."""
    try:
        return Kind(kind)
    except ValueError:
        raise ValueError(f"unknown kind; accepted are {', '.join(each.value for each in Kind)}") from None


def for_another_waiter(error: NoCredentialError, target: Target) -> NoCredentialError:
    """The same error for one of those who waited: a shared one would collect all their tracebacks."""
    what, key, why = error.what, error.key, error.store_error
    return NoCredentialError(what, key=key, app_id=target.app_id, kind=target.kind.value, store_error=why)


def signed_config(app_id: str, ticket: str, url: str) -> CoreConfig:
    """What the page at `url` passes to `core.config`, with a nonce and a time of its own. Raises SigningError."""
    return core_config(app_id, ticket, os.urandom(16).hex(), int(time.time()), url)


def log_complaint_failed(stored: CachedCredential, error: StoreError) -> None:
    """The complaint could not be left in Redis; the reader's caller need not know."""
    _log.warning("a complaint about %s could not be left: %s", stored.fingerprint, error)


def log_complaint_left(target: Target, stored: CachedCredential) -> None:
    """The complaint is in Redis, where the refresher's next run finds it."""
    _log.warning("the platform refused %s %s: left for the refresher", target.kind.value, stored.fingerprint)


def log_notify_failed(error: Exception) -> None:
    """`on_rejected` raised. By its type alone: the words of others may quote anything."""
    _log.warning("the refresher could not be started at once: %s", type(error).__name__)
