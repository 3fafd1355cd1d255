"""What Redis holds, read and changed through the scripts in `lua/`. The only place that knows their replies."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .errors import StoreError
from .idle_connections import keep_one
from .keys import Keys, keys_of
from .model import Lease, Record, Snapshot, Target, Unreadable
from .policy import Policy
from .records import read_record, with_expiry
from .redis_errors import broken, client_errors, translated

# One pipeline carries at most this many targets: bounds the memory of both sides, and how long Redis is kept busy.
_CHUNK = 1000
_HELD = b"held"
_WRONG_TYPE = Unreadable("of another Redis type than it should be, or longer than any record")


@functools.cache
def _script(name: str) -> str:
    # As pkgutil.get_data does, without all that pkgutil imports.
    with open(os.path.join(os.path.dirname(__file__), "lua", f"{name}.lua"), "rb") as file:
        source = file.read()
    return "\n".join(line for line in source.decode().splitlines() if not line.lstrip().startswith("--"))


class Acquired(NamedTuple):
    """A lease that is held: the target as it is under the lease, with Redis's clock at that moment."""

    attempt: str
    snapshot: Snapshot


class Store:
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

    def acquire(self, snapshot: Snapshot, attempt: str) -> Acquired | None:
        """Take the target's lease for `attempt` (unique text); None when another attempt is locked."""
        policy, target = self._policy, snapshot.target
        fence = snapshot.record.fence if isinstance(snapshot.record, Record) else 0
        reply = self._run(
            "acquire", target, 2, attempt, _ms(policy.work_s), _ms(policy.flight_s), _ms(policy.lease_ttl_s), fence
        )
        if reply[0] != _HELD:
            return None
        _, now_ms, value, fields = reply
        record, raw = _value(target, value)
        return Acquired(attempt, Snapshot(target, now_ms, record, _lease(fields), raw))

    def finish(
        self,
        target: Target,
        attempt: str,
        outcome: str,
        note: str,
        *,
        value: str = "",
        expires_at: int = 0,
        wait_s: float = 0,
        began_ms: int = 0,
        pauses: Sequence[float] = (0.0,),
    ) -> str:
        """End an attempt; returns `done`, `lost` or `orphan` as `finish.lua` says.

        `expires_at` (unix seconds) and `began_ms` (unix milliseconds, Redis's clock, when the lease was taken) are
        instants; `wait_s` and `pauses` (between repeats) are durations.
        """
        return str(
            self._run(
                "finish",
                target,
                2,
                *(
                    attempt,
                    outcome,
                    value,
                    expires_at * 1000,
                    _ms(wait_s),
                    _ms(self._policy.lease_ttl_s),
                    note,
                    began_ms,
                ),
                pauses=pauses,
            ),
            "ascii",
        )

    def note_alive(self, snapshot: Snapshot) -> None:
        """checkCode found the stored code alive, with the expiry that is recorded."""
        self._note(snapshot, "alive", "", "", 0)

    def note_superseded(self, snapshot: Snapshot, expires_at: int | None) -> None:
        """The stored code is superseded; with `expires_at` (unix seconds; past: remove it) its life is cut to that."""
        raw = (snapshot.raw or b"") if expires_at is not None else b""
        shortened = with_expiry(raw, expires_at) if raw and expires_at is not None else ""
        self._note(snapshot, "superseded", raw, shortened, expires_at or 0)

    def _note(self, snapshot: Snapshot, what: str, raw: bytes | str, shortened: str, expires_at: int) -> None:
        fingerprint = snapshot.record.fingerprint if isinstance(snapshot.record, Record) else ""
        ttl = _ms(self._policy.lease_ttl_s)
        self._run(
            "note", snapshot.target, 3, what, fingerprint, ttl, raw, shortened, expires_at * 1000, snapshot.now_ms
        )

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
    seconds, micros, value, fields, complaint = reply
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    record, raw = _value(target, value)
    complained = complaint.decode("ascii", "replace") if isinstance(complaint, bytes) else None
    if isinstance(fields, bytes):
        lease = _same_lease(fields) if len(fields) <= _KEPT_BYTES else _lease(fields.split(b"\n"))
    else:
        lease = _lease(fields if isinstance(fields, list) else [])
    return Snapshot(target, now_ms, record, lease, raw, complained)


def _lease(flat: Sequence[bytes]) -> Lease:
    """A lease hash, field by field; garbage reads as 0, which never makes anything look settled or locked."""
    fields = {name.decode("ascii", "replace"): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    if not fields:
        return Lease()
    history = fields.get("superseded", b"").split()
    unsettled = _number(fields.get("unsettled_since", b"?"), garbage=1)
    return Lease(
        exists=True,
        attempt=fields.get("attempt", b"").decode("ascii", "replace"),
        unsettled_since=unsettled,
        outcome=fields.get("outcome", b"").decode("utf-8", "replace")[:200],
        superseded=tuple(_number(each) for each in history if len(each) == 13),
        **{name: _number(fields.get(name, b"")) for name in _NUMBERS},
    )


# A warm instance reads the same bytes every minute; what is longer than any of ours is not worth the memory.
_KEPT_BYTES = 1024
_same_record = functools.lru_cache(maxsize=2048)(read_record)


@functools.lru_cache(maxsize=2048)
def _same_lease(text: bytes) -> Lease:
    return _lease(text.split(b"\n"))


_NUMBERS = (
    "fence",
    "work_until",
    "locked_until",
    "before",
    "failures",
    "retry_at",
    "audited_at",
    "outcome_at",
)


def _number(text: bytes, garbage: int = 0) -> int:
    return int(text) if text.isdigit() and len(text) < 16 else garbage
