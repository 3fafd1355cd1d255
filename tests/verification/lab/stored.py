"""What a stored value says to a reader in any language: JSON, two members. Pure."""

from __future__ import annotations

import json
import math

# The member that holds the credential, by kind.
MEMBERS = {"access_token": "server_access_token", "js_ticket": "js_ticket"}


def expiry_in(raw: bytes) -> float:
    """The recorded expiry (unix seconds).

    Infinite where it is beyond all numbers, as a wrong answer may say; minus infinite where there is none.
    """
    try:
        return float(json.loads(raw)["expires_in"])
    except OverflowError:
        return math.inf
    except (ValueError, TypeError, KeyError):
        return -math.inf


def code_in(raw: bytes, kind: str) -> str | None:
    """The credential; None where there is none."""
    try:
        return str(json.loads(raw)[MEMBERS[kind]])
    except (ValueError, TypeError, KeyError):
        return None
