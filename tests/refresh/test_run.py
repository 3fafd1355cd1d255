"""One run over all targets: what it reads, what it does in which order, and what it reports."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Simulator
from support.clients import client_of
from support.endpoints import endpoints_at
from support.leases import digest
from support.planted import plant
from support.redis_server import RedisServer
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import PlatformError, StoreError
from token_refresher.domain.model import App, Kind, Outcome, Record, Secret, Snapshot, Target, fingerprint
from token_refresher.domain.platform_answer import Issued
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Report, TargetReport
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform
from token_refresher.refresh.limits import Limits, asking, fetching
from token_refresher.refresh.run import EARLIER_SELF, SICK_COPY, Refresher, _others
from token_refresher.store.keys import keys_of
from token_refresher.store.record_json import write_record
from token_refresher.store.redis_store import RedisStore

POLICY = Policy()
ME, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
TICKETS, FORCE = Command(kinds=(TICKET,)), Command(force=True)
# Only a defect makes a test wait so long (s).


class Stage:
    """Redis and the platform by the machine's clock, two applications, and a steady clock of its own.

    That goes on by `step_s` at each look, with each pause, and by `opening_s` when a run opens connections.
    """

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.redis: Any = server.client()
        secrets = {name: plant(f"secret-of-{name}") for name in ("app0000", "app0001")}
        self.simulator = Simulator(secrets)
        self.simulator.start()
        self.done: list[str] = []
        # Called after the work on each application.
        self.after: Callable[[], object] = lambda: None
        self.now, self.step_s, self.opening_s = 1000.0, 0.0, 0.0
        self.platforms = 0
        self.opens: type[YuanzhibangPlatform] = YuanzhibangPlatform
        self.pauses: list[float] = []
        self._ids = itertools.count(1)
        self._clients: list[Any] = []
        addresses = endpoints_at(self.simulator.url, TOKEN_PATH, TICKET_PATH, CHECK_PATH)
        self._addresses = addresses
        self.apps = [App(name, Secret(secret), endpoints=addresses) for name, secret in secrets.items()]
        self.policy = POLICY
        self.limits: Limits | None = None

    def add(self, app_id: str) -> None:
        """One application more."""
        secret = plant(f"secret-of-{app_id}")
        self.simulator.add_app(app_id, secret)
        self.apps.append(App(app_id, Secret(secret), endpoints=self._addresses))

    def ended(self, app_id: str) -> None:
        self.done.append(app_id)
        self.after()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.simulator.stop()

    def clock(self) -> float:
        self.now += self.step_s
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)

    def store(self, user: str = "") -> RedisStore:
        self._clients.append(client_of(f"redis://{user}127.0.0.1:{self.server.port}/0", POLICY))
        return RedisStore(self._clients[-1], POLICY, "", lambda _seconds: None)

    def platform(self) -> YuanzhibangPlatform:
        self.platforms += 1
        self.now += self.opening_s
        return self.opens(policy=POLICY, pool_size=4, clock=self.clock)

    def run(self, command: Command = Command(), user: str = "", limit_s: float | None = None) -> Report:  # noqa: B008
        refresher = Refresher(
            apps=self.apps,
            policy=self.policy,
            store=self.store(user),
            platform=self.platform,
            clock=self.clock,
            wall=time.time,
            pause=self.pause,
            new_id=lambda: f"id-{next(self._ids)}",
            callers={app.app_id: ME for app in self.apps},
            limits=self.limits or Limits(self.clock),
            on_done=self.ended,
        )
        return refresher.run_once(command, limit_s)

    def seen(self, target: Target) -> Snapshot:
        (snapshot,) = self.store().load([target])
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def put(self, target: Target, seconds_left: int, code: str, age_s: int = 2200) -> None:
        """A settled credential which is not to be asked about yet."""
        now, keys = int(time.time()), keys_of(target)
        record = Record(code, now + seconds_left, now - age_s, fence=7)
        value = write_record(target.kind, record)
        self.redis.set(keys.value, value, ex=max(seconds_left, 1))
        known = {"fence": 7, "mark": "", "value": digest(value), "audited_at": now * 1000}
        self.redis.hset(keys.lease, mapping=known)
        self.redis.expire(keys.lease, 600)

    def only_tickets(self, server: RedisServer) -> str:
        """A user of Redis who may not touch the first application's token."""
        rules = ["on", "nopass", "+@all"]
        keys = ["~type/js_ticket*", "~{type/js_ticket*", "~*app0001*"]
        server.client().execute_command("ACL", "SETUSER", "tickets", *rules, *keys)
        return "tickets:x@"


@pytest.fixture
def stage(redis_server: RedisServer) -> Iterator[Stage]:
    stage = Stage(redis_server)
    yield stage
    stage.close()
    redis_server.client().execute_command("ACL", "DELUSER", "tickets")


