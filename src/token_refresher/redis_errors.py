"""From the many exceptions of Redis's clients to one. Knows redis-py's by their names alone, so that nobody imports it
only to hear that nothing went wrong.
"""

from __future__ import annotations

import re
import sys

from .errors import StoreError


class ServerError(Exception):
    """Redis answered with an error; its text is Redis's own."""


class LoadingError(ServerError, ConnectionError):
    """Redis has just been started and does not answer yet: as good as no connection, and worth another try."""


def server_error(text: str) -> ServerError:
    """The error for a text of Redis's."""
    return LoadingError(text) if text.startswith("LOADING") else ServerError(text)


def client_errors() -> tuple[type[Exception], ...]:
    """All that a client raises; of redis-py, what can have been raised where it was imported."""
    library = sys.modules.get("redis")
    if library is None:
        return ServerError, OSError
    return ServerError, OSError, library.RedisError, library.exceptions.RedisClusterException


def broken(error: object) -> bool:
    """Whether the connection failed, or who is behind it, rather than the command."""
    return isinstance(error, Exception) and not _names(error).isdisjoint(_BROKEN)


def _names(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


# The names are the standard library's and redis-py's alike.
_BROKEN = frozenset(("OSError", "ConnectionError", "TimeoutError"))

# redis-py's own distinctions, and what stands in the text of errors that it does not tell apart (those of scripts).
_BY_CLASS = (
    ("OutOfMemoryError", "redis_out_of_memory"),
    ("ReadOnlyError", "redis_read_only"),
    ("NoPermissionError", "redis_no_permission"),
    ("AuthenticationError", "redis_auth"),
    ("AuthenticationWrongNumberOfArgsError", "redis_auth"),
    ("BusyLoadingError", "redis_loading"),
    ("MasterDownError", "redis_loading"),
    ("ClusterDownError", "redis_loading"),
    ("TimeoutError", "redis_timeout"),
)
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


def translated(error: Exception) -> StoreError:
    """A StoreError for what a client raised.

    Of the server's own words only a known one is kept: the rest may quote arguments, and those may hold a code.
    """
    text, names = str(error), _names(error)
    code = next((code for kind, code in _BY_CLASS if kind in names), None)
    code = code or next((code for mark, code in _BY_TEXT if mark in text.lower()), None)
    if code is None and broken(error):
        code = "redis_unreachable"
    if code:
        return StoreError(_SENTENCE[code], code=code)
    # In errors of scripts the word does not come first.
    word = re.search(r"\b(MISCONF|NOREPLICAS|BUSY|TRYAGAIN|MOVED|ASK|CROSSSLOT|UNKILLABLE)\b", text)
    shown = word[0] if word else type(error).__name__
    return StoreError(f"Redis answered with an error ({shown})", code="redis_error")
