"""`token-refresher daemon`: the loop, its signals, health, metrics and logs."""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.flow import Deployment
from support.planted import plant
from support.processes import Child
from support.tables import each_line
from support.waiting import wait_until
from support.world import World
from token_refresher.cli.commands.daemon import add_options
from token_refresher.daemon import json_logs as logs
from token_refresher.daemon import main as daemon
from token_refresher.daemon.instrumentation import instrumented
from token_refresher.daemon.scheduler import JITTER, Scheduler
from token_refresher.daemon.signals import GracefulShutdown
from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.command import Action
from token_refresher.domain.errors import CommandError, RefusedError, SettingsError, StoreError
from token_refresher.domain.installing import how_to_install
from token_refresher.domain.model import Kind, Outcome, Secret, Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Failure, Report, TargetReport
from token_refresher.refresh.run import Refresher
from token_refresher.web.history import RunHistory
from token_refresher.web.hosts import cannot_listen
from token_refresher.web.metrics import Metrics
from token_refresher.web.server import HttpServer, create_app

_TOKEN_PATH, _TICKET_PATH = "/OAuth2/token", "/OAuth2/ticket"
_TIMER = b'{"triggerTime": "2026-10-01T00:00:00Z", "triggerName": "minute", "payload": ""}'
_DAY_S = 86400
# Only a bug makes a test wait this long.
_WAIT_S = 30.0


class Daemon:
    """One daemon's parts as `daemon.main` puts them together, under a Deployment's clock, and without sleeping."""

    def __init__(self, deployment: Deployment, chance: Callable[[], float] = lambda: 0.0) -> None:
        self.clock, self.stopping = deployment.clock, False
        policy = deployment.refresher().policy
        self.state = RunHistory(dict.fromkeys(deployment.app_ids, ""), policy, self.clock, deployment.world.now)
        self.metrics = Metrics(self.state)
        program = functools.cache(
            lambda: instrumented(deployment.refresher(), self.metrics, self.state.redis_answered, lambda: self.stopping)
        )
        self.scheduler = Scheduler(
            program,
            self.state,
            clock=self.clock,
            random=chance,
            new_id=lambda: "0123456789abcdef",
            on_run=self.metrics.ran,
        )
        self.client = create_app(self.state, self.metrics.text).test_client()

    def health(self) -> tuple[int, list[str]]:
        answer = self.client.get("/healthz")
        return answer.status_code, answer.get_json()["reasons"]

    def samples(self) -> dict[str, float]:
        """Every sample of /metrics as Prometheus reads it: `name{label=value,...}` -> value."""
        return _samples(self.client.get("/metrics").text)


def _samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def deployment(world: World) -> Deployment:
    return Deployment(world)


# -- the loop --------------------------------------------------------------------------------


# Hundreds of runs: seconds on an idle machine, minutes on one that has much else to do.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_daemons_and_a_function_fetch_each_due_code_once_in_half_a_day(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import index
    from token_refresher.function import handler as function_handler

    # Two minutes, to make it half as many runs.
    tick_s = 120
    deployment = Deployment(world, tick_s=tick_s)
    for name, value in deployment.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(function_handler, "_warm", [])
    chances = [cycle([0.1, 0.7, 0.4]), cycle([0.9, 0.0, 0.3, 0.6])]
    daemons = [Daemon(deployment, numbers.__next__) for numbers in chances]
    began, timer_at = deployment.clock(), deployment.clock()
    with ThreadPoolExecutor(3) as pool:
        while deployment.clock() - began < _DAY_S / 2:
            # Those whose time comes within a few seconds of each other really run at once.
            work: list[Future[Any]] = [
                pool.submit(each.scheduler.run_once) for each in daemons if each.scheduler.next_delay() < 5
            ]
            if timer_at - deployment.clock() < 5:
                work.append(pool.submit(index.handler, _TIMER, SimpleNamespace()))
                timer_at += tick_s
            for each in work:
                each.result()
            deployment.look()
            waits = [timer_at - deployment.clock(), *(each.scheduler.next_delay() for each in daemons)]
            deployment.world.advance(max(0.0, min(waits)))
    assert deployment.dead == []
    assert deployment.missing == 0
    for kind in Kind:
        issued = [each.issued_at for each in deployment.simulator.issued(deployment.app_ids[0], kind.value)]
        assert len(issued) == 8, "one at the start, and one each time that 1800 of 7200 s are left"
        gaps = [later - earlier for earlier, later in pairwise(issued)]
        # Runs that wait for another's lease move the clock of all by a few seconds.
        assert all(5390 <= gap <= 5400 + tick_s for gap in gaps)
    runs = [each.samples()["token_refresher_runs_total{result=ok}"] for each in daemons]
    assert all(360 <= count <= 405 for count in runs)


