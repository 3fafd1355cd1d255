"""A real Redis in which anything may stand under our keys: store, readers and the refresher's whole run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis

from support.flow import TICK_S, Deployment
from support.planted import planted as secret_forms
from support.world import World
from token_refresher import AsyncReader, Reader
from token_refresher.bootstrap import store
from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import NoCredentialError
from token_refresher.domain.model import Kind, Snapshot, Target
from token_refresher.domain.policy import Policy
from token_refresher.reader.cache import CachedCredential
from token_refresher.settings.loader import read
from token_refresher.store.connection import create_client
from token_refresher.store.keys import keys_of

from .hearing import listening
from .inputs import BETWEEN, parts
from .properties import SECRET, attempt, hold, planted, tell_nothing

# Longer than any lock, back-off and interval between audits that the policy knows: by then all is well again.
_HEALED_S = 600
# Every read asks Redis, and a busy machine is no outage.
_UNHURRIED: dict[str, Any] = {"max_age_s": 0, "timeout_s": 30.0}
_TTL_MS = (60_000, 7_200_000, 86_400_000)
# Bits of an input's first byte: what is stored under another type than ours.
_VALUE_IS_A_LIST, _LEASE_IS_A_TEXT, _COMPLAINT_IS_A_SET = 1, 2, 4


class Tenant:
    """Somebody who writes what he likes under the keys of one application."""

    def __init__(self, client: Any, app_id: str) -> None:
        self._client, self._app_id = client, app_id

    def write(self, data: bytes) -> Target:
        """Value, complaint and lease fields of one kind; which, of which type, and for how long by the first byte."""
        how, value, complaint, rest = parts(planted(data), 4)
        bits = how[0] if how else 0
        target = Target(self._app_id, Kind.JS_TICKET if bits & 8 else Kind.ACCESS_TOKEN)
        keys, ttl_ms = keys_of(target), _TTL_MS[(bits >> 4) % len(_TTL_MS)]
        fields = rest.split(BETWEEN) if rest else []
        pairs = dict(zip(fields[::2], fields[1::2], strict=False))
        with self._client.pipeline() as pipe:
            pipe.delete(*(each for kind in Kind for each in keys_of(Target(self._app_id, kind))))
            if bits & _VALUE_IS_A_LIST:
                pipe.rpush(keys.value, value)
            elif value:
                pipe.set(keys.value, value)
            if bits & _LEASE_IS_A_TEXT:
                pipe.set(keys.lease, rest)
            elif pairs:
                pipe.hset(keys.lease, mapping=pairs)
            if bits & _COMPLAINT_IS_A_SET:
                pipe.sadd(keys.refused, complaint)
            elif complaint:
                pipe.set(keys.refused, complaint)
            for key in keys:
                pipe.pexpire(key, ttl_ms)
            pipe.execute()
        return target


@contextmanager
def readers(reader_class: type[Reader] = Reader) -> Iterator[Callable[[bytes], None]]:
    """The target: each input is what Redis holds. Store and both readers take it for the same and tell nothing."""
    loop = asyncio.new_event_loop()
    with World() as world, listening() as clean:
        app_id, url = world.app_id(), world.redis.url
        tenant = Tenant(world.redis.client(), app_id)
        kept, redis_url = store(read(world.settings_env())), RedisUrl.parse(url)
        patient = Policy(redis_timeout_s=30)
        client, other_client = (create_client(redis_url, patient, asynchronous=each) for each in (False, True))

        def stored(data: bytes) -> None:
            target = tenant.write(data)
            found = kept.load([target])[0]
            hold(isinstance(found, Snapshot), "what Redis holds makes it look out of order")
            tell_nothing(repr(getattr(found, "record", None)), (SECRET,), "a snapshot shows a stored code")
            # New ones each time: with copies of an earlier input they would answer for that one.
            one = attempt(lambda: reader_class(client, **_UNHURRIED).record(app_id, target.kind), NoCredentialError)
            coroutine = AsyncReader(other_client, **_UNHURRIED).record(app_id, target.kind)
            other = attempt(lambda: loop.run_until_complete(coroutine), NoCredentialError)
            hold(_same(one, other), "the two readers take the same for something else")
            live = found.live if isinstance(found, Snapshot) else None
            hold(
                not live or not isinstance(one, NoCredentialError),
                "the refresher sees a live code, and the reader none",
            )
            clean((SECRET, *secret_forms()))

        try:
            yield stored
        finally:
            client.close()
            loop.run_until_complete(AsyncReader(other_client).close())
            loop.close()
            world.redis.flush()


def _same(one: CachedCredential | NoCredentialError, other: CachedCredential | NoCredentialError) -> bool:
    if isinstance(one, NoCredentialError) and isinstance(other, NoCredentialError):
        return one.what == other.what
    return one == other


def _run(deployment: Deployment) -> dict[str, Any]:
    return deployment.refresher().run_once(Command()).as_dict()


@contextmanager
def healing(run: Callable[[Deployment], dict[str, Any]] = _run) -> Iterator[Callable[[bytes], None]]:
    """The target: each input is what Redis holds; ten minutes of runs later both credentials are the newest."""
    with World() as world, listening() as clean:
        deployment = Deployment(world)
        tenant = Tenant(world.redis.client(), world.app_id())

        def stored(data: bytes) -> None:
            tenant.write(data)
            secrets = {SECRET, *secret_forms(), *world.simulator.credentials()}
            told = deployment.refresher().run_once(Command(Action.STATUS)).as_dict()
            # The note of how an attempt ended is there to be shown, and only there may a tenant speak.
            if any(SECRET in each.get("last_outcome", "") for each in told["targets"]):
                secrets.discard(SECRET)
            tell_nothing(json.dumps(told), secrets, "a status shows what is stored")
            for _ in range(_HEALED_S // TICK_S + 1):
                told = run(deployment)
                tell_nothing(
                    json.dumps(told), secrets | world.simulator.credentials(), "a report shows a secret or a code"
                )
                if _newest(world, deployment):
                    break
                world.advance(TICK_S)
            hold(_newest(world, deployment), "what somebody stored keeps readers from the newest code for good")
            clean(secrets | world.simulator.credentials())

        try:
            yield stored
        finally:
            world.redis.flush()


def _newest(world: World, deployment: Deployment) -> bool:
    """Whether readers get the newest code of each kind."""
    with suppress(redis.ResponseError, ValueError, KeyError, TypeError):
        for kind in Kind:
            newest = world.simulator.newest(world.app_id(), kind.value)
            if newest is None or deployment.code(kind) != newest.code:
                return False
        return True
    return False
