"""From what starts the function (bytes of an event) to a Command."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, NoReturn

from token_refresher.domain.errors import CommandError
from token_refresher.domain.model import Action, Command, Kind

_LARGEST = 131072  # bytes: the platform's own limit for the payload of a timer

# So much of a wrong value is quoted: a name is known by it, and of a code pasted by mistake it is a fraction.
_SHOWN = 20

# What the task published in 2022 was told by its timers; they go on working.
_OLDER = {"update_server_access_token": Kind.ACCESS_TOKEN, "update_js_ticket": Kind.JS_TICKET}
_ACTIONS = (Action.REFRESH, Action.AUDIT, Action.STATUS)
ACCEPTED = (
    'a timer event (with an empty payload, or one of the following as its payload), or {"action": "refresh" | "audit" |'
    ' "status", "apps": [app ids], "kinds": ["access_token" | "js_ticket"], "force": true | false, "shard": "k/n"}'
    ' with any of these left out, or {"action": "update_server_access_token"}, or {"action": "update_js_ticket"}'
)


def read_event(event: bytes | str, app_ids: Collection[str]) -> Command:
    """The command in a timer's event or a manual invocation; an empty one means: refresh everything.

    Raises CommandError, which lists what is accepted.
    """
    content = _object(event)
    if "triggerName" in content or "triggerTime" in content:
        payload = content.get("payload", "")
        if payload is None or payload == "":
            return Command()
        if not isinstance(payload, str):
            _refuse("the timer's payload is not a text")
        content = _object(payload)
    return command(content, app_ids)


def command(content: dict[str, Any], app_ids: Collection[str]) -> Command:
    """The command that the members of `content` describe. Raises CommandError."""
    unknown = sorted(set(content) - {"action", "apps", "kinds", "force", "shard"})
    if unknown:
        _refuse(f"unknown member {_shown(unknown[0])}")
    action = content.get("action", Action.REFRESH.value)
    if isinstance(action, str) and action in _OLDER:
        if "kinds" in content:
            _refuse(f"kinds does not go with action {action}")
        content = {**content, "kinds": [_OLDER[action].value]}
        action = Action.REFRESH.value
    if action not in [each.value for each in _ACTIONS]:
        _refuse(f"unknown action {_shown(action)}")
    force = content.get("force", False)
    if not isinstance(force, bool):
        _refuse("force is neither true nor false")
    if force and action != Action.REFRESH.value:
        _refuse(f"force does not go with action {action}")
    apps = _texts(content, "apps")
    for app in apps:
        if app not in app_ids:
            _refuse(f"application {_shown(app)} is not configured")
    kinds = _texts(content, "kinds")
    for kind in kinds:
        if kind not in [each.value for each in Kind]:
            _refuse(f"unknown kind {_shown(kind)}")
    return Command(Action(action), apps, tuple(Kind(each) for each in kinds), force, _shard(content.get("shard")))


def _object(text: bytes | str) -> dict[str, Any]:
    if len(text) > _LARGEST:
        _refuse(f"longer than {_LARGEST} bytes")
    if not text.strip():
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        _refuse("not JSON")
    if not isinstance(content, dict):
        _refuse("not a JSON object")
    return content


def _texts(content: dict[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts, each once; a missing member is an empty one, an empty list is a mistake."""
    if name not in content:
        return ()
    value = content[name]
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        _refuse(f"{name} is not a list of one or more texts")
    return tuple(dict.fromkeys(value))


def _shard(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", value) if isinstance(value, str) else None
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        _refuse('shard is not of the form "k/n" with 1 <= k <= n')
    return int(match[1]), int(match[2])


def _shown(value: Any) -> str:
    """A value as it may stand in a log: one line, short, without anything that could be a secret."""
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    shown = "".join(char if char.isalnum() or char in "_-./" else "?" for char in value[:_SHOWN])
    return f"{shown!r}" + (" (cut)" if len(value) > _SHOWN else "")


def _refuse(what: str) -> NoReturn:
    raise CommandError(f"{what}. Accepted: {ACCEPTED}") from None
