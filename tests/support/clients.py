"""The client that a run reaches Redis with, for tests that need it alone."""

from __future__ import annotations

from typing import Any

from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.policy import Policy
from token_refresher.store.connection import create_client


def client_of(url: str, policy: Policy) -> Any:
    """A client for this URL."""
    return create_client(RedisUrl.parse(url), policy)