def brief(report: Report) -> list[tuple[str, str, str, Outcome | None]]:
    return [(each.target.app_id, each.target.kind.value, each.reason, each.outcome) for each in report.targets]


def of(report: Report, kind: Kind, app_id: str = "app0000") -> TargetReport:
    (found,) = [each for each in report.targets if each.target == Target(app_id, kind)]
    return found


def test_a_first_run_fetches_everything_each_token_before_its_ticket(stage: Stage) -> None:
    report = stage.run()
    assert brief(report) == [
        (app_id, kind, "MISSING", Outcome.ISSUED)
        for app_id in ("app0000", "app0001")
        for kind in ("access_token", "js_ticket")
    ]
    assert sorted(stage.done) == ["app0000", "app0001"]
    assert report.at == pytest.approx(time.time(), abs=5)
    assert (report.action, report.warnings, stage.platforms) == ("refresh", (), 1)


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
def test_what_a_full_redis_drops_at_once_is_not_reported_as_well(policy: str, stage: Stage) -> None:
    used = stage.redis.info("memory")["used_memory"]
    stage.redis.set("another tool's", "x" * 3_000_000)
    stage.redis.config_set("maxmemory-policy", policy)
    stage.redis.config_set("maxmemory", used - 500_000)
    try:
        report = stage.run(Command(apps=("app0000",)))
    finally:
        stage.redis.config_set("maxmemory", 0)
        stage.redis.config_set("maxmemory-policy", "noeviction")
        stage.redis.delete("another tool's")
    left = [
        target for target in (Target("app0000", kind) for kind in Kind) if stage.redis.exists(keys_of(target).value)
    ]
    assert len(left) < 2, "nothing was evicted"
    assert [each.in_danger for each in report.targets] == [each.target not in left for each in report.targets]
    assert report.alarm()


def test_a_second_run_opens_nothing(stage: Stage) -> None:
    stage.run()
    stage.done.clear()
    assert {reason for _, _, reason, _ in brief(stage.run())} == {"FRESH"}
    assert (stage.platforms, stage.done) == (1, [])


def test_a_run_of_no_applications_tells_of_nothing(stage: Stage) -> None:
    report = stage.run(Command(apps=("another",)))
    assert (report.targets, report.at) == ((), 0)


def test_how_long_it_took_is_told_in_milliseconds(stage: Stage) -> None:
    stage.run()
    stage.step_s = 0.5
    # Begun, read, done.
    assert stage.run().took_ms == 1000


@pytest.mark.parametrize(("limit_s", "outcome"), [(None, Outcome.ISSUED), (12.5, Outcome.DEFERRED)])
def test_it_has_two_working_times_or_what_it_is_given(limit_s: float | None, outcome: Outcome, stage: Stage) -> None:
    assert {each.outcome for each in stage.run(limit_s=limit_s).targets} == {outcome}


def test_two_working_times_are_sixty_seconds(stage: Stage) -> None:
    # 47 s later no request and no answer of Redis fits in any more.
    command = Command(apps=("app0000",), kinds=(TOKEN,))
    stage.opening_s = 47.0
    token = of(stage.run(command), TOKEN)
    assert (token.outcome, token.fetches) == (Outcome.DEFERRED, 0)
    assert not stage.seen(Target("app0000", TOKEN)).lease.exists
    stage.opening_s = 46.9
    assert of(stage.run(command), TOKEN).outcome is Outcome.ISSUED


@pytest.mark.parametrize("action", [Action.STATUS, Action.CHECK])
def test_who_only_looks_fetches_nothing(action: Action, stage: Stage) -> None:
    assert {reason for _, _, reason, _ in brief(stage.run(Command(action)))} == {"MISSING"}
    assert stage.simulator.count() == 0
    assert action is Action.CHECK or stage.platforms == 0


def test_a_check_asks_about_every_code_that_lives(stage: Stage) -> None:
    stage.run()
    report = stage.run(Command(Action.CHECK))
    assert [each.questions for each in report.targets] == [1, 1, 1, 1]
    assert {each.outcome for each in report.targets} == {Outcome.KEPT}


def test_an_audit_that_is_due_is_work(stage: Stage) -> None:
    stage.put(Target("app0000", TOKEN), 5000, stage.simulator.issue("app0000", "access_token").code)
    stage.redis.hset(keys_of(Target("app0000", TOKEN)).lease, "audited_at", 0)
    token = of(stage.run(Command(apps=("app0000",), kinds=(TOKEN,))), TOKEN)
    assert (token.reason, token.outcome, token.questions) == ("FRESH", Outcome.KEPT, 1)


# -- tickets and their tokens ---------------------------------------------------------------


