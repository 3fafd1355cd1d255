"""Each Lua script at an instant that does not pass: its exact answer, and exactly what it leaves behind.

What the scripts are for is in test_lease; here is every field, every boundary to the millisecond, and every row of the
table in docs/design that says who may change a TTL.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import redis

from support.leases import digest
from support.redis_server import RedisServer
from token_refresher.domain.model import Kind, Target
from token_refresher.store.keys import keys_of
from token_refresher.store.redis_store import _script

# Milliseconds, and under them nearly another one: a clock that is rounded up would show.
NOW = 1_700_000_000_999
KEYS = keys_of(Target("app0000", Kind.ACCESS_TOKEN))
N_KEYS = {"acquire": 2, "finish": 2, "load": 3, "note": 3}
# Bytes of a value, a lease or a complaint; what is larger is none of ours.
LARGEST = 65_536
WORK, FLIGHT, GRACE, TICK, MARGIN, AUDIT, DAY = 30_000, 60_000, 600_000, 60_000, 1_800_000, 240_000, 86_400_000
LOCK = WORK + FLIGHT
# What is left of the stored credential, as its record says.
LEFT = 5_000_000
RECORDED = NOW + LEFT
FOREVER, GONE = -1, -2
CODE, OTHER_CODE = "abcdef01", "10fedcba"

Fields = dict[str, Any]

# Goes before a script: one key that may not be read. Rights of Redis forbid commands, or a script as a whole.
_FORBIDS = """
local real, forbidden = redis, '%s'
local redis = {
  call = real.call,
  pcall = function(name, key, ...)
    if key == forbidden then return {err = 'NOPERM this user may not'} end
    return real.pcall(name, key, ...)
  end,
}
"""


class Place:
    """One target's keys on a real Redis whose clock stays at `now`: TTLs are exact."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.redis: Any = server.client()
        self.at(NOW)

    def at(self, now: int) -> None:
        seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now // 1000))
        self.server.clock_file.write_text(f"{seconds}.{now % 1000:03}998\n")

    def put(self, lease: Mapping[str, object] | None = None, value: str | None = "old", ttl: int = LEFT) -> None:
        if lease:
            self.redis.hset(KEYS.lease, mapping=lease)
            self.redis.expire(KEYS.lease, 600)
        if value is not None:
            self.redis.set(KEYS.value, value, px=None if ttl == FOREVER else ttl)

    def complain(self, text: str) -> None:
        self.redis.set(KEYS.refused, text, ex=600)

    def spoil(self, key: str) -> None:
        self.redis.delete(key)
        self.redis.rpush(key, "a list")
        self.redis.expire(key, 600)

    def run(self, name: str, *arguments: object, client: Any = None, forbidden: str = "") -> Any:
        source = (_FORBIDS % forbidden if forbidden else "") + _script(name)
        return (client or self.redis).eval(source, N_KEYS[name], *KEYS[: N_KEYS[name]], *arguments)

    def acquire(
        self,
        attempt: str = "a",
        *,
        value: str = "=old",
        mark: str = "",
        longest: int = GRACE,
        fence: int = 0,
        caller: str = "me",
    ) -> Any:
        times = (WORK, FLIGHT, GRACE, TICK, longest, DAY)
        return self.run("acquire", attempt, caller, value, mark, *times, fence)

    def finish(
        self,
        outcome: str,
        *,
        attempt: str = "a",
        ends: int = NOW + 7_000_000,
        sent: int = NOW - 3,
        wait: int = -1,
        code: str = "",
        value: str = "=old",
        recorded: int = RECORDED,
    ) -> str:
        issued = ("new", ends, sent, 7000) if outcome == "issued" else ("", 0, 0, 0)
        compared = (value, recorded, GRACE, DAY)
        return str(self.run("finish", attempt, "me", outcome, *issued, wait, code, "a note", *compared), "ascii")

    def note(
        self,
        word: str,
        *,
        value: str = "=old",
        mark: str = "",
        free: bool = True,
        q: int = NOW - 3,
        ends: int = RECORDED,
        others: bool = False,
        code: str = "",
    ) -> tuple[str, int, int, str]:
        about = (word, CODE, value, mark, int(free), q, ends, "shorter", int(others), "me", code)
        noted, now, ttl, left = self.run("note", *about, GRACE, MARGIN, AUDIT, DAY)
        return str(noted, "ascii"), now, ttl, str(left, "ascii")

    def lease(self) -> Fields:
        return _fields([part for pair in self.redis.hgetall(KEYS.lease).items() for part in pair])

    def value(self) -> bytes | None:
        found: bytes | None = self.redis.get(KEYS.value)
        return found

    def ttl(self) -> int:
        return int(self.redis.pttl(KEYS.value))

    def all(self) -> tuple[object, ...]:
        return (self.lease(), self.value(), *(self.redis.pttl(key) for key in KEYS))


def _fields(flat: list[bytes]) -> Fields:
    """Names and values; a number without leading zeros is one."""
    plain = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
    return {name: int(text) if text.isdigit() and str(int(text)) == text else text for name, text in plain.items()}


@pytest.fixture(scope="module")
def _timeless() -> Iterator[RedisServer]:
    with RedisServer(faketime=True) as server:
        yield server


@pytest.fixture
def place(_timeless: RedisServer) -> Iterator[Place]:
    place = Place(_timeless)
    place.redis.config_set("maxmemory", "0")
    _timeless.flush()
    yield place
    place.redis.close()


def less(fields: Fields, *names: str) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


# What an attempt finds that comes after one that ended well, and after one without an end.
SETTLED: Fields = {
    "attempt": "old", "finished": "old", "by": "you", "issued_by": "you", "work_until": 0, "locked_until": 0,
    "fence": 7, "before": "", "mark": "", "mark_since": 3, "audited_at": 2, "callers": "", "outcome": "issued",
    "value": digest("old"),
}  # fmt: skip
DEAD: Fields = SETTLED | {"attempt": "dead", "mark": "dead", "mark_since": NOW - 500_000, "locked_until": NOW - 1}
# The lease while attempt a of `me` holds it, and while attempt b of `you` does.
AHEAD = f"me:{NOW + LOCK + 60_000}:1:0:no_end"
HELD: Fields = SETTLED | {
    "attempt": "a", "finished": "old", "by": "me", "work_until": NOW - 9, "locked_until": NOW + 1,
    "mark": "a", "mark_since": NOW - 8, "callers": AHEAD,
}  # fmt: skip
# Settled with another value than the one that is stored.
STRANGE: Fields = SETTLED | {"value": digest("older")}
OTHERS: Fields = HELD | {"attempt": "b", "by": "you", "mark": "b", "locked_until": NOW + 9}


# -- who may change the TTL, and the mark ---------------------------------------------------------------------------


class Row(NamedTuple):
    """A lease and the TTL of the value "old" before, what is done, and then answer, TTL and mark."""

    lease: Fields
    ttl: int
    script: str
    how: Fields
    answer: str
    after: int
    mark: str


