"""Every answer style and every fault of the platform: the outcome, what stays stored, and how it heals.

And a platform that is late, stands still, overwhelms, lies, or is used by somebody else as well.
"""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, AnswerStyle, Fault, Simulator
from support.flow import Deployment, of
from support.healing import healthy, newest, pass_ticks, ticks_to_heal
from support.processes import Child
from support.world import World
from token_refresher.domain.command import Action, Command
from token_refresher.domain.model import Kind, Outcome

ISSUED, REFUSED, UNKNOWN = Outcome.ISSUED, Outcome.REFUSED, Outcome.UNKNOWN
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
KINDS = [TOKEN, TICKET]
PATH = {TOKEN: TOKEN_PATH, TICKET: TICKET_PATH}
# Short enough to wait for where an answer never comes, long enough for a busy machine.
QUICK = {"request_total_s": 1.0}
# The interval of the audit, and one tick more for the run that does it: in ticks of 60 s.
AUDITED_AFTER_TICKS = 5
# How long a credential is used that was superseded as it was issued: until less is left than a lost run may take.
USED_FOR_S = 480


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world, **QUICK)
    deployment.age()
    return deployment


# -- answers and faults ------------------------------------------------------------------------


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


# One for each part of an answer; the platform's client is tested with every one.
SOME_TYPES = ("top_list", "status_missing", "data_null", "code_number", "expiry_nan", "duplicate_keys", "deep")
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
    "a credential of 128 characters": (Fault.code_length(128), ISSUED, ""),
    "a credential of 129 characters": (Fault.code_length(129), ISSUED, ""),
    "a credential of 512 characters": (Fault.code_length(512), ISSUED, ""),
    "a credential that is not ASCII": (Fault.unicode_code(), ISSUED, ""),
    "the same credential again": (Fault.same_code(), ISSUED, ""),
    "the same credential again, its life renewed": (Fault.same_code(full_life=True), ISSUED, ""),
    "general error 4000": (Fault.platform_status(4000, "system busy"), REFUSED, "rate_limited"),
    "general error 4000 that says nothing": (Fault.platform_status(4000, "no"), REFUSED, "platform_refused"),
    "no permission 4103": (Fault.platform_status(4103, "no permission"), REFUSED, "no_permission"),
    "2011, success without data": (Fault.platform_status(2011, "ok"), UNKNOWN, "bad_answer"),
    "not on the white list": (Fault.white_list(), REFUSED, "not_white_listed"),
    "redirected to another host": (Fault.redirect(307, "http://127.0.0.1:9/"), UNKNOWN, "bad_answer"),
    **{f"of wrong types: {variant}": (Fault.wrong_types(variant), UNKNOWN, "bad_answer") for variant in SOME_TYPES},
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
    if not fault.startswith("the same credential again"):
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
    deployment = Deployment(world, 4, **QUICK)
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


# -- late -------------------------------------------------------------------------------------


# How late a request is carried out, and by how many ticks after that all has to be well (locked until 90 s).
LATE = {1: 2, 60: 2, 119: 1, 240: AUDITED_AFTER_TICKS}


@pytest.mark.parametrize(("kind", "late_s"), [(TOKEN, 1), (TOKEN, 240), *((TICKET, late_s) for late_s in LATE)])
def test_a_request_carried_out_long_after_its_client_left_is_found(world: World, kind: Kind, late_s: int) -> None:
    deployment = Deployment(world, **QUICK)
    deployment.run()
    # Too fresh to be renewed for any other reason than that something is in doubt.
    deployment.pass_time(100)
    gate = deployment.simulator.hold(PATH[kind], "before")
    forced = deployment.run(Command(force=True, kinds=(kind,)))
    assert of(forced, kind).outcome is Outcome.UNKNOWN
    pass_ticks(deployment, late_s)
    gate.release()
    gate.wait_passed(30)
    assert deployment.code(kind) != newest(deployment, kind)
    ticks_to_heal(deployment, LATE[late_s])
    # The first one, the late one, and the renewal of what that superseded.
    assert deployment.fetches(kind) <= 3
    assert (deployment.dead, deployment.missing) == ([], 0)