def test_a_ticket_alone_brings_the_token_that_it_needs(stage: Stage) -> None:
    report = stage.run(Command(apps=("app0000",), kinds=(TICKET,)))
    assert brief(report) == [
        ("app0000", "access_token", "MISSING", Outcome.ISSUED),
        ("app0000", "js_ticket", "MISSING", Outcome.ISSUED),
    ]


def test_a_ticket_alone_uses_the_token_that_is_there(stage: Stage) -> None:
    stage.run(Command(kinds=(TOKEN,)))
    report = stage.run(Command(apps=("app0000",), kinds=(TICKET,)))
    assert brief(report) == [("app0000", "js_ticket", "MISSING", Outcome.ISSUED)]


def test_a_ticket_that_is_not_due_brings_no_token(stage: Stage) -> None:
    stage.put(Target("app0000", TICKET), 5000, stage.simulator.issue("app0000", "js_ticket").code)
    stage.redis.hset(keys_of(Target("app0000", TICKET)).lease, "audited_at", 0)
    report = stage.run(Command(apps=("app0000",), kinds=(TICKET,)))
    assert [each.target.kind for each in report.targets] == [TICKET]
    assert stage.simulator.fetches("app0000", "access_token") == 0


@pytest.mark.parametrize("command", [Command(), TICKETS], ids=["both", "tickets"])
def test_a_ticket_refused_for_its_token_brings_a_new_token_and_is_tried_once_more(
    command: Command, stage: Stage
) -> None:
    dead = stage.simulator.issue("app0000", "access_token").code
    stage.simulator.revoke("app0000", "access_token", dead)
    stage.put(Target("app0000", TOKEN), 5000, dead)
    report = stage.run(Command(apps=("app0000",), kinds=command.kinds))
    token, ticket = of(report, TOKEN), of(report, TICKET)
    assert (token.reason, token.outcome, token.fetches) == ("REFUSED", Outcome.ISSUED, 1)
    assert token.sentence == "the platform refuses the stored credential"
    assert token.warnings == ("the ticket interface refuses the access_token",)
    assert (ticket.reason, ticket.outcome, ticket.fetches, ticket.failure) == ("MISSING", Outcome.ISSUED, 1, None)


def test_where_no_new_token_comes_the_ticket_is_not_tried_again(stage: Stage) -> None:
    dead = stage.simulator.issue("app0000", "access_token").code
    stage.simulator.revoke("app0000", "access_token", dead)
    stage.put(Target("app0000", TOKEN), 5000, dead)
    stage.simulator.script(TOKEN_PATH, Fault.platform_status(4103, "no permission"))
    report = stage.run(Command(apps=("app0000",)))
    token, ticket = of(report, TOKEN), of(report, TICKET)
    assert (token.outcome, token.fetches) == (Outcome.REFUSED, 0)
    assert (ticket.outcome, ticket.fetches) == (Outcome.REFUSED, 0)
    assert stage.simulator.count(TICKET_PATH) == 1
    assert ticket.failure
    assert ticket.failure.code == "token_invalid"


@pytest.mark.parametrize("at_work", [True, False])
def test_a_ticket_waits_for_the_run_that_fetches_its_token(at_work: bool, stage: Stage) -> None:
    target = Target("app0000", TOKEN)
    stage.store().acquire(stage.seen(target), "another", OTHER)
    if not at_work:
        stage.redis.hset(keys_of(target).lease, "work_until", 1)
    report = stage.run(Command(apps=("app0000",)))
    ticket = of(report, TICKET)
    if at_work:
        assert (ticket.reason, ticket.outcome, ticket.failure, ticket.in_danger) == ("LOCKED", None, None, True)
        assert ticket.sentence == "another run is fetching the access_token that it needs"
    else:
        assert (ticket.reason, ticket.outcome, ticket.in_danger) == ("MISSING", Outcome.DEFERRED, True)
        assert ticket.failure
        assert ticket.failure.code == "no_token"
    # No credential is a danger, also while a run is at work on it.
    assert of(report, TOKEN).in_danger


# -- what goes wrong ------------------------------------------------------------------------


def test_nothing_readable_at_all_ends_the_run(stage: Stage) -> None:
    stage.server.client().execute_command("ACL", "SETUSER", "tickets", "on", "nopass", "+@all", "~nothing")
    with pytest.raises(StoreError):
        stage.run(Command(), "tickets:x@")


def test_a_token_alone_that_cannot_be_read_is_reported_as_danger(stage: Stage) -> None:
    user = stage.only_tickets(stage.server)
    report = stage.run(Command(apps=("app0000",), kinds=(TOKEN,)), user)
    assert brief(report) == [("app0000", "access_token", "NOT_READ", Outcome.DEFERRED)]
    assert report.in_danger == report.targets