LIFE = 7_000_000
# The mark of an end that came late differs from the attempt's first one.
LATE_MARK = f"a-{NOW}"
RESTORED = {"outcome": "refused"}
UNKNOWN = {"outcome": "unknown"}
ISSUED = {"outcome": "issued"}
LOST = HELD | {"locked_until": NOW}
ASKED = NOW - 50_000
ROWS = {
    # acquire
    "acquire cuts the TTL of a settled value to the grace": Row(SETTLED, LEFT, "acquire", {}, "held", GRACE, "a"),
    "acquire cuts the TTL of a value in doubt to the grace": Row(
        DEAD, LEFT, "acquire", {"mark": "dead"}, "held", GRACE, "a"
    ),
    "acquire cuts a TTL that is a millisecond longer": Row(SETTLED, GRACE + 1, "acquire", {}, "held", GRACE, "a"),
    "acquire never prolongs a TTL": Row(SETTLED, GRACE - 1, "acquire", {}, "held", GRACE - 1, "a"),
    "acquire does not prolong what an attempt that died cut": Row(
        DEAD, 480_000, "acquire", {"mark": "dead"}, "held", 480_000, "a"
    ),
    "acquire gives a TTL to a value without one": Row(SETTLED, FOREVER, "acquire", {}, "held", GRACE, "a"),
    "acquire changes nothing when its attempt repeats it": Row(HELD, LEFT, "acquire", {}, "held", LEFT, "a"),
    "acquire changes nothing under the lock of another": Row(OTHERS, LEFT, "acquire", {}, "locked", LEFT, "b"),
    "acquire changes nothing where another value is stored": Row(
        SETTLED, LEFT, "acquire", {"value": "=older"}, "changed", LEFT, ""
    ),
    "acquire changes nothing where a value appeared": Row(
        SETTLED, LEFT, "acquire", {"value": "-"}, "changed", LEFT, ""
    ),
    "acquire changes nothing where another attempt marked it": Row(DEAD, LEFT, "acquire", {}, "changed", LEFT, "dead"),
    "acquire changes nothing where the mark is gone": Row(
        SETTLED, LEFT, "acquire", {"mark": "dead"}, "changed", LEFT, ""
    ),
    "acquire takes a value that the lease did not settle for one of unknown origin": Row(
        STRANGE, LEFT, "acquire", {"mark": "none"}, "held", GRACE, "a"
    ),
    "acquire takes it so for a lease that does not say which value it settled": Row(
        less(SETTLED, "value"), LEFT, "acquire", {"mark": "none"}, "held", GRACE, "a"
    ),
    "acquire changes nothing where another tool's value was read as settled": Row(
        STRANGE, LEFT, "acquire", {}, "changed", LEFT, ""
    ),
    "acquire changes nothing once its attempt is over": Row(
        SETTLED | {"finished": "a"}, LEFT, "acquire", {}, "over", LEFT, ""
    ),
    # finish
    "issued gives the new value its life and settles": Row(HELD, GRACE, "finish", ISSUED, "done", LIFE, ""),
    "issued settles whatever the attempt found": Row(HELD | {"before": "dead"}, 9, "finish", ISSUED, "done", LIFE, ""),
    "issued lives for the grace while another's mark stays": Row(
        HELD | {"mark": "late"}, GRACE, "finish", ISSUED, "done", GRACE - 3, "late"
    ),
    "issued under another's mark does not outlive its own end": Row(
        HELD | {"mark": "late"}, GRACE, "finish", ISSUED | {"ends": NOW + 5}, "done", 5, "late"
    ),
    "issued too late leaves the TTL and marks": Row(LOST, 77, "finish", ISSUED, "lost", 77, LATE_MARK),
    "issued under another's lock leaves the TTL and marks": Row(OTHERS, 77, "finish", ISSUED, "lost", 77, LATE_MARK),
    "issued after another attempt settled marks again": Row(SETTLED, LEFT, "finish", ISSUED, "lost", LEFT, LATE_MARK),
    "unknown leaves the cut and the mark": Row(HELD, GRACE, "finish", UNKNOWN, "done", GRACE, "a"),
    "unknown under another's mark leaves both": Row(
        HELD | {"mark": "late"}, GRACE, "finish", UNKNOWN, "done", GRACE, "late"
    ),
    "unknown too late leaves the TTL and marks": Row(OTHERS, 77, "finish", UNKNOWN, "lost", 77, LATE_MARK),
    "unknown after another attempt settled marks again": Row(SETTLED, LEFT, "finish", UNKNOWN, "lost", LEFT, LATE_MARK),
    "refused restores the recorded end of what was settled": Row(HELD, GRACE, "finish", RESTORED, "done", LEFT, ""),
    "refused leaves the cut that an earlier attempt made": Row(
        HELD | {"before": "dead"}, 480_000, "finish", RESTORED, "done", 480_000, "dead"
    ),
    "refused leaves the cut of a value of unknown origin": Row(
        HELD | {"before": "none"}, 480_000, "finish", RESTORED, "done", 480_000, "none"
    ),
    "refused restores nothing where what was before is not known": Row(
        less(HELD, "before"), 480_000, "finish", RESTORED, "done", 480_000, "none"
    ),
    "refused restores nothing where a late attempt marked meanwhile": Row(
        HELD | {"mark": "late"}, 480_000, "finish", RESTORED, "done", 480_000, "late"
    ),
    "refused restores nothing where another value is stored": Row(
        HELD, 480_000, "finish", RESTORED | {"value": "=older"}, "done", 480_000, "a"
    ),
    "refused restores nothing for a value without a recorded end": Row(
        HELD, 480_000, "finish", RESTORED | {"recorded": 0}, "done", 480_000, ""
    ),
    "refused too late changes nothing": Row(LOST, 77, "finish", RESTORED, "lost", 77, "a"),
    "refused under another's lock changes nothing": Row(OTHERS, 77, "finish", RESTORED, "lost", 77, "b"),
    # note alive
    "alive restores the recorded end and settles": Row(
        DEAD, 77, "note", {"word": "alive", "mark": "dead"}, "noted", LEFT, ""
    ),
    "alive settles a value of unknown origin": Row(
        {}, FOREVER, "note", {"word": "alive", "mark": "none"}, "noted", LEFT, ""
    ),
    "alive takes an earlier end that checkCode names": Row(
        DEAD, 77, "note", {"word": "alive", "mark": "dead", "ends": RECORDED - 40_000}, "noted", LEFT - 40_000, ""
    ),
    "alive cuts a settled TTL that is too long": Row(SETTLED, LEFT + 1, "note", {"word": "alive"}, "noted", LEFT, ""),
    "alive under a lock lengthens to question and grace": Row(
        OTHERS, 77, "note", {"word": "alive", "mark": "b", "free": False, "q": ASKED}, "noted", GRACE - 50_000, "b"
    ),
    "alive under a lock shortens nothing": Row(
        OTHERS, GRACE - 1, "note", {"word": "alive", "mark": "b", "free": False, "q": ASKED}, "noted", GRACE - 1, "b"
    ),
    "alive under a lock leaves no more than the grace": Row(
        OTHERS, GRACE + 1, "note", {"word": "alive", "mark": "b", "free": False, "q": ASKED}, "noted", GRACE, "b"
    ),
    "alive under a lock gives no life beyond the recorded end": Row(
        OTHERS, 77, "note", {"word": "alive", "mark": "b", "free": False, "ends": NOW + 99}, "noted", 99, "b"
    ),
    "alive after the lock of the time of the reading has ended does not settle": Row(
        DEAD, 77, "note", {"word": "alive", "mark": "dead", "free": False}, "noted", GRACE - 3, "dead"
    ),
    "alive does not settle where another attempt marked since": Row(
        DEAD, 77, "note", {"word": "alive", "mark": "", "q": ASKED}, "noted", GRACE - 50_000, "dead"
    ),
    "alive does not settle where an attempt took the place of another": Row(
        OTHERS, 77, "note", {"word": "alive", "mark": "dead"}, "noted", GRACE - 3, "b"
    ),
    "alive settles another tool's value": Row(
        STRANGE, 77, "note", {"word": "alive", "mark": "none"}, "noted", LEFT, ""
    ),
    "alive does not settle another tool's value that was read as settled": Row(
        STRANGE, 77, "note", {"word": "alive"}, "noted", GRACE - 3, "none"
    ),
    "alive without settling leaves no life beyond an earlier end that checkCode names": Row(
        DEAD, GRACE, "note", {"word": "alive", "mark": "dead", "free": False, "ends": NOW + 99}, "noted", 99, "dead"
    ),
    "alive leaves what was settled since": Row(
        SETTLED, LEFT, "note", {"word": "alive", "mark": "dead", "free": False}, "noted", LEFT, ""
    ),
    "alive from before a clock was set back counts from now": Row(
        OTHERS, 77, "note", {"word": "alive", "mark": "b", "free": False, "q": NOW + 9_000}, "noted", GRACE, "b"
    ),
    # note ends, refused, seen
    "ends cuts a settled value and leaves it settled": Row(
        SETTLED, LEFT, "note", {"word": "ends", "ends": NOW + 500_000}, "noted", 500_000, ""
    ),
    "ends cuts a value in doubt and leaves it in doubt": Row(
        OTHERS, GRACE, "note", {"word": "ends", "mark": "b", "free": False, "ends": NOW + 5}, "noted", 5, "b"
    ),
    "ends never prolongs a cut": Row(
        DEAD, 77, "note", {"word": "ends", "mark": "dead", "ends": NOW + 500_000}, "noted", 77, "dead"
    ),
    "ends at this instant removes": Row(SETTLED, LEFT, "note", {"word": "ends", "ends": NOW}, "removed", GONE, ""),
    "ends in the past removes": Row(SETTLED, LEFT, "note", {"word": "ends", "ends": 1}, "removed", GONE, ""),
    "refused by checkCode removes a settled value": Row(
        SETTLED, LEFT, "note", {"word": "refused"}, "removed", GONE, ""
    ),
    "refused by checkCode removes a value under another's lock": Row(
        OTHERS, LEFT, "note", {"word": "refused", "mark": "", "free": False}, "removed", GONE, "b"
    ),
    "ends cuts another tool's value and leaves it of unknown origin": Row(
        STRANGE, LEFT, "note", {"word": "ends", "mark": "none", "ends": NOW + 500_000}, "noted", 500_000, "none"
    ),
    "seen cuts another tool's value to the grace": Row(
        STRANGE, FOREVER, "note", {"word": "seen", "mark": "none"}, "noted", GRACE, "none"
    ),
    "silence prolongs another tool's value": Row(
        STRANGE, 77, "note", {"word": "silent", "mark": "none"}, "noted", GRACE - 3, "none"
    ),
    "seen gives its recorded end to a value without a TTL": Row(
        SETTLED, FOREVER, "note", {"word": "seen"}, "noted", LEFT, ""
    ),
    "seen cuts a TTL beyond the recorded end": Row(SETTLED, LEFT + 1, "note", {"word": "seen"}, "noted", LEFT, ""),
    "seen leaves a shorter TTL": Row(SETTLED, LEFT - 1, "note", {"word": "seen"}, "noted", LEFT - 1, ""),
    "seen cuts a value in doubt to the grace": Row(
        DEAD, GRACE + 1, "note", {"word": "seen", "mark": "dead"}, "noted", GRACE, "dead"
    ),
    "seen leaves the cut of a value in doubt": Row(
        DEAD, GRACE - 1, "note", {"word": "seen", "mark": "dead"}, "noted", GRACE - 1, "dead"
    ),
    "seen gives the grace to a value of unknown origin": Row(
        {}, FOREVER, "note", {"word": "seen", "mark": "none"}, "noted", GRACE, "none"
    ),
    "seen gives an end before the grace to a value of unknown origin": Row(
        {}, FOREVER, "note", {"word": "seen", "mark": "none", "ends": NOW + 5}, "noted", 5, "none"
    ),
    "seen removes a value that has expired": Row(
        {}, FOREVER, "note", {"word": "seen", "mark": "none", "ends": NOW - 1}, "removed", GONE, "none"
    ),
    "seen goes by the mark of now": Row(OTHERS, LEFT, "note", {"word": "seen"}, "noted", GRACE, "b"),
    # note silent, denied
    "silence prolongs a value in doubt to question and grace": Row(
        DEAD, 77, "note", {"word": "silent", "mark": "dead", "q": ASKED}, "noted", GRACE - 50_000, "dead"
    ),
    "silence prolongs no further than a margin after the mark": Row(
        DEAD | {"mark_since": NOW - MARGIN + 99}, 77, "note", {"word": "silent", "mark": "dead"}, "noted", 99, "dead"
    ),
    "silence a margin after the mark prolongs nothing": Row(
        DEAD | {"mark_since": NOW - MARGIN}, 77, "note", {"word": "silent", "mark": "dead"}, "noted", 77, "dead"
    ),
    "silence prolongs no further than the recorded end": Row(
        DEAD, 77, "note", {"word": "silent", "mark": "dead", "ends": NOW + 99}, "noted", 99, "dead"
    ),
    "silence shortens nothing": Row(DEAD, GRACE, "note", {"word": "silent", "mark": "dead"}, "noted", GRACE, "dead"),
    "silence changes no settled value": Row(SETTLED, 77, "note", {"word": "silent"}, "noted", 77, ""),
    "silence changes no value that was settled just now": Row(
        SETTLED | {"mark_since": NOW - 5}, 77, "note", {"word": "silent"}, "noted", 77, ""
    ),
    "silence counts from now after a clock was set back": Row(
        DEAD, 77, "note", {"word": "silent", "mark": "dead", "q": NOW + 9_000}, "noted", GRACE, "dead"
    ),
    "a first denial changes nothing": Row(SETTLED, LEFT, "note", {"word": "denied"}, "noted", LEFT, ""),
    "a second denial too soon changes nothing": Row(
        SETTLED | {"denied": f"{CODE} {NOW - 2 - AUDIT}"}, LEFT, "note", {"word": "denied"}, "noted", LEFT, ""
    ),
    "a second denial an audit later removes": Row(
        SETTLED | {"denied": f"{CODE} {NOW - 3 - AUDIT}"}, LEFT, "note", {"word": "denied"}, "removed", GONE, ""
    ),
    "a denial of another credential is not the first of two": Row(
        SETTLED | {"denied": f"{OTHER_CODE} {NOW - 3 - AUDIT}"}, LEFT, "note", {"word": "denied"}, "noted", LEFT, ""
    ),
    "a denial of a value in doubt prolongs nothing": Row(
        DEAD, 77, "note", {"word": "denied", "mark": "dead"}, "noted", 77, "dead"
    ),
}
# A value that changed since it was read, under each word.
ROWS |= {
    f"{word} of another value changes nothing": Row(
        DEAD, 77, "note", {"word": word, "value": value, "mark": "dead", "ends": NOW + 5}, "other", 77, "dead"
    )
    for word in ("alive", "ends", "refused", "denied", "silent", "seen")
    for value in ("=older", "-", "?")
}


