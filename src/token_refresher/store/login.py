"""What a login of redis-py leaves out: accounts that are one word with their password, and sentinels. Pure."""

from __future__ import annotations

from typing import Any

import redis
from redis import exceptions

from token_refresher.store.error_meanings import UNKNOWN_COMMAND
from token_refresher.store.errors import SentinelError

# Only a sentinel answers with its own name first.
ROLE = "ROLE"
# What is sent to a Redis server and no sentinel knows.
_OURS = frozenset({"AUTH", "CLUSTER", "EVAL", "GET", "PTTL", "SELECT", "SET", "TIME"})


def wants_one_word(error: Exception) -> bool:
    """Whether the server knows no AUTH with a user name: Redis before 6, and managed instances of that age."""
    if isinstance(error, exceptions.AuthenticationWrongNumberOfArgsError):
        return True
    text = str(error).lower()
    return "wrong number of arguments" in text or ("auth" in text and "incomplete" in text)


def as_one_word(connection: Any) -> str:
    """`account:password`, as such an instance takes it; "" where the URL has no account."""
    user, password = connection.username, connection.password
    return f"{user}:{password}" if user and password else ""


def may_be_a_sentinel(error: Exception) -> bool:
    """Whether this is what a sentinel says to a command, or to a login, that is meant for a Redis server."""
    text = str(error).lower()
    unknown = UNKNOWN_COMMAND.search(text)
    return isinstance(error, redis.RedisError) and (
        bool(unknown and (unknown[1] or "").upper() in _OURS)
        or "without any password" in text
        or "no password is set" in text
    )


def is_a_sentinel(role: Any) -> bool:
    """Whether `role`, the reply to ROLE, is a sentinel's."""
    return isinstance(role, list) and bool(role) and role[0] in (b"sentinel", "sentinel")


def sentinel_error() -> SentinelError:
    return SentinelError("a sentinel answers")


def located(error: Exception, connection: Any) -> None:
    """Note in the error where it happened, and what the server said: redis-py's pipelines put other words there.

    The innermost connection knows it best; before a sentinel named the primary there is none.
    """
    noted: Any = error
    if not hasattr(noted, "said"):
        noted.said = str(error)
    if not hasattr(noted, "place"):
        noted.place = connection.place.at(connection)
