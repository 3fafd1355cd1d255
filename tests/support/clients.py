"""The two clients that a run may reach Redis with, so that what has to hold for both is tried with both."""

from __future__ import annotations

from typing import Any

from token_refresher.connection import connect
from token_refresher.direct import reach
from token_refresher.model import Secret
from token_refresher.policy import Policy
from token_refresher.settings import RedisSettings

CLIENTS = ("direct", "redis-py")


def client_of(name: str, url: str, policy: Policy) -> Any:
    """A client by its name in CLIENTS."""
    return reach(url, policy.redis_timeout_s) if name == "direct" else connect(RedisSettings(Secret(url)), policy)
