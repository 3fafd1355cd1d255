"""What Redis may hold under our keys, whoever wrote it: values, lease hashes, complaints."""

from __future__ import annotations

import json
from collections.abc import Callable

from token_refresher.domain.command import Action, Command
from token_refresher.domain.decision import decide, question
from token_refresher.domain.errors import NoCredentialError, TokenRefresherError
from token_refresher.domain.model import Kind, Record, Snapshot, Target, Unreadable
from token_refresher.domain.policy import Policy
from token_refresher.reader.cache import CredentialCache, StoredValue
from token_refresher.store.keys import WIRE_NAME
from token_refresher.store.record_json import read_record, with_expiry, write_record
from token_refresher.store.redis_store import _snapshot

from .inputs import BETWEEN, json_of, number, parts
from .properties import SECRET, attempt, hold, planted, tell_nothing

NOW = 1_700_000_000
TARGET = Target("app0000", Kind.JS_TICKET)
CALLER = "me"
COMMANDS = (Command(), Command(force=True), Command(Action.AUDIT), Command(Action.STATUS))


def value(data: bytes, read: Callable[[Kind, bytes], Record | Unreadable] = read_record) -> None:
    """A value under a public key: a record that is written and read as itself, or a reason that quotes nothing."""
    raw = planted(data)
    for kind in Kind:
        found = attempt(lambda: read(kind, raw), TokenRefresherError)  # noqa: B023
        hold(isinstance(found, (Record, Unreadable)), "a stored value is neither a record nor unreadable")
        _in_a_cache(kind, raw)
        if isinstance(found, Unreadable):
            tell_nothing(repr(found), (SECRET,), "a reason quotes the stored value")
            hold(len(found.why) < 80, "a reason is too long")
        elif isinstance(found, Record):
            _record(kind, raw, found, read)


def _record(kind: Kind, raw: bytes, found: Record, read: Callable[[Kind, bytes], Record | Unreadable]) -> None:
    plain = json_of(raw)
    hold(plain[WIRE_NAME[kind]] == found.code, "a code that the value does not hold")
    if SECRET in found.code:
        tell_nothing(repr(found), (SECRET,), "a record shows its code")
    hold(len(found.fingerprint) == 8, "a fingerprint is no fingerprint")
    hold(read(kind, write_record(kind, found).encode()) == found, "what was read is written as something else")
    shortened = with_expiry(raw, NOW).encode()
    again = read(kind, shortened)
    hold(isinstance(again, Record) and again.expires_at == NOW, "a value cannot be given another expiry")
    hold({**plain, "expires_in": NOW} == json.loads(shortened), "another expiry changes other members")


def _in_a_cache(kind: Kind, raw: bytes) -> None:
    """A reader's own copies, at an instant that stands still."""
    cache = CredentialCache(5, "", lambda: 1000.0, lambda: float(NOW))
    for life_ms in (-1, 0, 1, 7_200_000):
        target = Target("app0000", kind)
        got = attempt(lambda: cache.put(target, StoredValue(life_ms, raw), 1000.0), NoCredentialError)  # noqa: B023
        if isinstance(got, NoCredentialError):
            hold(cache.get_fresh(kind, "app0000") is None, "a code is served although there is none")
        elif SECRET in got.code:
            tell_nothing(repr(got), (SECRET,), "a reading shows its code")


Decoding = Callable[[Target, list[object]], object]


def lease(data: bytes, decode: Decoding = _snapshot) -> None:
    """Value, complaint and the fields of a lease hash: a snapshot, about which every command comes to a decision."""
    instant, raw, complaint, rest = parts(planted(data), 4)
    fields = rest.split(BETWEEN) if rest else []
    fields = fields[: len(fields) // 2 * 2]
    # As load.lua does: a list only where the text of lines would be read as other fields.
    lines = b"\n".join(fields)
    told: object = lines if lines.count(b"\n") == len(fields) - 1 else fields
    now_ms = number(instant, NOW) * 1000
    ttl_ms = len(rest) * 10_000 - 1
    reply: list[object] = [now_ms, raw or None, ttl_ms, told, complaint or None]
    found = attempt(lambda: decode(TARGET, reply), TokenRefresherError)
    if not isinstance(found, Snapshot):
        raise AssertionError("a reply of Redis is no snapshot")
    held = found.lease
    numbers = [held.fence, held.work_until, held.locked_until, held.mark_since, held.audited_at, held.outcome_at]
    numbers += [held.denied_at, held.life_s, *held.superseded]
    numbers += [each for caller in held.callers for each in (caller.until, caller.failures, caller.asked_at)]
    hold(all(0 <= each < 10**15 for each in numbers), "a number in a lease that no clock makes")
    hold(all(len(mark) <= 64 and mark.isascii() for mark in (held.mark, held.before)), "a mark that no attempt makes")
    hold(len(held.outcome) <= 200, "a note in a lease has no bound")
    for command in COMMANDS:
        step = attempt(lambda: decide(found, Policy(), command, CALLER), TokenRefresherError)  # noqa: B023
        asked = attempt(lambda: question(found, Policy(), command, CALLER), TokenRefresherError)  # noqa: B023
        # The note of how an attempt ended is there to be shown.
        if SECRET not in held.outcome:
            said = step if isinstance(step, TokenRefresherError) else step.sentence
            tell_nothing(f"{said} {asked}", (SECRET,), "a decision quotes what is stored")
