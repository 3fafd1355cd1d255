"""The client that a run reaches Redis with, for tests that need it alone."""

from __future__ import annotations

from typing import Any

from token_refresher.connection import connect
from token_refresher.model import Secret
from token_refresher.policy import Policy
from token_refresher.settings import RedisSettings


def client_of(url: str, policy: Policy) -> Any:
    """A client for this URL."""
    return connect(RedisSettings(Secret(url)), policy)
