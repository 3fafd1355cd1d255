"""The commands that are no run: signatures, the deployed function, the doctor, the daemon, the page, the version."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import index
from support.command_line import Call, caller
from support.fc_server import FcServer
from support.planted import plant
from support.processes import Child
from support.world import World
from token_refresher import Reader
from token_refresher.cli.exit_codes import DANGER, INTERRUPTED, USAGE, WELL
from token_refresher.cli.main import main
from token_refresher.cli.output import Output
from token_refresher.domain.installing import how_to_install
from token_refresher.function import handler as function_handler
from token_refresher.reader.signing import sign
from token_refresher.settings.loader import read

_PAGE = "https://shop.example/pay?id=1#top"
_WAIT_S = 30.0


@pytest.fixture
def environ(world: World) -> dict[str, str]:
    """One application, with nothing stored yet."""
    return world.settings_env()


@pytest.fixture
def call(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process, with further variables by name."""
    return caller(environ, capsys)


# -- sign ------------------------------------------------------------------------------------


def test_what_a_page_needs_is_signed_with_the_ticket_that_is_stored(call: Call, environ: dict[str, str]) -> None:
    call("refresh")
    shown = call("sign", "--url", _PAGE)
    told = call("sign", "--url", _PAGE, "--json").json
    assert shown.code == WELL
    assert json.loads(shown.out).keys() == told.keys() == {"app_id", "timestamp", "nonce_str", "signature", "url"}
    with Reader.from_settings(read(environ)) as reader:
        ticket = reader.js_ticket("app0000")
    assert told["signature"] == sign(ticket, told["nonce_str"], int(told["timestamp"]), _PAGE)
    assert (told["app_id"], told["url"]) == ("app0000", _PAGE)


def test_without_a_ticket_nothing_is_signed_and_the_exit_code_is_that_of_danger(call: Call) -> None:
    ended = call("sign", "--url", _PAGE)
    assert (ended.code, ended.out) == (DANGER, "")
    assert "nothing is stored under the key type/js_ticket_info/app_id/app0000" in ended.err


def test_of_several_applications_one_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    environ = world.settings_env(2)
    assert main(["refresh"], environ) == WELL
    capsys.readouterr()
    assert main(["sign", "--url", _PAGE], environ) == USAGE
    assert "--app" in capsys.readouterr().err
    assert main(["sign", "--url", _PAGE, "--app", "app0001", "--json"], environ) == WELL
    assert json.loads(capsys.readouterr().out)["app_id"] == "app0001"


# -- invoke ----------------------------------------------------------------------------------


