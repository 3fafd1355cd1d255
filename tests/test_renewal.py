"""One target's renewal, step by step: what is told of it, and what stands in Redis afterwards."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Simulator
from support.clients import client_of
from support.planted import plant
from support.redis_server import RedisServer
from token_refresher.course import Course
from token_refresher.keys import keys_of
from token_refresher.model import (
    Action,
    App,
    Command,
    Endpoints,
    Kind,
    Lease,
    Outcome,
    Record,
    Secret,
    Snapshot,
    Target,
)
from token_refresher.open_platform import Issued, OpenPlatform
from token_refresher.plan import Condemned, Reason, Verdict, retry_delay_s
from token_refresher.policy import Policy
from token_refresher.records import write_record
from token_refresher.renewal import Renewal
from token_refresher.store import Store

POLICY = Policy()
APP = "app0000"
TOKEN, TICKET = Target(APP, Kind.ACCESS_TOKEN), Target(APP, Kind.JS_TICKET)
KEYS = keys_of(TOKEN)
FORCE, CHECK = Command(force=True), Command(Action.CHECK)
SUPERSEDED, REFUSED = (Verdict(reason, "as the test says") for reason in (Reason.SUPERSEDED, Reason.REFUSED))
# Seconds between reading a clock here and in Redis, on a loaded machine.
NEARLY_MS = 5000


class Interrupted(OpenPlatform):
    """The platform's client; something happens right before a token is fetched, or right after. Notes the deadline."""

    before: Callable[[], object] = staticmethod(lambda: None)
    after: Callable[[], object] = staticmethod(lambda: None)
    until = 0.0

    def server_token(self, app: App, until: float) -> Issued:
        self.until = until
        self.before()
        issued = super().server_token(app, until)
        self.after()
        return issued


class Stand:
    """Redis and the platform by the machine's clock, and a steady clock that stands until it is moved."""

    def __init__(self, server: RedisServer) -> None:
        self.redis: Any = server.client()
        self.secret = plant("secret")
        self.simulator = Simulator({APP: self.secret})
        self.simulator.start()
        self.now = 1000.0
        self._client = client_of(f"redis://127.0.0.1:{server.port}/0", POLICY)
        self.pauses: list[float] = []
        self.store = Store(self._client, POLICY, "", self.pauses.append)
        self.platform = Interrupted(policy=POLICY, pool_size=2, clock=self.clock)
        self.app = self.app_at(self.simulator.url)
        self._attempts = itertools.count(1)

    def app_at(self, url: str) -> App:
        addresses = Endpoints(*(url + path for path in (TOKEN_PATH, TICKET_PATH, CHECK_PATH)))
        return App(APP, Secret(self.secret), endpoints=addresses)

    def close(self) -> None:
        self.platform.close()
        self._client.close()
        self.simulator.stop()

    def clock(self) -> float:
        return self.now

    def renewal(self, command: Command = Command(), within_s: float = 60) -> Renewal:  # noqa: B008 - frozen
        return Renewal(
            self.store,
            self.platform,
            POLICY,
            command,
            clock=self.clock,
            wall=time.time,
            read_at=self.now,
            until=self.now + within_s,
            new_attempt=lambda: f"attempt-{next(self._attempts)}",
        )

    def seen(self, target: Target = TOKEN) -> Snapshot:
        snapshot = self.store.load([target])[0]
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def lease(self) -> Lease:
        return self.seen().lease

    def set(self, **fields: object) -> None:
        self.redis.hset(KEYS.lease, mapping=fields)

    def renew(self, command: Command = Command(), **more: Any) -> Course:  # noqa: B008 - frozen
        return self.renewal(command).renew(self.app, self.seen(), **more)

    def holds_a_code(self, seconds_left: int = 7000, age_s: int = 200) -> Record:
        """Store the platform's newest token, settled, as one of that age and with so much left."""
        code = self.simulator.issue(APP, "access_token").code
        now = self.seen().now_ms // 1000
        record = Record(code, now + seconds_left, now - age_s, fence=7)
        self.redis.set(KEYS.value, write_record(TOKEN.kind, record), ex=seconds_left)
        self.set(attempt="old", fence=7, unsettled_since=0, audited_at=now * 1000, outcome="old")
        self.redis.expire(KEYS.lease, 600)
        return record

    def platform_says(self, path: str, fault: Fault) -> None:
        self.simulator.script(path, fault)


