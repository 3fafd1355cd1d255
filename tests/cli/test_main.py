"""The command line against a real Redis and the platform's simulator."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import yaml

from platform_simulator import CHECK_PATH, TOKEN_PATH, Fault, Simulator
from support.command_line import Call, caller, on_a_terminal, process_environ
from support.leases import digest
from support.planted import plant
from support.redis_server import RedisServer, closed_port
from token_refresher import __version__
from token_refresher.cli.exit_codes import EXIT_CODES
from token_refresher.cli.main import main
from token_refresher.cli.parser import build_parser
from token_refresher.cli.report_views import _held_back
from token_refresher.cli.table import Cell, as_plain, columns_of, filled
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import Report, TargetReport

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = [sys.executable, "-m", "token_refresher"]
_NAMES = {"app0000": "商城（测试）", "app0001": "Help desk", "app0002": ""}
_COMMANDS = (
    "refresh",
    "plan",
    "status",
    "check",
    "doctor",
    "sign",
    "invoke",
    "open-id",
    "daemon",
    "version",
)
_RUNS = ("refresh", "plan", "status", "check")
_WAIT_S = 30.0


@pytest.fixture
def environ(redis_server: RedisServer, simulator: Simulator, tmp_path: Path) -> dict[str, str]:
    """Three applications by a configuration file, one with a Chinese name and one without any."""
    return configured(redis_server, simulator, tmp_path)


def configured(redis_server: RedisServer, simulator: Simulator, folder: Path) -> dict[str, str]:
    apps = []
    for app_id, name in _NAMES.items():
        secret = plant(f"secret-of-{app_id}-in-a-file")
        simulator.add_app(app_id, secret)
        apps.append({"app_id": app_id, "app_secret": secret, "app_name": name})
    base = f"{simulator.url}/OAuth2"
    content = {
        "storage_redis": {"host": "127.0.0.1", "port": redis_server.port},
        "oauth_api": {
            "get_server_access_token_url": f"{base}/token",
            "get_user_access_token_url": f"{base}/token",
            "get_js_ticket_url": f"{base}/ticket",
        },
        "app_info": apps,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    # The credentials of tests are a moment old: no age keeps them from being asked about or renewed.
    return {"CONFIG_FILE": str(path), "POLICY_COOLDOWN_S": "0", "POLICY_AUDIT_MIN_AGE_S": "0"}


@pytest.fixture
def call(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process, with further variables by name."""
    return caller(environ, capsys)


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str]) -> Call:
    """The same without any settings and servers."""
    return caller({}, capsys)


# -- runs ------------------------------------------------------------------------------------


def test_refresh_stores_every_code_and_shows_what_it_did(call: Call, simulator: Simulator) -> None:
    ended = call("refresh")
    assert ended.code == 0
    assert ended.err == ""
    row = r"  MISSING +issued +\[################\] (2 h 00 min|1 h 59 min) +[0-9a-f]{8}$"
    assert len(re.findall(row, ended.out, re.M)) == 6
    assert re.search(r"^6 credentials: 6 fetched, 0 asked about, 0 in danger; took \d+ ms\.$", ended.out, re.M)
    assert [simulator.fetches(app, "js_ticket") for app in _NAMES] == [1, 1, 1]


def test_a_second_refresh_fetches_nothing(call: Call) -> None:
    call("refresh")
    ended = call("refresh", "--json", POLICY_AUDIT_INTERVAL_S="0")
    assert ended.code == 0
    assert ended.json["summary"] == {"targets": 6, "fetches": 0, "questions": 0, "in_danger": 0, "FRESH": 6}


def test_refresh_touches_only_what_is_selected(call: Call, simulator: Simulator) -> None:
    ended = call("refresh", "--app", "app0001", "--app", "app0002", "--kind", "access_token", "--json")
    chosen = [(each["app_id"], each["kind"]) for each in ended.json["targets"]]
    assert chosen == [("app0001", "access_token"), ("app0002", "access_token")]
    assert simulator.count() == 2


def test_shards_share_all_applications_without_overlap(call: Call) -> None:
    parts = [call("plan", "--shard", f"{k}/3", "--json").json["targets"] for k in (1, 2, 3)]
    apps = [sorted({each["app_id"] for each in part}) for part in parts]
    assert sorted(app for part in apps for app in part) == sorted(_NAMES)


