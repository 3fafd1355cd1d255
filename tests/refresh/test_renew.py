"""One attempt to renew one target: what is reported of it, and what Redis holds afterwards."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Simulator
from support.clients import client_of
from support.endpoints import endpoints_at
from support.leases import digest
from support.planted import plant
from support.redis_server import RedisServer
from token_refresher.domain.command import Command
from token_refresher.domain.decision import decide, retry_delay_s
from token_refresher.domain.errors import NotSentError
from token_refresher.domain.model import App, Kind, Lease, Outcome, Record, Secret, Snapshot, Target, Word
from token_refresher.domain.platform_answer import Issued
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform
from token_refresher.refresh.limits import Limits, asking, fetching
from token_refresher.refresh.renew import Renew, wait_is_for_another
from token_refresher.refresh.result import Result
from token_refresher.refresh.watch import Watch
from token_refresher.store.keys import keys_of
from token_refresher.store.record_json import write_record
from token_refresher.store.redis_store import RedisStore

POLICY = Policy()
APP, ME, OTHER = "app0000", "aaaaaaaaaaaa", "bbbbbbbbbbbb"
CALLERS = {APP: ME}
TOKEN, TICKET = Target(APP, Kind.ACCESS_TOKEN), Target(APP, Kind.JS_TICKET)
KEYS = keys_of(TOKEN)
FORCE = Command(force=True)
# Milliseconds between reading a clock here and in Redis, on a loaded machine.
NEARLY_MS = 5000


class Interrupted(YuanzhibangPlatform):
    """The platform's client; something happens right before a token is fetched, or right after. Notes the deadline."""

    before: Callable[[], object] = staticmethod(lambda: None)
    after: Callable[[], object] = staticmethod(lambda: None)
    until = 0.0

    def fetch_access_token(self, app: App, until: float) -> Issued:
        self.until = until
        self.before()
        issued = super().fetch_access_token(app, until)
        self.after()
        return issued


class Stage:
    """Redis and the platform by the machine's clock, and a steady clock that stops until it is moved."""

    def __init__(self, server: RedisServer) -> None:
        self.redis: Any = server.client()
        self.secret = plant("secret")
        self.simulator = Simulator({APP: self.secret})
        self.simulator.start()
        self.now = 1000.0
        self._client = client_of(f"redis://127.0.0.1:{server.port}/0", POLICY)
        self.pauses: list[float] = []
        self.store = RedisStore(self._client, POLICY, "", self.pauses.append)
        self.platform = Interrupted(policy=POLICY, pool_size=2, clock=self.clock)
        self.app = self.app_at(self.simulator.url)
        self.limits = Limits(self.clock)
        self.look_again_s: float | None = None
        self._attempts = itertools.count(1)

    def app_at(self, url: str) -> App:
        addresses = endpoints_at(url, TOKEN_PATH, TICKET_PATH, CHECK_PATH)
        return App(APP, Secret(self.secret), endpoints=addresses)

    def close(self) -> None:
        self.platform.close()
        self._client.close()
        self.simulator.stop()

    def clock(self) -> float:
        return self.now

    def renewal(self, command: Command = Command(), within_s: float = 60) -> Renew:  # noqa: B008 - frozen
        parts, until = (self.store, self.platform, POLICY, command, self.limits), self.now + within_s
        watch = Watch(*parts, clock=self.clock, wall=time.time, until=until, callers=CALLERS)
        return Renew(
            *parts,
            watch,
            clock=self.clock,
            until=until,
            new_attempt=lambda: f"attempt-{next(self._attempts)}",
            callers=CALLERS,
        )

    def seen(self, target: Target = TOKEN) -> Snapshot:
        return self.store.read(target)

    def lease(self) -> Lease:
        return self.seen().lease

    def set(self, **fields: object) -> None:
        self.redis.hset(KEYS.lease, mapping=fields)

    def read(self, snapshot: Snapshot | None = None, command: Command = Command()) -> Result:  # noqa: B008 - frozen
        snapshot = snapshot or self.seen()
        return Result(snapshot, self.now, decide(snapshot, POLICY, command, ME))

    def renew(
        self,
        command: Command = Command(),  # noqa: B008 - frozen
        *,
        result: Result | None = None,
        token: Result | None = None,
        within_s: float = 60,
        **how: bool,
    ) -> Result:
        """One attempt; when to look at the target again is in `look_again_s`."""
        result = result or self.read(command=command)
        self.look_again_s = self.renewal(command, within_s).attempt(self.app, result, token, **how)
        return result

    def holds_a_code(self, seconds_left: int = 7000, age_s: int = 200, **lease: object) -> Record:
        """Store the platform's newest token, settled, as one of that age and with so much left."""
        code = self.simulator.issue(APP, "access_token").code
        now = self.seen().now_ms // 1000
        record = Record(code, now + seconds_left, now - age_s, fence=7)
        value = write_record(TOKEN.kind, record)
        self.redis.set(KEYS.value, value, ex=seconds_left)
        known = {"attempt": "old", "finished": "old", "fence": 7, "mark": "", "value": digest(value)}
        self.set(**known | {"audited_at": now * 1000} | lease)
        self.redis.expire(KEYS.lease, 600)
        return record

    def another_acquires(self, *, at_work: bool = True) -> None:
        self.store.acquire(self.seen(), "another", OTHER)
        if not at_work:
            self.set(work_until=1)

    def platform_says(self, path: str, fault: Fault) -> None:
        self.simulator.script(path, fault)

    def ttl_s(self) -> float:
        return float(self.redis.pttl(KEYS.value)) / 1000


