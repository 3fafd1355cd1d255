"""One run over all targets: what it reads, what it does in which order, and what it tells."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Simulator
from support.clients import client_of
from support.planted import plant
from support.redis_server import RedisServer
from token_refresher.errors import StoreError
from token_refresher.keys import keys_of
from token_refresher.model import Action, App, Command, Endpoints, Kind, Outcome, Record, Secret, Snapshot, Target
from token_refresher.open_platform import OpenPlatform
from token_refresher.policy import Policy
from token_refresher.records import write_record
from token_refresher.refresh import Refresher, _warnings
from token_refresher.report import Report, TargetReport
from token_refresher.store import Store

POLICY = Policy()
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
TICKETS, FORCE = Command(kinds=(TICKET,)), Command(force=True)


class Stand:
    """Redis and the platform by the machine's clock, two applications, and a steady clock that goes on by itself."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.redis: Any = server.client()
        secrets = {name: plant(f"secret-of-{name}") for name in ("app0000", "app0001")}
        self.simulator = Simulator(secrets)
        self.simulator.start()
        self.done: list[str] = []
        self.now, self.step_s = 1000.0, 0.0
        self.platforms = 0
        self._ids = itertools.count(1)
        self._clients: list[Any] = []
        addresses = Endpoints(*(self.simulator.url + path for path in (TOKEN_PATH, TICKET_PATH, CHECK_PATH)))
        self.apps = [App(name, Secret(secret), endpoints=addresses) for name, secret in secrets.items()]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.simulator.stop()

    def clock(self) -> float:
        self.now += self.step_s
        return self.now

    def store(self, user: str = "") -> Store:
        self._clients.append(client_of(f"redis://{user}127.0.0.1:{self.server.port}/0", POLICY))
        return Store(self._clients[-1], POLICY, "", lambda _seconds: None)

    def platform(self) -> OpenPlatform:
        self.platforms += 1
        return OpenPlatform(policy=POLICY, pool_size=4, clock=self.clock)

    def run(self, command: Command = Command(), user: str = "", limit_s: float | None = None) -> Report:  # noqa: B008
        refresher = Refresher(
            apps=self.apps,
            policy=POLICY,
            store=self.store(user),
            platform=self.platform,
            clock=self.clock,
            wall=time.time,
            new_id=lambda: f"id-{next(self._ids)}",
            on_done=self.done.append,
        )
        return refresher.run_once(command, limit_s)

    def seen(self, target: Target) -> Snapshot:
        (snapshot,) = self.store().load([target])
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def put(self, target: Target, seconds_left: int, code: str) -> None:
        """A settled code, three minutes old, which is not to be asked about yet."""
        now, keys = int(time.time()), keys_of(target)
        record = Record(code, now + seconds_left, now - 180, fence=7)
        self.redis.set(keys.value, write_record(target.kind, record), ex=max(seconds_left, 1))
        self.redis.hset(keys.lease, mapping={"fence": 7, "unsettled_since": 0, "audited_at": now * 1000})
        self.redis.expire(keys.lease, 600)

    def only_tickets(self, server: RedisServer) -> str:
        """A user of Redis who may not touch the first application's token."""
        rules = ["on", "nopass", "+@all"]
        keys = ["~type/js_ticket*", "~{type/js_ticket*", "~*app0001*"]
        server.client().execute_command("ACL", "SETUSER", "tickets", *rules, *keys)
        return "tickets:x@"


@pytest.fixture
def stand(redis_server: RedisServer) -> Iterator[Stand]:
    stand = Stand(redis_server)
    yield stand
    stand.close()
    redis_server.client().execute_command("ACL", "DELUSER", "tickets")


def told(report: Report) -> list[tuple[str, str, str, Outcome | None]]:
    return [(each.target.app_id, each.target.kind.value, each.reason, each.outcome) for each in report.targets]


def of(report: Report, kind: Kind, app_id: str = "app0000") -> TargetReport:
    (found,) = [each for each in report.targets if each.target == Target(app_id, kind)]
    return found


def test_a_first_run_fetches_everything_each_token_before_its_ticket(stand: Stand) -> None:
    report = stand.run()
    assert told(report) == [
        (app_id, kind, "MISSING", Outcome.ISSUED)
        for app_id in ("app0000", "app0001")
        for kind in ("access_token", "js_ticket")
    ]
    assert sorted(stand.done) == ["app0000", "app0001"]
    assert report.at == pytest.approx(time.time(), abs=5)
    assert (report.action, report.warnings, stand.platforms) == ("refresh", (), 1)


def test_a_second_run_opens_nothing(stand: Stand) -> None:
    stand.run()
    stand.done.clear()
    assert {reason for _, _, reason, _ in told(stand.run())} == {"FRESH"}
    assert (stand.platforms, stand.done) == (1, [])


def test_a_run_of_no_applications_tells_of_nothing(stand: Stand) -> None:
    report = stand.run(Command(apps=("another",)))
    assert (report.targets, report.at) == ((), 0)