def test_an_empty_selection_says_so_and_is_no_failure(call: Call) -> None:
    empty = [k for k in range(1, 10) if not call("plan", "--shard", f"{k}/9", "--json").json["targets"]]
    ended = call("refresh", "--shard", f"{empty[0]}/9")
    assert ended == (0, "", "No application is in this selection.\n")


def test_force_renews_what_is_fresh(call: Call, simulator: Simulator) -> None:
    call("refresh")
    ended = call("refresh", "--force", "--app", "app0000")
    assert ended.out.count("FORCED") == 2
    assert simulator.fetches("app0000", "access_token") == 2
    assert simulator.fetches("app0001", "access_token") == 1


def test_plan_tells_what_would_be_done_and_why_and_fetches_nothing(call: Call, simulator: Simulator) -> None:
    ended = call("plan")
    assert ended.code == 0
    assert len(re.findall(r"  fetch +MISSING +nothing is stored$", ended.out, re.M)) == 6
    assert "\n6 of 6 credentials would be fetched, 0 asked about; nothing was done.\n" in ended.out
    assert "6 of 6 credentials are missing or nearly expired." in ended.err
    assert simulator.count() == 0


def test_plan_of_fresh_codes_is_to_do_nothing_unless_forced(call: Call) -> None:
    call("refresh")
    ended = call("plan")
    assert ended.code == 0
    assert "0 of 6 credentials would be fetched, 0 asked about; nothing was done." in ended.out
    assert len(re.findall(r"  nothing +FRESH +\d+ s left$", ended.out, re.M)) == 6
    assert "6 of 6 credentials would be fetched" in call("plan", "--force").out


def test_status_shows_state_time_last_outcome_and_fingerprint(call: Call, simulator: Simulator) -> None:
    call("refresh")
    asked = simulator.count()
    ended = call("status")
    assert ended.code == 0
    assert ended.err == ""
    left = r"\[#{16}\] (2 h 00 min|1 h 59 min)"
    row = rf"^app0001 \(Help desk\) +access_token +FRESH +{left} +issued, \d+ s ago +[0-9a-f]{{8}}$"
    assert re.search(row, ended.out, re.M)
    assert simulator.count() == asked


def test_status_says_what_to_do_about_a_last_attempt_that_was_refused(call: Call, simulator: Simulator) -> None:
    simulator.rotate_secret("app0001", plant("rotated"))
    call("refresh")
    ended = call("status", "--app", "app0001", "--kind", "access_token")
    assert ended.code == 1
    assert re.search(r"MISSING|BACKING_OFF", ended.out)
    assert "refused: wrong_secret" in ended.out
    assert "app0001 access_token: last refused: wrong_secret. What to do: check APP_ID and APP_SECRET" in ended.err


def test_a_refused_refresh_names_the_application_and_what_to_do(call: Call, simulator: Simulator) -> None:
    simulator.rotate_secret("app0001", plant("rotated-too"))
    ended = call("refresh")
    assert ended.code == 1
    assert "app0001 access_token: wrong_secret: " in ended.err
    assert "2 of 6 credentials are missing" in ended.err
    assert simulator.fetches("app0002", "js_ticket") == 1


def test_codes_with_little_time_left_end_with_the_code_for_danger(
    call: Call, redis_server: RedisServer, simulator: Simulator
) -> None:
    call("refresh")
    client = redis_server.client()
    for key in client.scan_iter("type/*"):
        value = json.loads(client.get(key))
        value |= {"expires_in": value["expires_in"] - 6700, "issued_at": value["issued_at"] - 6700}
        client.set(key, json.dumps(value), ex=500)
        # As if it had been stored then: it is the value that its lease settled.
        client.hset(f"{{{key.decode()}}}:lease", "value", digest(json.dumps(value)))
    ended = call("status")
    assert ended.code == 1
    assert len(re.findall(r"NEAR_EXPIRY  \[#\.{15}\] 8 min \d+ s ", ended.out)) == 6
    assert "6 of 6 credentials are missing or nearly expired." in ended.err


