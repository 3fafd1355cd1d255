"""What redis-py does with idle connections after one failed: it dials again instead of using another old one.

A failover behind one address resets old connections at their next byte. A NAT gateway or a load balancer forgets idle
ones silently. Both end all old connections at once, so one that fails says the same of every connection that is older
than the failure. `watched` makes a connection class that knows this, for one server, Sentinel and a cluster alike.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import redis
from redis.connection import ConnectionPool
from redis.exceptions import AuthenticationWrongNumberOfArgsError

from token_refresher.store.errors import LostError, answered, demoted
from token_refresher.store.login import (
    ROLE,
    as_one_word,
    is_a_sentinel,
    located,
    may_be_a_sentinel,
    sentinel_error,
    wants_one_word,
)
from token_refresher.store.place import Place

# The real base comes beside the mixin, in `watched`.
_Connection: Any = object

# What asyncio (3.12 and 3.13) and uvloop raise for a connection that was lost while nobody used it.
_LOST_BY_LOOP = (AttributeError, RuntimeError)
# What redis-py makes of an answer that no Redis gives.
_NONSENSE = (redis.InvalidResponse, ValueError, IndexError, OverflowError, MemoryError, RecursionError)
_NOT_REDIS, _WAS_LOST = "what answers is not Redis", "the connection was lost"
_FAILURES = (redis.ConnectionError, redis.TimeoutError, OSError)


class Failures:
    """When a connection of one client last failed. `latest` is a new object after each failure."""

    def __init__(self) -> None:
        self.latest = object()


class _Watched(_Connection):  # type: ignore[misc]  # mypy sees a base of type Any
    """State and decisions of a connection; both kinds add the calls.

    `_failures` is shared by all connections of a client.
    """

    _failures: Failures
    # The whole address of the client.
    place: Place
    # What `latest` was when this connection was dialed.
    _dialed_after: object = None
    # Whether it is being dialed now: what it then sends is its login, and a failure is one of dialing.
    _dialing = False
    # Whether it has answered since it was dialed, and whether it had when the last command was sent.
    _answered = _was_idle = False
    # Whether this dialing has tried the account and its password as one word, and whether it asked for the role.
    _tried_one_word = _asked_role = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._made_with = options
        super().__init__(*args, **options)

    @property
    def _condemned(self) -> bool:
        """Whether a connection of this client failed after this one was dialed."""
        return self._dialed_after is not self._failures.latest

    def _begin_dialing(self) -> None:
        self._dialed_after, self._answered, self._dialing = self._failures.latest, False, True
        self._tried_one_word = self._asked_role = False

    def _fail(self, error: Exception) -> NoReturn:
        """Condemn every connection that is older than this moment, and raise what tells the caller to repeat or not."""
        self._failures.latest = object()
        if self._was_idle and (demoted(error) or not isinstance(error, redis.ConnectionError)):
            error = LostError("an idle connection was lost")
            located(error, self)
            raise error from None
        located(error, self)
        raise error

    def _no_redis(self) -> redis.ConnectionError:
        error = redis.ConnectionError(_NOT_REDIS)
        located(error, self)
        return error

    def _word_to_try(self, error: Exception) -> str:
        """The account and its password as one word, where this answer to a login asks for it; else ""."""
        word = "" if self._tried_one_word or not wants_one_word(error) else as_one_word(self)
        self._tried_one_word = self._tried_one_word or bool(word)
        return word

    def _after_word(self, failure: Exception, refused: Exception) -> Exception:
        """What to raise when a login in one word failed, after the ordinary one was refused.

        Where that word is refused, too, redis-py goes on with the password alone. Not where the connection is lost: it
        would dial again, log in as the user, and then as the default one.
        """
        return failure if self._is_failure(failure) else AuthenticationWrongNumberOfArgsError(str(refused))

    def _should_ask_role(self, error: Exception) -> bool:
        """Whether to find out, once in the life of a connection, that a sentinel says this."""
        ask = not self._asked_role and may_be_a_sentinel(error) and "connection_pool" not in self._made_with
        self._asked_role = self._asked_role or ask
        return ask

    def _other(self, error: Exception) -> Any:
        """One more connection to the same address: on this one, answers to other commands may be on their way.

        After a refused login it sends none.
        """
        refused = isinstance(error, redis.ConnectionError)
        left_out = ("db", "username", "password") if refused else ("db",)
        return type(self).__bases__[1](**{name: each for name, each in self._made_with.items() if name not in left_out})

    def _is_failure(self, error: Exception) -> bool:
        """Whether the connection failed, or leads to a server that is no longer the primary."""
        return demoted(error) or not (answered(error) or isinstance(error, redis.ResponseError))

    def _must_close(self, error: Exception) -> bool:
        """Whether it must be closed now: a pipeline goes on to read the answers that follow one from a replica."""
        return self._was_idle or not demoted(error)


class _Synchronous(_Watched):
    """A connection of `redis`. It is checked where it is taken from a pool: there redis-py calls `connect`."""

    # When it was last heard, or sent a command (seconds).
    _heard_at = 0.0

    def connect(self) -> None:
        if self._sock is not None:
            if not self._condemned:
                return
            self.disconnect()
        self._begin_dialing()
        try:
            super().connect()
        except (*_FAILURES, redis.RedisError) as error:
            located(error, self)
            raise
        finally:
            self._dialing = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._dialing:
            super().send_packed_command(command, check_health)
            return
        if self._sock is None:
            self.connect()
        self._heard_at, self._was_idle = time.monotonic(), self._answered
        try:
            super().send_packed_command(command, check_health)
        except _FAILURES as error:
            self._fail(error)

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            if not self._dialing:
                self._check_wait()
            reply = super().read_response(*args, **options)
        except _NONSENSE:
            self.disconnect()
            raise self._no_redis() from None
        except (*_FAILURES, redis.RedisError) as error:
            located(error, self)
            if self._dialing:
                return self._log_in_otherwise(error)
            if self._is_failure(error):
                if self._must_close(error):
                    self.disconnect()
                self._fail(error)
            self._answered = True
            if self._should_ask_role(error):
                self._refuse_a_sentinel(self._other(error))
            raise
        self._heard_at, self._answered = time.monotonic(), not self._dialing
        return reply

    def _log_in_otherwise(self, error: Exception) -> Any:
        """The reply to a login in one word."""
        if word := self._word_to_try(error):
            try:
                self.send_command("AUTH", word, check_health=False)
                return super().read_response()
            except redis.RedisError as failure:
                raise self._after_word(failure, error) from None
        if self._should_ask_role(error):
            self._refuse_a_sentinel(self._other(error))
        raise error

    def _refuse_a_sentinel(self, connection: Any) -> None:
        """End `connection`. Raise SentinelError where `connection` leads to a sentinel."""
        role = None
        with contextlib.suppress(*_FAILURES, redis.RedisError):
            connection.send_command(ROLE, check_health=False)
            role = connection.read_response()
        connection.disconnect()
        if is_a_sentinel(role):
            error = sentinel_error()
            located(error, self)
            raise error from None

    def _check_wait(self) -> None:
        """Let the time limit count from the command: a cluster's pipeline waits for one node after another."""
        limit = self.socket_timeout
        if limit and time.monotonic() - self._heard_at >= limit and not self.can_read(0):
            raise redis.TimeoutError("Timeout reading from a node while another was silent")