@pytest.fixture
def stand(redis_server: RedisServer) -> Iterator[Stand]:
    stand = Stand(redis_server)
    yield stand
    stand.close()


def told(course: Course) -> tuple[Reason, Outcome | None, str, int, int, int]:
    """Reason, outcome, code of the failure, requests for a code, questions, and number of warnings."""
    failure = course.failure.code if course.failure else ""
    return (
        course.step.reason, course.outcome, failure, course.fetches, course.questions, len(course.warnings)
    )  # fmt: skip


NO_PERMISSION, BROKEN = Fault.platform_status(4103, "no permission"), Fault.status(500)


# -- a code comes -----------------------------------------------------------------------------------------------------


def test_the_first_code_of_a_target(stand: Stand) -> None:
    course = stand.renew()
    assert told(course) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 0)
    newest = stand.simulator.newest(APP, "access_token")
    assert newest
    now_ms, fence = course.snapshot.now_ms, stand.lease().fence
    expected = Record(newest.code, int(now_ms / 1000 + 7200), now_ms // 1000, fence)
    assert course.snapshot.record == expected == stand.seen().record
    assert course.snapshot.lease == Lease(True, fence=fence, outcome="issued", outcome_at=now_ms)
    assert stand.lease().settled
    assert (stand.lease().locked_until, stand.lease().outcome, stand.lease().retry_at) == (0, "issued", 0)
    assert not course.elsewhere


def test_a_life_counts_from_the_sending_and_not_from_the_lease(stand: Stand) -> None:
    stand.platform.before = lambda: setattr(stand, "now", stand.now + 7)
    course = stand.renew()
    sent_at = course.snapshot.now_ms / 1000 + 7
    assert isinstance(course.snapshot.record, Record)
    assert (course.snapshot.record.issued_at, course.snapshot.record.expires_at) == (int(sent_at), int(sent_at + 7200))


@pytest.mark.parametrize(("within_s", "until_s"), [(20, 20), (30, 30), (60, 30)])
def test_nothing_is_sent_after_the_working_time_or_the_run_s(within_s: float, until_s: float, stand: Stand) -> None:
    stand.renewal(within_s=within_s).renew(stand.app, stand.seen())
    assert stand.platform.until == stand.now + until_s


def test_a_warning_of_the_platform_s_answer_is_handed_on(stand: Stand) -> None:
    stand.platform_says(TOKEN_PATH, Fault.code_length(129))
    assert told(stand.renew()) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 1)


def test_a_ticket_is_fetched_with_the_token(stand: Stand) -> None:
    token = stand.renew().snapshot
    course = stand.renewal().renew(stand.app, stand.seen(TICKET), token)
    assert told(course) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 0)
    assert course.snapshot.live
    assert stand.simulator.valid(APP, "js_ticket", course.snapshot.live.code)


@pytest.mark.parametrize("token", [None, Snapshot(TOKEN, 0, None)])
def test_a_ticket_without_a_token_takes_no_lease(token: Snapshot | None, stand: Stand) -> None:
    course = stand.renewal().renew(stand.app, stand.seen(TICKET), token)
    assert told(course) == (Reason.MISSING, Outcome.DEFERRED, "no_token", 0, 0, 0)
    assert not stand.seen(TICKET).lease.exists


