"""Every answer style and every fault of the platform: the outcome, what stays stored, and how it heals."""

from __future__ import annotations

import zlib

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, WRONG_TYPES, AnswerStyle, Fault
from support.flow import Deployment, of
from support.world import World
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind, Outcome

ISSUED, REFUSED, UNKNOWN = Outcome.ISSUED, Outcome.REFUSED, Outcome.UNKNOWN
TICKET = Kind.JS_TICKET
# Short enough to wait for where an answer never comes, long enough for a busy machine.
QUICK = {"request_total_s": 1.0}


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world, **QUICK)
    deployment.age()
    return deployment


@pytest.mark.parametrize("style", AnswerStyle)
def test_every_documented_style_of_answer_gives_both_codes(world: World, style: AnswerStyle) -> None:
    deployment = Deployment(world)
    deployment.simulator.style = style
    report = deployment.run()
    assert [each.outcome for each in report.targets] == [ISSUED, ISSUED]
    assert [each.seconds_left for each in report.targets] == [pytest.approx(7200, abs=2)] * 2
    deployment.world.advance(300)
    audited = deployment.run()
    assert audited.summary()["questions"] == 2
    assert audited.summary()["fetches"] == 0


# fault -> outcome of the ticket in that run, and its error code
FAULTS: dict[str, tuple[Fault, Outcome, str]] = {
    "late, but in time": (Fault.latency(0.1), ISSUED, ""),
    "no answer, carried out": (Fault.no_answer(executed=True), UNKNOWN, "no_answer"),
    "no answer, not carried out": (Fault.no_answer(executed=False), UNKNOWN, "no_answer"),
    "cut before it was carried out": (Fault.cut(executed=False), UNKNOWN, "cut_answer"),
    "cut after it was carried out": (Fault.cut(executed=True), UNKNOWN, "cut_answer"),
    "cut in the middle of the answer": (Fault.cut_mid_answer(), UNKNOWN, "cut_answer"),
    "dripped beyond the deadline": (Fault.dripped(0.05), UNKNOWN, "no_answer"),
    "endless chunks": (Fault.endless_chunks(), UNKNOWN, "bad_answer"),
    "HTTP 400": (Fault.status(400), REFUSED, "platform_refused"),
    "HTTP 403 of a firewall": (Fault.status(403, b"<html>no</html>"), REFUSED, "platform_refused"),
    "HTTP 404": (Fault.status(404), REFUSED, "platform_refused"),
    "HTTP 408, carried out": (Fault.status(408, executed=True), UNKNOWN, "bad_answer"),
    "HTTP 429": (Fault.status(429, b"slow down", headers={"Retry-After": "5"}), REFUSED, "rate_limited"),
    "HTTP 503 with Retry-After": (Fault.status(503, headers={"Retry-After": "5"}), REFUSED, "rate_limited"),
    "HTTP 500": (Fault.status(500), UNKNOWN, "bad_answer"),
    "HTTP 502, carried out": (Fault.status(502, executed=True), UNKNOWN, "bad_answer"),
    "HTTP 503": (Fault.status(503), UNKNOWN, "bad_answer"),
    "HTTP 504, carried out": (Fault.status(504, executed=True), UNKNOWN, "bad_answer"),
    "HTML": (Fault.html(), UNKNOWN, "bad_answer"),
    "HTML, carried out": (Fault.html(executed=True), UNKNOWN, "bad_answer"),
    "nothing": (Fault.empty(), UNKNOWN, "bad_answer"),
    "half an answer": (Fault.truncated(), UNKNOWN, "bad_answer"),
    "half an answer, as if it were whole": (Fault.truncated(honest_length=False), UNKNOWN, "cut_answer"),
    "50 MB": (Fault.huge(), UNKNOWN, "bad_answer"),
    "a gzip bomb": (Fault.gzip_bomb(), UNKNOWN, "bad_answer"),
    "a thousand headers": (Fault.many_headers(1000), UNKNOWN, "bad_answer"),
    "an expiry of 0": (Fault.expiry(0), UNKNOWN, "bad_answer"),
    "a negative expiry": (Fault.expiry(-1), UNKNOWN, "bad_answer"),
    "no expiry": (Fault.expiry(None), UNKNOWN, "bad_answer"),
    "a huge expiry": (Fault.expiry(10**12), ISSUED, ""),
    "an expiry as text": (Fault.expiry("7200"), ISSUED, ""),
    "103 Early Hints before it": (Fault.interim(103, times=2), ISSUED, ""),
    "a charset as Content-Encoding": (Fault.encoded("UTF-8"), ISSUED, ""),
    "packed as deflate": (Fault.encoded("deflate", zlib.compress), ISSUED, ""),
    "packed in a way that is not known": (Fault.encoded("br", lambda body: b"\x0b" + body), UNKNOWN, "bad_answer"),
    "a code of 128 characters": (Fault.code_length(128), ISSUED, ""),
    "a code of 129 characters": (Fault.code_length(129), ISSUED, ""),
    "a code of 512 characters": (Fault.code_length(512), ISSUED, ""),
    "a code that is not ASCII": (Fault.unicode_code(), ISSUED, ""),
    "the same code again": (Fault.same_code(), ISSUED, ""),
    "the same code again, its life renewed": (Fault.same_code(full_life=True), ISSUED, ""),
    "general error 4000": (Fault.platform_status(4000, "system busy"), REFUSED, "rate_limited"),
    "general error 4000 that says nothing": (Fault.platform_status(4000, "no"), REFUSED, "platform_refused"),
    "no permission 4103": (Fault.platform_status(4103, "no permission"), REFUSED, "no_permission"),
    "2011, success without data": (Fault.platform_status(2011, "ok"), UNKNOWN, "bad_answer"),
    "not on the white list": (Fault.white_list(), REFUSED, "not_white_listed"),
    "redirected to another host": (Fault.redirect(307, "http://127.0.0.1:9/"), UNKNOWN, "bad_answer"),
    **{f"of wrong types: {variant}": (Fault.wrong_types(variant), UNKNOWN, "bad_answer") for variant in WRONG_TYPES},
    # Not what JSON allows, but nothing in it is in doubt.
    "of wrong types: byte_order_mark": (Fault.wrong_types("byte_order_mark"), ISSUED, ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_its_outcome_and_leaves_a_valid_code_and_heals(deployment: Deployment, fault: str) -> None:
    what, outcome, code = FAULTS[fault]
    before = deployment.code(TICKET)
    deployment.simulator.script(TICKET_PATH, what)
    ticket = of(deployment.run(), TICKET)
    assert (ticket.outcome, ticket.failure.code if ticket.failure else "") == (outcome, code)
    if outcome is not ISSUED:
        assert deployment.code(TICKET) == before
    # After a definite no the next tick is enough; what may have been issued has to wait for the end of the lease.
    deployment.tick(1 if outcome is REFUSED else 2)
    report = deployment.tick()
    assert deployment.dead == []
    assert deployment.missing == 0
    if not fault.startswith("the same code again"):
        assert of(report, TICKET).reason == "FRESH"
        assert of(report, TICKET).settled
    assert deployment.fetches(TICKET) <= 3


@pytest.mark.parametrize("path", [TOKEN_PATH, TICKET_PATH])
def test_an_answer_that_comes_when_nobody_waits_any_more_is_found_by_asking(deployment: Deployment, path: str) -> None:
    kind = Kind.ACCESS_TOKEN if path == TOKEN_PATH else TICKET
    gate = deployment.simulator.hold(path, "before")
    assert of(deployment.run(), kind).outcome is UNKNOWN
    gate.release()
    gate.wait_passed(10)
    late = deployment.simulator.newest(deployment.app_ids[0], kind.value)
    assert late is not None
    assert late.code != deployment.code(kind)
    deployment.tick(4)
    assert deployment.dead == []
    newest = deployment.simulator.newest(deployment.app_ids[0], kind.value)
    assert newest is not None
    assert deployment.code(kind) == newest.code


def test_an_unknown_outcome_of_a_request_that_was_never_carried_out_costs_a_question_but_no_needless_fetch(
    world: World,
) -> None:
    deployment = Deployment(world, **QUICK)
    deployment.run()
    deployment.world.advance(100)
    deployment.simulator.script(TICKET_PATH, Fault.no_answer(executed=False))
    forced = deployment.run(Command(force=True, kinds=(TICKET,)))
    assert of(forced, TICKET).outcome is UNKNOWN
    deployment.tick()
    settled = of(deployment.tick(), TICKET)
    assert (settled.outcome, settled.questions, settled.fetches) == (Outcome.KEPT, 1, 0)
    assert deployment.fetches(TICKET) == 1


def test_the_same_code_handed_out_for_good_is_asked_for_a_few_times_and_not_at_every_tick(
    deployment: Deployment,
) -> None:
    deployment.simulator.script(TICKET_PATH, Fault.same_code(), times=None)
    before = deployment.simulator.count(TICKET_PATH)
    deployment.tick(10)
    assert 2 <= deployment.simulator.count(TICKET_PATH) - before <= 5
    deployment.simulator.clear_faults()
    deployment.tick(5)
    assert deployment.dead == []
    assert deployment.missing == 0
    assert of(deployment.run(), TICKET).reason == "FRESH"


@pytest.mark.parametrize(("life_s", "every_ticks"), [(300, 3), (599, 8)])
def test_codes_of_a_short_life_are_fetched_near_its_end_and_raise_no_alarm(
    deployment: Deployment, life_s: int, every_ticks: int
) -> None:
    deployment.simulator.script(TICKET_PATH, Fault.expiry(life_s, lifetime_s=life_s), times=None)
    before = deployment.fetches(TICKET)
    for _ in range(3 * every_ticks):
        assert not of(deployment.tick(), TICKET).in_danger
    assert deployment.fetches(TICKET) - before == 3
    assert (deployment.dead, deployment.missing) == ([], 0)


@pytest.mark.parametrize("life_s", [20, 60])
def test_codes_that_live_no_longer_than_a_tick_are_fetched_once_in_each_and_raise_an_alarm(
    deployment: Deployment, life_s: int
) -> None:
    deployment.simulator.script(TICKET_PATH, Fault.expiry(life_s, lifetime_s=life_s), times=None)
    before = deployment.fetches(TICKET)
    for _ in range(5):
        assert of(deployment.tick(), TICKET).in_danger
    assert deployment.fetches(TICKET) - before == 5
    assert deployment.dead == []


def test_codes_that_live_shorter_than_the_platform_says_are_found_by_the_audit(deployment: Deployment) -> None:
    deployment.simulator.script(TICKET_PATH, Fault.expiry(7200, lifetime_s=900))
    deployment.tick(30)
    assert deployment.dead == []
    assert deployment.missing == 0


def test_a_ticket_refused_for_its_token_renews_the_token_and_tries_once_more_in_the_same_run(
    deployment: Deployment,
) -> None:
    deployment.run()
    deployment.world.advance(7200 - 1000)
    deployment.simulator.script(TOKEN_PATH, Fault.platform_status(4000, "busy"))
    token = deployment.code(Kind.ACCESS_TOKEN)
    assert token is not None
    deployment.simulator.revoke(deployment.app_ids[0], "access_token", token)
    fetched = deployment.fetches(Kind.ACCESS_TOKEN), deployment.fetches(TICKET)
    report = deployment.refresher().run_once(Command())
    assert [each.outcome for each in report.targets] == [ISSUED, ISSUED]
    assert (deployment.fetches(Kind.ACCESS_TOKEN), deployment.fetches(TICKET)) == (fetched[0] + 1, fetched[1] + 1)
    deployment.look()
    assert deployment.dead == []


def test_a_ticket_interface_that_refuses_every_token_is_not_stormed(deployment: Deployment) -> None:
    fault = Fault.platform_status(4102, "server_access_token is invalid")
    deployment.simulator.script(TICKET_PATH, fault, times=None)
    tokens = deployment.fetches(Kind.ACCESS_TOKEN)
    before = deployment.simulator.count(TICKET_PATH)
    deployment.tick(10)
    assert deployment.fetches(Kind.ACCESS_TOKEN) - tokens <= 6
    assert deployment.simulator.count(TICKET_PATH) - before <= 10
    deployment.simulator.clear_faults()
    deployment.tick(6)
    assert deployment.dead == []
    assert of(deployment.run(), TICKET).reason == "FRESH"


@pytest.mark.parametrize("fault", ["silent", "refusing", "broken"])
def test_check_code_failing_is_a_warning_and_never_a_refresh(world: World, fault: str) -> None:
    faults = {
        "silent": Fault.no_answer(executed=False),
        "refusing": Fault.platform_status(4000, "busy"),
        "broken": Fault.status(500),
    }
    deployment = Deployment(world, **QUICK)
    deployment.run()
    deployment.simulator.script(CHECK_PATH, faults[fault], times=None)
    deployment.world.advance(300)
    report = deployment.run()
    assert all(each.reason == "FRESH" for each in report.targets)
    # A platform that limits requests is asked no more about this application in this run.
    asked = report.targets[:1] if fault == "refusing" else report.targets
    assert [each.questions for each in report.targets] == [int(each in asked) for each in report.targets]
    assert all(bool(each.warnings) == (each in asked) for each in report.targets)
    assert report.summary()["fetches"] == 0
    assert not report.in_danger


def test_one_applications_trouble_stops_no_other(world: World) -> None:
    deployment = Deployment(world, app_count=4, **QUICK)
    hanging, mistaken, absent, fine = deployment.app_ids
    deployment.simulator.script(TOKEN_PATH, Fault.no_answer(executed=False), app_id=hanging)
    deployment.simulator.rotate_secret(mistaken, "another secret")
    deployment.simulator.white_list(absent, ["192.0.2.1"])
    report = deployment.run()
    codes = {
        app_id: (target.failure.code if target.failure else "")
        for app_id in deployment.app_ids
        for target in [of(report, Kind.ACCESS_TOKEN, app_id)]
    }
    assert codes == {hanging: "no_answer", mistaken: "wrong_secret", absent: "not_white_listed", fine: ""}
    assert deployment.code(TICKET, fine) is not None


@pytest.mark.parametrize("offset_s", [None, 86400, -86400])
def test_a_wrong_or_absent_date_header_of_the_platform_changes_nothing(world: World, offset_s: float | None) -> None:
    deployment = Deployment(world)
    deployment.simulator.date_offset_s = offset_s
    deployment.run()
    deployment.tick(20)
    assert deployment.fetches(TICKET) == deployment.fetches(Kind.ACCESS_TOKEN) == 1


@pytest.mark.parametrize("ahead_s", [30, 900, -900, 86400, -86400])
def test_a_redis_whose_clock_is_not_the_platforms_costs_no_needless_fetch(world: World, ahead_s: float) -> None:
    deployment = Deployment(world)
    world.platform_ahead_s = -ahead_s
    deployment.run()
    deployment.tick(20)
    assert deployment.fetches(TICKET) == deployment.fetches(Kind.ACCESS_TOKEN) == 1
    assert deployment.dead == []