def test_a_short_life_is_no_danger(
    redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Simulator(lifetime_s=500) as short:
        environ = configured(redis_server, short, tmp_path)
        assert main(["refresh"], environ) == 0
        capsys.readouterr()
        assert main(["status"], environ) == 0
        out, err = capsys.readouterr()
    assert len(re.findall(r"FRESH  \[#{16}\] 8 min \d+ s ", out)) == 6
    assert err == ""


# -- check -----------------------------------------------------------------------------------


def newest_ticket(simulator: Simulator, app_id: str) -> str:
    newest = simulator.newest(app_id, "js_ticket")
    assert newest
    return newest.code


def test_check_of_living_codes_is_well_and_changes_nothing(
    call: Call, simulator: Simulator, redis_server: RedisServer
) -> None:
    call("refresh")
    client = redis_server.client()
    before = {key: client.dump(key) for key in client.scan_iter()}
    ended = call("check")
    assert ended.code == 0
    assert len(re.findall(r"(access_token|js_ticket) +alive ", ended.out)) == 6
    assert simulator.count(CHECK_PATH) == 6
    assert {key: client.dump(key) for key in client.scan_iter()} == before


def test_check_finds_a_dead_code_and_repair_replaces_it(call: Call, simulator: Simulator) -> None:
    call("refresh")
    dead = newest_ticket(simulator, "app0000")
    simulator.revoke("app0000", "js_ticket", dead)
    ended = call("check")
    assert ended.code == 1
    assert re.search(r"^app0000 .*js_ticket +dead +the platform refuses the stored credential", ended.out, re.M)
    repaired = call("check", "--repair")
    assert repaired.code == 0
    assert re.search(r"js_ticket +REFUSED +issued", repaired.out)
    assert newest_ticket(simulator, "app0000") != dead
    assert call("check").code == 0


def test_check_finds_a_code_that_somebody_else_superseded(call: Call, simulator: Simulator) -> None:
    call("refresh")
    simulator.issue("app0001", "js_ticket")
    ended = call("check", "--app", "app0001")
    assert ended.code == 1
    assert re.search(
        r"js_ticket +superseded +a newer credential exists; the platform ends this one in \d+ s", ended.out
    )


def test_check_without_an_answer_is_told_apart_from_a_dead_code(call: Call, simulator: Simulator) -> None:
    call("refresh")
    simulator.script(CHECK_PATH, Fault.html(), times=None)
    ended = call("check", "--app", "app0001")
    assert ended.code == 5
    assert ended.out.count("no answer") == 2
    assert "warning: app0001 js_ticket: checkCode: bad_answer" in ended.err


def test_check_counts_no_question_that_was_not_sent_and_fails_all_the_same(call: Call, simulator: Simulator) -> None:
    call("refresh")
    simulator.stop()
    ended = call("check", "--app", "app0001")
    assert ended.code == 5
    assert ended.out.count("(not asked)") == 2
    assert "warning: app0001 js_ticket: checkCode: not_sent_connect" in ended.err


def test_check_of_nothing_asks_nothing(call: Call, simulator: Simulator) -> None:
    ended = call("check")
    assert ended.code == 1
    assert ended.out.count("(not asked)") == 6
    assert simulator.count() == 0


# -- open-id ---------------------------------------------------------------------------------


def test_open_id_prints_who_stands_behind_a_login_free_code(call: Call, simulator: Simulator) -> None:
    code = simulator.login_code("app0001", "visitor-7")
    assert call("open-id", code, "--app", "app0001") == (0, "visitor-7\n", "")


def test_open_id_reads_the_code_from_standard_input(environ: dict[str, str], simulator: Simulator) -> None:
    code = simulator.login_code("app0000", "visitor-8")
    ended = subprocess.run(
        [*_PROGRAM, "open-id", "-", "--app", "app0000", "--json"],
        input=f"{code}\n",
        env=process_environ(environ),
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
    )
    told = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert (told["app_id"], told["open_id"]) == ("app0000", "visitor-8")
    assert sorted(told) == ["app_id", "lifetime_s", "open_id", "scope"]


def test_open_id_refuses_a_used_code_without_repeating_it(call: Call, simulator: Simulator) -> None:
    code = simulator.login_code("app0001", "visitor-9")
    call("open-id", code, "--app", "app0001")
    ended = call("open-id", code, "--app", "app0001", "--json")
    assert ended.code == 5
    assert ended.json["error"]["code"] == "code_invalid"
    assert code not in ended.out + ended.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (
            ["x" * 20],
            "several applications are configured, and --app names none: app0000, app0001, app0002",
        ),
        (
            ["x" * 20, "--app", "app9"],
            "application 'app9' is not configured; configured: app0000, app0001, app0002",
        ),
        ([" ", "--app", "app0000"], "no login-free code was given"),
    ],
)
def test_open_id_wants_a_code_and_a_known_application(call: Call, arguments: list[str], what: str) -> None:
    ended = call("open-id", *arguments)
    assert ended.code == 2
    assert what in ended.err