def test_a_tick_is_never_longer_than_the_policy_says_and_at_most_a_tenth_shorter(deployment: Deployment) -> None:
    numbers = iter([0.0, 1.0, 0.5])
    one = Daemon(deployment, lambda: next(numbers))
    tick_s, delays = Policy().tick_s, []
    for _ in range(3):
        one.scheduler.run_once()
        delays.append(one.scheduler.next_delay())
    for delay, most in zip(delays, (tick_s, tick_s * (1 - JITTER), tick_s * (1 - JITTER / 2)), strict=True):
        assert most - 5 < delay <= most


@pytest.mark.slow
def test_the_first_run_comes_at_once_and_after_a_long_run_the_next(deployment: Deployment) -> None:
    one = Daemon(deployment)
    assert one.scheduler.next_delay() == 0
    one.scheduler.run_once()
    deployment.world.advance(61)
    assert one.scheduler.next_delay() == 0


def test_the_loop_runs_until_it_is_told_to_stop(deployment: Deployment) -> None:
    stop, seen = threading.Event(), []

    def on_run(result: str, report: Report | None) -> None:
        seen.append(result)
        deployment.world.advance(60)
        if len(seen) == 3:
            stop.set()

    state = RunHistory({}, Policy(), deployment.clock)
    clock = deployment.clock
    Scheduler(deployment.refresher, state, clock=clock, random=lambda: 0.5, new_id=str, on_run=on_run).run(stop)
    assert seen == ["ok", "ok", "ok"]


def test_redis_going_and_coming_back_is_counted_and_shown_and_ends_nothing(world: World) -> None:
    deployment = Deployment(world, redis_timeout_s=0.2)
    one = Daemon(deployment)
    assert one.health() == (503, ["Redis has not been read yet"])
    assert one.scheduler.run_once() is not None
    assert one.health() == (200, [])
    world.redis.pause()
    assert one.scheduler.run_once() is None
    assert one.health() == (200, []), "one missed reading is no reason to wake anybody"
    world.advance(130)
    assert one.scheduler.run_once() is None
    status, reasons = one.health()
    assert status == 503
    assert len(reasons) == 1
    assert reasons[0].startswith("Redis was last read 13")
    assert reasons[0].endswith("s ago (redis_timeout)")
    world.redis.resume()
    assert one.scheduler.run_once() is not None
    assert one.health() == (200, [])
    samples = one.samples()
    assert samples["token_refresher_runs_total{result=redis}"] == 2
    assert samples["token_refresher_runs_total{result=ok}"] == 2
    assert [run.error for run in one.state.runs()] == ["", "redis_timeout", "redis_timeout", ""]


def test_a_platform_that_is_gone_is_counted_and_shown_when_a_code_is_in_danger(deployment: Deployment) -> None:
    one = Daemon(deployment)
    one.scheduler.run_once()
    deployment.world.advance(7200 - 300)
    deployment.simulator.stop()
    one.scheduler.run_once()
    status, reasons = one.health()
    assert status == 503
    assert [reason.split(": ")[1].split(" (")[1] for reason in reasons] == ["not_sent_connect)"] * 2
    samples = one.samples()
    assert samples["token_refresher_outcomes_total{error=not_sent_connect,kind=access_token,outcome=not_sent}"] == 1
    assert samples["token_refresher_runs_total{result=danger}"] == 1
    deployment.simulator.start()
    deployment.world.advance(60)
    one.scheduler.run_once()
    assert one.health() == (200, [])


def test_a_program_that_cannot_be_made_is_tried_again_and_wrong_settings_are_not() -> None:
    problems: Iterator[Exception] = iter([StoreError("gone", code="redis_unreachable"), SettingsError(["wrong"])])

    def make() -> Refresher:
        raise next(problems)

    state = RunHistory({}, Policy(), time.monotonic)
    loop = Scheduler(make, state, clock=time.monotonic, random=lambda: 0.0, new_id=lambda: "id")
    assert loop.run_once() is None
    assert state.unhealthy_reasons() == ("Redis has not been read yet (redis_unreachable)",)
    with pytest.raises(SettingsError):
        loop.run_once()


def test_a_defect_is_logged_by_type_and_place_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    secret = plant("in-a-defect")

    def make() -> Refresher:
        return int(secret)  # type: ignore[return-value]

    state = RunHistory({}, Policy(), time.monotonic)
    state.redis_answered()
    loop = Scheduler(make, state, clock=time.monotonic, random=lambda: 0.0, new_id=lambda: "id")
    assert loop.run_once() is None
    assert "unexpected ValueError in test_main.py" in caplog.text
    assert state.unhealthy_reasons() == ("the last run was stopped by a defect (internal_error)",)


