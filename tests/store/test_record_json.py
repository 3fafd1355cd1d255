"""The stored value: ours, other tools', every kind of garbage, and how the published clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.redis_server import RedisServer
from support.tables import each_line
from token_refresher.domain.model import Kind, Record, Target, Unreadable
from token_refresher.store.keys import keys_of
from token_refresher.store.record_json import read_record, with_expiry, write_record

TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
MARK = "do-not-quote-me"

# Examples are small; only a loaded machine is ever slow with them.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
_instants = st.integers(0, 2**53 - 1)
_records = st.builds(Record, code=_texts, expires_at=_instants, issued_at=st.none() | _instants, fence=_instants)


@unhurried
@given(kind=st.sampled_from(Kind), record=_records)
def test_what_is_written_is_read_back(kind: Kind, record: Record) -> None:
    text = write_record(kind, record)
    assert text.isascii()
    assert read_record(kind, text.encode()) == record


@unhurried
@given(raw=st.binary(max_size=400), kind=st.sampled_from(Kind))
def test_no_bytes_make_reading_fail(raw: bytes, kind: Kind) -> None:
    assert isinstance(read_record(kind, raw), (Record, Unreadable))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@unhurried
@given(code=_json, expires_in=_json, issued_at=_json, fence=_json)
def test_no_json_makes_reading_fail_and_a_record_is_always_a_usable_one(
    code: Any, expires_in: Any, issued_at: Any, fence: Any
) -> None:
    value = {"js_ticket": code, "expires_in": expires_in, "issued_at": issued_at, "fence": fence}
    found = read_record(TICKET, json.dumps(value).encode())
    if isinstance(found, Record):
        assert found.code == code
        assert found.code.encode()
        for number in (found.expires_at, found.fence, found.issued_at or 0):
            assert type(number) is int
            assert 0 <= number < 2**53
        assert read_record(TICKET, write_record(TICKET, found).encode()) == found


READABLE = {
    "of another tool, without fence and issue": (
        b'{"server_access_token": "c", "expires_in": 1700000000}',
        Record("c", 1700000000),
    ),
    "the expiry as text": (
        b'{"server_access_token": "c", "expires_in": "1700000000"}',
        Record("c", 1700000000),
    ),
    "the expiry with a fraction": (
        b'{"server_access_token": "c", "expires_in": 1700000000.9}',
        Record("c", 1700000000),
    ),
    "everything as text": (
        b'{"server_access_token": "c", "expires_in": "17", "issued_at": "16", "fence": "5"}',
        Record("c", 17, 16, 5),
    ),
    "members nobody knows": (
        b'{"app_name": {"x": [1]}, "server_access_token": "c", "expires_in": 17}',
        Record("c", 17),
    ),
    "issue and fence that are garbage": (
        b'{"server_access_token": "c", "expires_in": 17, "issued_at": "soon", "fence": -1}',
        Record("c", 17),
    ),
    "issue and fence that are null, true and false": (
        b'{"server_access_token": "c", "expires_in": 17, "issued_at": true, "fence": null}',
        Record("c", 17),
    ),
    "a fence too large to be one": (
        b'{"server_access_token": "c", "expires_in": 17, "fence": 9007199254740992}',
        Record("c", 17),
    ),
    "blanks around it": (b' \n{"server_access_token": "c", "expires_in": 17}\n', Record("c", 17)),
    "a byte order mark before it": (
        b'\xef\xbb\xbf{"server_access_token": "c", "expires_in": 17}',
        Record("c", 17),
    ),
    "Chinese, escaped and not": (
        '{"server_access_token": "\\u7334之", "expires_in": 17}'.encode(),
        Record("猴之", 17),
    ),
    "a member twice: the last one, as in every client": (
        b'{"server_access_token": "a", "server_access_token": "c", "expires_in": 1, "expires_in": 17}',
        Record("c", 17),
    ),
    "expired long ago": (b'{"server_access_token": "c", "expires_in": 0}', Record("c", 0)),
}


@each_line("sentence", READABLE)
def test_a_record_is_read_from(sentence: str) -> None:
    raw, expected = READABLE[sentence]
    found = read_record(TOKEN, raw)
    assert isinstance(found, Record)
    # repr leaves out the credential, so both are compared by their members
    assert vars(found) == vars(expected)


def _value(**members: Any) -> bytes:
    return json.dumps({"js_ticket": MARK, "expires_in": 1700000000, **members}).encode()


GARBAGE = {
    "nothing": b"",
    "a NUL": b"\x00",
    "a bare credential": MARK.encode(),
    "not quite JSON": b'{"js_ticket": "do-not-quote-me", "expires_in": 17',
    "single quotes": b"{'js_ticket': 'do-not-quote-me', 'expires_in': 17}",
    "serialized by PHP": b's:15:"do-not-quote-me";',
    "bytes that are no text": b'{"js_ticket": "\xff\xfe", "expires_in": 17}',
    "compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a text": b'"do-not-quote-me"',
    "a number": b"17",
    "null": b"null",
    "true": b"true",
    "a list": b'["do-not-quote-me", 17]',
    "an empty object": b"{}",
    "the other kind's value": b'{"server_access_token": "do-not-quote-me", "expires_in": 17}',
    "the credential an empty text": _value(js_ticket=""),
    "the credential null": _value(js_ticket=None),
    "the credential a number": _value(js_ticket=17),
    "the credential true": _value(js_ticket=True),
    "the credential a list": _value(js_ticket=[MARK]),
    "half a surrogate pair": _value(js_ticket=f"{MARK}\ud800"),
    "no expiry": b'{"js_ticket": "do-not-quote-me"}',
    "expiry null": _value(expires_in=None),
    "expiry true": _value(expires_in=True),
    "expiry empty": _value(expires_in=""),
    "expiry in words": _value(expires_in=f"tomorrow {MARK}"),
    "expiry a list": _value(expires_in=[1700000000]),
    "expiry an object": _value(expires_in={MARK: 1}),
    "expiry negative": _value(expires_in=-1),
    "expiry NaN": b'{"js_ticket": "do-not-quote-me", "expires_in": NaN}',
    "expiry infinite": b'{"js_ticket": "do-not-quote-me", "expires_in": Infinity}',
    "expiry NaN as text": _value(expires_in="nan"),
    "expiry infinite as text": _value(expires_in="-inf"),
    "expiry overflowing": b'{"js_ticket": "do-not-quote-me", "expires_in": 1e999}',
    "expiry beyond what JSON numbers can hold exactly": _value(expires_in=2**53),
    "expiry of a thousand digits": _value(expires_in=10**1000),
    "expiry of ten thousand digits": b'{"js_ticket": "do-not-quote-me", "expires_in": ' + b"9" * 10000 + b"}",
    "longer than any of ours": _value(more="x" * 70_000),
    "nested without end": b'{"js_ticket": ' + b"[" * 60_000,
    "nested deeply and closed": b"[" * 30_000 + b"]" * 30_000,
}


@each_line("sentence", GARBAGE)
def test_no_record_is_read_from_garbage_and_the_reason_does_not_quote_it(sentence: str) -> None:
    found = read_record(TICKET, GARBAGE[sentence])
    assert isinstance(found, Unreadable)
    assert 5 < len(found.why) < 80
    assert MARK not in found.why
    assert "tomorrow" not in found.why


def test_of_a_value_whose_end_cannot_be_read_the_code_is_what_readers_take() -> None:
    codes = {name: getattr(read_record(TICKET, raw), "code", None) for name, raw in GARBAGE.items()}
    # A number of ten thousand digits is no JSON that Python reads.
    ends = [name for name in GARBAGE if name.startswith("expiry") and "ten thousand" not in name]
    assert len(ends) > 10
    for name, code in codes.items():
        assert code == (MARK if name in ends or name == "no expiry" else None), name
    assert MARK not in repr(read_record(TICKET, GARBAGE["expiry null"]))


def test_each_part_that_is_wrong_is_named() -> None:
    why = {name: getattr(read_record(TICKET, raw), "why", "") for name, raw in GARBAGE.items()}
    assert why["a bare credential"] == "not JSON"
    assert why["a list"] == "not a JSON object"
    assert "js_ticket" in why["the credential null"]
    assert "expires_in" in why["expiry null"]
    assert "longer than 65536" in why["longer than any of ours"]


def test_a_value_of_the_greatest_length_is_still_read() -> None:
    room = 65536 - len(_value(more=""))
    assert isinstance(read_record(TICKET, _value(more="x" * room)), Record)
    assert isinstance(read_record(TICKET, _value(more="x" * (room + 1))), Unreadable)


def test_a_record_does_not_print_its_code() -> None:
    assert MARK not in repr(read_record(TICKET, _value()))


# -- another expiry --------------------------------------------------------------------------


def test_another_expiry_keeps_everything_else_as_it_was() -> None:
    value = {"js_ticket": "c", "expires_in": "17", "fence": 3, "app_name": "猿", "more": {"x": [1, None]}}
    shortened = with_expiry(json.dumps(value).encode(), 9)
    assert json.loads(shortened) == {**value, "expires_in": 9}
    assert list(json.loads(shortened)) == list(value)


@unhurried
@given(record=_records, expires_at=_instants)
def test_another_expiry_is_read_back(record: Record, expires_at: int) -> None:
    text = with_expiry(write_record(TOKEN, record).encode(), expires_at)
    found = read_record(TOKEN, text.encode())
    assert found == Record(record.code, expires_at, record.issued_at, record.fence)


def test_whatever_reads_as_a_record_can_be_given_another_expiry() -> None:
    for depth in range(1, 3000):
        raw = b'{"js_ticket": "c", "expires_in": 17, "more": ' + b"[" * depth + b"]" * depth + b"}"
        if isinstance(read_record(TICKET, raw), Record):
            assert isinstance(read_record(TICKET, with_expiry(raw, 9).encode()), Record)


# -- as others read it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "key", "member"),
    [
        (TOKEN, "type/server_access_token_info/app_id/app0000", "server_access_token"),
        (TICKET, "type/js_ticket_info/app_id/app0000", "js_ticket"),
    ],
)
def test_the_published_clients_find_the_code_by_get_json_and_one_member(
    redis_server: RedisServer, kind: Kind, key: str, member: str
) -> None:
    record = Record("the credential that readers use", 1700007200, 1700000000, 42)
    value = write_record(kind, record)
    redis_server.client().set(keys_of(Target("app0000", kind)).value, value, ex=60)
    # All four do this; Node and PHP compare expires_in as a number.
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    info = json.loads(str(client.get(key)))
    client.close()
    assert info[member] == "the credential that readers use"
    assert type(info["expires_in"]) is int
    assert info["expires_in"] == 1700007200
    assert set(info) == {member, "expires_in", "issued_at", "fence"}