# -- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", _RUNS)
def test_an_unknown_application_is_an_error_that_names_the_known(
    call: Call, simulator: Simulator, command: str
) -> None:
    ended = call(command, "--app", "app0000", "app9999")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err == (
        "error: invalid_command: application 'app9999' is not configured;"
        " configured: app0000, app0001, app0002."
        " What to do: name one of these by --app, or add it to the settings.\n"
    )
    assert simulator.count() == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["--bogus"], "unknown arguments: --bogus"),
        (["--confg", "refresh"], "unknown arguments: --confg (did you mean --config?)"),
        (["refersh"], "invalid choice: 'refersh'"),
        (["refresh", "--kind", "ticket"], "invalid choice: 'ticket'"),
        (["refresh", "--forse"], "unknown arguments: --forse (did you mean --force?)"),
        (["status", "--force"], "unknown arguments: --force"),
        (["open-id", "a-code", "-another-code"], "unknown arguments: (not shown)"),
        (["open-id", "a-code", "another-code"], "unknown arguments: (not shown)"),
        (["daemon", "--listen", "127.0.0.1:65536"], "not HOST:PORT"),
        (["refresh", "--sh", "1/2"], "unknown arguments: --sh"),
    ],
)
def test_wrong_usage_is_explained_and_does_nothing(alone: Call, arguments: list[str], what: str) -> None:
    ended = alone(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("usage: token-refresher")
    assert what in ended.err
    assert "another-code" not in ended.err
    as_json = alone("--json", *arguments)
    assert as_json.code == 2
    assert as_json.json["error"]["code"] == "invalid_command"
    assert as_json.err == ""


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["refresh", "--forse"], "token-refresher refresh "),
        (["open-id", "a-code", "another-code"], "token-refresher open-id "),
        (["--config", "refresh", "refresh", "--forse"], "token-refresher refresh "),
        (["--forse", "refresh"], "token-refresher [-h] [--version]"),
        (["--forse"], "token-refresher [-h] [--version]"),
    ],
)
def test_the_usage_shown_is_that_of_the_command_with_the_mistake(alone: Call, arguments: list[str], usage: str) -> None:
    assert alone(*arguments).err.startswith(f"usage: {usage}")


def test_no_advice_speaks_of_the_forms_of_an_event(call: Call) -> None:
    for arguments in (["refresh", "--nothing"], ["refresh", "--shard", "0/1"], ["open-id", " ", "--app", "app0000"]):
        error = call(*arguments, "--json").json["error"]
        assert error["code"] == "invalid_command"
        assert "accepted forms" not in error["advice"]


# -- the configuration file ------------------------------------------------------------------


def test_a_configuration_file_is_named_before_or_after_the_command(
    environ: dict[str, str], alone: Call, tmp_path: Path
) -> None:
    file = environ["CONFIG_FILE"]
    for arguments in (["--config", file, "plan"], ["plan", "--config", file], [f"--config={file}", "plan"]):
        assert len(alone(*arguments, "--json").json["targets"]) == 6
    elsewhere = str(tmp_path / "none.yaml")
    assert alone("plan", "--config", file, CONFIG_FILE=elsewhere).code == 0, "it counts before the variable"
    assert alone("plan", "--config", elsewhere, CONFIG_FILE=file).code == 3
    assert alone("plan", "--config", file, APP_ID="app0000").code == 3, "one application and a file exclude each other"
    assert "no file is named" in alone("plan", "--config", "").err


# -- quiet -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["refresh", "check"])
def test_quiet_prints_nothing_while_no_one_is_needed(call: Call, command: str) -> None:
    call("refresh")
    assert call(command, "--quiet") == (0, "", "")


def test_quiet_prints_what_is_in_danger_and_what_failed(call: Call, simulator: Simulator) -> None:
    simulator.rotate_secret("app0001", plant("rotated-for-quiet"))
    ended = call("refresh", "--quiet")
    assert (ended.code, ended.out) == (1, "")
    first, *_, last = ended.err.splitlines()
    assert first.startswith("app0001 access_token: wrong_secret: ")
    assert last == "2 of 6 credentials are missing or nearly expired."
    waits = call("refresh", "--quiet")
    cause, consequence, _ = waits.err.splitlines()
    assert cause.startswith("app0001 access_token: missing, MISSING, but waits ")
    assert "after: wrong_secret. What to do: check APP_ID and APP_SECRET" in cause
    assert consequence.startswith("app0001 js_ticket: no_token: ")