def test_once_it_stops_what_is_under_way_is_stored_and_nothing_new_is_sent(deployment: Deployment) -> None:
    one = Daemon(deployment)
    gate = deployment.simulator.hold(_TOKEN_PATH, "after")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(one.scheduler.run_once)
        gate.wait_reached()
        one.stopping = True
        gate.release()
        report = run.result()
    assert report is not None
    token, ticket = report.targets
    assert token.outcome is Outcome.ISSUED
    assert (ticket.outcome, ticket.failure and ticket.failure.code) == (Outcome.DEFERRED, "not_sent_late")
    assert deployment.simulator.count(_TICKET_PATH) == 0
    assert deployment.refresher().store.read(ticket.target).lease.locked_until == 0
    assert deployment.run().summary()["fetches"] == 1


# -- signals, in processes of their own --------------------------------------------------------

_MAIN = """
import argparse, os, sys
from token_refresher.cli.commands.daemon import add_options
from token_refresher.daemon import main as daemon
parser = argparse.ArgumentParser()
add_options(parser)
sys.exit(daemon.main(parser.parse_args(), os.environ))
"""


def _started(environ: dict[str, str], *arguments: str, before: str = "") -> Child:
    return Child(before + _MAIN, environ, ["--listen", "127.0.0.1:0", *arguments])


def _line(child: Child, message: str) -> dict[str, Any]:
    """Wait for a line of the log whose message begins like this."""
    while True:
        told: dict[str, Any] = json.loads(child.wait_for("{"))
        if told["message"].startswith(message):
            return told


@pytest.mark.slow
def test_a_signal_in_the_middle_of_a_fetch_lets_it_come_back_and_be_stored(deployment: Deployment) -> None:
    gate = deployment.simulator.hold(_TOKEN_PATH, "after")
    with _started(deployment.environ) as child:
        gate.wait_reached(_WAIT_S)
        os.kill(child.pid, signal.SIGTERM)
        _line(child, "stopping (SIGTERM)")
        gate.release()
        told = _line(child, "credentials_in_danger: app0000 js_ticket: missing, not_sent_late")
        assert child.join() == 0
    summary = told["report"]["summary"]
    assert (summary["fetches"], summary["issued"], summary["deferred"]) == (1, 1, 1)
    assert told["run_id"] == told["report"]["run_id"]
    assert deployment.code(Kind.ACCESS_TOKEN) is not None
    assert deployment.run().summary()["fetches"] == 1, "the other credential, without any wait"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a second signal", "the end of --stop-timeout"])
def test_a_fetch_that_does_not_come_back_is_left_unsettled_and_a_later_tick_heals_it(
    deployment: Deployment, how: str
) -> None:
    gate = deployment.simulator.hold(_TOKEN_PATH, "after")
    arguments = ["--stop-timeout", "0.2"] if how != "a second signal" else []
    with _started(deployment.environ, *arguments) as child:
        gate.wait_reached(_WAIT_S)
        os.kill(child.pid, signal.SIGTERM)
        _line(child, "stopping (SIGTERM)")
        if how == "a second signal":
            os.kill(child.pid, signal.SIGINT)
        _line(child, "ended at once (SIGINT)" if how == "a second signal" else "ended at once (0.2 s are over)")
        assert child.join() == 0
    gate.release()
    token = Target(deployment.app_ids[0], Kind.ACCESS_TOKEN)
    left = deployment.refresher().store.read(token)
    assert left.record is None
    assert not left.lease.settled
    assert left.lease.locked_until > left.now_ms
    # Its lock, and a tick in which another copy would have its turn.
    deployment.pass_time(155)
    report = deployment.run()
    assert [each.outcome for each in report.targets] == [Outcome.ISSUED] * 2
    assert deployment.dead == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_waiting_daemon_at_once_and_well(deployment: Deployment, number: signal.Signals) -> None:
    with _started(deployment.environ) as child:
        _line(child, "2 credentials, 2 fetched")
        os.kill(child.pid, number)
        _line(child, f"stopping ({number.name})")
        _line(child, "stopped")
        assert child.join() == 0
        assert child.stderr == ""


@pytest.mark.slow
def test_what_the_starter_ignores_is_ignored(deployment: Deployment) -> None:
    before = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    with _started(deployment.environ, before=before) as child:
        _line(child, "2 credentials, 2 fetched")
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
        _line(child, "stopping (SIGTERM)")
        assert child.join() == 0


