"""The daemon takes changed settings without a restart: by itself before each run, and at once after SIGHUP."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.flow import Deployment
from support.planted import plant
from support.processes import Child
from support.world import World
from token_refresher.bootstrap import RESTART
from token_refresher.daemon.reload import Program
from token_refresher.daemon.scheduler import Scheduler
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Report, TargetReport
from token_refresher.settings.loader import read
from token_refresher.web.history import RunHistory

# Starts a whole daemon.
slow = pytest.mark.slow

_TOKEN_PATH = "/OAuth2/token"
_MAIN = """
import argparse, os, sys
from token_refresher.cli.commands.daemon import add_options
from token_refresher.daemon import main as daemon
parser = argparse.ArgumentParser()
add_options(parser)
sys.exit(daemon.main(parser.parse_args(), os.environ))
"""
_WAIT_S = 30.0


class Filed:
    """A daemon over a configuration file of two applications."""

    def __init__(self, world: World, *, before: str = "", **policy: float) -> None:
        self.deployment = Deployment(world, 2, **policy)
        self.file = Path(self.deployment.environ["CONFIG_FILE"])
        self.text = self.file.read_text()
        self.child = Child(before + _MAIN, self.deployment.environ, ["--listen", "127.0.0.1:0"])
        self.url = self.line("listening on ")["message"].removeprefix("listening on ")
        self.line("4 credentials, 4 fetched")

    def line(self, message: str) -> dict[str, Any]:
        """Wait for a line of the log whose message begins like this."""
        while True:
            told: dict[str, Any] = json.loads(self.child.wait_for("{"))
            if told["message"].startswith(message):
                return told

    def fetched(self, count: int) -> None:
        """Wait until so many were fetched. A run that is under way while time is moved may fetch some of them."""
        while count > 0:
            told = self.line("4 credentials, ")["report"]["targets"]
            count -= sum(each.get("outcome") == Outcome.ISSUED for each in told)

    def write(self, text: str) -> None:
        """In one step: a run that begins now would find half a file."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def signal(self, number: signal.Signals = signal.SIGHUP) -> None:
        os.kill(self.child.pid, number)

    def rotate(self, number: int = 0) -> None:
        """The platform takes a new secret from now on, and so does the file."""
        world, app_id, new = self.deployment.world, self.deployment.app_ids[number], plant("rotated")
        self.deployment.simulator.rotate_secret(app_id, new)
        self.write(self.text.replace(world.secrets[app_id], new))

    def health(self) -> dict[str, Any]:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/healthz") as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def refused(self) -> float:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("token_refresher_settings_refused "))

    def end(self) -> None:
        self.signal(signal.SIGTERM)
        assert self.child.join() == 0
        assert self.child.stderr == ""


@pytest.fixture
def start(world: World) -> Any:
    started: list[Filed] = []

    def begin(**options: Any) -> Filed:
        started.append(Filed(world, **options))
        return started[-1]

    yield begin
    for each in started:
        each.child.stop()


Start = Callable[..., Filed]


@slow
def test_a_changed_file_counts_with_the_next_run_without_any_signal(start: Start, world: World) -> None:
    one = start(tick_s=0.5)
    one.rotate()
    assert one.line("settings reloaded")["message"].endswith("used from the next run on: secret of app0000")
    world.advance(6000)
    one.fetched(4)
    assert one.health() == {"status": "ok", "reasons": [], "warnings": []}
    one.end()
    assert "wrong_secret" not in one.child.stdout


@slow
@pytest.mark.parametrize("before", ["", "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"])
def test_sighup_reloads_at_once_also_under_nohup(start: Start, world: World, before: str) -> None:
    one = start(before=before)
    world.advance(6000)
    one.rotate()
    one.signal()
    one.line("SIGHUP: the settings are read again")
    one.line("settings reloaded")
    one.line("4 credentials, 4 fetched")
    assert one.health()["status"] == "ok", "where it listened before"
    one.end()