def stored_after(row: Row) -> bytes | None:
    if row.after == GONE:
        return None
    did = row.how.get("word") or row.how.get("outcome")
    return {("issued", "done"): b"new", ("ends", "noted"): b"shorter"}.get((str(did), row.answer), b"old")


@pytest.mark.parametrize("name", ROWS)
def test_who_may_change_the_ttl(name: str, place: Place) -> None:
    row = ROWS[name]
    place.put(row.lease, ttl=row.ttl)
    reply = getattr(place, row.script)(**row.how)
    if row.script == "note":
        assert reply == (row.answer, NOW, row.after, row.mark)
    elif row.script == "acquire":
        assert (str(reply[0], "ascii"), *reply[1:4]) == (row.answer, NOW, b"old", row.after)
        assert _fields(reply[4]) == place.lease()
    else:
        assert reply == row.answer
    assert (place.ttl(), place.lease().get("mark", "none")) == (row.after, row.mark)
    assert place.value() == stored_after(row)
    # Once more: nothing happens.
    after = place.all()
    getattr(place, row.script)(**row.how)
    assert place.all() == after
    if row.after == FOREVER:
        place.redis.delete(KEYS.value)


@pytest.mark.parametrize(
    ("script", "how"), [("acquire", {}), ("finish", RESTORED), ("finish", UNKNOWN), ("finish", ISSUED), ("note", {})]
)
def test_what_changes_nothing_leaves_the_whole_lease_as_it_was(script: str, how: Fields, place: Place) -> None:
    nothing = {"acquire": (OTHERS, {}), "finish": (SETTLED | {"finished": "a"}, how), "note": (SETTLED, {"value": "-"})}
    lease, more = nothing[script]
    place.put(lease)
    before = place.all()
    getattr(place, script)(*(["alive"] if script == "note" else []), **more)
    assert place.all() == before
    assert place.lease() == lease


