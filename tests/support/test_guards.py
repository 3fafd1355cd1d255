"""The guards, seen to fail: a run of pytest over tests that do what no test may do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

_TESTS = Path(__file__).resolve().parents[1]

_NAUGHTY = """
import json
import logging
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from support.planted import plant
from support.processes import Child
from support.redis_server import RedisServer

from platform_simulator import Simulator

PUBLIC = "type/js_ticket_info/app_id/app0000"
# Where the run that watches finds what must not show in the output of this one.
SEEN = Path(__file__).with_name("secrets.txt")


def note(secret):
    with SEEN.open("a") as file:
        file.write(secret + "\\n")
    return secret


@pytest.fixture
def code(world):
    return note(world.simulator.issue(world.app_id(), "js_ticket").code)


@pytest.fixture
def redis(world):
    return world.redis.client()


def test_clean(redis, code, capsys):
    redis.set(PUBLIC, json.dumps({"js_ticket": code}), ex=60)
    redis.set("prefix:" + PUBLIC, code, ex=60)
    redis.hset("{" + PUBLIC + "}:lease", mapping={"attempt": "1"})
    redis.expire("{" + PUBLIC + "}:lease", 60)
    print("nothing to see")


def test_key_without_ttl(redis):
    redis.set("forever", "value")


@pytest.mark.keys_without_ttl("to see that the mark is heard")
def test_marked(redis):
    redis.set("forever", "value")


def test_key_without_ttl_in_another_database(world):
    world.redis.client(db=3).set("forever", "value")


def test_key_without_ttl_in_a_server_that_is_gone():
    with RedisServer() as server:
        server.client().set("forever", "value")


def test_key_without_ttl_before_a_restart_without_data(start_redis):
    server = start_redis()
    server.client().set("forever", "value")
    server.restart(keep_data=False)


def test_key_without_ttl_in_a_paused_server(start_redis):
    server = start_redis()
    server.client().set("forever", "value")
    server.pause()


def test_guard_shut_out(start_redis):
    start_redis().client().config_set("requirepass", "changed")


def test_code_in_a_private_string(redis, code):
    redis.set("{" + PUBLIC + "}:refused", code, ex=60)


@pytest.mark.parametrize("command", ["hset", "rpush", "sadd", "zadd", "xadd"])
def test_code_in_a_private_value(command, redis, code):
    arguments = {
        "hset": ("field", code),
        "rpush": ("x", code),
        "sadd": (code,),
        "zadd": ({code: 1},),
        "xadd": ({"field": code},),
    }
    getattr(redis, command)("key", *arguments[command])
    redis.expire("key", 60)


def test_code_in_a_key_name(redis, code):
    redis.set("code:" + code, "value", ex=60)


def test_secret_in_a_public_value(redis):
    redis.set(PUBLIC, note(plant("a-secret")), ex=60)


def test_code_printed(code):
    print("the code is", code, "indeed")


def test_code_on_standard_error(code):
    print(code, file=sys.stderr)


def test_code_printed_and_read(code, capsys):
    print(code)
    assert code in capsys.readouterr().out


def test_code_printed_and_left_unread(code, capsys):
    print(code)


def test_code_logged_and_cleared(code, caplog):
    logging.getLogger("quiet").debug("got %s", code)
    caplog.clear()


def test_code_in_a_logged_traceback(code):
    try:
        raise ValueError(code)
    except ValueError:
        logging.getLogger("quiet").exception("something happened")


def test_code_in_an_expected_exception(code):
    with pytest.raises(ValueError):
        try:
            raise KeyError(code)
        except KeyError:
            raise ValueError("no luck")


def test_code_of_a_simulator_that_is_gone():
    def issued():
        with Simulator() as simulator:
            return simulator.issue("app", "js_ticket").code
    print(note(issued()))


def test_secret_printed_in_quoted_form():
    secret = note(plant("password", "p@ss/word"))
    print(secret.replace("@", "%40").replace("/", "%2F"))


def test_secret_in_a_child_s_output():
    secret = note(plant("childs"))
    subprocess.run([sys.executable, "-c", "import sys; print(sys.argv[1])", secret], capture_output=True)


def test_secret_in_a_driver_s_output():
    secret = note(plant("drivers"))
    with Child("import sys; print(sys.argv[1])", arguments=[secret]) as child:
        child.join()


def test_secret_in_a_text_handed_in(no_secrets):
    no_secrets({"not": "text"})
    no_secrets(note(plant("handed-in")))


@pytest.fixture
def late():
    yield
    print(note(plant("late")))


def test_secret_printed_at_teardown(late):
    pass


def test_connection_outside_swallowed():
    with socket.socket() as sock, pytest.raises(OSError):
        sock.settimeout(0.1)
        sock.connect(("192.0.2.1", 80))


def test_datagram_outside_swallowed():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError):
        sock.sendto(b"x", ("192.0.2.1", 53))


def test_name_looked_up_swallowed():
    with pytest.raises(OSError):
        socket.create_connection(("oauth.yuanzhibang.com", 443), 0.1)