def test_what_cannot_be_read_is_told_and_stops_no_other(stage: Stage) -> None:
    stage.run(Command(apps=("app0000",)))
    report = stage.run(user=stage.only_tickets(stage.server))
    token = of(report, TOKEN)
    assert (token.reason, token.outcome, token.in_danger) == ("NOT_READ", Outcome.DEFERRED, True)
    assert token.failure
    assert token.failure.code == "redis_no_permission"
    assert token.sentence == token.failure.message
    assert {of(report, kind, "app0001").outcome for kind in Kind} == {Outcome.ISSUED}
    assert of(report, TICKET).reason == "FRESH"


def test_the_other_credential_is_checked_and_foreseen_where_one_cannot_be_read(stage: Stage) -> None:
    stage.run(Command(apps=("app0000",)))
    user, asked = stage.only_tickets(stage.server), stage.simulator.count(CHECK_PATH)
    for action in (Action.CHECK, Action.STATUS):
        report = stage.run(Command(action, apps=("app0000",)), user)
        assert of(report, TOKEN).reason == "NOT_READ"
        assert of(report, TICKET).reason == "FRESH"
    assert stage.simulator.count(CHECK_PATH) == asked + 1
    assert (of(report, TOKEN).would, of(report, TICKET).would) == ("", "nothing")


def test_a_redis_that_takes_no_writes_defers_each_fetch_and_nothing_is_sent(stage: Stage) -> None:
    stage.redis.config_set("min-replicas-to-write", 1)
    try:
        report = stage.run(Command(apps=("app0000",)))
    finally:
        stage.redis.config_set("min-replicas-to-write", 0)
    assert (of(report, TOKEN).reason, of(report, TOKEN).outcome) == ("MISSING", Outcome.DEFERRED)
    assert "NOREPLICAS" in of(report, TOKEN).failure.message  # type: ignore[union-attr]
    assert stage.simulator.count(TOKEN_PATH) == 0


def test_a_ttl_that_cannot_be_corrected_is_told_and_its_credential_left_alone(stage: Stage) -> None:
    target = Target("app0000", TOKEN)
    stage.run(Command(apps=("app0000",)))
    stage.redis.expire(keys_of(target).value, 90_000)
    rules = ["on", "nopass", "~*", "+@all", "-pexpireat", "-pexpire"]
    stage.server.client().execute_command("ACL", "SETUSER", "tickets", *rules)
    fetches = stage.simulator.count(TOKEN_PATH)
    report = stage.run(Command(apps=("app0000",)), "tickets:x@")
    assert (of(report, TOKEN).reason, of(report, TOKEN).outcome) == ("NOT_READ", Outcome.DEFERRED)
    assert of(report, TOKEN).failure.code == "redis_no_permission"  # type: ignore[union-attr]
    assert of(report, TICKET).reason == "FRESH"
    assert stage.simulator.count(TOKEN_PATH) == fetches


def test_what_was_stored_is_reported_as_stored_where_redis_cannot_be_read_afterwards(stage: Stage) -> None:
    rules = ["on", "nopass", "~*", "+@all"]
    stage.server.client().execute_command("ACL", "SETUSER", "tickets", *rules)
    stage.after = lambda: stage.server.client().execute_command("ACL", "SETUSER", "tickets", "-eval")
    report = stage.run(Command(apps=("app0000",)), "tickets:x@")
    assert brief(report) == [
        ("app0000", "access_token", "MISSING", Outcome.ISSUED),
        ("app0000", "js_ticket", "MISSING", Outcome.ISSUED),
    ]


def test_a_ticket_whose_token_cannot_be_read_is_put_off(stage: Stage) -> None:
    report = stage.run(user=stage.only_tickets(stage.server))
    ticket = of(report, TICKET)
    assert (ticket.reason, ticket.outcome) == ("MISSING", Outcome.DEFERRED)
    assert ticket.failure
    assert ticket.failure.code == "no_token"


def test_a_missing_code_is_danger_while_a_run_is_at_work_on_it_too_and_its_lease_is_named(stage: Stage) -> None:
    for app, work_until in (("app0000", 1), ("app0001", None)):
        target = Target(app, TOKEN)
        stage.store().acquire(stage.seen(target), "another", OTHER)
        if work_until:
            stage.redis.hset(keys_of(target).lease, "work_until", work_until)
    report = stage.run(Command(kinds=(TOKEN,)))
    assert [(each.reason, each.in_danger) for each in report.targets] == [("LOCKED", True), ("LOCKED", True)]
    dead, at_work = (each.sentence.split(";")[0] for each in report.targets)
    assert (dead, at_work) == ("an earlier run stopped in the middle of a request", "another run may be fetching")
    assert stage.simulator.count() == 0