# What an attempt writes.
MINE: Fields = {
    "attempt": "a", "by": "me", "work_until": NOW + WORK, "locked_until": NOW + LOCK, "fence": NOW,
    "mark": "a", "mark_since": NOW, "callers": AHEAD,
}  # fmt: skip


class TestAcquire:
    def taken(self, place: Place, **how: Any) -> Fields:
        reply = place.acquire(**how)
        assert reply[:2] == [b"held", NOW]
        assert _fields(reply[4]) == place.lease()
        assert place.redis.pttl(KEYS.lease) == DAY
        return place.lease()

    def test_where_nothing_was_it_writes_lock_mark_and_the_callers_wait(self, place: Place) -> None:
        assert self.taken(place, value="-", mark="none") == MINE | {"before": "none"}
        assert place.acquire(value="-", mark="none")[2:4] == [None, GONE]
        assert place.value() is None

    def test_after_an_attempt_that_ended_well_it_keeps_what_is_not_its_own(self, place: Place) -> None:
        place.put(SETTLED)
        assert self.taken(place) == SETTLED | MINE | {"before": ""}

    @pytest.mark.parametrize(
        ("since", "kept"),
        [(1, 1), (5, 5), (10**15 - 1, 10**15 - 1), (10**15, NOW), ("", NOW), ("5x", NOW), ("-5", NOW), ("1e9", NOW)],
    )
    def test_after_one_without_an_end_the_target_is_in_doubt_since_then(
        self, since: object, kept: int, place: Place
    ) -> None:
        place.put(DEAD | {"mark_since": since})
        lease = self.taken(place, mark="dead")
        assert (lease["before"], lease["mark"], lease["mark_since"]) == ("dead", "a", kept)

    def test_another_tools_value_is_in_doubt_from_now_on(self, place: Place) -> None:
        place.put(STRANGE)
        lease = self.taken(place, mark="none")
        assert (lease["before"], lease["mark"], lease["mark_since"]) == ("none", "a", NOW)

    def test_an_empty_value_is_none_that_a_lease_could_speak_of(self, place: Place) -> None:
        place.put(STRANGE, value="")
        assert self.taken(place, value="=")["before"] == ""

    @pytest.mark.parametrize("mark", ["x y", "<>", "x" * 65, "\n", "ä"])
    def test_a_mark_that_none_can_have_written_reads_as_none(self, mark: str, place: Place) -> None:
        place.put(SETTLED | {"mark": mark})
        assert self.taken(place, mark="none")["before"] == "none"

    @pytest.mark.parametrize("mark", ["x" * 64, "A-z_09"])
    def test_any_other_mark_is_one(self, mark: str, place: Place) -> None:
        place.put(DEAD | {"mark": mark})
        assert place.acquire(mark="none")[0] == b"changed"
        assert self.taken(place, mark=mark)["before"] == mark

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
    def test_the_fence_grows_beyond_lease_and_value(self, old: object, of_value: int, fence: int, place: Place) -> None:
        place.put(SETTLED | {"fence": old})
        assert self.taken(place, fence=of_value)["fence"] == fence

    @pytest.mark.parametrize("ahead", [1, LOCK])
    def test_another_s_lock_turns_it_away(self, ahead: int, place: Place) -> None:
        locked = OTHERS | {"locked_until": NOW + ahead, "finished": "a"}
        place.put(locked)
        reply = place.acquire(mark="b")
        assert (reply[:4], _fields(reply[4])) == ([b"locked", NOW, b"old", LEFT], locked)
        assert place.lease() == locked

    @pytest.mark.parametrize("until", [0, NOW - 1, NOW, NOW + LOCK + 1, NOW + 10**14, "x", "1e13"])
    def test_a_lock_that_is_over_or_that_no_attempt_can_have_taken_does_not(self, until: object, place: Place) -> None:
        place.put(OTHERS | {"locked_until": until})
        assert self.taken(place, mark="b")["attempt"] == "a"

    def test_its_own_lock_is_the_same_lease_whatever_was_read(self, place: Place) -> None:
        place.put(HELD)
        for how in ({}, {"value": "-"}, {"mark": "b"}):
            assert place.acquire(**how)[:2] == [b"held", NOW]  # type: ignore[arg-type]
        assert place.lease() == HELD
        assert place.ttl() == LEFT

    def test_its_own_lock_that_has_run_out_is_not_taken_again(self, place: Place) -> None:
        place.put(LOST)
        assert place.acquire()[0] == b"changed"
        assert place.lease() == LOST

    @pytest.mark.parametrize("attempt", ["a", "b"])
    def test_an_attempt_that_is_over_stays_over(self, attempt: str, place: Place) -> None:
        over = SETTLED | {"attempt": attempt, "finished": "a"}
        place.put(over)
        reply = place.acquire()
        assert (reply[:2], _fields(reply[4]), place.lease()) == ([b"over", NOW], over, over)

    # callers

    @pytest.mark.parametrize(
        ("failures", "ahead"), [(0, 60), (1, 120), (2, 240), (3, 480), (4, 600), (30, 600), (31, 600), (10**14, 600)]
    )
    def test_its_own_wait_after_the_lock_doubles_up_to_the_grace(self, failures: int, ahead: int, place: Place) -> None:
        place.put(SETTLED | {"callers": f"me:5:{failures}:77:white_list"})
        until = NOW + LOCK + ahead * 1000
        assert self.taken(place)["callers"] == f"me:{until}:{failures + 1}:77:no_end"

    @pytest.mark.parametrize(("longest", "ahead"), [(59_000, 59_000), (120_000, 120_000), (240_000, 240_000)])
    def test_its_own_wait_is_no_longer_than_it_is_allowed(self, longest: int, ahead: int, place: Place) -> None:
        place.put(SETTLED | {"callers": "me:5:2:77:white_list"})
        callers = self.taken(place, longest=longest)["callers"]
        assert callers == f"me:{NOW + LOCK + ahead}:3:77:no_end"

    def test_the_caller_is_the_last_of_the_list_and_the_ninth_is_forgotten(self, place: Place) -> None:
        others = [f"c{n}:{n}:1:0:" for n in range(8)]
        place.put(SETTLED | {"callers": " ".join(others)})
        assert self.taken(place)["callers"] == " ".join([*others[1:], AHEAD])

    def test_the_callers_own_entry_makes_room_for_its_next(self, place: Place) -> None:
        others = [f"c{n}:{n}:1:0:" for n in range(7)]
        place.put(SETTLED | {"callers": " ".join(["me:5:0:0:", *others])})
        assert self.taken(place)["callers"] == " ".join([*others, AHEAD])

    @pytest.mark.parametrize("word", ["me", "me:", "me:x:1:2:", "me:1:2:3", "me:1:2:3:4:5", "me:1:-2:3:", "mee:1:7:3:"])
    def test_an_entry_that_none_can_have_written_counts_no_failures(self, word: str, place: Place) -> None:
        place.put(SETTLED | {"callers": f"you:1:2:3:x {word}"})
        callers = str(self.taken(place)["callers"]).split()
        assert (callers[0], callers[-1]) == ("you:1:2:3:x", AHEAD)

    @pytest.mark.parametrize(
        ("lease", "mark", "left"),
        [
            (SETTLED, "", "you"),
            (DEAD | {"by": "you", "issued_by": "you"}, "dead", None),
            (DEAD | {"by": "x", "issued_by": "you"}, "dead", "you"),
            (DEAD | {"by": "x", "issued_by": "x"}, "dead", None),
            (less(DEAD, "by") | {"issued_by": "you"}, "dead", "you"),
        ],
    )
    def test_who_last_brought_a_code_loses_its_precedence_by_an_attempt_of_its_own_without_an_end(
        self, lease: Fields, mark: str, left: object, place: Place
    ) -> None:
        place.put(lease)
        assert self.taken(place, mark=mark).get("issued_by") == left

    # what is not as it should be

    def test_a_value_of_another_type_is_cut_too(self, place: Place) -> None:
        place.spoil(KEYS.value)
        place.redis.persist(KEYS.value)
        reply = place.acquire(value="?", mark="none")
        assert reply[:4] == [b"held", NOW, 0, GRACE]

    @pytest.mark.parametrize("value", ["-", "=", "=a list"])
    def test_a_value_of_another_type_is_no_other_value(self, value: str, place: Place) -> None:
        place.spoil(KEYS.value)
        assert place.acquire(value=value, mark="none")[0] == b"changed"

    @pytest.mark.parametrize(("length", "seen"), [(LARGEST, b"x" * LARGEST), (LARGEST + 1, 0)])
    def test_a_value_larger_than_any_of_ours_is_not_sent(self, length: int, seen: object, place: Place) -> None:
        place.put(value="x" * length)
        read = "?" if seen == 0 else "=" + "x" * length
        assert place.acquire(value=read, mark="none")[:3] == [b"held", NOW, seen]

    def test_an_empty_value_is_one(self, place: Place) -> None:
        place.put(value="")
        assert place.acquire(value="-", mark="none")[0] == b"changed"
        assert place.acquire(value="=", mark="none")[:3] == [b"held", NOW, b""]

    @pytest.mark.parametrize(("length", "kept"), [(LARGEST, True), (LARGEST + 1, False)])
    def test_a_lease_larger_than_any_of_ours_reads_as_none_and_is_replaced(
        self, length: int, kept: bool, place: Place
    ) -> None:
        known = {"mark": "", "value": digest("old")}
        place.put(known | {"note": "x" * (length - len("\n".join(sum(known.items(), ()))) - len("\nnote\n"))})
        assert (place.run("load")[3] == 0) is not kept
        assert place.acquire(mark="none" if kept else "")[0] == b"changed"
        lease = self.taken(place, mark="" if kept else "none")
        assert ("note" in lease) is kept
        assert lease["before"] == ("" if kept else "none")

    def test_a_lease_of_another_type_is_replaced(self, place: Place) -> None:
        place.put()
        place.spoil(KEYS.lease)
        assert self.taken(place, mark="none") == MINE | {"before": "none"}


