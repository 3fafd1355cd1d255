"""A machine without files, threads or memory to spare, and settings that are broken or change meanwhile."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import index
from support.flow import Deployment, of
from support.planted import plant
from support.processes import Child
from support.world import World
from token_refresher.domain.errors import SettingsError
from token_refresher.domain.model import Kind, Outcome
from token_refresher.function import handler as function_handler

KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]
# A thread of a limited run takes so much address space, far more than the rest of the run does.
STACK = 256 << 20

# A warm process that runs when it is told to, with a limit on one of its resources while it does.
DRIVER = """
import json, os, resource, threading
from support.child import say
from token_refresher import bootstrap as wiring
from token_refresher.domain.errors import TokenRefresherError
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.command import Action, Command
from token_refresher.settings.loader import read

moved_s = 0.0

def clock():
    return steady_clock() + moved_s

def look_at_the_clock():
    # Before a run, which may have no file to spare for it.
    global moved_s
    with open(os.environ["CLOCK_FILE"]) as file:
        moved_s = float(file.read())

def limit_of(what, spare):
    if what == resource.RLIMIT_NOFILE:
        taken = {int(each) for each in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + each)}
        # Less than none: also what is open may not be opened again, but for the standard streams.
        return [n for n in range(100) if n not in taken][spare] if spare >= 0 else 3
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize() + spare

def limited(what, spare):
    before = resource.getrlimit(what)
    # Of another size than those of earlier threads, which the C library keeps to use them again.
    threading.stack_size(STACK_SIZE)
    resource.setrlimit(what, (limit_of(what, spare), before[1]))
    try:
        return refresher.run_once(Command())
    finally:
        resource.setrlimit(what, before)
        threading.stack_size(0)

refresher = wiring.refresher(read(os.environ), clock=clock, pause=lambda seconds: None)
while line := input():
    what, spare = line.split()
    look_at_the_clock()
    try:
        report = refresher.run_once(Command()) if what == "nothing" else limited(getattr(resource, what), int(spare))
        told = report.as_dict()
    except TokenRefresherError as error:
        told = {"error": error.code}
    except Exception as error:
        told = {"error": type(error).__name__}
    say("ran:" + json.dumps(told))
""".replace("STACK_SIZE", str(STACK))


class Warm:
    """A warm process of one deployment, and what it told about its runs."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        environ = deployment.environ | {"CLOCK_FILE": str(deployment.world.redis.clock_file)}
        self.child = Child(DRIVER, environ)

    def run(self, limit: str = "nothing", spare: int = 0) -> dict[str, Any]:
        """One run with a limit of `spare` beyond what it uses anyway; readers look before and after."""
        self.deployment.look()
        self.child.send(f"{limit} {spare}")
        told: dict[str, Any] = json.loads(self.child.wait_for("ran:").removeprefix("ran:"))
        self.deployment.look()
        return told

    def tick(self) -> dict[str, Any]:
        self.deployment.pass_time(60)
        return self.run()


@pytest.fixture
def start_warm() -> Iterator[Callable[[Deployment], Warm]]:
    """Start a warm process that has run once before, when all was well, and whose credentials are due now."""
    started: list[Warm] = []

    def start(deployment: Deployment) -> Warm:
        warm = Warm(deployment)
        started.append(warm)
        warm.run()
        # Before its first run nobody can have read anything.
        deployment.missing = 0
        deployment.world.advance(6200)
        return warm

    yield start
    for warm in started:
        warm.child.stop()


def failures(told: dict[str, Any]) -> list[str]:
    return [each["failure"]["code"] for each in told.get("targets", []) if "failure" in each]


def assert_well(deployment: Deployment, told: dict[str, Any]) -> None:
    """The last run left all well, what went before cost no fetch, and no reader was disturbed."""
    assert not failures(told)
    assert all(each["settled"] and each["seconds_left"] > 6000 for each in told["targets"]), told
    for app_id in deployment.app_ids:
        assert [deployment.fetches(kind, app_id) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)