@pytest.fixture
def stage(redis_server: RedisServer) -> Iterator[Stage]:
    stage = Stage(redis_server)
    yield stage
    stage.close()


def brief(result: Result) -> tuple[Reason, Outcome | None, str, int, int, int]:
    """Reason, outcome, credential of the failure, credentials that were issued, questions, and number of warnings."""
    failure = result.failure.code if result.failure else ""
    return (
        result.decision.reason, result.outcome, failure, result.fetches, result.questions, len(result.warnings)
    )  # fmt: skip


NO_PERMISSION, BROKEN = Fault.platform_status(4103, "no permission"), Fault.status(500)


# -- a credential comes
# -----------------------------------------------------------------------------------------------------


def test_the_first_code_of_a_target(stage: Stage) -> None:
    result = stage.renew()
    assert brief(result) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 0)
    newest = stage.simulator.newest(APP, "access_token")
    assert newest
    lease = stage.lease()
    now_ms = result.snapshot.now_ms
    expected = Record(newest.code, int(now_ms / 1000 + 7200), now_ms // 1000, lease.fence)
    assert result.snapshot.record == expected == stage.seen().record
    assert (lease.mark, lease.locked_until, lease.work_until, lease.outcome) == ("", 0, 0, "issued")
    assert (lease.ended, lease.issued_by, lease.life_s, lease.caller(ME).until) == (True, ME, 7200, 0)
    shown = result.snapshot.lease
    assert (shown.mark, shown.locked_until, shown.outcome, shown.life_s) == ("", 0, "issued", 7200)
    assert stage.look_again_s is None
    assert stage.ttl_s() == pytest.approx(7200, abs=NEARLY_MS / 1000)


def test_a_life_counts_from_the_sending_and_not_from_the_lease(stage: Stage) -> None:
    stage.platform.before = lambda: setattr(stage, "now", stage.now + 7)
    record = stage.renew().snapshot.record
    assert isinstance(record, Record)
    assert record == stage.seen().record
    assert record.issued_at == pytest.approx(time.time() + 7, abs=NEARLY_MS / 1000)
    assert record.expires_at - (record.issued_at or 0) in (7200, 7201)


@pytest.mark.parametrize(("within_s", "until_s"), [(20, 20), (30, 30), (60, 30)])
def test_nothing_is_sent_after_the_working_time_or_the_run_s(within_s: float, until_s: float, stage: Stage) -> None:
    stage.renew(within_s=within_s)
    assert stage.platform.until == stage.now + until_s


def test_a_warning_of_the_platform_s_answer_is_handed_on(stage: Stage) -> None:
    stage.platform_says(TOKEN_PATH, Fault.code_length(129))
    assert brief(stage.renew()) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 1)