# What each end makes of the lease of an attempt that is under way.
FREED: Fields = {"work_until": 0, "locked_until": 0, "finished": "a"}
SAID: Fields = {"outcome": "a note", "outcome_at": NOW}
BROUGHT: Fields = {"issued_by": "me", "audited_at": NOW - 3, "life": 7000}
ENDS: dict[str, Fields] = {
    "issued": FREED | SAID | BROUGHT | {"mark": "", "callers": "", "value": digest("new")},
    "refused": FREED | SAID | {"mark": "", "callers": ""},
    # Its wait goes on; of what kind the failure was is known now.
    "unknown": SAID | {"callers": AHEAD.removesuffix("no_end")},
}
BEGUN: Fields = HELD | {"before": ""}
LATE = {"mark": LATE_MARK, "mark_since": NOW}


class TestFinish:
    @pytest.mark.parametrize("outcome", ENDS)
    def test_of_the_attempt_that_holds_the_lease(self, outcome: str, place: Place) -> None:
        place.put(BEGUN, ttl=GRACE)
        assert place.finish(outcome) == "done"
        assert place.lease() == BEGUN | ENDS[outcome]
        assert place.redis.pttl(KEYS.lease) == DAY
        # Once more, with something else to say: nothing changes.
        after = place.all()
        assert place.finish(outcome, wait=99, ends=NOW + 90_000, sent=NOW - 1) == "done"
        assert place.all() == after

    @pytest.mark.parametrize("outcome", ["refused", "unknown"])
    def test_where_no_value_is_none_is_made(self, outcome: str, place: Place) -> None:
        place.put(BEGUN, value=None)
        assert place.finish(outcome, value="-", recorded=0) == "done"
        assert place.lease() == BEGUN | ENDS[outcome]
        assert place.value() is None

    @pytest.mark.parametrize("value", ["?", "-"])
    def test_a_refused_end_keeps_a_value_of_another_type_at_its_cut(self, value: str, place: Place) -> None:
        place.put(BEGUN, value=None)
        place.spoil(KEYS.value)
        assert place.finish("refused", value=value, recorded=0) == "done"
        assert place.ttl() == 600_000
        assert place.lease()["mark"] == ("" if value == "?" else "a")

    @pytest.mark.parametrize("recorded", [NOW, NOW - 1])
    def test_a_refused_end_removes_a_value_whose_recorded_end_is_over(self, recorded: int, place: Place) -> None:
        place.put(BEGUN)
        place.finish("refused", recorded=recorded)
        assert place.value() is None

    @pytest.mark.parametrize(
        ("outcome", "wait", "code", "before", "after"),
        [
            ("issued", -1, "", AHEAD, ""),
            ("issued", -1, "", "me:5:3:77:x", ""),
            ("issued", 9, "", "me:5:3:77:x", f"me:{NOW + 9}:0:77:"),
            ("refused", 30_000, "white_list", AHEAD, f"me:{NOW + 30_000}:1:0:white_list"),
            ("refused", 30_000, "white_list", "me:5:3:77:x", f"me:{NOW + 30_000}:3:77:white_list"),
            ("refused", 0, "x", "you:1:2:3:y me:5:3:77:x", f"you:1:2:3:y me:{NOW}:3:77:x"),
            ("refused", -1, "not_sent", AHEAD, ""),
            # When it asked checkCode in vain is not forgotten with its failures.
            ("refused", -1, "not_sent", "me:5:3:77:x", "me:0:0:77:not_sent"),
            # What no clock can have said is no instant at which it asked.
            ("refused", -1, "not_sent", f"me:5:3:{'9' * 16}:x", ""),
            ("unknown", 9, "x", "you:1:2:3:y me:5:3:77:no_end", "you:1:2:3:y me:5:3:77:x"),
        ],
    )
    def test_what_its_caller_waits_for(
        self, outcome: str, wait: int, code: str, before: str, after: str, place: Place
    ) -> None:
        place.put(BEGUN | {"callers": before})
        assert place.finish(outcome, wait=wait, code=code) == "done"
        assert place.lease()["callers"] == after

    @pytest.mark.parametrize(("sent", "at"), [(NOW - 1, NOW - 1), (NOW + 1, NOW)])
    def test_a_code_is_known_as_newest_since_its_request_was_sent(self, sent: int, at: int, place: Place) -> None:
        place.put(BEGUN)
        place.finish("issued", sent=sent)
        assert place.lease()["audited_at"] == at

    @pytest.mark.parametrize("sent", [NOW - GRACE, NOW - GRACE - 1])
    def test_the_grace_of_a_code_under_another_s_mark_is_over_at_once(self, sent: int, place: Place) -> None:
        place.put(BEGUN | {"mark": "late"})
        assert place.finish("issued", sent=sent) == "done"
        assert place.ttl() == 1

    @pytest.mark.parametrize("outcome", ["issued", "unknown"])
    @pytest.mark.parametrize("more", [{"locked_until": NOW}, {"locked_until": "x"}, {"attempt": "b", "by": "you"}])
    def test_of_one_that_lost_the_lease_only_the_mark_is_left(self, more: Fields, outcome: str, place: Place) -> None:
        lost = BEGUN | {"mark": "b"} | more
        place.put(lost)
        assert place.finish(outcome) == "lost"
        assert place.lease() == lost | {"mark": LATE_MARK}
        assert place.value() == b"old"
        assert place.redis.pttl(KEYS.lease) == DAY

    @pytest.mark.parametrize("outcome", ["issued", "unknown"])
    @pytest.mark.parametrize(
        ("mark", "since", "kept"), [("", 5, NOW), ("b", 5, 5), ("b", "x", NOW), ("x y", 5, 5), (None, 5, 5)]
    )
    def test_a_late_mark_keeps_the_first_instant_since_it_was_settled(
        self, mark: object, since: object, kept: int, outcome: str, place: Place
    ) -> None:
        lease = SETTLED | {"mark": mark, "mark_since": since}
        place.put({name: value for name, value in lease.items() if value is not None})
        assert place.finish(outcome) == "lost"
        assert place.lease() == lease | {"mark": LATE_MARK, "mark_since": kept}

    @pytest.mark.parametrize(("life", "ended"), [(-1, "lost"), (0, "lost"), (1, "done")])
    def test_a_code_needs_a_life(self, life: int, ended: str, place: Place) -> None:
        place.put(BEGUN)
        assert place.finish("issued", ends=NOW + life) == ended
        assert place.value() == (b"new" if ended == "done" else b"old")
        # The lock stays where nothing was stored: what the platform knows is not what Redis knows.
        assert place.lease() == BEGUN | (ENDS["issued"] if ended == "done" else {"mark": LATE_MARK})

    @pytest.mark.parametrize(("ends", "ttl"), [(NOW + 5, 5), (NOW + LIFE, GRACE - 3)])
    def test_where_lease_and_value_are_gone_a_code_is_stored_for_the_grace_and_marked(
        self, ends: int, ttl: int, place: Place
    ) -> None:
        assert place.finish("issued", ends=ends) == "orphan"
        assert place.lease() == LATE | SAID | BROUGHT | {"finished": "a"}
        assert (place.value(), place.ttl(), place.redis.pttl(KEYS.lease)) == (b"new", ttl, DAY)
        after = place.all()
        assert place.finish("issued", ends=NOW + 90_000) == "done"
        assert place.all() == after

    def test_where_only_the_lease_is_gone_the_value_stays_and_is_marked(self, place: Place) -> None:
        place.put()
        assert place.finish("issued") == "lost"
        assert place.lease() == LATE
        assert (place.value(), place.ttl()) == (b"old", LEFT)

    def test_where_only_the_value_is_gone_and_another_holds_the_lease_nothing_is_stored(self, place: Place) -> None:
        place.put(OTHERS, value=None)
        assert place.finish("issued") == "lost"
        assert place.value() is None

    def test_where_its_own_lease_is_there_a_value_that_is_gone_is_stored(self, place: Place) -> None:
        place.put(BEGUN, value=None)
        assert place.finish("issued") == "done"
        assert (place.value(), place.ttl()) == (b"new", LIFE)

    @pytest.mark.parametrize(("life", "ended"), [(-1, "lost"), (0, "lost"), (1, "orphan")])
    def test_where_all_is_gone_a_code_that_is_nearly_dead_needs_a_life_too(
        self, life: int, ended: str, place: Place
    ) -> None:
        assert place.finish("issued", ends=NOW + life) == ended

    @pytest.mark.parametrize(("outcome", "left"), [("refused", {}), ("unknown", LATE)])
    def test_where_all_is_gone_and_there_is_no_code(self, outcome: str, left: Fields, place: Place) -> None:
        assert place.finish(outcome, value="-", recorded=0) == "lost"
        assert place.lease() == left
        assert place.value() is None

    def test_a_lease_of_another_type_is_replaced(self, place: Place) -> None:
        place.spoil(KEYS.lease)
        assert place.finish("issued") == "orphan"
        assert place.lease() == LATE | SAID | BROUGHT | {"finished": "a"}

    def test_a_lease_larger_than_any_of_ours_reads_as_none(self, place: Place) -> None:
        place.put(BEGUN | {"note": "x" * LARGEST})
        assert place.finish("issued") == "lost"
        assert place.lease() == LATE

    @pytest.mark.parametrize("outcome", ["issued", "unknown", "refused"])
    def test_a_value_of_another_type_is_replaced_by_a_code_alone(self, outcome: str, place: Place) -> None:
        place.put(BEGUN, value=None)
        place.spoil(KEYS.value)
        assert place.finish(outcome, value="?", recorded=0) == "done"
        assert (place.redis.type(KEYS.value) == b"string") is (outcome == "issued")


