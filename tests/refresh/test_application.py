"""One application in its runs, as readers and the platform see it: what is asked, what is fetched, in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from support.flow import Deployment, of
from support.planted import plant
from support.world import World
from token_refresher.domain.command import Action, Command
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.report import Report
from token_refresher.store.keys import keys_of

APP = "app0000"
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
PATHS = {TOKEN: TOKEN_PATH, TICKET: TICKET_PATH}
TOKENS, TICKETS = Command(kinds=(TOKEN,)), Command(kinds=(TICKET,))
# A definite no without a word about the caller, the application or a limit.
NO = Fault.platform_status(4000, "something is wrong")
# So much a life may differ from what it should be, by rounding and a busy machine (seconds).
ABOUT_S = 5


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Both credentials are stored, and their audits are due."""
    deployment = Deployment(world, request_total_s=1.0)
    deployment.run()
    world.advance(250)
    return deployment


def key(kind: Kind) -> str:
    return keys_of(Target(APP, kind)).value


def lease(deployment: Deployment, kind: Kind) -> Any:
    return deployment.refresher().store.read(Target(APP, kind)).lease


def life_s(deployment: Deployment, kind: Kind) -> float:
    """How long readers still find the credential; negative when there is none."""
    left: Any = deployment.world.redis.client().pttl(key(kind))
    return float(left) / 1000


def asked(deployment: Deployment, since: int = 0) -> list[str]:
    """What was asked of the platform since, in order: a kind, or a path of checkCode with a kind."""
    return [
        f"{'check ' if each.path == CHECK_PATH else 'fetch '}{'token' if each.kind == 'access_token' else 'ticket'}"
        if each.path == CHECK_PATH
        else ("fetch token" if each.path == TOKEN_PATH else "fetch ticket")
        for each in deployment.simulator.requests[since:]
    ]


def run(deployment: Deployment, command: Command | None = None) -> tuple[Report, list[str]]:
    """One run, and what it asked of the platform."""
    before = len(deployment.simulator.requests)
    report = deployment.run(command)
    return report, asked(deployment, before)


# -- a credential that is known, or must be presumed, to be refused ---------------------------


def test_after_a_hard_reset_of_the_secret_both_codes_go_though_neither_can_be_renewed(deployment: Deployment) -> None:
    deployment.simulator.rotate_secret(APP, plant("the new secret"), hard=True)
    report, _ = run(deployment)
    assert [each.reason for each in report.targets] == ["REFUSED", "REFUSED"]
    assert (deployment.code(TOKEN), deployment.code(TICKET)) == (None, None)
    assert of(report, TOKEN).failure
    assert of(report, TOKEN).failure.code == "wrong_secret"  # type: ignore[union-attr]


@pytest.mark.parametrize("command", [TICKETS, TOKENS], ids=["tickets", "tokens"])
def test_what_a_command_is_about_is_taken_away_though_it_cannot_be_renewed(
    deployment: Deployment, command: Command
) -> None:
    deployment.simulator.rotate_secret(APP, plant("the new secret"), hard=True)
    run(deployment, command)
    assert deployment.code(command.kinds[0]) is None


def test_in_the_margin_and_while_it_waits_a_code_is_still_audited(world: World) -> None:
    """The secret was rotated softly: no fetch succeeds, the credentials live on; then another program supersedes."""
    deployment = Deployment(world)
    deployment.age(1700)
    deployment.simulator.rotate_secret(APP, plant("the new secret"))
    deployment.tick(3)
    assert of(deployment.run(), TOKEN).reason == "BACKING_OFF"
    deployment.simulator.issue(APP, "access_token")
    deployment.tick(20)
    assert deployment.dead == []


@pytest.mark.parametrize("kind", [TOKEN, TICKET])
def test_a_complaint_is_heard_in_the_margin_and_while_this_copy_waits(world: World, kind: Kind) -> None:
    deployment = Deployment(world)
    deployment.age(1700)
    deployment.simulator.script(TOKEN_PATH, NO, times=None)
    deployment.simulator.script(TICKET_PATH, NO, times=None)
    run(deployment)
    world.advance(61)
    code = deployment.code(kind)
    assert code
    deployment.simulator.revoke(APP, kind.value, code)
    target = Target(APP, kind)
    snapshot = deployment.refresher().store.read(target)
    assert snapshot.live
    world.redis.client().set(keys_of(target).refused, snapshot.live.fingerprint, ex=600)
    run(deployment)
    assert deployment.code(kind) is None