def test_a_defect_is_told_of_its_application_and_stops_no_other(stage: Stage) -> None:
    stage.apps[0] = App("app0000", stage.apps[0].secret, endpoints=None)  # type: ignore[arg-type]
    report = stage.run()
    for kind in Kind:
        defect = of(report, kind)
        assert (defect.reason, defect.outcome) == ("MISSING", Outcome.DEFERRED)
        assert defect.failure
        assert defect.failure.code == "internal_error"
        assert defect.failure.message.startswith("unexpected AttributeError in fetching, line ")
        assert of(report, kind, "app0001").outcome is Outcome.ISSUED
    assert sorted(stage.done) == ["app0000", "app0001"]


@pytest.mark.parametrize(
    ("ages_s", "warned"), [((10, 20, 3590), True), ((10, 20, 3610), False), ((10, 20), False), ((1, 2, 3, 9000), True)]
)
def test_another_program_is_reported_after_three_times_within_the_hour(
    ages_s: tuple[int, ...], warned: bool, stage: Stage
) -> None:
    stage.put(Target("app0000", TICKET), 5000, "a ticket")
    instants = [int(time.time()) - age_s for age_s in reversed(ages_s)]
    text = "".join(f" {instant}000" for instant in instants)
    stage.redis.hset(keys_of(Target("app0000", TICKET)).lease, "superseded", text)
    warnings = stage.run(Command(Action.STATUS)).warnings
    recent = ", ".join(str(instant) for instant in instants[-3:])
    expected = (
        "someone else refreshes application app0000 too: its js_ticket was superseded 3 times within the hour, "
        f"at {recent} (unix seconds)"
    )
    assert warnings == ((expected,) if warned else ())


def test_an_hour_ago_is_not_within_the_hour() -> None:
    def warned(*ages_s: int) -> bool:
        seen = TargetReport(Target("app0000", TOKEN), "FRESH", "", superseded_at=tuple(9000 - age for age in ages_s))
        return bool(_others([seen], 9000))

    assert warned(3599, 2, 1)
    assert not warned(3600, 2, 1)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.platform_status(4000, "something is wrong"), Outcome.REFUSED),
        (Fault.cut(executed=False), Outcome.UNKNOWN),
    ],
    ids=["refused", "unknown"],
)
def test_how_an_attempt_ended_is_reported_though_redis_fails_afterwards(
    fault: Fault, outcome: Outcome, start_redis: Callable[..., RedisServer]
) -> None:
    stage = Stage(start_redis())

    class Platform(YuanzhibangPlatform):
        def fetch_access_token(self, app: App, until: float) -> Issued:
            try:
                return super().fetch_access_token(app, until)
            finally:
                stage.redis.replicaof("127.0.0.1", "1")

    stage.simulator.script(TOKEN_PATH, fault)
    stage.opens = Platform
    token = of(stage.run(Command(apps=("app0000",))), TOKEN)
    stage.close()
    assert token.outcome is outcome
    assert token.warnings[0].startswith("redis_read_only: ")


# -- what is done first ---------------------------------------------------------------------


def order(stage: Stage, *paths: str) -> list[str]:
    """The applications in the order in which they were asked or fetched for."""
    return list(dict.fromkeys(each.app_id for each in stage.simulator.requests if each.path in paths))


def test_what_is_due_comes_before_questions_and_those_by_the_age_of_the_last_word(stage: Stage) -> None:
    """One application at a time: the least left first, then the longest unasked."""
    for number in range(2, 6):
        stage.add(f"app000{number}")
    stage.policy = replace(POLICY, concurrency=1)
    now = time.time()
    for number, (left_s, asked_s) in enumerate([(5000, 300), (5000, 900), (1000, 1), (700, 1), (1700, 1), (5000, 10)]):
        target = Target(f"app000{number}", TOKEN)
        stage.put(target, left_s, stage.simulator.issue(target.app_id, "access_token").code, age_s=7200 - left_s)
        stage.redis.hset(keys_of(target).lease, "audited_at", int((now - asked_s) * 1000))
    stage.run(Command(kinds=(TOKEN,)))
    assert order(stage, TOKEN_PATH, CHECK_PATH) == ["app0003", "app0002", "app0004", "app0001", "app0000"]