# -- standing still ---------------------------------------------------------------------------

PLATFORM = """
import json, os, sys
from platform_simulator import Simulator
from support.child import say
import time

def clock():
    with open(os.environ["CLOCK_FILE"]) as file:
        return time.time() + float(file.read())

simulator = Simulator({sys.argv[1]: os.environ["SECRET"]}, clock=clock)
simulator.start()
say("url:" + simulator.url)
while line := sys.stdin.readline().strip():
    said = {
        kind: {
            "codes": [(each.code, simulator.valid_until(sys.argv[1], kind, each.code)) for each in issued],
            "fetches": simulator.fetches(sys.argv[1], kind),
        }
        for kind in ("access_token", "js_ticket")
        for issued in [simulator.issued(sys.argv[1], kind)]
    }
    with open(line, "w") as file:
        json.dump(said, file)
    say("told")
simulator.stop()
"""


class Apart(Deployment):
    """A deployment whose platform is a process of its own, which can be asked for the truth when it is awake.

    A credential's end only ever moves to an instant that is still to come, so what readers held may be judged later.
    """

    def __init__(self, world: World, **policy: float) -> None:
        super().__init__(world, **policy)
        (self._app_id,) = self.app_ids
        environ = {"CLOCK_FILE": str(world.redis.clock_file), "SECRET": world.secrets[self._app_id]}
        self.platform = Child(PLATFORM, environ, [self._app_id])
        self.environ["PLATFORM_BASE_URL"] = self.platform.wait_for("url:").removeprefix("url:")
        self.held: list[tuple[float, Kind, str]] = []
        self._told = world.redis.directory / "told"

    def look(self) -> None:
        for kind in KINDS:
            code = self.code(kind)
            self.missing += code is None
            if code is not None:
                self.held.append((self.world.now(), kind, code))

    def truth(self) -> dict[str, Any]:
        """What the platform knows. By a file, because credentials must not stand in any output."""
        self.platform.send(str(self._told))
        self.platform.wait_for("told")
        told: dict[str, Any] = json.loads(self._told.read_text())
        self._told.unlink()
        return told

    def refused(self) -> list[str]:
        """Every sample in which a reader held a credential that the platform did not accept."""
        ends = {(kind, code): end for kind, each in self.truth().items() for code, end in each["codes"]}
        return [f"{kind.value} at {at:.0f}" for at, kind, code in self.held if at >= ends.get((kind.value, code), 0)]


@pytest.fixture
def apart(world: World) -> Iterator[Apart]:
    deployment = Apart(world, **QUICK)
    deployment.age()
    yield deployment
    deployment.platform.stop()


def test_a_platform_that_stood_still_with_requests_in_its_queue_and_goes_on(apart: Apart) -> None:
    apart.platform.freeze()
    reports = [apart.run(), *(apart.tick() for _ in range(2))]
    apart.platform.thaw()
    assert all(of(reports[0], kind).outcome is Outcome.UNKNOWN for kind in KINDS)
    sent = sum(each.outcome is Outcome.UNKNOWN for report in reports for each in report.targets)
    # The second tick is the first one beyond the lock and the wait of this copy.
    assert sent == 4
    apart.truth()
    # Some of what waited may be carried out now, which shows when this copy asks or fetches again.
    apart.tick(AUDITED_AFTER_TICKS)
    truth = apart.truth()
    for kind in KINDS:
        assert apart.code(kind) == truth[kind.value]["codes"][-1][0]
    assert sum(truth[kind.value]["fetches"] for kind in KINDS) <= 2 + 2 + sent
    status = apart.refresher().run_once(Command(Action.STATUS))
    assert all(each.reason == "FRESH" and each.settled for each in status.targets)
    assert apart.refused() == []
    assert apart.missing == 0


# -- overwhelming -----------------------------------------------------------------------------