def test_an_application_that_is_disabled_loses_its_codes_after_a_second_denial(world: World) -> None:
    deployment = Deployment(world)
    deployment.run()
    world.advance(250)
    deployment.simulator.disable(APP)
    run(deployment)
    # An audit later; in between a healthy copy would say that the credential is good.
    for _ in range(3):
        deployment.world.advance(60)
        run(deployment)
        assert deployment.code(TICKET)
    deployment.world.advance(60)
    report, _ = run(deployment)
    assert (deployment.code(TOKEN), deployment.code(TICKET)) == (None, None)
    assert of(report, TICKET).sentence == "the platform twice denied the application of the stored credential"
    deployment.simulator.enable(APP)
    deployment.tick(6)
    assert deployment.code(TICKET)


def test_a_white_list_never_takes_a_good_code_away(world: World) -> None:
    deployment = Deployment(world)
    deployment.run()
    deployment.simulator.white_list(APP, ["10.0.0.1"])
    deployment.tick(15)
    assert (deployment.missing, deployment.dead) == (0, [])
    assert life_s(deployment, TICKET) > 6000


def test_a_run_that_dies_under_its_lock_does_not_put_a_question_off(deployment: Deployment) -> None:
    store = deployment.refresher().store
    store.acquire(store.read(Target(APP, TICKET)), "dead", "cccccccccccc")
    deployment.simulator.issue(APP, "js_ticket")
    _, asked = run(deployment)
    assert "check ticket" in asked
    assert life_s(deployment, TICKET) <= 600
    deployment.tick(10)
    assert deployment.dead == []


# -- after a request for an access_token ------------------------------------------------------


@pytest.fixture
def strict(start_world: Callable[..., World]) -> Deployment:
    """A platform that ends every ticket with the access_token that it came by; the credentials are half an hour old."""
    deployment = Deployment(start_world(token_ends_tickets=True), request_total_s=1.0)
    deployment.run()
    deployment.world.advance(1800)
    deployment.run()
    deployment.world.advance(20)
    return deployment


def test_a_ticket_is_asked_about_after_its_token_was_issued(strict: Deployment) -> None:
    report, asked = run(strict, Command(kinds=(TOKEN,), force=True))
    assert asked[:2] == ["fetch token", "check ticket"]
    assert of(report, TICKET).outcome is Outcome.ISSUED
    assert strict.dead == []


def test_a_ticket_that_was_asked_about_before_is_asked_about_once_more(strict: Deployment) -> None:
    strict.world.advance(250)
    dead = strict.code(TOKEN)
    assert dead
    strict.simulator.revoke(APP, "access_token", dead)
    _, asked = run(strict)
    assert asked == ["check token", "check ticket", "fetch token", "check ticket", "fetch ticket"]
    assert strict.dead == []


@pytest.mark.parametrize("audited", [True, False], ids=["audited just before", "its audit is due"])
def test_a_due_ticket_that_cannot_be_renewed_after_its_token_was_is_taken_away(
    start_world: Callable[..., World], audited: bool
) -> None:
    strict = Deployment(start_world(token_ends_tickets=True))
    strict.age(1810)
    if audited:
        assert [each.questions for each in strict.run().targets] == [1, 1]
    strict.world.advance(20)
    strict.simulator.script(TICKET_PATH, NO)
    report, asked = run(strict)
    assert asked == ["fetch token", "fetch ticket", "check ticket"]
    assert (of(report, TICKET).outcome, of(report, TICKET).reason) == (Outcome.REFUSED, "NEAR_EXPIRY")
    assert strict.code(TICKET) is None
    assert strict.dead == []


def test_a_ticket_is_asked_about_after_a_request_for_a_token_without_an_answer(strict: Deployment) -> None:
    strict.simulator.script(TOKEN_PATH, Fault.cut(executed=True))
    report, asked = run(strict, Command(kinds=(TOKEN,), force=True))
    assert of(report, TOKEN).outcome is Outcome.UNKNOWN
    # The older access_token lives for the grace, and brings a new ticket.
    assert asked == ["fetch token", "check token", "check ticket", "fetch ticket"]
    assert strict.dead == []


@pytest.mark.parametrize("kind", [TOKEN, TICKET])
def test_after_a_request_without_an_answer_the_code_that_it_ended_is_taken_away_in_the_same_run(
    start_world: Callable[..., World], kind: Kind
) -> None:
    deployment = Deployment(start_world(grace_s=0, access_token_grace_s=0))
    deployment.age(1000)
    deployment.simulator.script(PATHS[kind], Fault.cut(executed=True))
    report, asked = run(deployment)
    assert of(report, kind).outcome is Outcome.UNKNOWN
    assert f"check {'token' if kind is TOKEN else 'ticket'}" in asked
    assert deployment.code(kind) is None
    assert deployment.dead == []
    assert of(deployment.run(Command(Action.STATUS)), kind).reason == "LOCKED"


# -- the ticket interface is a witness, checkCode the judge -----------------------------------


