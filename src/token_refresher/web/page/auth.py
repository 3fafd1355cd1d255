"""Who may see the page, and who may push its buttons.

| threat                                 | answer                                                                      |
|----------------------------------------|-----------------------------------------------------------------------------|
| anyone who reaches the port            | loopback only, else a token is needed                                       |
| guessing the token, or timing it       | 16 characters at least; compared in constant time; `LoginThrottle`  |
| a stolen cookie telling the token      | the cookie is a signed expiry; its key is slow to derive from the token     |
| a cookie that was copied before        | signing out ends the session in this process                                |
| another site's form or script          | SameSite=Strict, Sec-Fetch-Site or Origin, and a CSRF token in each form    |
| a name that is made to point here      | the Host header must be an address, localhost, or a name that was allowed   |
| injected markup, frames, outside assets | escaping, and a Content-Security-Policy without any inline code            |
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from token_refresher.domain.errors import CommandError
from token_refresher.domain.model import Secret
from token_refresher.web.hosts import knows_host

COOKIE = "token_refresher_page"
# A working day and some more: after that people sign in again.
SESSION_S = 12 * 3600
# Sessions that were ended are remembered until they would be over. Of more than this many, all older ones are over too.
_MOST_ENDED = 1000
# Enough that guessing is hopeless at any rate a server can answer.
_SHORTEST_TOKEN, _LONGEST_TOKEN = 16, 512
_TOKEN = re.compile(f"[!-~]{{{_SHORTEST_TOKEN},{_LONGEST_TOKEN}}}")
_FORM = f"{_SHORTEST_TOKEN} to {_LONGEST_TOKEN} characters, all of them ASCII and none a blank"
_MAKE_ONE = "make one: python3 -c 'import secrets; print(secrets.token_urlsafe(24))' > FILE"
# About a tenth of a second, once at start; a guess at the token from a cookie costs the same each time.
_ROUNDS = 200_000
_SESSION = re.compile(r"([0-9]{10,12})\.([0-9a-f]{32})\.([0-9a-f]{64})", re.ASCII)

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


def read_token(path: str | None) -> Secret | None:
    """The token in a file; None without a file. Raises CommandError for one that holds none: it must not mean open."""
    if path is None:
        return None
    try:
        token = Path(path).read_text("utf-8").strip()
    except OSError as error:
        why = error.strerror or "not a file"
        advice = "correct the path, or let the user that runs this read the file"
        raise CommandError(f"{_named(path)} cannot be read: {why}", advice=advice) from None
    except UnicodeDecodeError:
        raise CommandError(f"{_named(path)} cannot be read: not a text", advice=_MAKE_ONE) from None
    if not token:
        raise CommandError(f"{_named(path)} is empty", advice=_MAKE_ONE)
    if not _TOKEN.fullmatch(token):
        raise CommandError(f"{_named(path)} must hold {_FORM}", advice=_MAKE_ONE)
    return Secret(token)


def _named(path: str) -> str:
    """The file of --token-file. A name that leads nowhere is not shown: it may be the token itself."""
    given = Path(path)
    shown = given.exists() or given.parent != Path()
    return f"the token's file {path}" if shown else "the token's file (--token-file)"


class PageAuth:
    """Decides who may see the page and push its buttons.

    `hosts` are names under which the page may be asked for, besides addresses. `now` gives unix seconds. Raises
    CommandError for a token that is too short or cannot be sent in a header.
    """

    def __init__(self, token: Secret | None, hosts: Collection[str] = (), now: Callable[[], float] = time.time) -> None:
        value = token.reveal() if token else ""
        if value and not _TOKEN.fullmatch(value):
            raise CommandError(f"the page's token must have {_FORM}", advice=_MAKE_ONE)
        self._now, self._hosts = now, tuple(hosts)
        # Of sessions that were signed out: nonce -> expiry. Every session with an expiry up to `_over` is over.
        self._ended: dict[str, int] = {}
        self._over = 0
        self._lock = threading.Lock()
        self._hash = hashlib.sha256(value.encode()).digest() if value else b""
        self._key = hashlib.pbkdf2_hmac("sha256", value.encode(), b"token-refresher page", _ROUNDS) if value else b""

    @property
    def open(self) -> bool:
        """Whether everyone who reaches the page may see it."""
        return not self._key

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names us."""
        return knows_host(header, self._hosts)

    def is_token(self, given: str) -> bool:
        """Whether this is the token; takes the same time for each wrong one, whatever its length."""
        matches = hmac.compare_digest(hashlib.sha256(given.encode("utf-8", "replace")).digest(), self._hash)
        return matches and not self.open

    def token_in(self, authorization: str) -> str:
        """The token that an Authorization header shows, right or wrong; "" when it shows none or none is needed."""
        scheme, _, given = authorization.partition(" ")
        return given.strip() if scheme.lower() == "bearer" and not self.open else ""

    def new_session(self) -> str:
        """A cookie's value for one who has shown the token."""
        content = f"{int(self._now()) + SESSION_S}.{secrets.token_hex(16)}"
        return f"{content}.{self._sign('session', content)}"

    def is_session(self, cookie: str) -> bool:
        """Whether a cookie's value is ours and not over."""
        found = _SESSION.fullmatch(cookie)
        if not found or self.open:
            return False
        ours = hmac.compare_digest(found[3], self._sign("session", f"{found[1]}.{found[2]}"))
        return ours and int(found[1]) > max(self._now(), self._over) and found[2] not in self._ended

    def end_session(self, cookie: str) -> None:
        """From now on this cookie opens nothing. Does nothing for what is not a session of ours."""
        if not self.is_session(cookie):
            return
        expiry, nonce, _ = cookie.split(".")
        with self._lock:
            now = self._now()
            self._ended = {each: until for each, until in self._ended.items() if until > now} | {nonce: int(expiry)}
            if len(self._ended) > _MOST_ENDED:
                first = min(self._ended, key=self._ended.__getitem__)
                self._over = max(self._over, self._ended.pop(first))

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
