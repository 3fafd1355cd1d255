"""What a command does, and its exit code, do not depend on whether its output can be written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import Call, Ended, caller, process_environ
from support.guards import see
from support.planted import plant
from support.redis_server import closed_port
from support.waiting import wait_until
from support.world import World
from token_refresher.domain.model import Kind, Target
from token_refresher.store.keys import keys_of

# Each test starts a process.
pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = f"{sys.executable} -m token_refresher"
_WAIT_S = 60.0
_TOKEN = keys_of(Target("app0000", Kind.ACCESS_TOKEN)).value
_SENTENCE = "warning: standard output cannot be written ({}); all else was done\n"
_CLOSED, _FULL = _SENTENCE.format("it is closed"), _SENTENCE.format("No space left on device")
_ALL_LOST = "error: standard output cannot be written ({}), so the result is lost. What to do: write it elsewhere.\n"
_PAGE = "https://shop.example/pay"

linux = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="NOT TESTED: there is no /dev/full")


@pytest.fixture
def environ(world: World) -> dict[str, str]:
    return world.settings_env()


@pytest.fixture
def call(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(environ, capsys)


def shell(line: str, environ: dict[str, str]) -> Ended:
    """What a shell makes of this line; `run` in it is the program."""
    ended = subprocess.run(
        ["/bin/bash", "-c", line.replace("run ", f"{_PROGRAM} ")],
        env=process_environ(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        cwd=_ROOT,
    )
    see("a shell", ended.stdout + ended.stderr)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@linux
@pytest.mark.parametrize(
    ("streams", "err"),
    [
        (">&-", _CLOSED),
        (">/dev/full", _FULL),
        ("<&- >&-", _CLOSED),
        ("2>&-", ""),
        ("2>/dev/full", ""),
        (">&- 2>&-", ""),
        (">/dev/full 2>/dev/full", ""),
        ("<&- >&- 2>&-", ""),
    ],
)
def test_a_run_stores_and_ends_with_its_own_code(streams: str, err: str, environ: dict[str, str], world: World) -> None:
    ended = shell(f"run refresh {streams}", environ)
    assert (ended.code, ended.err) == (0, err)
    assert world.redis.client().exists(_TOKEN)


@linux
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("refresh --json", 0),
        ("check --repair", 0),
        ("plan", 141),
        ("status", 1),
        ("doctor", 1),
        ("check", 1),
        ("version", 141),
        ("--help", 141),
        ("refresh --help", 141),
        ("refresh --app nobody", 2),
        ("refresh --app nobody --json", 2),
        ("sign --url http://", 2),
        ("sign --url https://h/ --json", 1),
        ("open-id -", 2),
    ],
)
def test_every_command_ends_with_its_own_code(command: str, code: int, environ: dict[str, str]) -> None:
    for streams in (">&-", ">/dev/full", "<&- >/dev/full 2>&-"):
        ended = shell(f"run {command} {streams}", environ)
        assert ended.code == code, (streams, ended)
        assert "Traceback" not in ended.err
        assert "Exception ignored" not in ended.err


@linux
def test_help_goes_out_as_every_other_result_does(environ: dict[str, str]) -> None:
    for command in ("--help", "refresh --help", "version"):
        assert shell(f"run {command} >/dev/full", environ) == (141, "", _ALL_LOST.format("No space left on device"))
        # Its reader has gone before it begins.
        assert shell(f"exec 3> >(exit 0); wait $!; run {command} >&3", environ).code == 141


@linux
@pytest.mark.parametrize(
    "command", ["plan", "status", "status --json", "check", "sign --url https://h/", "sign --url https://h/ --json"]
)
def test_a_result_that_cannot_be_written_is_a_failure(command: str, environ: dict[str, str]) -> None:
    assert shell("run refresh", environ).code == 0
    assert shell(f"run {command} >&-", environ) == (141, "", _ALL_LOST.format("it is closed"))
    assert shell(f"run {command} >/dev/full", environ) == (141, "", _ALL_LOST.format("No space left on device"))


@linux
def test_what_prints_nothing_misses_no_output(environ: dict[str, str]) -> None:
    for streams in (">&-", ">/dev/full"):
        assert shell(f"run refresh --quiet {streams}", environ) == (0, "", "")


def test_errors_keep_their_codes(environ: dict[str, str]) -> None:
    assert shell("run refresh >&-", environ | {"REDIS_URL": f"redis://127.0.0.1:{closed_port()}/0"}).code == 4
    assert shell("run refresh >&-", environ | {"APP_SECRET": ""}).code == 3


def test_messages_never_take_the_place_of_the_result(environ: dict[str, str]) -> None:
    ended = shell("run refresh --json 2>&-", environ | {"POLICY_MARGINS_S": "1"})
    assert json.loads(ended.out)["warnings"]


def ends_well(process: subprocess.Popen[bytes], world: World) -> None:
    """Wait for the first run's credentials, send SIGTERM, and look at the exit code."""
    try:
        wait_until("a credential is stored", lambda: bool(world.redis.client().exists(_TOKEN)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(_WAIT_S) == 0
    finally:
        process.kill()
        process.wait()


@linux
@pytest.mark.parametrize("streams", [">&-", ">/dev/full", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_daemon_without_streams_ends_with_0_after_sigterm(
    streams: str, environ: dict[str, str], world: World
) -> None:
    line = ["/bin/bash", "-c", f"exec {_PROGRAM} daemon --no-http {streams}"]
    null = subprocess.DEVNULL
    ends_well(subprocess.Popen(line, env=process_environ(environ), stdin=null, stdout=null, stderr=null), world)


def test_a_daemon_whose_log_has_no_reader_ends_with_0_after_sigterm(environ: dict[str, str], world: World) -> None:
    reader, its = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", "token_refresher", "daemon", "--no-http"]
    null = subprocess.DEVNULL
    process = subprocess.Popen(line, env=process_environ(environ), stdin=null, stdout=its, stderr=null)
    os.close(its)
    ends_well(process, world)


# -- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://h", "https://", "https://u:p@h/", "https://h/ä", "/pay", ""])
def test_an_address_that_cannot_be_signed_is_wrong_usage(url: str, call: Call) -> None:
    down = f"redis://127.0.0.1:{closed_port()}/0"
    for more in ({}, {"REDIS_URL": down}):
        ended = call("sign", "--url", url, **more)
        assert (ended.code, ended.out) == (2, "")
        assert "invalid_url" in ended.err


def test_what_is_odd_about_the_settings_is_said_with_an_error_and_with_any_result(call: Call, world: World) -> None:
    name = "looks like a reference to REDIS_PASSWORD"
    down = f"redis://:${{REDIS_PASSWORD}}@127.0.0.1:{closed_port()}/0"
    for line in (["status"], ["refresh", "--quiet"], ["sign", "--url", _PAGE], ["open-id", "c"]):
        more = {} if line[0] == "open-id" else {"REDIS_URL": down}
        odd = more or {"PLATFORM_HTTPS_PROXY": "http://u:${REDIS_PASSWORD}@p:1"}
        ended = call(*line, **odd)
        assert ended.err.count(name) == 1
        assert ended.err.index(name) < ended.err.index("error: ")
    assert name in call("status", "--json", REDIS_URL=down).json["error"]["warnings"][0]
    call("refresh")
    signed = call("sign", "--url", _PAGE, PLATFORM_HTTPS_PROXY="http://u:${REDIS_PASSWORD}@p:1")
    assert (signed.code, signed.err.count(name)) == (0, 1)


def test_to_sign_while_redis_is_down_has_the_code_of_redis(call: Call) -> None:
    port = closed_port()
    ended = call("sign", "--url", _PAGE, REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert ended.code == 4
    assert ended.err.startswith("error: redis_unreachable: Redis at 127.0.0.1:")
    assert ended.err.count("\n") == 1, "one error, and nothing about credentials that were read before"
    assert f"127.0.0.1:{port}" in ended.err
    told = call("sign", "--url", _PAGE, "--json", REDIS_URL=f"redis://:{plant('p')}@127.0.0.1:{port}/0").json
    assert (told["error"]["code"], told["error"]["exit_code"]) == ("redis_unreachable", 4)


def test_a_plan_before_the_first_run_is_not_a_failure(call: Call, world: World) -> None:
    assert call("plan").code == 0
    assert call("plan", "--json").code == 0
    assert call("status").code == 1
    call("refresh")
    assert call("plan").code == 0


def test_a_plan_that_could_be_read_is_no_failure_whatever_it_shows(call: Call, world: World) -> None:
    wrong = plant("wrong")
    call("refresh", APP_SECRET=wrong)
    for more in ({}, {"APP_SECRET": wrong}):
        planned = call("plan", **more)
        assert (planned.code, "BACKING_OFF" in planned.out) == (0, bool(more))
    call("refresh")
    world.redis.client().delete(_TOKEN)
    assert call("plan").code == 0
    assert call("plan", REDIS_URL=f"redis://127.0.0.1:{closed_port()}/0").code == 4


@pytest.mark.parametrize("lines", [0, 1, 12])
def test_make_run_into_head_is_quiet(lines: int, tmp_path: Path) -> None:
    names = ("CONFIG_FILE", "APP_ID", "APP_SECRET", "REDIS_URL", "PLATFORM_BASE_URL")
    environ = {name: value for name, value in os.environ.items() if name not in names}
    command = f"set -o pipefail; {sys.executable} tools/demo.py --directory {tmp_path} | head -n {lines}"
    ended = subprocess.run(
        ["/bin/bash", "-c", command], env=environ, stdin=subprocess.DEVNULL, capture_output=True, cwd=_ROOT
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.count(b"\n") == lines
