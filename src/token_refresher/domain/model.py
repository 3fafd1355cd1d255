"""The words of the domain, as values: kinds, targets, records, leases, applications."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from token_refresher.domain.addresses import PlatformUrl
from token_refresher.domain.host_port import HostPort
from token_refresher.domain.secret import Secret as Secret


class Kind(str, Enum):
    """What is cached. The values are those that the platform's checkCode takes as `type`."""

    ACCESS_TOKEN = "access_token"  # noqa: S105 - a name, not a password
    JS_TICKET = "js_ticket"


class Outcome(str, Enum):
    """What came of the work on one target. Only after `issued` and `lost` a credential was issued."""

    meaning: str

    ISSUED = "issued", "a new credential was fetched and is stored"
    KEPT = "kept", "checkCode says that the stored credential is alive; nothing was fetched"
    REFUSED = "refused", "the platform said no; it issued nothing"
    NOT_SENT = "not_sent", "the platform could not be reached; no request was sent"
    UNKNOWN = "unknown", "a request was sent and got no usable answer; the lock stays until its effect is over"
    LOST = "lost", "a new credential was fetched and could not be stored: another run took over, or Redis failed"
    DEFERRED = "deferred", "not tried: no time or no access_token was there, a limit held it back, or Redis failed"

    def __new__(cls, value: str, meaning: str) -> Outcome:
        outcome = str.__new__(cls, value)
        outcome._value_ = value
        outcome.meaning = meaning
        return outcome

    @property
    def words(self) -> str:
        return str(self.value).replace("_", " ")


class Word(str, Enum):
    """What checkCode said of a stored credential."""

    ALIVE = "alive"  # it is accepted until its recorded end, give or take the tolerance
    ENDS = "ends"  # it is accepted, and ends earlier than recorded
    REFUSED = "refused"  # it is not accepted
    DENIED = "denied"  # a definite no about the application: neither the credential's fault nor the caller's
    SILENT = "silent"  # nothing definite, or nothing about the credential


def fingerprint(code: str) -> str:
    """The only form in which a credential may be shown: the first 8 hex digits of its SHA-256."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()[:8]


@dataclass(frozen=True, order=True)
class Target:
    """One (application, kind): the unit that is refreshed."""

    app_id: str
    kind: Kind


@dataclass(frozen=True)
class Record:
    """What Redis holds for a target.

    `expires_at` and `issued_at` are instants (unix seconds, Redis's clock; `issued_at` None when another tool wrote
    the value). `fence` only grows; 0 when another tool wrote the value.
    """

    code: str = field(repr=False)
    expires_at: int
    issued_at: int | None = None
    fence: int = 0

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.code)


@dataclass(frozen=True)
class Unreadable:
    """A stored value that is no record; `why` never quotes it.

    `code` is what readers take from it all the same: they look at no other member. None: nothing.
    """

    why: str
    code: str | None = field(default=None, repr=False)


# The mark of a target of which nothing is known: it has no lease hash, or one without a mark.
UNKNOWN_ORIGIN = "none"


@dataclass(frozen=True)
class Caller:
    """What a lease remembers of one copy of this program.

    `name` identifies the copy by its settings and its host (`bootstrap.caller_of`). `until` is the end of its own wait,
    `asked_at` when it last asked checkCode in vain: instants, unix milliseconds of Redis's clock, 0 means none.
    `failures` counts its attempts in a row that brought nothing; `code` is the error code of the last one, `no_end`
    while one has not ended.
    """

    name: str
    until: int = 0
    failures: int = 0
    asked_at: int = 0
    code: str = ""


@dataclass(frozen=True)
class Lease:
    """The control hash of a target. Instants are unix milliseconds of Redis's clock; 0 means none.

    `exists` is False when Redis holds no such hash. `mark` is empty when the target is settled: its last attempt ended
    definitely, so that the stored credential is the newest there is; else it is the attempt that left this open, since
    `mark_since`. `before` is the mark that the current attempt found. `finished` is the last attempt that ended, `by`
    the caller of the current attempt, `issued_by` the one that last brought a credential. `denied` is the fingerprint
    of a credential for whose application checkCode gave a definite no, since `denied_at`. `life_s` (duration) is what
    the platform gave the last credential. `value` is a digest of the value that was settled last: of another one the
    lease knows nothing, and reads as `UNKNOWN_ORIGIN`.
    """

    exists: bool = False
    attempt: str = ""
    finished: str = ""
    fence: int = 0
    work_until: int = 0
    locked_until: int = 0
    mark: str = UNKNOWN_ORIGIN
    mark_since: int = 0
    value: str = ""
    before: str = UNKNOWN_ORIGIN
    by: str = ""
    issued_by: str = ""
    callers: tuple[Caller, ...] = ()
    audited_at: int = 0
    denied: str = ""
    denied_at: int = 0
    life_s: int = 0
    outcome: str = ""
    outcome_at: int = 0
    superseded: tuple[int, ...] = ()

    @property
    def settled(self) -> bool:
        return not self.mark

    @property
    def ended(self) -> bool:
        """Whether the last attempt came to an end, be it with or without a credential."""
        return self.attempt == self.finished

    def caller(self, name: str) -> Caller:
        """What is remembered of this caller; nothing, where it is new."""
        return next((each for each in self.callers if each.name == name), Caller(name))

    def in_vain(self, name: str) -> bool:
        """Whether this caller's last question about the stored credential brought no word of the platform."""
        return self.caller(name).asked_at > self.audited_at and not self.denied


