"""Which targets a command is about. Pure."""

from __future__ import annotations

import zlib

from token_refresher.domain.model import Command, Kind, Target


def wanted(app_ids: tuple[str, ...], command: Command) -> list[Target]:
    """The targets a command is about, each application's token before its ticket."""
    kinds = [kind for kind in Kind if not command.kinds or kind in command.kinds]
    chosen = [app for app in app_ids if (not command.apps or app in command.apps) and in_shard(app, command.shard)]
    return [Target(app_id, kind) for app_id in chosen for kind in kinds]


def partners(targets: list[Target]) -> list[Target]:
    """The other target of each application of which only one is among `targets`.

    A ticket needs its access_token, and a new access_token may end the ticket.
    """
    chosen = set(targets)
    both = (Target(app_id, kind) for app_id in dict.fromkeys(each.app_id for each in targets) for kind in Kind)
    return [each for each in both if each not in chosen]


def in_shard(app_id: str, shard: tuple[int, int] | None) -> bool:
    """Whether an application belongs to the k-th of n shards (k from 1)."""
    return shard is None or zlib.crc32(app_id.encode()) % shard[1] == shard[0] - 1
