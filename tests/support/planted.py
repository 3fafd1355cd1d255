"""Secrets made up by tests, which the guards look for wherever something could leak."""

from __future__ import annotations

import json
import secrets
from urllib.parse import quote, quote_plus

# Every form in which a planted secret may show -> what it is called. Grows over a whole run: a secret
# planted in one test must not show in a later one either.
_forms: dict[str, str] = {}
# How every form begins. A text without it needs no look for each of them.
_MARK = "planted-"


def plant(name: str, extra: str = "") -> str:
    """A fresh secret that can be recognised anywhere; `extra` may hold characters that need quoting."""
    secret = f"{_MARK}{name}-{secrets.token_hex(8)}{extra}"
    quoted = (quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1])
    for form in (secret, *quoted):
        _forms[form] = f"the planted secret {name!r}"
    return secret


def may_show(text: str) -> bool:
    """Whether there could be a planted secret in a text."""
    return _MARK in text


def planted() -> dict[str, str]:
    """Every form of every planted secret, with the words to report it by."""
    return dict(_forms)