def test_a_ticket_is_fetched_with_the_token(stage: Stage) -> None:
    token = stage.renew()
    result = stage.renew(result=stage.read(stage.seen(TICKET)), token=token)
    assert brief(result) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 0)
    assert result.snapshot.live
    assert stage.simulator.valid(APP, "js_ticket", result.snapshot.live.code)


@pytest.mark.parametrize("empty", [True, False])
def test_a_ticket_without_a_token_takes_no_lease(empty: bool, stage: Stage) -> None:
    token = stage.read(Snapshot(TOKEN, 0, None)) if empty else None
    result = stage.renew(result=stage.read(stage.seen(TICKET)), token=token)
    assert brief(result) == (Reason.MISSING, Outcome.DEFERRED, "no_token", 0, 0, 0)
    assert not stage.seen(TICKET).lease.exists


# -- before the lease -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("within_s", "outcome"), [(13.1, Outcome.ISSUED), (13, Outcome.DEFERRED)])
def test_an_attempt_has_to_fit_into_the_run(within_s: float, outcome: Outcome, stage: Stage) -> None:
    result = stage.renew(within_s=within_s)
    assert result.outcome is outcome
    assert stage.lease().exists is (outcome is Outcome.ISSUED)
    assert outcome is Outcome.ISSUED or brief(result)[2] == "not_sent_late"


def test_a_copy_that_cannot_reach_the_platform_takes_no_lease_and_leaves_no_wait(stage: Stage) -> None:
    record = stage.holds_a_code(seconds_left=1000)
    before = stage.redis.hgetall(KEYS.lease)
    stage.app = stage.app_at("http://127.0.0.1:9")
    for _ in range(2):
        assert brief(stage.renew()) == (Reason.NEAR_EXPIRY, Outcome.NOT_SENT, "not_sent_connect", 0, 0, 0)
    assert stage.redis.hgetall(KEYS.lease) == before
    assert stage.ttl_s() > 900
    assert stage.seen().record == record


def test_a_limit_is_waited_for_where_the_run_has_time(stage: Stage) -> None:
    stage.limits.limited(fetching(stage.app, TOKEN.kind), APP, 20)
    assert brief(stage.renew()) == (Reason.MISSING, None, "", 0, 0, 0)
    assert stage.look_again_s == 20
    stage.now += 20
    assert stage.renew().outcome is Outcome.ISSUED


def test_a_limit_that_outlasts_the_run_puts_the_attempt_off_without_a_lease(stage: Stage) -> None:
    stage.limits.limited(fetching(stage.app, TOKEN.kind), APP, 50)
    assert brief(stage.renew()) == (Reason.MISSING, Outcome.DEFERRED, "rate_limited", 0, 0, 0)
    assert stage.look_again_s is None
    assert not stage.lease().exists
    assert stage.simulator.count() == 0


@pytest.mark.parametrize("interface", ["the ticket's", "checkCode"])
def test_a_limit_of_another_interface_holds_no_fetch(interface: str, stage: Stage) -> None:
    other = asking(stage.app) if interface == "checkCode" else fetching(stage.app, TICKET.kind)
    stage.limits.limited(other, APP, 300)
    assert stage.renew().outcome is Outcome.ISSUED


@pytest.mark.parametrize("answer", ["a credential", "a refusal", "none"])
def test_a_fetch_that_is_not_limited_lets_all_go_on(answer: str, stage: Stage) -> None:
    interface = fetching(stage.app, TOKEN.kind)
    stage.limits.limited(interface, "another", 300)
    stage.limits.limited(interface, "one more", 300)
    if answer != "a credential":
        stage.platform_says(TOKEN_PATH, NO_PERMISSION if answer == "a refusal" else BROKEN)
    stage.renew()
    with stage.limits.turn(interface, "a"), stage.limits.turn(interface, "b") as wait_s:
        assert wait_s == 0


# -- the lease --------------------------------------------------------------------------------------------------------


