"""From what starts the function (bytes of an event) to a Command."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from token_refresher.domain.command import Command
from token_refresher.domain.errors import CommandError

_LARGEST = 131072  # bytes: the platform's own limit for the payload of a timer

ACCEPTED = (
    'a timer event (with an empty payload, or one of the following as its payload), or {"action": "refresh" | "audit" |'
    ' "status", "apps": [app ids], "kinds": ["access_token" | "js_ticket"], "force": true | false, "shard": "k/n"}'
    ' with any of these left out, or {"action": "update_server_access_token"}, or {"action": "update_js_ticket"}'
)


def read_event(event: bytes | str, app_ids: Collection[str]) -> Command:
    """The command in a timer's event or a manual invocation; an empty one means: refresh everything.

    Raises CommandError, which lists what is accepted.
    """
    try:
        return Command.from_members(_members(event), app_ids)
    except CommandError as error:
        raise CommandError(f"{error.what}. Accepted: {ACCEPTED}") from None


def _members(event: bytes | str) -> dict[str, Any]:
    """The members of a manual invocation, or of what a timer carries. Raises CommandError."""
    content = _object(event)
    if "triggerName" not in content and "triggerTime" not in content:
        return content
    payload = content.get("payload", "")
    if payload is None or payload == "":
        return {}
    if not isinstance(payload, str):
        raise CommandError("the timer's payload is not a text")
    return _object(payload)


def _object(text: bytes | str) -> dict[str, Any]:
    if len(text) > _LARGEST:
        raise CommandError(f"longer than {_LARGEST} bytes")
    if not text.strip():
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise CommandError("not JSON") from None
    if not isinstance(content, dict):
        raise CommandError("not a JSON object")
    return content
