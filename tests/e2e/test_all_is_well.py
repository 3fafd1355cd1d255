"""Everything that shows state agrees on danger: exit codes, health, page, doctor and report."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("flask", reason="the extra `daemon` is not installed, so there is no page")

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Simulator
from support.command_line import Call, caller, process_environ
from support.flow import Deployment, holding, of
from support.planted import plant
from support.world import World
from token_refresher.daemon.instrumentation import instrumented
from token_refresher.daemon.scheduler import Scheduler
from token_refresher.doctor.examine import examine
from token_refresher.doctor.finding import Finding, Severity
from token_refresher.domain.command import Action, Command
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.reader.sync_reader import Reader
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import read
from token_refresher.store.keys import keys_of
from token_refresher.web.history import RunHistory
from token_refresher.web.metrics import Metrics
from token_refresher.web.page.routes import blueprint
from token_refresher.web.page.standalone import read_once
from token_refresher.web.page.view import Page
from token_refresher.web.page.view import page as page_of
from token_refresher.web.server import create_app

STATUS = Command(Action.STATUS)


@pytest.fixture
def deployment(world: World) -> Deployment:
    return Deployment(world)


@pytest.fixture
def error_page(deployment: Deployment) -> Simulator:
    """A gateway's error page in place of the platform."""
    for path in (CHECK_PATH, TOKEN_PATH, TICKET_PATH):
        deployment.simulator.script(path, Fault.html(), times=None)
    return deployment.simulator