# -- the lease --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("within_s", "outcome"), [(13, Outcome.ISSUED), (12.9, Outcome.DEFERRED)])
def test_an_attempt_has_to_fit_into_the_run(within_s: float, outcome: Outcome, stand: Stand) -> None:
    course = stand.renewal(within_s=within_s).renew(stand.app, stand.seen())
    assert course.outcome is outcome
    assert stand.lease().exists is (outcome is Outcome.ISSUED)
    assert outcome is Outcome.ISSUED or told(course)[2] == "not_sent_late"


def test_another_run_that_was_quicker_is_left_to_it(stand: Stand) -> None:
    before = stand.seen()
    stand.store.acquire(before, "another")
    course = stand.renewal().renew(stand.app, before)
    assert told(course) == (Reason.LOCKED, None, "", 0, 0, 0)
    assert (course.step.sentence, course.elsewhere) == ("another run took the lease first", True)


@pytest.mark.parametrize("at_work", [True, False])
def test_another_run_that_was_there_before_is_at_work_for_its_working_time(at_work: bool, stand: Stand) -> None:
    stand.store.acquire(stand.seen(), "another")
    if not at_work:
        stand.set(work_until=1)
    course = stand.renew()
    assert told(course) == (Reason.LOCKED, None, "", 0, 0, 0)
    assert course.elsewhere is at_work


def test_what_another_run_has_done_meanwhile_is_not_done_again(stand: Stand) -> None:
    before = stand.seen()
    stand.renew()
    course = stand.renewal().renew(stand.app, before)
    assert told(course) == (Reason.FRESH, None, "", 0, 0, 0)
    assert (stand.lease().locked_until, stand.lease().outcome, stand.lease().settled) == (0, "issued", True)
    assert stand.simulator.fetches(APP, "access_token") == 1


def test_a_lease_that_ended_meanwhile_loses_the_code(stand: Stand) -> None:
    stand.platform.after = lambda: stand.set(locked_until=0)
    course = stand.renew()
    assert told(course) == (Reason.MISSING, Outcome.LOST, "store_lost", 1, 0, 0)
    assert stand.seen().record is None
    assert not stand.lease().settled


def test_with_all_gone_meanwhile_the_code_is_stored_and_unsettled(stand: Stand) -> None:
    stand.platform.after = lambda: stand.redis.delete(KEYS.lease)
    course = stand.renew()
    assert told(course) == (Reason.MISSING, Outcome.ISSUED, "", 1, 0, 0)
    assert course.snapshot.lease.unsettled_since == course.snapshot.now_ms
    assert not stand.lease().settled


def test_a_redis_that_takes_no_writes_any_more_loses_the_code(start_redis: Callable[..., RedisServer]) -> None:
    stand = Stand(start_redis())
    stand.redis.replicaof("127.0.0.1", "1")
    assert told(stand.renew()) == (Reason.MISSING, Outcome.DEFERRED, "redis_read_only", 0, 0, 0)
    stand.redis.replicaof("NO", "ONE")
    stand.platform.after = lambda: stand.redis.replicaof("127.0.0.1", "1")
    assert told(stand.renew()) == (Reason.MISSING, Outcome.LOST, "redis_read_only", 1, 0, 0)
    stand.close()


