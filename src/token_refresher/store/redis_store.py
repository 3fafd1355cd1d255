"""What Redis holds, read and changed through the scripts in `scripts/`. The only place that knows their replies."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import (
    UNKNOWN_ORIGIN,
    Acquired,
    Caller,
    Lease,
    Record,
    Snapshot,
    Target,
    Unreadable,
    Word,
)
from token_refresher.domain.policy import Policy
from token_refresher.store.errors import broken, client_errors, translated
from token_refresher.store.idle_connections import keep_one
from token_refresher.store.keys import Keys, keys_of
from token_refresher.store.record_json import read_record, with_expiry, write_record

# One pipeline carries at most this many targets: bounds the memory of both sides, and how long Redis is kept busy.
_CHUNK = 1000
_WRONG_TYPE = Unreadable("of another Redis type than it should be, or longer than any record")


@functools.cache
def _script(name: str) -> str:
    """A script without its comments; those that write have the prelude before them."""
    source = "" if name == "load" else _source("prelude")
    return "\n".join(line for line in (source + _source(name)).splitlines() if not line.lstrip().startswith("--"))


def _source(name: str) -> str:
    # As pkgutil.get_data does, without all that pkgutil imports.
    with open(os.path.join(os.path.dirname(__file__), "scripts", f"{name}.lua"), "rb") as file:
        return file.read().decode()


class RedisStore:
    """Values and leases in Redis. Every method raises StoreError when Redis does not do what is asked.

    `pause` waits between repeats (seconds -> None). A command is repeated only after a broken or refused connection,
    and only because each script is idempotent.
    """

    def __init__(self, client: Any, policy: Policy, prefix: str, pause: Callable[[float], None]) -> None:
        self._client, self._policy, self._prefix, self._pause = client, policy, prefix, pause

    def keys_of(self, target: Target) -> Keys:
        return keys_of(target, self._prefix)

    def load(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        """Every target as it is now, in one pipeline (of bounded chunks); an error stands for what could not be read.

        Raises StoreError when nothing at all could be read.
        """
        _ask_afresh(self._client)
        found: list[Snapshot | StoreError] = []
        for start in range(0, len(targets), _CHUNK):
            chunk = targets[start : start + _CHUNK]
            found += self._repeated(functools.partial(self._load_chunk, chunk), (0.0,))
        if found and all(isinstance(each, StoreError) for each in found):
            assert isinstance(found[0], StoreError)  # noqa: S101 - tells the type checker what the line above says
            raise found[0]
        return found

    def read(self, target: Target) -> Snapshot:
        """One target as it is now."""
        (found,) = self.load([target])
        assert isinstance(found, Snapshot)  # noqa: S101 - `load` raises where nothing at all could be read
        return found

    def look(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        """The same as `load`, at the end of a run, for what it has stored."""
        return self.load(targets)

    def _load_chunk(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        script = _script("load")
        with self._client.pipeline(transaction=False) as pipe:
            for target in targets:
                # A cluster's pipeline has no eval, but sends the command all the same.
                pipe.execute_command("EVAL", script, 3, *self.keys_of(target))
            replies = pipe.execute(raise_on_error=False)
        lost = [reply for reply in replies if isinstance(reply, Exception) and broken(reply)]
        if lost and len(lost) == len(targets):
            raise lost[0]
        return [_snapshot(target, reply) for target, reply in zip(targets, replies, strict=True)]

    def acquire(self, snapshot: Snapshot, attempt: str, caller: str) -> Acquired:
        """Take the target's lease for `attempt` (unique text), as long as value and mark are those of `snapshot`.

        Cuts the value's TTL to the grace: the fetch to come may end its credential. Not held, when another attempt is
        locked or the target has changed.
        """
        policy, target = self._policy, snapshot.target
        fence = snapshot.record.fence if isinstance(snapshot.record, Record) else 0
        wait_s = policy.longest_own_wait_s(snapshot.seconds_left)
        times = (policy.work_s, policy.flight_s, policy.grace_s, policy.tick_s, wait_s, policy.lease_ttl_s)
        reply = self._run(
            "acquire", target, 2, attempt, caller, _held(snapshot), snapshot.lease.mark, *map(_ms, times), fence
        )
        word, now_ms, value, ttl_ms, fields = reply
        record, raw = _value(target, value)
        lease = _about(_lease(fields), raw)
        found = Snapshot(target, now_ms, record, lease, raw, snapshot.complaint, _ttl(ttl_ms))
        return Acquired(word == b"held", found)

    def finish(
        self,
        held: Snapshot,
        caller: str,
        outcome: str,
        note: str,
        *,
        record: Record | None = None,
        sent_ms: int = 0,
        life_s: int = 0,
        wait_s: float | None = None,
        code: str = "",
        pauses: Sequence[float] = (0.0,),
    ) -> str:
        """End the attempt of a lease that was acquired; returns `done`, `lost` or `orphan` as `finish.lua` says.

        `outcome` is issued, refused or unknown; `record` what was issued, `sent_ms` the instant before its request was
        sent (unix milliseconds, Redis's clock), `life_s` the duration that the platform gave it. `wait_s` (duration) is
        how long this caller waits before its next attempt, None to forget that it failed; `code` the error code, `note`
        the same for people. `pauses` are durations between repeats.
        """
        policy, target = self._policy, held.target
        value = write_record(target.kind, record) if record else ""
        expires_ms = record.expires_at * 1000 if record else 0
        found = self._believed(held, held.record.expires_at * 1000) if isinstance(held.record, Record) else 0
        wait_ms = -1 if wait_s is None else _ms(wait_s)
        written = (held.lease.attempt, caller, outcome, value, expires_ms, sent_ms, life_s, wait_ms, code, note)
        compared = (_held(held), found, _ms(policy.grace_s), _ms(policy.lease_ttl_s))
        return str(self._run("finish", target, 2, *written, *compared, pauses=pauses), "ascii")

    def as_stored(self, held: Snapshot, record: Record, life_s: int, note: str, ended: str) -> Snapshot:
        """The target after `finish` has stored `record` and returned `ended`, as far as this run knows. Asks nothing.

        `life_s` and `note` as for `finish`.
        """
        lease, settled = held.lease, ended == "done"
        now = Lease(True, fence=record.fence, mark="" if settled else lease.attempt, life_s=life_s)
        now = replace(now, outcome=note, outcome_at=held.now_ms, superseded=lease.superseded, callers=lease.callers)
        ttl_ms = None if settled else _ms(self._policy.grace_s)
        raw = write_record(held.target.kind, record).encode()
        return replace(held, record=record, raw=raw, lease=now, complaint=None, ttl_ms=ttl_ms)

    def see(self, snapshot: Snapshot, caller: str) -> Snapshot | None:
        """Give the stored value the TTL that it must have, whatever the platform says; None as `note` does.

        A value that cannot be read keeps no longer than a superseded credential lives.
        """
        recorded = isinstance(snapshot.record, Record)
        return self._note(snapshot, "seen", caller, None if recorded else snapshot.now_ms + _ms(self._policy.grace_s))

    def note(
        self,
        snapshot: Snapshot,
        word: Word,
        caller: str,
        *,
        ends_at: int | None = None,
        superseded: bool = False,
        code: str = "",
    ) -> Snapshot | None:
        """Enter what checkCode said of the credential of `snapshot`, read before the question; `note.lua` says how.

        `ends_at` (unix seconds, Redis's clock) is when the credential ends, None: as recorded. `superseded` enters a
        refresh elsewhere, `code` the error code of a question without a useful answer. Returns the target as it is now,
        None when another value is stored by now.
        """
        return self._note(snapshot, word.value, caller, None if ends_at is None else ends_at * 1000, superseded, code)

    def _note(
        self, snapshot: Snapshot, word: str, caller: str, ends_ms: int | None, superseded: bool = False, code: str = ""
    ) -> Snapshot | None:
        policy, record, lease = self._policy, snapshot.record, snapshot.lease
        known = record if isinstance(record, Record) else None
        if ends_ms is None:
            ends_ms = known.expires_at * 1000 if known else 0
        ends_ms = self._believed(snapshot, ends_ms)
        shorter = with_expiry(snapshot.raw, ends_ms // 1000) if word == Word.ENDS and snapshot.raw else ""
        ahead_ms = lease.locked_until - snapshot.now_ms
        # What has no recorded end is never settled.
        free = known is not None and not 0 < ahead_ms <= _ms(policy.work_s + policy.flight_s)
        times = (policy.grace_s, policy.margin_s, policy.denial_s, policy.lease_ttl_s)
        about = (word, snapshot.fingerprint or "", _held(snapshot), lease.mark, int(free), snapshot.now_ms)
        entered = (ends_ms, shorter, int(superseded), caller, code)
        noted, now_ms, ttl_ms, mark = self._run("note", snapshot.target, 3, *about, *entered, *map(_ms, times))
        if noted == b"other":
            return None
        lease = replace(lease, exists=True, mark=_mark(mark))
        if noted == b"removed":
            return replace(snapshot, now_ms=now_ms, record=None, raw=None, lease=lease, complaint=None, ttl_ms=None)
        if known and shorter:
            snapshot = replace(snapshot, record=replace(known, expires_at=ends_ms // 1000), raw=shorter.encode())
        return replace(snapshot, now_ms=now_ms, lease=lease, ttl_ms=_ttl(ttl_ms))

    def _believed(self, snapshot: Snapshot, ends_ms: int) -> int:
        """The end (unix ms) of a value: no credential lives longer than any is issued for, whatever is claimed."""
        return min(ends_ms, snapshot.now_ms + _ms(self._policy.longest_life_s))

    def _run(self, name: str, target: Target, n_keys: int, *args: Any, pauses: Sequence[float] = (0.0,)) -> Any:
        call = functools.partial(self._client.eval, _script(name), n_keys, *self.keys_of(target)[:n_keys], *args)
        return self._repeated(call, pauses)

    def rest(self) -> None:
        """Keep at most one idle connection: call it at the end of a run."""
        keep_one(self._client)

    def _repeated(self, call: Callable[[], Any], pauses: Sequence[float]) -> Any:
        """The result of `call`, repeated once for each of `pauses` (seconds to wait before) when the connection broke
        or stayed silent.

        The connection of a warm instance may have died while it was idle, so one immediate repeat is the rule. The
        repeat dials: after a failure no client uses a connection that is older than the failure.
        """
        for pause in (*pauses, None):
            try:
                return call()
            except client_errors() as error:
                if pause is None or not broken(error):
                    raise translated(error) from None
                if pause:
                    self._pause(pause)
        raise AssertionError("unreachable: the last round returns or raises")


def _ask_afresh(client: Any) -> None:
    """Before a run: a client that goes through sentinels asks them again who the primary is.

    After a switchover the old primary may still accept what it is sent on an old connection.
    """
    pool: Any = getattr(client, "connection_pool", None)
    if hasattr(pool, "sentinel_manager"):
        pool.disconnect()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _ttl(pttl: int) -> int | None:
    return pttl if pttl >= 0 else None


def _held(snapshot: Snapshot) -> bytes:
    """The stored value as scripts compare it: `-` for nothing, `?` for nothing that a record can be."""
    if snapshot.raw is not None:
        return b"=" + snapshot.raw
    return b"-" if snapshot.record is None else b"?"


def _value(target: Target, reply: Any) -> tuple[Record | Unreadable | None, Any]:
    """Record and raw bytes from what a script found under the value key (0: of a wrong type)."""
    if reply is None:
        return None, None
    if not isinstance(reply, bytes):
        return _WRONG_TYPE, None
    return (_same_record if len(reply) <= _KEPT_BYTES else read_record)(target.kind, reply), reply


def _snapshot(target: Target, reply: Any) -> Snapshot | StoreError:
    if isinstance(reply, Exception):
        return translated(reply)
    now_ms, value, ttl_ms, fields, complaint = reply
    record, raw = _value(target, value)
    complained = complaint.decode("ascii", "replace") if isinstance(complaint, bytes) else None
    if isinstance(fields, bytes):
        lease = _same_lease(fields) if len(fields) <= _KEPT_BYTES else _lease(fields.split(b"\n"))
    else:
        lease = _lease(fields if isinstance(fields, list) else [])
    return Snapshot(target, now_ms, record, _about(lease, raw), raw, complained, _ttl(ttl_ms))


def _about(lease: Lease, raw: bytes | None) -> Lease:
    """A lease as the prelude of the scripts reads it beside this value: of another than it settled it knows nothing."""
    if lease.mark or not raw or lease.value == hashlib.sha1(b"=" + raw, usedforsecurity=False).hexdigest()[:16]:
        return lease
    return replace(lease, mark=UNKNOWN_ORIGIN, mark_since=0)


def _lease(flat: Sequence[bytes]) -> Lease:
    """A lease hash, field by field; garbage reads as 0, which never makes anything look settled or locked."""
    fields = {name.decode("ascii", "replace"): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    if not fields:
        return Lease()
    words = {name: fields.get(name, b"").decode("utf-8", "replace") for name in _WORDS}
    denied, _, denied_at = fields.get("denied", b"").partition(b" ")
    return Lease(
        exists=True,
        mark=_mark(fields.get("mark")),
        before=_mark(fields.get("before")),
        callers=tuple(found for each in fields.get("callers", b"").split() if (found := _caller(each))),
        denied=denied.decode("ascii", "replace"),
        denied_at=_number(denied_at),
        life_s=_number(fields.get("life", b"")),
        outcome=fields.get("outcome", b"").decode("utf-8", "replace")[:200],
        superseded=tuple(_number(each) for each in fields.get("superseded", b"").split() if len(each) == 13),
        **words,  # type: ignore[arg-type]
        **{name: _number(fields.get(name, b"")) for name in _NUMBERS},  # type: ignore[arg-type]
    )


def _mark(text: bytes | None) -> str:
    """A mark as the prelude of the scripts reads it."""
    mark = "?" if text is None else text.decode("ascii", "replace")
    return mark if len(mark) <= 64 and not _NO_MARK.search(mark) else UNKNOWN_ORIGIN


def _caller(text: bytes) -> Caller | None:
    parts = text.decode("ascii", "replace").split(":")
    if len(parts) != 5:
        return None
    until, failures, asked_at = (_number(each.encode()) for each in parts[1:4])
    return Caller(parts[0], until, failures, asked_at, parts[4])


# A warm instance reads the same bytes every minute; what is longer than any of ours is not worth the memory.
_KEPT_BYTES = 2048
_same_record = functools.lru_cache(maxsize=2048)(read_record)


@functools.lru_cache(maxsize=2048)
def _same_lease(text: bytes) -> Lease:
    return _lease(text.split(b"\n"))


_NO_MARK = re.compile(r"[^A-Za-z0-9_-]")
_WORDS = ("attempt", "finished", "by", "issued_by", "value")
_NUMBERS = (
    "fence",
    "work_until",
    "locked_until",
    "mark_since",
    "audited_at",
    "outcome_at",
)


def _number(text: bytes, garbage: int = 0) -> int:
    return int(text) if text.isdigit() and len(text) < 16 else garbage
