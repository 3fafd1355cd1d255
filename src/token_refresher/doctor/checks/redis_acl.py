"""Whether the Redis user may do what the refresher does: its own scripts, on keys of a made-up application."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import redis

from token_refresher.doctor.context import CheckContext
from token_refresher.doctor.finding import Check, Finding
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Kind, Lease, Record, Target, Word
from token_refresher.domain.policy import Policy
from token_refresher.store.errors import missing_right
from token_refresher.store.keys import keys_of
from token_refresher.store.redis_store import RedisStore

# An application that no one has; its keys are gone at the end of the probe, else after a minute.
_PROBE_TTL_S = 60
_CALLER = "doctor"
_NOTHING = "return 1"
# Each command that the scripts run, as a script of one line on one probe key. What is written has a TTL.
_COMMANDS = {
    "time": "redis.call('TIME') return 1",
    "set": "redis.call('SET', KEYS[1], '1', 'PX', 60000) return 1",
    "get": "redis.call('GET', KEYS[1]) return 1",
    "type": "redis.call('TYPE', KEYS[1]) return 1",
    "pttl": "redis.call('PTTL', KEYS[1]) return 1",
    "pexpire": "redis.call('PEXPIRE', KEYS[1], 60000) return 1",
    "pexpireat": "redis.call('PEXPIREAT', KEYS[1], 4102444800000) redis.call('PEXPIRE', KEYS[1], 60000) return 1",
    "del": "redis.call('DEL', KEYS[1]) return 1",
    "hset": "redis.call('HSET', KEYS[2], 'a', '1') return 1",
    "hdel": "redis.call('HDEL', KEYS[2], 'a') return 1",
    "hget": "redis.call('HGET', KEYS[2], 'a') return 1",
    "hgetall": "redis.call('HGETALL', KEYS[2]) return 1",
}
_WHERE = "docs/how-to/redis-users.md has the whole line"
# Real keys are tried by a script that does nothing: a right to a key is looked at before the script begins.
_CHUNK = 500


def rights(context: CheckContext) -> Iterator[Finding]:
    """Patterns on the real keys, then every command on keys that no one has."""
    check, prefix = Check("redis rights"), context.settings.redis.key_prefix
    app_id = f"doctor-{context.new_id()}"
    targets = [Target(app.app_id, kind) for app in context.settings.apps for kind in Kind]
    refusals = _refusals(context, [keys_of(target, prefix) for target in targets])
    commands = sorted({refused for refused in refusals if refused not in ("", "keys")})
    if commands:
        names, rules = " ".join(commands).upper(), " ".join(f"+{name}" for name in commands)
        yield check.red(f"the Redis user may not run {names}", f"ACL SETUSER <user> {rules}; {_WHERE}")
        return
    closed = [target for target, refused in zip(targets, refusals, strict=True) if refused]
    for target in closed:
        value = keys_of(target, prefix).value
        fix = f"ACL SETUSER <user> ~{value} ~{{{value}}}:*; {_WHERE}"
        yield Check("redis rights", f"{target.app_id} {target.kind.value}").red(
            "the Redis user has no right to the keys of this credential", fix
        )
    probes = [Target(app_id, kind) for kind in Kind]
    if any(_refusals(context, [keys_of(probe, prefix) for probe in probes])):
        if not closed:
            says = "the user has the right to the keys; commands could not be tried without touching them"
            fix = f"for a full probe: ACL SETUSER <user> ~{prefix}type/* ~{{{prefix}type/*; {_WHERE}"
            yield check.grey(says, fix)
        return
    yield from _commands(context, probes)


def _commands(context: CheckContext, probes: Sequence[Target]) -> Iterator[Finding]:
    """The probe itself, with its keys swept away."""
    check, prefix = Check("redis rights"), context.settings.redis.key_prefix
    try:
        wrong = _probed(context, probes)
    finally:
        for probe in probes:
            with contextlib.suppress(redis.RedisError, OSError):
                context.client.delete(*keys_of(probe, prefix))
    if not wrong:
        yield check.green("the user runs the scripts and writes values, leases and marks (tried on made-up keys)")
        return
    missing = _missing(context, keys_of(probes[0], prefix))
    if missing:
        names, rules = " ".join(missing).upper(), " ".join(f"+{name}" for name in missing)
        yield check.red(f"the Redis user may not run {names}", f"ACL SETUSER <user> {rules}; {_WHERE}")
    else:
        yield check.red(f"the scripts do not work: {wrong.what}", wrong.advice)


def _probed(context: CheckContext, probes: Sequence[Target]) -> StoreError | None:
    """What a run does, on probe keys: take a lease, store, look, settle, withdraw. None when all of it worked."""
    settings = context.settings
    policy: Policy = replace(settings.policy, lease_ttl_s=_PROBE_TTL_S)
    store = RedisStore(context.client, policy, settings.redis.key_prefix, lambda seconds: None)
    token, ticket = probes
    try:
        before = store.read(token)
        held = store.acquire(before, context.new_id(), _CALLER)
        if not held.held:
            return StoreError("a free lease could not be taken")
        now_ms, fence = held.snapshot.now_ms, held.snapshot.lease.fence
        record = Record("doctor", now_ms // 1000 + _PROBE_TTL_S, now_ms // 1000, fence)
        ended = store.finish(held.snapshot, _CALLER, "issued", "doctor", record=record, sent_ms=now_ms)
        after = store.read(token)
        if ended != "done" or not after.live or not after.lease.settled:
            return StoreError("a stored value could not be read back")
        noted = store.note(after, Word.ALIVE, _CALLER)
        if noted is None or store.note(noted, Word.REFUSED, _CALLER) is None:
            return StoreError("an answer of checkCode could not be noted")
        lost = replace(store.read(ticket), lease=Lease(attempt=context.new_id()))
        ended = store.finish(lost, _CALLER, "issued", "doctor", record=record, sent_ms=now_ms)
    except StoreError as error:
        return error
    return None if ended == "orphan" else StoreError("a credential without a lease could not be stored")


def _refusals(context: CheckContext, keys: Sequence[Sequence[str]]) -> list[str]:
    """For each set of keys the right that a script lacks, as `missing_right` says. Raises redis's other errors."""
    found: list[str] = []
    for start in range(0, len(keys), _CHUNK):
        with context.client.pipeline(transaction=False) as pipe:
            for each in keys[start : start + _CHUNK]:
                # Pipelines to a cluster have no method for it.
                pipe.execute_command("EVAL", _NOTHING, len(each), *each)
            try:
                replies = pipe.execute(raise_on_error=False)
            except redis.exceptions.NoPermissionError as error:  # SELECT, before anything else
                replies = [error] * len(keys[start : start + _CHUNK])
        found += [_refusal(reply) for reply in replies]
    return found


def _refusal(reply: Any) -> str:
    if not isinstance(reply, Exception):
        return ""
    refused = missing_right(reply)
    if not refused:
        raise reply
    return refused


def _missing(context: CheckContext, keys: Sequence[str]) -> list[str]:
    """The commands that scripts may not run, by trying each. What a full server or a replica refuses is not missing."""
    refused = []
    for name, script in _COMMANDS.items():
        try:
            context.client.eval(script, len(keys), *keys)
        except redis.RedisError as error:
            if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
                raise
            if missing_right(error):
                refused.append(name)
    with contextlib.suppress(redis.RedisError):
        context.client.delete(*keys)
    return refused
