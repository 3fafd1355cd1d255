"""Each Lua script at an instant that stands still: its exact answer, and exactly what it leaves behind.

What the scripts are for is in test_lease; here is every field, every boundary to the millisecond, and every word of
their answers.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any

import pytest

from support.redis_server import RedisServer
from token_refresher.keys import keys_of
from token_refresher.model import Kind, Target

# Milliseconds, and under them nearly another one: a clock that is rounded up would show.
NOW = 1_700_000_000_999
KEYS = keys_of(Target("app0000", Kind.ACCESS_TOKEN))
N_KEYS = {"acquire": 2, "finish": 2, "load": 3, "note": 3}
# Bytes of a value, a lease or a complaint; what is larger is none of ours.
LARGEST = 65_536
WORK, FLIGHT, TTL = 30_000, 60_000, 86_400_000

# Goes before a script: its clock is handed in, and what a user of Redis may not read can be chosen.
_STAGE = """
local real, forbidden = redis, '%s'
local redis = {
  call = function(name, ...)
    if name == 'TIME' then return {'%d', '%06d'} end
    return real.call(name, ...)
  end,
  pcall = function(name, key, ...)
    if key == forbidden then return {err = 'NOPERM this user may not'} end
    return real.pcall(name, key, ...)
  end,
}
"""

Fields = dict[str, Any]


class Place:
    """One target's keys on a real Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.redis: Any = server.client()

    def put(self, lease: Mapping[str, object] | None = None, value: str | None = None) -> None:
        if lease:
            self.redis.hset(KEYS.lease, mapping=lease)
            self.redis.expire(KEYS.lease, 600)
        if value is not None:
            self.redis.set(KEYS.value, value, ex=600)

    def complain(self, text: str) -> None:
        self.redis.set(KEYS.refused, text, ex=600)

    def spoil(self, key: str) -> None:
        self.redis.rpush(key, "a list")
        self.redis.expire(key, 600)

    def run(self, name: str, *arguments: object, now: int = NOW, forbidden: str = "") -> Any:
        source = (pkgutil.get_data("token_refresher", f"lua/{name}.lua") or b"").decode()
        stage = _STAGE % (forbidden, now // 1000, now % 1000 * 1000 + 998)
        return self.redis.eval(stage + source, N_KEYS[name], *KEYS[: N_KEYS[name]], *arguments)

    def acquire(self, attempt: str = "a", fence: int = 0, **more: Any) -> Any:
        return self.run("acquire", attempt, WORK, FLIGHT, TTL, fence, **more)

    def finish(
        self, outcome: str, *, ends: int = NOW + 50_000, wait: int = 0, began: int = NOW - 3, attempt: str = "a"
    ) -> str:
        return str(self.run("finish", attempt, outcome, "new", ends, wait, TTL, "how it ended", began), "ascii")

    def note(self, what: str, *, raw: str = "", ends: int = 0, read: int = NOW - 3) -> str:
        return str(self.run("note", what, "abcdef01", TTL, raw, "shorter", ends, read), "ascii")

    def lease(self) -> Fields:
        return {name.decode(): _plain(value) for name, value in self.redis.hgetall(KEYS.lease).items()}

    def value(self) -> bytes | None:
        found: bytes | None = self.redis.get(KEYS.value)
        return found

    def lasts(self, key: str, at_most_ms: int) -> bool:
        """Whether a key's life is that long, but for what has passed since."""
        return bool(at_most_ms - 20_000 < self.redis.pttl(key) <= at_most_ms)


def _plain(text: bytes) -> object:
    return int(text) if text.isdigit() else text.decode()


def _fields(flat: list[bytes]) -> Fields:
    return {name.decode(): _plain(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}


@pytest.fixture
def place(redis_server: RedisServer) -> Place:
    return Place(redis_server)


# What an attempt finds that comes after one that ended well.
SETTLED: Fields = {
    "attempt": "old", "finished": "old", "work_until": 0, "locked_until": 0, "fence": 7, "before": 5,
    "unsettled_since": 0, "failures": 2, "retry_at": 3, "outcome": "refused",
}  # fmt: skip


class TestAcquire:
    def taken(self, place: Place, fence: int = 0) -> Fields:
        reply = place.acquire(fence=fence)
        assert reply[:2] == [b"held", NOW]
        assert _fields(reply[3]) == place.lease()
        assert place.lasts(KEYS.lease, TTL)
        return place.lease()

    def test_where_nothing_was(self, place: Place) -> None:
        assert place.acquire()[2] is None
        place.redis.delete(KEYS.lease)
        assert self.taken(place) == {
            "attempt": "a",
            "work_until": NOW + 30_000,
            "locked_until": NOW + 90_000,
            "fence": NOW,
            "before": NOW,
            "unsettled_since": NOW,
        }

    def test_after_an_attempt_that_ended_well(self, place: Place) -> None:
        place.put(SETTLED | {"disputed": 4}, value="the value")
        assert self.taken(place) == SETTLED | {
            "attempt": "a",
            "work_until": NOW + 30_000,
            "locked_until": NOW + 90_000,
            "fence": NOW,
            "before": 0,
            "unsettled_since": NOW,
        }
        assert place.acquire()[2] == b"the value"

    @pytest.mark.parametrize(
        ("unsettled", "since"),
        [(1, 1), (5, 5), (10**15 - 1, 10**15 - 1), (10**15, NOW), ("", NOW), ("5x", NOW), ("-5", NOW)],
    )
    def test_after_one_without_an_end(self, unsettled: object, since: int, place: Place) -> None:
        place.put(SETTLED | {"unsettled_since": unsettled})
        lease = self.taken(place)
        assert (lease["before"], lease["unsettled_since"]) == (since, since)

    @pytest.mark.parametrize(
        ("old", "of_value", "fence"),
        [
            (NOW + 5, 0, NOW + 6),
            (0, NOW + 9, NOW + 10),
            (NOW + 5, NOW + 9, NOW + 10),
            (NOW, 0, NOW + 1),
            (NOW - 1, NOW - 1, NOW),
            (NOW - 2, 0, NOW),
            # what no clock can have made
            (NOW + 10**12 - 1, 0, NOW + 10**12),
            (NOW + 10**12, 0, NOW),
            (0, NOW + 10**12, NOW),
            ("x", 0, NOW),
        ],
    )
    def test_the_fence(self, old: object, of_value: int, fence: int, place: Place) -> None:
        place.put(SETTLED | {"fence": old})
        assert self.taken(place, of_value)["fence"] == fence

    @pytest.mark.parametrize("ahead", [1, 90_000])
    def test_another_s_lock(self, ahead: int, place: Place) -> None:
        locked = SETTLED | {"attempt": "b", "locked_until": NOW + ahead, "finished": "a"}
        place.put(locked)
        assert place.acquire() == [b"locked", NOW]
        assert place.lease() == locked

    @pytest.mark.parametrize("until", [0, NOW - 1, NOW, NOW + 90_001, NOW + 10**14, "x", "1e13"])
    def test_a_lock_that_is_over(self, until: object, place: Place) -> None:
        place.put(SETTLED | {"attempt": "b", "locked_until": until})
        assert self.taken(place)["attempt"] == "a"

    def test_its_own_lock(self, place: Place) -> None:
        mine = SETTLED | {"attempt": "a", "locked_until": NOW + 5, "disputed": 4}
        place.put(mine)
        assert place.acquire()[:2] == [b"held", NOW]
        assert place.lease() == mine

    @pytest.mark.parametrize("attempt", ["a", "b"])
    def test_its_own_end(self, attempt: str, place: Place) -> None:
        over = SETTLED | {"attempt": attempt, "finished": "a"}
        place.put(over)
        assert place.acquire() == [b"over", NOW]
        assert place.lease() == over

    def test_a_value_of_another_type(self, place: Place) -> None:
        place.spoil(KEYS.value)
        assert place.acquire()[:3] == [b"held", NOW, 0]

    @pytest.mark.parametrize(("length", "given"), [(LARGEST, b"x" * LARGEST), (LARGEST + 1, 0)])
    def test_a_value_larger_than_any_of_ours(self, length: int, given: object, place: Place) -> None:
        place.put(value="x" * length)
        assert place.acquire()[:3] == [b"held", NOW, given]

    @pytest.mark.parametrize(("length", "kept"), [(LARGEST, True), (LARGEST + 1, False)])
    def test_a_lease_larger_than_any_of_ours(self, length: int, kept: bool, place: Place) -> None:
        place.put({"unsettled_since": 5, "note": "x" * (length - len("unsettled_since5note"))})
        assert ("note" in self.taken(place)) is kept
        assert place.lease()["before"] == 5

    def test_a_value_that_may_not_be_read(self, place: Place) -> None:
        with pytest.raises(Exception, match="may not"):
            place.acquire(forbidden=KEYS.value)

    def test_a_lease_of_another_type(self, place: Place) -> None:
        place.spoil(KEYS.lease)
        assert self.taken(place)["before"] == NOW


# The lease of an attempt that is under way, and what each end makes of it.
HELD: Fields = {
    "attempt": "a", "work_until": NOW - 9, "locked_until": NOW + 1, "fence": 7, "before": 0,
    "unsettled_since": NOW - 8, "failures": 4, "retry_at": 3, "audited_at": 2, "outcome": "old", "outcome_at": 1,
}  # fmt: skip
ENDED: Fields = HELD | {"work_until": 0, "locked_until": 0, "unsettled_since": 0, "finished": "a"}
TOLD: Fields = {"outcome": "how it ended", "outcome_at": NOW}
ENDS: dict[str, tuple[Fields, int]] = {
    "issued": (ENDED | TOLD | {"failures": 0, "audited_at": NOW - 3, "retry_at": 0}, 0),
    "kept": (ENDED | TOLD | {"audited_at": NOW - 3}, 60_000),
    "refused": (ENDED | TOLD | {"failures": 5, "retry_at": NOW + 60_000}, 60_000),
    "released": (ENDED, 60_000),
    "unknown": (HELD | TOLD | {"failures": 5, "unknown": "a"}, 60_000),
}


class TestFinish:
    @pytest.mark.parametrize("outcome", ENDS)
    def test_of_the_attempt_that_holds_the_lease(self, outcome: str, place: Place) -> None:
        expected, wait = ENDS[outcome]
        place.put(HELD, value="old")
        assert place.finish(outcome, wait=wait) == "done"
        assert place.lease() == expected
        assert place.lasts(KEYS.lease, TTL)
        assert place.value() == (b"new" if outcome == "issued" else b"old")
        assert place.lasts(KEYS.value, 50_000 if outcome == "issued" else 600_000)
        # Once more, later: nothing happens.
        assert place.finish(outcome, wait=99, ends=NOW + 90_000, began=NOW - 1) == "done"
        assert place.lease() == expected
        assert place.lasts(KEYS.value, 50_000 if outcome == "issued" else 600_000)

    @pytest.mark.parametrize(
        ("outcome", "wait", "at"), [("issued", 1, NOW + 1), ("refused", 0, 0), ("refused", 1, NOW + 1)]
    )
    def test_when_to_try_again(self, outcome: str, wait: int, at: int, place: Place) -> None:
        place.put(HELD)
        place.finish(outcome, wait=wait)
        assert place.lease()["retry_at"] == at

    @pytest.mark.parametrize("outcome", ["issued", "kept"])
    @pytest.mark.parametrize(("began", "at"), [(NOW - 1, NOW - 1), (NOW + 1, NOW)])
    def test_what_it_learned_is_as_old_as_its_beginning(self, outcome: str, began: int, at: int, place: Place) -> None:
        place.put(HELD)
        place.finish(outcome, began=began)
        assert place.lease()["audited_at"] == at

    @pytest.mark.parametrize(
        ("outcome", "more", "since"),
        [
            ("issued", {"before": 6}, 0),
            ("kept", {"before": 6}, 0),
            ("refused", {"before": 6}, 6),
            ("released", {"before": 6}, 6),
            ("issued", {"before": 6, "disputed": 5}, 5),
            ("kept", {"before": 6, "disputed": 5}, 5),
            ("refused", {"before": 6, "disputed": 5}, 5),
            ("released", {"before": 0, "disputed": 5}, 5),
        ],
    )
    def test_since_when_it_is_unsettled(self, outcome: str, more: Fields, since: int, place: Place) -> None:
        place.put(HELD | more)
        place.finish(outcome)
        assert place.lease()["unsettled_since"] == since
        assert "disputed" not in place.lease()

    def test_where_nobody_knows_what_was_before(self, place: Place) -> None:
        place.put({name: value for name, value in HELD.items() if name != "before"})
        place.finish("refused")
        assert place.lease()["unsettled_since"] == NOW

    @pytest.mark.parametrize("failures", ["x", "-1", "1" * 16, ""])
    def test_a_count_that_is_none_begins_anew(self, failures: str, place: Place) -> None:
        place.put(HELD | {"failures": failures})
        place.finish("refused")
        assert place.lease()["failures"] == 1

    def test_a_count_of_fifteen_digits_is_one(self, place: Place) -> None:
        place.put(HELD | {"failures": 10**14})
        place.finish("unknown")
        assert place.lease()["failures"] == 10**14 + 1

    @pytest.mark.parametrize("more", [{"locked_until": NOW}, {"locked_until": "x"}, {"attempt": "b"}])
    def test_of_one_that_lost_the_lease(self, more: Fields, place: Place) -> None:
        lost = HELD | more
        place.put(lost, value="old")
        for outcome in ("kept", "refused", "released", "unknown"):
            assert place.finish(outcome) == "lost"
            assert place.lease() == lost
        assert place.finish("issued") == "lost"
        assert place.lease() == lost | {"disputed": NOW, "unsettled_since": NOW}
        assert place.value() == b"old"
        assert place.lasts(KEYS.lease, TTL)

    @pytest.mark.parametrize(("life", "ended"), [(-1, "lost"), (0, "lost"), (1, "done")])
    def test_a_code_needs_a_life(self, life: int, ended: str, place: Place) -> None:
        place.put(HELD)
        assert place.finish("issued", ends=NOW + life) == ended

    @pytest.mark.parametrize("outcome", ["kept", "refused", "released", "unknown"])
    def test_without_a_code_no_life_is_needed(self, outcome: str, place: Place) -> None:
        place.put(HELD)
        assert place.finish(outcome, ends=0) == "done"

    def test_where_lease_and_value_are_gone(self, place: Place) -> None:
        assert place.finish("issued") == "orphan"
        assert place.lease() == {"disputed": NOW, "unsettled_since": NOW, "finished": "a"}
        assert place.value() == b"new"
        assert place.lasts(KEYS.value, 50_000)
        assert place.lasts(KEYS.lease, TTL)
        assert place.finish("issued", ends=NOW + 90_000) == "done"
        assert place.lasts(KEYS.value, 50_000)

    def test_where_only_the_lease_is_gone(self, place: Place) -> None:
        place.put(value="old")
        assert place.finish("issued") == "lost"
        assert place.lease() == {"disputed": NOW, "unsettled_since": NOW}
        assert place.value() == b"old"

    def test_where_only_the_value_is_gone_and_another_holds_the_lease(self, place: Place) -> None:
        place.put(HELD | {"attempt": "b"})
        assert place.finish("issued") == "lost"
        assert place.value() is None

    @pytest.mark.parametrize(("life", "ended"), [(-1, "lost"), (0, "lost"), (1, "orphan")])
    def test_where_all_is_gone_and_the_code_is_nearly_dead(self, life: int, ended: str, place: Place) -> None:
        assert place.finish("issued", ends=NOW + life) == ended

    @pytest.mark.parametrize("outcome", ["kept", "refused", "released", "unknown"])
    def test_where_all_is_gone_and_there_is_no_code(self, outcome: str, place: Place) -> None:
        assert place.finish(outcome) == "lost"
        assert place.lease() == {}

    def test_a_lease_of_another_type(self, place: Place) -> None:
        place.spoil(KEYS.lease)
        assert place.finish("issued") == "orphan"
        assert place.lease() == {"disputed": NOW, "unsettled_since": NOW, "finished": "a"}


NOTED_IN: Fields = {"attempt": "b", "locked_until": NOW + 9, "unsettled_since": 0, "audited_at": 2}


class TestNote:
    @pytest.mark.parametrize(("read", "at"), [(NOW - 3, NOW - 3), (NOW + 3, NOW)])
    def test_alive(self, read: int, at: int, place: Place) -> None:
        place.put(NOTED_IN, value="raw")
        assert place.note("alive", read=read) == "noted"
        assert place.lease() == NOTED_IN | {"audited_at": at}
        assert place.lasts(KEYS.lease, TTL)
        assert place.value() == b"raw"

    @pytest.mark.parametrize(("before", "since"), [(0, NOW), (None, NOW), (5, 5), ("", "")])
    def test_superseded(self, before: object, since: object, place: Place) -> None:
        lease = NOTED_IN | {"unsettled_since": before}
        place.put({name: value for name, value in lease.items() if value is not None})
        assert place.note("superseded") == "noted"
        noted = {"superseded": f" {NOW}", "superseded_code": "abcdef01"}
        assert place.lease() == lease | noted | {"unsettled_since": since, "audited_at": NOW - 3}
        assert place.lasts(KEYS.lease, TTL)

    def test_superseded_once_more(self, place: Place) -> None:
        place.put(NOTED_IN | {"superseded": " 1600000000000", "superseded_code": "abcdef01"})
        place.note("superseded")
        assert place.lease()["superseded"] == " 1600000000000"

    def test_superseded_for_the_sixth_time(self, place: Place) -> None:
        instants = [str(1_600_000_000_000 + number) for number in range(5)]
        place.put(NOTED_IN | {"superseded": "".join(f" {each}" for each in instants), "superseded_code": "another"})
        place.note("superseded")
        assert place.lease()["superseded"] == "".join(f" {each}" for each in [*instants[1:], NOW])
        assert place.lease()["superseded_code"] == "abcdef01"

    def test_without_a_lease(self, place: Place) -> None:
        assert place.note("alive") == "noted"
        assert place.lease() == {}
        assert place.note("superseded") == "noted"
        noted = {"superseded": f" {NOW}", "superseded_code": "abcdef01"}
        assert place.lease() == noted | {"unsettled_since": NOW, "audited_at": NOW - 3}
        assert place.lasts(KEYS.lease, TTL)

    @pytest.mark.parametrize("what", ["alive", "superseded"])
    def test_a_lease_of_another_type(self, what: str, place: Place) -> None:
        place.spoil(KEYS.lease)
        assert place.note(what) == "noted"
        assert bool(place.lease()) is (what == "superseded")

    @pytest.mark.parametrize(("complaint", "left"), [("abcdef01", None), ("10fedcba", b"10fedcba")])
    def test_a_complaint(self, complaint: str, left: bytes | None, place: Place) -> None:
        place.put(NOTED_IN)
        place.complain(complaint)
        assert place.note("alive") == "noted"
        assert place.redis.get(KEYS.refused) == left

    def test_a_complaint_of_another_type(self, place: Place) -> None:
        place.spoil(KEYS.refused)
        place.note("alive")
        assert not place.redis.exists(KEYS.refused)

    def test_a_value_of_another_type(self, place: Place) -> None:
        place.spoil(KEYS.value)
        assert place.note("superseded", raw="raw", ends=NOW + 50_000) == "noted"
        assert place.redis.lrange(KEYS.value, 0, -1) == [b"a list"]

    def test_the_life_of_the_value_that_was_asked_about(self, place: Place) -> None:
        place.put(value="raw")
        place.note("superseded", raw="raw", ends=NOW + 50_000)
        assert place.value() == b"shorter"
        assert place.lasts(KEYS.value, 50_000)

    @pytest.mark.parametrize("life", [0, -1])
    def test_no_life_left(self, life: int, place: Place) -> None:
        place.put(value="raw")
        place.note("superseded", raw="raw", ends=NOW + life)
        assert not place.redis.exists(KEYS.value)

    @pytest.mark.parametrize(("value", "raw"), [("another", "raw"), ("", ""), ("raw", "")])
    def test_another_value(self, value: str, raw: str, place: Place) -> None:
        place.put(value=value)
        place.note("superseded", raw=raw, ends=1)
        assert place.value() == value.encode()

    def test_a_life_of_a_millisecond_is_one(self, place: Place) -> None:
        """An expiry of 0 would be refused by Redis, and one left out would be none."""
        place.put(value="raw")
        assert place.note("superseded", raw="raw", ends=NOW + 1) == "noted"


class TestLoad:
    def test_everything(self, place: Place) -> None:
        place.put({"attempt": "a", "fence": 7}, value="the value")
        place.complain("abcdef01")
        seconds, micros, value, lease, complaint = place.run("load")
        assert (int(seconds) * 1000, int(micros)) == (NOW // 1000 * 1000, 999_998)
        assert (value, complaint) == (b"the value", b"abcdef01")
        assert lease == b"attempt\na\nfence\n7"

    @pytest.mark.parametrize("note", ["two\nlines", "\n", "three\nlines\n"])
    def test_a_line_break_among_the_fields(self, note: str, place: Place) -> None:
        place.put({"attempt": "a", "outcome": note})
        assert place.run("load")[3] == [b"attempt", b"a", b"outcome", note.encode()]

    def test_nothing(self, place: Place) -> None:
        assert place.run("load")[2:] == [None, [], None]

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_another_type(self, number: int, place: Place) -> None:
        place.spoil(KEYS[number])
        expected: list[object] = [None, [], None]
        expected[number] = 0
        assert place.run("load")[2:] == expected

    @pytest.mark.parametrize(("length", "given"), [(LARGEST, b"x" * LARGEST), (LARGEST + 1, 0)])
    def test_more_than_any_of_ours(self, length: int, given: object, place: Place) -> None:
        place.put(value="x" * length)
        place.complain("x" * length)
        assert place.run("load")[2:] == [given, [], given]

    @pytest.mark.parametrize("break_", ["", "\n"])
    @pytest.mark.parametrize(("length", "too_large"), [(LARGEST, False), (LARGEST + 1, True)])
    def test_a_lease_larger_than_any_of_ours(self, length: int, too_large: bool, break_: str, place: Place) -> None:
        place.put({"note": break_ + "x" * (length - len(f"note\n{break_}"))})
        assert (place.run("load")[3] == 0) is too_large

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_what_may_not_be_read_is_not_missing(self, number: int, place: Place) -> None:
        with pytest.raises(Exception, match="may not"):
            place.run("load", forbidden=KEYS[number])