@pytest.fixture
def call(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(deployment.environ, capsys)


def shown_by(state: RunHistory) -> Page:
    return page_of(state)


def daemon(deployment: Deployment) -> tuple[Scheduler, RunHistory, Any]:
    """A daemon's loop, its state, and a client of what it serves."""
    state = RunHistory(dict.fromkeys(deployment.app_ids, ""), deployment.refresher().policy, deployment.clock)

    metrics = Metrics(state)

    def make() -> Refresher:
        return instrumented(deployment.refresher(), metrics, state.redis_answered, lambda: False)

    loop = Scheduler(make, state, clock=deployment.clock, random=lambda: 0.0, new_id=lambda: "id", on_run=metrics.ran)
    app = create_app(state, metrics.text)
    app.register_blueprint(blueprint(state))
    return loop, state, app.test_client()


def examined(deployment: Deployment, name: str) -> list[Finding]:
    findings = examine(deployment.environ, wall=deployment.world.now, clock=deployment.clock)
    return [each for each in findings if each.name == name]


# -- nothing is stored, and an error page answers ------------------------------------------------


@pytest.mark.usefixtures("error_page")
def test_with_an_error_page_for_a_platform_no_refresh_is_well(deployment: Deployment) -> None:
    command = [sys.executable, "-m", "token_refresher", "refresh"]
    for expected in ("MISSING +unknown", "LOCKED +-"):
        ended = subprocess.run(
            command, env=process_environ(deployment.environ), capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 1
        assert re.search(rf"access_token +{expected}", ended.stdout)
        assert ", 2 in danger;" in ended.stdout
        assert "2 of 2 credentials are missing" in ended.stderr


@pytest.mark.usefixtures("error_page")
def test_status_and_plan_name_the_attempt_without_an_end_and_when_the_next_try_comes(call: Call) -> None:
    call("refresh")
    for command in ("status", "plan"):
        ended = call(command)
        assert ended.code == (1 if command == "status" else 0)
        assert "2 of 2 credentials are missing" in ended.err
    (token, ticket) = call("status", "--json").json["targets"]
    assert (token["reason"], token["in_danger"], ticket["in_danger"]) == ("LOCKED", True, True)
    said = re.fullmatch(
        "an earlier run got no answer; "
        r"other copies may try again in (\d+) s, this one in (\d+) s",
        token["sentence"],
    )
    assert said
    assert 60 < int(said[1]) <= 90
    assert int(said[1]) + 60 == int(said[2])


@pytest.mark.usefixtures("error_page")
def test_health_and_page_of_two_daemons_say_the_same_in_each_tick(deployment: Deployment) -> None:
    daemons = [daemon(deployment) for _ in range(2)]
    for _ in range(4):
        for loop, state, client in daemons:
            loop.run_once()
            assert client.get("/healthz").status_code == 503
            shown = shown_by(state)
            assert shown.headline.text == "2 of 2 credentials need you"
            assert [each.status.word for each in shown.applications[0].credentials] == ["No credential"] * 2
        deployment.world.advance(30)


@pytest.mark.usefixtures("error_page")
def test_the_doctor_names_the_attempt_without_an_end_and_no_run_at_work(deployment: Deployment) -> None:
    deployment.run()
    (token, _) = examined(deployment, "run lease")
    assert token.severity is Severity.YELLOW
    assert re.fullmatch(
        r"an attempt did not end: locked for 1 min \d\d s more, then the next one may begin", token.says
    )
    assert {each.severity for each in examined(deployment, "credential stored")} == {Severity.RED}


@pytest.mark.usefixtures("error_page")
def test_a_lock_without_an_end_is_not_looked_at_again_and_again(deployment: Deployment) -> None:
    deployment.run()
    paused: list[float] = []
    deployment.pause = paused.append  # type: ignore[assignment, method-assign]
    deployment.run()
    assert paused == []


def test_while_a_run_is_at_work_the_page_says_no_code_and_the_doctor_that_it_is_at_work(
    deployment: Deployment,
) -> None:
    with deployment.child(holding("RedisStore", "finish", Kind.ACCESS_TOKEN)) as child:
        child.wait_for("at:finish")
        report = deployment.refresher().run_once(STATUS)
        assert of(report, Kind.ACCESS_TOKEN).in_danger
        assert next(each.says for each in examined(deployment, "run lease")) == "a run is at work on it"
        child.kill()


# -- the refresher dies -----------------------------------------------------------------------


def reading(deployment: Deployment) -> RunHistory:
    """What `status --serve` knows after a look at Redis."""
    state = RunHistory(dict.fromkeys(deployment.app_ids, ""), deployment.refresher().policy, deployment.clock)
    read_once(state, deployment.refresher())
    return state


def test_the_page_alone_says_when_the_last_refresh_was_by_what_redis_knows(deployment: Deployment) -> None:
    deployment.run()
    deployment.world.advance(100)
    shown = shown_by(reading(deployment))
    assert shown.refreshed is not None
    assert shown.refreshed.relation.startswith("1 min 4")
    assert shown.run is not None
    assert shown.run.at.relation == "0 s ago"
    assert "All 2 credentials are fine" in shown.headline.text
    deployment.world.advance(1100)
    shown = shown_by(reading(deployment))
    assert shown.headline.text == "No refresh for 20 min"


def test_the_page_alone_never_calls_its_own_reading_a_run(deployment: Deployment) -> None:
    deployment.run()
    state = reading(deployment)
    client = create_app(state)
    client.register_blueprint(blueprint(state))
    text = re.sub("<[^>]*>", "", client.test_client().get("/").text)
    assert "Last run" not in text
    assert re.search(r"Last refresh\s+\d s ago\s+· read\s+\d s ago", text)


def test_where_no_refresh_is_known_the_page_says_so(deployment: Deployment) -> None:
    shown = shown_by(reading(deployment))
    assert shown.refreshed is None
    assert shown.headline.text == "2 of 2 credentials need you"


def test_of_a_refresher_whose_questions_are_not_answered_redis_knows_too(deployment: Deployment) -> None:
    deployment.run()
    deployment.simulator.script(CHECK_PATH, Fault.html(), times=None)
    deployment.tick(12)
    shown = shown_by(reading(deployment))
    assert shown.refreshed is not None
    assert "No refresh" not in shown.headline.text


# -- a fetch is out -----------------------------------------------------------------------------


def test_while_a_fetch_is_out_it_is_shown_what_readers_have_and_why(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.age(1700)
    with deployment.child(holding("YuanzhibangPlatform", "fetch_access_token")) as child:
        child.wait_for("at:fetch_access_token")
        state = reading(deployment)
        (stored, _) = examined(deployment, "credential stored")
        shown = caller(deployment.environ, capsys)("status").out
        child.kill()
    assert "readers have it for" in stored.says
    assert re.search(r"access_token .* (9 min 5\d s|10 min), a fetch may be out ", shown)
    token, ticket = shown_by(state).applications[0].credentials
    assert re.fullmatch(r"9 min 5\d s|10 min", token.left)
    assert ticket.left == "28 min"
    assert "for as long as a fetch may be out" in token.cut
    assert ticket.cut == ""
    assert state.latest is not None
    assert not state.latest.report.in_danger


# -- short lives ---------------------------------------------------------------------------------


@pytest.fixture
def short(start_world: Callable[..., World]) -> Deployment:
    return Deployment(start_world(lifetime_s=300))


def test_a_platform_that_issues_300_s_gives_no_false_alarm(short: Deployment) -> None:
    loop, state, client = daemon(short)
    for _ in range(10):
        loop.run_once()
        assert client.get("/healthz").status_code == 200
        shown = shown_by(state)
        assert [each.status.word for each in shown.applications[0].credentials] == ["Fresh"] * 2
        assert {each.bar.severity.value for each in shown.applications[0].credentials} == {"good"}
        report = short.refresher().run_once(STATUS)
        assert not report.in_danger
        assert {each.severity for each in examined(short, "credential stored")} == {Severity.GREEN}
        short.world.advance(60)
    assert short.dead == []


def test_a_short_life_is_shown_as_the_part_of_it_that_is_left(short: Deployment) -> None:
    short.run()
    short.world.advance(60)
    (code, _) = shown_by(reading(short)).applications[0].credentials
    assert code.bar.lifetime_s == 300
    assert 75 < code.bar.percent <= 80
    assert code.bar.margin == 50.0


# -- what plan says --------------------------------------------------------------------------------


def another_copy_dies(deployment: Deployment) -> None:
    """While it fetches the access_token, which a third copy brought last."""
    store, target = deployment.refresher().store, Target(deployment.app_ids[0], Kind.ACCESS_TOKEN)
    assert store.acquire(store.read(target), "an-attempt", "another").held
    deployment.world.redis.client().hset(keys_of(target).lease, "issued_by", "third")


def complain(deployment: Deployment, kind: Kind) -> None:
    with Reader.from_settings(read(deployment.environ)) as reader:
        reader.report_rejected(deployment.app_ids[0], kind, str(deployment.code(kind)))


def forget(deployment: Deployment, kind: Kind) -> None:
    deployment.world.redis.client().delete(keys_of(Target(deployment.app_ids[0], kind)).value)


def forget_leases(deployment: Deployment) -> None:
    client = deployment.world.redis.client()
    client.delete(*client.keys("*lease"))


def after(seconds: float) -> Callable[[Deployment], None]:
    return lambda deployment: deployment.world.advance(seconds)


def grown_old(deployment: Deployment) -> None:
    deployment.age(1000)


def page_for_the_token(deployment: Deployment) -> None:
    deployment.simulator.script(TOKEN_PATH, Fault.html(), times=1)


# What has happened before, step by step.
STATES: dict[str, tuple[Callable[[Deployment], object], ...]] = {
    "nothing stored": (),
    "fresh credentials": (Deployment.run,),
    "credentials whose audit is due": (Deployment.run, after(300)),
    "credentials near their end": (grown_old,),
    "only the ticket near its end": (grown_old, lambda d: d.run(Command(kinds=(Kind.ACCESS_TOKEN,))), after(5)),
    "an attempt for the token without an end": (page_for_the_token, Deployment.run),
    "the same beside live credentials": (grown_old, page_for_the_token, Deployment.run),
    "the same after its lock": (page_for_the_token, Deployment.run, after(200)),
    "a token that is refused": (
        lambda d: d.simulator.rotate_secret(d.app_ids[0], plant("rotated")),
        Deployment.run,
    ),
    "another copy's attempt without an end": (grown_old, another_copy_dies),
    "the same when a third copy goes first": (grown_old, another_copy_dies, after(100)),
    "a ticket that another program superseded": (
        Deployment.run,
        after(120),
        lambda d: d.simulator.issue(d.app_ids[0], "js_ticket"),
        after(250),
    ),
    "a complaint": (Deployment.run, after(100), lambda d: complain(d, Kind.JS_TICKET)),
    "a value without a lease": (Deployment.run, forget_leases, after(20)),
    "a ticket that is gone": (Deployment.run, lambda d: forget(d, Kind.JS_TICKET)),
    "a token that is gone": (Deployment.run, lambda d: forget(d, Kind.ACCESS_TOKEN), after(20)),
}


@pytest.mark.parametrize("kinds", [(), (Kind.ACCESS_TOKEN,), (Kind.JS_TICKET,)], ids=["both", "token", "ticket"])
@pytest.mark.parametrize("sentence", STATES)
def test_plan_says_what_refresh_then_does(sentence: str, kinds: tuple[Kind, ...], deployment: Deployment) -> None:
    for step in STATES[sentence]:
        step(deployment)
    planned = deployment.refresher().run_once(Command(Action.STATUS, kinds=kinds)).targets
    did = {each.target: each for each in deployment.run(Command(kinds=kinds)).targets}
    for would, each in [(each.would, did[each.target]) for each in planned]:
        sent = each.outcome in (Outcome.ISSUED, Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN)
        waits = each.outcome is Outcome.DEFERRED and each.failure is not None and each.failure.code == "no_token"
        if would == "fetch":
            assert sent, each
        elif would == "ask":
            assert each.questions, each
        elif would == "wait for its token":
            assert waits, each
        else:
            assert (would, sent, each.questions, waits) == ("nothing", False, 0, False), each


def test_the_plan_in_words_and_as_json(deployment: Deployment, call: Call, error_page: Simulator) -> None:
    assert [each["would"] for each in call("plan", "--json").json["targets"]] == ["fetch", "fetch"]
    call("refresh")
    shown = call("plan").out
    assert re.search(r"access_token +nothing +LOCKED +an earlier run got no answer; ", shown)
    assert re.search(r"js_ticket +wait for its token +MISSING", shown)
    assert (
        "0 of 2 credentials would be fetched, 0 asked about, 1 waiting for an access_token; nothing was done." in shown
    )
    assert "would" not in call("refresh", "--json").json["targets"][0]


# -- how attempts ended, in words ------------------------------------------------------------------


def test_what_was_not_sent_is_counted_as_that_and_not_as_fetched(deployment: Deployment, call: Call) -> None:
    deployment.simulator.stop()
    ended = call("refresh")
    assert re.search(r"access_token +MISSING +not sent ", ended.out)
    assert "2 credentials: 0 fetched, 1 not sent, 1 deferred, 0 asked about, 2 in danger" in ended.out
    loop, state, client = daemon(deployment)
    loop.run_once()
    text = client.get("/metrics").text
    assert 'token_refresher_outcomes_total{error="not_sent_connect",kind="access_token",outcome="not_sent"} 1.0' in text
    (token, _) = shown_by(state).applications[0].credentials
    assert token.outcome == "not sent"


def test_what_was_refused_is_not_fetched(deployment: Deployment, call: Call) -> None:
    deployment.simulator.rotate_secret(deployment.app_ids[0], plant("rotated"))
    ended = call("refresh")
    assert "2 credentials: 0 fetched, 1 refused, 1 deferred, 0 asked about, 2 in danger" in ended.out


# -- sick copies -------------------------------------------------------------------------------------


def test_the_doctor_names_a_sick_copy_and_the_page_does_not_send_people_after_a_stranger(
    deployment: Deployment,
) -> None:
    sick = Deployment(deployment.world)
    sick.environ["APP_SECRET"] = plant("an-old-secret")
    sick.run()
    deployment.run()
    (token, _) = examined(deployment, "run lease")
    assert token.severity is Severity.YELLOW
    says = r"another copy \([0-9a-f]{12}\) is refused: wrong_secret \(1 failure in a row, last at .*\)"
    assert re.fullmatch(says, token.says)
    loop, state, _ = daemon(deployment)
    loop.run_once()
    (warning,) = shown_by(state).warnings
    assert "another copy" in warning.text
    assert "secret" in warning.advice
    assert "find who else" not in warning.advice
    assert "interferes" not in shown_by(state).headline.text


def test_a_copy_that_the_platform_left_without_an_answer_is_not_called_sick(deployment: Deployment) -> None:
    store, target = deployment.refresher().store, Target(deployment.app_ids[0], Kind.ACCESS_TOKEN)
    held = store.acquire(store.read(target), "an-attempt", "another").snapshot
    deployment.world.advance(35)
    assert "does not end its attempts" in deployment.refresher().run_once(STATUS).warnings[0]
    store.finish(held, "another", "unknown", "unknown: no_answer", code="no_answer")
    assert deployment.refresher().run_once(STATUS).warnings == ()


def test_the_doctor_calls_its_own_copy_this_one(deployment: Deployment) -> None:
    deployment.simulator.rotate_secret(deployment.app_ids[0], plant("rotated"))
    deployment.run()
    (token, _) = examined(deployment, "run lease")
    last = r"(\d{4}-\d\d-\d\d \d\d:\d\d|\d\d:\d\d:\d\d) UTC"
    assert re.fullmatch(rf"this copy is refused: wrong_secret \(1 failure in a row, last at {last}\)", token.says)


def test_a_copy_that_failed_long_ago_is_forgotten(deployment: Deployment) -> None:
    sick = Deployment(deployment.world)
    sick.environ["APP_SECRET"] = plant("an-old-secret")
    sick.run()
    deployment.run()
    deployment.tick(12)
    assert {each.severity for each in examined(deployment, "run lease")} == {Severity.GREEN}