def test_a_secret_of_this_copy_that_was_corrected_needs_no_person(
    call: Call, simulator: Simulator, environ: dict[str, str]
) -> None:
    secret = plant("rotated-and-corrected")
    simulator.rotate_secret("app0000", secret)
    assert "wrong_secret" in call("refresh").err
    path = Path(environ["CONFIG_FILE"])
    content = yaml.safe_load(path.read_text("utf-8"))
    content["app_info"][0]["app_secret"] = secret
    path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    assert call("refresh", "--quiet") == (0, "", "")
    assert call("refresh").err.startswith("warning: another copy (")


def test_a_dead_proxy_is_named_with_its_setting(call: Call) -> None:
    ended = call("refresh", "--quiet", PLATFORM_HTTP_PROXY=f"http://127.0.0.1:{closed_port()}")
    assert "not_sent_proxy: " in ended.err
    assert "What to do: correct PLATFORM_HTTPS_PROXY or PLATFORM_HTTP_PROXY (proxies in the file)" in ended.err


def test_quiet_prints_warnings_and_what_the_platform_does_not_accept(call: Call, simulator: Simulator) -> None:
    call("refresh")
    assert "POLICY_MARGINS is not read" in call("refresh", "--quiet", POLICY_MARGINS="1").err
    simulator.revoke("app0001", "js_ticket", newest_ticket(simulator, "app0001"))
    ended = call("check", "--quiet")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("app0001 js_ticket: dead: ")
    found = call("doctor", "--quiet")
    assert found.out == ""
    assert re.search(r"^x red: credential accepted \(app0001 js_ticket\): .*\n  What to do: ", found.err, re.M)
    assert "+ green" not in found.err


@pytest.mark.parametrize("command", ["refresh", "check", "doctor"])
def test_quiet_is_for_people_and_json_for_programs(call: Call, command: str) -> None:
    assert call(command, "--quiet", "--json").json["error"]["message"] == "--quiet does not go with --json"


# -- by hand ---------------------------------------------------------------------------------


def test_a_forced_refresh_that_brings_nothing_ends_with_the_code_of_the_platform(
    call: Call, simulator: Simulator
) -> None:
    call("refresh")
    for app_id in _NAMES:
        simulator.rotate_secret(app_id, plant(f"rotated-by-hand-{app_id}"))
    by_hand = "refresh", "--force", "--kind", "access_token"
    assert call(*by_hand).code == 5
    assert call("refresh").code == 0, "nothing is in danger, and a timer tries again"
    mixed = call("refresh", "--force", "--app", "app0000")
    assert mixed.code == 0
    sentence = "app0000: the js_ticket was fetched with the access_token that was stored before; "
    assert f"{sentence}the new access_token was refused.\n" in mixed.out


def test_a_platform_that_is_not_there_leaves_no_trace_and_is_no_success(call: Call, environ: dict[str, str]) -> None:
    call("refresh")
    dead = yaml.safe_load(Path(environ["CONFIG_FILE"]).read_text("utf-8"))
    dead["oauth_api"] = {name: f"http://127.0.0.1:{closed_port()}/OAuth2/x" for name in dead["oauth_api"]}
    other = Path(environ["CONFIG_FILE"]).with_name("dead.yaml")
    other.write_text(yaml.safe_dump(dead, allow_unicode=True), "utf-8")
    ended = call("refresh", "--force", "--config", str(other))
    assert ended.code == 5
    assert "6 credentials: 0 fetched, 6 not sent, " in ended.out
    assert call("status").out.count("issued, ") == 6, "as the reference says"


def test_a_second_refresh_says_why_what_is_due_was_left(call: Call, simulator: Simulator) -> None:
    simulator.rotate_secret("app0001", plant("rotated-twice"))
    call("refresh")
    ended = call("refresh")
    waits = r"^app0001 access_token: not renewed, BACKING_OFF: MISSING, but waits \d+ s after: wrong_secret\. "
    assert re.search(waits + "What to do: check APP_ID and APP_SECRET", ended.out, re.M)