def test_another_run_that_was_quicker_is_left_to_it(stage: Stage) -> None:
    before = stage.read()
    stage.another_acquires()
    result = stage.renew(result=before)
    # What acquire found is decided about at once.
    assert stage.look_again_s == 0
    assert stage.renew(result=result).decision.reason is Reason.LOCKED
    assert result.decision.sentence == "another run may be fetching; its lease ends in 90 s"
    assert wait_is_for_another(result, POLICY)
    assert stage.simulator.count() == 0


def test_a_lease_at_work_is_looked_at_again_soon_and_one_that_is_not_at_its_end(stage: Stage) -> None:
    stage.another_acquires()
    result = stage.renew()
    assert brief(result) == (Reason.LOCKED, None, "", 0, 0, 0)
    assert stage.look_again_s is not None
    assert 1 <= stage.look_again_s <= 3
    now_ms = stage.seen().now_ms
    stage.set(work_until=1, locked_until=now_ms + 40_000)
    result = stage.renew()
    assert not wait_is_for_another(result, POLICY)
    assert result.decision.sentence.startswith(
        "an earlier run stopped in the middle of a request; the next try may come in "
    )
    assert stage.look_again_s == pytest.approx(40, abs=NEARLY_MS / 1000)


def test_a_lock_that_outlasts_the_run_is_left_to_the_next(stage: Stage) -> None:
    stage.another_acquires(at_work=False)
    assert stage.renew().decision.reason is Reason.LOCKED
    assert stage.look_again_s is None


def test_a_lock_is_counted_from_when_it_was_read(stage: Stage) -> None:
    stage.another_acquires()
    stage.set(work_until=1, locked_until=stage.seen().now_ms + 40_000)
    result = stage.read()
    stage.now += 30
    stage.renew(result=result)
    assert stage.look_again_s == pytest.approx(10, abs=NEARLY_MS / 1000)
    stage.now += 30
    stage.renew(result=result)
    assert stage.look_again_s == 0.01


def test_a_taken_lease_is_not_looked_at_again_for_a_code_that_is_not_urgent(stage: Stage) -> None:
    stage.holds_a_code()
    stage.another_acquires()
    assert stage.renew(FORCE).decision.reason is Reason.LOCKED
    assert stage.look_again_s is None


def test_what_another_run_has_done_meanwhile_is_not_done_again(stage: Stage) -> None:
    before = stage.read()
    stage.renew()
    result = stage.renew(result=before)
    assert stage.look_again_s == 0
    assert brief(stage.renew(result=result)) == (Reason.FRESH, None, "", 0, 0, 0)
    assert (stage.lease().locked_until, stage.lease().outcome, stage.lease().settled) == (0, "issued", True)
    assert stage.simulator.fetches(APP, "access_token") == 1


def test_a_code_is_not_fetched_for_what_another_run_has_settled_meanwhile(stage: Stage) -> None:
    stage.holds_a_code(mark="dead", attempt="dead")
    result = stage.read()
    result.word = Word.SILENT
    stage.set(mark="")
    stage.renew(result=result)
    assert (stage.look_again_s, stage.lease().attempt) == (0, "dead")
    assert brief(stage.renew(result=result)) == (Reason.FRESH, None, "", 0, 0, 0)


def test_the_value_lives_only_for_the_grace_while_a_fetch_may_have_ended_it(stage: Stage) -> None:
    stage.holds_a_code(seconds_left=1700)
    lives: list[float] = []
    stage.platform.before = lambda: lives.append(stage.ttl_s())
    stage.renew()
    assert lives == [pytest.approx(600, abs=NEARLY_MS / 1000)]
    assert stage.ttl_s() > 7000


def test_this_copy_s_own_wait_is_written_before_its_request(stage: Stage) -> None:
    waits: list[Any] = []
    stage.platform.before = lambda: waits.append((stage.seen().now_ms, stage.lease()))
    stage.renew()
    ((now_ms, lease),) = waits
    own = lease.caller(ME)
    assert (own.failures, own.code) == (1, "no_end")
    assert own.until == pytest.approx(now_ms + 150_000, abs=NEARLY_MS)
    assert (lease.by, lease.ended, lease.settled) == (ME, False, False)


