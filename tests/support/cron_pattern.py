"""The plain cron pattern, as such tasks are commonly written: what users would have instead. A peer, not a model.

For each application, one after the other: GET what is stored; with 600 s or less left, POST for a new code and SET it.
Migration, benchmark and lab all take it from here, so it needs nothing but the packages that such a task needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import redis
import requests
import yaml

KEYS = {
    "server_access_token": "type/server_access_token_info/app_id/{}",
    "js_ticket": "type/js_ticket_info/app_id/{}",
}
# A code with so much left or less (seconds) is fetched anew.
FETCH_BELOW_S = 600.0


def configured(path: str) -> tuple[Any, redis.Redis]:
    """Configuration, in the form that the platform publishes, and a client for its Redis."""
    with open(path, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    storage = config["storage_redis"]
    return config, redis.Redis(host=storage["host"], port=storage["port"], password=storage.get("auth"))


class _Tick:
    """What one tick works with: a client, the time (unix seconds), and how requests are made."""

    def __init__(
        self, client: Any, clock: Callable[[], float], below_s: float, verify: bool | str, timeout_s: float
    ) -> None:
        self._client, self._clock, self._below_s = client, clock, below_s
        self._verify, self._timeout_s = verify, timeout_s

    def stored(self, name: str, app_id: str) -> str | None:
        """The code, when it lives for long enough."""
        raw = self._client.get(KEYS[name].format(app_id))
        info = json.loads(raw) if raw else None
        if info and info["expires_in"] - self._clock() > self._below_s:
            return str(info[name])
        return None

    def fetch(self, name: str, member: str, app_id: str, url: str, form: dict[str, str]) -> str:
        """A new code, which is stored."""
        data = requests.post(url, data=form, timeout=self._timeout_s, verify=self._verify).json()["data"]
        info = {name: data[member], "expires_in": int(self._clock()) + int(data["expires_in"])}
        self._client.set(KEYS[name].format(app_id), json.dumps(info))
        return str(data[member])


def tick(
    config: Any,
    client: Any,
    *,
    verify: bool | str = True,
    clock: Callable[[], float] = time.time,
    below_s: float = FETCH_BELOW_S,
    timeout_s: float = 10,
) -> int:
    """All applications once; returns how many credentials were fetched. What goes wrong is raised, as it comes."""
    api, fetched = config["oauth_api"], 0
    run = _Tick(client, clock, below_s, verify, timeout_s)
    for app in config["app_info"]:
        app_id, token = app["app_id"], run.stored("server_access_token", app["app_id"])
        if token is None:
            form = {"app_id": app_id, "secret": app["app_secret"], "grant_type": "client_credential"}
            url = api["get_server_access_token_url"]
            token = run.fetch("server_access_token", "access_token", app_id, url, form)
            fetched += 1
        if run.stored("js_ticket", app_id) is None:
            form = {"app_id": app_id, "access_token": token, "type": "js_ticket"}
            run.fetch("js_ticket", "ticket", app_id, api["get_js_ticket_url"], form)
            fetched += 1
    return fetched


if __name__ == "__main__":
    print(tick(*configured(sys.argv[1])))  # noqa: T201 - a task tells its log
