"""The audit: other people's refreshes are noticed in time, reported, and hurt no reader."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest

import index
from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from support.flow import TICK_S, Deployment, of
from support.world import World
from token_refresher import Reader
from token_refresher import bootstrap as wiring
from token_refresher.cli import main as cli
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import NoCredentialError
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.function import handler as function_handler
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import read
from token_refresher.store.keys import keys_of

APP = "app0000"
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
KINDS = [TOKEN, TICKET]
PATH = {TOKEN: TOKEN_PATH, TICKET: TICKET_PATH}
QUICK = {"request_total_s": 1.0}
# So much the stored life and the real one may differ, by rounding and a busy machine (seconds).
ABOUT_S = 5


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Both credentials are stored, and as old as they may get before the audit asks about them."""
    deployment = Deployment(world, **QUICK)
    deployment.run()
    world.advance(250)
    return deployment


def life_s(deployment: Deployment, kind: Kind) -> float:
    """How long the stored value lives in Redis; negative when there is none."""
    left: Any = deployment.world.redis.client().pttl(keys_of(Target(APP, kind)).value)
    return float(left) / 1000


def another_program_refreshes(deployment: Deployment, kind: Kind) -> str:
    return deployment.simulator.issue(APP, kind.value).code


# -- a day ------------------------------------------------------------------------------------


@contextmanager
def warm(deployment: Deployment) -> Iterator[Refresher]:
    """A refresher that keeps its connections to the platform over all its runs, which saves a day of handshakes."""
    settings = read(deployment.environ)
    with wiring.platform(settings, deployment.clock) as platform:
        kept: Any = nullcontext(platform)
        yield replace(deployment.refresher(), platform=lambda: kept)


class Watchers:
    """Readers that look at every step. `dead` lists credentials that were not always accepted until the next step.

    What a reader held at one step it may have held until the next, so it must have been alive until then: no second
    between the steps escapes.
    """

    def __init__(self, deployment: Deployment, *ages_s: float) -> None:
        self._deployment, self._stack = deployment, ExitStack()
        url, clock = deployment.world.redis.url, deployment.clock
        self._readers = [
            self._stack.enter_context(Reader.from_url(url, clock=clock, timeout_s=10, max_age_s=age_s))
            for age_s in ages_s
        ]
        self._held: set[tuple[Kind, str]] = set()
        self.dead: list[str] = []
        self.missing = self.looks = 0

    def look(self) -> None:
        simulator = self._deployment.simulator
        for kind, code in self._held:
            if not simulator.valid(APP, kind.value, code):
                self.dead.append(f"{kind.value} at {self._deployment.world.now():.0f}")
        self._held = {(kind, code) for kind in KINDS for code in self._codes(kind)}
        for kind, code in self._held:
            if not simulator.valid(APP, kind.value, code):
                self.dead.append(f"{kind.value} at {self._deployment.world.now():.0f}")

    def _codes(self, kind: Kind) -> Iterator[str]:
        for reader in self._readers:
            self.looks += 1
            try:
                yield reader.record(APP, kind).code
            except NoCredentialError:
                self.missing += 1

    def __enter__(self) -> Watchers:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._stack.close()


# Hundreds of runs: seconds on an idle machine, minutes on one that has much else to do.
@pytest.mark.timeout(600)
def test_through_half_a_day_of_refreshes_by_another_program_no_reader_holds_a_refused_code_for_a_second(
    world: World,
) -> None:
    deployment = Deployment(world)
    reported = 0
    with Watchers(deployment, 0, 60) as readers, warm(deployment) as refresher:
        refresher.run_once(Command())
        for minute in range(1, 12 * 60 + 1):
            world.advance(TICK_S / 2)
            if minute % 30 == 0:
                for kind in KINDS:
                    another_program_refreshes(deployment, kind)
            world.advance(TICK_S / 2)
            readers.look()
            report = refresher.run_once(Command())
            readers.look()
            assert not report.in_danger
            reported += bool(report.warnings)
    assert readers.dead == []
    assert (readers.missing, readers.looks) == (0, 12 * 60 * 2 * 2 * 2)
    # One refresh for each of theirs; and two an hour are nothing to report yet.
    for kind in KINDS:
        assert deployment.fetches(kind) in (24, 25)
    assert reported == 0


def test_without_the_audit_the_same_hour_hurts_readers(world: World) -> None:
    """So the test above can fail."""
    deployment = Deployment(world, audit_interval_s=0)
    deployment.run()
    with Watchers(deployment, 0) as readers:
        another_program_refreshes(deployment, TICKET)
        for _ in range(15):
            world.advance(TICK_S)
            readers.look()
            deployment.refresher().run_once(Command())
    assert readers.dead