@pytest.mark.slow
def test_a_daemon_whose_redis_goes_and_comes_back_says_so_over_http(world: World) -> None:
    deployment = Deployment(world, tick_s=0.5, redis_timeout_s=0.2)
    with _started(deployment.environ) as child:
        url = _line(child, "listening on ")["message"].removeprefix("listening on ")
        _line(child, "2 credentials, 2 fetched")
        wait_until("it is well", lambda: _get(f"{url}/healthz")[0] == 200)
        world.redis.pause()
        wait_until("it is unwell", lambda: _get(f"{url}/healthz")[0] == 503)
        assert _get(f"{url}/livez")[0] == 200
        assert "redis_timeout" in _line(child, "the run failed")["message"]
        world.redis.resume()
        wait_until("it is well", lambda: _get(f"{url}/healthz")[0] == 200)
        samples = _samples(_get(f"{url}/metrics")[1])
        assert samples["token_refresher_runs_total{result=redis}"] >= 1
        assert samples["process_open_fds{}"] > 3
        os.kill(child.pid, signal.SIGTERM)
        assert child.join() == 0
    assert deployment.simulator.count() == 2


@pytest.mark.slow
def test_without_http_nothing_listens_and_none_of_its_packages_is_needed(deployment: Deployment) -> None:
    before = "import sys\nfor name in ('flask', 'waitress', 'prometheus_client'): sys.modules[name] = None\n"
    with Child(before + _MAIN, deployment.environ, ["--no-http", "--log-format", "text"]) as child:
        line = child.wait_for("20")
        assert line.endswith("INFO    started: 1 application, a run every 60 s")
        assert "2 credentials, 2 fetched" in child.wait_for("20")
        os.kill(child.pid, signal.SIGTERM)
        assert child.join() == 0


@pytest.mark.slow
def test_processes_forked_from_one_that_has_everything_imported_share_nothing(deployment: Deployment) -> None:
    deployment.age()
    with Child(_FORK, deployment.environ | {"CLOCK_FILE": str(deployment.world.redis.clock_file)}) as child:
        told = [json.loads(child.wait_for("{")) for _ in range(2)]
        child.wait_for("both ended 0 0")
    assert len({each["run_id"] for each in told}) == 2
    assert sum(each["fetches"] for each in told) == 2, "one fetch for each of the two due credentials"
    assert {each["result"] for each in told} == {"ok"}


_FORK = """
import json, os
from support.child import say
from token_refresher.web import server as daemon_http
from token_refresher import bootstrap as wiring
from token_refresher.daemon.scheduler import Scheduler
from token_refresher.web.metrics import Metrics
from token_refresher.web.history import RunHistory
from token_refresher.daemon.instrumentation import instrumented
from token_refresher.domain.clock import steady_clock
from token_refresher.settings.loader import read

def clock():
    with open(os.environ["CLOCK_FILE"]) as file:
        return steady_clock() + float(file.read())

settings = read(os.environ)
state = RunHistory({}, settings.policy, clock)
metrics = Metrics(state)
plain = wiring.refresher(settings, clock=clock, pause=lambda seconds: None)
plain.store.load([])
program = instrumented(plain, metrics, state.redis_answered, lambda: False)
loop = Scheduler(lambda: program, state, clock=clock, random=lambda: 0.0, new_id=wiring.new_id, on_run=metrics.ran)
daemon_http.create_app(state, metrics.text)
children = []
for _ in range(2):
    pid = os.fork()
    if not pid:
        report = loop.run_once()
        fetches = sum(each.fetches for each in report.targets)
        say(json.dumps({"run_id": report.run_id, "fetches": fetches, "result": state.runs()[-1].result}))
        os._exit(0)
    children.append(pid)
say("both ended " + " ".join(str(os.waitpid(pid, 0)[1]) for pid in children))
"""


# -- starting ----------------------------------------------------------------------------------


def _options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    return parser.parse_args(arguments)


def test_the_endpoint_is_on_the_loopback_unless_told_otherwise() -> None:
    assert _options().listen == ("127.0.0.1", 8080)
    assert _options("--listen", "0.0.0.0:80").listen == ("0.0.0.0", 80)  # noqa: S104 - nothing listens
    assert _options("--listen", "[::1]:9").listen == ("::1", 9)


@each_line("wrong", ["8080", ":8080", "host:", "host:65536", "host:-1", "::1:80", "[x]:80", "a b:80"])
def test_what_is_no_address_is_not_accepted(wrong: str) -> None:
    with pytest.raises(argparse.ArgumentError, match="not HOST:PORT"):
        _options("--listen", wrong)


@pytest.mark.parametrize("wrong", ["-1", "1h", "", "inf"])
def test_what_is_no_duration_is_not_accepted(wrong: str) -> None:
    with pytest.raises(argparse.ArgumentError, match="not a number of seconds"):
        _options(f"--stop-timeout={wrong}")


def test_wrong_settings_are_told_before_anything_begins() -> None:
    with pytest.raises(SettingsError):
        daemon.main(_options(), {})
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), "and the signals are as they were"


def test_an_address_that_is_taken_is_told(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CommandError) as caught:
            daemon.main(_options("--listen", where), world.settings_env())
    assert caught.value.what == f"cannot listen on {where}: Address already in use"
    assert "choose another port by --listen" in caught.value.advice


