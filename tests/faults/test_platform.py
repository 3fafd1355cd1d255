"""A platform that is late, stands still, overwhelms, lies, or is used by somebody else as well."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault, Simulator
from support.flow import Deployment, of
from support.healing import healthy, newest, pass_ticks, ticks_to_heal
from support.processes import Child
from support.world import World
from token_refresher.domain.command import Action, Command
from token_refresher.domain.model import Kind, Outcome

TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
KINDS = [TOKEN, TICKET]
PATH = {TOKEN: TOKEN_PATH, TICKET: TICKET_PATH}
# Short enough to wait for where an answer never comes, long enough for a busy machine.
QUICK = {"request_total_s": 1.0}
# The interval of the audit, and one tick more for the run that does it: in ticks of 60 s.
AUDITED_AFTER_TICKS = 5
# How long a code is used that was superseded as it was issued: until less is left than a lost run may take.
USED_FOR_S = 480


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world, **QUICK)
    deployment.age()
    return deployment


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

    A code's end only ever moves to an instant that is still to come, so what readers held may be judged later.
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
        """What the platform knows. By a file, because codes must not stand in any output."""
        self.platform.send(str(self._told))
        self.platform.wait_for("told")
        told: dict[str, Any] = json.loads(self._told.read_text())
        self._told.unlink()
        return told

    def refused(self) -> list[str]:
        """Every sample in which a reader held a code that the platform did not accept."""
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
        # Without the rule about young codes it would: so this test can fail.
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
    # Each code is used nearly to the end that the other's next refresh gives it: fetching sooner would not help.
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