@pytest.fixture
def function(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of a machine that knows nothing but where the function is, which is the real handler."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(function_handler, "_warm", [])
    with FcServer() as fc:
        secret = plant("access-key-secret")
        fc.keys["LTAI5planted"] = secret
        fc.functions["refreshing", "refresher"] = index.handler
        yield {
            "FUNCTION_NAME": "refresher",
            "FUNCTION_SERVICE": "refreshing",
            "FUNCTION_ENDPOINT": fc.endpoint,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI5planted",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
        }
        fc.wait_for_runs()
    for _, refresher in function_handler._warm:
        store: Any = refresher.store
        store._client.close()


def test_the_deployed_function_is_started_and_its_report_shown(
    function: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["invoke", "--kind", "access_token"], function) == WELL
    (first,) = json.loads(capsys.readouterr().out)["targets"]
    assert (first["app_id"], first["kind"], first["reason"]) == ("app0000", "access_token", "MISSING")
    assert main(["invoke", "--app", "app0000", "--json"], function) == WELL
    told = json.loads(capsys.readouterr().out)
    assert told["request_id"]
    assert {each["kind"]: each["reason"] for each in told["report"]["targets"]} == {
        "access_token": "FRESH",
        "js_ticket": "MISSING",
    }


def test_nobody_waits_for_an_asynchronous_start(
    function: dict[str, str], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["invoke", "--async"], function) == WELL
    assert capsys.readouterr().out.startswith("started: request ")


# -- doctor, version -------------------------------------------------------------------------


def test_the_doctor_examines_by_the_settings_of_the_environment(call: Call) -> None:
    ended = call("doctor", "--json")
    found = {each["name"]: each["light"] for each in ended.json["findings"]}
    assert found["redis reachable"] == "green"
    assert found["credential stored"] == "red"
    assert ended.code == ended.json["exit_code"] != WELL


def test_an_interrupted_command_says_so_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    Output({}, as_json=True).interrupted(INTERRUPTED)
    assert json.loads(capsys.readouterr().out) == {"error": {"code": "interrupted", "exit_code": INTERRUPTED}}


# -- the page --------------------------------------------------------------------------------

_SERVE = ["status", "--serve", "--listen", "127.0.0.1:0"]
_PROGRAM = "import os, sys\nfrom token_refresher.cli.main import main\nsys.exit(main(sys.argv[1:], os.environ))"


@pytest.mark.parametrize(
    "arguments",
    [("--json",), ("--app", "app0000"), ("--kind", "js_ticket"), ("--shard", "1/2")],
    ids=lambda arguments: arguments[0],
)
def test_the_page_shows_everything_so_a_selection_is_refused(call: Call, arguments: tuple[str, ...]) -> None:
    ended = call("status", "--serve", *arguments)
    assert ended.code == USAGE
    assert "--serve shows everything" in ended.out + ended.err


def test_the_page_is_served_until_ctrl_c(environ: dict[str, str]) -> None:
    # What is said to a person goes to standard error.
    with Child(f"import sys; sys.stderr = sys.stdout\n{_PROGRAM}", environ, _SERVE) as child:
        url = child.wait_for("http://")
        with urllib.request.urlopen(url, timeout=_WAIT_S) as answer:  # noqa: S310 - our own, http
            # Asked at once, it may not have read Redis yet.
            assert b"Shows fingerprints, never credentials" in answer.read()
        os.kill(child.pid, signal.SIGINT)
        assert child.join() == INTERRUPTED


def test_an_address_that_somebody_has_is_told(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = call("status", "--serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert ended.code == USAGE
    assert re.search(r"cannot listen on 127\.0\.0\.1:\d+: Address already in use\. What to do: end what ", ended.err)


def test_where_the_page_s_packages_are_missing_the_command_that_adds_them_is_named(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flask", None)
    monkeypatch.delitem(sys.modules, "token_refresher.web.page.standalone", raising=False)
    ended = call("status", "--serve")
    assert ended.code == USAGE
    assert " is not installed. What to do: " in ended.err
    assert ended.err.endswith(f"{how_to_install('daemon')}.\n")


def test_a_file_without_a_token_opens_no_page(call: Call, tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.write_text(" \n")
    assert f"the token's file {empty} is empty" in call("status", "--serve", "--token-file", str(empty)).err
    empty.write_text("short")
    short = call("status", "--serve", "--token-file", str(empty)).err
    assert f"the token's file {empty} must hold 16 to 512 characters" in short
    assert "What to do: make one: python3 -c" in short
    none = tmp_path / "none"
    missing = call("status", "--serve", "--token-file", str(none)).err
    assert f"the token's file {none} cannot be read: No such file or directory. What to do: correct the path" in missing
    pasted = plant("the-token-in-place-of-its-file")
    assert "the token's file (--token-file) cannot be read" in call("status", "--serve", "--token-file", pasted).err


# -- the daemon ------------------------------------------------------------------------------


def test_the_daemon_says_what_is_odd_about_its_settings_and_runs_until_a_signal(environ: dict[str, str]) -> None:
    with Child(_PROGRAM, environ | {"POLICY_MARGINS": "1800"}, ["daemon", "--listen", "0.0.0.0:0"]) as child:
        assert _logged(child, "the environment variable POLICY_MARGINS is not read")["level"] == "WARNING"
        url = _logged(child, "listening on ")["message"].removeprefix("listening on ")
        port = url.rpartition(":")[2].strip("/")
        _logged(child, "2 credentials, 2 fetched")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=_WAIT_S) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=_WAIT_S)
        refused.value.close()
        assert refused.value.code == 404, "others may reach it, and there is no token: so there is no page"
        os.kill(child.pid, signal.SIGTERM)
        _logged(child, "stopped")
        assert child.join() == WELL


def _logged(child: Child, message: str) -> dict[str, Any]:
    """Wait for a line of the log whose message begins like this."""
    while True:
        told: dict[str, Any] = json.loads(child.wait_for("{"))
        if told["message"].startswith(message):
            return told
