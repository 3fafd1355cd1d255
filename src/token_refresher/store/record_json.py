"""The value under a public key: JSON text to Record and back. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from token_refresher.domain.model import Kind, Record, Unreadable
from token_refresher.store.keys import WIRE_NAME

_LONGEST = 65536  # bytes; a value of ours has about 200


def read_record(kind: Kind, raw: bytes) -> Record | Unreadable:
    """The record in `raw` (bytes as Redis holds them), or why there is none. Raises nothing.

    Values of other tools are records too, as long as they hold the credential and an expiry (number or numeric text).
    """
    if len(raw) > _LONGEST:
        return Unreadable(f"longer than {_LONGEST} bytes")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return Unreadable("not JSON")
    if not isinstance(value, dict):
        return Unreadable("not a JSON object")
    member = WIRE_NAME[kind]
    code = value.get(member)
    if not isinstance(code, str) or not code or not _encodable(code):
        return Unreadable(f"member {member} is not a text")
    expires_at = _instant(value.get("expires_in"))
    if expires_at is None:
        return Unreadable("member expires_in is not an instant in unix seconds", code)
    return Record(code, expires_at, _instant(value.get("issued_at")), _instant(value.get("fence")) or 0)


def write_record(kind: Kind, record: Record) -> str:
    """The JSON text to store; `expires_in` is the wire's name for the instant of expiry."""
    return json.dumps(
        {
            WIRE_NAME[kind]: record.code,
            "expires_in": record.expires_at,
            "issued_at": record.issued_at,
            "fence": record.fence,
        }
    )


def with_expiry(raw: bytes, expires_at: int) -> str:
    """The value `raw` (one that reads as a record) with another expiry (unix seconds) and all else as it was."""
    return json.dumps({**json.loads(raw), "expires_in": expires_at})


def _encodable(code: str) -> bool:
    try:
        code.encode()
    except UnicodeEncodeError:
        return False
    return True


def _instant(value: Any) -> int | None:
    """A whole number from 0 to 2**53, from a number or numeric text; None for all else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) and 0 <= number < 2**53 else None
