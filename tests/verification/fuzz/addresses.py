"""Addresses of pages, to be signed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from token_refresher.domain.errors import SigningError
from token_refresher.reader.signing import core_config, sign, signed_url

from .inputs import number, parts, text
from .properties import SECRET, attempt, hold, planted, tell_nothing

# The documented rule once more, by other means: scheme, host and port, path; then a query and a fragment.
_ADDRESS = re.compile(
    r"(?P<signed>(?P<scheme>https?)://(?:\[[0-9a-f:.]+\]|[^][/?#@:%A-Z]+)(?::(?P<port>0|[1-9][0-9]*))?(?P<path>/[^?#]*)?)"
    r"(?:\?[^#]*)?(?:#.*)?"
)
# Where the published clients differ.
_DISPUTED = re.compile(r".*//|.*;[^/]*|(?:.*/)?(?:\.|%2[eE]){1,2}(?:/.*)?")
# What no browser leaves as it is in that part of an address.
_NEVER_THERE = re.compile(r'[^!-~]|["<>\\`{}]')


def address(data: bytes, sign: Callable[[str, str, int, str], str] = sign) -> None:
    """Nonce, timestamp, ticket and an address: the signature by the documented rule, or SigningError."""
    nonce, timestamp, ticket, rest = (text(part) for part in parts(planted(data), 4))
    when, ticket = number(timestamp.encode("utf-8", "replace"), 1_654_850_924), ticket or SECRET
    found = attempt(lambda: sign(ticket, nonce, when, rest), SigningError)
    if isinstance(found, SigningError):
        return
    match = _ADDRESS.fullmatch(rest)
    hold(match, "an address was signed that is none")
    signed = match["signed"] if match else ""
    port = (match["scheme"], match["port"]) if match else ()
    hold(port not in (("http", "80"), ("https", "443")), "an address was signed with a port that no browser shows")
    hold(match and not _DISPUTED.fullmatch(match["path"] or ""), "an address was signed that clients read differently")
    hold(not _NEVER_THERE.search(signed), "an address was signed that a browser writes in another way")
    signed = signed[:-1] if signed.endswith("/") else signed
    hold(signed_url(rest) == signed, "another part of the address was signed than the rule says")
    words = f"js_ticket={ticket}&nonce_str={nonce}&timestamp={when}&url={signed}"
    hold(found == hashlib.sha1(words.encode()).hexdigest(), "another signature than the rule's")  # noqa: S324 - prescribed
    config = core_config("app0000", ticket, nonce, when, rest)
    hold(config["signature"] == found and config["url"] == rest, "a page gets another signature or address")
    if SECRET not in nonce + rest:
        tell_nothing(repr(config), (SECRET,), "what a page gets holds the ticket")