@pytest.mark.parametrize(
    ("unsettled", "level", "says"),
    [
        (False, "INFO", "no credential was under way"),
        (True, "WARNING", "a credential under way is left unsettled, which the next run heals"),
    ],
)
def test_a_second_signal_speaks_of_a_code_only_if_one_is_under_way(
    unsettled: bool, level: str, says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "sigwait", lambda numbers: signal.SIGTERM)
    monkeypatch.setattr(signal, "sigtimedwait", lambda numbers, timeout: None)
    monkeypatch.setattr(os, "_exit", lambda code: None)
    GracefulShutdown(25)._watch(lambda: None, lambda: None, lambda: unsettled)
    last = caplog.records[-1]
    assert (last.levelname, last.getMessage()) == (level, f"ended at once (25 s are over): {says}")


def test_sighup_reloads_and_the_signal_after_it_still_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, told = iter([signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]), []

    def end(code: int) -> None:
        told.append(f"end {code}")

    monkeypatch.setattr(signal, "sigwait", lambda _: next(numbers))
    monkeypatch.setattr(signal, "sigtimedwait", lambda numbers, timeout: None)
    monkeypatch.setattr(os, "_exit", end)
    shutdown = GracefulShutdown(0.1)
    shutdown.watch(lambda: told.append("reload"), lambda: told.append("wake"), lambda: False)
    wait_until("the process ended", lambda: "end 0" in told)
    assert told == ["reload", "reload", "wake", "end 0"]
    assert shutdown.requested.is_set()


def test_under_nohup_sighup_is_heard_while_the_daemon_runs_and_ignored_again_after_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with GracefulShutdown(0.1):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL, "what is ignored need not be kept"
            # Other threads of a test's process do not hold it back, as a daemon's do.
            signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
            assert signal.sigwait([signal.SIGHUP]) == signal.SIGHUP, "it waits until it is read"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_package_that_is_missing_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "token_refresher.web.metrics")
    with pytest.raises(CommandError, match=r"prometheus_client is not installed") as caught:
        daemon.main(_options(), world.settings_env())
    assert caught.value.advice == f"{how_to_install('daemon')}, or serve nothing: --no-http"


def test_an_address_that_this_machine_does_not_have_is_told_with_what_to_write(world: World) -> None:
    # Of the addresses that are for documents alone, so no machine has it.
    with pytest.raises(CommandError) as caught:
        daemon.main(_options("--listen", "192.0.2.1:8080"), world.settings_env())
    assert caught.value.what == "cannot listen on 192.0.2.1:8080: Cannot assign requested address"
    assert caught.value.advice == "choose an address of this machine by --listen"


def test_a_port_that_is_kept_for_the_system_is_told_with_what_to_choose() -> None:
    error = cannot_listen("127.0.0.1:80", PermissionError(errno.EACCES, "Permission denied"))
    assert error.what == "cannot listen on 127.0.0.1:80: Permission denied"
    assert error.advice == "choose a port above 1023 by --listen"


def test_health_before_the_end_of_the_first_run_says_that_there_is_no_report_yet() -> None:
    state = RunHistory({}, Policy(), time.monotonic)
    state.redis_answered()
    assert state.unhealthy_reasons() == ("the first run has not ended yet",)


def test_importing_the_door_imports_none_of_what_it_opens() -> None:
    driver = (
        "import sys, token_refresher.daemon.main\n"
        "print('seen', sorted(sys.modules.keys() & {'flask', 'waitress', 'prometheus_client', 'requests', 'redis',"
        " 'token_refresher.daemon.scheduler', 'token_refresher.refresh'}))"
    )
    with Child(driver) as child:
        assert child.wait_for("seen") == "seen []"


def test_the_function_imports_nothing_of_this() -> None:
    driver = "import sys, index\nprint('seen', [name for name in sys.modules if 'daemon' in name or 'logs' in name])"
    with Child(driver) as child:
        assert child.wait_for("seen") == "seen []"


# -- health and metrics --------------------------------------------------------------------------


