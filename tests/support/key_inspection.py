"""Looks through a whole Redis: keys without TTL, and secrets and credentials where they should not be."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import redis

from .redis_server import RedisServer

# The two public value keys, with whatever prefix: the only place for a credential, and braces make a private key.
_PUBLIC = re.compile(r"[^{}]*type/(server_access_token_info|js_ticket_info)/app_id/[^{}/]+")
_SCAN_AT_ONCE = 1000
# A Sentinel holds no keys, and a cluster that is not formed holds none yet. A server that is still loading was
# looked into before it was started anew.
_NOTHING_THERE = ("unknown command", "CLUSTERDOWN")
# A server without keys lists no database. All servers are asked after each test, and most are empty then.
_NO_DATABASE = (b"$12\r\n# Keyspace\r\n\r\n", b"$0\r\n\r\n")
_ASKED_S = 5.0

# Given (text, whether credentials of the platform are allowed in it): the words for each secret found in it.
Search = Callable[[str, bool], list[str]]


def inspect(server: RedisServer, search: Search, ttl_wanted: bool = True) -> list[str]:
    """Everything wrong with what `server` holds, as sentences. A dead server holds nothing."""
    if not server.alive:
        return []
    if server.paused:
        server.resume()
    if _says_that_it_is_empty(server):
        return []
    client = server.client(decode_responses=True, encoding_errors="surrogateescape")
    try:
        return [finding for db in _databases(client) for finding in _database(client, db, search, ttl_wanted)]
    except redis.RedisError as error:
        if isinstance(error, redis.BusyLoadingError) or any(words in str(error) for words in _NOTHING_THERE):
            return []
        return [f"the guard could not look into the Redis on port {server.port}: {error}"]
    finally:
        client.close()


def _says_that_it_is_empty(server: RedisServer) -> bool:
    """Without a client, which takes many times as long. Whatever else the server says, it has to be looked into."""
    asked = [["AUTH", server.password]] if server.password else []
    words = [[part.encode() for part in command] for command in [*asked, ["INFO", "keyspace"]]]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_ASKED_S)
        sock.connect(str(server.unix_socket))
        sock.sendall(b"".join(b"*%d\r\n" % len(c) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in c) for c in words))
        wanted = [b"+OK\r\n" * len(asked) + answer for answer in _NO_DATABASE]
        answer = b""
        while any(each.startswith(answer) for each in wanted):
            if answer in wanted:
                return True
            answer += sock.recv(1024) or b"the end"
    return False


def _databases(client: Any) -> list[int]:
    # A replica of a cluster refuses to be read without this; elsewhere it is an error that means nothing.
    with contextlib.suppress(redis.ResponseError):
        client.execute_command("READONLY")
    keyspace = client.info("keyspace")
    return [int(name.removeprefix("db")) for name in keyspace]


def _database(client: Any, db: int, search: Search, ttl_wanted: bool) -> Iterator[str]:
    if db:
        client.execute_command("SELECT", db)
    for key in client.scan_iter(count=_SCAN_AT_ONCE):
        name = str(key)
        where = f"key {name!r} of Redis"
        found_in_name = search(name, False)
        if found_in_name:
            where = "a key of Redis"
        yield from (f"{what} stands in the name of a key in Redis" for what in found_in_name)
        # -2: expired while we looked.
        if ttl_wanted and client.pttl(name) == -1:
            yield f"{where} has no TTL"
        value = "\n".join(_texts(client, name))
        yield from (f"{what} stands in the value of {where}" for what in search(value, _is_public(name)))


def _is_public(name: str) -> bool:
    return _PUBLIC.fullmatch(name) is not None


def _texts(client: Any, key: str) -> Iterator[str]:
    """Everything that is stored under a key, whatever its type."""
    command: dict[str, tuple[Any, ...]] = {
        "string": ("GET", key),
        "hash": ("HGETALL", key),
        "list": ("LRANGE", key, 0, -1),
        "set": ("SMEMBERS", key),
        "zset": ("ZRANGE", key, 0, -1),
        "stream": ("XRANGE", key, "-", "+"),
    }
    kind = str(client.type(key))
    if kind != "none":
        yield from _flat(client.execute_command(*command[kind]))


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, (list, tuple, set)):
        for part in value:
            yield from _flat(part)
    elif value is not None:
        yield str(value)