@pytest.mark.parametrize("spare", range(5))
def test_without_free_file_descriptors_it_says_so_and_the_next_tick_heals(
    world: World, start_warm: Callable[[Deployment], Warm], spare: int
) -> None:
    deployment = Deployment(world)
    warm = start_warm(deployment)
    # Nothing of the run before is held open for it: the first descriptor that it needs is one to the platform.
    told = warm.run("RLIMIT_NOFILE", spare)
    # Already looking up a name takes one.
    assert set(failures(told)) <= {"not_sent_dns", "not_sent_connect"}
    assert all("Too many open files" in each["failure"]["message"] for each in told["targets"] if "failure" in each)
    if spare == 0:
        assert failures(told)
        assert [deployment.fetches(kind) for kind in KINDS] == [1, 1]
    assert_well(deployment, warm.tick())


def test_without_free_file_descriptors_redis_is_not_reached_and_nothing_is_fetched(
    world: World, start_warm: Callable[[Deployment], Warm]
) -> None:
    deployment = Deployment(world)
    warm = start_warm(deployment)
    world.redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert warm.run("RLIMIT_NOFILE", -1) == {"error": "redis_unreachable"}
    assert [deployment.fetches(kind) for kind in KINDS] == [1, 1]
    assert_well(deployment, warm.tick())


