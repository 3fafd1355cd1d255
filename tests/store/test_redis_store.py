"""Reading many targets at once, and what Redis holds when others write there too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.clients import client_of
from support.redis_server import RedisServer
from support.tables import each_line
from support.tcp_proxy import Act, TcpProxy
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import (
    UNKNOWN_ORIGIN,
    Caller,
    Kind,
    Lease,
    Record,
    Snapshot,
    Target,
    Unreadable,
    Word,
)
from token_refresher.domain.policy import Policy
from token_refresher.store.keys import WIRE_NAME, keys_of
from token_refresher.store.record_json import write_record
from token_refresher.store.redis_store import RedisStore, _script, _snapshot

# A command that gets no answer is given up after this.
POLICY = Policy(redis_timeout_s=0.5)
TOKEN = Target("app0000", Kind.ACCESS_TOKEN)
TICKET = Target("app0000", Kind.JS_TICKET)

# What only the text of that script holds, to tell its command by on the wire.
LOAD = _script("load").splitlines()[-1].encode()

MakeStore = Callable[..., RedisStore]


@pytest.fixture
def make_store(redis_server: RedisServer) -> Iterator[MakeStore]:
    """A store on the test's Redis, on another port of it, or with a prefix."""
    clients = []

    def make(port: int = 0, prefix: str = "", url: str = "") -> RedisStore:
        clients.append(client_of(url or f"redis://127.0.0.1:{port or redis_server.port}/0", POLICY))
        return RedisStore(clients[-1], POLICY, prefix, lambda _seconds: None)

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def store(make_store: MakeStore) -> RedisStore:
    return make_store()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


def many(count: int) -> list[Target]:
    return [Target(f"app{n:05d}", Kind.ACCESS_TOKEN) for n in range(count)]


def record_of(store: RedisStore, target: Target) -> Record | Unreadable | None:
    snapshot = store.load([target])[0]
    assert isinstance(snapshot, Snapshot)
    return snapshot.record


def put(server: RedisServer, target: Target, value: Any, **kwargs: Any) -> None:
    server.client().set(keys_of(target).value, value, **(kwargs or {"ex": 600}))


def asked(server: RedisServer) -> int:
    """How many scripts the server has run for this test."""
    client: Any = server.client()
    return int(client.info("commandstats").get("cmdstat_eval", {}).get("calls", 0))