def test_a_lease_that_ended_meanwhile_loses_the_code(stage: Stage) -> None:
    stage.platform.after = lambda: stage.set(locked_until=0)
    result = stage.renew()
    assert brief(result) == (Reason.MISSING, Outcome.LOST, "store_lost", 1, 0, 0)
    assert stage.seen().record is None
    assert not stage.lease().settled


def test_with_all_gone_meanwhile_the_code_is_stored_for_the_grace_and_unsettled(stage: Stage) -> None:
    stage.platform.after = lambda: stage.redis.delete(KEYS.lease)
    result = stage.renew()
    assert brief(result) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 0)
    assert not result.snapshot.lease.settled
    assert not stage.lease().settled
    assert result.snapshot.readable_s == 600
    assert stage.ttl_s() == pytest.approx(600, abs=NEARLY_MS / 1000)


def test_a_redis_that_takes_no_writes_any_more_loses_the_code(start_redis: Callable[..., RedisServer]) -> None:
    stage = Stage(start_redis())
    stage.platform.after = lambda: stage.redis.replicaof("127.0.0.1", "1")
    assert brief(stage.renew()) == (Reason.MISSING, Outcome.LOST, "redis_read_only", 1, 0, 0)
    stage.close()


def test_storing_a_code_is_tried_again_for_seconds(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    stage = Stage(server)
    stage.platform.after = server.stop
    assert brief(stage.renew()) == (Reason.MISSING, Outcome.LOST, "redis_unreachable", 1, 0, 0)
    assert stage.pauses == [0.2, 1.0, 2.0]
    stage.close()


# -- no credential comes
# ----------------------------------------------------------------------------------------------------


def test_refusals_are_counted_and_waited_after_by_this_copy_alone(stage: Stage) -> None:
    for failures in (1, 2):
        stage.platform_says(TOKEN_PATH, NO_PERMISSION)
        result = stage.renew(FORCE)
        assert brief(result) == (Reason.MISSING, Outcome.REFUSED, "no_permission", 0, 0, 0)
        lease, wait_ms = stage.lease(), retry_delay_s(TOKEN, failures, POLICY) * 1000
        own = lease.caller(ME)
        assert (own.failures, own.code, lease.outcome) == (failures, "no_permission", "refused: no_permission")
        assert (lease.locked_until, lease.ended) == (0, True)
        assert own.until == pytest.approx(stage.seen().now_ms + wait_ms, abs=NEARLY_MS)
        shown = result.snapshot.lease
        assert (shown.outcome, shown.locked_until, shown.ended) == ("refused: no_permission", 0, True)
    assert brief(stage.renew())[0] is Reason.BACKING_OFF
    assert decide(stage.seen(), POLICY, Command(), OTHER).reason is Reason.MISSING


def test_with_little_left_a_refusal_is_waited_after_for_a_quarter_of_it(stage: Stage) -> None:
    stage.holds_a_code(seconds_left=400, age_s=6800, callers=f"{ME}:0:5:0:no_permission")
    stage.platform_says(TOKEN_PATH, NO_PERMISSION)
    assert stage.renew().outcome is Outcome.REFUSED
    wait_ms = stage.lease().caller(ME).until - stage.seen().now_ms
    assert wait_ms == pytest.approx(100_000, abs=NEARLY_MS)


def test_a_request_that_could_not_be_sent_ends_its_attempt_and_shortens_no_life(stage: Stage) -> None:
    def refused() -> None:
        raise NotSentError("as the test says", code="not_sent_connect")

    stage.holds_a_code(seconds_left=1700)
    stage.platform.before = refused
    assert brief(stage.renew()) == (Reason.NEAR_EXPIRY, Outcome.NOT_SENT, "not_sent_connect", 0, 0, 0)
    lease = stage.lease()
    assert (lease.locked_until, lease.ended, lease.settled) == (0, True, True)
    assert stage.ttl_s() == pytest.approx(1700, abs=NEARLY_MS / 1000)


def test_during_the_wait_nothing_is_tried_but_at_once(stage: Stage) -> None:
    stage.platform_says(TOKEN_PATH, NO_PERMISSION)
    stage.renew()
    assert brief(stage.renew()) == (Reason.BACKING_OFF, None, "", 0, 0, 0)
    assert brief(stage.renew(at_once=True))[:2] == (Reason.MISSING, Outcome.ISSUED)
    assert stage.lease().caller(ME).failures == 0


def test_a_refusal_restores_the_recorded_expiry_of_a_settled_code(stage: Stage) -> None:
    stage.holds_a_code(seconds_left=1700)
    stage.platform_says(TOKEN_PATH, NO_PERMISSION)
    result = stage.renew()
    assert stage.ttl_s() == pytest.approx(1700, abs=NEARLY_MS / 1000)
    assert (stage.lease().settled, result.snapshot.lease.settled) == (True, True)
    assert result.snapshot.readable_s == result.snapshot.seconds_left


def test_a_refusal_restores_nothing_where_an_earlier_attempt_had_no_end(stage: Stage) -> None:
    stage.holds_a_code(seconds_left=1700, mark="dead", attempt="dead")
    stage.platform_says(TOKEN_PATH, NO_PERMISSION)
    result = stage.renew()
    assert stage.ttl_s() == pytest.approx(600, abs=NEARLY_MS / 1000)
    assert stage.lease().mark == result.snapshot.lease.mark == "dead"
    assert result.snapshot.readable_s <= 600


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_a_limit_of_the_platform_is_a_definite_no_and_obeyed(kind: Any, stage: Stage) -> None:
    stage.simulator.limit(APP, 0, 120, kind)
    result = stage.renew()
    assert brief(result) == (Reason.MISSING, Outcome.REFUSED, "rate_limited", 0, 0, 0)
    assert stage.look_again_s is None
    lease = stage.lease()
    assert (lease.locked_until, lease.ended, lease.caller(ME).code) == (0, True, "rate_limited")
    with stage.limits.turn(fetching(stage.app, TOKEN.kind), APP) as wait_s:
        assert wait_s > 0
    asked_ms = wait_s * 1000
    assert lease.caller(ME).until >= stage.seen().now_ms + asked_ms - NEARLY_MS


def test_a_limit_that_others_meet_is_held_against_no_application_which_comes_again_once(stage: Stage) -> None:
    stage.simulator.limit(APP, 0, 20)
    stage.set(callers=f"{ME}:0:5:0:rate_limited")
    stage.limits.limited(fetching(stage.app, TOKEN.kind), "another", 60)
    result = stage.renew()
    assert (result.outcome, stage.look_again_s) == (Outcome.REFUSED, 0.01)
    until_ms = stage.lease().caller(ME).until - stage.seen().now_ms
    assert until_ms == pytest.approx(20_000, abs=NEARLY_MS)
    # Its wait is shorter than the run, and is waited for; who is limited again does not come a third time.
    result.see(stage.seen(), stage.now)
    stage.renew(result=result)
    assert stage.look_again_s == pytest.approx(20, abs=NEARLY_MS / 1000)
    stage.set(callers="")
    stage.now += 20
    result.see(stage.seen(), stage.now)
    assert stage.renew(result=result).outcome is Outcome.REFUSED
    assert stage.look_again_s is None


@pytest.mark.parametrize(("left_s", "again"), [(4, True), (6, False)])
def test_a_limit_of_one_application_alone_is_waited_for_where_it_ends_in_a_moment(
    left_s: float, again: bool, stage: Stage
) -> None:
    stage.set(callers=f"{ME}:{stage.seen().now_ms + round(left_s * 1000)}:1:0:rate_limited")
    stage.redis.expire(KEYS.lease, 600)
    assert stage.renew().decision.reason is Reason.BACKING_OFF
    assert (stage.look_again_s is not None) is again
    assert stage.simulator.count() == 0


def test_what_was_too_late_to_send_is_put_off_and_held_against_no_copy(stage: Stage) -> None:
    stage.platform.before = lambda: setattr(stage, "now", stage.now + 31)
    result = stage.renew()
    assert brief(result) == (Reason.MISSING, Outcome.DEFERRED, "not_sent_late", 0, 0, 0)
    lease = stage.lease()
    assert (lease.caller(ME).failures, lease.caller(ME).until, lease.locked_until) == (0, 0, 0)


def test_an_unknown_end_keeps_the_lock_and_the_cut(stage: Stage) -> None:
    stage.platform_says(TOKEN_PATH, BROKEN)
    result = stage.renew()
    assert brief(result) == (Reason.MISSING, Outcome.UNKNOWN, "bad_answer", 0, 0, 0)
    lease = stage.lease()
    assert lease.locked_until > stage.seen().now_ms
    assert (lease.caller(ME).failures, lease.outcome, lease.settled) == (1, "unknown: bad_answer", False)
    assert (lease.ended, result.snapshot.lease.settled) == (False, False)


def test_after_an_unknown_end_checkcode_is_asked_at_once(stage: Stage) -> None:
    stage.holds_a_code(seconds_left=1700)
    stage.platform_says(TOKEN_PATH, BROKEN)
    result = stage.renew()
    assert brief(result) == (Reason.NEAR_EXPIRY, Outcome.UNKNOWN, "bad_answer", 0, 1, 0)
    assert result.word is Word.ALIVE
    # Under the lock its word lengthens only to question and grace, and settles nothing.
    assert stage.ttl_s() == pytest.approx(600, abs=NEARLY_MS / 1000)
    assert (stage.lease().settled, stage.lease().locked_until > 0) == (False, True)


def test_after_an_unknown_end_a_code_that_it_ended_is_taken_away(stage: Stage) -> None:
    record = stage.holds_a_code(seconds_left=1700)
    stage.simulator.revoke(APP, "access_token", record.code)
    stage.platform_says(TOKEN_PATH, BROKEN)
    result = stage.renew()
    assert brief(result) == (Reason.NEAR_EXPIRY, Outcome.UNKNOWN, "bad_answer", 0, 1, 0)
    assert (stage.seen().record, result.snapshot.record) == (None, None)
    assert stage.lease().locked_until > 0


def test_force_renews_a_fresh_code_and_opens_no_lock(stage: Stage) -> None:
    stage.holds_a_code()
    assert brief(stage.renew(force=True)) == (Reason.FORCED, Outcome.ISSUED, "", 1, 0, 0)
    stage.holds_a_code()
    stage.another_acquires()
    assert brief(stage.renew(force=True)) == (Reason.LOCKED, None, "", 0, 0, 0)


# -- the same credential again
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime_s", "wait_s"), [(7200, 300), (1000, 200)])
def test_the_same_code_again_ends_as_check_code_says(lifetime_s: float, wait_s: float, stage: Stage) -> None:
    record = stage.holds_a_code(seconds_left=1000, age_s=6200)
    stage.simulator.shorten(APP, "access_token", record.code, lifetime_s)
    stage.platform_says(TOKEN_PATH, Fault.same_code())
    result = stage.renew()
    assert brief(result) == (Reason.NEAR_EXPIRY, Outcome.ISSUED, "", 1, 1, 1)
    assert result.warnings == ["the platform handed out the same credential again"]
    stored = stage.seen().record
    assert isinstance(stored, Record)
    assert (stored.code, stored.issued_at) == (record.code, record.issued_at)
    assert stored.expires_at == pytest.approx(stage.seen().now_ms / 1000 + lifetime_s, abs=NEARLY_MS / 1000)
    assert stage.lease().caller(ME).until == pytest.approx(stage.seen().now_ms + wait_s * 1000, abs=NEARLY_MS)
    assert stage.lease().outcome == "issued: the platform handed out the same credential again"


def test_the_same_code_again_keeps_its_expiry_while_check_code_is_silent(stage: Stage) -> None:
    record = stage.holds_a_code(seconds_left=1000, age_s=6200)
    stage.platform_says(TOKEN_PATH, Fault.same_code())
    stage.platform_says(CHECK_PATH, BROKEN)
    result = stage.renew()
    assert brief(result) == (Reason.NEAR_EXPIRY, Outcome.ISSUED, "", 1, 1, 2)
    assert result.warnings[0].startswith("checkCode: bad_answer: ")
    assert isinstance(result.snapshot.record, Record)
    assert result.snapshot.record.expires_at == record.expires_at
