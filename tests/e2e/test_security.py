"""Attacks that concern several modules, made as an attacker would: see docs/explanation/security.md."""

from __future__ import annotations

import copy
import dataclasses
import http.client
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from support import guards
from support.command_line import on_a_terminal
from support.flow import PUBLIC_KEY, Deployment, of
from support.planted import plant
from support.world import World
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import NoCredentialError
from token_refresher.domain.model import Kind, Target
from token_refresher.domain.reasons import Reason
from token_refresher.reader.sync_reader import Reader
from token_refresher.settings.loader import read
from token_refresher.store.keys import keys_of

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = [sys.executable, "-m", "token_refresher"]
_WAIT_S = 30.0
# Sets the window's title, clears the screen, begins a line of its own, turns the writing round, starts a script.
_HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b2J\nERROR forged\r\u202e\u2028<script>alert(1)</script>"


@pytest.fixture
def deployment(world: World) -> Deployment:
    return Deployment(world)


def _environ(deployment: Deployment, **more: str) -> dict[str, str]:
    """What a process needs to run the program with a deployment's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PYTHONPATH": str(_ROOT / "src"), "PYTHONIOENCODING": "utf-8", **deployment.environ, **more}


def _run(environ: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, encoding="utf-8", timeout=_WAIT_S)
    guards.see("a command's output", done.stdout + done.stderr)
    return done


def _lease(deployment: Deployment, kind: Kind = Kind.JS_TICKET) -> str:
    return f"{{{PUBLIC_KEY[kind][0].format(deployment.app_ids[0])}}}:lease"


# -- hostile content of Redis ----------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["status"], ["plan"], ["doctor"]], ids=lambda arguments: arguments[0])
def test_what_a_stranger_wrote_into_redis_does_nothing_to_a_terminal(
    arguments: list[str], deployment: Deployment
) -> None:
    deployment.run()
    deployment.world.redis.client().hset(_lease(deployment), "outcome", _HOSTILE)
    done = _run(_environ(deployment), *_PROGRAM, *arguments)
    assert done.returncode in (0, 3), done.stderr
    assert ("forged" in done.stdout) == (arguments != ["plan"])
    assert not [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert not {*_HOSTILE} & {*done.stdout} & {*"\x1b\x07\x9b\r\u202e\u2028"}


def test_it_does_nothing_to_a_terminal_with_colours_either(deployment: Deployment) -> None:
    pytest.importorskip("rich", reason="NOT TESTED, rich is not installed")
    deployment.run()
    deployment.world.redis.client().hset(_lease(deployment), "outcome", _HOSTILE)
    code, shown = on_a_terminal(deployment.environ, [*_PROGRAM, "status"])
    assert code == 0
    assert "\x1b[" in shown, "colours"
    assert "owned" in shown
    assert not [each for each in ("\x1b]0", "\x1b[2J", "\x07", "\x9b", "\u202e") if each in shown]


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag == "script":
            self.scripts.append(dict(attrs))


def test_from_redis_to_the_page_it_stays_text(deployment: Deployment) -> None:
    pytest.importorskip("flask", reason="NOT TESTED, the extra `daemon` is not installed")
    from token_refresher.web.history import RunHistory
    from token_refresher.web.page.standalone import create_app, read_once
    from token_refresher.web.server import HttpServer

    deployment.run()
    deployment.world.redis.client().hset(_lease(deployment), "outcome", _HOSTILE)
    refresher = deployment.refresher()
    state = RunHistory({deployment.app_ids[0]: ""}, refresher.policy, deployment.clock)
    read_once(state, refresher)
    with HttpServer(create_app(state, None), "127.0.0.1", 0) as endpoint:
        connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=_WAIT_S)
        connection.request("GET", "/")
        text = connection.getresponse().read().decode()
        connection.close()
    guards.see("the page", text)
    assert "ERROR forged" in text
    assert [each.get("src") for each in _Tags(text).scripts] == ["/page/script.js"]


def test_a_code_with_line_breaks_reaches_the_platform_as_a_form_s_value_and_is_replaced(
    deployment: Deployment,
) -> None:
    deployment.run()
    deployment.world.advance(300)
    made_up = plant("made-up-code", "\r\nX-Evil: 1\r\n\r\n&app_id=other&type=access_token")
    _overwrite(deployment, made_up)
    report = deployment.run(Command(Action.AUDIT))
    assert of(report, Kind.JS_TICKET).reason == Reason.REFUSED.value
    assert deployment.simulator.valid(deployment.app_ids[0], "js_ticket", deployment.code(Kind.JS_TICKET) or "")


def test_another_application_s_code_under_our_key_is_found_and_replaced(world: World) -> None:
    deployment = Deployment(world, 2)
    deployment.run()
    world.advance(300)
    _overwrite(deployment, deployment.code(Kind.JS_TICKET, world.app_id(1)) or "")
    deployment.run(Command(Action.AUDIT))
    for app_id in deployment.app_ids:
        assert world.simulator.valid(app_id, "js_ticket", deployment.code(Kind.JS_TICKET, app_id) or "")


def test_a_value_of_megabytes_is_replaced_in_one_run_and_no_reader_takes_it(deployment: Deployment) -> None:
    deployment.run()
    client = deployment.world.redis.client()
    key = PUBLIC_KEY[Kind.JS_TICKET][0].format(deployment.app_ids[0])
    client.set(key, b'{"js_ticket": "' + b"x" * 5_000_000 + b'", "expires_in": 4000000000}', ex=7200)
    with (
        Reader(deployment.world.redis.client()) as reader,
        pytest.raises(NoCredentialError, match="longer than 65536 bytes"),
    ):
        reader.js_ticket(deployment.app_ids[0])
    report = deployment.run()
    assert of(report, Kind.JS_TICKET).reason == Reason.UNREADABLE.value
    assert client.strlen(key) < 1000
    assert deployment.dead == []


@pytest.mark.parametrize("text", ["x" * 5_000_000, "x\n" * 2_500_000], ids=["long", "lines"])
@pytest.mark.parametrize("age_s", [0, 6000], ids=["fresh", "due"])
@pytest.mark.parametrize("kept_in", ["value", "lease", "fields of the lease", "complaint"])
def test_megabytes_under_one_key_stay_in_redis_and_stop_nobody(
    deployment: Deployment, kept_in: str, age_s: int, text: str
) -> None:
    deployment.run()
    deployment.pass_time(age_s)
    client = deployment.world.redis.client()
    keys = keys_of(Target(deployment.app_ids[0], Kind.JS_TICKET))
    if kept_in == "value":
        client.set(keys.value, text, ex=7200)
    elif kept_in == "complaint":
        client.set(keys.refused, text, ex=600)
    else:
        held = {"outcome": text} if kept_in == "lease" else {f"field{n}": text[:100] for n in range(50_000)}
        client.hset(keys.lease, mapping=held)
    before = client.info("stats")["total_net_output_bytes"]
    deployment.run()
    assert client.info("stats")["total_net_output_bytes"] - before < 200_000
    # Without its lease a credential has the grace, until checkCode says that it is the newest.
    deployment.pass_time(20)
    report = deployment.run()
    assert all(each.seconds_left > 1000 for each in report.targets)
    deployment.tick(2)
    assert of(deployment.tick(), Kind.JS_TICKET).settled
    assert deployment.dead == []


def test_who_keeps_the_lock_of_a_lease_alive_is_told_of_before_the_code_is_gone(deployment: Deployment) -> None:
    deployment.run()
    client = deployment.world.redis.client()
    left_at_alarm: list[int] = []
    for _ in range(115):
        deployment.pass_time(60)
        locked_until = int(deployment.world.now() * 1000) + 50_000
        client.hset(_lease(deployment), mapping={"attempt": "x", "locked_until": locked_until, "work_until": 0})
        report = deployment.run()
        if report.alarm():
            left_at_alarm.append(of(report, Kind.JS_TICKET).seconds_left)
    assert of(report, Kind.JS_TICKET).reason == Reason.LOCKED.value
    assert left_at_alarm[0] > 500
    assert len(left_at_alarm) > 3
    assert deployment.dead == []


def _overwrite(deployment: Deployment, code: str) -> None:
    """As somebody with a right to write would: another js_ticket, everything else as it was."""
    client = deployment.world.redis.client()
    key = PUBLIC_KEY[Kind.JS_TICKET][0].format(deployment.app_ids[0])
    value = json.loads(client.get(key))
    client.set(key, json.dumps(value | {"js_ticket": code}), keepttl=True)


# -- the environment, and other users of the machine -------------------------------------------------


def test_a_whole_run_obeys_no_proxy_login_or_certificates_of_the_environment(
    deployment: Deployment, tmp_path: Path
) -> None:
    netrc, keys = tmp_path / "netrc", tmp_path / "keys"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    # Nobody listens there: whoever obeyed would fail.
    nowhere = "http://127.0.0.1:1"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), nowhere)
    missing = {name: str(tmp_path / "none") for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")}
    environ = _environ(deployment, NETRC=str(netrc), SSLKEYLOGFILE=str(keys), **proxies, **missing)
    done = _run(environ, *_PROGRAM, "refresh")
    assert done.returncode == 0, done.stderr
    assert deployment.fetches(Kind.ACCESS_TOKEN) == deployment.fetches(Kind.JS_TICKET) == 1
    assert not keys.exists()


def test_in_isolated_mode_nothing_on_pythonpath_or_beside_it_is_run(deployment: Deployment, tmp_path: Path) -> None:
    for name in ("redis", "json", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger ran')\n")
    ours = str(_ROOT / "src")
    start = f"import sys; sys.path.append({ours!r}); from token_refresher.cli.main import main; sys.exit(main())"
    environ = _environ(deployment, PYTHONPATH=str(tmp_path), PYTHONSTARTUP=str(tmp_path / "json.py"))
    command = [sys.executable, "-I", "-c", start, "refresh"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=_WAIT_S)
    assert done.returncode == 0, done.stderr
    # Without it, as described in docs/explanation/security.md, the other module runs.
    done = subprocess.run(
        [*_PROGRAM, "refresh"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=_WAIT_S
    )
    assert "a stranger ran" in done.stderr


def test_a_daemon_has_no_secret_in_the_list_of_processes(deployment: Deployment) -> None:
    pytest.importorskip("flask", reason="NOT TESTED, the extra `daemon` is not installed")
    process = subprocess.Popen(
        [*_PROGRAM, "daemon", "--listen", "127.0.0.1:0"],
        env=_environ(deployment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        seen = [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "comm")]
    finally:
        process.terminate()
        lines.append(process.communicate(timeout=_WAIT_S)[0])
    guards.see("the list of processes", b"\n".join(seen))
    guards.see("the daemon's log", "".join(lines))
    assert b"daemon\x00--listen" in seen[0]


def test_the_page_shows_no_traceback_even_where_the_environment_asks_for_debugging(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flask", reason="NOT TESTED, the extra `daemon` is not installed")
    from token_refresher.web.page.standalone import create_app
    from token_refresher.web.server import HttpServer

    class Broken:
        policy = deployment.refresher().policy

        def __getattr__(self, name: str) -> object:
            raise RuntimeError(f"words of an exception, about {name}")

    monkeypatch.setenv("FLASK_DEBUG", "1")
    app = create_app(Broken(), None)  # type: ignore[arg-type] # broken on purpose
    assert app.debug
    with HttpServer(app, "127.0.0.1", 0) as endpoint:
        connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=_WAIT_S)
        for path in ("/", "/?__debugger__=yes&cmd=resource&f=debugger.js", "/console"):
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == (404 if path == "/console" else 500)
            assert not [each for each in ("Traceback", "words of", "RuntimeError", "debugger") if each in text]
        connection.close()


def test_a_secret_is_in_no_text_pickle_or_copy_of_what_holds_it(deployment: Deployment) -> None:
    settings = read(deployment.environ)
    for text in (str(settings), repr(settings.redis), f"{settings.apps[0].secret}", json.dumps(settings, default=str)):
        guards.see("a text of the settings", text)
        assert "****" in text
    for leave in (pickle.dumps, copy.deepcopy, dataclasses.asdict):
        with pytest.raises(TypeError, match="a Secret is not pickled"):
            leave(settings)
