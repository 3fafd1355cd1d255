"""From the many exceptions of redis-py to one: by its class where redis-py has one, else by the server's words."""

from __future__ import annotations

import itertools
import re

import redis
from redis import exceptions

from token_refresher.domain.addresses import Topology
from token_refresher.domain.errors import StoreError
from token_refresher.store.error_meanings import (
    A_SENTINEL,
    ACROSS_SLOTS,
    COMMANDS,
    IN_A_CLUSTER,
    INSTEAD_AT_A_SOCKET,
    MEANINGS,
    MOVING,
    NAMED_WITHOUT_TLS,
    NO_CLUSTER,
    NO_HANDSHAKE,
    NO_SENTINEL,
    NO_USER_NAMES,
    NOT_DIALED,
    NOT_READY,
    OF_A_SOCKET,
    ONE_DATABASE,
    OUT_OF_MEMORY,
    READ_ONLY,
    TIMED_OUT,
    UNKNOWN_COMMAND,
    UNREACHABLE,
    WRONG_LOGIN,
    Meaning,
)
from token_refresher.store.place import Place

# How scripts say that the user may not do what they do; 6.2 has the first, 7 the second.
_ABOUT_RIGHTS = re.compile(
    "user executing the script can't|acl failure in script|noperm|no permissions|no privilege"
    r"|(command|cmd) '?[a-z|]+'? (is )?(not support(ed)? for|forbidden|not allowed for|denied for)",
    re.IGNORECASE,
)


class LostError(redis.ConnectionError):
    """A connection that was used before is silent, or leads to a former primary: a new one may well work."""


class SentinelError(redis.ResponseError):
    """A sentinel answers where a Redis server should."""


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
        isinstance(error, redis.ResponseError) and _meaning(error, Place()).code == "redis_read_only"
    )


_ANSWERS = (exceptions.BusyLoadingError, exceptions.AuthenticationError, exceptions.AuthorizationError)

# What these classes mean for certain, whatever else the server says.
_BY_CLASS: tuple[tuple[type[Exception], Meaning], ...] = (
    (redis.TimeoutError, TIMED_OUT),
    (TimeoutError, TIMED_OUT),
    (LostError, TIMED_OUT),
    (SentinelError, A_SENTINEL),
    (exceptions.OutOfMemoryError, OUT_OF_MEMORY),
    (exceptions.ReadOnlyError, READ_ONLY),
    (exceptions.BusyLoadingError, NOT_READY),
    (exceptions.TryAgainError, MOVING),
    (exceptions.ClusterCrossSlotError, ACROSS_SLOTS),
    (exceptions.ClusterDownError, NOT_READY),
    (exceptions.AskError, IN_A_CLUSTER),
)
# What these mean where the server's words do not say more.
_OTHERWISE: tuple[tuple[type[Exception], Meaning], ...] = (
    (exceptions.AuthenticationWrongNumberOfArgsError, NO_USER_NAMES),
    (exceptions.AuthenticationError, WRONG_LOGIN),
    (exceptions.AuthorizationError, WRONG_LOGIN),
    (redis.ConnectionError, UNREACHABLE),
    (OSError, UNREACHABLE),
)
_OTHER = Meaning("", "redis_error", "{redis} answered with an error ({type})")
# redis-py puts the errors of all sentinels into one text, each after the name of its class.
_CLASS_NAME = re.compile(r"\b[A-Za-z]+Error(?=\()")


def _said(error: Exception) -> str:
    """The server's own words, which redis-py's pipelines replace; see `login.located`."""
    return str(getattr(error, "said", error))


def _words(error: Exception) -> str:
    """What the server, or the network, said; in small letters, and without the names of classes."""
    cause = error.__cause__ or error.__context__
    known = [str(cause)] if isinstance(cause, OSError) else []
    return _CLASS_NAME.sub("", " ".join([_said(error), *known])).lower()


