"""Redis as a server: does it answer, can it do what is needed, will it keep what it is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import redis

from token_refresher.doctor.context import CheckContext
from token_refresher.doctor.finding import Check, Finding
from token_refresher.domain.addresses import RedisUrl, Topology
from token_refresher.domain.errors import StoreError
from token_refresher.domain.host_port import HostPort
from token_refresher.store.connection import create_client
from token_refresher.store.errors import missing_right, translated
from token_refresher.store.place import Place

# Scripts that read the clock before they write: refused by older servers, which replicate scripts word for word.
_NEEDED_VERSION, _TESTED_VERSION = (5, 0), (6, 2)
# Of maxmemory. What is left must hold the bursts of others who use this server.
_FULL, _NEARLY_FULL = 0.95, 0.8
# Date headers have whole seconds, and answers take some time.
_CLOCKS_DIFFER_S = 5
_NO_INFO = "unknown: the Redis user may not run {}"
_NO_INFO_FIX = "give the user +{} for the time of an examination (docs/how-to/redis-users.md), or check it by hand"

_NO_CLUSTER_FIX = "give the Redis user +cluster|slots +command (docs/how-to/redis-users.md)"

REST = ("redis version", "redis role", "redis eviction", "redis memory", "redis persistence")


def reach(context: CheckContext) -> Iterator[Finding]:
    """Connect; without an answer nothing else of Redis is examined."""
    url = context.settings.redis.url
    check, where = Check("redis reachable"), _hosts(url) or f"the socket {url.socket_path}"
    try:
        context.client = create_client(url, context.settings.policy)
        context.ask("TIME")
        yield check.green(f"answers at {where}")
    except (redis.RedisError, OSError, StoreError) as error:
        failed = error if isinstance(error, StoreError) else translated(error)
        if failed.code == "redis_no_permission" and context.client is not None:
            # Someone is logged in; another check names the rights that are missing.
            yield check.green(f"answers at {where}")
            return
        context.gone = failed.what
        yield check.red(failed.what, _reach_fix(failed, url))


def _hosts(url: RedisUrl) -> str:
    return ", ".join(str(HostPort(*each)) for each in url.addresses)


def _reach_fix(failed: StoreError, url: RedisUrl) -> str:
    """The advice that a run gives too, and what the address alone adds to it."""
    if failed.code == "redis_no_permission":
        return _NO_CLUSTER_FIX
    silent = failed.code == "redis_timeout" or failed.what.endswith("cannot be reached")
    if not silent or "://" in failed.advice or url.topology is Topology.SOCKET:
        return failed.advice
    words = Place.of(url).words()
    if url.tls:
        return f"{failed.advice}; if the port does not speak TLS, write {words['plain']}:// in REDIS_URL"
    return f"{failed.advice}; if the port speaks TLS, write {words['secure']}:// in REDIS_URL"


def encryption(context: CheckContext) -> Iterator[Finding]:
    """Who could listen, by the address alone."""
    check, url = Check("redis encryption"), context.settings.redis.url
    if url.tls:
        yield check.green("TLS")
    elif all(host.is_loopback for host in url.hosts):
        yield check.green("stays on this machine")
    else:
        secure = Place.of(url).words()["secure"]
        says = f"the password and the credentials travel unencrypted to {_hosts(url)}"
        fix = f"turn TLS on in Redis and write {secure}:// in REDIS_URL, unless only you use the network"
        yield check.yellow(says, fix)


def server(context: CheckContext) -> Iterator[Finding]:
    """What INFO says, of every server that takes writes."""
    try:
        facts = context.info("all")
    except redis.RedisError as error:
        if not missing_right(error):
            raise
        for name in REST:
            yield Check(name).grey(_NO_INFO.format("INFO"), _NO_INFO_FIX.format("info"))
        return
    for info in facts:
        yield from (version(info), role(info), eviction(info), memory(info))
        yield persistence(info, _save_points(context) if not info.get("aof_enabled") else "")


def version(info: dict[str, Any]) -> Finding:
    """`info` are the names and values of INFO, here and below."""
    check, number = Check("redis version"), str(info.get("redis_version", "?"))
    # What a fork calls redis_version is the Redis that it is compatible with.
    name = str(info.get("server_name", "redis"))
    own = str(info.get(f"{name}_version", "")) if name.isalnum() and name != "redis" else ""
    shown = f"{name.capitalize()} {own} (compatible with Redis {number})" if own else number
    numbers = tuple(int(part) for part in re.findall("[0-9]+", number)[:2])
    if not numbers:
        return check.grey("the server does not say its version")
    if numbers < _NEEDED_VERSION:
        return check.red(f"{shown} cannot run the scripts", "upgrade Redis to 5.0 or newer, better 6.2 or newer")
    if numbers < _TESTED_VERSION:
        return check.yellow(f"{shown} is not tested", "upgrade Redis to 6.2 or newer")
    return check.green(shown)


def role(info: dict[str, Any]) -> Finding:
    """A replica refuses what is written, or loses it."""
    check = Check("redis role")
    if info.get("role") == "slave":
        fix = "write the primary's address in REDIS_URL, or use redis+sentinel:// or redis+cluster://"
        return check.red("a replica, which takes no writes", fix)
    return check.green("the primary")


def eviction(info: dict[str, Any]) -> Finding:
    """Every key of the refresher has a TTL, so it is among the first that a full Redis drops."""
    check, policy = Check("redis eviction"), str(info.get("maxmemory_policy", "?"))
    fix = "set maxmemory-policy to noeviction (CONFIG SET, or the instance's parameters), or use a Redis of its own"
    if policy == "noeviction":
        return check.green("noeviction: a full Redis refuses writes and drops nothing")
    if policy.startswith("allkeys") and info.get("maxmemory"):
        return check.red(f"{policy}: a full Redis drops credentials and leases", fix)
    if info.get("maxmemory"):
        return check.yellow(f"{policy}: a full Redis drops keys with a TTL, as all keys of the refresher have", fix)
    return check.green(f"{policy}, but maxmemory is not set, so nothing is dropped")


def memory(info: dict[str, Any]) -> Finding:
    """Against maxmemory, else against the machine's memory."""
    check, used = Check("redis memory"), int(info.get("used_memory", 0))
    most = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    if not most:
        return check.grey("the server does not say how much memory it may use")
    says = f"{used / most:.0%} of {_size(most)} used"
    fix = "free memory in Redis or raise maxmemory"
    if used >= _FULL * most:
        return check.red(says, fix)
    return check.yellow(says, fix) if used >= _NEARLY_FULL * most else check.green(says)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MB"


