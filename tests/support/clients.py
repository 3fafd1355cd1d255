"""The client that a run reaches Redis with, for tests that need it alone."""

from __future__ import annotations

from typing import Any

from token_refresher.domain.model import Secret
from token_refresher.domain.policy import Policy
from token_refresher.settings.loader import RedisSettings
from token_refresher.store.connection import connect


def client_of(url: str, policy: Policy) -> Any:
    """A client for this URL."""
    return connect(RedisSettings(Secret(url)), policy)