def _meaning(error: Exception, place: Place) -> Meaning:
    if missing := missing_right(error):
        return _about_rights(missing)
    words = _words(error)
    if found := UNKNOWN_COMMAND.search(words):
        # Before all others: it quotes the arguments, which may hold any word.
        return _about_command(found[1] or "")
    if NO_HANDSHAKE.mark in words:
        return NO_HANDSHAKE._replace(advice=NAMED_WITHOUT_TLS) if place.found else NO_HANDSHAKE
    if place.tls and NOT_DIALED.mark in words:
        return NOT_DIALED
    at_a_socket = place.topology is Topology.SOCKET
    known = (*OF_A_SOCKET, *MEANINGS) if at_a_socket else MEANINGS
    by_class = (meaning for kind, meaning in _BY_CLASS if isinstance(error, kind))
    by_words = (meaning for meaning in known if meaning.mark and re.search(meaning.mark, words))
    otherwise = (meaning for kind, meaning in _OTHERWISE if isinstance(error, kind))
    meaning = next(itertools.chain(by_class, by_words, otherwise), _OTHER)
    return INSTEAD_AT_A_SOCKET.get(meaning, meaning) if at_a_socket else meaning


def missing_right(error: Exception) -> str:
    """What a Redis user may not do: a command's name, "keys", or "" when the error is about something else.

    Redis 6.2, 7 and managed instances use different words, inside of scripts and outside.
    """
    text = _said(error)
    if not isinstance(error, exceptions.NoPermissionError) and not _ABOUT_RIGHTS.search(text):
        return ""
    named = re.search(r"(?:run the|command|cmd) '?([a-z|]{2,40})'?(?: command| (?:is )?(?:not|forb|den))", text, re.I)
    command = named[1].lower() if named else ""
    if command.partition("|")[0].upper() in COMMANDS:
        return command
    return "keys" if "access" in text else "a command"


def _about_rights(missing: str) -> Meaning:
    user = "the user of {redis}"
    if missing == "keys":
        advice = "give the Redis user the right to these keys; docs/how-to/redis-users.md has the whole line"
        return Meaning("", "redis_no_permission", f"{user} has no right to the keys", advice)
    if missing == "a command":
        return Meaning("", "redis_no_permission", f"{user} may not run a command that is needed")
    advice = f"give the Redis user +{missing} (docs/how-to/redis-users.md), or use an account that may read and write"
    return Meaning("", "redis_no_permission", f"{user} may not run {missing.upper()}", advice)


def _about_command(command: str) -> Meaning:
    name = command.upper()
    if name in _FORMS:
        return _FORMS[name]
    shown = f"the command {name}" if name in COMMANDS else "a command that is needed"
    return Meaning("", "redis_no_command", f"{{redis}} does not know {shown}")


# What a server is that does not know one of these.
_FORMS = {"SENTINEL": NO_SENTINEL, "CLUSTER": NO_CLUSTER, "SELECT": ONE_DATABASE}


def translated(error: Exception, everywhere: Place | None = None) -> StoreError:
    """A StoreError for what a client raised: what it means, where, and what to do.

    `everywhere` is the whole address, for an error that does not say where it happened. None of the server's own words
    are kept: they may quote arguments, and those may hold a credential.
    """
    cause = _of_a_node(error)
    at = getattr(cause, "place", None) or everywhere or Place()
    # Of a cluster, all nodes were tried, and redis-py says what the last one did.
    place = (getattr(error, "place", None) or everywhere or at) if cause is not error else at
    meaning = _meaning(cause, at)
    words = {**place.words(), "host": at.words()["host"], "type": type(cause).__name__}
    advice = meaning.advice.format(**words)
    return StoreError(meaning.what.format(**words), code=meaning.code, advice=advice)


def _of_a_node(error: Exception) -> Exception:
    """What a node of a cluster did, of which redis-py makes a sentence of its own."""
    while isinstance(error, exceptions.RedisClusterException):
        inner = error.__cause__ or error.__context__
        if not isinstance(inner, client_errors()):
            break
        error = inner
    return error
