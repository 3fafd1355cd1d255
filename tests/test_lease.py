"""What the Lua scripts promise in their head comments, one test each, on a real Redis."""

from __future__ import annotations

import itertools
import pkgutil
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.crc import key_slot

from support.clients import client_of
from support.redis_server import RedisServer
from support.tcp_proxy import Act, TcpProxy
from token_refresher.keys import keys_of
from token_refresher.model import Kind, Lease, Record, Snapshot, Target
from token_refresher.policy import Policy
from token_refresher.records import write_record
from token_refresher.store import Acquired, Store

# A command that gets no answer is given up after this; a healthy Redis answers within a millisecond.
POLICY = Policy(redis_timeout_s=0.3)
WORK_MS, LOCK_MS = 30_000, 90_000
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
LIFE_S = 7200
# Seconds between reading a clock here and in Redis, on a loaded machine.
NEARLY_MS = 5000

ISSUED, KEPT, REFUSED, RELEASED, UNKNOWN = "issued", "kept", "refused", "released", "unknown"
STEPS_S = [30, -30, 900, -900, 86400, -86400]


def source_of(script: str) -> str:
    return (pkgutil.get_data("token_refresher", f"lua/{script}.lua") or b"").decode()


def last_line(script: str) -> str:
    """What only the text of that script holds, to tell a command by on the wire."""
    return source_of(script).splitlines()[-1]


ACQUIRE, FINISH, NOTE = (last_line(script).encode() for script in ("acquire", "finish", "note"))


class Bench:
    """One target on one Redis: the store under test, and a client beside it, to look and to spoil."""

    def __init__(self, server: RedisServer, port: int = 0) -> None:
        self.server, self.redis = server, server.client()
        url = f"redis://127.0.0.1:{port or server.port}/0"
        self._client = client_of(url, POLICY)
        self.store = Store(self._client, POLICY, "", lambda _seconds: None)
        self.keys = keys_of(TARGET)

    def close(self) -> None:
        self._client.close()

    def now_ms(self) -> int:
        reply: Any = self.redis.time()
        return int(reply[0]) * 1000 + int(reply[1]) // 1000

    def seen(self) -> Snapshot:
        snapshot = self.store.load([TARGET])[0]
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def lease(self) -> Lease:
        return self.seen().lease

    def acquire(self, attempt: str = "a") -> Acquired | None:
        return self.store.acquire(self.seen(), attempt)

    def held(self, attempt: str = "a") -> Acquired:
        acquired = self.acquire(attempt)
        assert acquired is not None
        return acquired

    def finish(self, attempt: str, outcome: str, *, wait_s: float = 0, pauses: Sequence[float] = (0.0,)) -> str:
        began_ms = self.now_ms()
        return self.store.finish(
            TARGET, attempt, outcome, outcome, wait_s=wait_s, began_ms=began_ms, pauses=pauses
        )

    def issue(self, attempt: str, code: str, *, life_s: float = LIFE_S, fence: int = 1, wait_s: float = 0) -> str:
        """End an attempt with a code that lives from now on by Redis's clock."""
        expires_at = int(self.now_ms() / 1000 + life_s)
        record = Record(code, expires_at, expires_at - LIFE_S, fence)
        value = write_record(TARGET.kind, record)
        return self.store.finish(TARGET, attempt, ISSUED, ISSUED, value=value, expires_at=expires_at, wait_s=wait_s)

    def renew(self, attempt: str, code: str) -> Acquired:
        """A whole attempt that goes well."""
        held = self.held(attempt)
        assert self.issue(attempt, code, fence=held.snapshot.lease.fence) == "done"
        return held

    def code(self) -> str | None:
        record = self.seen().record
        return record.code if isinstance(record, Record) else None

    def all(self) -> dict[str, Any]:
        """Everything that is stored for the target, but for what Redis counts down."""
        reply: Any = self.redis.hgetall(self.keys.lease)
        return {"value": self.redis.get(self.keys.value), "lease": reply}

    def ttl_ms(self, key: str) -> int:
        reply: Any = self.redis.pttl(key)
        return int(reply)


@pytest.fixture
def bench(redis_server: RedisServer) -> Iterator[Bench]:
    bench = Bench(redis_server)
    yield bench
    bench.close()


@pytest.fixture
def moved(start_redis: Callable[..., RedisServer]) -> Iterator[Bench]:
    """A Bench whose clock can be moved."""
    bench = Bench(start_redis(faketime=True))
    yield bench
    bench.close()


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


def settled_at_zero(bench: Bench) -> None:
    lease = bench.lease()
    assert lease.settled
    assert lease.locked_until == 0