MEASURED = """
import json, os
from support.child import say
from token_refresher import bootstrap as wiring
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind
from token_refresher.settings.loader import read

def clock():
    with open(os.environ["CLOCK_FILE"]) as file:
        return steady_clock() + float(file.read())

def peak_kb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

refresher = wiring.refresher(read(os.environ), clock=clock, pause=lambda seconds: None)
while input():
    before = peak_kb()
    report = refresher.run_once(Command(force=True, kinds=(Kind.JS_TICKET,)))
    (target,) = report.as_dict()["targets"]
    say("ran:" + json.dumps({"target": target, "more_kb": peak_kb() - before}))
"""


def test_however_much_is_answered_little_of_it_is_kept_in_memory(world: World) -> None:
    deployment = Deployment(world, **QUICK)
    deployment.run()
    faults = [Fault.huge(300_000_000), Fault.gzip_bomb(300_000_000), Fault.endless_chunks(), Fault.many_headers(10**6)]
    environ = deployment.environ | {"CLOCK_FILE": str(world.redis.clock_file)}
    with Child(MEASURED, environ) as child:

        def run() -> dict[str, Any]:
            deployment.pass_time(200)
            child.send("run")
            told: dict[str, Any] = json.loads(child.wait_for("ran:", timeout_s=100).removeprefix("ran:"))
            deployment.look()
            return told

        # What a first run imports is no part of it.
        assert run()["target"]["outcome"] == "issued"
        for fault in faults:
            deployment.simulator.script(TICKET_PATH, fault)
            told = run()
            assert told["target"]["outcome"] == "unknown", fault.name
            assert told["target"]["failure"]["code"] in ("bad_answer", "no_answer")
            assert told["more_kb"] < 64 * 1024, fault.name
            assert run()["target"]["outcome"] == "issued"
    assert healthy(deployment)
    # One each time by the fault, one each time after it.
    assert deployment.fetches(TICKET) <= 2 + 2 * len(faults)
    assert (deployment.dead, deployment.missing) == ([], 0)


# -- a checkCode that cannot be relied on -------------------------------------------------------


def test_a_check_code_that_calls_everything_valid_costs_nothing_as_long_as_the_lock_is_enough(world: World) -> None:
    deployment = Deployment(world)
    deployment.simulator.script(CHECK_PATH, Fault.check_says(valid=True, expires_at=None), times=None)
    deployment.run()
    deployment.tick(100)
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)


def test_a_check_code_that_calls_everything_invalid_costs_a_fetch_at_each_audit_and_hurts_nobody(
    world: World,
) -> None:
    deployment = Deployment(world)
    deployment.simulator.script(CHECK_PATH, Fault.check_says(valid=False), times=None)
    deployment.run()
    report = deployment.tick(60)
    # The first audit after an issue comes between a quarter of the interval and all of it; for these names, after this.
    first_audit_s = 180
    for kind in KINDS:
        assert deployment.fetches(kind) <= 1 + 60 * 60 // first_audit_s
    assert (deployment.dead, deployment.missing) == ([], 0)
    assert all("someone else refreshes application" in each for each in report.warnings)
    assert len(report.warnings) == len(KINDS)


def test_a_check_code_that_shows_no_shortened_life_hides_somebody_elses_refresh_until_the_next_one_of_ours(
    world: World,
) -> None:
    """Outside of what is assumed: then nothing but the lock protects, and the lock cannot know of others."""
    deployment = Deployment(world)
    deployment.run()
    stored = deployment.simulator.newest(deployment.app_ids[0], TICKET.value)
    assert stored is not None
    deployment.simulator.script(CHECK_PATH, Fault.check_says(True, stored.expires_at), times=None)
    deployment.simulator.issue(deployment.app_ids[0], TICKET.value)
    deployment.tick(20)
    assert [deployment.fetches(kind) for kind in KINDS] == [1, 1]
    assert deployment.dead
    deployment.simulator.clear_faults()
    ticks_to_heal(deployment, AUDITED_AFTER_TICKS)