def test_metrics_hold_what_happened(deployment: Deployment) -> None:
    one = Daemon(deployment)
    for kind in Kind:
        for outcome in ("issued", "kept"):
            none_yet = f"token_refresher_outcomes_total{{error=none,kind={kind.value},outcome={outcome}}}"
            assert one.samples()[none_yet] == 0, "a rate has something to begin from"
    one.scheduler.run_once()
    deployment.world.advance(100)
    samples, app_id = one.samples(), deployment.app_ids[0]
    for kind in Kind:
        assert 7090 <= samples[f"token_refresher_seconds_to_expiry{{app_id={app_id},kind={kind.value}}}"] <= 7100
        issued = f"token_refresher_outcomes_total{{error=none,kind={kind.value},outcome=issued}}"
        assert samples[issued] == 1
        assert samples[f"token_refresher_fetch_seconds_count{{request={kind.value}}}"] == 1
        assert samples[f"token_refresher_lease_waits_total{{kind={kind.value}}}"] == 0
    assert samples["token_refresher_redis_seconds_count{command=load}"] == 1
    assert samples["token_refresher_redis_seconds_count{command=acquire}"] == 2
    assert samples["token_refresher_redis_seconds_count{command=finish}"] == 2
    assert samples["token_refresher_run_seconds_count{}"] == 1
    assert abs(samples["token_refresher_last_run_timestamp_seconds{}"] - time.time()) < 60
    assert [name for name in samples if name.startswith("token_refresher_build_info")]


def test_waiting_for_another_runs_lease_is_counted(deployment: Deployment) -> None:
    one = Daemon(deployment)
    target = Target(deployment.app_ids[0], Kind.ACCESS_TOKEN)
    store = deployment.refresher().store
    snapshot = store.load([target])[0]
    assert not isinstance(snapshot, StoreError)
    store.acquire(snapshot, "another-attempt", "another-copy")
    one.scheduler.run_once()
    assert one.samples()["token_refresher_lease_waits_total{kind=access_token}"] == 1


def test_somebody_elses_refreshes_are_counted_once_each_and_only_those_since_the_start(deployment: Deployment) -> None:
    app_id = deployment.app_ids[0]
    deployment.run()

    def another_fetches(kind: Kind) -> None:
        # Later than what a request that is carried out twice would do.
        deployment.world.advance(120)
        deployment.simulator.issue(app_id, kind.value)
        deployment.world.advance(250)

    another_fetches(Kind.JS_TICKET)
    deployment.run()
    deployment.world.advance(250)
    one, other = Daemon(deployment), Daemon(deployment)
    for each in (one, other):
        each.scheduler.run_once()
    another_fetches(Kind.JS_TICKET)
    for each in (one, other, one):
        each.scheduler.run_once()
    for each in (one, other):
        assert each.samples()["token_refresher_supersessions_total{kind=js_ticket}"] == 1


def test_the_time_left_goes_on_falling_when_no_run_brings_news(deployment: Deployment) -> None:
    one = Daemon(deployment)
    one.scheduler.run_once()
    deployment.world.advance(8000)
    name = f"token_refresher_seconds_to_expiry{{app_id={deployment.app_ids[0]},kind=js_ticket}}"
    assert one.samples()[name] == 0


def test_no_request_starts_a_run(deployment: Deployment) -> None:
    one = Daemon(deployment)
    for path in ("/healthz", "/livez", "/metrics", "/", "/refresh"):
        one.client.get(path)
        one.client.post(path)
    assert deployment.simulator.count() == 0
    assert one.samples()["token_refresher_runs_total{result=ok}"] == 0


def test_a_loop_that_stands_still_is_not_alive(deployment: Deployment) -> None:
    one = Daemon(deployment)
    assert one.client.get("/livez").status_code == 200
    deployment.world.advance(2 * (60 + 60) + 1)
    assert one.client.get("/livez").status_code == 503
    one.scheduler.run_once()
    assert one.client.get("/livez").status_code == 200


def test_answers_are_not_cached_and_without_metrics_there_is_no_address_for_them() -> None:
    client = create_app(RunHistory({}, Policy(), time.monotonic)).test_client()
    assert client.get("/metrics").status_code == 404
    answer = client.get("/livez")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


_PATHS = ("/healthz", "/livez", "/metrics", "/nothing")