def test_how_long_it_took_is_told_in_milliseconds(stand: Stand) -> None:
    stand.run()
    stand.step_s = 0.5
    # Begun, read, done.
    assert stand.run().took_ms == 1000


@pytest.mark.parametrize(("limit_s", "outcome"), [(None, Outcome.ISSUED), (12.5, Outcome.DEFERRED)])
def test_it_has_two_working_times_or_what_it_is_given(
    limit_s: float | None, outcome: Outcome, stand: Stand
) -> None:
    assert {each.outcome for each in stand.run(limit_s=limit_s).targets} == {outcome}


def test_two_working_times_are_sixty_seconds(stand: Stand) -> None:
    # Begun, read, and before the lease: 48 s later no request and no answer of Redis fits in any more.
    stand.step_s = 24.0
    report = stand.run(Command(apps=("app0000",), kinds=(TOKEN,)))
    assert (of(report, TOKEN).outcome, of(report, TOKEN).fetches) == (Outcome.DEFERRED, 0)
    assert not stand.seen(Target("app0000", TOKEN)).lease.exists
    stand.step_s = 23.0
    report = stand.run(Command(apps=("app0000",), kinds=(TOKEN,)))
    assert stand.seen(Target("app0000", TOKEN)).lease.exists


@pytest.mark.parametrize("action", [Action.STATUS, Action.CHECK])
def test_who_only_looks_fetches_nothing(action: Action, stand: Stand) -> None:
    assert {reason for _, _, reason, _ in told(stand.run(Command(action)))} == {"MISSING"}
    assert stand.simulator.count() == 0
    assert action is Action.CHECK or stand.platforms == 0


def test_a_check_asks_about_every_code_that_lives(stand: Stand) -> None:
    stand.run()
    report = stand.run(Command(Action.CHECK))
    assert [each.questions for each in report.targets] == [1, 1, 1, 1]
    assert {each.outcome for each in report.targets} == {Outcome.KEPT}


def test_an_audit_that_is_due_is_work(stand: Stand) -> None:
    stand.put(Target("app0000", TOKEN), 5000, stand.simulator.issue("app0000", "access_token").code)
    stand.redis.hset(keys_of(Target("app0000", TOKEN)).lease, "audited_at", 0)
    token = of(stand.run(Command(apps=("app0000",), kinds=(TOKEN,))), TOKEN)
    assert (token.reason, token.outcome, token.questions) == ("FRESH", Outcome.KEPT, 1)


# -- tickets and their tokens ---------------------------------------------------------------


def test_a_ticket_alone_brings_the_token_that_it_needs(stand: Stand) -> None:
    report = stand.run(Command(apps=("app0000",), kinds=(TICKET,)))
    assert told(report) == [
        ("app0000", "access_token", "MISSING", Outcome.ISSUED),
        ("app0000", "js_ticket", "MISSING", Outcome.ISSUED),
    ]


def test_a_ticket_alone_uses_the_token_that_is_there(stand: Stand) -> None:
    stand.run(Command(kinds=(TOKEN,)))
    report = stand.run(Command(apps=("app0000",), kinds=(TICKET,)))
    assert told(report) == [("app0000", "js_ticket", "MISSING", Outcome.ISSUED)]


def test_a_ticket_that_is_not_due_brings_no_token(stand: Stand) -> None:
    stand.put(Target("app0000", TICKET), 5000, "a ticket")
    stand.redis.hset(keys_of(Target("app0000", TICKET)).lease, "audited_at", 0)
    report = stand.run(Command(apps=("app0000",), kinds=(TICKET,)))
    assert [each.target.kind for each in report.targets] == [TICKET]
    assert stand.simulator.fetches("app0000", "access_token") == 0


@pytest.mark.parametrize("command", [Command(), TICKETS], ids=["both", "tickets"])
def test_a_ticket_refused_for_its_token_brings_a_new_token_and_is_tried_once_more(
    command: Command, stand: Stand
) -> None:
    dead = stand.simulator.issue("app0000", "access_token").code
    stand.simulator.revoke("app0000", "access_token", dead)
    stand.put(Target("app0000", TOKEN), 5000, dead)
    report = stand.run(Command(apps=("app0000",), kinds=command.kinds))
    token, ticket = of(report, TOKEN), of(report, TICKET)
    assert (token.reason, token.outcome, token.fetches) == ("REFUSED", Outcome.ISSUED, 1)
    assert token.sentence == "the ticket interface refuses the access_token"
    assert (ticket.reason, ticket.outcome, ticket.fetches, ticket.failure) == ("MISSING", Outcome.ISSUED, 2, None)


def test_where_no_new_token_comes_the_ticket_is_not_tried_again(stand: Stand) -> None:
    dead = stand.simulator.issue("app0000", "access_token").code
    stand.simulator.revoke("app0000", "access_token", dead)
    stand.put(Target("app0000", TOKEN), 5000, dead)
    stand.simulator.script(TOKEN_PATH, Fault.platform_status(4103, "no permission"))
    report = stand.run(Command(apps=("app0000",)))
    token, ticket = of(report, TOKEN), of(report, TICKET)
    assert (token.outcome, token.fetches) == (Outcome.REFUSED, 1)
    assert (ticket.outcome, ticket.fetches) == (Outcome.REFUSED, 1)
    assert ticket.failure
    assert ticket.failure.code == "token_invalid"


