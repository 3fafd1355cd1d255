"""Why a target is due, or is not: the words that every report uses."""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why a target is due, or is not. Shown unchanged in reports, logs, command line and README."""

    meaning: str

    MISSING = "MISSING", "nothing is stored"
    UNREADABLE = "UNREADABLE", "what is stored is not a record; it is replaced"
    EXPIRED = "EXPIRED", "the stored credential has expired"
    UNSETTLED = "UNSETTLED", "an earlier attempt had no definite end: the platform is asked what became of it"
    REFUSED = "REFUSED", "the platform refuses the stored credential, or a reader says so"
    SUPERSEDED = "SUPERSEDED", "a newer credential was fetched elsewhere: the stored one dies within ten minutes"
    NEAR_EXPIRY = "NEAR_EXPIRY", "less than the margin is left"
    FORCED = "FORCED", "asked for by hand"
    LOCKED = "LOCKED", "not now: another run is fetching, or an attempt had no end and its lock has not run out"
    BACKING_OFF = "BACKING_OFF", "not now: this copy failed a moment ago, and waits"
    YIELDING = "YIELDING", "not now: an attempt had no end, and the copy that last brought a credential goes first"
    COOLING_DOWN = "COOLING_DOWN", "not now: the credential was issued a moment ago"
    NOT_READ = "NOT_READ", "not now: Redis could not be read for it"
    FRESH = "FRESH", "nothing to do"

    def __new__(cls, value: str, meaning: str) -> Reason:
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.meaning = meaning
        return reason

    @property
    def due(self) -> bool:
        return self not in _NOT_DUE


_NOT_DUE = (
    Reason.LOCKED,
    Reason.BACKING_OFF,
    Reason.YIELDING,
    Reason.COOLING_DOWN,
    Reason.NOT_READ,
    Reason.FRESH,
)