class TestLoad:
    def test_one_application_costs_one_command_on_the_wire(self, make_store: MakeStore, proxy: TcpProxy) -> None:
        store = make_store(proxy.port)
        store.load([TOKEN, TICKET])
        before = proxy.commands
        store.load([TOKEN, TICKET])
        assert proxy.commands == before + 1
        assert proxy.connections == 1

    def test_many_targets_go_out_together_and_not_one_by_one(
        self, make_store: MakeStore, proxy: TcpProxy, redis_server: RedisServer
    ) -> None:
        """redis-py sends a pipeline in pieces of some kilobytes, none of which waits for an answer."""
        store, targets = make_store(proxy.port), many(40)
        store.load(targets)
        assert asked(redis_server) == len(targets)
        assert proxy.commands <= len(targets) / 3
        assert proxy.connections == 1

    def test_many_targets_come_in_bounded_chunks_and_in_order(
        self, store: RedisStore, redis_server: RedisServer
    ) -> None:
        targets = many(2500)
        expires_at = int(time.time()) + 600
        for n in (0, 999, 1000, 2499):
            put(redis_server, targets[n], write_record(Kind.ACCESS_TOKEN, Record(f"code-{n}", expires_at)))
        found = store.load(targets)
        assert [each.target for each in found if isinstance(each, Snapshot)] == targets
        codes = {n: each.record.code for n, each in enumerate(found) if record_in(each)}  # type: ignore[union-attr]
        assert codes == {n: f"code-{n}" for n in (0, 999, 1000, 2499)}

    def test_no_chunk_is_larger_than_a_thousand_targets(self, store: RedisStore, redis_server: RedisServer) -> None:
        """While one chunk is carried out, other clients wait."""
        sizes: list[int] = []
        original = store._load_chunk

        def seen(targets: Any) -> Any:
            sizes.append(len(targets))
            return original(targets)

        store._load_chunk = seen  # type: ignore[method-assign]
        store.load(many(2500))
        assert sizes == [1000, 1000, 500]

    def test_nothing_asked_for_is_nothing_read(self, make_store: MakeStore, proxy: TcpProxy) -> None:
        assert make_store(proxy.port).load([]) == []
        assert proxy.commands == 0

    def test_what_could_not_be_read_comes_beside_what_could(
        self, make_store: MakeStore, redis_server: RedisServer
    ) -> None:
        client: Any = redis_server.client()
        client.execute_command("ACL", "SETUSER", "half", "on", ">secret", "+@all", "~*app0000*")
        try:
            store = make_store(url=f"redis://half:secret@127.0.0.1:{redis_server.port}/0")
            found = store.load([TOKEN, Target("other", Kind.ACCESS_TOKEN), TICKET])
        finally:
            client.execute_command("ACL", "DELUSER", "half")
        assert [type(each) for each in found] == [Snapshot, StoreError, Snapshot]
        assert isinstance(found[1], StoreError)
        assert found[1].code == "redis_no_permission"

    @pytest.mark.parametrize("targets", [[TOKEN], [TOKEN, TICKET]], ids=["one", "two"])
    def test_nothing_that_could_be_read_is_an_error_as_a_whole(
        self, targets: list[Target], make_store: MakeStore, redis_server: RedisServer
    ) -> None:
        client: Any = redis_server.client()
        client.execute_command("ACL", "SETUSER", "none", "on", ">secret", "+@all")
        try:
            store = make_store(url=f"redis://none:secret@127.0.0.1:{redis_server.port}/0")
            with pytest.raises(StoreError) as raised:
                store.load(targets)
        finally:
            client.execute_command("ACL", "DELUSER", "none")
        assert raised.value.code == "redis_no_permission"

    def test_of_several_errors_the_first_is_told(self, store: RedisStore) -> None:
        """Which is what a log of the same failure shows each time."""
        errors = [StoreError(word) for word in ("first", "second", "third")]
        store._load_chunk = lambda _targets: list(errors)  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreError) as raised:
            store.load([TOKEN, TICKET, TOKEN])
        assert raised.value is errors[0]

    @pytest.mark.parametrize("act", [Act.CUT_BEFORE, Act.CUT_AFTER, Act.DROP_REPLY])
    def test_a_broken_connection_is_repeated_once(
        self, act: Act, make_store: MakeStore, proxy: TcpProxy, redis_server: RedisServer
    ) -> None:
        store = make_store(proxy.port)
        expires_at = int(time.time()) + 600
        put(redis_server, TOKEN, write_record(Kind.ACCESS_TOKEN, Record("code", expires_at)))
        proxy.script(act, LOAD)
        assert record_of(store, TOKEN) == Record("code", expires_at)

    def test_a_connection_that_breaks_in_every_chunk_is_an_error(self, make_store: MakeStore, proxy: TcpProxy) -> None:
        store = make_store(proxy.port)
        for _ in range(2):
            proxy.script(Act.CUT_BEFORE, LOAD)
        with pytest.raises(StoreError) as raised:
            store.load([TOKEN])
        assert raised.value.code == "redis_unreachable"

    def test_a_redis_error_is_never_taken_for_a_missing_code(self, make_store: MakeStore, proxy: TcpProxy) -> None:
        store = make_store(proxy.port)
        proxy.refuse()
        with pytest.raises(StoreError):
            store.load([TOKEN])

    def test_a_prefix_comes_before_the_public_keys(self, make_store: MakeStore, redis_server: RedisServer) -> None:
        store = make_store(prefix="stage:")
        assert store.acquire(Snapshot(TOKEN, 0, None), "a", "me").held
        names = redis_server.client().keys("*")
        assert names == [b"{stage:type/server_access_token_info/app_id/app0000}:lease"]


def record_in(read: Snapshot | StoreError) -> bool:
    return isinstance(read, Snapshot) and isinstance(read.record, Record)


