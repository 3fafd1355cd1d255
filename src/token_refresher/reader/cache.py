"""A process's own copies of credentials: how long they may be used, and what happens when Redis does not answer.

Pure state without input or output; `Reader` and `AsyncReader` put the same cache to work.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from token_refresher.domain.errors import NoCredentialError, StoreError
from token_refresher.domain.model import Kind, Record, Target, fingerprint
from token_refresher.domain.policy import Policy
from token_refresher.store.keys import Keys, keys_of
from token_refresher.store.record_json import read_record

_log = logging.getLogger("token_refresher.reader")

# After Redis failed, the last good credential is served for this long (seconds) before it is asked again.
_RETRY_S = 1.0
# How long a complaint waits in Redis for the refresher's next run: as long as a superseded credential lives.
COMPLAINT_TTL_MS = 600_000
# One complaint about a credential in this time (seconds); the refresher asks no more often either.
_COMPLAIN_EVERY_S = 60.0
# An outage in which nothing was asked for this long (seconds) is logged again; after it no credential is left anyway.
_OUTAGE_S = Policy.lifetime_s
# While Redis is down it is unknown which ids exist. The failures of so many ids without a copy are remembered, so that
# the log says when the outage ends.
_MOST_UNKNOWN = 100
_POLICY = Policy()


@dataclass(frozen=True)
class CachedCredential:
    """A credential as a reader holds it.

    `expires_at` and `issued_at` are instants (unix seconds, Redis's clock; `issued_at` None where another tool stored
    the credential), `fence` grows with every new credential. `stale` is True when Redis did not answer and this is the
    last credential that it gave.
    """

    code: str = field(repr=False)
    expires_at: int
    issued_at: int | None
    fence: int
    stale: bool = False

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.code)


class StoredValue(NamedTuple):
    """What Redis answered: the life left of a key in milliseconds (-1: no TTL, -2: no key), then its value."""

    life_ms: int
    raw: bytes | None


class _Complaint:
    """A complaint that was made, at an instant of the steady clock (seconds)."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at


class _Entry(NamedTuple):
    """A credential with two instants of the process's steady clock (seconds): when to read again, and when it dies."""

    credential: CachedCredential
    fresh_until: float
    dies_at: float