def test_without_a_thread_for_the_request_it_is_not_sent_and_the_next_tick_heals(
    world: World, start_warm: Callable[[Deployment], Warm]
) -> None:
    deployment = Deployment(world)
    warm = start_warm(deployment)
    told = warm.run("RLIMIT_AS", STACK + STACK // 2)
    assert set(failures(told)) == {"not_sent_connect"}, told
    assert all("no thread" in each["failure"]["message"] for each in told["targets"])
    assert_well(deployment, warm.tick())


@pytest.mark.parametrize("threads", [0, 1])
def test_without_threads_for_the_applications_nothing_is_left_behind(
    world: World, start_warm: Callable[[Deployment], Warm], threads: int
) -> None:
    deployment = Deployment(world, 2)
    warm = start_warm(deployment)
    warm.run("RLIMIT_AS", threads * STACK + STACK // 2)
    assert_well(deployment, warm.tick())


def test_without_any_thread_the_report_says_so(world: World, start_warm: Callable[[Deployment], Warm]) -> None:
    deployment = Deployment(world, 2)
    warm = start_warm(deployment)
    told = warm.run("RLIMIT_AS", STACK // 2)
    assert set(failures(told)) == {"not_sent_connect"}
    assert len(told["targets"]) == 4


# -- settings ---------------------------------------------------------------------------------


@pytest.fixture
def filed(world: World) -> tuple[Deployment, Path]:
    """Two applications that come by a file, with credentials that are due; and the file."""
    deployment = Deployment(world, 2)
    deployment.age()
    return deployment, Path(deployment.environ["CONFIG_FILE"])


def test_a_secret_rotated_in_the_middle_is_told_and_counts_with_the_next_run_after_the_edit(
    filed: tuple[Deployment, Path],
) -> None:
    deployment, file = filed
    app_id, other = deployment.app_ids
    old, new = deployment.world.secrets[app_id], plant("rotated")
    deployment.simulator.rotate_secret(app_id, new)
    report = deployment.run()
    token = of(report, Kind.ACCESS_TOKEN, app_id)
    assert (token.outcome, token.failure.code if token.failure else "") == (Outcome.REFUSED, "wrong_secret")
    assert all(of(report, kind, other).outcome is Outcome.ISSUED for kind in KINDS)
    assert not report.in_danger
    file.write_text(file.read_text().replace(old, new))
    report = deployment.tick()
    assert all(each.reason == "FRESH" or each.outcome is Outcome.ISSUED for each in report.targets)
    assert [deployment.fetches(kind, app_id) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)


@pytest.mark.parametrize(
    "spoil",
    [lambda text: "", lambda text: text[: len(text) // 2], lambda text: text.replace("app_secret:", "app_secrte:")],
    ids=["empty", "half written", "misspelt"],
)
def test_settings_broken_in_the_middle_are_told_and_fetch_nothing_until_they_are_mended(
    filed: tuple[Deployment, Path], spoil: Callable[[str], str]
) -> None:
    deployment, file = filed
    text = file.read_text()
    file.write_text(spoil(text))
    for _ in range(3):
        with pytest.raises(SettingsError):
            deployment.run()
        deployment.pass_time(60)
    for app_id in deployment.app_ids:
        assert [deployment.fetches(kind, app_id) for kind in KINDS] == [1, 1]
    file.write_text(text)
    assert all(each.outcome is Outcome.ISSUED for each in deployment.run().targets)
    assert (deployment.dead, deployment.missing) == ([], 0)


@pytest.fixture
def invoke(filed: tuple[Deployment, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, Any]]]:
    """One warm instance of the function, woken again and again; its report also when it raises."""
    level = logging.getLogger("token_refresher").level
    for name, value in filed[0].environ.items():
        monkeypatch.setenv(name, value)
    function_handler._warm.clear()
    yield lambda: index.handler(b"", None)
    function_handler._warm.clear()
    logging.getLogger("token_refresher").setLevel(level)


def test_a_warm_instance_reads_the_rotated_secret_when_the_old_one_is_refused(
    filed: tuple[Deployment, Path], invoke: Callable[[], dict[str, Any]]
) -> None:
    deployment, file = filed
    app_id, new = deployment.app_ids[0], plant("rotated")
    deployment.simulator.rotate_secret(app_id, new)
    assert "wrong_secret" in failures(invoke())
    file.write_text(file.read_text().replace(deployment.world.secrets[app_id], new))
    deployment.pass_time(60)
    assert not failures(invoke())


def test_a_warm_instance_takes_a_corrected_file_before_the_old_secret_is_ever_refused(
    filed: tuple[Deployment, Path], invoke: Callable[[], dict[str, Any]]
) -> None:
    deployment, file = filed
    app_id, new = deployment.app_ids[0], plant("rotated")
    assert not failures(invoke())
    deployment.simulator.rotate_secret(app_id, new)
    file.write_text(file.read_text().replace(deployment.world.secrets[app_id], new))
    deployment.pass_time(6000)
    assert not failures(invoke())


def test_a_warm_instance_tries_again_at_once_with_a_secret_that_was_corrected_while_the_old_one_was_refused(
    filed: tuple[Deployment, Path], invoke: Callable[[], dict[str, Any]]
) -> None:
    deployment, file = filed
    app_id, new = deployment.app_ids[0], plant("rotated")
    assert not failures(invoke())
    deployment.pass_time(6000)
    gate = deployment.simulator.hold("/OAuth2/token", "before", app_id)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(invoke)
        gate.wait_reached()
        deployment.simulator.rotate_secret(app_id, new)
        file.write_text(file.read_text().replace(deployment.world.secrets[app_id], new))
        gate.release()
        told = run.result()
    assert not failures(told)
    assert any("ran a second time" in warning for warning in told["warnings"])
    assert [deployment.fetches(kind, app_id) for kind in KINDS] == [3, 3]


def test_a_warm_instance_refuses_a_broken_file_says_so_and_goes_on(
    filed: tuple[Deployment, Path], invoke: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    deployment, file = filed
    text = file.read_text()
    invoke()
    file.write_text(text.replace("app_secret", "app_secrte"))
    deployment.pass_time(6000)
    for _ in range(2):
        told = invoke()
        assert not failures(told)
        assert [each for each in told["warnings"] if "changed settings are refused" in each]
    assert len([each for each in caplog.messages if each.startswith("changed settings are refused")]) == 1
    file.write_text(text)
    assert not [each for each in invoke()["warnings"] if "refused" in each]