@pytest.mark.parametrize("at_work", [True, False])
def test_a_ticket_waits_for_the_run_that_fetches_its_token(at_work: bool, stand: Stand) -> None:
    target = Target("app0000", TOKEN)
    stand.store().acquire(stand.seen(target), "another")
    if not at_work:
        stand.redis.hset(keys_of(target).lease, "work_until", 1)
    report = stand.run(Command(apps=("app0000",)))
    ticket = of(report, TICKET)
    if at_work:
        assert (ticket.reason, ticket.outcome, ticket.failure, ticket.in_danger) == ("LOCKED", None, None, False)
        assert ticket.sentence == "another run is fetching the access_token that it needs"
    else:
        assert (ticket.reason, ticket.outcome, ticket.in_danger) == ("MISSING", Outcome.DEFERRED, True)
        assert ticket.failure
        assert ticket.failure.code == "no_token"
    assert of(report, TOKEN).in_danger is not at_work


# -- what goes wrong ------------------------------------------------------------------------


def test_nothing_readable_at_all_ends_the_run(stand: Stand) -> None:
    user = stand.only_tickets(stand.server)
    with pytest.raises(StoreError):
        stand.run(Command(apps=("app0000",), kinds=(TOKEN,)), user)


def test_what_cannot_be_read_is_told_and_stops_no_other(stand: Stand) -> None:
    stand.run(Command(apps=("app0000",)))
    report = stand.run(user=stand.only_tickets(stand.server))
    token = of(report, TOKEN)
    assert (token.reason, token.outcome, token.in_danger) == ("NOT_READ", Outcome.DEFERRED, True)
    assert token.failure
    assert token.failure.code == "redis_no_permission"
    assert token.sentence == token.failure.message
    assert {of(report, kind, "app0001").outcome for kind in Kind} == {Outcome.ISSUED}
    assert of(report, TICKET).reason == "FRESH"


def test_a_ticket_whose_token_cannot_be_read_is_put_off(stand: Stand) -> None:
    report = stand.run(user=stand.only_tickets(stand.server))
    ticket = of(report, TICKET)
    assert (ticket.reason, ticket.outcome) == ("MISSING", Outcome.DEFERRED)
    assert ticket.failure
    assert ticket.failure.code == "no_token"


def test_a_lock_without_an_end_in_sight_is_danger_and_one_at_work_is_none(stand: Stand) -> None:
    for app, work_until in (("app0000", 1), ("app0001", None)):
        target = Target(app, TOKEN)
        stand.store().acquire(stand.seen(target), "another")
        if work_until:
            stand.redis.hset(keys_of(target).lease, "work_until", work_until)
    report = stand.run(Command(kinds=(TOKEN,)))
    assert [(each.reason, each.in_danger) for each in report.targets] == [("LOCKED", True), ("LOCKED", False)]
    assert stand.platforms == 0


def test_a_defect_is_told_of_its_application_and_stops_no_other(stand: Stand) -> None:
    stand.apps[0] = App("app0000", stand.apps[0].secret, endpoints=None)  # type: ignore[arg-type]
    report = stand.run()
    for kind in Kind:
        defect = of(report, kind)
        assert (defect.reason, defect.outcome) == ("MISSING", Outcome.DEFERRED)
        assert defect.failure
        assert defect.failure.code == "internal_error"
        assert defect.failure.message.startswith("unexpected AttributeError in server_token, line ")
        assert of(report, kind, "app0001").outcome is Outcome.ISSUED
    assert sorted(stand.done) == ["app0000", "app0001"]


@pytest.mark.parametrize(
    ("ages_s", "warned"), [((10, 20, 3590), True), ((10, 20, 3610), False), ((10, 20), False), ((1, 2, 3, 9000), True)]
)
def test_somebody_else_is_told_of_after_three_times_within_the_hour(
    ages_s: tuple[int, ...], warned: bool, stand: Stand
) -> None:
    stand.put(Target("app0000", TICKET), 5000, "a ticket")
    instants = [int(time.time()) - age_s for age_s in reversed(ages_s)]
    text = "".join(f" {instant}000" for instant in instants)
    stand.redis.hset(keys_of(Target("app0000", TICKET)).lease, "superseded", text)
    warnings = stand.run(Command(Action.STATUS)).warnings
    recent = ", ".join(str(instant) for instant in instants[-3:])
    expected = (
        "someone else refreshes application app0000 too: its js_ticket was superseded 3 times within the hour, "
        f"at {recent} (unix seconds)"
    )
    assert warnings == ((expected,) if warned else ())


def test_an_hour_ago_is_not_within_the_hour() -> None:
    def told(*ages_s: int) -> bool:
        seen = TargetReport(Target("app0000", TOKEN), "FRESH", "", superseded_at=tuple(9000 - age for age in ages_s))
        return bool(_warnings([seen], 9000))

    assert told(3599, 2, 1)
    assert not told(3600, 2, 1)
