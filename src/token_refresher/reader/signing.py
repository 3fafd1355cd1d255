"""The signature with which a page calls `core.config`. Pure: ticket, nonce, time and address are arguments."""

from __future__ import annotations

import hashlib
import re
from typing import TypedDict
from urllib.parse import urlsplit

from token_refresher.domain.errors import SigningError

# What the platform's page says of a nonce.
_SHORTEST_NONCE, _LONGEST_NONCE = 4, 128
# Before a query, no browser leaves these in an address, and clients differ in what they make of them.
_ENCODED = re.compile(r'["<>\\`{}]')
# Python itself takes more for an address in brackets, and in each version something else.
_IN_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+\](:[0-9]*)?")
# A browser writes numbers as hosts in one form alone, and a port without leading zeros.
_LAST_IS_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")
_PORT = re.compile(r"0|[1-9][0-9]*")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_AS_BROWSERS = "the address is not written as a browser writes it:"


class CoreConfig(TypedDict):
    """What a page passes to `yzb.core.config` as `data`, besides its `js_api_list`.

    `timestamp` is unix seconds as text, `url` the address as it was given.
    """

    app_id: str
    timestamp: str
    nonce_str: str
    signature: str
    url: str


def signed_url(url: str) -> str:
    """The part of a page's address that is signed: scheme, host, port and path, without one trailing slash.

    Raises SigningError where the platform's published clients do not agree on a result. Most such addresses no browser
    shows (pass what `location.href` gives): no scheme or host, user info, upper case in scheme or host, an empty or the
    scheme's own port, segments of dots, characters that a browser encodes. Two a browser does show: `//` at the end,
    where one client takes both slashes away, and a `;` in the last segment, where one takes away all that follows.
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
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname:
        raise SigningError("the address does not begin with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise SigningError("the address holds a user name or password")
    if "[" in parts.netloc and not _IN_BRACKETS.fullmatch(parts.netloc):
        raise SigningError("the address has no valid host and port")
    if _ENCODED.search(parts.netloc + parts.path):
        raise SigningError("the address holds characters that a browser would encode")
    scheme = url[: len(parts.scheme)]
    problem = _disputed(scheme, parts.netloc, parts.path)
    if problem:
        raise SigningError(problem)
    return f"{scheme}://{parts.netloc}{parts.path}".removesuffix("/")


def _disputed(scheme: str, netloc: str, path: str) -> str:
    """What the published clients make different texts of, as a sentence; "" when they agree."""
    brackets, _, last = netloc.rpartition("]")
    name, colon, port = last.partition(":")
    if (scheme + netloc).lower() != scheme + netloc:
        return f"{_AS_BROWSERS} scheme and host are in small letters there"
    if colon and (not _PORT.fullmatch(port) or port == _DEFAULT_PORTS[scheme]):
        return f"{_AS_BROWSERS} an empty port, the scheme's own and leading zeros are left out there"
    if "%" in netloc or (not brackets and _LAST_IS_NUMBER.fullmatch(name) and not _IPV4.fullmatch(name)):
        return f"{_AS_BROWSERS} a host has no % there, and a number as host has four parts"
    if _DOT_SEGMENT.search(path):
        return f"{_AS_BROWSERS} it has no segments of dots there"
    if path.endswith("//"):
        return "the address ends with two slashes, and the platform's clients take away one or two: rename the page"
    if ";" in path.rpartition("/")[2]:
        return "the last segment holds a semicolon, and one of the platform's clients cuts it there: rename the page"
    return ""


def sign(ticket: str, nonce: str, timestamp: int, url: str) -> str:
    """The signature: SHA-1 as 40 lower-case hex digits. `timestamp` is an instant in unix seconds.

    Raises SigningError for an address that cannot be signed, a nonce that has not 4 to 128 characters, or a text
    that cannot be encoded.
    """
    if not _SHORTEST_NONCE <= len(nonce) <= _LONGEST_NONCE:
        raise SigningError(f"the nonce does not have {_SHORTEST_NONCE} to {_LONGEST_NONCE} characters")
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
