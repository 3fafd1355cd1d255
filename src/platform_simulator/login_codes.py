"""Login-free codes of a page's visitor and the user tokens they are exchanged for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from platform_simulator.credentials import new_code


@dataclass(frozen=True)
class UserToken:
    """What one login-free code was exchanged for; `expires_at` in unix seconds."""

    open_id: str
    access_token: str
    refresh_token: str
    expires_at: float


class LoginCodes:
    """Registered login-free codes, each good for one exchange. Every method is atomic."""

    def __init__(self, clock: Callable[[], float], lifetime_s: float) -> None:
        self._clock = clock
        self.lifetime_s = lifetime_s
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], str] = {}
        self._visitors: dict[str, set[str]] = {}
        self._tokens: dict[tuple[str, str, str], UserToken] = {}
        self._codes: set[str] = set()

    def register(self, app_id: str, open_id: str) -> str:
        """A fresh login-free code of this visitor of this application."""
        code = new_code()
        with self._lock:
            self._waiting[app_id, code] = open_id
            self._visitors.setdefault(app_id, set()).add(open_id)
            self._codes.add(code)
        return code

    def exchange(self, app_id: str, code: str) -> UserToken | None:
        """Use the code up; None when it is unknown, another application's, or used already."""
        with self._lock:
            open_id = self._waiting.pop((app_id, code), None)
            if open_id is None:
                return None
            token = UserToken(open_id, new_code(), new_code(), self._clock() + self.lifetime_s)
            self._tokens[app_id, open_id, token.access_token] = token
            self._codes |= {token.access_token, token.refresh_token}
            return token

    def valid_until(self, app_id: str, open_id: str, code: str) -> float | None:
        """Until when a user's token is good (unix seconds); None when it is not good now."""
        with self._lock:
            token = self._tokens.get((app_id, open_id, code))
        return token.expires_at if token and self._clock() < token.expires_at else None

    def visitors(self, app_id: str) -> set[str]:
        """The open_id of everyone who ever had a login-free code of this application."""
        with self._lock:
            return set(self._visitors.get(app_id, ()))

    def codes(self) -> set[str]:
        """Every login-free code and user token there ever was."""
        with self._lock:
            return set(self._codes)