def test_what_a_reader_complains_of_comes_first_of_all(stage: Stage) -> None:
    stage.policy = replace(POLICY, concurrency=1)
    for app_id, left_s in (("app0000", 700), ("app0001", 5000)):
        code = stage.simulator.issue(app_id, "access_token").code
        stage.put(Target(app_id, TOKEN), left_s, code, age_s=7200 - left_s)
        stage.redis.hset(keys_of(Target(app_id, TOKEN)).lease, "audited_at", int((time.time() - 70) * 1000))
    # Even where its last attempt failed, which would let another one that is due go first.
    stage.redis.hset(keys_of(Target("app0001", TOKEN)).lease, "callers", f"{ME}:0:1:0:no_permission")
    stage.redis.set(keys_of(Target("app0001", TOKEN)).refused, fingerprint(code), ex=600)
    stage.run(Command(kinds=(TOKEN,)))
    assert order(stage, TOKEN_PATH, CHECK_PATH) == ["app0001", "app0000"]


def forty(stage: Stage, fault: Fault) -> Report:
    """A run over forty applications, the first ten of them due, one at a time, whose questions end so."""
    stage.policy = replace(POLICY, concurrency=1)
    for number in range(2, 40):
        stage.add(f"app{number:04d}")
    for app in stage.apps:
        target, left_s = Target(app.app_id, TOKEN), 1000 if app.app_id < "app0010" else 5000
        stage.put(target, left_s, stage.simulator.issue(app.app_id, "access_token").code, age_s=7200 - left_s)
        stage.redis.hset(keys_of(target).lease, "audited_at", int((time.time() - 300) * 1000))
    stage.simulator.script(CHECK_PATH, fault, times=None)
    report = stage.run(Command(kinds=(TOKEN,)))
    assert [each.target.app_id for each in report.targets if each.outcome is Outcome.ISSUED] == [
        f"app{number:04d}" for number in range(10)
    ]
    assert report.in_danger == ()
    return report


def asked(stage: Stage) -> list[str]:
    """Those that were not due. Of the ten whose tickets may have ended none is: there are no tickets."""
    return [each.app_id for each in stage.simulator.requests if each.path == CHECK_PATH and each.app_id >= "app0010"]


class Slow(YuanzhibangPlatform):
    """A question without an answer takes as long as it may, by the clock of the stage."""

    stage: Stage

    def check_code(self, *what: Any) -> Any:
        try:
            return super().check_code(*what)
        except PlatformError:
            self.stage.now += POLICY.request_total_s
            raise


def test_with_checkcode_silent_all_that_is_due_is_fetched_and_two_questions_are_asked(stage: Stage) -> None:
    stage.opens, Slow.stage = Slow, stage
    forty(stage, Fault.cut(executed=False))
    assert len(asked(stage)) == 2


def test_questions_that_fail_at_once_cost_no_other_its_question(stage: Stage) -> None:
    forty(stage, Fault.status(500))
    assert len(asked(stage)) == 30


def test_what_was_asked_in_vain_comes_last_and_the_longest_ago_first_even_where_a_reader_complained(
    stage: Stage,
) -> None:
    stage.policy, now = replace(POLICY, concurrency=1), time.time()
    for number in range(2, 5):
        stage.add(f"app000{number}")
    for number, asked_s in enumerate((250, 300, None, 280, None)):
        target, code = Target(f"app000{number}", TOKEN), stage.simulator.issue(f"app000{number}", "access_token").code
        stage.put(target, 5000, code)
        lease: dict[str, object] = {"audited_at": int((now - 400 + number) * 1000)}
        if asked_s:
            lease["callers"] = f"{ME}:0:0:{int((now - asked_s) * 1000)}:no_answer"
        stage.redis.hset(keys_of(target).lease, mapping=lease)
        if number == 3:
            stage.redis.set(keys_of(target).refused, fingerprint(code), ex=600)
    stage.run(Command(kinds=(TOKEN,)))
    assert order(stage, CHECK_PATH) == ["app0002", "app0004", "app0001", "app0003", "app0000"]


def test_audits_that_were_limited_the_last_time_take_turns_with_the_others(stage: Stage) -> None:
    stage.policy, now = replace(POLICY, concurrency=1), time.time()
    for number in range(2, 6):
        stage.add(f"app000{number}")
    stage.limits = Limits(stage.clock)
    for number, app in enumerate(stage.apps):
        target = Target(app.app_id, TOKEN)
        stage.put(target, 5000, stage.simulator.issue(app.app_id, "access_token").code)
        stage.redis.hset(keys_of(target).lease, "audited_at", int((now - 900 + 50 * number) * 1000))
        if number < 4:
            stage.limits.limited(asking(app), app.app_id, 0)
    stage.run(Command(kinds=(TOKEN,)))
    assert [each[-1] for each in order(stage, CHECK_PATH)] == ["4", "0", "5", "1", "2", "3"]