class CredentialCache:
    """The copies of one reader.

    `max_age_s` (seconds) is how old a copy may be; `clock` is steady, `wall` unix time (seconds). `policy` is the
    refresher's. With `only_within_grace` a copy is served for the grace after it was read, and no longer. Raises
    ValueError for a `max_age_s` with which a superseded credential could outlive its grace.
    """

    def __init__(
        self,
        max_age_s: float,
        prefix: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
        policy: Policy = _POLICY,
        only_within_grace: bool = False,
    ) -> None:
        if not 0 <= max_age_s <= policy.grace_s / 10:
            raise ValueError(f"max_age_s must be from 0 to {policy.grace_s / 10:g}")
        self._max_age_s, self._prefix, self.clock, self._wall = max_age_s, prefix, clock, wall
        self._policy, self._only_within_grace = policy, only_within_grace
        # By kind and then by application, so that the common case costs two look-ups and no object.
        self._entries: dict[Kind, dict[str, _Entry]] = {kind: {} for kind in Kind}
        self._retry_at: dict[Target, float] = {}
        self._complained: dict[tuple[Target, str], _Complaint] = {}
        # Until then (steady clock) an outage that was logged goes on.
        self._down_until = 0.0

    def keys_of(self, target: Target) -> Keys:
        return keys_of(target, self._prefix)

    def get_fresh(self, kind: Kind, app_id: str) -> CachedCredential | None:
        """The copy, while it need not be read again."""
        copy = self._entries[kind].get(app_id)
        return copy.credential if copy is not None and self.clock() < copy.fresh_until else None

    def get_while_down(self, target: Target) -> CachedCredential | None:
        """The last good copy, while Redis has just failed and is not asked again yet."""
        if self.clock() >= self._retry_at.get(target, 0.0):
            return None
        return self._last_good(target)

    def put(self, target: Target, found: StoredValue, asked_at: float) -> CachedCredential:
        """Keep what Redis gave; `asked_at` (instant of the steady clock) is from before it was asked.

        Raises NoCredentialError when that is not a credential.
        """
        # What never failed says nothing: where only a part of Redis is gone, the rest goes on answering.
        if self._retry_at.pop(target, None) is not None and self._down_until:
            self._down_until = 0.0
            # With it goes what failed for ids that may not exist; whatever still fails is noted again.
            self._retry_at.clear()
            _log.warning("Redis answers again")
        record = read_record(target.kind, found.raw) if found.raw is not None else None
        if not isinstance(record, Record):
            self._forget(target)
            what = "nothing is stored" if record is None else f"the stored value is {record.why}"
            raise self.no_credential(target, what)
        # A key without TTL was written by another tool: its own word for the expiry, by our own clock, has to do.
        recorded_s = record.expires_at - self._wall()
        life_s = found.life_ms / 1000 if found.life_ms >= 0 else recorded_s
        if life_s <= 0:
            self._forget(target)
            raise self.no_credential(target, "the stored credential has expired")
        credential = CachedCredential(record.code, record.expires_at, record.issued_at, record.fence)
        dies_at = asked_at + self._served_s(life_s, recorded_s)
        fresh_until = min(asked_at + self._max_age_s, dies_at)
        self._entries[target.kind][target.app_id] = _Entry(credential, fresh_until, dies_at)
        return credential

    def _served_s(self, life_s: float, recorded_s: float) -> float:
        """How long (seconds) after a read the platform surely accepts the credential, even if Redis stays silent.

        `life_s` is the life left of the key, `recorded_s` what the value says is left, by this machine's clock. A
        credential lives on for the grace after a newer one was fetched. It was the newest when it was read, and the
        refresher fetches the next one when less than the margin is left. So it lives for the grace from the read, or
        for the grace from when the margin begins, whichever is later; but never longer than its key. A key that was
        cut, because a fetch is out or the platform named an earlier end, has at most its own end. The margin begins
        before the earlier of the two ends: a key may have been written to live longer than its credential, and a wrong
        clock on this machine can only shorten this, down to the grace. Only `force`, or someone else who fetches,
        comes before the margin.
        """
        grace_s, margin_s = self._policy.grace_s, self._policy.margin_s
        if self._only_within_grace:
            return min(life_s, grace_s)
        return min(life_s, max(grace_s, min(life_s, recorded_s) - margin_s + grace_s))

    def serve_stale(self, target: Target, error: StoreError) -> CachedCredential:
        """Redis did not answer: the last good copy, marked as stale, while the platform surely accepts it.

        Raises NoCredentialError when there is none.
        """
        now, logged_until = self.clock(), self._down_until
        self._down_until = now + _OUTAGE_S
        if now >= logged_until:
            serving = "serving the last credentials that were read, until the platform may refuse them"
            if not any(now < copy.dies_at for of_kind in self._entries.values() for copy in list(of_kind.values())):
                serving = "no credential was read before, so there is none to serve"
            _log.warning("%s (%s): %s. What to do: %s", error.what, error.code, serving, error.advice)
        credential = self._last_good(target)
        if credential is not None or len(self._retry_at) < _MOST_UNKNOWN:
            self._retry_at[target] = now + _RETRY_S
        if credential is None:
            raise self.no_credential(target, f"{error.what}, and no credential is left from before", error)
        return credential

    def _forget(self, target: Target) -> None:
        self._entries[target.kind].pop(target.app_id, None)

    def _last_good(self, target: Target) -> CachedCredential | None:
        copy = self._entries[target.kind].get(target.app_id)
        if copy is None or self.clock() >= copy.dies_at:
            return None
        return replace(copy.credential, stale=True)

    # -- complaints ---------------------------------------------------------------------------------------------------

    def invalidate(self, target: Target, code: str) -> None:
        """The platform refused `code`: do not serve it again."""
        copy = self._entries[target.kind].get(target.app_id)
        if copy is not None and copy.credential.code == code:
            self._forget(target)

    def may_complain(self, target: Target, code: str) -> bool:
        """Whether a complaint about this credential is due; counts as made."""
        mine, key = _Complaint(self.clock()), (target, fingerprint(code))
        made = self._complained.get(key)
        if made is not None and mine.at - made.at < _COMPLAIN_EVERY_S:
            return False
        # Without a lock, which a fork could leave held: while another thread complains, the next one tidies up.
        with contextlib.suppress(RuntimeError):
            for old, its in list(self._complained.items()):
                if mine.at - its.at >= _COMPLAIN_EVERY_S:
                    self._complained.pop(old, None)
        if made is not None and self._complained.get(key) is made:
            self._complained.pop(key, None)
        # Of threads that come at once, only one finds its own entry.
        return self._complained.setdefault(key, mine) is mine

    def no_credential(self, target: Target, what: str, error: StoreError | None = None) -> NoCredentialError:
        """The error that says what was found where a credential should be; `error` where Redis could not be read."""
        key = self.keys_of(target).value
        what = f"{what} under the key {key}"
        return NoCredentialError(what, key=key, app_id=target.app_id, kind=target.kind.value, store_error=error)
