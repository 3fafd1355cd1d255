"""What a run is asked to do, and about which targets. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from token_refresher.domain.errors import CommandError
from token_refresher.domain.model import Kind, Target

# So much of a wrong value is quoted: a name is known by it, and of a credential pasted by mistake it is a fraction.
_SHOWN = 20


class Action(str, Enum):
    """What a run is asked to do."""

    REFRESH = "refresh"
    AUDIT = "audit"  # refresh, and ask checkCode about every stored credential
    STATUS = "status"  # only read
    CHECK = "check"  # only ask checkCode; change nothing


# CHECK is for people alone: nothing that starts the function wants a report that changes nothing.
_ACTIONS = (Action.REFRESH.value, Action.AUDIT.value, Action.STATUS.value)
# What the timers of the task published in 2022 send; they go on working.
_OLDER = {"update_server_access_token": Kind.ACCESS_TOKEN, "update_js_ticket": Kind.JS_TICKET}


@dataclass(frozen=True)
class Command:
    """What a door asks of a run. Empty `apps` or `kinds` mean all; `shard` (k, n) means the k-th of n parts, from 1."""

    action: Action = Action.REFRESH
    apps: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    force: bool = False
    shard: tuple[int, int] | None = None

    @classmethod
    def from_members(cls, members: Mapping[str, Any], app_ids: Collection[str]) -> Command:
        """The command that an event's members describe; `app_ids` are those that are configured.

        Raises CommandError, which quotes little of what is wrong, and that harmlessly.
        """
        unknown = sorted(set(members) - {"action", "apps", "kinds", "force", "shard"})
        if unknown:
            raise CommandError(f"unknown member {_shown(unknown[0])}")
        action = members.get("action", Action.REFRESH.value)
        older = _OLDER.get(action) if isinstance(action, str) else None
        if older:
            if "kinds" in members:
                raise CommandError(f"kinds does not go with action {action}")
            action = Action.REFRESH.value
        if action not in _ACTIONS:
            raise CommandError(f"unknown action {_shown(action)}")
        force = members.get("force", False)
        if not isinstance(force, bool):
            raise CommandError("force is neither true nor false")
        if force and action != Action.REFRESH.value:
            raise CommandError(f"force does not go with action {action}")
        apps = _apps(members, app_ids)
        kinds = (older,) if older else _kinds(members)
        return cls(Action(action), apps, kinds, force, _shard(members.get("shard")))

    def includes(self, app_id: str) -> bool:
        """Whether an application is one of those named, and in the shard; a shard's members never change."""
        if self.apps and app_id not in self.apps:
            return False
        return self.shard is None or zlib.crc32(app_id.encode()) % self.shard[1] == self.shard[0] - 1

    def targets(self, app_ids: Iterable[str]) -> list[Target]:
        """The targets that this is about, of the applications `app_ids`: each one's token before its ticket."""
        kinds = [kind for kind in Kind if not self.kinds or kind in self.kinds]
        return [Target(app_id, kind) for app_id in app_ids if self.includes(app_id) for kind in kinds]


def partners(targets: Sequence[Target]) -> list[Target]:
    """The other target of each application of which only one is among `targets`.

    A ticket needs its access_token, and a new access_token may end the ticket.
    """
    chosen = set(targets)
    both = (Target(app_id, kind) for app_id in dict.fromkeys(each.app_id for each in targets) for kind in Kind)
    return [each for each in both if each not in chosen]


def _apps(members: Mapping[str, Any], app_ids: Collection[str]) -> tuple[str, ...]:
    apps = _texts(members, "apps")
    for app_id in apps:
        if app_id not in app_ids:
            raise CommandError(f"application {_shown(app_id)} is not configured")
    return apps


def _kinds(members: Mapping[str, Any]) -> tuple[Kind, ...]:
    kinds = _texts(members, "kinds")
    for kind in kinds:
        if kind not in [each.value for each in Kind]:
            raise CommandError(f"unknown kind {_shown(kind)}")
    return tuple(Kind(each) for each in kinds)


def _texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts, each once; a missing member is an empty one, an empty list is a mistake."""
    if name not in members:
        return ()
    value = members[name]
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise CommandError(f"{name} is not a list of one or more texts")
    return tuple(dict.fromkeys(value))


def _shard(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", value) if isinstance(value, str) else None
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise CommandError('shard is not of the form "k/n" with 1 <= k <= n')
    return int(match[1]), int(match[2])


def _shown(value: Any) -> str:
    """A value as it may be logged: one line, short, without anything that could be a secret."""
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    shown = "".join(char if char.isalnum() or char in "_-./," else "?" for char in value[:_SHOWN])
    return f"{shown!r}" + (" (cut)" if len(value) > _SHOWN else "")
