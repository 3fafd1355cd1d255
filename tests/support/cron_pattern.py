"""What cron tasks commonly do, in a few lines of our own: GET, compare with 600 s, POST, SET. One tick."""

from __future__ import annotations

import json
from typing import Any

import requests

_FETCH_BELOW_S = 600


def tick(client: Any, base_url: str, secrets: dict[str, str], now: float) -> int:
    """Go through all applications, one after the other; returns how many codes were fetched."""
    fetched = 0
    for app_id, secret in secrets.items():
        for key, member, path, data in (
            ("server_access_token", "server_access_token", "token", "access_token"),
            ("js_ticket", "js_ticket", "ticket", "ticket"),
        ):
            name = f"type/{key}_info/app_id/{app_id}"
            stored = json.loads(client.get(name) or "{}")
            if stored.get("expires_in", 0) - now >= _FETCH_BELOW_S:
                continue
            form = {"app_id": app_id, "secret": secret, "grant_type": "client_credential"}
            if path == "ticket":
                token = json.loads(client.get(f"type/server_access_token_info/app_id/{app_id}") or "{}")
                form = {"app_id": app_id, "access_token": token["server_access_token"], "type": "js_ticket"}
            answer = requests.post(f"{base_url}/OAuth2/{path}", data=form, timeout=10).json()["data"]
            value = {member: answer[data], "expires_in": int(now) + int(answer["expires_in"])}
            client.set(name, json.dumps(value))
            fetched += 1
    return fetched