def test_an_access_token_that_checkcode_calls_alive_is_renewed_once_in_a_margin_for_the_ticket_interface(
    world: World,
) -> None:
    deployment = Deployment(world)
    deployment.run(TOKENS)
    world.advance(2000)
    deployment.simulator.script(TICKET_PATH, Fault.platform_status(4102, "access_token is invalid"), times=None)
    deployment.tick(20)
    assert deployment.fetches(TOKEN) == 2
    assert life_s(deployment, TOKEN) > 5000
    deployment.simulator.clear_faults()
    deployment.tick(6)
    assert deployment.code(TICKET)
    assert deployment.fetches(TOKEN) == 2


def test_a_young_access_token_is_kept_against_the_word_of_the_ticket_interface(world: World) -> None:
    deployment = Deployment(world)
    deployment.run(TOKENS)
    deployment.simulator.script(TICKET_PATH, Fault.platform_status(4102, "access_token is invalid"), times=None)
    deployment.simulator.script(TOKEN_PATH, NO, times=None)
    world.advance(100)
    code = deployment.code(TOKEN)
    report, asked = run(deployment)
    assert asked.count("fetch token") == 0
    assert "check token" in asked
    assert of(report, TICKET).failure.code == "token_invalid"  # type: ignore[union-attr]
    deployment.tick(5)
    assert deployment.code(TOKEN) == code


def test_a_good_access_token_outlives_a_renewal_that_fails(world: World) -> None:
    deployment = Deployment(world)
    deployment.run(TOKENS)
    world.advance(2000)
    code = deployment.code(TOKEN)
    deployment.simulator.script(TICKET_PATH, Fault.platform_status(4102, "access_token is invalid"), times=None)
    deployment.simulator.script(TOKEN_PATH, NO, times=None)
    report, _ = run(deployment)
    assert (of(report, TOKEN).reason, of(report, TOKEN).outcome) == ("REFUSED", Outcome.REFUSED)
    assert of(report, TOKEN).sentence == "the ticket interface refuses the access_token"
    deployment.tick(19)
    assert deployment.code(TOKEN) == code


def test_a_superseded_access_token_that_the_ticket_interface_refuses_is_renewed_at_once(world: World) -> None:
    deployment = Deployment(world)
    deployment.run(TOKENS)
    world.advance(100)
    deployment.simulator.issue(APP, "access_token")
    deployment.simulator.script(TICKET_PATH, Fault.platform_status(4102, "access_token is invalid"))
    report, _ = run(deployment)
    assert (of(report, TOKEN).reason, of(report, TOKEN).outcome) == ("SUPERSEDED", Outcome.ISSUED)
    assert of(report, TICKET).outcome is Outcome.ISSUED


def test_an_access_token_that_is_refused_while_another_run_holds_its_lease_is_renewed_when_that_ends(
    world: World,
) -> None:
    deployment = Deployment(world)
    deployment.run(TOKENS)
    world.advance(5950)
    store, target = deployment.refresher().store, Target(APP, TOKEN)
    store.acquire(store.read(target), "dead", "cccccccccccc")
    world.advance(50)
    deployment.simulator.script(TICKET_PATH, Fault.platform_status(4102, "access_token is invalid"))
    report, asked = run(deployment)
    # What a dead run may still have been doing is waited for, and the ticket tried again with the token after it.
    assert asked == ["check token", "fetch ticket", "check token", "fetch token", "fetch ticket"]
    assert [each.outcome for each in report.targets] == [Outcome.ISSUED] * 2
    assert of(report, TOKEN).warnings == ("the ticket interface refuses the access_token",)


# -- commands about one kind ------------------------------------------------------------------


def test_a_command_about_tokens_fetches_no_ticket_that_was_never_there(world: World) -> None:
    deployment = Deployment(world)
    report, asked = run(deployment, TOKENS)
    assert asked == ["fetch token"]
    assert [each.target.kind for each in report.targets] == [TOKEN]


def test_a_command_about_tickets_renews_a_token_only_where_there_is_none(world: World) -> None:
    deployment = Deployment(world)
    assert run(deployment, TICKETS)[1] == ["fetch token", "fetch ticket"]
    world.advance(6200)
    assert "fetch token" not in run(deployment, TICKETS)[1]


def test_a_forced_run_renews_both_and_asks_nothing(world: World) -> None:
    deployment = Deployment(world)
    deployment.run()
    world.advance(100)
    report, asked = run(deployment, Command(force=True))
    assert asked == ["fetch token", "fetch ticket"]
    assert [each.reason for each in report.targets] == ["FORCED", "FORCED"]
    assert of(deployment.run(Command(force=True)), TOKEN).reason == "COOLING_DOWN"


# -- time and limits --------------------------------------------------------------------------