def test_storing_a_code_is_tried_again_for_seconds(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    stand = Stand(server)
    stand.platform.after = server.stop
    assert told(stand.renew()) == (Reason.MISSING, Outcome.LOST, "redis_unreachable", 1, 0, 0)
    assert stand.pauses == [0.2, 1.0, 2.0]
    stand.close()


# -- no code comes ----------------------------------------------------------------------------------------------------


def test_refusals_are_counted_and_waited_after(stand: Stand) -> None:
    for failures in (1, 2):
        stand.platform_says(TOKEN_PATH, NO_PERMISSION)
        course = stand.renew(FORCE)
        assert told(course) == (Reason.MISSING, Outcome.REFUSED, "no_permission", 1, 0, 0)
        lease, wait_ms = stand.lease(), retry_delay_s(TOKEN, failures, POLICY) * 1000
        assert (lease.failures, lease.outcome, lease.locked_until) == (failures, "refused: no_permission", 0)
        assert lease.retry_at == pytest.approx(stand.seen().now_ms + wait_ms, abs=NEARLY_MS)
        assert (course.snapshot.lease.outcome, course.snapshot.lease.attempt) == ("refused: no_permission", "")


def test_during_the_wait_nothing_is_tried_but_at_once(stand: Stand) -> None:
    stand.platform_says(TOKEN_PATH, NO_PERMISSION)
    stand.renew()
    assert told(stand.renew()) == (Reason.BACKING_OFF, None, "", 0, 0, 0)
    assert told(stand.renew(at_once=True))[:2] == (Reason.MISSING, Outcome.ISSUED)


def test_what_never_left_is_no_fetch_and_is_tried_again_soon(stand: Stand) -> None:
    stand.app = stand.app_at("http://127.0.0.1:9")
    for _ in range(2):
        assert told(stand.renew(FORCE)) == (Reason.MISSING, Outcome.REFUSED, "not_sent_connect", 0, 0, 0)
        assert stand.lease().retry_at == pytest.approx(stand.seen().now_ms + 30_000, abs=NEARLY_MS)
    assert (stand.lease().failures, stand.lease().outcome) == (2, "refused: not_sent_connect")


def test_what_was_too_late_to_send_is_put_off_and_held_against_nobody(stand: Stand) -> None:
    stand.platform.before = lambda: setattr(stand, "now", stand.now + 31)
    course = stand.renew()
    assert told(course) == (Reason.MISSING, Outcome.DEFERRED, "not_sent_late", 0, 0, 0)
    lease = stand.lease()
    assert (lease.failures, lease.retry_at, lease.locked_until, lease.outcome) == (0, 0, 0, "")
    assert course.snapshot.lease.outcome == ""


def test_an_unknown_end_keeps_the_lock(stand: Stand) -> None:
    stand.platform_says(TOKEN_PATH, BROKEN)
    course = stand.renew()
    assert told(course) == (Reason.MISSING, Outcome.UNKNOWN, "bad_answer", 1, 0, 0)
    lease = stand.lease()
    assert lease.locked_until > stand.seen().now_ms
    assert (lease.failures, lease.outcome, lease.settled) == (1, "unknown: bad_answer", False)
    shown = course.snapshot.lease
    assert (shown.locked_until, shown.outcome, shown.settled) == (lease.locked_until, "unknown: bad_answer", False)


@pytest.mark.parametrize("fault", [NO_PERMISSION, BROKEN], ids=["refused", "unknown"])
@pytest.mark.parametrize(("verdict", "left"), [(REFUSED, False), (SUPERSEDED, True)], ids=["dead", "superseded"])
def test_a_dead_code_that_cannot_be_replaced_is_withdrawn(
    fault: Fault, verdict: Verdict, left: bool, stand: Stand
) -> None:
    record = stand.holds_a_code()
    stand.platform_says(TOKEN_PATH, fault)
    course = stand.renew(condemned=Condemned(record.fingerprint, verdict))
    assert course.step.reason is verdict.reason
    assert (course.snapshot.record is not None) is left
    assert (course.snapshot.raw is not None) is left
    assert (stand.seen().record is not None) is left


def test_what_is_said_of_another_code_changes_nothing(stand: Stand) -> None:
    stand.holds_a_code()
    course = stand.renew(condemned=Condemned("01234567", REFUSED))
    assert told(course) == (Reason.FRESH, None, "", 0, 0, 0)


# -- the same code again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime_s", "wait_s"), [(7200, 300), (1000, 200)])
def test_the_same_code_again_ends_as_check_code_says(lifetime_s: float, wait_s: float, stand: Stand) -> None:
    record = stand.holds_a_code(seconds_left=1000, age_s=100)
    stand.simulator.shorten(APP, "access_token", record.code, lifetime_s)
    stand.platform_says(TOKEN_PATH, Fault.same_code())
    course = stand.renew()
    assert told(course) == (Reason.NEAR_EXPIRY, Outcome.ISSUED, "", 1, 1, 1)
    assert course.warnings == ["the platform handed out the same code again"]
    stored = stand.seen().record
    assert isinstance(stored, Record)
    assert (stored.code, stored.issued_at) == (record.code, record.issued_at)
    assert stored.expires_at == pytest.approx(stand.seen().now_ms / 1000 + lifetime_s, abs=NEARLY_MS / 1000)
    assert stand.lease().retry_at == pytest.approx(stand.seen().now_ms + wait_s * 1000, abs=NEARLY_MS)
    assert stand.lease().outcome == "issued: the platform handed out the same code again"


def test_the_same_code_again_keeps_its_expiry_while_check_code_is_silent(stand: Stand) -> None:
    record = stand.holds_a_code(seconds_left=1000)
    stand.platform_says(TOKEN_PATH, Fault.same_code())
    stand.platform_says(CHECK_PATH, BROKEN)
    course = stand.renew()
    assert told(course) == (Reason.NEAR_EXPIRY, Outcome.ISSUED, "", 1, 1, 2)
    assert course.warnings[0].startswith("checkCode: bad_answer: ")
    assert isinstance(course.snapshot.record, Record)
    assert course.snapshot.record.expires_at == record.expires_at


# -- questions --------------------------------------------------------------------------------------------------------


def test_an_audit_of_a_good_code(stand: Stand) -> None:
    stand.holds_a_code()
    stand.set(audited_at=1)
    course = stand.renew()
    assert told(course) == (Reason.FRESH, Outcome.KEPT, "", 0, 1, 0)
    assert not course.step.ask
    assert stand.lease().audited_at == pytest.approx(stand.seen().now_ms, abs=NEARLY_MS)


def test_an_audit_without_an_answer(stand: Stand) -> None:
    stand.holds_a_code()
    stand.set(audited_at=1)
    stand.platform_says(CHECK_PATH, BROKEN)
    assert told(stand.renew()) == (Reason.FRESH, None, "", 0, 1, 1)
    assert stand.lease().audited_at == 1


@pytest.mark.parametrize("fault", [None, BROKEN])
def test_a_complaint_about_a_good_code_costs_a_question(fault: Fault | None, stand: Stand) -> None:
    record = stand.holds_a_code()
    stand.set(audited_at=1)
    stand.redis.set(KEYS.refused, record.fingerprint, ex=600)
    if fault:
        stand.platform_says(CHECK_PATH, fault)
    course = stand.renew()
    assert told(course) == (Reason.FRESH, None if fault else Outcome.KEPT, "", 0, 1, 1 if fault else 0)
    assert not course.step.ask
    # Without an answer it stays for the next run.
    assert stand.seen().complaint == (record.fingerprint if fault else None)


def test_a_complaint_about_a_dead_code_brings_a_new_one(stand: Stand) -> None:
    record = stand.holds_a_code()
    stand.set(audited_at=1)
    stand.redis.set(KEYS.refused, record.fingerprint, ex=600)
    stand.simulator.revoke(APP, "access_token", record.code)
    course = stand.renew()
    assert told(course) == (Reason.REFUSED, Outcome.ISSUED, "", 1, 1, 0)
    assert course.step.sentence == "the platform refuses the stored code"


def test_a_code_that_was_superseded_is_renewed_and_its_life_told(stand: Stand) -> None:
    record = stand.holds_a_code()
    stand.set(audited_at=1)
    stand.simulator.issue(APP, "access_token")
    course = stand.renew()
    assert told(course) == (Reason.SUPERSEDED, Outcome.ISSUED, "", 1, 1, 0)
    early_s = int(course.step.sentence.removeprefix("the platform ends the stored code ").split()[0])
    assert early_s == pytest.approx(record.expires_at - (stand.seen().now_ms / 1000 + 600), abs=NEARLY_MS / 1000)
    assert len(course.snapshot.lease.superseded) == 1


def test_a_doubt_is_settled_by_a_question(stand: Stand) -> None:
    stand.holds_a_code()
    stand.set(unsettled_since=5)
    course = stand.renew()
    assert told(course) == (Reason.FRESH, Outcome.KEPT, "", 0, 1, 0)
    assert not course.step.ask
    assert course.snapshot.lease.settled
    assert (course.snapshot.lease.outcome, stand.lease().outcome) == ("kept", "kept")
    assert (stand.lease().settled, stand.lease().locked_until) == (True, 0)


def test_a_doubt_about_a_dead_code_brings_a_new_one(stand: Stand) -> None:
    record = stand.holds_a_code()
    stand.set(unsettled_since=5)
    stand.simulator.revoke(APP, "access_token", record.code)
    assert told(stand.renew()) == (Reason.REFUSED, Outcome.ISSUED, "", 1, 1, 0)


def test_a_doubt_about_a_dead_code_that_cannot_be_replaced_leaves_none(stand: Stand) -> None:
    record = stand.holds_a_code()
    stand.set(unsettled_since=5)
    stand.simulator.revoke(APP, "access_token", record.code)
    stand.platform_says(TOKEN_PATH, NO_PERMISSION)
    assert told(stand.renew()) == (Reason.REFUSED, Outcome.REFUSED, "no_permission", 1, 1, 0)
    assert stand.seen().record is None


def test_a_doubt_that_no_answer_settles_brings_a_new_one(stand: Stand) -> None:
    stand.holds_a_code()
    stand.set(unsettled_since=5)
    stand.platform_says(CHECK_PATH, BROKEN)
    assert told(stand.renew()) == (Reason.UNSETTLED, Outcome.ISSUED, "", 1, 1, 1)


def test_a_doubt_about_a_code_near_its_end_is_settled_and_the_code_renewed(stand: Stand) -> None:
    record = stand.holds_a_code(seconds_left=1000)
    stand.simulator.shorten(APP, "access_token", record.code, 1000)
    stand.set(unsettled_since=5)
    assert told(stand.renew()) == (Reason.NEAR_EXPIRY, Outcome.ISSUED, "", 1, 1, 0)


def test_a_doubt_that_is_settled_near_the_end_waits_as_long_as_after_any_refusal(stand: Stand) -> None:
    record = stand.holds_a_code(seconds_left=1000)
    stand.simulator.shorten(APP, "access_token", record.code, 1000)
    stand.set(unsettled_since=5, retry_at=stand.seen().now_ms + 60_000)
    assert told(stand.renew()) == (Reason.BACKING_OFF, Outcome.KEPT, "", 0, 1, 0)
    assert stand.lease().settled


# -- only looking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", [False, True])
def test_a_check_asks_and_changes_nothing(dead: bool, stand: Stand) -> None:
    record = stand.holds_a_code()
    if dead:
        stand.simulator.revoke(APP, "access_token", record.code)
    before = stand.redis.hgetall(KEYS.lease), stand.redis.get(KEYS.value)
    course = stand.renew(CHECK)
    expected = (Reason.REFUSED, None) if dead else (Reason.FRESH, Outcome.KEPT)
    assert told(course) == (*expected, "", 0, 1, 0)
    assert (stand.redis.hgetall(KEYS.lease), stand.redis.get(KEYS.value)) == before


def test_a_check_of_nothing_asks_nothing(stand: Stand) -> None:
    assert told(stand.renew(CHECK)) == (Reason.MISSING, None, "", 0, 0, 0)
    assert stand.simulator.count() == 0


def test_a_check_without_an_answer_says_so(stand: Stand) -> None:
    stand.holds_a_code()
    stand.platform_says(CHECK_PATH, BROKEN)
    assert told(stand.renew(CHECK)) == (Reason.FRESH, None, "", 0, 1, 1)