@pytest.mark.parametrize("outcome", [None, Outcome.KEPT])
def test_why_a_due_credential_waits_is_said_though_checkcode_calls_the_stored_one_alive(
    outcome: Outcome | None,
) -> None:
    held = TargetReport(Target("app0000", Kind.JS_TICKET), Reason.LOCKED.value, "a request may be out", outcome)
    report = Report("1", "refresh", 0, 0, (held,), ())
    assert list(_held_back(report)) == ["app0000 js_ticket: not renewed, LOCKED: a request may be out."]


def test_one_code_is_spoken_of_in_the_singular(call: Call) -> None:
    one = "--app", "app0000", "--kind", "access_token"
    assert "\n1 of 1 credential would be fetched" in call("plan", *one).out
    assert "1 of 1 credential is missing" in call("status", *one).err
    assert "\n1 credential: 1 fetched" in call("refresh", *one).out


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b"])
def test_a_shard_that_is_none_is_refused(call: Call, shard: str) -> None:
    ended = call("refresh", "--shard", shard)
    assert ended.code == 2
    assert 'shard is not of the form "k/n"' in ended.err
    assert "timer" not in ended.err


@pytest.mark.parametrize("command", [*_RUNS, "open-id x"])
def test_wrong_settings_are_all_named_at_once(alone: Call, command: str) -> None:
    environ = {"APP_ID": "app0000", "POLICY_MARGIN_S": "soon"}
    ended = alone(*command.split(), **environ)
    assert ended.code == 3
    assert ended.out == ""
    for name in ("APP_SECRET", "REDIS_URL", "POLICY_MARGIN_S"):
        assert re.search(rf"^  - {name} ", ended.err, re.M)
    as_json = alone(*command.split(), "--json", **environ)
    assert (as_json.code, as_json.err) == (3, "")
    assert as_json.json["error"]["exit_code"] == 3
    assert len(as_json.json["error"]["problems"]) == 3


@pytest.mark.parametrize("command", _RUNS)
def test_a_redis_that_is_not_there_has_its_own_exit_code(call: Call, simulator: Simulator, command: str) -> None:
    password = plant("redis-password-of-nobody")
    url = f"redis://:{password}@127.0.0.1:{closed_port()}/0"
    ended = call(command, REDIS_URL=url)
    assert ended.code == 4
    assert ended.err.startswith("error: redis_unreachable: ")
    assert simulator.count() == 0
    assert call(command, "--json", REDIS_URL=url).json["error"]["code"] == "redis_unreachable"


# -- output ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", _RUNS)
def test_json_is_one_document_with_every_target_in_it(call: Call, command: str) -> None:
    call("refresh")
    for arguments in ((command, "--json"), ("--json", command)):
        ended = call(*arguments)
        assert ended.err == ""
        assert len(ended.json["targets"]) == 6
        assert ended.json["not_listed"] == 0


def test_a_plan_is_called_one_and_has_what_would_be_done_with_each(call: Call) -> None:
    plan = call("plan", "--json").json
    assert plan["action"] == "plan"
    assert {(each["would"], each["reason"], each["sentence"]) for each in plan["targets"]} == {
        ("fetch", "MISSING", "nothing is stored")
    }
    assert call("status", "--json").json["action"] == "status"


def test_json_carries_the_warnings_about_settings(call: Call) -> None:
    ended = call("status", "--json", POLICY_MARGINS="1800")
    assert any("POLICY_MARGINS" in warning for warning in ended.json["warnings"])
    assert "warning: the environment variable POLICY_MARGINS is not read" in call("status", POLICY_MARGINS="1").err


@pytest.mark.parametrize("command", _RUNS)
def test_tables_are_aligned_with_chinese_names(call: Call, command: str) -> None:
    call("refresh", "--app", "app0000")
    lines = call(command).out.partition("\n\n")[0].splitlines()
    assert len(lines) == 7
    assert "商城（测试）" in lines[1]
    starts = {_columns(re.split(r"KIND|access_token|js_ticket", line)[0]) for line in lines}
    assert len(starts) == 1
    assert all(line == line.rstrip() for line in lines)


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def test_columns_count_wide_and_combining_characters() -> None:
    assert [columns_of(text) for text in ("abc", "商城", "（）", "e\u0301", "\u200b", "")] == [
        3,
        4,
        4,
        1,
        0,
        0,
    ]
    table = as_plain(["A", "B"], [[Cell("商城"), Cell("x")], [Cell("abcde"), Cell("5m", bar=0.5)]])
    assert table == "A      B\n商城   x\nabcde  [########........] 5m"