@pytest.mark.parametrize("min_age_s", [10, 0])
def test_a_check_code_that_lags_five_seconds_behind_condemns_no_young_code(world: World, min_age_s: int) -> None:
    lagging = Simulator({}, clock=world.now, checkcode_lag_s=5)
    with lagging:
        deployment = Deployment(world, audit_min_age_s=min_age_s)
        lagging.add_app(deployment.app_ids[0], world.secrets[deployment.app_ids[0]])
        deployment.environ["PLATFORM_BASE_URL"] = lagging.url
        refresher = deployment.refresher()
        refresher.run_once(Command())
        for _ in range(5):
            world.advance(2)
            refresher.run_once(Command(Action.AUDIT))
        fetches = [lagging.fetches(deployment.app_ids[0], kind.value) for kind in KINDS]
        # Without the rule about young credentials it would: so this test can fail.
        assert (fetches == [1, 1]) == (min_age_s == 10)


# -- somebody else ----------------------------------------------------------------------------


def test_somebody_elses_refresh_in_every_minute_costs_a_fetch_in_eight_and_is_told(world: World) -> None:
    deployment = Deployment(world)
    deployment.run()
    told = dict.fromkeys(KINDS, 0)
    for _ in range(60):
        deployment.pass_time(30)
        for kind in KINDS:
            deployment.simulator.issue(deployment.app_ids[0], kind.value)
        deployment.pass_time(30)
        report = deployment.run()
        for kind in KINDS:
            warnings = of(report, kind).warnings
            told[kind] += any("another program fetches at the same moment" in each for each in warnings)
    # Each credential is used nearly to the end that the other's next refresh gives it: fetching sooner would not help.
    for kind in KINDS:
        assert deployment.fetches(kind) <= 1 + 60 * 60 // USED_FOR_S
        assert told[kind] >= deployment.fetches(kind) - 1 >= 1
    assert (deployment.dead, deployment.missing) == ([], 0)


class Rival(Deployment):
    """A whole second deployment for the same application, with a Redis of its own."""

    def __init__(self, world: World, first: Deployment) -> None:
        super().__init__(world)
        self._first = first
        self.environ |= {name: first.environ[name] for name in ("APP_SECRET", "PLATFORM_BASE_URL")}

    @property
    def simulator(self) -> Simulator:
        return self._first.simulator


def test_two_deployments_with_a_redis_each_hurt_no_reader_of_either_and_both_tell(
    start_world: Callable[..., World],
) -> None:
    first = Deployment(start_world())
    rivals = [first, Rival(start_world(), first)]
    for each in rivals:
        each.run()
    for _ in range(60):
        for _ in range(3):
            for each in rivals:
                each.world.advance(20)
            for each in rivals:
                each.look()
        reports = [each.run() for each in rivals]
    for kind in KINDS:
        assert first.fetches(kind) <= 2 * (1 + 60 * 60 // 240)
    for each in rivals:
        assert (each.dead, each.missing) == ([], 0)
    assert all("someone else refreshes application" in report.warnings[0] for report in reports)


# -- a proxy that repeats what it has sent ------------------------------------------------------


class Replaying:
    """A forward proxy for plain http to one server, which can send again what it passed on last."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._stack = ExitStack()
        self._last = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, self._onward() as server, suppress(OSError):
            # A request leaves in one piece, and an answer of the simulator is one.
            while request := client.recv(65_536):
                self._last = request
                server.sendall(request)
                client.sendall(server.recv(65_536))

    def _onward(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._server_port), 10)

    def repeat(self) -> None:
        """Send the last request again, and wait until it was answered."""
        with self._onward() as server:
            server.sendall(self._last)
            assert server.recv(65_536)

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_a_proxy_that_repeats_a_request_costs_one_renewal(world: World) -> None:
    proxy = Replaying(int(world.simulator.url.rpartition(":")[2]))
    deployment = Deployment(world, **QUICK)
    deployment.environ["PLATFORM_HTTP_PROXY"] = proxy.url
    deployment.run()
    proxy.repeat()
    proxy.stop()
    del deployment.environ["PLATFORM_HTTP_PROXY"]
    assert deployment.fetches(TICKET) == 2
    assert deployment.code(TICKET) != newest(deployment, TICKET)
    ticks_to_heal(deployment, USED_FOR_S // 60)
    assert [deployment.fetches(kind) for kind in KINDS] == [1, 3]
    assert (deployment.dead, deployment.missing) == ([], 0)
