"""The signature with which a page calls `core.config`. Pure: ticket, nonce, time and address are arguments."""

from __future__ import annotations

import hashlib
import re
from typing import TypedDict
from urllib.parse import urlsplit

from .errors import SigningError

# The platform keeps room for this many characters.
_LONGEST_NONCE = 128
# Before a query, no browser leaves these in an address, and clients differ in what they make of them.
_ENCODED = re.compile(r'["<>\\`{}]')
# Python itself takes more for an address in brackets, and in each version something else.
_IN_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+\](:[0-9]*)?")


class CoreConfig(TypedDict):
    """What a page passes to `core.config`; `timestamp` is unix seconds as text, `url` the address as it was given."""

    app_id: str
    timestamp: str
    nonce_str: str
    signature: str
    url: str


def signed_url(url: str) -> str:
    """The part of a page's address that is signed: scheme, host, port and path, without one trailing slash.

    Raises SigningError where the platform's published clients would not agree on a result: no scheme or host, user
    info, or characters that a browser writes encoded (pass what `location.href` gives).
    """
    if not isinstance(url, str) or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        raise SigningError("the address holds characters that a browser would encode")
    try:
        parts = urlsplit(url)
        port_is_a_number = parts.port is None or parts.port >= 0
    except ValueError:
        port_is_a_number = False
    if not port_is_a_number:
        raise SigningError("the address has no valid host and port")
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise SigningError("the address does not begin with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise SigningError("the address holds a user name or password")
    if "[" in parts.netloc and not _IN_BRACKETS.fullmatch(parts.netloc):
        raise SigningError("the address has no valid host and port")
    if _ENCODED.search(parts.netloc + parts.path):
        raise SigningError("the address holds characters that a browser would encode")
    scheme = url[: len(parts.scheme)]
    return f"{scheme}://{parts.netloc}{parts.path}".removesuffix("/")


def sign(ticket: str, nonce: str, timestamp: int, url: str) -> str:
    """The signature: SHA-1 as 40 lower-case hex digits. `timestamp` is an instant in unix seconds.

    Raises SigningError for an address that cannot be signed, a nonce that is empty or over 128 characters, or a text
    that cannot be encoded.
    """
    if not 0 < len(nonce) <= _LONGEST_NONCE:
        raise SigningError(f"the nonce does not have 1 to {_LONGEST_NONCE} characters")
    text = f"js_ticket={ticket}&nonce_str={nonce}&timestamp={timestamp}&url={signed_url(url)}"
    try:
        # The platform prescribes SHA-1.
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    except UnicodeEncodeError:
        raise SigningError("ticket or nonce holds half a character") from None


def core_config(app_id: str, ticket: str, nonce: str, timestamp: int, url: str) -> CoreConfig:
    """Everything that a page passes to `core.config`. Raises SigningError as `sign` does."""
    signature = sign(ticket, nonce, timestamp, url)
    return CoreConfig(app_id=app_id, timestamp=str(timestamp), nonce_str=nonce, signature=signature, url=url)
