"""The subjects: each makes a step that is measured. Runs in a worker, on what the zip brings and nothing else.

Every subject takes keywords that come from JSON and returns a function without arguments. What only one of them
needs is imported by it, so that no subject's memory holds another's packages.
"""

import json
import os

from bench.forms import APP_ID, SECRET, ticket_form, token_form

_EVENTS = {
    "refresh": b'{"triggerTime": "2026-01-01T00:00:00Z", "triggerName": "timer", "payload": ""}',
    "audit": b'{"action": "audit"}',
}


def environment(redis: int, platform: str, concurrency: int = 0, ca: str = "") -> dict:
    """The settings of one application, as the function has them."""
    found = {"APP_ID": APP_ID % 0, "APP_SECRET": SECRET, "REDIS_URL": f"redis://127.0.0.1:{redis}/0"}
    found |= {"PLATFORM_BASE_URL": platform} if platform else {}
    found |= {"POLICY_CONCURRENCY": str(concurrency)} if concurrency else {}
    return found | ({"PLATFORM_CA_BUNDLE": ca} if ca else {})


def function(
    redis: int, platform: str = "", apps: int = 1, concurrency: int = 0, ca: str = "", action: str = "refresh"
):
    """Ours: the handler of a warm instance. Tells the report's counts. An audit asks about codes of any age.

    More than one application is put in place of the one that was read: reading a file of them is measured apart.
    """
    import logging
    from dataclasses import replace
    from types import SimpleNamespace

    logging.disable(logging.CRITICAL)  # the report goes nowhere, as it is written by others' code
    os.environ.update(environment(redis, platform, concurrency, ca))
    if action == "audit":
        os.environ["POLICY_AUDIT_MIN_AGE_S"] = "0"
    import index
    from token_refresher.function import handler as function_handler

    context = SimpleNamespace(function=SimpleNamespace(timeout=600))
    index.initialize(context)
    if apps > 1:
        from token_refresher.bootstrap import refresher

        settings, _ = function_handler._warm[0]
        one = settings.apps[0]
        settings = replace(settings, apps=tuple(replace(one, app_id=APP_ID % i) for i in range(apps)))
        function_handler._warm[0] = (settings, refresher(settings))
    return lambda: index.handler(_EVENTS[action], context)["summary"]


def settings(path: str):
    """Ours: reading a configuration file. Tells how many applications it names."""
    from token_refresher.settings.loader import read

    return lambda: len(read({"CONFIG_FILE": path}).apps)


def plain_settings(path: str):
    """The same file as the cron pattern reads it."""
    import yaml

    def step() -> int:
        with open(path, encoding="utf-8") as file:
            return len(yaml.safe_load(file)["app_info"])

    return step


def cron(config: str, ca: str = ""):
    """The plain cron pattern, with a client that it keeps. Tells how many codes were fetched."""
    from support import cron_pattern as pattern

    configuration, client = pattern.configured(config)
    return lambda: pattern.tick(configuration, client, verify=ca or True)


def redis_get(redis: int):
    """One round trip through redis-py: GET of a stored token."""
    client = _client(redis)
    key = "type/server_access_token_info/app_id/" + APP_ID % 0
    return lambda: len(client.get(key))


def redis_scripts(redis: int):
    """What a tick cannot do without, through redis-py: one pipeline with the reading script for both codes."""
    from token_refresher.store.redis_store import _script

    client, source = _client(redis), _script("load")

    def step() -> int:
        with client.pipeline(transaction=False) as pipe:
            for keys in _keys(0):
                pipe.eval(source, 3, *keys)
            return len(pipe.execute())

    return step


def bare_scripts(redis: int):
    """The same bytes over a plain socket."""
    from bench.wire import Redis, resp
    from token_refresher.store.redis_store import _script

    connection, source = Redis(redis), _script("load")
    request = b"".join(resp("EVAL", source, 3, *keys) for keys in _keys(0))
    return lambda: len(connection.ask(request, 2))


def bare_get(redis: int):
    """GET of a stored token over a plain socket, not even decoded."""
    from bench.wire import Redis, resp

    connection = Redis(redis)
    request = resp("GET", "type/server_access_token_info/app_id/" + APP_ID % 0)
    return lambda: len(connection.ask(request, 1)[0])


def bare_fetch(port: int, ca: str = ""):
    """The two round trips to the platform that a refresh cannot avoid: same requests, one kept connection."""
    from bench.wire import Platform

    context = None
    if ca:
        import ssl

        context = ssl.create_default_context(cafile=ca)

    def step() -> int:
        connection = Platform(port, context)
        token = connection.post("/OAuth2/token", token_form(0))["data"]["access_token"]
        connection.post("/OAuth2/ticket", ticket_form(0, token))
        connection.close()
        return 2

    return step


# -- readers -------------------------------------------------------------------------------------


def reader(redis: int, max_age_s: float):
    """Ours: a read by the library; with `max_age_s` 0 each one asks Redis."""
    from token_refresher import Reader

    read = Reader.from_url(f"redis://127.0.0.1:{redis}/0", max_age_s=max_age_s)
    app_id = APP_ID % 0
    return lambda: len(read.access_token(app_id))


def connect_and_get(redis: int):
    """What published helper classes do: a new connection for each read, GET, JSON."""
    import redis as library

    key = "type/server_access_token_info/app_id/" + APP_ID % 0

    def step() -> int:
        client = library.Redis(host="127.0.0.1", port=redis)
        code = json.loads(client.get(key))["server_access_token"]
        client.close()
        return len(code)

    return step


def wechatpy(redis: int):
    """wechatpy's client with its Redis session storage, reading the access_token that is stored there."""
    import time

    import redis as library
    from wechatpy import WeChatClient
    from wechatpy.session.redisstorage import RedisStorage

    session = RedisStorage(library.Redis(host="127.0.0.1", port=redis))
    client = WeChatClient("bench", "no-secret", session=session)
    client.session.set("bench_access_token", "c" * 64, 7200)
    client.expires_at = int(time.time()) + 7200
    return lambda: len(client.access_token)


def _client(port: int):
    """A client set up as ours is."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis(
        host="127.0.0.1", port=port, socket_timeout=3, socket_connect_timeout=3, retry=Retry(NoBackoff(), 0), protocol=2
    )


def _keys(number: int):
    """The three keys of both codes of an application, by the contract in README."""
    for name in ("server_access_token", "js_ticket"):
        value = f"type/{name}_info/app_id/{APP_ID % number}"
        yield value, f"{{{value}}}:lease", f"{{{value}}}:refused"