def test_bars_are_never_odd() -> None:
    assert [filled(part) for part in (-1, 0, 0.001, 0.5, 0.99, 1, 7)] == [0, 0, 1, 8, 16, 16, 16]


def test_every_reason_of_the_plan_is_shown_unchanged(call: Call) -> None:
    told = {each["reason"] for each in call("plan", "--json").json["targets"]}
    assert told <= {reason.value for reason in Reason}
    assert all(reason in call("plan").out for reason in told)


@pytest.mark.slow
def test_a_terminal_gets_colours_and_a_progress_bar(environ: dict[str, str]) -> None:
    pytest.importorskip("rich")
    path = Path(environ["CONFIG_FILE"])
    content = yaml.safe_load(path.read_text("utf-8"))
    content["app_info"] += [{"app_id": f"more{n}", "app_secret": plant(f"more{n}")} for n in range(3)]
    path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    code, shown = on_a_terminal(environ, [*_PROGRAM, "refresh"])
    assert code == 1
    assert "\x1b[32m" in shown
    assert "applications" in shown
    code, shown = on_a_terminal(environ, [*_PROGRAM, "status", "--app", "app0000"])
    assert code == 0
    assert "\x1b[32m━━━━" in shown
    assert "商城（测试）" in shown


@pytest.mark.slow
@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours_gets_plain_text(environ: dict[str, str], setting: dict[str, str]) -> None:
    code, shown = on_a_terminal(environ | setting, [*_PROGRAM, "refresh"])
    assert code == 0
    assert "\x1b" not in shown
    assert "[################]" in shown


@pytest.mark.slow
def test_a_terminal_without_rich_gets_plain_text(environ: dict[str, str]) -> None:
    without = "import sys; sys.modules['rich'] = None; from token_refresher.cli.main import main; sys.exit(main())"
    code, shown = on_a_terminal(environ, [sys.executable, "-c", without, "refresh"])
    assert code == 0
    assert "\x1b" not in shown
    assert "[################]" in shown


def test_names_do_not_break_an_output_that_cannot_show_them(environ: dict[str, str]) -> None:
    ended = subprocess.run(
        [*_PROGRAM, "status"],
        env=process_environ(environ) | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=_WAIT_S,
    )
    assert ended.returncode == 1
    assert rb"\u5546\u57ce" in ended.stdout


def test_a_reader_of_the_output_that_goes_away_is_no_crash(environ: dict[str, str]) -> None:
    nobody, its = os.pipe()
    os.close(nobody)
    ended = subprocess.run(
        [*_PROGRAM, "status"],
        env=process_environ(environ),
        stdout=its,
        stderr=subprocess.PIPE,
        timeout=_WAIT_S,
    )
    os.close(its)
    assert (ended.returncode, ended.stderr) == (141, b"")


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """As a person would: again where nothing comes of it.

    Of a signal that comes just before its main thread begins to wait, Python hears only after that wait.
    """
    assert process.stderr
    process.send_signal(signal.SIGINT)
    while not select.select([process.stderr], [], [], 5.0)[0]:
        process.send_signal(signal.SIGINT)


def test_ctrl_c_ends_a_run_in_order(environ: dict[str, str], simulator: Simulator, redis_server: RedisServer) -> None:
    gate = simulator.hold(TOKEN_PATH, "before")
    process = started(environ, "refresh")
    gate.wait_reached()
    press_ctrl_c(process)
    first = process.stderr.readline() if process.stderr else ""
    gate.release()
    out, err = process.communicate(timeout=_WAIT_S)
    assert (process.returncode, out, first) == (130, "", _PATIENCE)
    # It left only when what it had begun (not always with all) was over: a credential that was on its way is stored.
    stored = [key.decode() for key in redis_server.client().scan_iter("type/server_access_token_info/*")]
    assert len(stored) == sum(simulator.fetches(f"app000{number}", "access_token") for number in range(3)) > 0
    assert err.startswith("interrupted: stored: app000")
    assert all(f"{key.rpartition('/')[2]} access_token" in err for key in stored)


_PATIENCE = "interrupted: requests under way end first; Ctrl-C again leaves at once\n"
# No request ends by itself while a test waits.
_PATIENT = {
    "POLICY_WORK_S": "200",
    "POLICY_REQUEST_TOTAL_S": "100",
    "POLICY_READ_TIMEOUT_S": "100",
    "POLICY_TICK_S": "30",
}