class TestValuesOfOtherTools:
    @pytest.mark.keys_without_ttl("other tools set none")
    @pytest.mark.parametrize("kind", Kind)
    @pytest.mark.parametrize("expires_in", [2_000_000_000, 2_000_000_000.7, "2000000000", " 2000000000 "])
    def test_a_code_with_an_expiry_is_a_record_of_any_tool(
        self, expires_in: object, kind: Kind, store: RedisStore, redis_server: RedisServer
    ) -> None:
        target = Target("app0000", kind)
        value = {WIRE_NAME[kind]: "theirs", "expires_in": expires_in, "member_of_theirs": [1]}
        redis_server.client().set(keys_of(target).value, json.dumps(value))
        assert record_of(store, target) == Record("theirs", 2_000_000_000, None, 0)
        # The next test on this server is not excused.
        redis_server.flush()

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"plain-code",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"{}",
            b'{"server_access_token": "code"}',
            b'{"server_access_token": "", "expires_in": 1}',
            b'{"server_access_token": 7, "expires_in": 1}',
            b'{"server_access_token": "code", "expires_in": "soon"}',
            b'{"server_access_token": "code", "expires_in": true}',
            b'{"server_access_token": "code", "expires_in": -1}',
            b'{"server_access_token": "code", "expires_in": NaN}',
            b'{"server_access_token": "code", "expires_in": 1e999}',
            b'{"server_access_token": "\\ud800", "expires_in": 1}',
            b'{"js_ticket": "code", "expires_in": 2000000000}',
            b"[" * 60_000,
            b"x" * 1_000_000,
        ],
        # Without backslashes: pytest escapes them once more each time that it collects in one process.
        ids=lambda value: repr(value[:60]).replace("\\", ""),
    )
    def test_what_is_no_record_is_unreadable_and_says_why_without_quoting(
        self, value: bytes, store: RedisStore, redis_server: RedisServer
    ) -> None:
        put(redis_server, TOKEN, value)
        record = record_of(store, TOKEN)
        assert isinstance(record, Unreadable)
        assert record.why
        assert "code" not in record.why

    @pytest.mark.parametrize(
        "command", [("RPUSH", "x"), ("SADD", "x"), ("HSET", "f", "x"), ("ZADD", "1", "x"), ("XADD", "*", "f", "x")]
    )
    @pytest.mark.parametrize("which", ["value", "lease", "refused"])
    def test_a_wrong_type_of_any_key_is_read_as_nothing_that_would_hold_anything_up(
        self, which: str, command: tuple[str, ...], store: RedisStore, redis_server: RedisServer
    ) -> None:
        client: Any = redis_server.client()
        key = getattr(keys_of(TOKEN), which)
        client.execute_command(command[0], key, *command[1:])
        client.expire(key, 600)
        snapshot = store.load([TOKEN])[0]
        assert isinstance(snapshot, Snapshot)
        assert isinstance(snapshot.record, Unreadable) is (which == "value")
        assert snapshot.complaint is None
        assert not snapshot.lease.settled
        assert not snapshot.lease.locked_until

    def test_a_complaint_that_is_no_text_is_no_fingerprint_of_any_code(
        self, store: RedisStore, redis_server: RedisServer
    ) -> None:
        redis_server.client().set(keys_of(TOKEN).refused, b"\xff\x00" * 10, ex=600)
        snapshot = store.load([TOKEN])[0]
        assert isinstance(snapshot, Snapshot)
        assert snapshot.complaint is not None

    def test_a_lease_of_strangers_is_no_settled_one(self, store: RedisStore, redis_server: RedisServer) -> None:
        redis_server.client().hset(keys_of(TOKEN).lease, mapping={b"\xff": b"\xff", b"other": b"1"})
        redis_server.client().expire(keys_of(TOKEN).lease, 600)
        snapshot = store.load([TOKEN])[0]
        assert isinstance(snapshot, Snapshot)
        assert snapshot.lease.exists
        assert not snapshot.lease.settled

    def test_no_lease_is_no_settled_one(self, store: RedisStore) -> None:
        snapshot = store.load([TOKEN])[0]
        assert isinstance(snapshot, Snapshot)
        assert snapshot.lease == Lease()

    def test_the_members_of_others_stay_when_a_life_is_cut(self, store: RedisStore, redis_server: RedisServer) -> None:
        value = {"server_access_token": "theirs", "expires_in": 2_000_000_000, "theirs": [1]}
        put(redis_server, TOKEN, json.dumps(value))
        snapshot = store.load([TOKEN])[0]
        assert isinstance(snapshot, Snapshot)
        ends = int(time.time()) + 300
        noted = store.note(snapshot, Word.ENDS, "me", ends_at=ends)
        assert noted
        # What it returns is what is stored: the next note compares with that.
        assert (noted.raw, noted.record) == (store.read(TOKEN).raw, store.read(TOKEN).record)
        assert store.note(noted, Word.ALIVE, "me")
        stored: Any = redis_server.client().get(keys_of(TOKEN).value)
        assert json.loads(stored) == value | {"expires_in": ends}