@pytest.mark.parametrize("path", _PATHS)
def test_health_and_metrics_are_not_known_under_names_that_anybody_could_point_here(path: str) -> None:
    state = RunHistory({}, Policy(), time.monotonic)
    client = create_app(state, lambda: b"", hosts=("status.internal", "Metrics.internal")).test_client()
    addresses = ("127.0.0.1:8080", "10.244.1.7:8080", "[fd00::7]:8080")
    for host in (*addresses, "localhost", "status.internal", "metrics.internal:80"):
        assert client.get(path, headers={"Host": host}).status_code != 421, host
    for host in ("evil.example", "status.internal.evil.example", "", "2130706433"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert answer.headers["Cache-Control"] == "no-store"
        assert "reasons" not in answer.text


@pytest.mark.slow
def test_names_are_allowed_on_the_command_line(deployment: Deployment) -> None:
    options = ("--allow-host", "status.internal", "--allow-host", "metrics.internal")
    with _started(deployment.environ, *options) as child:
        url = _line(child, "listening on ")["message"].removeprefix("listening on ")
        for host, status in (("metrics.internal", 200), ("status.internal:80", 200), ("evil.example", 421)):
            for path in ("/livez", "/metrics", "/"):
                assert _get(url + path, host)[0] == status


@pytest.mark.parametrize("name", ["", "a b", "a.example:80", "https://a.example", "*", "x" * 254, "/"])
def test_what_is_no_name_of_a_host_is_not_allowed(world: World, name: str) -> None:
    with pytest.raises(CommandError, match="--allow-host takes a host name without a port"):
        daemon.main(_options("--listen", "127.0.0.1:0", "--allow-host", name), world.settings_env())


# -- connections that ask for nothing ---------------------------------------------------------

_BEGINNINGS = {
    "nothing": b"",
    "half a request": b"GET /livez HTTP/1.1\r\nHo",
    "a body that does not come": b"POST /refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n",
    "an answer that is not read": b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("beginning", _BEGINNINGS)
def test_connections_that_ask_for_nothing_shut_no_one_out(beginning: str) -> None:
    app = create_app(RunHistory({}, Policy(), time.monotonic), lambda: b"metrics")
    with HttpServer(app, "127.0.0.1", 0) as endpoint, contextlib.ExitStack() as held:
        host, _, port = endpoint.url.removeprefix("http://").rpartition(":")
        first = held.enter_context(socket.create_connection((host, int(port)), 30))
        for _ in range(300):
            sock = held.enter_context(socket.create_connection((host, int(port)), 30))
            sock.sendall(_BEGINNINGS[beginning])
        for path in ("/livez", "/healthz", "/metrics"):
            assert _get(f"{endpoint.url}{path}")[0] in (200, 503)
        # The oldest made room: without an end of its own it would have to wait for half a minute.
        assert first.recv(1) == b""


def test_a_request_that_is_being_answered_is_not_what_makes_room() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        assert go_on.wait(30)
        return b"all of it"

    app = create_app(RunHistory({}, Policy(), time.monotonic), slow)
    with HttpServer(app, "127.0.0.1", 0) as endpoint, contextlib.ExitStack() as held:
        host, _, port = endpoint.url.removeprefix("http://").rpartition(":")
        asking = held.enter_context(socket.create_connection((host, int(port)), 30))
        asking.sendall(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert begun.wait(30)
        for _ in range(300):
            held.enter_context(socket.create_connection((host, int(port)), 30))
        assert _get(f"{endpoint.url}/livez")[0] == 200
        go_on.set()
        with asking.makefile("rb") as answer:
            assert answer.read().endswith(b"all of it")


def test_requests_that_wait_for_a_thread_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def slow() -> bytes:
        assert go_on.wait(30)
        return b"all of it"

    app = create_app(RunHistory({}, Policy(), time.monotonic), slow)
    with HttpServer(app, "127.0.0.1", 0) as endpoint, ThreadPoolExecutor(9) as people:
        asked = [people.submit(_get, f"{endpoint.url}/metrics") for _ in range(9)]
        wait_until("more wait than there are threads", lambda: len(endpoint._server.task_dispatcher.queue) == 5, 30)
        go_on.set()
        assert {answer.result() for answer in asked} == {(200, "all of it")}
    assert not caplog.records


def test_an_endpoint_frees_its_address_when_it_ends() -> None:
    app = create_app(RunHistory({}, Policy(), time.monotonic))
    with HttpServer(app, "127.0.0.1", 0) as endpoint:
        assert _get(f"{endpoint.url}/livez")[0] == 200
        port = int(endpoint.url.rpartition(":")[2])
    with HttpServer(app, "127.0.0.1", port) as endpoint:
        assert _get(f"{endpoint.url}/livez")[0] == 200
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "waitress" in name or "http" in name]


def _report(at: int, **changes: Any) -> Report:
    target = TargetReport(Target("a", Kind.JS_TICKET), "FRESH", "", seconds_left=7000, fingerprint="00000000")
    return Report("id", Action.REFRESH.value, at, 5, (replace(target, **changes),))


def test_a_day_of_history_keeps_every_change_and_stays_small() -> None:
    state = RunHistory({f"a{number}": "" for number in range(2000)}, Policy(), time.monotonic)
    for at in range(0, 2 * _DAY_S, 60):
        state.add(_report(at, seconds_left=7000 - at % 5400), "ok")
    refused = Failure.of(RefusedError("no", code="wrong_secret"))
    state.add(_report(2 * _DAY_S, outcome=Outcome.REFUSED, failure=refused), "ok")
    points = state.samples(Target("a", Kind.JS_TICKET))
    assert 10 <= len(points) <= 25
    assert _DAY_S <= points[0].at <= _DAY_S + 2 * 7000, "the whole day, in steps of two hours where nothing happens"
    assert (points[-1].outcome, points[-1].error) == ("refused", "wrong_secret")
    assert len(state.runs()) == 1440
    assert state.samples(Target("unknown", Kind.JS_TICKET)) == ()


def test_many_codes_in_danger_are_told_in_few_sentences() -> None:
    state = RunHistory({}, Policy(), time.monotonic)
    state.redis_answered()
    bad = tuple(TargetReport(Target(f"a{n}", Kind.JS_TICKET), "MISSING", "", in_danger=True) for n in range(30))
    state.add(replace(_report(0), targets=bad), "danger")
    assert len(state.unhealthy_reasons()) == 11
    assert state.unhealthy_reasons()[-1] == "and 20 more"


# -- logs ----------------------------------------------------------------------------------------


def _record(message: Any, *arguments: Any, name: str = "token_refresher.x", **more: Any) -> logging.LogRecord:
    record = logging.LogRecord(name, logging.WARNING, "file.py", 1, message, arguments, None)
    vars(record).update(more)
    return record


def test_a_line_of_json_holds_who_when_what_and_the_report() -> None:
    record = _record("did %d", 3, run_id="r1", report={"targets": []})
    record.created = 1790000000.25
    line = logs.JsonLines().format(record)
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.250+00:00",
        "level": "WARNING",
        "logger": "token_refresher.x",
        "message": "did 3",
        "run_id": "r1",
        "report": {"targets": []},
    }
    assert logs.TextLines().format(record) == "2026-09-21T14:13:20.250+00:00 WARNING did 3 (run r1)"


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    secret, password = plant("app-secret"), plant("password", extra="%/@")
    quoted = password.replace("%", "%25").replace("/", "%2F").replace("@", "%40")
    hidden = [Secret(secret), *RedisUrl.parse(f"redis://:{quoted}@host:6379/0").secrets, Secret("abc")]
    record = _record(f"{secret} and {password}", report={"targets": [{secret: f"x{quoted}y", "abc": 1}]})
    for form in (logs.JsonLines(hidden), logs.TextLines(hidden)):
        line = form.format(record)
        assert secret not in line
        assert password not in line
        assert "**** and ****" in line
    assert logs.JsonLines(hidden).content(record)["report"] == {"targets": [{"****": "x****y", "abc": 1}]}


def test_of_other_loggers_only_the_template_is_kept() -> None:
    record = _record("POST %s with %s", "https://host/?secret=1", "header", name="urllib3.connectionpool")
    assert logs.JsonLines().content(record)["message"] == "POST %s with %s"
    assert logs.JsonLines().content(_record({"secret": 1}, name="other"))["message"] == "(dict)"


def test_of_an_exception_type_and_place_are_kept_and_of_ours_what_to_do() -> None:
    secret = plant("in-an-exception")
    told = []
    for error in (ValueError(secret), StoreError("gone", code="redis_unreachable")):
        try:
            raise error
        except Exception as caught:
            record = _record("failed", exc_info=(type(caught), caught, caught.__traceback__))
            told.append(logs.JsonLines().content(record)["error"])
            assert secret not in logs.TextLines().format(record)
    assert told[0].keys() == {"type", "place"}
    assert told[0]["type"] == "ValueError"
    assert told[0]["place"].startswith("test_main.py:")
    assert told[1]["code"] == "redis_unreachable"


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    record = _record("failed", exc_info=(ValueError, ValueError("x"), None))
    assert logs.JsonLines().content(record)["error"] == {"type": "ValueError", "place": ""}


def test_no_message_can_look_like_two_lines() -> None:
    record = _record("GET /%s", "a\nERROR b\r\x1b[31m\u2028c")
    for form in (logs.JsonLines(), logs.TextLines()):
        assert len(form.format(record).splitlines()) == 1


def test_arguments_that_do_not_fit_break_nothing_and_are_not_shown() -> None:
    assert logs.JsonLines().content(_record("%d credentials", "secret"))["message"] == "%d credentials"
    assert json.loads(logs.JsonLines().format(_record("x", report={"a": object()})))["report"] == {"a": "(object)"}


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root, own = logging.getLogger(), logging.getLogger("token_refresher")
    before, levels = root.handlers[:], (root.level, own.level)
    yield root
    root.handlers[:] = before
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def test_everything_goes_to_one_stream_and_one_that_breaks_shows_nothing(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    logs.configure("INFO", "json", [], stream)
    logging.getLogger("token_refresher.y").info("said")
    logging.getLogger("urllib3").info("not said")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["said"]
    stream.close()
    logging.getLogger("token_refresher.y").warning("lost %s", plant("argument"))
    assert capsys.readouterr() == ("", "")


# -- waiting for conditions --------------------------------------------------------------------


def _get(url: str, host: str = "") -> tuple[int, str]:
    """Status and body; 0 when nobody answers. `host` goes into the Host header instead of the address."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310 - our own
    try:
        with opener.open(request, timeout=_WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
