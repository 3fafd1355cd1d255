"""The words of the domain, as values: kinds, targets, records, leases, applications, secrets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property


class Kind(str, Enum):
    """What is cached. The values are those that the platform's checkCode takes as `type`."""

    ACCESS_TOKEN = "access_token"  # noqa: S105 - a name, not a password
    JS_TICKET = "js_ticket"


class Action(str, Enum):
    """What a run is asked to do."""

    REFRESH = "refresh"
    AUDIT = "audit"  # refresh, and ask checkCode about every stored code
    STATUS = "status"  # only read
    CHECK = "check"  # only ask checkCode; change nothing


class Outcome(str, Enum):
    """How an attempt to renew one target ended."""

    ISSUED = "issued"  # a new code is stored
    KEPT = "kept"  # the stored code was found to be alive and newest; nothing was fetched
    REFUSED = "refused"  # a definite no; nothing was issued
    UNKNOWN = "unknown"  # no definite answer; the lease stays locked
    LOST = "lost"  # a code came, but the lease was no longer ours: not written
    DEFERRED = "deferred"  # not started: no time was left, or Redis failed first


class Secret:
    """A string that prints masked. `reveal()` is the only way to its value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('****')"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled, so that it cannot leave the process by accident")


def fingerprint(code: str) -> str:
    """The only form in which a code may be shown: the first 8 hex digits of its SHA-256."""
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
    """A stored value that is no record; `why` never quotes it."""

    why: str


@dataclass(frozen=True)
class Lease:
    """The control hash of a target. Instants are unix milliseconds of Redis's clock; 0 means none.

    `exists` is False when Redis holds no such hash: then nothing is known of earlier attempts, so it is not settled.
    `before` is what `unsettled_since` was when the current attempt began.
    """

    exists: bool = False
    attempt: str = ""
    fence: int = 0
    work_until: int = 0
    locked_until: int = 0
    unsettled_since: int = 0
    before: int = 0
    failures: int = 0
    retry_at: int = 0
    audited_at: int = 0
    outcome: str = ""
    outcome_at: int = 0
    superseded: tuple[int, ...] = ()

    @property
    def settled(self) -> bool:
        return self.exists and not self.unsettled_since


@dataclass(frozen=True)
class Snapshot:
    """A target as Redis shows it at `now_ms` (instant, unix milliseconds, Redis's clock).

    `raw` is the stored value as it is, None when there is none. `complaint` is the fingerprint of a code with which
    a reader was refused.
    """

    target: Target
    now_ms: int
    record: Record | Unreadable | None
    lease: Lease = Lease()
    raw: bytes | None = field(default=None, repr=False)
    complaint: str | None = field(default=None, repr=False)

    @cached_property
    def live(self) -> Record | None:
        """The record, when there is one that has not expired."""
        alive = isinstance(self.record, Record) and self.record.expires_at * 1000 > self.now_ms
        return self.record if alive and isinstance(self.record, Record) else None

    @property
    def seconds_left(self) -> int:
        return (self.live.expires_at * 1000 - self.now_ms) // 1000 if self.live else 0


@dataclass(frozen=True)
class Endpoints:
    """Addresses of one platform's four interfaces."""

    token_url: str = "https://oauth.yuanzhibang.com/OAuth2/token"  # noqa: S105 - an address
    ticket_url: str = "https://oauth.yuanzhibang.com/OAuth2/ticket"
    check_code_url: str = "https://oauth.yuanzhibang.com/OAuth2/checkCode"
    user_token_url: str = "https://oauth.yuanzhibang.com/OAuth2/token"  # noqa: S105 - an address


@dataclass(frozen=True)
class App:
    """An application on the platform."""

    app_id: str
    secret: Secret
    name: str = ""
    endpoints: Endpoints = Endpoints()


@dataclass(frozen=True)
class Command:
    """What a door asks of a run. Empty `apps` or `kinds` mean all; `shard` (k, n) means the k-th of n parts, from 1."""

    action: Action = Action.REFRESH
    apps: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    force: bool = False
    shard: tuple[int, int] | None = None