class TestPublishedClients:
    """The platform's own clients: GET, JSON, one member."""

    @pytest.mark.parametrize(
        ("kind", "key", "member"),
        [
            (Kind.ACCESS_TOKEN, "type/server_access_token_info/app_id/app0000", "server_access_token"),
            (Kind.JS_TICKET, "type/js_ticket_info/app_id/app0000", "js_ticket"),
        ],
    )
    def test_they_find_what_was_stored(
        self, kind: Kind, key: str, member: str, store: RedisStore, redis_server: RedisServer
    ) -> None:
        target, expires_at = Target("app0000", kind), int(time.time()) + 7200
        held = store.acquire(Snapshot(target, 0, None), "a", "me").snapshot
        record = Record("猿-code", expires_at, expires_at - 7200, 7)
        assert store.finish(held, "me", "issued", "", record=record, sent_ms=held.now_ms) == "done"
        assert store.read(target).record == record
        found = json.loads(redis_server.client(decode_responses=True).get(key))
        assert (found[member], found["expires_in"]) == ("猿-code", expires_at)
        assert isinstance(found["expires_in"], int)


# -- what goes wrong ---------------------------------------------------------------------------


def test_a_repeat_comes_at_once(redis_server: RedisServer, proxy: TcpProxy) -> None:
    pauses: list[float] = []
    connection = client_of(f"redis://127.0.0.1:{proxy.port}/0", POLICY)
    store = RedisStore(connection, POLICY, "", pauses.append)
    put(redis_server, TOKEN, b"garbage")
    proxy.script(Act.CUT_BEFORE, b"EVAL")
    (snapshot,) = store.load([TOKEN])
    assert isinstance(snapshot, Snapshot)
    proxy.script(Act.CUT_BEFORE, b"EVAL")
    held = store.acquire(snapshot, "a", "me")
    assert held.held
    proxy.script(Act.CUT_BEFORE, b"EVAL")
    assert store.finish(held.snapshot, "me", "refused", "") == "done"
    proxy.script(Act.CUT_BEFORE, b"EVAL")
    assert store.see(snapshot, "me")
    proxy.script(Act.CUT_BEFORE, b"EVAL")
    assert store.note(snapshot, Word.REFUSED, "me")
    assert pauses == []
    connection.close()


def test_between_repeats_there_are_the_pauses_that_were_asked_for() -> None:
    pauses: list[float] = []
    # Nothing listens there.
    connection = client_of("redis://127.0.0.1:9/0", POLICY)
    with pytest.raises(StoreError):
        RedisStore(connection, POLICY, "", pauses.append).finish(
            Snapshot(TOKEN, 0, None), "me", "refused", "", pauses=(0.0, 0.2, 1.0)
        )
    assert pauses == [0.2, 1.0]
    connection.close()


@pytest.mark.parametrize("word", Word)
def test_where_no_value_was_read_none_is_made(word: Word, store: RedisStore) -> None:
    noted = store.note(store.read(TOKEN), word, "me", ends_at=1)
    assert noted is None
    assert store.read(TOKEN).record is None


@pytest.mark.parametrize(
    ("locked", "settles"), [(-1, True), (0, True), (30_000, False), (89_000, False), (95_000, True), (10**14, True)]
)
def test_a_lock_that_no_attempt_can_have_taken_was_over_when_it_was_read(
    locked: int, settles: bool, store: RedisStore, redis_server: RedisServer
) -> None:
    put(redis_server, TOKEN, write_record(TOKEN.kind, Record("code", int(time.time()) + 600)))
    now_ms = store.read(TOKEN).now_ms
    redis_server.client().hset(keys_of(TOKEN).lease, mapping={"mark": "a", "locked_until": now_ms + locked})
    noted = store.note(store.read(TOKEN), Word.ALIVE, "me")
    assert noted
    assert noted.lease.settled is store.read(TOKEN).lease.settled is settles


