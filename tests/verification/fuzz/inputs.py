"""From bytes to what the program takes: several texts in one input, an environment, a list of arguments."""

from __future__ import annotations

import json
from typing import Any

# Between the parts of an input. The environment and the command line cannot hold it, so no value is out of reach.
BETWEEN = b"\0"


def parts(data: bytes, count: int) -> list[bytes]:
    """Exactly `count` parts; the last one holds the rest, those that are not there are empty."""
    found = data.split(BETWEEN, count - 1)
    return found + [b""] * (count - len(found))


def text(data: bytes) -> str:
    """As Python reads what the system hands over: whatever is no UTF-8 becomes half a character."""
    return data.decode("utf-8", "surrogateescape")


def number(data: bytes, otherwise: int) -> int:
    """The number that the digits stand for, at most nine of them."""
    return int(data) if data.isdigit() and len(data) < 10 else otherwise


def environment(data: bytes) -> dict[str, str]:
    """NAME=value, as many as there are; a name without a value is an empty one."""
    pairs = (text(part).partition("=") for part in data.split(BETWEEN) if part)
    return {name: value for name, _, value in pairs if name}


def arguments(data: bytes) -> list[str]:
    return [text(part) for part in data.split(BETWEEN)] if data else []


def json_of(data: bytes) -> Any:
    """The JSON in `data`, or None: for a second opinion, so by the plainest means."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