# -- one audit --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_superseded_code_is_renewed_in_the_same_run(deployment: Deployment, kind: Kind) -> None:
    theirs = another_program_refreshes(deployment, kind)
    renewed = of(deployment.run(), kind)
    assert (renewed.reason, renewed.outcome) == ("SUPERSEDED", Outcome.ISSUED)
    assert (renewed.questions, renewed.fetches, len(renewed.superseded_at)) == (1, 1, 1)
    assert renewed.superseded_at[0] == pytest.approx(deployment.world.now(), abs=ABOUT_S)
    newest = deployment.simulator.newest(APP, kind.value)
    assert newest is not None
    assert deployment.code(kind) == newest.code != theirs
    assert of(deployment.run(), kind).reason == "FRESH"


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_code_is_renewed_in_the_same_run(deployment: Deployment, kind: Kind) -> None:
    dead = deployment.code(kind)
    assert dead is not None
    deployment.simulator.revoke(APP, kind.value, dead)
    renewed = of(deployment.run(), kind)
    assert (renewed.reason, renewed.outcome, renewed.questions, renewed.fetches) == (
        "REFUSED",
        Outcome.ISSUED,
        1,
        1,
    )
    assert deployment.code(kind) != dead


def test_a_code_that_is_alive_and_the_newest_costs_a_question_and_nothing_else(deployment: Deployment) -> None:
    codes = [deployment.code(kind) for kind in KINDS]
    report = deployment.run()
    assert (report.summary()["questions"], report.summary()["fetches"]) == (2, 0)
    assert [each.outcome for each in report.targets] == [Outcome.KEPT] * 2
    assert [deployment.code(kind) for kind in KINDS] == codes
    assert deployment.run().summary()["questions"] == 0


def test_a_code_is_asked_about_once_in_an_interval_and_not_at_every_tick(world: World) -> None:
    deployment = Deployment(world)
    deployment.run()
    deployment.tick(60)
    asked = [each for each in deployment.simulator.requests if each.path == CHECK_PATH]
    for kind in KINDS:
        assert 3600 / 240 - 1 <= sum(each.kind == kind.value for each in asked) <= 3600 / 240


@pytest.mark.parametrize(("age_s", "questions"), [(5, 0), (15, 2)])
def test_a_code_younger_than_ten_seconds_is_not_asked_about(world: World, age_s: int, questions: int) -> None:
    deployment = Deployment(world)
    deployment.run()
    world.advance(age_s)
    assert deployment.run(Command(Action.AUDIT)).summary()["questions"] == questions


def test_the_audit_action_asks_at_once(deployment: Deployment) -> None:
    deployment.run()
    deployment.world.advance(20)
    assert deployment.run().summary()["questions"] == 0
    assert deployment.run(Command(Action.AUDIT)).summary()["questions"] == 2


def test_an_interval_of_zero_turns_the_audit_off_but_not_the_audit_action(world: World) -> None:
    deployment = Deployment(world, audit_interval_s=0)
    deployment.run()
    deployment.tick(20)
    assert deployment.simulator.count(CHECK_PATH) == 0
    assert deployment.run(Command(Action.AUDIT)).summary()["questions"] == 2


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
def test_checkcode_failing_is_a_warning_and_never_a_refresh(deployment: Deployment, dead: bool) -> None:
    code = deployment.code(TICKET)
    assert code is not None
    if dead:
        deployment.simulator.revoke(APP, TICKET.value, code)
    deployment.simulator.script(CHECK_PATH, Fault.status(503), times=None)
    for _ in range(3):
        report = deployment.refresher().run_once(Command())
        assert [each.reason for each in report.targets] == ["FRESH"] * 2
        assert all("checkCode: " in each.warnings[0] for each in report.targets)
        assert report.summary()["fetches"] == 0
        deployment.world.advance(TICK_S)
    assert deployment.code(TICKET) == code
    deployment.simulator.clear_faults()
    assert of(deployment.run(), TICKET).fetches == int(dead)


# -- a credential that cannot be replaced -----------------------------------------------------------

NO_CODE_COMES: dict[str, Callable[[], Fault]] = {
    "the platform refuses": lambda: Fault.platform_status(4000, "system busy"),
    "the outcome is unknown": lambda: Fault.cut(executed=False),
}