class TestAcquire:
    def test_it_writes_the_mark_and_the_lock_before_anything_can_be_fetched(self, bench: Bench) -> None:
        lease = bench.held("a").snapshot.lease
        now = bench.now_ms()
        assert bench.lease() == lease
        assert lease.attempt == "a"
        assert lease.work_until == pytest.approx(now + WORK_MS, abs=NEARLY_MS)
        assert lease.locked_until == lease.work_until + LOCK_MS - WORK_MS
        assert lease.unsettled_since == lease.work_until - WORK_MS

    def test_it_hands_out_the_value_as_it_is_under_the_lease(self, bench: Bench) -> None:
        bench.renew("a", "first")
        held = bench.held("b")
        assert isinstance(held.snapshot.record, Record)
        assert held.snapshot.record.code == "first"

    def test_another_attempt_is_turned_away_and_changes_nothing(self, bench: Bench) -> None:
        bench.held("a")
        before = bench.all()
        assert bench.acquire("b") is None
        assert bench.all() == before

    def test_of_many_attempts_at_once_one_gets_the_lease(self, bench: Bench) -> None:
        attempts = [f"attempt-{n}" for n in range(24)]
        snapshot, barrier = bench.seen(), threading.Barrier(len(attempts))
        got: list[Acquired] = []

        def try_it(attempt: str) -> None:
            barrier.wait()
            acquired = bench.store.acquire(snapshot, attempt)
            if acquired:
                got.append(acquired)

        threads = [threading.Thread(target=try_it, args=(attempt,)) for attempt in attempts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [acquired.attempt for acquired in got] == [bench.lease().attempt]

    def test_the_attempt_that_holds_the_lease_gets_the_same_lease_again(self, bench: Bench) -> None:
        first = bench.held("a").snapshot.lease
        before = bench.all()
        assert bench.held("a").snapshot.lease == first
        assert bench.all() == before

    @pytest.mark.parametrize("act", [Act.CUT_BEFORE, Act.CUT_AFTER, Act.DROP_REPLY])
    def test_after_a_lost_reply_the_repeat_is_not_locked_out_by_itself(
        self, act: Act, behind: Bench, proxy: TcpProxy
    ) -> None:
        snapshot = behind.seen()
        script = proxy.script(act, ACQUIRE)
        acquired = behind.store.acquire(snapshot, "a")
        script.wait_reached()
        assert acquired is not None
        assert acquired.snapshot.lease == behind.lease()

    def test_a_repeat_counts_as_one_attempt_in_the_fence(self, bench: Bench) -> None:
        fences = {bench.held("a").snapshot.lease.fence for _ in range(3)}
        assert len(fences) == 1

    @pytest.mark.parametrize("outcome", [ISSUED, KEPT, REFUSED, RELEASED])
    def test_a_late_duplicate_does_not_take_the_lease_of_a_finished_attempt_again(
        self, outcome: str, bench: Bench
    ) -> None:
        bench.held("a")
        ended = bench.issue("a", "code") if outcome == ISSUED else bench.finish("a", outcome)
        assert ended == "done"
        before = bench.all()
        assert bench.acquire("a") is None
        assert bench.all() == before

    def test_a_late_duplicate_of_one_before_the_last_locks_for_one_lease_and_loses_nothing(
        self, moved: Bench
    ) -> None:
        old = moved.seen()
        moved.renew("a", "first")
        moved.renew("b", "second")
        moved.store.acquire(old, "a")
        assert moved.code() == "second"
        moved.server.advance(91)
        assert moved.acquire("c") is not None

    def test_the_lock_ends_by_itself(self, moved: Bench) -> None:
        moved.held("a")
        moved.server.advance(80)
        assert moved.acquire("b") is None
        moved.server.advance(11)
        assert moved.acquire("b") is not None

    def test_who_comes_after_a_crash_sees_since_when_it_is_unsettled(self, moved: Bench) -> None:
        moved.renew("a", "code")
        crashed = moved.held("b").snapshot.lease
        moved.server.advance(91)
        lease = moved.held("c").snapshot.lease
        assert lease.before == lease.unsettled_since == crashed.unsettled_since

    def test_a_settled_target_is_remembered_as_settled_before(self, bench: Bench) -> None:
        bench.renew("a", "code")
        lease = bench.held("b").snapshot.lease
        assert lease.before == 0
        assert lease.unsettled_since > 0

    @pytest.mark.parametrize("ahead_s", [91, 900, 86400, 31_536_000_000])
    def test_a_lock_further_ahead_than_a_fresh_one_counts_as_over(self, ahead_s: int, bench: Bench) -> None:
        bench.held("a")
        bench.redis.hset(bench.keys.lease, "locked_until", str(bench.now_ms() + ahead_s * 1000 + NEARLY_MS))
        assert bench.acquire("b") is not None

    def test_a_lock_as_far_ahead_as_a_fresh_one_holds(self, bench: Bench) -> None:
        bench.held("a")
        bench.redis.hset(bench.keys.lease, "locked_until", str(bench.now_ms() + LOCK_MS))
        assert bench.acquire("b") is None

    def test_the_lease_hash_lives_for_a_day(self, bench: Bench) -> None:
        bench.held("a")
        assert bench.ttl_ms(bench.keys.lease) == pytest.approx(86_400_000, abs=NEARLY_MS)


class TestFence:
    def grown(self, bench: Bench, before: int) -> None:
        fence = bench.held("next").snapshot.lease.fence
        assert fence > before
        # A reader can only see it in the value.
        bench.issue("next", "newer", fence=fence)
        record = bench.seen().record
        assert isinstance(record, Record)
        assert record.fence == fence

    def test_it_grows_with_every_attempt(self, moved: Bench) -> None:
        fences = []
        for n in range(4):
            fences.append(moved.held(f"a{n}").snapshot.lease.fence)
            moved.finish(f"a{n}", REFUSED)
        assert fences == sorted(set(fences))

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_it_only_grows_when_the_clock_steps(self, step_s: int, moved: Bench) -> None:
        fence = moved.renew("a", "code").snapshot.lease.fence
        moved.server.advance(step_s)
        self.grown(moved, fence)

    @pytest.mark.parametrize("step_s", [0, -30, -900, -86400])
    def test_it_only_grows_when_the_lease_hash_was_lost_and_the_clock_went_back(
        self, step_s: int, moved: Bench
    ) -> None:
        fence = moved.renew("a", "code").snapshot.lease.fence
        moved.server.advance(step_s)
        moved.redis.delete(moved.keys.lease)
        self.grown(moved, fence)

    def test_it_grows_beyond_that_of_a_value_which_another_machine_wrote(self, bench: Bench) -> None:
        ahead = bench.now_ms() + 1_000_000_000
        bench.renew("a", "code")
        record = Record("theirs", bench.now_ms() // 1000 + 3600, None, ahead)
        bench.redis.set(bench.keys.value, write_record(TARGET.kind, record), ex=3600)
        self.grown(bench, ahead)


class TestFinish:
    def test_an_issued_code_is_stored_settled_and_unlocked_at_once(self, bench: Bench) -> None:
        bench.held("a")
        assert bench.issue("a", "code") == "done"
        assert bench.code() == "code"
        settled_at_zero(bench)
        assert bench.ttl_ms(bench.keys.value) == pytest.approx(LIFE_S * 1000, abs=NEARLY_MS)

    @pytest.mark.parametrize("outcome", [ISSUED, KEPT, REFUSED, RELEASED, UNKNOWN])
    def test_repeating_it_changes_nothing_and_counts_nothing_twice(self, outcome: str, bench: Bench) -> None:
        def finish() -> str:
            if outcome == ISSUED:
                return bench.issue("b", "newer", wait_s=60)
            return bench.finish("b", outcome, wait_s=60)

        bench.renew("a", "code")
        bench.held("b")
        assert finish() == "done"
        before = bench.all()
        assert [finish(), finish()] == ["done", "done"]
        after = bench.all()
        # When it was told so is not what is promised.
        for lease in (before["lease"], after["lease"]):
            lease.pop(b"outcome_at", None)
        assert after == before

    @pytest.mark.parametrize("act", [Act.CUT_BEFORE, Act.CUT_AFTER, Act.DROP_REPLY])
    @pytest.mark.parametrize("outcome", [ISSUED, KEPT, REFUSED, RELEASED, UNKNOWN])
    def test_after_a_lost_reply_the_repeat_counts_once(
        self, outcome: str, act: Act, behind: Bench, proxy: TcpProxy
    ) -> None:
        behind.held("a")
        script = proxy.script(act, FINISH)
        ended = behind.issue("a", "code") if outcome == ISSUED else behind.finish("a", outcome)
        script.wait_reached()
        assert ended == "done"
        assert behind.lease().failures == (1 if outcome in (REFUSED, UNKNOWN) else 0)
        assert behind.code() == ("code" if outcome == ISSUED else None)

    @pytest.mark.parametrize("act", [Act.CUT_AFTER, Act.DROP_REPLY])
    def test_after_a_lost_reply_an_orphan_is_not_called_lost(
        self, act: Act, behind: Bench, proxy: TcpProxy
    ) -> None:
        behind.held("a")
        behind.redis.delete(behind.keys.lease)
        proxy.script(act, FINISH)
        assert behind.issue("a", "code") in ("orphan", "done")
        assert behind.code() == "code"

    def test_a_code_is_stored_however_often_the_connection_breaks(self, behind: Bench, proxy: TcpProxy) -> None:
        behind.held("a")
        for act in (Act.CUT_BEFORE, Act.CUT_AFTER, Act.CUT_BEFORE):
            proxy.script(act, FINISH)
        expires_at = behind.now_ms() // 1000 + LIFE_S
        value = write_record(TARGET.kind, Record("code", expires_at))
        pauses = (0.0, 0.0, 0.0)
        ended = behind.store.finish(TARGET, "a", ISSUED, "", value=value, expires_at=expires_at, pauses=pauses)
        assert ended == "done"
        assert behind.code() == "code"
        settled_at_zero(behind)

    def test_a_late_attempt_never_writes_over_a_newer_code(self, moved: Bench) -> None:
        moved.held("late")
        moved.server.advance(91)
        moved.renew("b", "newer")
        assert moved.issue("late", "older") == "lost"
        assert moved.code() == "newer"
        assert not moved.lease().settled

    def test_a_late_attempt_does_not_write_while_another_one_works(self, moved: Bench) -> None:
        moved.renew("a", "first")
        moved.held("late")
        moved.server.advance(91)
        moved.held("b")
        before = moved.lease()
        assert moved.issue("late", "older") == "lost"
        assert moved.code() == "first"
        assert (moved.lease().attempt, moved.lease().locked_until) == ("b", before.locked_until)

    @pytest.mark.parametrize("outcome", [ISSUED, KEPT])
    def test_a_late_attempt_s_mark_outlives_the_end_of_the_one_who_works_meanwhile(
        self, outcome: str, moved: Bench
    ) -> None:
        moved.renew("a", "first")
        moved.held("late")
        moved.server.advance(91)
        moved.held("b")
        assert moved.issue("late", "older") == "lost"
        assert (moved.issue("b", "newer") if outcome == ISSUED else moved.finish("b", KEPT)) == "done"
        assert moved.code() == ("newer" if outcome == ISSUED else "first")
        assert not moved.lease().settled

    def test_a_late_attempt_s_mark_is_gone_after_the_next_whole_attempt(self, moved: Bench) -> None:
        moved.held("late")
        moved.server.advance(91)
        moved.held("b")
        moved.issue("late", "older")
        moved.issue("b", "newer")
        moved.held("c")
        assert moved.finish("c", KEPT) == "done"
        settled_at_zero(moved)

    def test_an_attempt_whose_lock_ran_out_writes_nothing_though_nobody_came_after(self, moved: Bench) -> None:
        moved.renew("a", "first")
        moved.held("b")
        moved.server.advance(91)
        assert moved.issue("b", "second") == "lost"
        assert moved.code() == "first"
        assert not moved.lease().settled

    def test_a_late_duplicate_of_an_old_end_leaves_a_newer_code_alone(self, bench: Bench) -> None:
        bench.renew("a", "first")
        bench.renew("b", "second")
        assert bench.issue("a", "first") == "lost"
        assert bench.code() == "second"

    def test_a_late_duplicate_held_on_an_old_connection_leaves_a_newer_code_alone(
        self, behind: Bench, bench: Bench, proxy: TcpProxy
    ) -> None:
        behind.held("a")
        held = proxy.script(Act.HOLD, FINISH)
        # Its first sending is held up and times out; its repeat on a new connection is carried out.
        assert behind.issue("a", "first") == "done"
        bench.renew("b", "second")
        before = bench.redis.info("commandstats")["cmdstat_eval"]["calls"]
        held.release()
        wait_until(lambda: bench.redis.info("commandstats")["cmdstat_eval"]["calls"] > before)
        assert bench.code() == "second"

    @pytest.mark.parametrize("outcome", [KEPT, REFUSED, RELEASED, UNKNOWN])
    def test_who_lost_the_lease_and_brings_no_code_changes_nothing(self, outcome: str, moved: Bench) -> None:
        moved.held("late")
        moved.server.advance(91)
        moved.held("b")
        before = moved.all()
        assert moved.finish("late", outcome) == "lost"
        assert moved.all() == before

    @pytest.mark.parametrize("outcome", [KEPT, REFUSED, RELEASED, UNKNOWN])
    def test_an_end_without_any_lease_changes_nothing(self, outcome: str, bench: Bench) -> None:
        assert bench.finish("a", outcome) == "lost"
        assert bench.all() == {"value": None, "lease": {}}

    def test_with_lease_and_value_both_gone_a_code_is_stored_and_marked_unsettled(self, bench: Bench) -> None:
        bench.held("a")
        bench.redis.delete(bench.keys.lease)
        assert bench.issue("a", "code") == "orphan"
        assert bench.code() == "code"
        assert bench.lease().exists
        assert not bench.lease().settled

    def test_with_only_the_lease_gone_a_code_of_nobody_knows_when_is_not_stored(self, bench: Bench) -> None:
        bench.renew("a", "first")
        bench.held("b")
        bench.redis.delete(bench.keys.lease)
        assert bench.issue("b", "second") == "lost"
        assert bench.code() == "first"
        assert not bench.lease().settled

    def test_a_code_that_has_expired_by_now_is_not_stored(self, bench: Bench) -> None:
        bench.held("a")
        assert bench.issue("a", "dead", life_s=-5) == "lost"
        assert bench.code() is None
        assert not bench.lease().settled

    def test_unknown_keeps_the_lock_and_the_mark(self, bench: Bench) -> None:
        held = bench.held("a").snapshot.lease
        assert bench.finish("a", UNKNOWN) == "done"
        lease = bench.lease()
        assert (lease.locked_until, lease.unsettled_since) == (held.locked_until, held.unsettled_since)
        assert lease.failures == 1
        assert bench.acquire("b") is None

    @pytest.mark.parametrize("outcome", [REFUSED, RELEASED])
    def test_a_settled_target_is_settled_again_after(self, outcome: str, bench: Bench) -> None:
        bench.renew("a", "code")
        bench.held("b")
        assert bench.finish("b", outcome) == "done"
        settled_at_zero(bench)

    @pytest.mark.parametrize("outcome", [REFUSED, RELEASED])
    def test_an_unsettled_target_stays_unsettled_since_then(self, outcome: str, moved: Bench) -> None:
        moved.renew("a", "code")
        crashed = moved.held("b").snapshot.lease
        moved.server.advance(91)
        moved.held("c")
        assert moved.finish("c", outcome) == "done"
        lease = moved.lease()
        assert lease.unsettled_since == crashed.unsettled_since
        assert lease.locked_until == 0

    def test_kept_settles_what_was_unsettled(self, moved: Bench) -> None:
        moved.renew("a", "code")
        moved.held("b")
        moved.server.advance(91)
        moved.held("c")
        assert moved.finish("c", KEPT) == "done"
        settled_at_zero(moved)
        assert moved.lease().audited_at == pytest.approx(moved.now_ms(), abs=NEARLY_MS)

    def test_refusals_are_counted_and_wait_until_a_code_comes(self, bench: Bench) -> None:
        for n in (1, 2, 3):
            bench.held(f"a{n}")
            bench.finish(f"a{n}", REFUSED, wait_s=60)
            assert bench.lease().failures == n
            assert bench.lease().retry_at == pytest.approx(bench.now_ms() + 60_000, abs=NEARLY_MS)
        bench.renew("b", "code")
        assert (bench.lease().failures, bench.lease().retry_at) == (0, 0)

    def test_what_was_released_leaves_the_last_outcome_to_be_read(self, bench: Bench) -> None:
        bench.held("a")
        bench.finish("a", REFUSED)
        bench.held("b")
        bench.finish("b", RELEASED)
        assert bench.lease().outcome == REFUSED

    @pytest.mark.parametrize("outcome", [KEPT, REFUSED, RELEASED, UNKNOWN])
    def test_the_lease_hash_lives_for_a_day_again(self, outcome: str, bench: Bench) -> None:
        bench.held("a")
        bench.redis.pexpire(bench.keys.lease, 5000)
        bench.finish("a", outcome)
        assert bench.ttl_ms(bench.keys.lease) == pytest.approx(86_400_000, abs=NEARLY_MS)

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


def wait_until(true: Callable[[], bool]) -> None:
    """Return as soon as `true()` holds, which a bug keeps from happening."""
    never = threading.Event()
    for _ in range(2000):
        if true():
            return
        never.wait(0.005)
    raise TimeoutError("it did not come true")


class TestClockSteps:
    """Redis's clock may be set, forwards and back, at any moment."""

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_within_an_attempt_its_code_is_stored_or_the_target_is_unsettled(
        self, step_s: int, moved: Bench
    ) -> None:
        moved.renew("a", "first")
        held = moved.held("b").snapshot
        moved.server.advance(step_s)
        expires_at = held.now_ms // 1000 + LIFE_S
        value = write_record(TARGET.kind, Record("second", expires_at, None, held.lease.fence))
        ended = moved.store.finish(TARGET, "b", ISSUED, "", value=value, expires_at=expires_at)
        if step_s in (900, 86400):
            assert ended == "lost"
            assert not moved.lease().settled
        else:
            assert ended == "done"
            assert moved.code() == "second"

    @pytest.mark.parametrize("step_s", STEPS_S)
    def test_a_crashed_attempt_s_lock_ends_whatever_the_step(
        self, step_s: int, moved: Bench
    ) -> None:
        moved.held("crashed")
        moved.server.advance(step_s)
        # A small step back is not told from a fresh lock: it prolongs the lock by as much.
        moved.server.advance(91 + 30)
        assert moved.acquire("b") is not None

    @pytest.mark.parametrize("step_s", [-30, -900, -86400])
    def test_who_loses_its_lock_to_a_step_back_cannot_settle_behind_the_other_s_back(
        self, step_s: int, moved: Bench
    ) -> None:
        moved.held("a")
        moved.server.advance(step_s)
        assert moved.acquire("b") is not None
        assert moved.issue("a", "older") == "lost"
        assert moved.issue("b", "newer") == "done"
        assert moved.code() == "newer"
        assert not moved.lease().settled


class TestNote:
    def complain(self, bench: Bench, text: str) -> None:
        bench.redis.set(bench.keys.refused, text, ex=600)

    def test_alive_takes_away_the_complaint_about_this_code(self, bench: Bench) -> None:
        bench.renew("a", "code")
        snapshot = bench.seen()
        assert snapshot.live
        self.complain(bench, snapshot.live.fingerprint)
        before = bench.all()["value"]
        bench.store.note_alive(snapshot)
        assert bench.seen().complaint is None
        assert bench.lease().audited_at == pytest.approx(bench.now_ms(), abs=NEARLY_MS)
        assert bench.all()["value"] == before

    @pytest.mark.parametrize("what", ["alive", "superseded"])
    def test_a_complaint_about_another_code_stays(self, what: str, bench: Bench) -> None:
        bench.renew("a", "code")
        self.complain(bench, "01234567")
        self.note(bench, what)
        assert bench.seen().complaint == "01234567"

    def note(self, bench: Bench, what: str) -> None:
        snapshot = bench.seen()
        if what == "alive":
            bench.store.note_alive(snapshot)
        else:
            bench.store.note_superseded(snapshot, None)

    def test_superseded_marks_it_unsettled_and_enters_it_once(self, bench: Bench) -> None:
        bench.renew("a", "code")
        snapshot = bench.seen()
        bench.store.note_superseded(snapshot, None)
        first = bench.lease()
        bench.store.note_superseded(snapshot, None)
        assert not first.settled
        assert len(first.superseded) == 1
        assert bench.lease().superseded == first.superseded
        assert bench.lease().unsettled_since == first.unsettled_since

    def test_after_a_lost_reply_a_supersession_is_entered_once(self, behind: Bench, proxy: TcpProxy) -> None:
        behind.renew("a", "code")
        snapshot = behind.seen()
        proxy.script(Act.CUT_AFTER, NOTE)
        behind.store.note_superseded(snapshot, None)
        assert len(behind.lease().superseded) == 1

    def test_the_last_five_supersessions_are_remembered(self, bench: Bench) -> None:
        for n in range(7):
            bench.renew(f"a{n}", f"code-{n}")
            bench.store.note_superseded(bench.seen(), None)
        instants = bench.lease().superseded
        assert len(instants) == 5
        assert list(instants) == sorted(instants)
        assert instants[-1] == pytest.approx(bench.now_ms(), abs=NEARLY_MS)

    def test_the_life_of_a_superseded_code_is_cut_to_what_is_left_of_it(self, bench: Bench) -> None:
        bench.renew("a", "code")
        snapshot = bench.seen()
        ends = bench.now_ms() // 1000 + 500
        bench.store.note_superseded(snapshot, ends)
        record = bench.seen().record
        assert record == replace(snapshot.live or Record("", 0), expires_at=ends)
        assert bench.ttl_ms(bench.keys.value) <= 500_000

    @pytest.mark.parametrize("expires_at", [1, 1_000_000_000])
    def test_a_code_that_is_refused_already_is_removed(self, expires_at: int, bench: Bench) -> None:
        bench.renew("a", "code")
        bench.store.note_superseded(bench.seen(), expires_at)
        assert bench.seen().record is None
        assert not bench.lease().settled

    def test_a_value_that_changed_since_it_was_asked_about_is_left_alone(self, bench: Bench) -> None:
        bench.renew("a", "old")
        asked_about = bench.seen()
        bench.renew("b", "new")
        before = bench.all()["value"]
        bench.store.note_superseded(asked_about, 1)
        assert bench.all()["value"] == before

    def test_a_lock_is_left_as_it_is(self, bench: Bench) -> None:
        bench.renew("a", "code")
        bench.held("b")
        locked = bench.lease()
        bench.store.note_superseded(bench.seen(), None)
        assert replace(bench.lease(), superseded=(), audited_at=locked.audited_at) == locked

    def test_alive_makes_no_lease_where_there_is_none(self, bench: Bench) -> None:
        bench.renew("a", "code")
        bench.redis.delete(bench.keys.lease)
        bench.store.note_alive(bench.seen())
        assert not bench.lease().exists

    @pytest.mark.parametrize("what", ["alive", "superseded"])
    def test_the_lease_hash_lives_for_a_day_again(self, what: str, bench: Bench) -> None:
        bench.renew("a", "code")
        bench.redis.pexpire(bench.keys.lease, 5000)
        self.note(bench, what)
        assert bench.ttl_ms(bench.keys.lease) == pytest.approx(86_400_000, abs=NEARLY_MS)

    @pytest.mark.parametrize("what", ["alive", "superseded"])
    @pytest.mark.parametrize("key", ["lease", "refused", "value"])
    def test_keys_of_a_wrong_type_are_never_fatal(self, key: str, what: str, bench: Bench) -> None:
        bench.renew("a", "code")
        snapshot = bench.seen()
        spoil_type(bench, getattr(bench.keys, key))
        if what == "alive":
            bench.store.note_alive(snapshot)
        else:
            bench.store.note_superseded(snapshot, 1)
        assert bench.seen().complaint is None


class TestLoad:
    def test_it_shows_everything_by_redis_s_own_clock(self, moved: Bench) -> None:
        moved.server.advance(-86400)
        moved.renew("a", "code")
        moved.redis.set(moved.keys.refused, "01234567", ex=600)
        snapshot = moved.seen()
        assert snapshot.now_ms == pytest.approx(moved.server.now() * 1000, abs=NEARLY_MS)
        assert snapshot.live
        assert snapshot.live.code == "code"
        assert snapshot.lease.settled
        assert snapshot.complaint == "01234567"

    def test_it_shows_nothing_where_there_is_nothing(self, bench: Bench) -> None:
        snapshot = bench.seen()
        assert (snapshot.record, snapshot.raw, snapshot.complaint) == (None, None, None)
        assert not snapshot.lease.exists
        assert not snapshot.lease.settled

    def test_it_writes_nothing(self, bench: Bench) -> None:
        bench.renew("a", "code")
        spoil_type(bench, bench.keys.refused)
        before = bench.redis.info("persistence")["rdb_changes_since_last_save"]
        bench.seen()
        assert bench.redis.info("persistence")["rdb_changes_since_last_save"] == before


def spoil_type(bench: Bench, key: str) -> None:
    bench.redis.delete(key)
    bench.redis.rpush(key, "a", "list")
    bench.redis.expire(key, 600)


FIELDS = [
    "attempt", "fence", "work_until", "locked_until", "before", "unsettled_since", "failures", "retry_at",
    "audited_at", "outcome", "outcome_at", "superseded", "superseded_code", "finished", "disputed",
]  # fmt: skip
GARBAGE = [
    b"", b"abc", b"-5", b"1.5", b" 7 ", b"0x10", b"1e3", b"1e400", b"nan", b"inf", b"9" * 30, b"9223372036854775807",
    b"8999999999999999", b"\xff\xfe\x00", "九".encode(), b"x" * 5000,
]  # fmt: skip


class TestGarbage:
    """What other hands left in the private keys is replaced, and never fatal."""

    @pytest.mark.parametrize("field", FIELDS)
    def test_in_any_field_of_the_lease_it_stops_no_attempt(self, field: str, bench: Bench) -> None:
        number = itertools.count()
        for garbage in GARBAGE:
            for outcome in (ISSUED, KEPT, REFUSED, RELEASED, UNKNOWN):
                bench.redis.delete(bench.keys.lease)
                bench.renew("a", "code")
                bench.redis.hset(bench.keys.lease, field, garbage)  # type: ignore[arg-type]
                attempt = f"b{next(number)}"
                bench.held(attempt)
                ended = bench.issue(attempt, "newer") if outcome == ISSUED else bench.finish(attempt, outcome)
                assert ended == "done", (garbage, outcome)

    @pytest.mark.parametrize("field", FIELDS)
    def test_in_any_field_under_an_attempt_its_code_is_stored_or_it_is_unsettled(
        self, field: str, bench: Bench
    ) -> None:
        for garbage in GARBAGE:
            bench.redis.delete(bench.keys.lease, bench.keys.value)
            bench.held("a")
            bench.redis.hset(bench.keys.lease, field, garbage)  # type: ignore[arg-type]
            ended = bench.issue("a", "code")
            if ended == "done":
                assert bench.code() == "code", garbage
            else:
                assert ended == "lost", garbage
                assert not bench.lease().settled, garbage

    @pytest.mark.parametrize("field", FIELDS)
    @pytest.mark.parametrize("what", ["alive", "superseded"])
    def test_in_any_field_checkcode_s_answer_can_be_noted(self, what: str, field: str, bench: Bench) -> None:
        for garbage in GARBAGE:
            bench.redis.delete(bench.keys.lease)
            bench.renew("a", "code")
            bench.redis.hset(bench.keys.lease, field, garbage)  # type: ignore[arg-type]
            TestNote().note(bench, what)
            assert what == "alive" or not bench.lease().settled, garbage

    def test_it_never_makes_a_target_look_settled(self, bench: Bench) -> None:
        settled = []
        for garbage in GARBAGE:
            bench.redis.delete(bench.keys.lease)
            bench.renew("a", "code")
            bench.redis.hset(bench.keys.lease, "unsettled_since", garbage)  # type: ignore[arg-type]
            assert not bench.lease().settled, garbage
            before = bench.held("b").snapshot.lease.before
            bench.finish("b", RELEASED)
            settled += [garbage] if before == 0 or bench.lease().settled else []
        assert settled == []

    @pytest.mark.parametrize("field", ["unsettled_since", "attempt", "fence", "locked_until"])
    def test_a_missing_field_stops_no_attempt_and_settles_nothing(self, field: str, bench: Bench) -> None:
        bench.held("crashed")
        bench.redis.hset(bench.keys.lease, "locked_until", "0")
        bench.redis.hdel(bench.keys.lease, field)
        assert not bench.lease().settled
        assert bench.held("b").snapshot.lease.before > 0
        assert bench.issue("b", "code") == "done"

    def test_after_it_the_count_of_failures_works_again(self, bench: Bench) -> None:
        for garbage in GARBAGE:
            bench.redis.delete(bench.keys.lease)
            bench.held("a")
            bench.redis.hset(bench.keys.lease, "failures", garbage)  # type: ignore[arg-type]
            assert bench.finish("a", REFUSED, wait_s=60) == "done", garbage
            lease = bench.lease()
            assert lease.failures >= 1, garbage
            assert lease.retry_at > bench.now_ms(), garbage
            assert bench.ttl_ms(bench.keys.lease) > 0, garbage

    def test_after_it_the_fence_that_readers_see_is_that_of_the_lease(self, bench: Bench) -> None:
        for n, garbage in enumerate(GARBAGE):
            first = bench.renew(f"a{n}", f"first-{n}").snapshot.lease.fence
            bench.redis.hset(bench.keys.lease, "fence", garbage)  # type: ignore[arg-type]
            second = bench.renew(f"b{n}", f"second-{n}").snapshot.lease.fence
            assert second > first > 0, garbage

    @pytest.mark.parametrize("fence", [10**15, 8_999_999_999_999_999, 2**53 - 1])
    def test_a_huge_fence_in_a_value_is_outgrown_or_replaced_by_one_that_grows(self, fence: int, bench: Bench) -> None:
        expires_at = bench.now_ms() // 1000 + 3600
        bench.redis.set(bench.keys.value, write_record(TARGET.kind, Record("theirs", expires_at, None, fence)), ex=3600)
        fences = []
        for n in range(3):
            fences.append(bench.renew(f"a{n}", f"code-{n}").snapshot.lease.fence)
        assert fences == sorted(set(fences))
        assert fences[0] > 0

    @pytest.mark.parametrize("outcome", [ISSUED, KEPT, REFUSED, RELEASED, UNKNOWN])
    def test_a_lease_of_a_wrong_type_is_replaced(self, outcome: str, bench: Bench) -> None:
        spoil_type(bench, bench.keys.lease)
        bench.held("a")
        assert bench.redis.type(bench.keys.lease) == b"hash"
        ended = bench.issue("a", "code") if outcome == ISSUED else bench.finish("a", outcome)
        assert ended == "done"

    def test_a_lease_that_becomes_a_wrong_type_under_an_attempt_costs_no_code(self, bench: Bench) -> None:
        bench.held("a")
        spoil_type(bench, bench.keys.lease)
        assert bench.issue("a", "code") == "orphan"
        assert bench.code() == "code"
        assert not bench.lease().settled

    def test_a_value_of_a_wrong_type_is_seen_and_replaced(self, bench: Bench) -> None:
        spoil_type(bench, bench.keys.value)
        assert not bench.seen().live
        assert bench.seen().record is not None
        bench.renew("a", "code")
        assert bench.code() == "code"

    def test_a_complaint_of_a_wrong_type_is_none_and_goes_with_the_next_note(self, bench: Bench) -> None:
        bench.renew("a", "code")
        spoil_type(bench, bench.keys.refused)
        assert bench.seen().complaint is None
        bench.store.note_alive(bench.seen())
        assert not bench.redis.exists(bench.keys.refused)


class TestFullServer:
    """Over its maxmemory, with noeviction, Redis refuses whatever may take memory."""

    @pytest.fixture
    def full(self, start_redis: Callable[..., RedisServer]) -> Iterator[Bench]:
        bench = Bench(start_redis({"maxmemory-policy": "noeviction"}))
        yield bench
        bench.close()

    def fill(self, bench: Bench) -> None:
        bench.redis.config_set("maxmemory", "1")
        with pytest.raises(Exception, match="used memory"):
            bench.redis.set("more", "x", ex=60)

    def test_a_code_is_fetched_and_stored_where_nothing_was(self, full: Bench) -> None:
        self.fill(full)
        full.renew("a", "code")
        assert full.code() == "code"
        settled_at_zero(full)

    def test_a_code_that_was_fetched_while_it_filled_up_is_stored(self, full: Bench) -> None:
        full.held("a")
        self.fill(full)
        assert full.issue("a", "code") == "done"
        assert full.code() == "code"

    def test_a_code_is_renewed(self, full: Bench) -> None:
        full.renew("a", "code")
        self.fill(full)
        full.renew("b", "newer")
        assert full.code() == "newer"

    @pytest.mark.parametrize("outcome", [KEPT, REFUSED, RELEASED, UNKNOWN])
    def test_any_other_end_is_entered(self, outcome: str, full: Bench) -> None:
        self.fill(full)
        full.held("a")
        assert full.finish("a", outcome) == "done"

    def test_an_orphan_is_stored(self, full: Bench) -> None:
        full.held("a")
        full.redis.delete(full.keys.lease)
        self.fill(full)
        assert full.issue("a", "code") == "orphan"
        assert full.code() == "code"

    @pytest.mark.parametrize("what", ["alive", "superseded"])
    @pytest.mark.parametrize("lease", ["with a lease", "without a lease"])
    def test_checkcode_s_answer_is_noted(self, what: str, lease: str, full: Bench) -> None:
        full.renew("a", "code")
        if lease == "without a lease":
            full.redis.delete(full.keys.lease)
        self.fill(full)
        TestNote().note(full, what)
        assert full.lease().exists is (lease == "with a lease" or what == "superseded")

    def test_a_superseded_code_s_life_is_cut(self, full: Bench) -> None:
        full.renew("a", "code")
        self.fill(full)
        ends = full.now_ms() // 1000 + 500
        full.store.note_superseded(full.seen(), ends)
        assert full.ttl_ms(full.keys.value) <= 500_000


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
            found.append(f"{command} has no key that stands there as KEYS[n]")
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
        assert lint(source_of(name), SCRIPTS[name]) == []

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
    def test_the_keys_a_script_is_handed_on_the_wire_are_those_of_one_target(
        self, name: str, bench: Bench
    ) -> None:
        with bench.redis.monitor() as monitor:
            bench.renew("a", "code")
            bench.store.note_alive(bench.seen())
            bench.redis.echo("the end")
            commands = itertools.takewhile(lambda each: "the end" not in each["command"], monitor.listen())
            sent = [each["command"] for each in commands if each["client_type"] != "lua"]
        found = [text for text in sent if last_line(name) in text]
        assert found
        count = SCRIPTS[name]
        for text in found:
            arguments = text.rpartition(last_line(name))[2].split()
            assert arguments[: count + 1] == [str(count), *bench.keys[:count]]
