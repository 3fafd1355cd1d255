"""The zip as Function Compute runs it: cold and warm, frozen, killed, several at once. Real processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH
from support.fc_runtime import Instance, unpack_code
from support.flow import TICK_S, Deployment
from support.looks import Looks
from support.planted import plant
from support.world import World
from token_refresher.domain.model import Kind

TIMER = (Path(__file__).parents[1] / "data/events/timer-empty-payload.json").read_bytes()
RUNTIMES = ["python3.10", "python3.12"]
KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]

# The zip is built once, by the worker that builds it for its own tests.
pytestmark = pytest.mark.xdist_group("package")

Start = Callable[..., Instance]


@pytest.fixture(scope="session")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the zip was unpacked into."""
    return unpack_code(tmp_path_factory.mktemp("fc"))


@pytest.fixture
def deployment(world: World) -> Deployment:
    return Deployment(world)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start an Instance with its own arguments; stopped after the test."""
    with ExitStack() as started:
        yield lambda *arguments, **kwargs: started.enter_context(Instance(*arguments, **kwargs))


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], Path]:
    """A directory of credential that is nothing but an index.py with these lines."""

    def small(lines: str) -> Path:
        (tmp_path / "index.py").write_text(lines)
        return tmp_path

    return small


def reasons(told: dict[str, Any]) -> dict[str, str]:
    return {each["kind"]: each["reason"] for each in told["targets"]}


def tick(deployment: Deployment, instance: Instance) -> dict[str, Any]:
    """A minute passes, readers look, and the timer fires. What the function answered."""
    deployment.pass_time(TICK_S)
    told: dict[str, Any] = instance.invoke(TIMER).told
    deployment.look()
    return told


def assert_fresh(deployment: Deployment) -> None:
    """Readers hold the newest credentials, and never held one that the platform refused."""
    deployment.look()
    assert deployment.dead == []
    for kind in KINDS:
        newest = deployment.simulator.newest(deployment.app_ids[0], kind.value)
        assert newest is not None
        assert deployment.code(kind) == newest.code


# -- the program ---------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_cold_start_fetches_both_codes_and_warm_ticks_fetch_nothing(
    zipped: Path, deployment: Deployment, start: Start, runtime: str
) -> None:
    instance = start(zipped, deployment.environ, runtime=runtime)
    first = instance.invoke(TIMER)
    assert first.error_type is None
    assert first.told["summary"]["fetches"] == 2
    process = instance.pid
    for _ in range(3):
        assert tick(deployment, instance)["summary"]["fetches"] == 0
    assert instance.pid == process
    assert instance.log.count("FC Initialize Start") == 1
    assert instance.log.count("FC Invoke Start") == 4
    assert_fresh(deployment)


def test_a_warm_instance_goes_on_using_its_connection_to_redis(
    zipped: Path, deployment: Deployment, start: Start, world: World
) -> None:
    instance = start(zipped, deployment.environ)
    instance.invoke(TIMER)
    before = world.redis.client().info("stats")["total_connections_received"]
    for _ in range(3):
        instance.invoke(TIMER)
    # One is the question itself.
    assert world.redis.client().info("stats")["total_connections_received"] - before <= 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_after_an_hour_of_frost_with_dead_sockets_it_works_as_if_nothing_had_been(
    zipped: Path, deployment: Deployment, start: Start, world: World, runtime: str
) -> None:
    instance = start(zipped, deployment.environ, runtime=runtime)
    instance.invoke(TIMER)
    process = instance.pid
    for hour in (1, 2):
        assert instance.frozen
        deployment.pass_time(3600 - (TICK_S if hour == 2 else 0))
        killed = world.redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert killed >= 1
        told = instance.invoke(TIMER).told
        # After one hour the credentials are asked about, after two they are due.
        assert told["summary"]["fetches"] == (0 if hour == 1 else 2)
        assert all("failure" not in each for each in told["targets"])
    assert instance.pid == process
    assert deployment.simulator.count(CHECK_PATH) == 2
    assert_fresh(deployment)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_instance_killed_by_the_time_out_in_the_middle_of_a_fetch_is_healed_by_the_next_ticks(
    zipped: Path, deployment: Deployment, start: Start, kind: Kind, when: str
) -> None:
    start(zipped, deployment.environ).invoke(TIMER)
    deployment.world.advance(7200 - 1000)
    instance = start(zipped, deployment.environ)
    path = TOKEN_PATH if kind is Kind.ACCESS_TOKEN else TICKET_PATH
    gate = deployment.simulator.hold(path, "before" if when == "before" else "after")
    instance.begin(TIMER)
    gate.wait_reached()
    deployment.pass_time(70)
    answer = instance.expire()
    gate.release()
    gate.wait_passed()
    assert answer.error_type == "FunctionTimedOut"
    assert instance.pid is None
    # The same function, in a new instance: the lock is over after 90 s, its own wait after 150 s.
    assert reasons(tick(deployment, instance))[kind.value] == "BACKING_OFF"
    assert tick(deployment, instance)["summary"]["fetches"] == 1
    told = tick(deployment, instance)
    assert set(reasons(told).values()) == {"FRESH"}
    assert all(each["settled"] for each in told["targets"])
    assert_fresh(deployment)
    assert deployment.fetches(kind) <= 3


def test_two_instances_at_once_make_one_fetch_for_each_code(
    zipped: Path, deployment: Deployment, start: Start, world: World
) -> None:
    first, second = start(zipped, deployment.environ), start(zipped, deployment.environ, runtime="python3.12")
    gate = deployment.simulator.hold(TOKEN_PATH, "before")
    first.begin(TIMER)
    gate.wait_reached()
    looks = Looks(world)
    second.begin(TIMER)
    # It reads two targets, and looks at the one that is locked until its credential is there.
    looks.wait_for(4)
    gate.release()
    assert first.finish().told["summary"]["fetches"] == 2
    told = second.finish().told
    assert told["summary"]["fetches"] == 0
    assert set(reasons(told).values()) == {"FRESH"}
    assert [deployment.fetches(kind) for kind in KINDS] == [1, 1]
    assert second.invoke(TIMER).told["summary"]["fetches"] == 0
    assert_fresh(deployment)


def test_the_published_file_of_several_applications_serves_in_the_function_too(
    zipped: Path, world: World, start: Start
) -> None:
    deployment = Deployment(world, 3)
    assert start(zipped, deployment.environ).invoke(TIMER).told["summary"]["fetches"] == 6
    deployment.look()
    assert (deployment.dead, deployment.missing) == ([], 0)


@pytest.mark.parametrize(
    "event",
    [b"refresh", b"[]", b'{"action": "destroy"}', b'{"triggerName": "t", "payload": 7}', b"\xff\xfe"],
    ids=["no JSON", "no object", "unknown action", "payload no text", "no text"],
)
def test_a_bad_event_is_told_in_the_error_and_the_instance_serves_the_next_one(
    zipped: Path, deployment: Deployment, start: Start, event: bytes
) -> None:
    instance = start(zipped, deployment.environ)
    answer = instance.invoke(event)
    assert answer.error_type == "UnhandledInvocationError"
    assert answer.told["errorType"] == "CommandError"
    assert "Accepted: a timer event" in answer.told["errorMessage"]
    assert "CommandError" in instance.log
    assert deployment.fetches(Kind.ACCESS_TOKEN) == 0
    process = instance.pid
    assert instance.invoke(TIMER).told["summary"]["fetches"] == 2
    assert instance.pid == process


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bad_settings_fail_the_initializer_with_every_mistake_named_and_no_secret(
    zipped: Path, deployment: Deployment, start: Start, runtime: str
) -> None:
    wrong = {
        "REDIS_URL": f"http://:{plant('password-in-a-wrong-url')}@localhost",
        "LOG_LEVEL": plant("secret-in-a-wrong-place"),
    }
    instance = start(zipped, deployment.environ | wrong, runtime=runtime)
    for _ in range(2):
        answer = instance.invoke(TIMER)
        assert answer.error_type == "UnhandledInvocationError"
        assert answer.told["errorType"] == "SettingsError"
        assert "REDIS_URL" in answer.told["errorMessage"]
        assert "LOG_LEVEL" in answer.told["errorMessage"]
        # Such an instance is thrown away; that no secret shows the guard sees to.
        assert instance.pid is None
    assert "FC Invoke Start" not in instance.log
    assert instance.log.count("FC Initialize Start") == 2


def test_without_an_initializer_the_first_event_does_its_work(
    zipped: Path, deployment: Deployment, start: Start
) -> None:
    instance = start(zipped, deployment.environ, initializer="")
    assert instance.invoke(TIMER).told["summary"]["fetches"] == 2


def test_redis_being_away_is_an_error_that_fetches_nothing_and_passes(
    zipped: Path, deployment: Deployment, start: Start, world: World
) -> None:
    instance = start(zipped, deployment.environ)
    world.redis.kill()
    answer = instance.invoke(TIMER)
    assert answer.told["errorType"] == "StoreError"
    assert "redis_unreachable" in answer.told["errorMessage"]
    assert deployment.fetches(Kind.ACCESS_TOKEN) == 0
    world.redis.restart()
    assert instance.invoke(TIMER).told["summary"]["fetches"] == 2


# -- the runtime itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "body"),
    [("'a text'", b"a text"), (r"b'\x00\xff'", b"\x00\xff"), ("{'a': [1, None]}", b'{"a": [1, null]}')],
)
def test_text_and_bytes_pass_through_and_anything_else_becomes_json(
    small: Callable[[str], Path], start: Start, returned: str, body: bytes
) -> None:
    instance = start(small(f"def handler(event, context): return {returned}\n"), initializer="")
    assert instance.invoke(b"").body == body


def test_an_event_arrives_as_the_bytes_that_were_sent(small: Callable[[str], Path], start: Start) -> None:
    instance = start(small("def handler(event, context): return event\n"), initializer="")
    assert instance.invoke(bytes(range(256))).body == bytes(range(256))


def test_an_exception_becomes_message_type_and_stack_and_is_logged(small: Callable[[str], Path], start: Start) -> None:
    instance = start(small("def handler(event, context): raise KeyError('this')\n"), initializer="")
    answer = instance.invoke(b"")
    assert answer.error_type == "UnhandledInvocationError"
    assert set(answer.told) == {"errorMessage", "errorType", "stackTrace"}
    assert (answer.told["errorMessage"], answer.told["errorType"]) == ("'this'", "KeyError")
    assert "index.py" in answer.told["stackTrace"][-1]
    assert "KeyError: 'this'" in instance.log


def test_leaving_the_process_is_no_answer_and_the_next_event_starts_a_new_one(
    small: Callable[[str], Path], start: Start
) -> None:
    lines = "import sys\ndef handler(event, context): return sys.exit(3) if event else 'here'\n"
    instance = start(small(lines), initializer="")
    answer = instance.invoke(b"leave")
    assert "exited unexpectedly" in answer.told["errorMessage"]
    assert instance.invoke(b"").body == b"here"


def test_contexts_have_what_their_runtimes_have_and_nothing_else(small: Callable[[str], Path], start: Start) -> None:
    lines = "import os\ndef handler(event, context): return [sorted(vars(context)), sorted(os.environ)]\n"
    older, variables = start(small(lines), initializer="").invoke(b"").told
    newer, more = start(small(lines), initializer="", runtime="python3.12").invoke(b"").told
    common = {"account_id", "function", "region", "request_id"}
    assert set(older) == common | {"credentials", "service", "tracing"}
    assert set(newer) == common | {"log_project", "log_store", "logger"}
    assert not [name for name in variables if name.startswith("ALIBABA_CLOUD_")]
    assert {"ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"} <= set(more)


def test_only_the_code_and_the_standard_library_are_to_be_found(small: Callable[[str], Path], start: Start) -> None:
    lines = "import sys, importlib.util as u\ndef handler(event, context):\n    return [sys.path, [n for n in "
    lines += "('redis', 'requests', 'pytest', 'token_refresher', 'support') if u.find_spec(n)]]\n"
    code = small(lines)
    path, found = start(code, initializer="").invoke(b"").told
    assert path[0] == str(code)
    assert not [each for each in path if "site-packages" in each]
    assert found == []


def test_between_two_events_no_thread_of_it_moves(small: Callable[[str], Path], start: Start) -> None:
    lines = "import threading, itertools\nturns = []\nmore = threading.Event()\n"
    lines += "def spin():\n    for n in itertools.count():\n        turns.append(n); more.set()\n"
    lines += "        if n > 10**6: return\n"
    lines += "threading.Thread(target=spin, daemon=True).start()\n"
    lines += "def handler(event, context):\n    more.wait()\n    return 'moved'\n"
    instance = start(small(lines), initializer="")
    assert instance.invoke(b"").body == b"moved"
    used = Path(f"/proc/{instance.pid}/stat").read_text().split()[13:15]
    assert instance.frozen
    assert Path(f"/proc/{instance.pid}/stat").read_text().split()[13:15] == used
    assert instance.invoke(b"").body == b"moved"


def test_an_instance_takes_no_second_event_while_it_works(small: Callable[[str], Path], start: Start) -> None:
    instance = start(small("def handler(event, context): return event\n"), initializer="")
    instance.begin(b"first")
    with pytest.raises(RuntimeError, match="one event at a time"):
        instance.begin(b"second")
    assert instance.finish().body == b"first"
    assert json.loads(json.dumps(instance.log)).count("FC Invoke Start") == 1