def started(environ: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """A process, whose standard error is read apart."""
    line, pipe = [*_PROGRAM, *arguments], subprocess.PIPE
    return subprocess.Popen(line, env=process_environ(environ), stdout=pipe, stderr=pipe, text=True)


def test_a_second_ctrl_c_ends_a_run_at_once_and_says_what_it_leaves(
    environ: dict[str, str], simulator: Simulator
) -> None:
    gate = simulator.hold(TOKEN_PATH, "before")
    process = started(environ | _PATIENT, "refresh", "--app", "app0000")
    gate.wait_reached()
    press_ctrl_c(process)
    assert process.stderr
    assert process.stderr.readline() == _PATIENCE
    press_ctrl_c(process)
    out, err = process.communicate(timeout=_WAIT_S)
    gate.release()
    says = "the request for app0000 access_token has no end, and its lease may hold other runs off for up to 260 s"
    assert (process.returncode, out, err) == (130, "", f"interrupted: no credential was stored; {says}\n")


@pytest.mark.parametrize("json_", [False, True])
def test_ctrl_c_ends_an_examination_at_once_and_says_what_is_missing(
    json_: bool, environ: dict[str, str], simulator: Simulator
) -> None:
    gate = simulator.hold(CHECK_PATH, "before")
    process = started(environ | _PATIENT, "doctor", *(["--json"] if json_ else []))
    gate.wait_reached()
    press_ctrl_c(process)
    out, err = process.communicate(timeout=_WAIT_S)
    gate.release()
    assert process.returncode == 130
    says = json.loads(out)["error"]["message"] if json_ else err.removeprefix("interrupted: ").rstrip()
    assert re.fullmatch("not examined: platform reachable, .*, run time-out", says)
    assert "redis" not in says


def test_ctrl_c_ends_a_check_at_once(environ: dict[str, str], simulator: Simulator, call: Call) -> None:
    call("refresh", "--app", "app0000")
    gate = simulator.hold(CHECK_PATH, "before")
    process = started(environ | _PATIENT, "check")
    gate.wait_reached()
    press_ctrl_c(process)
    out, err = process.communicate(timeout=_WAIT_S)
    gate.release()
    assert (process.returncode, out, err) == (130, "", "interrupted: nothing was changed\n")


# -- the others ------------------------------------------------------------------------------


def test_version_is_that_of_the_project(alone: Call) -> None:
    project = (_ROOT / "pyproject.toml").read_text("utf-8")
    assert 'version = { attr = "token_refresher.__version__" }' in project
    for arguments in (["version"], ["--version"], ["--version", "refresh"]):
        assert alone(*arguments) == (0, f"token-refresher {__version__}\n", "")
    for arguments in (["version", "--json"], ["--json", "--version"]):
        assert alone(*arguments).json == {"version": __version__}


# -- help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_example_in_the_help_is_accepted(alone: Call, command: str) -> None:
    ended = alone(command, "--help")
    assert ended.code == 0
    lines = re.findall(r"^  (token-refresher .*)$", ended.out.partition("examples:")[2], re.M)
    assert len(lines) >= 2
    for line in lines:
        words = shlex.split(line.partition(" < ")[0])
        assert build_parser().parse_args(words[1:]).command == command


def test_the_help_of_open_id_tells_of_standard_input(alone: Call) -> None:
    assert "- reads it from standard input" in re.sub(r"\s+", " ", alone("open-id", "--help").out)


def test_the_help_names_every_command_and_exit_code(alone: Call) -> None:
    ended = alone("--help")
    assert ended.code == 0
    for command in _COMMANDS:
        assert re.search(rf"^ +{command} +\S", ended.out, re.M)
    for code, meaning in EXIT_CODES.items():
        assert f"{code:>5}  {meaning}\n" in ended.out


def test_help_and_wrong_usage_are_quick_and_import_only_the_command_line() -> None:
    """Neither packages of others, nor those of ours in which the commands do their work."""
    look = (
        "import sys, token_refresher.cli.main as cli; cli.main(['version']); cli.main(['refresh', '--nothing']);"
        "cli.main(['--help']); ours = 'daemon', 'doctor', 'refresh', 'settings', 'store', 'web', 'bootstrap';"
        "names = 'rich', 'requests', 'fc2', 'yaml', 'redis', 'urllib3', *(f'token_refresher.{each}' for each in ours);"
        "print([name for name in names if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", look],
        env=process_environ({}),
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
    )
    assert ended.stdout.splitlines()[-1] == "[]"
