"""The inside of a lab's child process: runs when told to, and can be held at one point of a fetch.

Says "ready" and reads an order; says "failed:<error>" when a run raised; says "at:held" where it stands still.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from inspect import signature
from types import SimpleNamespace
from typing import Any

import redis
import requests

import index
from support import cron_pattern
from support.child import ask, point, say
from token_refresher import bootstrap as wiring
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.model import Kind, Snapshot
from token_refresher.function import handler as function_handler
from token_refresher.platforms.http.call import Call
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import Settings, read
from token_refresher.store.redis_store import RedisStore

# What starts a run: the timer, or a person who wants new credentials.
EVENTS = {
    "run": json.dumps({"triggerTime": "2026-01-01T00:00:00Z", "triggerName": "lab", "payload": ""}).encode(),
    "force": b'{"force": true}',
}
# Where a process is held. Where a point is our system's alone, the baseline is held at the nearest equal.
POINTS = (
    "after its lease",
    "before send",
    "after its last look",
    "after send",
    "after answer",
    "before store",
    "before finish",
)
_PATHS = {Kind.ACCESS_TOKEN.value: "/token", Kind.JS_TICKET.value: "/ticket"}
# A credential of either kind, at those points that need not know which.
ANY = "any"
_FETCHES = {Kind.ACCESS_TOKEN.value: "fetch_access_token", Kind.JS_TICKET.value: "fetch_js_ticket"}


def context(timeout_s: float) -> Any:
    """What the function is given beside its event: how long it may take (seconds)."""
    return SimpleNamespace(function=SimpleNamespace(timeout=timeout_s))


def refresher(settings: Settings, clock: Callable[[], float], pause: Callable[[float], None]) -> Refresher:
    """Our program with the lab's clock (seconds), and the lab's pause where it takes one."""
    taken = signature(wiring.refresher).parameters
    taken_pause: dict[str, Any] = {name: pause for name in ("pause", "sleep") if name in taken}
    return wiring.refresher(settings, clock=clock, **taken_pause)


def ours() -> None:
    """Our function, as a warm instance."""
    _name_host()
    settings = read(os.environ)
    function_handler._warm.append((settings, refresher(settings, lambda: steady_clock() + _ahead_s(), _pause)))
    _hold_ours(*_wanted())
    _serve(lambda order: index.handler(EVENTS[order], context(60)))


def baseline() -> None:
    """The plain cron pattern, by this process's own clock."""
    config, client = cron_pattern.configured(os.environ["CRON_FILE"])
    timeout_s = float(os.environ["CRON_TIMEOUT_S"])
    _hold_baseline(*_wanted())

    def tick(order: str) -> object:
        below_s = float("inf") if order == "force" else cron_pattern.FETCH_BELOW_S
        clock = lambda: time.time() + _ahead_s()  # noqa: E731 - what a clock is, in one line
        return cron_pattern.tick(config, client, clock=clock, below_s=below_s, timeout_s=timeout_s)

    _serve(tick)


def _serve(run: Callable[[str], object]) -> None:
    while order := ask("ready"):
        try:
            run(order)
        except Exception as error:
            say(f"failed:{type(error).__name__}")


def _name_host() -> None:
    """Give this copy the host name that it has in the lab: copies of a deployment run on machines of their own."""
    name = os.environ.get("LAB_HOST")
    if name:
        found = list(os.uname())
        machine = os.uname_result((found[0], name, *found[2:]))
        socket.gethostname = lambda: name
        os.uname = lambda: machine


def _pause(seconds: float) -> None:
    """Have the lab let so much time pass, less what passes meanwhile because of others."""
    if ask(f"pauses:{steady_clock() + _ahead_s() + seconds:.3f}") != "go":
        sys.exit("the lab is gone")


def _ahead_s() -> float:
    """How far the lab's time is ahead of the machine's (seconds)."""
    with open(os.environ["CLOCK_FILE"]) as file:
        return float(file.read())


def _wanted() -> tuple[str, str]:
    """The point at which to be held, and the kind of the credential that is fetched there; empty for none."""
    place, _, kind = os.environ.get("LAB_HOLD", "").partition("/")
    return place, kind


# -- points ----------------------------------------------------------------------------------


def _held(owner: Any, name: str, when: Callable[..., bool], *, after: bool = False, given: bool = False) -> None:
    """Stand still the first time that `owner.name` is called `when` it is the wanted call, before or after it.

    `given`: only after a call that returns something.
    """
    original = getattr(owner, name)
    done: list[str] = []

    @functools.wraps(original)
    def held(*arguments: Any, **kwargs: Any) -> Any:
        here = not done and when(*arguments, **kwargs)
        if here and not after:
            done.append(name)
            point("held")
        result = original(*arguments, **kwargs)
        if here and after and (result or not given):
            done.append(name)
            point("held")
        return result

    setattr(owner, name, held)


def _hold_ours(place: str, kind: str) -> None:
    if not kind:
        return
    if place == "after its lease":

        def takes(_: RedisStore, read: Snapshot, *__: object, **___: object) -> bool:
            return kind in (ANY, read.target.kind.value)

        _held(RedisStore, "acquire", takes, after=True, given=True)
    elif place in ("before send", "after its last look"):
        names = list(_FETCHES.values()) if kind == ANY else [_FETCHES[kind]]
        fetching = [_fetching(name) for name in names]
        # A call does not know what it carries.
        _held(Call, "mark_sent", lambda *_: any(fetching), after=place == "after its last look")
    elif place == "after answer":
        _held(YuanzhibangPlatform, _FETCHES[kind], lambda *_: True, after=True)
    elif place in ("before store", "before finish"):

        def stores(_: RedisStore, held: Snapshot, __: str, outcome: str, *___: object, **____: object) -> bool:
            return kind in (ANY, held.target.kind.value) and outcome == "issued"

        _held(RedisStore, "finish", stores, after=place == "before finish")


def _fetching(name: str) -> list[str]:
    """Not empty while the named request to the platform is being made."""
    original, under_way = getattr(YuanzhibangPlatform, name), list[str]()

    def request(*arguments: Any, **kwargs: Any) -> Any:
        under_way.append(name)
        try:
            return original(*arguments, **kwargs)
        finally:
            under_way.pop()

    setattr(YuanzhibangPlatform, name, request)
    return under_way


def _hold_baseline(place: str, kind: str) -> None:
    if not kind:
        return
    if place in ("after its lease", "before send", "after its last look", "after answer"):
        fetches = lambda url, **_: url.endswith(_PATHS[kind])  # noqa: E731 - as above
        _held(requests, "post", fetches, after=place == "after answer")
    elif place in ("before store", "before finish"):
        own = "server_access_token" if kind == Kind.ACCESS_TOKEN.value else kind
        stores = lambda _, key, *__: key.startswith(f"type/{own}_info")  # noqa: E731 - as above
        _held(redis.Redis, "set", stores, after=place == "before finish")