@dataclass(frozen=True)
class Snapshot:
    """A target as Redis shows it at `now_ms` (instant, unix milliseconds, Redis's clock).

    `raw` is the stored value as it is, None when there is none, or none that could be a record. `ttl_ms` is the key's
    TTL (duration, milliseconds), None when it has none. `complaint` is the fingerprint of a credential with which a
    reader was refused.
    """

    target: Target
    now_ms: int
    record: Record | Unreadable | None
    lease: Lease = Lease()
    raw: bytes | None = field(default=None, repr=False)
    complaint: str | None = field(default=None, repr=False)
    ttl_ms: int | None = None

    @cached_property
    def live(self) -> Record | None:
        """The record, when there is one that has not expired."""
        alive = isinstance(self.record, Record) and self.record.expires_at * 1000 > self.now_ms
        return self.record if alive and isinstance(self.record, Record) else None

    @cached_property
    def code(self) -> str | None:
        """What readers take: the credential of the live record, or of a value whose end cannot be read."""
        if isinstance(self.record, Unreadable):
            return self.record.code
        return self.live.code if self.live else None

    @cached_property
    def fingerprint(self) -> str | None:
        """The fingerprint of `code`."""
        return None if self.code is None else fingerprint(self.code)

    @cached_property
    def seconds_left(self) -> int:
        """Duration until the recorded end (s); 0 when there is no live credential."""
        return (self.live.expires_at * 1000 - self.now_ms) // 1000 if self.live else 0

    @cached_property
    def readable_s(self) -> int:
        """Duration for which readers still find the credential (s): until its recorded end or its TTL ends."""
        left_s = self.seconds_left
        return left_s if self.ttl_ms is None else min(left_s, max(self.ttl_ms, 0) // 1000)


class Acquired(NamedTuple):
    """What came of asking for a lease: whether it is `held`, and the target as it is now, by Redis's clock."""

    held: bool
    snapshot: Snapshot


_HOST = HostPort("oauth.yuanzhibang.com")
_TOKEN, _TICKET, _CHECK = (PlatformUrl("https", _HOST, f"/OAuth2/{name}") for name in ("token", "ticket", "checkCode"))


@dataclass(frozen=True)
class Endpoints:
    """Addresses of one platform's four interfaces."""

    token_url: PlatformUrl = _TOKEN
    ticket_url: PlatformUrl = _TICKET
    check_code_url: PlatformUrl = _CHECK
    user_token_url: PlatformUrl = _TOKEN

    @classmethod
    def at(cls, base: PlatformUrl) -> Endpoints:
        """Those of another platform, whose interfaces are below `base`."""
        names = ("token", "ticket", "checkCode", "token")
        return cls(*(base.below(f"/OAuth2/{name}") for name in names))


@dataclass(frozen=True)
class App:
    """An application on the platform."""

    app_id: str
    secret: Secret
    name: str = ""
    endpoints: Endpoints = Endpoints()