def _save_points(context: CheckContext) -> str | None:
    """When snapshots are taken, "" for never; None: it may not be asked."""
    try:
        replies = context.ask("CONFIG GET", "save")
    except redis.RedisError as error:
        if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
            raise
        return None
    return "; ".join(str(_value(reply)) for reply in replies if _value(reply))


def _value(reply: Any) -> Any:
    return next(iter(reply.values()), "") if isinstance(reply, dict) else ""


def persistence(info: dict[str, Any], save_points: str | None) -> Finding:
    """`save_points` as the setting `save` has them; None: not known."""
    check = Check("redis persistence")
    if info.get("rdb_last_bgsave_status") == "err":
        fix = "free space on the disk of the Redis server, or ask its provider; Redis may refuse writes until then"
        return check.red("the last snapshot failed", fix)
    if info.get("aof_enabled"):
        return check.green("append-only file")
    if save_points is None:
        return check.grey(_NO_INFO.format("CONFIG GET"), _NO_INFO_FIX.format("config|get"))
    if save_points:
        return check.green("snapshots")
    says = "off: a restart of Redis loses all credentials until the next run"
    return check.yellow(says, "turn the append-only file on (appendonly yes)")


def clock(context: CheckContext) -> Iterable[Finding]:
    """Half of the round trip is taken for the way there."""
    before = context.clocks.wall()
    replies = context.ask("TIME")
    middle = (before + context.clocks.wall()) / 2
    for reply in replies:
        seconds, micros = (int(part) for part in reply)
        context.redis_ahead_s = seconds + micros / 1e6 - middle
        yield clocks_apart(Check("redis clock"), "Redis's clock", "this machine's", context.redis_ahead_s, context)


def clocks_apart(check: Check, one: str, other: str, ahead_s: float, context: CheckContext) -> Finding:
    """How far one clock is `ahead_s` (seconds) of another one, and whether that matters."""
    apart_s, side = abs(ahead_s), "ahead of" if ahead_s > 0 else "behind"
    says = f"{one} is {apart_s:.0f} s {side} {other}"
    fix = "set the clocks by NTP (chrony, ntpd), on the one that differs from the other two"
    if apart_s > max(context.settings.policy.audit_tolerance_s, 1):
        return check.red(says, fix)
    if apart_s > _CLOCKS_DIFFER_S:
        return check.yellow(says, fix)
    return check.green(f"{one} and {other} agree within {max(apart_s, 0.1):.1f} s")