@slow
def test_an_application_more_and_one_less_are_what_is_refreshed_and_shown(start: Start, world: World) -> None:
    one = start()
    added = world.app_id(2)
    text = one.text.replace(world.secrets["app0001"], world.secrets[added]).replace("app0001", added)
    one.write(text)
    one.signal()
    message = one.line("settings reloaded")["message"]
    assert message.endswith("application app0002 added, application app0001 removed")
    told = one.line("4 credentials, 2 fetched")["report"]
    assert {each["app_id"] for each in told["targets"]} == {"app0000", "app0002"}
    one.end()


@slow
def test_wrong_settings_are_refused_once_seen_over_http_and_end_nothing(start: Start, world: World) -> None:
    one = start(tick_s=0.5)
    one.write(one.text.replace("app_secret", "app_secrte"))
    refused = one.line("changed settings are refused, the old ones stay in use: ")
    assert (refused["level"], refused["message"].count("app_secret is missing")) == ("ERROR", 2)
    world.advance(6000)
    one.fetched(4)
    health = one.health()
    assert health["status"] == "ok"
    assert health["warnings"][0].startswith("changed settings are refused, the old ones stay in use: app_info entry 1")
    assert one.refused() == 1
    one.write(one.text)
    one.line("settings read again: nothing has changed")
    one.line("4 credentials, 0 fetched")
    assert (one.health()["warnings"], one.refused()) == ([], 0)
    one.end()
    assert one.child.stdout.count("changed settings are refused") == 1


@slow
def test_several_signals_during_a_run_are_one_and_count_right_after_it(start: Start, world: World) -> None:
    one = start()
    world.advance(6000)
    gate = world.simulator.hold(_TOKEN_PATH, "after", "app0000")
    one.signal()
    gate.wait_reached(_WAIT_S)
    one.line("settings read again")
    one.child.freeze()
    for _ in range(3):
        one.signal()
    one.child.thaw()
    one.line("SIGHUP: the settings are read again")
    gate.release()
    one.line("4 credentials, 4 fetched")
    one.line("settings read again: nothing has changed")
    one.line("4 credentials, 0 fetched")
    one.end()
    assert one.child.stdout.count("settings read again") == 2


@slow
def test_a_secret_corrected_while_the_old_one_is_refused_counts_within_the_same_tick(
    start: Start, world: World
) -> None:
    one = start()
    world.advance(6000)
    gate = world.simulator.hold(_TOKEN_PATH, "before", "app0000")
    one.signal()
    gate.wait_reached(_WAIT_S)
    one.rotate()
    gate.release()
    one.line("settings reloaded")
    told = one.line("4 credentials")["report"]
    assert not [each for each in told["targets"] if "failure" in each]
    one.end()


@slow
def test_a_refused_secret_that_stays_says_what_would_help(start: Start, world: World) -> None:
    one = start()
    world.simulator.rotate_secret("app0000", plant("only on the platform"))
    world.advance(6000)
    one.signal()
    one.line("wrong_secret: a corrected file counts with the next run, a corrected environment variable only once")
    one.end()


@slow
def test_sighup_does_not_shorten_the_end(start: Start, world: World) -> None:
    one = start()
    world.advance(6000)
    gate = world.simulator.hold(_TOKEN_PATH, "after", "app0000")
    one.signal()
    gate.wait_reached(_WAIT_S)
    one.signal(signal.SIGTERM)
    one.line("stopping (SIGTERM)")
    one.signal()
    gate.release()
    one.line("stopped")
    assert one.child.join() == 0
    assert world.simulator.fetches("app0000", "access_token") == 2
    code = one.deployment.code(Kind.ACCESS_TOKEN)
    newest = world.simulator.newest("app0000", "access_token")
    assert newest is not None
    assert code == newest.code