FINGERPRINTS = [(CODE, None), (OTHER_CODE, OTHER_CODE.encode())]


class TestNote:
    @pytest.mark.parametrize("word", ["alive", "ends", "refused"])
    @pytest.mark.parametrize(("q", "at"), [(NOW - 3, NOW - 3), (NOW + 3, NOW)])
    def test_a_word_about_the_code_counts_from_before_the_question(
        self, q: int, at: int, word: str, place: Place
    ) -> None:
        place.put(SETTLED | {"denied": f"{CODE} 5"})
        place.note(word, q=q)
        # A value that is written again, with its end, is the one that is settled.
        settled = {"value": digest("shorter" if word == "ends" else "old")}
        assert place.lease() == SETTLED | {"audited_at": at, "denied": ""} | settled
        assert place.redis.pttl(KEYS.lease) == DAY

    @pytest.mark.parametrize("word", ["denied", "silent", "seen"])
    def test_any_other_word_is_no_audit_and_leaves_an_earlier_denial(self, word: str, place: Place) -> None:
        lease = DEAD | {"denied": f"{CODE} {NOW - 9}"}
        place.put(lease)
        place.note(word, mark="dead")
        assert place.lease() == lease

    @pytest.mark.parametrize("word", ["alive", "ends", "refused", "denied", "silent", "seen"])
    def test_where_no_lease_was_its_origin_is_entered_as_unknown_until_it_is_known(
        self, word: str, place: Place
    ) -> None:
        place.put()
        mark = "" if word == "alive" else "none"
        assert place.note(word, mark="none")[3] == mark
        lease = place.lease()
        assert (lease["mark"], lease["mark_since"]) == (mark, NOW)
        # The first instant stays.
        place.at(NOW + 5)
        place.note(word, mark=mark, value="=shorter" if word == "ends" else "=old")
        assert place.lease()["mark_since"] == NOW

    @pytest.mark.parametrize("mark", ["", "dead", "none"])
    def test_of_the_marks_only_the_one_as_read_can_be_settled(self, mark: str, place: Place) -> None:
        place.put(SETTLED | {"mark": "x y"})
        place.note("alive", mark=mark)
        assert place.lease()["mark"] == ("" if mark == "none" else "none")

    @pytest.mark.parametrize(
        ("before", "q", "after"),
        [
            ("", NOW - 3, f"{CODE} {NOW}"),
            ("garbage", NOW - 3, f"{CODE} {NOW}"),
            (f"{CODE} x", NOW - 3, f"{CODE} {NOW}"),
            (f"{OTHER_CODE} 5", NOW - 3, f"{CODE} {NOW}"),
            (f"{CODE} {NOW - 9}", NOW - 3, f"{CODE} {NOW - 9}"),
            (f"{CODE} {NOW}", NOW - 3, f"{CODE} {NOW}"),
            # The clock was set back: the first one is not in the future.
            (f"{CODE} {NOW + 1}", NOW - 3, f"{CODE} {NOW}"),
        ],
    )
    def test_the_first_of_two_denials_counts_from_its_note(self, before: str, q: int, after: str, place: Place) -> None:
        place.put(SETTLED | ({"denied": before} if before else {}))
        assert place.note("denied", q=q)[0] == "noted"
        assert place.lease()["denied"] == after

    @pytest.mark.parametrize("word", ["alive", "ends", "refused", "denied", "silent", "seen"])
    def test_no_word_can_be_about_nothing(self, word: str, place: Place) -> None:
        assert place.note(word, value="-", mark="none") == ("other", NOW, GONE, "none")
        assert (place.lease(), place.value()) == ({}, None)

    # complaints

    @pytest.mark.parametrize("word", ["alive", "ends", "refused"])
    @pytest.mark.parametrize(("complaint", "left"), FINGERPRINTS)
    def test_a_word_about_the_code_answers_a_complaint_about_it(
        self, complaint: str, left: bytes | None, word: str, place: Place
    ) -> None:
        place.put(SETTLED)
        place.complain(complaint)
        place.note(word)
        assert place.redis.get(KEYS.refused) == left

    @pytest.mark.parametrize("word", ["denied", "silent", "seen"])
    def test_any_other_word_leaves_the_complaint(self, word: str, place: Place) -> None:
        place.put(SETTLED)
        place.complain(CODE)
        place.note(word)
        assert place.redis.get(KEYS.refused) == CODE.encode()

    @pytest.mark.parametrize(("complaint", "left"), FINGERPRINTS)
    @pytest.mark.parametrize("word", ["denied", "seen"])
    def test_a_complaint_goes_with_its_value(self, word: str, complaint: str, left: bytes | None, place: Place) -> None:
        place.put(SETTLED | {"denied": f"{CODE} 5"})
        place.complain(complaint)
        assert place.note(word, ends=NOW)[0] == "removed"
        assert place.redis.get(KEYS.refused) == left

    def test_an_answer_about_another_value_leaves_the_complaint(self, place: Place) -> None:
        place.put(SETTLED)
        place.complain(CODE)
        assert place.note("alive", value="=older")[0] == "other"
        assert place.redis.get(KEYS.refused) == CODE.encode()

    @pytest.mark.parametrize(("complaint", "ttl"), [(CODE, 77), (OTHER_CODE, GRACE - 3)])
    def test_silence_prolongs_no_code_that_a_reader_complains_of(self, complaint: str, ttl: int, place: Place) -> None:
        place.put(DEAD, ttl=77)
        place.complain(complaint)
        assert place.note("silent", mark="dead")[2] == ttl

    @pytest.mark.parametrize(("word", "gone"), [("alive", True), ("silent", False)])
    def test_a_complaint_of_another_type_goes_with_a_word_about_the_code(
        self, word: str, gone: bool, place: Place
    ) -> None:
        place.put(DEAD, ttl=77)
        place.spoil(KEYS.refused)
        assert place.note(word, mark="dead")[0] == "noted"
        assert bool(place.redis.exists(KEYS.refused)) is not gone

    # the memory of callers

    @pytest.mark.parametrize(
        ("word", "code", "before", "after"),
        [
            ("silent", "timeout", "", f"me:0:0:{NOW - 3}:timeout"),
            ("denied", "app_denied", "you:1:2:3:x", f"you:1:2:3:x me:0:0:{NOW}:app_denied"),
            ("silent", "timeout", "me:5:2:3:white_list", f"me:5:2:{NOW - 3}:white_list"),
            ("silent", "timeout", "me:5:2:3:", f"me:5:2:{NOW - 3}:timeout"),
            ("silent", "", "me:5:2:3:x", "me:5:2:3:x"),
            ("alive", "", "me:5:2:3:x", "me:5:2:3:x"),
        ],
    )
    def test_a_question_in_vain_is_remembered_for_its_caller(
        self, word: str, code: str, before: str, after: str, place: Place
    ) -> None:
        place.put(SETTLED | {"callers": before})
        place.note(word, code=code)
        assert place.lease()["callers"] == after

    def test_a_question_in_vain_from_before_a_clock_was_set_back_was_asked_now(self, place: Place) -> None:
        place.put(SETTLED)
        place.note("silent", code="timeout", q=NOW + 3)
        assert place.lease()["callers"] == f"me:0:0:{NOW}:timeout"

    # someone else refreshes

    @pytest.mark.parametrize(
        ("word", "ends", "at"),
        [
            ("ends", NOW + 500_000, NOW - 100_000),
            ("ends", NOW + GRACE, NOW),
            ("ends", NOW + GRACE + 1, NOW),
            ("refused", RECORDED, NOW),
        ],
    )
    def test_a_refresh_elsewhere_is_entered_at_its_own_instant(
        self, word: str, ends: int, at: int, place: Place
    ) -> None:
        place.put(SETTLED)
        place.note(word, ends=ends, others=True)
        expected = {"superseded": f" {at}", "superseded_code": CODE, "audited_at": NOW - 3, "denied": ""}
        expected["value"] = digest("shorter" if word == "ends" else "old")
        assert place.lease() == SETTLED | expected

    @pytest.mark.parametrize(
        ("lease", "how"),
        [
            (SETTLED, {"others": False}),
            (SETTLED, {"free": False}),
            (DEAD, {"mark": ""}),
            (SETTLED, {"mark": "dead"}),
            (SETTLED | {"superseded_code": CODE}, {}),
            (SETTLED, {"value": "=older"}),
        ],
    )
    @pytest.mark.parametrize("word", ["ends", "refused"])
    def test_our_own_fetch_seen_between_issue_and_store_is_none(
        self, word: str, lease: Fields, how: Fields, place: Place
    ) -> None:
        place.put(lease)
        given: Fields = {"others": True} | how
        place.note(word, **given)
        assert "superseded" not in place.lease()

    def test_the_last_five_refreshes_elsewhere_are_remembered(self, place: Place) -> None:
        instants = [str(1_600_000_000_000 + number) for number in range(5)]
        place.put(SETTLED | {"superseded": "".join(f" {each}" for each in instants), "superseded_code": OTHER_CODE})
        place.note("refused", others=True)
        assert place.lease()["superseded"] == "".join(f" {each}" for each in [*instants[1:], NOW])
        assert place.lease()["superseded_code"] == CODE

    # what is not as it should be

    @pytest.mark.parametrize("word", ["alive", "ends", "refused", "denied", "silent", "seen"])
    def test_a_lease_of_another_type_is_replaced(self, word: str, place: Place) -> None:
        place.put()
        place.spoil(KEYS.lease)
        assert place.note(word, mark="none")[0] in ("noted", "removed")
        assert place.lease()["mark_since"] == NOW

    def test_a_lease_larger_than_any_of_ours_is_replaced(self, place: Place) -> None:
        place.put(SETTLED | {"note": "x" * LARGEST})
        place.note("silent", mark="none")
        assert place.lease() == {"mark": "none", "mark_since": NOW, "denied": ""}

    def test_a_value_that_cannot_be_read_gets_the_grace_at_first_sight(self, place: Place) -> None:
        place.spoil(KEYS.value)
        place.redis.persist(KEYS.value)
        assert place.note("seen", value="?", mark="none", ends=NOW + GRACE) == ("noted", NOW, GRACE, "none")
        assert place.redis.lrange(KEYS.value, 0, -1) == [b"a list"]
        place.at(NOW + 5)
        # Not prolonged at second sight.
        assert place.note("seen", value="?", mark="none", ends=NOW + 5 + GRACE)[2] == GRACE - 5

    def test_silence_about_another_tools_value_is_counted_from_its_first_sight(self, place: Place) -> None:
        place.put(STRANGE)
        place.note("seen", mark="none")
        place.redis.pexpireat(KEYS.value, NOW + MARGIN - 98)
        place.at(NOW + MARGIN - 99)
        assert place.note("silent", mark="none", q=NOW + MARGIN - 99)[2] == 99
        assert place.lease()["mark_since"] == NOW

    @pytest.mark.parametrize("word", ["alive", "seen", "silent", "denied"])
    def test_a_lease_keeps_which_value_it_settled(self, word: str, place: Place) -> None:
        place.put(SETTLED)
        place.note(word)
        assert (place.lease()["mark"], place.lease()["value"]) == ("", digest("old"))

    @pytest.mark.parametrize("since", ["x", "1" * 16, "-1", ""])
    def test_a_mark_without_an_instant_is_as_old_as_this(self, since: str, place: Place) -> None:
        place.put(DEAD | {"mark_since": since}, ttl=77)
        assert place.note("silent", mark="dead")[2] == GRACE - 3
        assert place.lease()["mark_since"] == NOW


