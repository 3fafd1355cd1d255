"""Every key in Redis, as a function.

| key                                                  | type   | who writes | TTL          |
|------------------------------------------------------|--------|------------|--------------|
| `type/server_access_token_info/app_id/<app_id>`      | string | refresher  | until expiry |
| `type/js_ticket_info/app_id/<app_id>`                | string | refresher  | until expiry |
| `{<one of these>}:lease`                             | hash   | refresher  | one day      |
| `{<one of these>}:refused`                           | string | readers    | 600 s        |

The first two are public: the platform's published clients read them, so they never change. A key with braces is
hashed by what stands between them, a key without is hashed whole: all keys of a target live in one cluster slot.
A `prefix`, where one is set, stands before the public key and inside the braces.
"""

from __future__ import annotations

from typing import NamedTuple

from token_refresher.domain.model import Kind, Target

# How the public contract calls each kind; as member of the value, and with `_info` as part of the key.
WIRE_NAME = {Kind.ACCESS_TOKEN: "server_access_token", Kind.JS_TICKET: "js_ticket"}


class Keys(NamedTuple):
    """The three keys of a target, in the order in which every script takes them."""

    value: str
    lease: str
    refused: str


def keys_of(target: Target, prefix: str = "") -> Keys:
    """The keys of `target`. App ids and prefixes hold no braces: settings refuse them."""
    value = f"{prefix}type/{WIRE_NAME[target.kind]}_info/app_id/{target.app_id}"
    return Keys(value, f"{{{value}}}:lease", f"{{{value}}}:refused")