class _Asynchronous(_Watched):
    """A connection of `redis.asyncio`. A cluster's nodes never call `connect`, so it is checked at each command.

    Nothing is written to a transport that was lost: Python 3.12 and 3.13 would watch its descriptor from then on, also
    once it is closed, and the next connection to get its number would not hear that it is established.
    """

    async def connect(self) -> None:
        if self.is_connected:
            if not (self._condemned or self._writer.transport.is_closing()):
                return
            await self.disconnect(nowait=True)
        self._begin_dialing()
        try:
            await super().connect()
        except (*_FAILURES, redis.RedisError) as error:
            located(error, self)
            raise
        finally:
            self._dialing = False

    async def disconnect(self, nowait: bool = False, **options: Any) -> None:
        """Close it; without a goodbye after a failure (`nowait`), or when the other side gives none in time."""
        writer = self._writer
        if nowait and writer is not None:
            writer.transport.abort()
        try:
            await super().disconnect(nowait=nowait, **options)
        except redis.TimeoutError:
            writer.transport.abort()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._dialing:
            # redis-py closes the connection at a refused login, and dials again for the next word.
            if self.is_connected and self._writer.transport.is_closing():
                await self.disconnect(nowait=True)
                raise redis.ConnectionError(_WAS_LOST)
            await super().send_packed_command(command, check_health)
            return
        await self.connect()
        self._was_idle = self._answered
        try:
            await super().send_packed_command(command, check_health)
        except _LOST_BY_LOOP:
            await self.disconnect(nowait=True)
            self._fail(redis.ConnectionError(_WAS_LOST))
        except _FAILURES as error:
            self._fail(error)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            reply = await super().read_response(*args, **options)
        except _NONSENSE:
            await self.disconnect(nowait=True)
            raise self._no_redis() from None
        except _LOST_BY_LOOP:
            await self.disconnect(nowait=True)
            self._fail(redis.ConnectionError(_WAS_LOST))
        except (*_FAILURES, redis.RedisError) as error:
            located(error, self)
            if self._dialing:
                return await self._log_in_otherwise(error)
            if self._is_failure(error):
                if self._must_close(error):
                    await self.disconnect(nowait=True)
                self._fail(error)
            self._answered = True
            if self._should_ask_role(error):
                await self._refuse_a_sentinel(self._other(error))
            raise
        self._answered = not self._dialing
        return reply

    async def _log_in_otherwise(self, error: Exception) -> Any:
        if word := self._word_to_try(error):
            try:
                await self.send_command("AUTH", word, check_health=False)
                return await super().read_response()
            except redis.RedisError as failure:
                raise self._after_word(failure, error) from None
        if self._should_ask_role(error):
            await self._refuse_a_sentinel(self._other(error))
        raise error

    async def _refuse_a_sentinel(self, connection: Any) -> None:
        role = None
        with contextlib.suppress(*_FAILURES, redis.RedisError):
            await connection.send_command(ROLE, check_health=False)
            role = await connection.read_response()
        await connection.disconnect(nowait=True)
        if is_a_sentinel(role):
            error = sentinel_error()
            located(error, self)
            raise error from None