class TestLoad:
    def test_everything(self, place: Place) -> None:
        place.put({"attempt": "a", "fence": 7}, value="the value", ttl=50_001)
        place.complain(CODE)
        now_ms, value, ttl, lease, complaint = place.run("load")
        assert now_ms == NOW
        assert (value, ttl, complaint) == (b"the value", 50_001, CODE.encode())
        assert lease == b"attempt\na\nfence\n7"

    @pytest.mark.keys_without_ttl("other tools set none")
    def test_a_value_without_a_ttl(self, place: Place) -> None:
        place.put(ttl=FOREVER)
        assert place.run("load")[1:3] == [b"old", FOREVER]
        place.redis.delete(KEYS.value)

    @pytest.mark.parametrize("note", ["two\nlines", "\n", "three\nlines\n"])
    def test_a_line_break_among_the_fields(self, note: str, place: Place) -> None:
        place.put({"attempt": "a", "outcome": note})
        assert place.run("load")[3] == [b"attempt", b"a", b"outcome", note.encode()]

    def test_nothing(self, place: Place) -> None:
        assert place.run("load")[1:] == [None, GONE, [], None]

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_another_type(self, number: int, place: Place) -> None:
        place.spoil(KEYS[number])
        expected: list[object] = [None, [], None]
        expected[number] = 0
        value, ttl, *rest = place.run("load")[1:]
        assert [value, *rest] == expected
        assert ttl == (600_000 if number == 0 else GONE)

    @pytest.mark.parametrize(("length", "given"), [(LARGEST, b"x" * LARGEST), (LARGEST + 1, 0)])
    def test_more_than_any_of_ours(self, length: int, given: object, place: Place) -> None:
        place.put(value="x" * length)
        place.complain("x" * length)
        assert place.run("load")[1:] == [given, LEFT, [], given]

    @pytest.mark.parametrize("break_", ["", "\n"])
    @pytest.mark.parametrize(("length", "too_large"), [(LARGEST, False), (LARGEST + 1, True)])
    def test_a_lease_larger_than_any_of_ours(self, length: int, too_large: bool, break_: str, place: Place) -> None:
        place.put({"note": break_ + "x" * (length - len(f"note\n{break_}"))})
        assert (place.run("load")[3] == 0) is too_large

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_one_key_that_may_not_be_read_is_not_missing(self, number: int, place: Place) -> None:
        with pytest.raises(redis.ResponseError, match="may not"):
            place.run("load", forbidden=KEYS[number])