def test_fetches_that_failed_the_last_time_take_turns_with_the_others(stage: Stage) -> None:
    """However many hang, those that work get every other turn."""
    stage.policy = replace(POLICY, concurrency=1)
    for number in range(2, 5):
        stage.add(f"app000{number}")
    for number in range(3):
        stage.redis.hset(keys_of(Target(f"app000{number}", TOKEN)).lease, "callers", f"{ME}:0:1:0:no_answer")
    stage.run(Command(kinds=(TOKEN,)))
    assert [each[-1] for each in order(stage, TOKEN_PATH)] == ["3", "0", "4", "1", "2"]


@pytest.mark.parametrize(
    ("asked_s", "complaint", "first"),
    [(300, False, "app0000"), (359, False, "app0000"), (361, False, "app0001"), (300, True, "app0001")],
)
def test_an_audit_comes_after_a_fetch_that_waits_for_a_limit_unless_it_is_long_overdue(
    asked_s: float, complaint: bool, first: str, stage: Stage
) -> None:
    stage.policy, stage.limits = replace(POLICY, concurrency=1), Limits(stage.clock)
    stage.limits.limited(fetching(stage.apps[0], TOKEN), "app0000", 20)
    target, code = Target("app0001", TOKEN), stage.simulator.issue("app0001", "access_token").code
    stage.put(target, 5000, code)
    stage.redis.hset(keys_of(target).lease, "audited_at", int((time.time() - asked_s) * 1000))
    if complaint:
        stage.redis.set(keys_of(target).refused, fingerprint(code), ex=600)
    report = stage.run(Command(kinds=(TOKEN,)))
    assert order(stage, TOKEN_PATH, CHECK_PATH)[0] == first
    assert [(each.outcome, each.questions) for each in report.targets] == [(Outcome.ISSUED, 0), (Outcome.KEPT, 1)]


# -- what is corrected at first sight -------------------------------------------------------


@pytest.mark.parametrize("action", [Action.REFRESH, Action.STATUS, Action.CHECK])
def test_a_missing_ttl_is_corrected_at_first_sight_without_the_platform(action: Action, stage: Stage) -> None:
    """Only looking changes nothing."""
    stage.simulator.stop()
    now = int(time.time())
    for kind, left_s in ((TOKEN, 5000), (TICKET, 300)):
        value = write_record(kind, Record("a credential of another tool", now + left_s))
        stage.redis.set(keys_of(Target("app0000", kind)).value, value)
    stage.run(Command(action, apps=("app0000",)))
    ttls = [stage.redis.ttl(keys_of(Target("app0000", kind)).value) for kind in (TOKEN, TICKET)]
    if action is Action.REFRESH:
        # Nothing is known of how it came there: it lives for the grace.
        assert ttls == [pytest.approx(600, abs=5), pytest.approx(300, abs=5)]
        assert not stage.seen(Target("app0000", TOKEN)).lease.settled
    else:
        assert ttls == [-1, -1]
        assert not stage.seen(Target("app0000", TOKEN)).lease.exists
    for kind in (TOKEN, TICKET):
        stage.redis.delete(keys_of(Target("app0000", kind)).value)


def test_a_ttl_too_long_for_a_settled_code_is_corrected_to_its_recorded_end(stage: Stage) -> None:
    stage.put(Target("app0000", TOKEN), 5000, "a credential")
    key = keys_of(Target("app0000", TOKEN)).value
    stage.redis.expire(key, 50_000)
    report = stage.run(Command(apps=("app0000",), kinds=(TOKEN,)))
    assert of(report, TOKEN).reason == "FRESH"
    assert stage.redis.ttl(key) == pytest.approx(5000, abs=5)
    assert stage.platforms == 0


@pytest.mark.parametrize("action", [Action.STATUS, Action.CHECK])
def test_status_and_check_change_nothing(action: Action, stage: Stage) -> None:
    dead = stage.simulator.issue("app0000", "access_token").code
    stage.simulator.revoke("app0000", "access_token", dead)
    stage.put(Target("app0000", TOKEN), 1000, dead)
    stage.redis.hset(keys_of(Target("app0000", TOKEN)).lease, "audited_at", 0)
    stage.redis.set(keys_of(Target("app0000", TOKEN)).refused, fingerprint(dead), ex=600)
    keys = sorted(stage.redis.keys("*"))
    before = [stage.redis.dump(key) for key in keys]
    report = stage.run(Command(action))
    assert sorted(stage.redis.keys("*")) == keys
    assert [stage.redis.dump(key) for key in keys] == before
    assert stage.simulator.count() == (1 if action is Action.CHECK else 0)
    assert of(report, TOKEN).would == ("ask" if action is Action.STATUS else "")


# -- sick copies ----------------------------------------------------------------------------


