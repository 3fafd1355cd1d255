"""Who may see the page, and who may push its buttons.

| threat                                 | answer                                                                      |
|----------------------------------------|-----------------------------------------------------------------------------|
| anybody who reaches the port           | loopback only, else a token is needed                                       |
| guessing the token, or timing it       | 16 characters at least; compared in constant time, through a hash           |
| a stolen cookie telling the token      | the cookie is a signed expiry; its key is slow to derive from the token     |
| another site's form or script          | SameSite=Strict, Sec-Fetch-Site or Origin, and a CSRF token in each form    |
| a name that is made to point here      | the Host header must be an address, localhost, or a name that was allowed   |
| injected markup, frames, outside assets | escaping, and a Content-Security-Policy without any inline code            |
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping

from .errors import CommandError
from .model import Secret

COOKIE = "token_refresher_page"
# A working day and some: who looks longer signs in again.
SESSION_S = 12 * 3600
# Enough that guessing is hopeless at any rate a server can answer.
_SHORTEST_TOKEN = 16
# About a tenth of a second, once at start; a guess at the token from a cookie costs the same each time.
_ROUNDS = 200_000
_SESSION = re.compile(r"([0-9]{10,12})\.([0-9a-f]{32})\.([0-9a-f]{64})", re.ASCII)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.ASCII)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def needs_token(host: str) -> bool:
    """Whether an address to listen on may be reached from other machines; of a name it is not known, so it may."""
    if host.lower() == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def check_binding(host: str, token: Secret | None) -> None:
    """Raises CommandError when the page would be open to other machines without a token."""
    if needs_token(host) and not token:
        raise CommandError(f"{host} may be reached from other machines: give a token, or listen on 127.0.0.1")


class Guard:
    """Decides about requests. `hosts` are names under which the page may be asked for, besides addresses.

    `now` gives unix seconds. Raises CommandError for a token that is too short or cannot be sent in a header.
    """

    def __init__(self, token: Secret | None, hosts: Collection[str] = (), now: Callable[[], float] = time.time) -> None:
        value = token.reveal() if token else ""
        if value and not re.fullmatch(f"[!-~]{{{_SHORTEST_TOKEN},512}}", value):
            raise CommandError(
                f"the page's token must have {_SHORTEST_TOKEN} to 512 characters, all of them ASCII and none a blank"
            )
        self._now, self._hosts = now, {name.lower() for name in hosts} | {"localhost"}
        self._hash = hashlib.sha256(value.encode()).digest() if value else b""
        self._key = hashlib.pbkdf2_hmac("sha256", value.encode(), b"token-refresher page", _ROUNDS) if value else b""

    @property
    def open(self) -> bool:
        """Whether everybody who reaches the page may see it."""
        return not self._key

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names us. An address does: only names can be made to point elsewhere."""
        found = _HOST.fullmatch(header)
        name = found[1].strip("[]").lower().removesuffix(".") if found else ""
        try:
            return bool(name) and bool(name in self._hosts or ipaddress.ip_address(name))
        except ValueError:
            return False

    def is_token(self, given: str) -> bool:
        """Whether this is the token; takes the same time for each wrong one, whatever its length."""
        matches = hmac.compare_digest(hashlib.sha256(given.encode("utf-8", "replace")).digest(), self._hash)
        return matches and not self.open

    def bears_token(self, authorization: str) -> bool:
        """Whether an Authorization header carries the token."""
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def new_session(self) -> str:
        """A cookie's value for somebody who has shown the token."""
        content = f"{int(self._now()) + SESSION_S}.{secrets.token_hex(16)}"
        return f"{content}.{self._sign('session', content)}"

    def is_session(self, cookie: str) -> bool:
        """Whether a cookie's value is ours and not over."""
        found = _SESSION.fullmatch(cookie)
        if not found or self.open:
            return False
        ours = hmac.compare_digest(found[3], self._sign("session", f"{found[1]}.{found[2]}"))
        return ours and int(found[1]) > self._now()

    def csrf(self, cookie: str) -> str:
        """What the forms of this session carry."""
        return self._sign("form", cookie)

    def is_csrf(self, given: str, cookie: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.csrf(cookie).encode())

    def _sign(self, purpose: str, content: str) -> str:
        return hmac.new(self._key, f"{purpose} {content}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def from_own_page(site: str | None, origin: str, host: str) -> bool:
    """Whether a browser sent this from a page of ours: by Sec-Fetch-Site (None: not sent), else by Origin.

    A browser always sends one of the two with a form.
    """
    if site is not None:
        return site == "same-origin"
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place.lower() == host.lower()
