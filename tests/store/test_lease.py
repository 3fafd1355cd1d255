"""What the Lua scripts promise in their head comments, on a real Redis: repeats, races, clock steps, garbage.

What each script writes, to the millisecond, is in test_scripts.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.crc import key_slot

from support.clients import client_of
from support.redis_server import RedisServer
from support.tcp_proxy import Act, TcpProxy
from support.waiting import wait_until
from token_refresher.domain.model import Acquired, Kind, Lease, Record, Snapshot, Target, Word
from token_refresher.domain.policy import Policy
from token_refresher.store.keys import keys_of
from token_refresher.store.record_json import write_record
from token_refresher.store.redis_store import RedisStore, _script

# A command that gets no answer is given up after this; a healthy Redis answers within a millisecond.
POLICY = Policy(redis_timeout_s=1.0)
LOCK_MS = 90_000
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
LIFE_S = 7200
# Seconds between reading a clock here and in Redis, on a loaded machine.
NEARLY_MS = 5000

ISSUED, REFUSED, UNKNOWN = OUTCOMES = ("issued", "refused", "unknown")
STEPS_S = [30, -30, 900, -900, 90_000, -90_000]
WORDS = list(Word)
BREAKS = [Act.CUT_BEFORE, Act.CUT_AFTER, Act.DROP_REPLY]


def last_line(script: str) -> str:
    """What only the text of that script holds, to tell a command by on the wire."""
    return _script(script).splitlines()[-1]


ACQUIRE, FINISH, NOTE = (last_line(script).encode() for script in ("acquire", "finish", "note"))


class Bench:
    """One target on one Redis: the store under test, and a client beside it, to look and to spoil."""

    def __init__(self, server: RedisServer, port: int = 0) -> None:
        self.server = server
        self.redis: Any = server.client()
        self._client = client_of(f"redis://127.0.0.1:{port or server.port}/0", POLICY)
        self.store = RedisStore(self._client, POLICY, "", lambda _seconds: None)
        self.keys = keys_of(TARGET)

    def close(self) -> None:
        self._client.close()

    def now_ms(self) -> int:
        reply = self.redis.time()
        return int(reply[0]) * 1000 + int(reply[1]) // 1000

    def seen(self) -> Snapshot:
        return self.store.read(TARGET)

    def lease(self) -> Lease:
        return self.seen().lease

    def acquire(self, attempt: str = "a", caller: str = "me", seen: Snapshot | None = None) -> Acquired:
        return self.store.acquire(seen or self.seen(), attempt, caller)

    def held(self, attempt: str = "a", caller: str = "me") -> Snapshot:
        acquired = self.acquire(attempt, caller)
        assert acquired.held
        return acquired.snapshot

    def issue(
        self, held: Snapshot, code: str, *, life_s: float = LIFE_S, caller: str = "me", pauses: Sequence[float] = (0.0,)
    ) -> str:
        """End an attempt with a credential that lives from now on by Redis's clock."""
        now_ms = self.now_ms()
        record = Record(code, int(now_ms / 1000 + life_s), now_ms // 1000, held.lease.fence)
        return self.store.finish(
            held, caller, ISSUED, ISSUED, record=record, sent_ms=now_ms, life_s=LIFE_S, pauses=pauses
        )

    def end(self, held: Snapshot, outcome: str, code: str = "newer", wait_s: float | None = 60) -> str:
        if outcome == ISSUED:
            return self.issue(held, code)
        return self.store.finish(held, "me", outcome, outcome, wait_s=wait_s, code="a_code")

    def renew(self, attempt: str, code: str, caller: str = "me") -> Snapshot:
        """A whole attempt that goes well."""
        held = self.held(attempt, caller)
        assert self.issue(held, code, caller=caller) == "done"
        return held

    def note(self, word: Word, seen: Snapshot | None = None, **more: Any) -> Snapshot | None:
        return self.store.note(seen or self.seen(), word, "me", **more)

    def code(self) -> str | None:
        record = self.seen().record
        return record.code if isinstance(record, Record) else None

    def all(self) -> dict[str, Any]:
        """Everything that is stored for the target, but for what Redis counts down."""
        lease = self.redis.hgetall(self.keys.lease)
        return {"value": self.redis.get(self.keys.value), "lease": lease}

    def ttl_ms(self, key: str) -> int:
        return int(self.redis.pttl(key))

    def lasts(self) -> int:
        """For how many seconds readers still find the value, to the next ten."""
        return round(self.ttl_ms(self.keys.value) / 10_000) * 10


@pytest.fixture
def bench(redis_server: RedisServer) -> Iterator[Bench]:
    bench = Bench(redis_server)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def _movable() -> Iterator[RedisServer]:
    with RedisServer(faketime=True) as server:
        yield server


@pytest.fixture
def moved(_movable: RedisServer) -> Iterator[Bench]:
    """A Bench whose clock can be moved."""
    _movable.set_offset(0)
    _movable.flush()
    bench = Bench(_movable)
    yield bench
    bench.close()
    _movable.flush()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def behind(redis_server: RedisServer, proxy: TcpProxy) -> Iterator[Bench]:
    """A Bench that reaches its Redis through `proxy`."""
    bench = Bench(redis_server, proxy.port)
    yield bench
    bench.close()


class TestOneAttemptAtATime:
    def test_of_many_attempts_at_once_one_gets_the_lease(self, bench: Bench) -> None:
        attempts = [f"attempt-{n}" for n in range(24)]
        snapshot, barrier = bench.seen(), threading.Barrier(len(attempts))
        got: list[Snapshot] = []

        def try_it(attempt: str) -> None:
            barrier.wait()
            acquired = bench.store.acquire(snapshot, attempt, attempt)
            if acquired.held:
                got.append(acquired.snapshot)

        threads = [threading.Thread(target=try_it, args=(attempt,)) for attempt in attempts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [snapshot.lease.attempt for snapshot in got] == [bench.lease().attempt]

    def test_who_is_turned_away_learns_what_is_there_now(self, bench: Bench) -> None:
        old = bench.seen()
        bench.renew("a", "first")
        changed = bench.acquire("b", seen=old)
        assert not changed.held
        assert replace(changed.snapshot, now_ms=0, ttl_ms=0) == replace(bench.seen(), now_ms=0, ttl_ms=0)
        bench.held("b")
        locked = bench.acquire("c")
        assert not locked.held
        assert (locked.snapshot.lease, locked.snapshot.raw) == (bench.lease(), bench.seen().raw)

    def test_the_lock_ends_by_itself(self, moved: Bench) -> None:
        moved.held("a")
        moved.server.advance(80)
        assert not moved.acquire("b").held
        moved.server.advance(11)
        assert moved.acquire("b").held

    def test_a_late_duplicate_of_an_earlier_attempt_takes_no_lease(self, moved: Bench) -> None:
        old = moved.seen()
        moved.renew("a", "first")
        moved.renew("b", "second")
        before = moved.all()
        assert not moved.acquire("a", seen=old).held
        assert moved.all() == before

    def test_one_fetch_renews_for_all_who_saw_the_same(self, bench: Bench) -> None:
        seen = bench.seen()
        bench.renew("a", "code", caller="you")
        for attempt in ("b", "c"):
            assert not bench.acquire(attempt, seen=seen).held
        assert bench.lease().settled

    def test_a_reader_never_sees_one_attempt_s_value_with_another_one_s_lease(self, bench: Bench) -> None:
        stop, torn = threading.Event(), []

        def read() -> None:
            while not stop.is_set():
                snapshot = bench.seen()
                if isinstance(snapshot.record, Record) and snapshot.lease.settled:
                    torn.extend([snapshot] if snapshot.record.fence != snapshot.lease.fence else [])

        reader = threading.Thread(target=read)
        reader.start()
        for n in range(50):
            bench.renew(f"a{n}", f"code-{n}")
        stop.set()
        reader.join()
        assert torn == []


class TestFence:
    def grown(self, bench: Bench, before: int) -> None:
        held = bench.held("next")
        assert held.lease.fence > before
        # A reader can only see it in the value.
        bench.issue(held, "newer")
        record = bench.seen().record
        assert isinstance(record, Record)
        assert record.fence == held.lease.fence

    def test_it_grows_with_every_attempt_and_not_with_its_repeat(self, moved: Bench) -> None:
        fences = []
        for n in range(4):
            held = moved.held(f"a{n}")
            assert moved.held(f"a{n}").lease.fence == held.lease.fence
            fences.append(held.lease.fence)
            moved.end(held, REFUSED)
        assert fences == sorted(set(fences))

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_it_only_grows_when_the_clock_steps(self, step_s: int, moved: Bench) -> None:
        fence = moved.renew("a", "code").lease.fence
        moved.server.advance(step_s)
        self.grown(moved, fence)

    @pytest.mark.parametrize("step_s", [0, -30, -900, -90_000])
    def test_it_only_grows_when_the_lease_hash_was_lost_and_the_clock_went_back(
        self, step_s: int, moved: Bench
    ) -> None:
        fence = moved.renew("a", "code").lease.fence
        moved.server.advance(step_s)
        moved.redis.delete(moved.keys.lease)
        self.grown(moved, fence)

    def test_it_grows_beyond_that_of_a_value_which_another_machine_wrote(self, bench: Bench) -> None:
        ahead = bench.now_ms() + 1_000_000_000
        bench.renew("a", "code")
        record = Record("theirs", bench.now_ms() // 1000 + 3600, None, ahead)
        bench.redis.set(bench.keys.value, write_record(TARGET.kind, record), ex=3600)
        self.grown(bench, ahead)

    @pytest.mark.parametrize("fence", [10**15, 8_999_999_999_999_999, 2**53 - 1])
    def test_a_huge_fence_in_a_value_is_outgrown_or_replaced_by_one_that_grows(self, fence: int, bench: Bench) -> None:
        record = Record("theirs", bench.now_ms() // 1000 + 3600, None, fence)
        bench.redis.set(bench.keys.value, write_record(TARGET.kind, record), ex=3600)
        fences = [bench.renew(f"a{n}", f"code-{n}").lease.fence for n in range(3)]
        assert fences == sorted(set(fences))
        assert fences[0] > 0


class TestRepeats:
    """A reply that is lost makes the store send its command once more."""

    @pytest.mark.parametrize("act", BREAKS)
    def test_an_attempt_is_not_locked_out_by_itself(self, act: Act, behind: Bench, proxy: TcpProxy) -> None:
        snapshot = behind.seen()
        script = proxy.script(act, ACQUIRE)
        acquired = behind.acquire("a", seen=snapshot)
        script.wait_reached()
        assert acquired.held
        assert acquired.snapshot.lease == behind.lease()
        assert behind.lease().caller("me").failures == 1

    @pytest.mark.parametrize("act", BREAKS)
    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_an_end_counts_once(self, outcome: str, act: Act, behind: Bench, proxy: TcpProxy) -> None:
        held = behind.held("a")
        script = proxy.script(act, FINISH)
        assert behind.end(held, outcome, "code") == "done"
        script.wait_reached()
        assert behind.lease().caller("me").failures == (0 if outcome == ISSUED else 1)
        assert behind.code() == ("code" if outcome == ISSUED else None)

    @pytest.mark.parametrize("act", [Act.CUT_AFTER, Act.DROP_REPLY])
    def test_an_orphan_is_not_called_lost(self, act: Act, behind: Bench, proxy: TcpProxy) -> None:
        held = behind.held("a")
        behind.redis.delete(behind.keys.lease)
        proxy.script(act, FINISH)
        assert behind.issue(held, "code") in ("orphan", "done")
        assert behind.code() == "code"

    def test_a_code_is_stored_however_often_the_connection_breaks(self, behind: Bench, proxy: TcpProxy) -> None:
        held = behind.held("a")
        for act in (Act.CUT_BEFORE, Act.CUT_AFTER, Act.CUT_BEFORE):
            proxy.script(act, FINISH)
        assert behind.issue(held, "code", pauses=(0.0, 0.0, 0.0)) == "done"
        assert (behind.code(), behind.lease().settled, behind.lease().locked_until) == ("code", True, 0)

    def test_a_refresh_elsewhere_is_entered_once(self, behind: Bench, proxy: TcpProxy) -> None:
        behind.renew("a", "code")
        snapshot = behind.seen()
        proxy.script(Act.CUT_AFTER, NOTE)
        behind.note(Word.ENDS, snapshot, ends_at=behind.now_ms() // 1000 + 500, superseded=True)
        assert len(behind.lease().superseded) == 1
        assert behind.lasts() == 500

    def test_a_late_duplicate_of_an_old_end_leaves_a_newer_code_alone(self, bench: Bench) -> None:
        held = bench.renew("a", "first")
        bench.renew("b", "second")
        assert bench.issue(held, "first") == "lost"
        assert bench.code() == "second"

    def test_a_late_duplicate_held_on_an_old_connection_leaves_a_newer_code_alone(
        self, behind: Bench, bench: Bench, proxy: TcpProxy
    ) -> None:
        held = behind.held("a")
        delayed = proxy.script(Act.HOLD, FINISH)
        # Its first sending is held up and times out; its repeat on a new connection is carried out.
        assert behind.issue(held, "first") == "done"
        bench.renew("b", "second")
        before = bench.redis.info("commandstats")["cmdstat_eval"]["calls"]
        delayed.release()
        wait_until("it is carried out", lambda: bench.redis.info("commandstats")["cmdstat_eval"]["calls"] > before)
        assert bench.code() == "second"


def marked_late(bench: Bench, attempt: str) -> bool:
    """Whether an end of that attempt came when its lease was over; the mark differs from the attempt's first one."""
    return re.fullmatch(rf"{attempt}-\d{{13}}", bench.lease().mark) is not None


class TestStories:
    """What each condition of the scripts is for: the shortest story in which a refused one would stay without it.

    A copy "is gone" where nothing more comes from it, and "stops" where it goes on later.
    """

    @pytest.fixture
    def moved(self, moved: Bench) -> Bench:
        moved.renew("first", "code")
        return moved

    def gone_after(self, moved: Bench, seconds: float) -> None:
        moved.server.advance(seconds)
        assert moved.code() is None

    def test_who_is_gone_after_its_request_leaves_no_code_beyond_the_grace(self, moved: Bench) -> None:
        moved.held("a")
        moved.server.advance(595)
        assert moved.code() == "code"
        self.gone_after(moved, 6)

    def test_the_next_attempt_does_not_prolong_what_the_first_one_cut(self, moved: Bench) -> None:
        moved.held("a")
        moved.server.advance(120)
        moved.held("b")
        self.gone_after(moved, 481)

    def test_a_definite_no_restores_nothing_that_an_earlier_request_may_have_ended(self, moved: Bench) -> None:
        moved.held("a")
        moved.server.advance(120)
        assert moved.end(moved.held("b"), REFUSED) == "done"
        assert (moved.lease().mark, moved.lease().locked_until) == ("a", 0)
        self.gone_after(moved, 481)

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_the_late_end_of_one_that_stopped_neither_opens_another_s_lock_nor_replaces_its_code(
        self, outcome: str, moved: Bench
    ) -> None:
        late = moved.held("late")
        moved.server.advance(91)
        held = moved.held("b")
        assert moved.end(late, outcome, "older") == "lost"
        assert (moved.code(), moved.lease().attempt, moved.lease().locked_until) == (
            "code",
            "b",
            held.lease.locked_until,
        )
        assert marked_late(moved, "late") is (outcome != REFUSED)
        assert moved.end(held, ISSUED, "newer") == "done"
        assert moved.code() == "newer"
        # A credential that was fetched meanwhile may have ended this one.
        assert (moved.lease().settled, moved.lasts()) == ((True, 7200) if outcome == REFUSED else (False, 600))

    def test_a_late_end_is_entered_where_no_other_attempt_followed(self, moved: Bench) -> None:
        held = moved.held("a")
        moved.server.advance(91)
        assert moved.issue(held, "second") == "lost"
        assert moved.code() == "code"
        assert marked_late(moved, "a")
        self.gone_after(moved, 510)

    def test_a_late_end_marks_what_another_has_settled(self, moved: Bench) -> None:
        late = moved.held("late")
        moved.server.advance(91)
        moved.renew("b", "newer")
        assert moved.end(late, UNKNOWN) == "lost"
        assert moved.code() == "newer"
        assert marked_late(moved, "late")
        assert moved.note(Word.ALIVE)
        assert moved.lease().settled

    def test_without_a_definite_end_the_cut_and_the_lock_stay(self, moved: Bench) -> None:
        moved.end(moved.held("a"), UNKNOWN)
        assert not moved.acquire("b").held
        self.gone_after(moved, 601)

    def test_a_good_word_of_the_time_of_a_lock_does_not_settle_after_it(self, moved: Bench) -> None:
        moved.held("a")
        read = moved.seen()
        moved.server.advance(91)
        noted = moved.note(Word.ALIVE, read)
        assert noted
        assert noted.lease.mark == moved.lease().mark == "a"
        # It lives for the grace from the question, not from the note, and not to its recorded end.
        self.gone_after(moved, 510)

    def test_a_good_word_does_not_settle_what_an_attempt_marked_after_the_question(self, moved: Bench) -> None:
        read = moved.seen()
        moved.held("a")
        moved.server.advance(120)
        assert moved.note(Word.ALIVE, read)
        assert not moved.lease().settled
        self.gone_after(moved, 481)

    def test_a_good_word_does_not_settle_behind_a_lease_that_was_lost(self, moved: Bench) -> None:
        held = moved.held("a")
        moved.redis.delete(moved.keys.lease)
        read = moved.seen()
        assert moved.issue(held, "newer") == "lost"
        assert moved.note(Word.ALIVE, read)
        assert moved.code() == "code"
        assert marked_late(moved, "a")

    def test_a_good_word_does_not_settle_what_the_late_end_of_the_same_attempt_marked_since(self, moved: Bench) -> None:
        held = moved.held("a")
        moved.server.advance(91)
        read = moved.seen()
        assert moved.end(held, UNKNOWN) == "lost"
        assert moved.note(Word.ALIVE, read)
        assert marked_late(moved, "a")
        self.gone_after(moved, 601)

    def test_a_good_word_under_a_lock_keeps_a_code_that_nothing_ended(self, moved: Bench) -> None:
        moved.held("a")
        for _ in range(4):
            moved.server.advance(240)
            assert moved.note(Word.ALIVE, replace(moved.seen(), lease=Lease()))
        assert (moved.code(), moved.lasts(), moved.lease().mark) == ("code", 600, "a")

    @pytest.mark.parametrize("word", WORDS)
    def test_an_answer_about_the_old_code_says_nothing_about_the_new_one(self, word: Word, moved: Bench) -> None:
        read = moved.seen()
        moved.server.advance(60)
        moved.renew("a", "newer")
        before = moved.all()
        assert moved.note(word, read, ends_at=moved.now_ms() // 1000 + 5, superseded=True, code="timeout") is None
        assert moved.all() == before
        assert moved.lasts() == 7200

    @pytest.mark.parametrize("stopped_s", [0, 60, 85])
    def test_an_end_that_checkcode_names_cuts_under_another_s_lock(self, stopped_s: int, moved: Bench) -> None:
        read = moved.seen()
        moved.held("a")
        moved.server.advance(stopped_s)
        noted = moved.note(Word.ENDS, read, ends_at=moved.now_ms() // 1000 + 300, superseded=True)
        assert noted
        assert noted.live == moved.seen().live
        assert (moved.lasts(), moved.lease().superseded) == (300, ())
        assert moved.acquire("a").held

    def test_a_code_that_checkcode_refuses_goes_under_another_s_lock(self, moved: Bench) -> None:
        moved.held("a")
        noted = moved.note(Word.REFUSED)
        assert noted
        assert (noted.record, moved.code(), moved.lease().mark) == (None, None, "a")
        assert not moved.acquire("b").held

    def test_total_silence_keeps_a_code_for_a_margin_and_no_longer(self, moved: Bench) -> None:
        """The one row by which a credential may stay that was ended: only while runs ask and nothing answers."""
        moved.held("a")
        found = []
        for _ in range(10):
            moved.server.advance(240)
            if moved.code():
                moved.note(Word.SILENT, code="timeout")
            found.append(moved.code() is not None)
        assert found == [True] * 7 + [False] * 3

    def test_silence_keeps_no_code_that_a_reader_complains_of(self, moved: Bench) -> None:
        moved.held("a")
        live = moved.seen().live
        assert live
        moved.redis.set(moved.keys.refused, live.fingerprint, ex=600)
        moved.server.advance(240)
        moved.note(Word.SILENT)
        self.gone_after(moved, 361)

    def test_a_copy_that_points_elsewhere_does_not_deny_a_code_away_that_another_one_finds_good(
        self, moved: Bench
    ) -> None:
        for _ in range(5):
            assert moved.note(Word.DENIED, code="app_denied")
            # The denying copy waits; any other one has not asked since.
            lease = moved.lease()
            assert lease.caller("other").asked_at < lease.denied_at <= lease.caller("me").asked_at
            assert moved.note(Word.ALIVE)
            moved.server.advance(240)
        assert moved.code() == "code"
        assert moved.note(Word.DENIED)
        moved.server.advance(POLICY.denial_s + 1)
        noted = moved.note(Word.DENIED)
        assert noted
        assert (noted.record, moved.code()) == (None, None)

    def test_a_copy_that_dies_at_each_start_loses_its_turn_to_the_one_that_brought_a_code(self, moved: Bench) -> None:
        moved.renew("b", "newer", caller="healthy")
        moved.held("c", caller="sick")
        lease = moved.lease()
        assert (lease.ended, lease.by, lease.issued_by) == (False, "sick", "healthy")
        sick = lease.caller("sick")
        assert (sick.failures, sick.code, sick.until) == (1, "no_end", lease.locked_until + 60_000)
        moved.server.advance(91)
        moved.renew("d", "newest", caller="healthy")
        assert moved.lease().ended
        # An attempt of its own without an end ends its precedence.
        moved.held("e", caller="healthy")
        moved.server.advance(91)
        assert moved.held("f", caller="sick").lease.issued_by == ""


class TestFirstSight:
    """A value of another tool, without a TTL or with one too long, needs no platform to be bounded."""

    def put(self, bench: Bench, left_s: int, ex: int | None = None) -> Snapshot:
        record = Record("theirs", bench.now_ms() // 1000 + left_s)
        bench.redis.set(bench.keys.value, write_record(TARGET.kind, record), ex=ex)
        return bench.seen()

    @pytest.mark.parametrize(("left_s", "ex", "lasts"), [(5400, None, 600), (5400, 7200, 600), (300, None, 300)])
    def test_it_gets_the_grace_until_checkcode_knows_it(
        self, left_s: int, ex: int | None, lasts: int, bench: Bench
    ) -> None:
        seen = bench.store.see(self.put(bench, left_s, ex), "me")
        assert seen
        assert bench.lasts() == lasts == round((seen.ttl_ms or 0) / 10_000) * 10
        assert (seen.lease.mark, bench.lease().exists) == ("none", True)
        assert bench.note(Word.ALIVE)
        assert bench.lasts() == left_s

    @pytest.mark.parametrize("value", [b"garbage", b"x" * 70_000])
    def test_one_that_cannot_be_read_keeps_the_grace_and_is_not_prolonged(self, value: bytes, moved: Bench) -> None:
        moved.redis.set(moved.keys.value, value)
        assert moved.store.see(moved.seen(), "me")
        assert moved.lasts() == 600
        moved.server.advance(300)
        assert moved.store.see(moved.seen(), "me")
        assert moved.lasts() == 300


class TestClockSteps:
    """Redis's clock may be set, forwards and back, at any moment."""

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_within_an_attempt_its_code_is_stored_or_the_target_is_in_doubt(self, step_s: int, moved: Bench) -> None:
        moved.renew("a", "first")
        held = moved.held("b")
        moved.server.advance(step_s)
        record = Record("second", held.now_ms // 1000 + LIFE_S, None, held.lease.fence)
        ended = moved.store.finish(held, "me", ISSUED, "", record=record, sent_ms=held.now_ms)
        if step_s in (900, 90_000):
            assert ended == "lost"
            assert not moved.lease().settled
        else:
            assert ended == "done"
            assert moved.code() == "second"
            assert moved.lease().audited_at <= moved.now_ms()

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_a_lock_without_an_end_is_over_whatever_the_step(self, step_s: int, moved: Bench) -> None:
        moved.held("gone")
        moved.server.advance(step_s)
        # A small step back looks like a fresh lock: it prolongs the lock by as much.
        moved.server.advance(91 + 30)
        assert moved.acquire("b").held

    @pytest.mark.parametrize("step_s", [-30, -900, -90_000])
    def test_who_loses_its_lock_to_a_step_back_cannot_settle_behind_the_other_s_back(
        self, step_s: int, moved: Bench
    ) -> None:
        first = moved.held("a")
        moved.server.advance(step_s)
        moved.redis.hset(moved.keys.lease, "locked_until", moved.now_ms() + LOCK_MS + NEARLY_MS)
        second = moved.held("b")
        assert moved.issue(first, "older") == "lost"
        assert moved.issue(second, "newer") == "done"
        assert moved.code() == "newer"
        assert not moved.lease().settled

    @pytest.mark.parametrize(("step_s", "lasts"), [(300, 300), (-300, 600), (-90_000, 600)])
    def test_the_next_run_bounds_the_cut_again(self, step_s: int, lasts: int, moved: Bench) -> None:
        """Every TTL is too long by as much as a clock is set back."""
        moved.renew("a", "code")
        moved.held("b")
        moved.server.advance(step_s)
        assert moved.store.see(moved.seen(), "me")
        assert moved.lasts() == lasts

    @pytest.mark.parametrize("word", [Word.ALIVE, Word.SILENT])
    def test_a_question_from_before_a_step_back_is_no_younger_than_its_note(self, word: Word, moved: Bench) -> None:
        moved.renew("a", "code")
        moved.held("b")
        read = moved.seen()
        moved.server.advance(-3600)
        moved.store.see(moved.seen(), "me")
        noted = moved.note(word, read)
        assert noted
        assert moved.lasts() == 600
        assert moved.lease().audited_at <= moved.now_ms() + 3600_000 * (word is Word.SILENT)


def spoil_type(bench: Bench, key: str) -> None:
    bench.redis.delete(key)
    bench.redis.rpush(key, "a", "list")
    bench.redis.expire(key, 600)


FIELDS = [
    "attempt", "fence", "work_until", "locked_until", "before", "mark", "mark_since", "by", "issued_by", "callers",
    "audited_at", "denied", "life", "outcome", "outcome_at", "superseded", "superseded_code", "finished",
]  # fmt: skip
GARBAGE = [
    b"", b"abc", b"-5", b"1.5", b" 7 ", b"0x10", b"1e3", b"1e400", b"nan", b"inf", b"9" * 30, b"9223372036854775807",
    b"8999999999999999", b"\xff\xfe\x00", "九".encode(), b"x" * 5000, b"me:x:y:z:", b"me:1:2:3:4 me:" + b"9" * 400,
    b"a:b\nc",
]  # fmt: skip


class TestGarbage:
    """What other hands left in the private keys is replaced, and never fatal."""

    def spoil(self, bench: Bench, field: str, garbage: bytes) -> None:
        bench.redis.hset(bench.keys.lease, field, garbage)

    @pytest.mark.slow
    @pytest.mark.parametrize("field", FIELDS)
    def test_in_any_field_of_the_lease_it_stops_no_attempt(self, field: str, bench: Bench) -> None:
        number = itertools.count()
        for garbage in GARBAGE:
            for outcome in OUTCOMES:
                bench.redis.delete(bench.keys.lease)
                bench.renew("a", "code")
                self.spoil(bench, field, garbage)
                held = bench.held(f"b{next(number)}")
                assert held.lease.caller("me").failures >= 1
                assert bench.end(held, outcome) == "done", (garbage, outcome)
                assert bench.lease().caller("me").failures == (
                    0 if outcome == ISSUED else held.lease.caller("me").failures
                )

    @pytest.mark.slow
    @pytest.mark.parametrize("field", FIELDS)
    def test_in_any_field_under_an_attempt_its_code_is_stored_or_it_is_in_doubt(self, field: str, bench: Bench) -> None:
        for garbage in GARBAGE:
            bench.redis.delete(bench.keys.lease, bench.keys.value)
            held = bench.held("a")
            self.spoil(bench, field, garbage)
            ended = bench.issue(held, "code")
            if ended == "done":
                assert bench.code() == "code", garbage
                assert bench.lease().settled or bench.lasts() == 600, garbage
            else:
                assert ended == "lost", garbage
                assert not bench.lease().settled, garbage

    @pytest.mark.slow
    @pytest.mark.parametrize("field", FIELDS)
    def test_in_any_field_checkcode_s_answer_can_be_noted(self, field: str, bench: Bench) -> None:
        # Only these are read for some words and not for others.
        words = WORDS if field in ("denied", "callers", "superseded", "superseded_code") else [Word.ALIVE, Word.SILENT]
        for word, garbage in itertools.product(words, GARBAGE):
            bench.redis.delete(bench.keys.lease)
            bench.renew("a", "code")
            self.spoil(bench, field, garbage)
            noted = bench.note(word, ends_at=bench.now_ms() // 1000 + 500, superseded=True, code="a_code")
            assert noted, (word, garbage)
            assert bench.code() == (None if word is Word.REFUSED else "code"), (word, garbage)
            assert noted.lease.mark == bench.lease().mark

    def test_it_never_makes_a_target_look_settled(self, bench: Bench) -> None:
        for garbage in GARBAGE[1:]:
            bench.redis.delete(bench.keys.lease)
            bench.renew("a", "code")
            self.spoil(bench, "mark", garbage)
            assert not bench.lease().settled, garbage
            held = bench.held("b")
            assert held.lease.before, garbage
            bench.end(held, REFUSED)
            assert not bench.lease().settled, garbage
            assert bench.lasts() == 600, garbage

    @pytest.mark.parametrize("field", ["mark", "mark_since", "attempt", "fence", "locked_until", "before", "callers"])
    def test_a_missing_field_stops_no_attempt_and_settles_nothing(self, field: str, bench: Bench) -> None:
        bench.held("gone")
        bench.redis.hset(bench.keys.lease, "locked_until", "0")
        bench.redis.hdel(bench.keys.lease, field)
        assert not bench.lease().settled
        held = bench.held("b")
        assert held.lease.before
        assert bench.issue(held, "code") == "done"

    def test_after_it_the_fence_that_readers_see_is_that_of_the_lease(self, bench: Bench) -> None:
        for n, garbage in enumerate(GARBAGE):
            first = bench.renew(f"a{n}", f"first-{n}").lease.fence
            self.spoil(bench, "fence", garbage)
            second = bench.renew(f"b{n}", f"second-{n}").lease.fence
            assert second > first > 0, garbage

    def test_an_overgrown_lease_holds_nothing_up(self, bench: Bench) -> None:
        """No refresher writes so much; who did may have written anything."""
        bench.renew("a", "code")
        self.spoil(bench, "more", b"x" * 70_000)
        assert bench.lease() == Lease()
        bench.renew("b", "newer")
        assert (bench.code(), bench.lease().settled) == ("newer", True)
        assert not bench.redis.hexists(bench.keys.lease, "more")

    @pytest.mark.parametrize("word", WORDS)
    @pytest.mark.parametrize("key", ["lease", "refused", "value"])
    def test_keys_of_a_wrong_type_are_never_fatal(self, key: str, word: Word, bench: Bench) -> None:
        bench.renew("a", "code")
        snapshot = bench.seen()
        spoil_type(bench, getattr(bench.keys, key))
        noted = bench.note(word, snapshot, ends_at=bench.now_ms() // 1000 + 500)
        assert (noted is None) is (key == "value")
        assert bench.seen().complaint is None


class TestFullServer:
    """Over its maxmemory, with noeviction, Redis refuses whatever may take memory."""

    @pytest.fixture
    def full(self, redis_server: RedisServer) -> Iterator[Bench]:
        bench = Bench(redis_server)
        yield bench
        bench.redis.config_set("maxmemory", "0")
        bench.close()

    def fill(self, bench: Bench) -> None:
        bench.redis.config_set("maxmemory", "1")
        with pytest.raises(Exception, match="used memory"):
            bench.redis.set("more", "x", ex=60)

    def test_a_code_is_fetched_and_stored_where_nothing_was(self, full: Bench) -> None:
        self.fill(full)
        full.renew("a", "code")
        assert full.code() == "code"
        assert full.lease().settled

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_any_end_is_entered(self, outcome: str, full: Bench) -> None:
        full.renew("a", "code")
        held = full.held("b")
        self.fill(full)
        assert full.end(held, outcome) == "done"
        assert full.code() == ("newer" if outcome == ISSUED else "code")

    @pytest.mark.parametrize("outcome", [ISSUED, UNKNOWN])
    def test_a_late_end_is_entered(self, outcome: str, full: Bench) -> None:
        held = full.held("a")
        full.redis.hset(full.keys.lease, "attempt", "b")
        self.fill(full)
        assert full.end(held, outcome) == "lost"
        assert marked_late(full, "a")

    def test_an_orphan_is_stored(self, full: Bench) -> None:
        held = full.held("a")
        full.redis.delete(full.keys.lease)
        self.fill(full)
        assert full.issue(held, "code") == "orphan"
        assert full.code() == "code"

    @pytest.mark.parametrize("word", WORDS)
    @pytest.mark.parametrize("lease", ["with a lease", "without a lease"])
    def test_checkcode_s_answer_is_noted(self, word: Word, lease: str, full: Bench) -> None:
        full.renew("a", "code")
        if lease == "without a lease":
            full.redis.delete(full.keys.lease)
        self.fill(full)
        assert full.note(word, ends_at=full.now_ms() // 1000 + 500, superseded=True, code="a_code")
        assert full.lease().exists
        assert full.code() == (None if word is Word.REFUSED else "code")

    def test_a_ttl_is_given_at_first_sight(self, full: Bench) -> None:
        full.redis.set(full.keys.value, "garbage")
        self.fill(full)
        assert full.store.see(full.seen(), "me")
        assert full.lasts() == 600


# How many keys the store hands to each script.
SCRIPTS = {"acquire": 2, "finish": 2, "load": 3, "note": 3}


def lint(source: str, n_keys: int) -> list[str]:
    """What a proxied Tair would refuse in a script, as sentences."""
    code = re.sub(r"--.*", "", source)
    found = [f"KEYS is used other than as KEYS[n]: {use!r}" for use in re.findall(r"KEYS(?!\[[1-9]\]).{0,9}", code)]
    found += [f"{word} is used" for word in ("unpack", "loadstring", "setmetatable", "_G", "EVAL") if word in code]
    for call in re.findall(r"\.p?call\(([^)]*)", code):
        command, *arguments = (part.strip() for part in call.split(","))
        if not re.fullmatch(r"'[A-Z]+'", command):
            found.append(f"a command is made up while it runs: {command}")
        if command != "'TIME'" and not (arguments and re.fullmatch(r"KEYS\[[1-9]\]", arguments[0])):
            found.append(f"{command} has no key that is written as KEYS[n]")
        if any("KEYS" in argument for argument in arguments[1:]):
            found.append(f"{command} has more than one key")
    used = {int(n) for n in re.findall(r"KEYS\[([1-9])\]", code)}
    if not used or used != set(range(1, n_keys + 1)):
        found.append(f"it is handed {n_keys} keys and uses {sorted(used)}")
    return found


class TestProxyRules:
    """Proxied Tair looks at a script's text: literal KEYS[n] only, no unpack, at least one key, one slot."""

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_every_script_keeps_them(self, name: str) -> None:
        assert lint(_script(name), SCRIPTS[name]) == []

    @pytest.mark.parametrize(
        "broken",
        [
            "return redis.call('TIME')",
            "return redis.call('GET', KEYS[i])",
            "return redis.call('DEL', unpack(KEYS))",
            "local k = KEYS return redis.call('GET', k[1])",
            "return redis.call('GET', 'a' .. KEYS[1])",
            "return redis.call(ARGV[1], KEYS[1])",
            "return redis.call('DEL', KEYS[1], KEYS[2])",
            "return redis.call('GET', KEYS[1]) or redis.call('GET', ARGV[1])",
        ],
    )
    def test_one_that_breaks_them_is_found(self, broken: str) -> None:
        assert lint(broken, 1)

    @pytest.mark.parametrize("prefix", ["", "prod:", "a b"])
    @pytest.mark.parametrize("kind", Kind)
    def test_all_keys_of_a_target_are_in_one_slot(self, kind: Kind, prefix: str) -> None:
        keys = keys_of(Target("应用-7", kind), prefix)
        assert len({key_slot(key.encode()) for key in keys}) == 1
        assert len(set(keys)) == 3

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_the_keys_a_script_is_handed_on_the_wire_are_those_of_one_target(self, name: str, bench: Bench) -> None:
        with bench.redis.monitor() as monitor:
            bench.renew("a", "code")
            assert bench.note(Word.ALIVE)
            bench.redis.echo("the end")
            commands = itertools.takewhile(lambda each: "the end" not in each["command"], monitor.listen())
            sent = [each["command"] for each in commands if each["client_type"] != "lua"]
        found = [text for text in sent if last_line(name) in text]
        assert found
        count = SCRIPTS[name]
        for text in found:
            arguments = text.rpartition(last_line(name))[2].split()
            assert arguments[: count + 1] == [str(count), *bench.keys[:count]]
