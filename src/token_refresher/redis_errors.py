"""From the many exceptions of redis-py to one."""

from __future__ import annotations

import re

import redis
from redis import exceptions

from .errors import StoreError


class LostError(redis.ConnectionError):
    """A connection that was used before is silent, or leads to a former primary: a new one may well work."""


def client_errors() -> tuple[type[Exception], ...]:
    """All that redis-py raises for a server or a network; an error of a cluster is not a RedisError."""
    return OSError, redis.RedisError, exceptions.RedisClusterException


def broken(error: object) -> bool:
    """Whether the connection failed, or the server behind it, rather than the command."""
    return isinstance(error, (OSError, redis.ConnectionError, redis.TimeoutError))


def answered(error: Exception) -> bool:
    """Whether the server said this itself, although redis-py counts it among the failures of a connection."""
    return isinstance(error, _ANSWERS)


def demoted(error: Exception) -> bool:
    """Whether the server says that it is a replica: its address may lead to another server by now."""
    return isinstance(error, exceptions.MasterDownError) or (
        isinstance(error, redis.ResponseError) and _code(error) == "redis_read_only"
    )


_ANSWERS = (exceptions.BusyLoadingError, exceptions.AuthenticationError, exceptions.AuthorizationError)

_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.OutOfMemoryError, "redis_out_of_memory"),
    (exceptions.ReadOnlyError, "redis_read_only"),
    (exceptions.NoPermissionError, "redis_no_permission"),
    (exceptions.AuthenticationError, "redis_auth"),
    (exceptions.AuthenticationWrongNumberOfArgsError, "redis_auth"),
    (exceptions.BusyLoadingError, "redis_loading"),
    (exceptions.MasterDownError, "redis_loading"),
    (exceptions.ClusterDownError, "redis_loading"),
    (redis.TimeoutError, "redis_timeout"),
    (TimeoutError, "redis_timeout"),
    (LostError, "redis_timeout"),
)
# For errors that redis-py has no class for, above all those of scripts.
_BY_TEXT = (
    # First, because newer servers quote the user's name in these, and it may be any of the words below.
    ("noperm", "redis_no_permission"),
    ("no permissions", "redis_no_permission"),
    ("acl failure", "redis_no_permission"),
    ("user executing the script can't", "redis_no_permission"),
    ("oom command not allowed", "redis_out_of_memory"),
    ("readonly", "redis_read_only"),
    ("read only replica", "redis_read_only"),
    ("read only slave", "redis_read_only"),
    ("wrongpass", "redis_auth"),
    ("noauth", "redis_auth"),
    ("invalid username-password", "redis_auth"),
    ("invalid password", "redis_auth"),
    ("authentication required", "redis_auth"),
    ("auth <password>", "redis_auth"),
    ("loading", "redis_loading"),
    ("masterdown", "redis_loading"),
    ("link with master is down", "redis_loading"),
    ("clusterdown", "redis_loading"),
    ("hash slot not served", "redis_loading"),
    ("[ssl", "redis_tls"),
    ("cluster cannot be connected", "redis_unreachable"),
    ("no master found", "redis_unreachable"),
    ("timeout", "redis_timeout"),
)
_SENTENCE = {
    "redis_out_of_memory": "Redis is out of memory",
    "redis_read_only": "this Redis server only reads",
    "redis_no_permission": "the Redis user may not run a command that is needed",
    "redis_auth": "Redis did not accept the login",
    "redis_loading": "Redis is not ready",
    "redis_timeout": "Redis did not answer in time",
    "redis_unreachable": "Redis cannot be reached",
    "redis_tls": "no TLS connection to Redis came about",
}


def _code(error: Exception) -> str | None:
    """The code of our own error for it; None: none of those that are told apart."""
    low = str(error).lower()
    by_class = (code for kind, code in _BY_CLASS if isinstance(error, kind))
    by_text = (code for mark, code in _BY_TEXT if mark in low)
    return next(iter((*by_class, *by_text, *(["redis_unreachable"] if broken(error) else []))), None)


def translated(error: Exception) -> StoreError:
    """A StoreError for what a client raised.

    Of the server's own words only a known one is kept: the rest may quote arguments, and those may hold a code.
    """
    code = _code(error)
    if code:
        return StoreError(_SENTENCE[code], code=code)
    # In errors of scripts the word does not come first.
    word = re.search(r"\b(MISCONF|NOREPLICAS|BUSY|TRYAGAIN|MOVED|ASK|CROSSSLOT|UNKILLABLE)\b", str(error))
    shown = word[0] if word else type(error).__name__
    return StoreError(f"Redis answered with an error ({shown})", code="redis_error")
