"""What servers and networks say about Redis, and what each of it means for the person who reads it. Pure.

What redis-py has a class for has a name here, and `errors.py` finds it by its class. Its words are looked for all the
same: a script, or a list of what several sentinels said, has the words alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Meaning(NamedTuple):
    """`mark`: a regular expression for small letters, "" where only the class tells.

    `what` and `advice` name the address by what `Place.words` knows, in braces. `advice`: "" for that of the catalogue.
    """

    mark: str
    code: str
    what: str
    advice: str = ""


# The only names that a message repeats: anything else in a server's sentence may be a credential.
COMMANDS = frozenset({
    "ACL", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEL", "EVAL", "EXISTS", "EXPIRE", "GET", "HDEL", "HELLO",
    "HGET", "HGETALL", "HMGET", "HSET", "INFO", "PEXPIRE", "PING", "PTTL", "ROLE", "SELECT", "SENTINEL", "SET", "TIME",
    "TTL", "TYPE",
})  # fmt: skip
UNKNOWN_COMMAND = re.compile("unknown (?:redis )?command(?: called from|,)?(?: [`'\"]?([a-z|]{2,20}))?")

_DATABASE = "the end of REDIS_URL (storage_redis.db)"
_AUTH = "REDIS_URL (or storage_redis.url, or auth)"
_WHOLE = "REDIS_URL (storage_redis.username and auth)"

# -- by their classes, too
A_SENTINEL = Meaning(
    "",
    "redis_wrong_form",
    "a sentinel answers {there}, not a Redis server",
    "write {sentinel}://HOST:PORT/NAME in REDIS_URL; NAME is what the sentinels call the primary",
)
IN_A_CLUSTER = Meaning(
    "",
    "redis_wrong_form",
    "{redis} is a node of a cluster that does not hold the key",
    "write {cluster}:// instead of {scheme}:// in REDIS_URL",
)
NO_CLUSTER = Meaning(
    "cluster support disabled|cluster mode is not enabled",
    "redis_wrong_form",
    "the Redis server {there} is not a cluster",
    "write {server}:// instead of {scheme}:// in REDIS_URL",
)
NO_SENTINEL = Meaning(
    "",
    "redis_wrong_form",
    "a Redis server answers {there}, not a sentinel",
    "write {server}:// ({cluster}:// for a cluster), or after {sentinel}:// the sentinels' port (mostly 26379)",
)
ONE_DATABASE = Meaning(
    "", "redis_database", "{redis} has only one database", f"leave the database's number out: {_DATABASE}"
)
OUT_OF_MEMORY = Meaning("oom command not allowed", "redis_out_of_memory", "{redis} is out of memory")
READ_ONLY = Meaning(
    "readonly|read only (replica|slave)", "redis_read_only", "{redis} is a replica, which takes no writes"
)
NOT_READY = Meaning(r"\bloading\b|masterdown|link with master is down", "redis_loading", "{redis} is not ready")
MOVING = Meaning(
    "tryagain", "redis_error", "{redis} moves this key to another node (TRYAGAIN)", "the next run tries again"
)
ACROSS_SLOTS = Meaning("crossslot", "redis_error", "{redis} takes these keys for those of several nodes (CROSSSLOT)")
NO_USER_NAMES = Meaning(
    "wrong number of arguments for 'auth'",
    "redis_auth",
    "{redis} did not accept the login: it takes a password without a user name",
    f"take the user name out of {_WHOLE}, or upgrade Redis to 6.2 or newer",
)
WRONG_LOGIN = Meaning(
    "wrongpass|invalid username|invalid password",
    "redis_auth",
    "{redis} did not accept the login",
    f"correct the password (and user) in {_WHOLE}",
)
TIMED_OUT = Meaning(r"timeout|timed out", "redis_timeout", "{redis} did not answer in time")
UNREACHABLE = Meaning(
    "cluster cannot be connected",
    "redis_unreachable",
    "{redis} cannot be reached",
    "check {address}, the network, and the white list of the Redis instance",
)

# -- by their words alone
_ADDRESS = (
    Meaning(
        r"illegal address|white ?list|\bip\b.{0,40}not (allowed|in the)|invalid ip\b",
        "redis_not_white_listed",
        "{redis} does not serve this machine's address",
    ),
    Meaning(
        "protected mode",
        "redis_not_white_listed",
        "{redis} serves only its own machine (protected mode)",
        "set a password in Redis (requirepass), then write it in REDIS_URL (or storage_redis.url, or auth)",
    ),
)
_FORM = (
    A_SENTINEL,
    IN_A_CLUSTER,
    NO_CLUSTER,
    Meaning(
        "select is not allowed in cluster",
        "redis_database",
        "{redis} is in a cluster, and a cluster has only database 0",
        f"leave the database's number out: {_DATABASE}",
    ),
    Meaning(
        "db index|invalid db|invalid database",
        "redis_database",
        "{redis} has no database with the number {database}",
        f"write a number that it has, mostly 0 to 15: {_DATABASE}",
    ),
)
_STATE = (
    OUT_OF_MEMORY,
    READ_ONLY,
    NOT_READY,
    Meaning("clusterdown|hash slot not served|slots? .{0,20}not covered", "redis_loading", "{redis} is not ready"),
    Meaning(
        "misconf",
        "redis_error",
        "{redis} cannot save to its disk, so it takes no writes (MISCONF)",
        "free space on the disk of the Redis server; for a managed instance, ask its provider",
    ),
    Meaning(
        "noreplicas",
        "redis_error",
        "{redis} has too few replicas connected, so it takes no writes (NOREPLICAS)",
        "bring the replicas back, or lower min-replicas-to-write",
    ),
    Meaning(
        r"\bbusy\b",
        "redis_error",
        "a script of another client keeps {redis} busy (BUSY)",
        "end that script (SCRIPT KILL); the next run tries again",
    ),
    Meaning("unkillable", "redis_error", "a script keeps {redis} busy (UNKILLABLE)"),
    MOVING,
    ACROSS_SLOTS,
    Meaning(
        "max number of clients|max.{0,12}connections",
        "redis_unreachable",
        "{redis} cannot be reached: it has as many connections as it allows",
        "close connections that are not needed, or raise maxclients of the instance",
    ),
)
_LOGIN = (
    Meaning(
        r"no master found.*(authentication required|invalid username|invalid password|without any password"
        r"|no password is set)",
        "redis_auth",
        "{redis} did not accept the login",
        "set ?sentinel_username=...&sentinel_password=... in REDIS_URL; without a sentinel there, write {server}://",
    ),
    Meaning(
        "incomplete",
        "redis_auth",
        "{redis} wants an account (or instance id) beside the password",
        f"write {{scheme}}://ACCOUNT:PASSWORD@HOST in {_WHOLE}",
    ),
    Meaning(
        "without any password|no password is set",
        "redis_auth",
        "{redis} did not accept the login: it has no password, and one is given",
        f"take the password out of {_AUTH}",
    ),
    Meaning(
        "noauth|authentication required|operation not permitted",
        "redis_auth",
        "{redis} did not accept the login: it asks for a password, and none is given",
        f"set the password in {_AUTH}",
    ),
    NO_USER_NAMES,
    WRONG_LOGIN,
)
_TLS = (
    Meaning(
        "hostname mismatch|ip address mismatch|is not valid for|doesn't match",
        "redis_tls",
        "the certificate of {redis} is for another name",
        "write the name that the certificate has as the host in REDIS_URL (storage_redis.host), or replace it",
    ),
    Meaning(
        "certificate has expired|certificate is not yet valid",
        "redis_tls",
        "the certificate of {redis} is out of date",
        "renew the certificate; check this machine's clock",
    ),
    Meaning(
        "certificate verify failed|self.signed certificate",
        "redis_tls",
        "the certificate of {redis} is signed by an authority that is not trusted here",
        "give the CA that signed it: ?ssl_ca_certs=PATH at the end of REDIS_URL",
    ),
    Meaning(
        "wrong version number|record layer|unknown protocol|packet length too long",
        "redis_tls",
        "{redis} does not speak TLS",
        "write {plain}:// instead of {scheme}:// in REDIS_URL, or the port that speaks TLS",
    ),
    Meaning(
        "certificate required|alert (bad certificate|handshake failure|unknown ca)",
        "redis_tls",
        "{redis} asks for a client's certificate",
        "give one that Redis trusts: ?ssl_certfile=PATH&ssl_keyfile=PATH at the end of REDIS_URL",
    ),
    Meaning(r"\[ssl|\bssl\b.{0,30}error|eof occurred in violation", "redis_tls", "TLS to {redis} cannot be set up"),
)
_NETWORK = (
    Meaning(
        r"no master found for '[^']*'\s*$",
        "redis_unreachable",
        "{redis} knows no working primary {primary}{unreached}",
        "correct the primary's name after the hosts in REDIS_URL (storage_redis.url), or start the primary; "
        "SENTINEL MASTERS lists them",
    ),
    Meaning(
        "name or service|resolution|no address associated|nodename nor servname|getaddrinfo",
        "redis_unreachable",
        "{redis} cannot be reached: {host} cannot be resolved",
        "correct {address}, or this machine's name server",
    ),
    Meaning(
        "connection refused|connect call failed",
        "redis_unreachable",
        "{redis} cannot be reached: nothing listens there",
        "correct {address}; check that Redis runs",
    ),
    Meaning(
        "what answers is not redis",
        "redis_unreachable",
        "{redis} cannot be reached: what answers there is not Redis",
        "correct {address}; if the port speaks TLS, write {secure}://",
    ),
    Meaning(
        "closed by server|connection reset|reset by peer|broken pipe",
        "redis_unreachable",
        "{redis} cannot be reached: the connection was closed",
        "check that this is the port of Redis, and its white list; "
        "write {secure}:// in REDIS_URL if the port speaks TLS, else {plain}://",
    ),
    TIMED_OUT,
    UNREACHABLE,
)
# A server without TLS waits for the end of a command, which the handshake never brings.
NO_HANDSHAKE = Meaning(
    "handshake operation timed out",
    "redis_timeout",
    "{redis} did not answer the TLS handshake in time",
    "if the port does not speak TLS, write {plain}:// instead of {scheme}:// in REDIS_URL; else Redis is slow",
)
# redis-py says the same for a connection and for a handshake that take too long.
NOT_DIALED = Meaning(
    "timeout connecting to server",
    "redis_timeout",
    "{redis} did not answer in time",
    "if the port does not speak TLS, write {plain}:// instead of {scheme}:// in REDIS_URL; else check network and load",
)
# An address that the sentinels or nodes name is spoken to as they are.
NAMED_WITHOUT_TLS = (
    "let Redis announce a port that speaks TLS, as {secure}:// uses it for every server: tls-replication, tls-cluster"
)
# What is different where the address is a socket file; their marks come before all others there.
OF_A_SOCKET = (
    Meaning(
        "no such file|error 2 connecting",
        "redis_unreachable",
        "{redis} cannot be reached: the file does not exist",
        "correct {address}; check that Redis runs, with this path as its unixsocket",
    ),
    Meaning(
        "permission denied|error 13 connecting",
        "redis_unreachable",
        "{redis} cannot be reached: this user may not open it",
        "let this user write to the file (unixsocketperm of Redis, or a group), and enter its folders",
    ),
    Meaning(
        "connection refused|connect call failed|error 111 connecting",
        "redis_unreachable",
        "{redis} cannot be reached: no server listens at it",
        "start Redis with this path as its unixsocket, or correct {address}",
    ),
    Meaning(
        "temporarily unavailable|error 11 connecting",
        "redis_timeout",
        "{redis} did not accept the connection in time",
        "look at the load of Redis: it is slow or frozen, and others wait for it too",
    ),
    Meaning(
        "closed by server|connection reset|reset by peer|broken pipe",
        "redis_unreachable",
        "{redis} cannot be reached: the connection was closed",
        "check that Redis runs, and has a free connection (maxclients)",
    ),
)
# Instead of those that are found by a class.
INSTEAD_AT_A_SOCKET = {
    UNREACHABLE: UNREACHABLE._replace(
        advice="check that the file exists, that this user may open it, and that a server listens at it"
    ),
    TIMED_OUT: TIMED_OUT._replace(advice="look at the load of Redis: it is slow or frozen"),
}
MEANINGS: tuple[Meaning, ...] = (*_ADDRESS, *_FORM, *_STATE, *_LOGIN, *_TLS, *_NETWORK)
