"""The client that a run reaches Redis with, and the errors that it makes of what Redis says."""

from __future__ import annotations

from typing import Any

import redis

from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.policy import Policy
from token_refresher.store.connection import create_client


def client_of(url: str, policy: Policy) -> Any:
    """A client for this URL."""
    return create_client(RedisUrl.parse(url), policy)


def parse_error(text: str) -> Exception:
    """The error that redis-py makes of a server's line."""
    parser: Any = redis._parsers.BaseParser
    error: Exception = parser.parse_error(text)
    return error