def test_a_limit_issues_nothing_locks_nothing_and_is_obeyed(world: World) -> None:
    deployment = Deployment(world)
    deployment.simulator.limit(APP, 0, 200)
    report, _ = run(deployment)
    assert of(report, TOKEN).outcome is Outcome.REFUSED
    assert of(report, TOKEN).failure.code == "rate_limited"  # type: ignore[union-attr]
    assert lease(deployment, TOKEN).locked_until == 0
    requests = len(deployment.simulator.requests)
    assert of(deployment.tick(), TOKEN).reason == "BACKING_OFF"
    assert len(deployment.simulator.requests) == requests
    deployment.simulator.limit(APP, None)
    deployment.tick(6)
    assert deployment.code(TICKET)


def test_codes_that_live_five_minutes_are_renewed_in_time_and_are_no_danger(
    start_world: Callable[..., World],
) -> None:
    deployment = Deployment(start_world(lifetime_s=300))
    reports = [deployment.run()] + [deployment.tick() for _ in range(30)]
    assert [each for report in reports[1:] for each in report.in_danger] == []
    assert (deployment.missing, deployment.dead) == (0, [])
    for kind in Kind:
        # Half of the life is used at least.
        assert deployment.fetches(kind) <= 30 * 60 / 150 + 1


def test_who_meets_a_limit_as_the_second_comes_again_in_the_same_run(world: World) -> None:
    deployment = Deployment(world, 3, concurrency=1)
    deployment.simulator.script(TOKEN_PATH, Fault.status(429, b"", {"Retry-After": "2"}), times=2)
    report, _ = run(deployment)
    # One alone that is limited may be the only one; the next run is soon enough for it.
    outcomes = {app_id: of(report, TOKEN, app_id).outcome for app_id in deployment.app_ids}
    assert outcomes == {"app0000": Outcome.REFUSED, "app0001": Outcome.ISSUED, "app0002": Outcome.ISSUED}
    assert deployment.simulator.count(TOKEN_PATH) == 4


def test_a_lease_that_comes_free_within_the_run_is_taken_and_the_fetch_is_made(world: World) -> None:
    deployment = Deployment(world)
    store, target = deployment.refresher().store, Target(APP, TOKEN)
    store.acquire(store.read(target), "dead", "cccccccccccc")
    world.advance(50)
    report, _ = run(deployment)
    assert (of(report, TOKEN).reason, of(report, TOKEN).outcome) == ("MISSING", Outcome.ISSUED)
    assert of(report, TICKET).outcome is Outcome.ISSUED


def test_an_application_that_waits_for_a_lease_holds_up_no_other(world: World) -> None:
    """With one thread for all: the first has to wait for a dead run's lock, the second has its credentials by then."""
    deployment = Deployment(world, 2, concurrency=1)
    locked, free = deployment.app_ids
    refresher = deployment.refresher()
    target = Target(locked, TOKEN)
    refresher.store.acquire(refresher.store.read(target), "dead", "cccccccccccc")
    world.advance(50)
    fetched: list[int] = []

    def pause(seconds: float) -> None:
        fetched.append(deployment.fetches(TICKET, free))
        deployment.pause(seconds)

    report = replace(deployment.refresher(), pause=pause).run_once(Command())
    assert fetched
    assert set(fetched) == {1}
    assert [each.outcome for each in report.targets] == [Outcome.ISSUED] * 4


def test_a_lock_that_outlasts_the_run_is_named_with_when_the_next_attempt_comes(world: World) -> None:
    deployment = Deployment(world)
    store, target = deployment.refresher().store, Target(APP, TOKEN)
    store.acquire(store.read(target), "dead", "cccccccccccc")
    world.advance(35)
    report, _ = run(deployment)
    token = of(report, TOKEN)
    assert (token.reason, token.in_danger) == ("LOCKED", True)
    said = "an earlier run stopped in the middle of a request; the next try may come in "
    assert token.sentence.startswith(said)
    assert 40 <= int(token.sentence.removeprefix(said).removesuffix(" s")) <= 55
    assert len(report.warnings) == 1
    assert "another copy (cccccccccccc) does not end its attempts" in report.warnings[0]


def test_what_another_run_stores_while_this_one_waits_is_taken_over(deployment: Deployment) -> None:
    world = deployment.world
    for kind in Kind:
        world.redis.client().delete(key(kind))
    with deployment.child("from support.child import point\nwrap(RedisStore, 'finish', after=False)") as child:
        child.wait_for("at:finish")
        refresher = deployment.refresher()
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 1:
                child.send("go")
                child.wait_for("at:finish")
                child.send("go")
                child.wait_for("report:")
                child.join()

        object.__setattr__(refresher, "pause", pause)
        report = refresher.run_once(Command())
    assert pauses
    assert all(1 <= each <= 3 for each in pauses)
    assert [each.reason for each in report.targets] == ["FRESH", "FRESH"]
    assert not report.in_danger
    assert [deployment.fetches(kind) for kind in Kind] == [2, 2]