def test_what_a_note_returns_is_what_is_stored(store: RedisStore, redis_server: RedisServer) -> None:
    ends = int(time.time()) + 300
    for word in Word:
        redis_server.flush()
        put(redis_server, TOKEN, write_record(TOKEN.kind, Record("code", int(time.time()) + 600)))
        noted, found = store.note(store.read(TOKEN), word, "me", ends_at=ends), store.read(TOKEN)
        assert noted
        assert (noted.raw, noted.record, noted.lease.mark) == (found.raw, found.record, found.lease.mark)
        assert (noted.ttl_ms is None) is (found.ttl_ms is None) is (word is Word.REFUSED)
        assert abs((noted.ttl_ms or 0) - (found.ttl_ms or 0)) < 5000


@pytest.mark.keys_without_ttl("another tool stores without")
@pytest.mark.parametrize("ttl_s", [None, 86_400])
@pytest.mark.parametrize("claims", [lambda now: now + 7200, lambda now: now * 1000, lambda now: now + 86_400])
def test_another_tools_value_over_a_settled_one_gets_the_grace_until_checkcode_settles_it(
    claims: Callable[[int], int], ttl_s: int | None, store: RedisStore, redis_server: RedisServer
) -> None:
    now = int(time.time())
    put(redis_server, TOKEN, write_record(TOKEN.kind, Record("ours", now + 7000)))
    settled = store.note(store.read(TOKEN), Word.ALIVE, "me")
    assert settled
    assert settled.lease.settled
    redis_server.client().set(keys_of(TOKEN).value, write_record(TOKEN.kind, Record("theirs", claims(now))), ex=ttl_s)
    found = store.read(TOKEN)
    assert (found.lease.mark, found.lease.mark_since) == (UNKNOWN_ORIGIN, 0)
    seen = store.see(found, "me")
    assert seen
    assert 590_000 < (seen.ttl_ms or 0) <= 600_000
    alive = store.note(seen, Word.ALIVE, "me")
    assert alive
    assert alive.lease.settled is store.read(TOKEN).lease.settled is True
    # No credential lives longer than 7200 s; a minute is tolerated.
    assert 7_190_000 < (store.read(TOKEN).ttl_ms or 0) <= 7_260_000


@pytest.mark.parametrize("locked", [False, True])
def test_a_value_whose_end_cannot_be_read_lives_for_the_grace_after_a_good_word(
    locked: bool, store: RedisStore, redis_server: RedisServer
) -> None:
    value = json.dumps({"server_access_token": "theirs", "expires_in": "2030-01-01"})
    redis_server.client().set(keys_of(TOKEN).value, value, px=77_000)
    if locked:
        store.acquire(store.read(TOKEN), "a", "me")
    now = int(time.time())
    for ends, ttl_ms in ((now + 7000, 600_000), (now + 100, 100_000)):
        found = store.read(TOKEN)
        assert found.code == "theirs"
        assert store.note(found, Word.SILENT, "me")
        assert store.read(TOKEN).ttl_ms == pytest.approx(found.ttl_ms, abs=3000)
        alive = store.note(found, Word.ALIVE, "me", ends_at=ends)
        assert alive
        assert not alive.lease.settled
        assert alive.raw == value.encode()
        assert alive.ttl_ms == pytest.approx(ttl_ms, abs=5000)
    assert store.note(store.read(TOKEN), Word.REFUSED, "me")
    assert store.read(TOKEN).record is None


# -- what a reply means ------------------------------------------------------------------------


def reply(*fields: str, ttl: int = -2, complaint: bytes | None = None) -> list[object]:
    """As load.lua answers: where there is no lease, an empty list."""
    lease = "\n".join(fields).encode() if fields else []
    return [1_700_000_000_999, None, ttl, lease, complaint]