@slow
def test_settings_from_the_environment_alone_need_a_restart_and_that_is_said(world: World) -> None:
    with Child(_MAIN, world.settings_env(), ["--no-http"]) as child:
        while "2 credentials, 2 fetched" not in child.wait_for("{"):
            pass
        os.kill(child.pid, signal.SIGHUP)
        while "restart it to change them" not in child.wait_for("{"):
            pass
        while "2 credentials, 0 fetched" not in child.wait_for("{"):
            pass
        os.kill(child.pid, signal.SIGTERM)
        assert child.join() == 0


# -- the same within this process --------------------------------------------------------------


class Loop:
    """What a daemon puts together over a configuration file of two applications; both are fetched already."""

    def __init__(self, world: World) -> None:
        self.world, self.deployment = world, Deployment(world, 2)
        self.deployment.run()
        self.file = Path(self.deployment.environ["CONFIG_FILE"])
        settings = read(self.deployment.environ)
        self.history = RunHistory({app.app_id: app.name for app in settings.apps}, settings.policy, time.monotonic)
        self.program = Program(settings, self.history, watched=lambda plain: plain, changed=lambda _: None)
        self.scheduler = Scheduler(
            self.program.current, self.history, clock=time.monotonic, random=lambda: 0.0, new_id=lambda: "id"
        )

    def rotate(self) -> str:
        """From now on the platform takes another secret of the first application alone."""
        new = plant("rotated")
        self.world.simulator.rotate_secret("app0000", new)
        return new

    def write(self, old: str, new: str) -> None:
        self.file.write_text(self.file.read_text().replace(old, new))


@pytest.fixture
def loop(world: World, caplog: pytest.LogCaptureFixture) -> Loop:
    caplog.set_level(logging.INFO, "token_refresher")
    return Loop(world)


def test_a_run_is_repeated_at_once_where_a_refused_secret_was_corrected_meanwhile(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.world.advance(6000)
    gate = loop.world.simulator.hold(_TOKEN_PATH, "before", "app0000")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(loop.scheduler.run_once)
        gate.wait_reached()
        loop.write(loop.world.secrets["app0000"], loop.rotate())
        gate.release()
        report = run.result()
    assert report is not None
    assert [each.failure for each in report.targets] == [None] * 4
    assert [run.result for run in loop.history.runs()] == ["ok", "ok"]
    assert RESTART not in caplog.messages


def test_where_a_refused_secret_stays_the_same_it_is_said_what_would_help(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.rotate()
    loop.world.advance(6000)
    report = loop.scheduler.run_once()
    assert report is not None
    assert len(loop.history.runs()) == 1, "nothing has changed, so nothing is tried again"
    assert caplog.messages.count(RESTART) == 1


def test_who_asks_for_a_reload_has_the_files_read_once_and_the_new_names_shown(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    first = loop.program.current()
    loop.program.reload()
    assert loop.program.current() is first
    assert loop.program.current() is first
    assert caplog.messages == ["settings read again: nothing has changed"]
    loop.write("name of app0001", "another name")
    assert loop.program.current() is not first
    assert loop.history.names["app0001"] == "another name"


def test_who_asks_for_a_run_does_not_wait_for_the_tick(loop: Loop) -> None:
    loop.scheduler.run_once()
    assert loop.scheduler.next_delay() > 30
    loop.scheduler.run_now()
    assert loop.scheduler.next_delay() == 0


def test_what_is_known_of_an_application_goes_with_it() -> None:
    state = RunHistory({"a": "", "b": ""}, Policy(), time.monotonic)
    both = tuple(TargetReport(Target(name, Kind.JS_TICKET), "FRESH", "") for name in "ab")
    state.add(Report("id", "refresh", 0, 5, both), "ok")
    state.reconfigured({"b": "B"}, Policy(tick_s=30))
    assert (dict(state.names), state.policy.tick_s) == ({"b": "B"}, 30)
    assert [len(state.samples(each.target)) for each in both] == [0, 1]