@pytest.mark.parametrize("why", NO_CODE_COMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_superseded_code_that_cannot_be_replaced_lives_only_as_long_as_the_platform_allows_it(
    deployment: Deployment, kind: Kind, why: str
) -> None:
    old = deployment.code(kind)
    another_program_refreshes(deployment, kind)
    assert old is not None
    deployment.simulator.script(PATH[kind], NO_CODE_COMES[why]())
    report = of(deployment.run(), kind)
    assert report.reason == "SUPERSEDED"
    assert report.outcome in (Outcome.REFUSED, Outcome.UNKNOWN)
    ends = deployment.simulator.valid_until(APP, kind.value, old)
    assert ends is not None
    assert deployment.code(kind) == old
    assert life_s(deployment, kind) == pytest.approx(ends - deployment.world.now(), abs=ABOUT_S)
    assert life_s(deployment, kind) <= ends - deployment.world.now() + 0.5
    value: Any = deployment.world.redis.client().get(keys_of(Target(APP, kind)).value)
    assert json.loads(value)["expires_in"] == pytest.approx(ends, abs=ABOUT_S)
    deployment.tick(3)
    assert deployment.code(kind) not in (None, old)
    assert (deployment.dead, deployment.missing) == ([], 0)


@pytest.mark.parametrize("why", NO_CODE_COMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_code_that_cannot_be_replaced_is_withdrawn(deployment: Deployment, kind: Kind, why: str) -> None:
    dead = deployment.code(kind)
    assert dead is not None
    deployment.simulator.revoke(APP, kind.value, dead)
    deployment.simulator.script(PATH[kind], NO_CODE_COMES[why]())
    report = of(deployment.run(), kind)
    assert (report.reason, report.in_danger) == ("REFUSED", True)
    assert life_s(deployment, kind) < 0
    deployment.tick(3)
    assert deployment.code(kind) is not None
    assert deployment.dead == []


# -- another refresher is reported ------------------------------------------------------------


def superseded(deployment: Deployment, times: int, every_s: int = 900) -> list[int]:
    """Let another program refresh the ticket so often; when it did (unix seconds)."""
    issued_at = []
    for number in range(times):
        another_program_refreshes(deployment, TICKET)
        issued_at.append(int(deployment.world.now()))
        deployment.world.advance(250)
        deployment.run(Command(kinds=(TICKET,)))
        if number < times - 1:
            deployment.world.advance(every_s - 250)
    return issued_at


def times_in(sentence: str) -> list[int]:
    """The instants that a warning names."""
    return [int(each) for each in sentence.split(", at ")[1].split(" (")[0].split(", ")]


def assert_named(sentence: str, issued_at: list[int]) -> None:
    assert sentence.startswith(f"someone else refreshes application {APP} too: its js_ticket was superseded 3 times")
    assert times_in(sentence) == [pytest.approx(each, abs=ABOUT_S) for each in issued_at]


def test_three_supersessions_within_an_hour_are_reported_as_another_refresher_with_the_times_of_its_issues(
    deployment: Deployment,
) -> None:
    issued_at = superseded(deployment, 2)
    assert deployment.run().warnings == ()
    deployment.world.advance(650)
    another_program_refreshes(deployment, TICKET)
    issued_at.append(int(deployment.world.now()))
    deployment.world.advance(250)
    report = deployment.run()
    assert len(report.warnings) == 1
    assert_named(report.warnings[0], issued_at)
    assert report.as_dict()["warnings"] == list(report.warnings)
    status = deployment.run(Command(Action.STATUS))
    assert status.warnings == report.warnings


def test_three_supersessions_in_more_than_an_hour_are_not_reported(deployment: Deployment) -> None:
    superseded(deployment, 3, every_s=1900)
    report = deployment.run()
    assert len(of(report, TICKET).superseded_at) == 3
    assert report.warnings == ()


def test_the_report_of_another_refresher_ends_an_hour_after_it_was_last_seen(deployment: Deployment) -> None:
    superseded(deployment, 3)
    assert deployment.run().warnings
    for _ in range(10):
        deployment.world.advance(360)
        deployment.run()
    assert deployment.run().warnings == ()


def test_our_own_refreshes_are_no_supersessions(world: World) -> None:
    deployment = Deployment(world)
    deployment.run()
    for _ in range(6):
        world.advance(600)
        report = deployment.run(Command(force=True))
        assert report.summary()["fetches"] == 2
        world.advance(250)
        report = deployment.run()
        assert report.warnings == ()
        assert all(each.superseded_at == () for each in report.targets)


@pytest.fixture
def cold_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function's instance is new, and gone after the test."""
    monkeypatch.setattr(function_handler, "_warm", [])
    logger = logging.getLogger("token_refresher")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.usefixtures("cold_start")
def test_another_refresher_shows_in_the_functions_log_and_answer(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    issued_at = superseded(deployment, 3)
    for name, value in deployment.environ.items():
        monkeypatch.setenv(name, value)
    caplog.clear()
    answer = index.handler(b"", None)
    logged = [json.loads(each.getMessage()) for each in caplog.records if each.name == "token_refresher"]
    assert len(logged) == 1
    for warnings in (answer["warnings"], logged[0]["warnings"]):
        assert len(warnings) == 1
        assert_named(warnings[0], issued_at)


def test_another_refresher_shows_in_the_status_for_people(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    issued_at = superseded(deployment, 3)
    assert cli.main(["status"], deployment.environ) == 0
    shown = [line for line in capsys.readouterr().err.splitlines() if "someone else" in line]
    assert len(shown) == 1
    assert_named(shown[0].removeprefix("warning: "), issued_at)


def test_check_repair_renews_what_another_program_superseded(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.run()
    theirs = another_program_refreshes(deployment, TICKET)
    assert cli.main(["check"], deployment.environ) != 0
    assert deployment.fetches(TICKET) == 1
    assert cli.main(["check", "--repair"], deployment.environ) == 0
    assert deployment.fetches(TICKET) == 2
    assert deployment.code(TICKET) != theirs
    assert "SUPERSEDED" in capsys.readouterr().out