def read_from(reply: object) -> Snapshot:
    snapshot = _snapshot(TOKEN, reply)
    assert isinstance(snapshot, Snapshot)
    return snapshot


@pytest.mark.parametrize(("ttl", "read"), [(-2, None), (-1, None), (0, 0), (5, 5)])
def test_a_ttl_is_a_duration_or_none(ttl: int, read: int | None) -> None:
    assert read_from(reply(ttl=ttl)).ttl_ms == read


def test_without_fields_there_is_no_lease() -> None:
    assert read_from(reply()).lease == Lease()


def test_every_field_of_a_lease_is_read() -> None:
    numbers = ("fence", "work_until", "locked_until", "mark_since", "audited_at", "outcome_at", "life")
    fields = [part for number, name in enumerate(numbers, 1) for part in (name, str(number))]
    for name in ("attempt", "finished", "mark", "value", "before", "by", "issued_by", "outcome"):
        fields += [name, f"of-{name}"]
    fields += ["superseded", " 1700000000001 17 1700000000002", "denied", "abcdef01 99", "more", "x"]
    fields += ["callers", "me:1:2:3:timeout you:4:5:6:"]
    assert read_from(reply(*fields)).lease == Lease(
        exists=True,
        attempt="of-attempt",
        finished="of-finished",
        fence=1,
        work_until=2,
        locked_until=3,
        mark="of-mark",
        mark_since=4,
        value="of-value",
        before="of-before",
        by="of-by",
        issued_by="of-issued_by",
        callers=(Caller("me", 1, 2, 3, "timeout"), Caller("you", 4, 5, 6)),
        audited_at=5,
        denied="abcdef01",
        denied_at=99,
        life_s=7,
        outcome="of-outcome",
        outcome_at=6,
        superseded=(1_700_000_000_001, 1_700_000_000_002),
    )


@each_line(
    ("text", "number"), [("7", 7), ("9" * 15, 10**15 - 1), ("1" * 16, 0), ("", 0), ("-7", 0), ("7x", 0), ("²", 0)]
)
def test_a_number_of_a_lease_has_at_most_fifteen_digits(text: str, number: int) -> None:
    lease = read_from(reply("fence", text, "mark_since", text, "callers", f"me:{text}:1:2:")).lease
    assert (lease.fence, lease.mark_since, lease.caller("me").until) == (number, number, number)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("", ""),
        ("a-B_9", "a-B_9"),
        ("x" * 64, "x" * 64),
        ("x" * 65, UNKNOWN_ORIGIN),
        ("x y", UNKNOWN_ORIGIN),
        ("ä", UNKNOWN_ORIGIN),
        ("²", UNKNOWN_ORIGIN),
    ],
)
def test_a_mark_is_read_as_the_scripts_read_it(
    text: str, mark: str, store: RedisStore, redis_server: RedisServer
) -> None:
    assert read_from(reply("mark", text, "before", text)).lease.mark == mark
    redis_server.client().hset(keys_of(TOKEN).lease, mapping={"mark": text})
    held = store.acquire(store.read(TOKEN), "a", "me")
    assert held.held
    assert held.snapshot.lease.before == mark


def test_a_lease_that_does_not_say_so_is_not_settled() -> None:
    lease = read_from(reply("fence", "7")).lease
    assert (lease.mark, lease.settled) == (UNKNOWN_ORIGIN, False)


@each_line("text", ["", " ", "me", "me:1:2:3", "me:1:2:3:4:5", "you:1:2:3:x"])
def test_of_a_caller_that_is_not_remembered_nothing_is_known(text: str) -> None:
    assert read_from(reply("callers", text, "fence", "7")).lease.caller("me") == Caller("me")


@pytest.mark.parametrize("length", [199, 200, 201, 5000])
def test_of_an_outcome_two_hundred_characters_are_read(length: int) -> None:
    assert read_from(reply("outcome", "x" * length)).lease.outcome == "x" * min(length, 200)


@pytest.mark.parametrize(
    ("complaint", "read"), [(None, None), (b"01234567", "01234567"), (b"\xff", "\ufffd"), (0, None)]
)
def test_a_complaint_is_a_text_or_none(complaint: object, read: str | None) -> None:
    assert read_from([1_700_000_000_000, None, -2, [], complaint]).complaint == read
