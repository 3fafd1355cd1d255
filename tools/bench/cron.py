"""The plain cron pattern, as such tasks are commonly written: what users would have instead. A peer, not a model.

For each application, one after the other: GET what is stored; with 600 s or less left, POST for a new code and SET it.
"""

import json
import sys
import time

import redis
import requests
import yaml

KEYS = {
    "server_access_token": "type/server_access_token_info/app_id/{}",
    "js_ticket": "type/js_ticket_info/app_id/{}",
}


def configured(path):
    """Configuration and a client for Redis."""
    with open(path, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    storage = config["storage_redis"]
    return config, redis.Redis(host=storage["host"], port=storage["port"])


def stored(client, name, app_id):
    """The code, when it lives for more than ten minutes."""
    raw = client.get(KEYS[name].format(app_id))
    info = json.loads(raw) if raw else None
    return info[name] if info and info["expires_in"] - time.time() > 600 else None


def fetch(client, name, member, app_id, url, form, verify):
    """A new code, which is stored."""
    data = requests.post(url, data=form, timeout=10, verify=verify).json()["data"]
    info = {name: data[member], "expires_in": int(time.time()) + int(data["expires_in"])}
    client.set(KEYS[name].format(app_id), json.dumps(info), ex=int(data["expires_in"]))
    return data[member]


def tick(config, client, verify=True):
    """All applications once. Returns how many codes were fetched."""
    api, fetched = config["oauth_api"], 0
    for app in config["app_info"]:
        app_id, token = app["app_id"], stored(client, "server_access_token", app["app_id"])
        if token is None:
            form = {"app_id": app_id, "secret": app["app_secret"], "grant_type": "client_credential"}
            url = api["get_server_access_token_url"]
            token = fetch(client, "server_access_token", "access_token", app_id, url, form, verify)
            fetched += 1
        if stored(client, "js_ticket", app_id) is None:
            form = {"app_id": app_id, "access_token": token, "type": "js_ticket"}
            fetch(client, "js_ticket", "ticket", app_id, api["get_js_ticket_url"], form, verify)
            fetched += 1
    return fetched


if __name__ == "__main__":
    print(tick(*configured(sys.argv[1])))