def test_failing_by_itself_and_leaking(code):
    print(code)
    assert False


@pytest.mark.filterwarnings("default")
def test_warning_lets_the_next_one_fail(code):
    warnings.warn(code)


def test_after_the_warning():
    pass


@pytest.mark.filterwarnings("default")
def test_last_warning_lets_the_run_fail(code):
    warnings.warn("again " + code)
"""

_INI = """
[pytest]
addopts = --strict-markers
filterwarnings = error
log_level = DEBUG
markers = keys_without_ttl(reason): for the guards' test
"""

_GOOD = {
    "test_clean",
    "test_marked",
    # Warnings are told when their test is over.
    "test_warning_lets_the_next_one_fail",
    "test_last_warning_lets_the_run_fail",
}

# What the guards say about each; those that are not named here only have to fail.
_SENTENCES = {
    "test_key_without_ttl": "key 'forever' of Redis has no TTL",
    "test_key_without_ttl_in_another_database": "key 'forever' of Redis has no TTL",
    "test_key_without_ttl_in_a_server_that_is_gone": "key 'forever' of Redis has no TTL",
    "test_key_without_ttl_before_a_restart_without_data": "key 'forever' of Redis has no TTL",
    "test_key_without_ttl_in_a_paused_server": "key 'forever' of Redis has no TTL",
    "test_guard_shut_out": "the guard could not look into the Redis",
    "test_code_in_a_private_string": "in the value of key '{type/js_ticket_info/app_id/app0000}:refused'",
    "test_code_in_a_key_name": "stands in the name of a key in Redis",
    "test_secret_in_a_public_value": "the planted secret 'a-secret'",
    "test_code_printed": "shows in Captured stdout call",
    "test_code_on_standard_error": "shows in Captured stderr call",
    "test_code_printed_and_read": "shows in standard output that a test read",
    "test_code_printed_and_left_unread": "shows in standard output that a test read",
    "test_code_logged_and_cleared": "shows in the log of quiet",
    "test_code_in_a_logged_traceback": "shows in the log of quiet",
    "test_code_in_an_expected_exception": "shows in an exception",
    "test_secret_printed_in_quoted_form": "the planted secret 'password'",
    "test_secret_in_a_child_s_output": "shows in standard output of a child",
    "test_secret_in_a_driver_s_output": "shows in standard output of a child",
    "test_secret_in_a_text_handed_in": "shows in a text that the test handed in",
    "test_secret_printed_at_teardown": "shows in Captured stdout teardown",
    "test_connection_outside_swallowed": "something tried to reach 192.0.2.1:80",
    "test_datagram_outside_swallowed": "something tried to reach 192.0.2.1:53",
    "test_name_looked_up_swallowed": "something tried to reach the name server, about oauth.yuanzhibang.com",
    "test_after_the_warning": "shows in a warning of test_naughty.py::test_warning_lets_the_next_one_fail",
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("guards")]


_OPTIONS = (
    *("-p", "support.guards", "-p", "support.fixtures", "-p", "no:cacheprovider"),
    *("-o", "junit_family=xunit1", "--junit-xml=report.xml"),
)


class Run:
    """What came of it. `said`: for each test the words of guards or pytest, empty if it passed."""

    def __init__(self, directory: Path) -> None:
        (directory / "test_naughty.py").write_text(_NAUGHTY)
        (directory / "pytest.ini").write_text(_INI)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *_OPTIONS],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": f"{_TESTS.parent / 'src'}{os.pathsep}{_TESTS}"},
            capture_output=True,
            text=True,
            timeout=100,
        )
        self.output = done.stdout + done.stderr
        self.exit_code = done.returncode
        self.secrets = (directory / "secrets.txt").read_text().split()
        report = ElementTree.parse(directory / "report.xml")  # noqa: S314 - written by pytest just now
        self.said: dict[str, str] = {}
        for case in report.iter("testcase"):
            parts = [*case.iter("failure"), *case.iter("error")]
            name = str(case.get("name"))
            texts = [f"{part.get('message')}\n{part.text}" for part in parts]
            self.said[name] = self.said.get(name, "") + "\n".join(texts)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("naughty"))


def test_every_misdeed_is_found_and_nothing_else(run: Run) -> None:
    assert {name for name, text in run.said.items() if not text} == _GOOD, run.output
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(("name", "sentence"), _SENTENCES.items(), ids=list(_SENTENCES))
def test_what_was_found_is_said(name: str, sentence: str, run: Run) -> None:
    assert sentence in run.said[name]


def test_the_very_last_finding_is_not_lost(run: Run) -> None:
    assert "FAILED by the guards: the credential " in run.output
    assert "a warning of test_naughty.py::test_last_warning_lets_the_run_fail" in run.output


def test_what_the_guards_say_is_no_leak_itself(run: Run) -> None:
    assert len(run.secrets) > 20
    told = run.output.partition("warnings summary")
    assert [secret[:4] for secret in run.secrets if secret in told[0]] == []
