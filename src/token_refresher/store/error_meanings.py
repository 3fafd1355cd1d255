"""What servers and networks say about Redis, and what each of it means for the person who reads it. Pure.

What redis-py has a class for has a name here, and `errors.py` finds it by its class. Its words are looked for all the
same: a script, or a list of what several sentinels said, has the words alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Meaning(NamedTuple):
    """`mark`: a regular expression for small letters, "" where only the class tells.

    `advice`: "" for that of the code in the catalogue.
    """

    mark: str
    code: str
    what: str
    advice: str = ""


# The only names that a message repeats: what else stands in a server's sentence may be a code.
COMMANDS = frozenset({
    "ACL", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEL", "EVAL", "EXISTS", "EXPIRE", "GET", "HDEL", "HELLO",
    "HGET", "HGETALL", "HMGET", "HSET", "INFO", "PEXPIRE", "PING", "PTTL", "ROLE", "SELECT", "SENTINEL", "SET", "TIME",
    "TTL", "TYPE",
})  # fmt: skip
UNKNOWN_COMMAND = re.compile("unknown (?:redis )?command(?: called from|,)?(?: [`'\"]?([a-z|]{2,20}))?")

_DATABASE = "the end of REDIS_URL (storage_redis.db)"
_AUTH = "REDIS_URL (storage_redis.auth)"
_WHOLE = "REDIS_URL (storage_redis.username and auth)"
_HOST = "REDIS_URL (storage_redis.host)"

# -- by their classes, too
A_SENTINEL = Meaning(
    "",
    "redis_wrong_form",
    "a sentinel answers there, not a Redis server",
    "write redis+sentinel://HOST:PORT/NAME in REDIS_URL; NAME is what the sentinels call the primary",
)
IN_A_CLUSTER = Meaning(
    "",
    "redis_wrong_form",
    "Redis is a cluster, and this node does not hold the key",
    "write redis+cluster:// instead of redis:// in REDIS_URL",
)
OUT_OF_MEMORY = Meaning("oom command not allowed", "redis_out_of_memory", "Redis is out of memory")
READ_ONLY = Meaning("readonly|read only (replica|slave)", "redis_read_only", "this Redis server only reads")
NOT_READY = Meaning(r"\bloading\b|masterdown|link with master is down", "redis_loading", "Redis is not ready")
MOVING = Meaning(
    "tryagain", "redis_error", "Redis moves this key to another node (TRYAGAIN)", "the next run tries again"
)
ACROSS_SLOTS = Meaning("crossslot", "redis_error", "Redis takes these keys for those of several nodes (CROSSSLOT)")
NO_USER_NAMES = Meaning(
    "wrong number of arguments for 'auth'",
    "redis_auth",
    "Redis did not accept the login: it takes a password, and no user name",
    f"take the user name out of {_WHOLE}, or upgrade Redis to 6.2 or newer",
)
WRONG_LOGIN = Meaning(
    "wrongpass|invalid username|invalid password",
    "redis_auth",
    "Redis did not accept the login",
    f"correct the password (and user) in {_WHOLE}",
)
TIMED_OUT = Meaning(r"timeout|timed out", "redis_timeout", "Redis did not answer in time")
UNREACHABLE = Meaning("cluster cannot be connected", "redis_unreachable", "Redis cannot be reached")

# -- by their words alone
_ADDRESS = (
    Meaning(
        r"illegal address|white ?list|\bip\b.{0,40}not (allowed|in the)|invalid ip\b",
        "redis_not_white_listed",
        "Redis does not serve this machine's address",
    ),
    Meaning(
        "protected mode",
        "redis_not_white_listed",
        "Redis serves only its own machine (protected mode)",
        "set a password in Redis (requirepass), then write it in REDIS_URL (storage_redis.auth)",
    ),
)
_FORM = (
    A_SENTINEL,
    IN_A_CLUSTER,
    Meaning(
        "cluster support disabled|cluster mode is not enabled",
        "redis_wrong_form",
        "this Redis is not a cluster",
        # redis-py says the same when the user may not ask for the slots.
        "write redis:// instead of redis+cluster:// in REDIS_URL; in a cluster, give the user +cluster|slots +command",
    ),
    Meaning(
        "select is not allowed in cluster",
        "redis_database",
        "a cluster has only database 0",
        f"leave the database's number out: {_DATABASE}",
    ),
    Meaning("db index|invalid db|invalid database", "redis_database", "Redis has no database with this number"),
)
_STATE = (
    OUT_OF_MEMORY,
    READ_ONLY,
    NOT_READY,
    Meaning("clusterdown|hash slot not served|slots? .{0,20}not covered", "redis_loading", "Redis is not ready"),
    Meaning(
        "misconf",
        "redis_error",
        "Redis cannot save to its disk, so it takes no writes (MISCONF)",
        "free space on the disk of the Redis server; of a managed instance, ask its provider",
    ),
    Meaning(
        "noreplicas",
        "redis_error",
        "Redis has too few replicas connected, so it takes no writes (NOREPLICAS)",
        "bring the replicas back, or lower min-replicas-to-write",
    ),
    Meaning(
        r"\bbusy\b",
        "redis_error",
        "a script of another client keeps Redis busy (BUSY)",
        "end that script (SCRIPT KILL); the next run tries again",
    ),
    Meaning("unkillable", "redis_error", "a script keeps Redis busy (UNKILLABLE)"),
    MOVING,
    ACROSS_SLOTS,
    Meaning(
        "max number of clients|max.{0,12}connections",
        "redis_unreachable",
        "Redis cannot be reached: it has as many connections as it allows",
        "close connections that are not needed, or raise maxclients of the instance",
    ),
)
_LOGIN = (
    Meaning(
        r"no master found.*(authentication required|invalid username|invalid password|without any password"
        r"|no password is set)",
        "redis_auth",
        "the sentinels did not accept the login",
        "set ?sentinel_username=...&sentinel_password=... in REDIS_URL; without a sentinel there, write redis://",
    ),
    Meaning(
        "incomplete",
        "redis_auth",
        "Redis wants an account (or instance id) beside the password",
        f"write redis://ACCOUNT:PASSWORD@HOST in {_WHOLE}",
    ),
    Meaning(
        "without any password|no password is set",
        "redis_auth",
        "Redis did not accept the login: it has no password, and one is given",
        f"take the password out of {_AUTH}",
    ),
    Meaning(
        "noauth|authentication required|operation not permitted",
        "redis_auth",
        "Redis did not accept the login: it asks for a password, and none is given",
        f"set the password in {_AUTH}",
    ),
    NO_USER_NAMES,
    WRONG_LOGIN,
)
_TLS = (
    Meaning(
        "hostname mismatch|ip address mismatch|is not valid for|doesn't match",
        "redis_tls",
        "Redis's certificate is for another name",
        f"write the name that the certificate has as the host in {_HOST}, or get a certificate for this one",
    ),
    Meaning(
        "certificate has expired|certificate is not yet valid",
        "redis_tls",
        "Redis's certificate is out of date",
        "renew Redis's certificate; check this machine's clock",
    ),
    Meaning(
        "certificate verify failed|self.signed certificate",
        "redis_tls",
        "Redis's certificate is signed by an authority that is not trusted here",
        "give the CA that signed it: ?ssl_ca_certs=PATH at the end of REDIS_URL",
    ),
    Meaning(
        "wrong version number|record layer|unknown protocol|packet length too long",
        "redis_tls",
        "Redis's port does not speak TLS",
        "write redis:// instead of rediss:// in REDIS_URL, or the port that speaks TLS",
    ),
    Meaning(
        "certificate required|alert (bad certificate|handshake failure|unknown ca)",
        "redis_tls",
        "Redis asks for a client's certificate",
        "give one that Redis trusts: ?ssl_certfile=PATH&ssl_keyfile=PATH at the end of REDIS_URL",
    ),
    Meaning(r"\[ssl|\bssl\b.{0,30}error|eof occurred in violation", "redis_tls", "there is no TLS connection to Redis"),
)
_NETWORK = (
    Meaning(
        r"no master found for '[^']*'\s*$",
        "redis_unreachable",
        "Redis cannot be reached: the sentinels know no primary of this name that works",
        "correct the name after the sentinels' addresses in REDIS_URL; ask one with SENTINEL MASTERS",
    ),
    Meaning(
        "name or service|resolution|no address associated|nodename nor servname|getaddrinfo",
        "redis_unreachable",
        "Redis cannot be reached: its host's name is not known",
        f"correct the host in {_HOST}, or this machine's name server",
    ),
    Meaning(
        "connection refused|connect call failed",
        "redis_unreachable",
        "Redis cannot be reached: nothing listens there",
        "correct host and port in REDIS_URL (storage_redis.port); check that Redis runs",
    ),
    Meaning(
        "what answers is not redis",
        "redis_unreachable",
        "Redis cannot be reached: what answers there is not Redis",
        "correct host and port in REDIS_URL; if the port speaks TLS, write rediss://",
    ),
    Meaning(
        "closed by server|connection reset|reset by peer|broken pipe",
        "redis_unreachable",
        "Redis cannot be reached: the connection was closed",
        "check Redis and its white list; the URL needs rediss:// if the port speaks TLS, else redis://",
    ),
    UNREACHABLE,
    TIMED_OUT,
)
# A server without TLS waits for the end of a command, which the handshake never brings.
NO_HANDSHAKE = Meaning(
    "handshake operation timed out",
    "redis_timeout",
    "Redis did not answer the TLS handshake in time",
    "most likely the port speaks no TLS: write redis:// for rediss:// in REDIS_URL; else Redis is slow or frozen",
)
MEANINGS: tuple[Meaning, ...] = (*_ADDRESS, *_FORM, *_STATE, *_LOGIN, *_TLS, *_NETWORK)
