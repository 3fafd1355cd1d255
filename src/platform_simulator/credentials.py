"""Which credentials exist and how long each really lives: the ground truth.

Pure apart from the clock that is handed in and the chance in a new credential.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ACCESS_TOKEN = "access_token"  # noqa: S105 -- the name of a kind, not a password
JS_TICKET = "js_ticket"
KINDS = (ACCESS_TOKEN, JS_TICKET)


def new_code() -> str:
    """64 random hex characters, as the platform's samples look."""
    return secrets.token_hex(32)


@dataclass(frozen=True)
class IssuedCredential:
    """A credential and its life in unix seconds; `expires_at` is what holds now, cuts included."""

    code: str
    issued_at: float
    expires_at: float


@dataclass(frozen=True)
class IssueOptions:
    """How a credential is to be issued: its text, its real life in seconds (None: the usual one).

    `reuse` hands out the newest credential again while it is valid: with what remains of its life, or
    with its life really renewed to the full.
    """

    make: Callable[[], str] = new_code
    lifetime_s: float | None = None
    reuse: Literal["remaining", "full"] | None = None


@dataclass(frozen=True)
class IssueResult:
    """What an issue gave: the credential, its life from now in seconds, and whether it is a new one."""

    issued: IssuedCredential
    lifetime_s: float
    new: bool


class _Life:
    """One credential and every change of its expiry, so that the past can be asked for too."""

    __slots__ = ("changes", "code", "issued_at", "over_the_wire")

    def __init__(self, code: str, now: float, expires_at: float, over_the_wire: bool) -> None:
        self.code = code
        self.issued_at = now
        self.over_the_wire = over_the_wire
        self.changes = [(now, expires_at)]

    @property
    def expires_at(self) -> float:
        return self.changes[-1][1]

    def end_at(self, expires_at: float, now: float) -> None:
        self.changes.append((now, expires_at))

    def cut_to(self, expires_at: float, now: float) -> None:
        if expires_at < self.expires_at:
            self.end_at(expires_at, now)

    def seen_at(self, when: float) -> float | None:
        known = [expires_at for at, expires_at in self.changes if at <= when]
        return known[-1] if known else None

    def shown(self) -> IssuedCredential:
        return IssuedCredential(self.code, self.issued_at, self.expires_at)


class CredentialRegistry:
    """All credentials of all applications. Every method is atomic.

    A newer credential leaves its predecessors `grace_s`, an access_token's `access_token_grace_s` unless that is None.
    With `token_ends_tickets`, a new access_token ends every ticket at once.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        lifetime_s: float,
        grace_s: float,
        shortens_access_token: bool,
        access_token_grace_s: float | None = None,
        token_ends_tickets: bool = False,
    ) -> None:
        self._clock = clock
        self._lifetime_s = lifetime_s
        token_grace_s = grace_s if access_token_grace_s is None else access_token_grace_s
        self._grace_s = {JS_TICKET: grace_s, ACCESS_TOKEN: token_grace_s}
        self._token_ends_tickets = token_ends_tickets
        self._shortening = {JS_TICKET, ACCESS_TOKEN} if shortens_access_token else {JS_TICKET}
        self._lock = threading.Lock()
        self._lives: dict[tuple[str, str], dict[str, _Life]] = {}
        # Per target the lives no successor has cut yet, so that an issue never walks them all.
        self._uncut: dict[tuple[str, str], list[_Life]] = {}

    def issue(
        self, app_id: str, kind: str, options: IssueOptions | None = None, over_the_wire: bool = False
    ) -> IssueResult:
        """Issue a credential; older ones are cut to the grace. Raises ValueError for an unknown kind."""
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}, not one of {KINDS}")
        options = options or IssueOptions()
        with self._lock:
            now = self._clock()
            lives = self._lives.setdefault((app_id, kind), {})
            newest = next(reversed(lives.values()), None)
            if options.reuse and newest and now < newest.expires_at:
                return self._hand_out_again(newest, now, options.reuse)
            lifetime_s = self._lifetime_s if options.lifetime_s is None else options.lifetime_s
            life = _Life(options.make(), now, now + lifetime_s, over_the_wire)
            uncut = self._uncut.setdefault((app_id, kind), [])
            if kind in self._shortening:
                for older in uncut:
                    older.cut_to(now + self._grace_s[kind], now)
                uncut.clear()
            if kind == ACCESS_TOKEN and self._token_ends_tickets:
                self._end(app_id, JS_TICKET, now)
            uncut.append(life)
            lives[life.code] = life
            return IssueResult(life.shown(), lifetime_s, new=True)

    def _hand_out_again(self, life: _Life, now: float, reuse: str) -> IssueResult:
        lifetime_s = life.expires_at - now
        if reuse == "full":
            lifetime_s = self._lifetime_s
            life.end_at(now + lifetime_s, now)
        return IssueResult(life.shown(), lifetime_s, new=False)

    def valid(self, app_id: str, kind: str, code: str) -> bool:
        """Whether the platform accepts this credential now."""
        until = self.valid_until(app_id, kind, code)
        return until is not None and self._clock() < until

    def valid_until(self, app_id: str, kind: str, code: str) -> float | None:
        """The instant (unix seconds) at which the credential dies or died; None: never issued."""
        with self._lock:
            life = self._lives.get((app_id, kind), {}).get(code)
            return life.expires_at if life else None

    def was_valid_until(self, app_id: str, kind: str, code: str, ago_s: float) -> float | None:
        """The expiry the credential had `ago_s` seconds ago; None when it was not valid then."""
        with self._lock:
            when = self._clock() - ago_s
            life = self._lives.get((app_id, kind), {}).get(code)
            until = life.seen_at(when) if life else None
            return until if until is not None and when < until else None

    def issued(self, app_id: str, kind: str) -> list[IssuedCredential]:
        """Every credential of a target in the order of issue."""
        with self._lock:
            return [life.shown() for life in self._lives.get((app_id, kind), {}).values()]

    def newest(self, app_id: str, kind: str) -> IssuedCredential | None:
        """The credential issued last, alive or not; None when there is none."""
        with self._lock:
            life = next(reversed(self._lives.get((app_id, kind), {}).values()), None)
            return life.shown() if life else None

    def fetches(self, app_id: str, kind: str) -> int:
        """How many credentials of a target were issued to a request, not out of band."""
        with self._lock:
            return sum(v.over_the_wire for v in self._lives.get((app_id, kind), {}).values())

    def shorten(self, app_id: str, kind: str, code: str, lifetime_s: float) -> None:
        """Leave the credential at most `lifetime_s` from now. Raises KeyError for an unknown credential."""
        with self._lock:
            now = self._clock()
            self._lives[app_id, kind][code].cut_to(now + lifetime_s, now)

    def end_all(self, app_id: str) -> None:
        """End every credential of an application now."""
        with self._lock:
            for kind in KINDS:
                self._end(app_id, kind, self._clock())

    def _end(self, app_id: str, kind: str, now: float) -> None:
        for life in self._lives.get((app_id, kind), {}).values():
            life.cut_to(now, now)

    def credentials(self) -> set[str]:
        """Every credential ever issued, of any application and kind."""
        with self._lock:
            return {code for lives in self._lives.values() for code in lives}