def watched(connection_class: Any, failures: Failures, place: Place, *, asynchronous: bool = False) -> Any:
    """`connection_class` of redis-py, with connections that take part in `failures` and know `place`."""
    mixin = _Asynchronous if asynchronous else _Synchronous
    return type(connection_class.__name__, (mixin, connection_class), {"_failures": failures, "place": place})


class NodePool(ConnectionPool):
    """The connections to one node of a cluster.

    When redis-py asks for the slots again, it closes all connections of the node that it asks, also those on which
    other threads wait for an answer. This pool leaves those to their threads.
    """

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections=False)


def pools_of(client: Any) -> Iterator[Any]:
    """The connection pools of a client.

    There is one, with Sentinel one more for each sentinel, and one for each node of a cluster that was used. Only a
    cluster's client for asyncio has none.
    """
    if hasattr(client, "get_nodes"):
        nodes = (getattr(node, "redis_connection", None) for node in client.get_nodes())
        yield from (node.connection_pool for node in nodes if node)
        return
    yield client.connection_pool
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    yield from (each.connection_pool for each in (manager.sentinels if manager else ()))


def place_of(client: Any) -> Place:
    """The whole address of a client."""
    made_with = getattr(client, "connection_kwargs", {}).get("connection_class")
    kind = made_with or next((pool.connection_class for pool in pools_of(client)), None)
    found = getattr(kind, "place", None)
    return found if isinstance(found, Place) else Place()


def keep_one(client: Any) -> None:
    """Close all idle connections of a client but one (of a cluster: one for each node). Not for asyncio."""
    for pool in pools_of(client):
        with pool._lock:
            # redis-py takes the last one first.
            for connection in pool._available_connections[:-1]:
                connection.disconnect()