def test_a_copy_that_is_refused_or_does_not_end_its_attempts_is_named(stage: Stage) -> None:
    target = Target("app0000", TOKEN)
    stage.put(target, 5000, "a credential")
    soon = int(time.time() + 100) * 1000
    words = [
        f"{ME}:{soon}:3:0:wrong_secret",
        f"{OTHER}:{soon}:1:0:wrong_secret",
        f"cccccccccccc:{soon}:2:0:no_end",
        # the platform's fault, an old one, a question in vain, one that was well again
        f"dddddddddddd:{soon}:1:0:platform_refused",
        f"eeeeeeeeeeee:{soon - 800_000}:1:0:wrong_secret",
        f"ffffffffffff:{soon}:0:0:not_white_listed",
        "111111111111:0:0:0:",
    ]
    stage.redis.hset(keys_of(target).lease, "callers", " ".join(words))
    expected = (
        f"{SICK_COPY} ({OTHER}) is refused: wrong_secret (application app0000), last at ",
        f"{SICK_COPY} (cccccccccccc) does not end its attempts (application app0000), last at ",
    )
    for command in (Command(), Command(Action.STATUS)):
        said = stage.run(command).warnings
        assert tuple(re.sub("([0-9-]{10} [0-9:]{5}|[0-9:]{8}) UTC.*", "", each) for each in said) == expected
        assert all("; unless it fails again, this note ends by itself at " in each for each in said)


def test_a_copy_is_certainly_another_once_it_leaves_a_trace_after_this_one(stage: Stage) -> None:
    target, now = Target("app0000", TOKEN), int(time.time())
    stage.put(target, 5000, "a credential")

    def is_sure(own_asked_s_ago: int, asked_s_ago: int, failed_s_ago: int) -> bool:
        until, asked = (now - failed_s_ago + 30) * 1000, (now - asked_s_ago) * 1000
        own = f"{ME}:0:0:{(now - own_asked_s_ago) * 1000}:"
        words = f"{own} {OTHER}:{until}:1:{asked}:wrong_secret"
        stage.redis.hset(keys_of(target).lease, mapping={"callers": words, "by": ME, "issued_by": ""})
        (warning,) = stage.run(Command(Action.STATUS)).warnings
        return not warning.endswith(EARLIER_SELF)

    assert not is_sure(20, 500, 100)
    assert not is_sure(20, 60, 100)
    assert is_sure(200, 500, 100)
    assert is_sure(80, 60, 100)


def test_a_note_about_a_copy_ends_ten_minutes_after_its_last_attempt(stage: Stage) -> None:
    target = Target("app0000", TOKEN)
    stage.put(target, 5000, "a credential")
    now = int(time.time())

    def noted(failed_s_ago: int, code: str = "wrong_secret", **lease: object) -> int:
        # One failure: it waits for 30 s and up to 10 % more.
        until = (now - failed_s_ago + 32) * 1000
        fields = {"callers": f"{OTHER}:{until}:1:0:{code}", "outcome_at": 0, "by": ME} | lease
        stage.redis.hset(keys_of(target).lease, mapping=fields)
        return len(stage.run(Command(Action.STATUS)).warnings)

    assert [noted(580), noted(640)] == [1, 0]
    # What the lease knows exactly counts: a late copy waits for less.
    assert noted(640, by=OTHER, outcome_at=(now - 590) * 1000) == 1
    assert noted(580, by=OTHER, outcome_at=(now - 610) * 1000) == 0


def test_a_note_about_a_copy_s_address_ends_when_that_copy_fetches_the_other_credential(stage: Stage) -> None:
    token, ticket = Target("app0000", TOKEN), Target("app0000", TICKET)
    stage.put(token, 5000, "a credential")
    stage.put(ticket, 5000, "a ticket")
    now = int(time.time())

    def fetched_ticket() -> dict[str, object]:
        done = {"attempt": "x", "finished": "x", "by": OTHER, "issued_by": OTHER, "outcome": "issued"}
        return done | {"outcome_at": (now - 5) * 1000}

    for code, left in (("not_white_listed", 0), ("wrong_secret", 1)):
        stage.redis.hset(keys_of(token).lease, "callers", f"{OTHER}:{(now - 100) * 1000}:1:0:{code}")
        stage.redis.hdel(keys_of(ticket).lease, "by")
        assert len(stage.run(Command(Action.STATUS)).warnings) == 1
        stage.redis.hset(keys_of(ticket).lease, mapping=fetched_ticket())
        assert len(stage.run(Command(Action.STATUS)).warnings) == left


def test_a_copy_that_is_at_work_is_not_named(stage: Stage) -> None:
    target = Target("app0000", TOKEN)
    stage.store().acquire(stage.seen(target), "another", OTHER)
    assert stage.run(Command(Action.STATUS)).warnings == ()
    stage.redis.hset(keys_of(target).lease, "work_until", 1)
    assert len(stage.run(Command(Action.STATUS)).warnings) == 1