@pytest.fixture
def without(place: Place) -> Iterator[Any]:
    """Makes a client that may not run a command."""
    clients: list[redis.Redis] = []

    def make(command: str) -> redis.Redis:
        place.redis.execute_command("ACL", "SETUSER", "half", "reset", "on", ">half", "~*", "+@all", f"-{command}")
        clients.append(place.server.client(username="half", password="half"))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    place.redis.execute_command("ACL", "DELUSER", "half")


@pytest.mark.parametrize("command", ["get", "hgetall"])
@pytest.mark.parametrize("script", ["load", "acquire", "finish", "note"])
def test_what_may_not_be_read_is_not_missing(script: str, command: str, without: Any, place: Place) -> None:
    place.put(BEGUN)
    before = place.all()
    call: dict[str, tuple[object, ...]] = {
        "load": (),
        "acquire": ("b", "me", "=old", "a", WORK, FLIGHT, GRACE, TICK, GRACE, DAY, 0),
        "finish": ("a", "me", "refused", "", 0, 0, 0, -1, "", "", "=old", RECORDED, GRACE, DAY),
        "note": ("alive", CODE, "=old", "a", 1, NOW, RECORDED, "", 0, "me", "", GRACE, MARGIN, AUDIT, DAY),
    }
    client = without(command)
    if (script, command) == ("acquire", "get"):
        place.redis.hset(KEYS.lease, "locked_until", 0)
        before = place.all()
    with pytest.raises(redis.ResponseError, match=r"permission|can't run"):
        place.run(script, *call[script], client=client)
    assert place.all() == before
