"""Starting the function from outside, through the vendor's own clients, against a server that verifies signatures."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

import index
from support.fc_server import Answer, FcServer
from support.planted import plant
from support.redis_server import closed_port
from support.tables import each_line
from support.world import World
from token_refresher import Reader
from token_refresher.domain.errors import SettingsError
from token_refresher.domain.model import Kind, Secret
from token_refresher.function import handler as function_handler
from token_refresher.invoke import response as answers
from token_refresher.invoke.access_key import ENVIRONMENT, Credentials, find_credentials
from token_refresher.invoke.invoker import FunctionAddress, InvokeError, Invoker
from token_refresher.invoke.response import log_tail, shown
from token_refresher.settings.loader import read

SRC = Path(index.__file__).parent
KEY_ID = "LTAI5planted"
REPORT = {"run_id": "r", "action": "refresh", "targets": []}

_FC3 = importlib.util.find_spec("alibabacloud_fc20230330") is not None
_without_fc3 = pytest.mark.skipif(not _FC3, reason="alibabacloud-fc20230330 is not installed")
# The client of FC 3.0 asks for the time in a way that newer Pythons warn of; every other warning stays an error.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:datetime\.datetime\.utcnow:DeprecationWarning:alibabacloud_tea_openapi\.utils"
)
GENERATIONS = [pytest.param("2.0"), pytest.param("3.0", marks=[pytest.mark.slow, _without_fc3])]


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def credentials() -> Credentials:
    """A temporary key, whose parts are all planted; without words that a message holds too."""
    return Credentials(Secret(KEY_ID), Secret(plant("ak")), Secret(plant("sts", "+/=")))


@pytest.fixture
def fc(credentials: Credentials) -> Iterator[FcServer]:
    """Function Compute, which knows the key, and has one function, under both generations."""
    with FcServer() as server:
        server.keys[KEY_ID] = credentials.access_key_secret.reveal()
        assert credentials.security_token
        server.tokens[KEY_ID] = credentials.security_token.reveal()
        install(server, lambda event, context: REPORT)
        yield server


def install(server: FcServer, function: Callable[[bytes, Any], Any]) -> None:
    for service in ("refreshing", "refreshing.prod", ""):
        server.functions[service, "refresher"] = function


@pytest.fixture
def address(fc: FcServer, generation: str) -> FunctionAddress:
    service = "refreshing" if generation == "2.0" else None
    return FunctionAddress.of(function="refresher", service=service, endpoint=fc.endpoint)


@pytest.fixture
def invoker(address: FunctionAddress, credentials: Credentials) -> Invoker:
    return Invoker(address, credentials)


@pytest.fixture
def deployed(world: World, fc: FcServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose function is the real handler, in this process."""
    for name, value in world.settings_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(function_handler, "_warm", [])
    install(fc, index.handler)
    level = logging.getLogger("token_refresher").level
    yield world
    for _, refresher in function_handler._warm:
        store: Any = refresher.store
        store._client.close()
    logging.getLogger("token_refresher").setLevel(level)


def failure_of(call: Callable[[], object]) -> InvokeError:
    """The error that a call raises, with everything that a log would show of it looked at by the guards."""
    with pytest.raises(InvokeError) as caught:
        call()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None, "the client's own exception comes along"
    logging.getLogger("somebody").error("%s", "".join(traceback.format_exception(error)))
    return error


# -- the function's configuration -----------------------------------------------------------


def test_the_functions_own_time_out_is_what_function_compute_has(fc: FcServer, invoker: Invoker) -> None:
    fc.time_out_s = 15
    assert invoker.time_out_s() == 15
    (seen,) = fc.seen
    assert (seen.method, seen.body) == ("GET", b"")


def test_a_configuration_that_is_not_given_is_an_error_with_what_to_do(
    fc: FcServer, invoker: Invoker, address: FunctionAddress
) -> None:
    stranger = Credentials(Secret("other"), Secret("x" * 8))
    assert failure_of(Invoker(address, stranger).time_out_s).code == "invoke_denied"
    fc.time_out_s = None
    assert "time-out" in failure_of(invoker.time_out_s).what
    fc.functions.clear()
    assert failure_of(invoker.time_out_s).code == "invoke_not_found"
    fc.stop()
    assert failure_of(invoker.time_out_s).code == "invoke_unreachable"


# -- end to end ------------------------------------------------------------------------------


def test_a_forced_refresh_by_hand_fetches_and_returns_the_functions_report(
    deployed: World, fc: FcServer, invoker: Invoker, no_secrets: Callable[[object], None]
) -> None:
    first = invoker.invoke({"action": "refresh"})
    deployed.advance(100)
    forced = invoker.invoke({"action": "refresh", "force": True})
    assert first.report
    assert forced.report
    assert [each["reason"] for each in first.report["targets"]] == ["MISSING", "MISSING"]
    assert [(each["reason"], each["outcome"]) for each in forced.report["targets"]] == [("FORCED", "issued")] * 2
    assert deployed.simulator.fetches("app0000", "access_token") == 2
    assert forced.request_id == "request-2"
    assert forced.log_tail
    assert forced.log_tail.startswith("INFO {")
    assert forced.report["run_id"] in forced.log_tail
    no_secrets(json.dumps(forced.report) + forced.log_tail + repr(forced))


def test_only_what_was_asked_for_is_refreshed(deployed: World, invoker: Invoker) -> None:
    report = invoker.invoke({"action": "refresh", "apps": ["app0000"], "kinds": ["access_token"]}).report
    assert report
    assert [each["kind"] for each in report["targets"]] == ["access_token"]


def test_an_asynchronous_invocation_is_accepted_at_once_and_runs_later(
    deployed: World, fc: FcServer, invoker: Invoker
) -> None:
    invocation = invoker.invoke({"action": "refresh"}, asynchronous=True)
    assert (invocation.report, invocation.request_id, invocation.log_tail) == (None, "request-1", None)
    assert fc.seen[0].headers["x-fc-invocation-type"] == "Async"
    assert "x-fc-log-type" not in fc.seen[0].headers
    fc.wait_for_runs()
    assert deployed.simulator.fetches("app0000", "access_token") == 1


def test_a_reader_that_was_refused_gets_a_new_code_without_waiting_for_the_timer(
    deployed: World, fc: FcServer, invoker: Invoker
) -> None:
    invoker.invoke({"action": "refresh"})
    deployed.advance(100)
    with Reader.from_settings(read(deployed.settings_env()), on_rejected=invoker) as reader:
        dead = reader.access_token("app0000")
        deployed.simulator.revoke("app0000", "access_token", dead)
        assert reader.report_rejected("app0000", Kind.ACCESS_TOKEN, dead) is None
        fc.wait_for_runs()
        fresh = reader.access_token("app0000")
    assert deployed.simulator.valid("app0000", "access_token", fresh)
    woken = fc.seen[1]
    assert json.loads(woken.body) == {"action": "refresh", "apps": ["app0000"], "kinds": ["access_token"]}
    assert woken.headers["x-fc-invocation-type"] == "Async"


def test_a_reader_is_not_disturbed_when_the_function_cannot_be_started(
    deployed: World, address: FunctionAddress, credentials: Credentials, fc: FcServer, caplog: pytest.LogCaptureFixture
) -> None:
    Invoker(address, credentials).invoke({"action": "refresh"})
    nowhere = FunctionAddress(address.function, address.service, None, f"http://127.0.0.1:{closed_port()}")
    with Reader.from_settings(read(deployed.settings_env()), on_rejected=Invoker(nowhere, credentials)) as reader:
        code = reader.access_token("app0000")
        assert reader.report_rejected("app0000", "access_token", code) is None
    told = [record.getMessage() for record in caplog.records if record.name == "token_refresher.invoke"]
    assert len(told) == 1
    assert "invoke_unreachable" in told[0]


# -- what is sent ----------------------------------------------------------------------------


def test_a_service_makes_it_the_older_interface_and_none_the_newer_one(
    fc: FcServer, invoker: Invoker, generation: str
) -> None:
    invoker.invoke({})
    older = "/2016-08-15/services/refreshing/functions/refresher/invocations"
    assert fc.seen[0].path == (older if generation == "2.0" else "/2023-03-30/functions/refresher/invocations")
    assert fc.seen[0].method == "POST"
    assert fc.seen[0].headers["x-fc-log-type"] == "Tail"


def test_a_qualifier_names_the_version_or_alias(
    fc: FcServer, address: FunctionAddress, credentials: Credentials, generation: str
) -> None:
    qualified = FunctionAddress(address.function, address.service, "prod", address.endpoint)
    assert Invoker(qualified, credentials).invoke({}).report == REPORT
    if generation == "2.0":
        assert "/services/refreshing.prod/" in fc.seen[0].path
    else:
        assert fc.seen[0].query == {"qualifier": "prod"}


def test_a_lasting_key_is_sent_without_a_token(
    fc: FcServer, address: FunctionAddress, credentials: Credentials
) -> None:
    fc.tokens.clear()
    lasting = Credentials(credentials.access_key_id, credentials.access_key_secret)
    assert Invoker(address, lasting).invoke({}).report == REPORT
    assert not [name for name in fc.seen[0].headers if name.endswith("security-token")]


def test_the_clients_proxy_variables_count(
    fc: FcServer, credentials: Credentials, generation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stands in for the proxy: it is asked for another host's address."""
    monkeypatch.setenv("HTTP_PROXY", fc.endpoint)
    monkeypatch.setenv("http_proxy", fc.endpoint)
    service = "refreshing" if generation == "2.0" else None
    far = FunctionAddress.of(function="refresher", service=service, endpoint="http://1.cn-hangzhou.fc.aliyuncs.com")
    assert Invoker(far, credentials).invoke({}).report == REPORT
    assert fc.seen[0].headers["host"] == "1.cn-hangzhou.fc.aliyuncs.com"


def test_a_netrc_does_not_take_the_signatures_place(
    fc: FcServer, invoker: Invoker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert invoker.invoke({}).report == REPORT


def test_threads_may_share_an_invoker(fc: FcServer, invoker: Invoker) -> None:
    reports: list[object] = []
    threads = [threading.Thread(target=lambda: reports.append(invoker.invoke({}).report)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reports == [REPORT] * 8


# -- what goes wrong -------------------------------------------------------------------------


def test_a_wrong_key_is_denied_and_says_so(fc: FcServer, invoker: Invoker) -> None:
    fc.keys[KEY_ID] = plant("another-secret")
    error = failure_of(lambda: invoker.invoke({}))
    assert (error.code, error.status, error.retryable) == ("invoke_denied", 403, False)
    assert "SignatureNotMatch" in error.what
    assert "fc:InvokeFunction" in str(error)


def test_a_stale_token_is_denied(fc: FcServer, invoker: Invoker) -> None:
    fc.tokens[KEY_ID] = plant("another-token")
    assert failure_of(lambda: invoker.invoke({})).code == "invoke_denied"


def test_a_function_that_does_not_exist_is_not_found(
    address: FunctionAddress, credentials: Credentials, generation: str
) -> None:
    other = FunctionAddress("other", address.service, None, address.endpoint)
    error = failure_of(lambda: Invoker(other, credentials).invoke({}))
    assert (error.code, error.status) == ("invoke_not_found", 404)
    assert error.request_id == ("request-1" if generation == "2.0" else "request-in-body")


def _json(status: int, name: str) -> Answer:
    told = {"ErrorCode": name, "ErrorMessage": "words", "Code": name, "Message": "words"}
    return Answer(status, json.dumps(told).encode(), {"Content-Type": "application/json"})


# Sentence -> what is answered, and the credential that it gets from the client of FC 2.0 and that of FC 3.0.
ANSWERS: dict[str, tuple[Answer, str, str]] = {
    "throttled by status": (_json(429, "ResourceThrottled"), "invoke_throttled", "invoke_throttled"),
    "throttled by name": (_json(503, "ResourceExhausted"), "invoke_throttled", "invoke_throttled"),
    "a wrong argument": (_json(400, "InvalidArgument"), "invoke_refused", "invoke_refused"),
    "no start": (_json(412, "CAExited"), "invoke_refused", "invoke_refused"),
    "not logged in": (_json(401, "Unauthorized"), "invoke_denied", "invoke_denied"),
    "a failure with JSON": (_json(500, "InternalServerError"), "invoke_server_error", "invoke_server_error"),
    "a failure of a gateway": (_json(502, "BadResponse"), "invoke_server_error", "invoke_server_error"),
    "a failure in HTML": (Answer(502, b"<html>Bad Gateway</html>"), "invoke_server_error", "invoke_bad_answer"),
    "a failure without words": (Answer(503), "invoke_server_error", "invoke_bad_answer"),
    "a failure with a JSON list": (Answer(500, b"[1]"), "invoke_server_error", "invoke_bad_answer"),
    "a proxy's refusal in HTML": (Answer(403, b"<html>"), "invoke_denied", "invoke_bad_answer"),
    "a proxy that wants a login": (Answer(407, b"<html>"), "invoke_unreachable", "invoke_bad_answer"),
    "a name that is none": (_json(400, "no name: " + "x" * 99), "invoke_refused", "invoke_refused"),
    "HTML with success": (Answer(200, b"<html>"), "invoke_bad_answer", "invoke_bad_answer"),
    "nothing with success": (Answer(200), "invoke_bad_answer", "invoke_bad_answer"),
    "another function's result": (Answer(200, b'{"hello": 1}'), "invoke_bad_answer", "invoke_bad_answer"),
    "JSON without end": (Answer(200, b"[" * 100_000), "invoke_bad_answer", "invoke_bad_answer"),
    "half an answer": (Answer(200, b'{"run_id"', length=500), "invoke_no_answer", "invoke_no_answer"),
    "half a failure": (Answer(500, b'{"Err', length=500), "invoke_no_answer", "invoke_no_answer"),
}


@pytest.mark.parametrize("sentence", ANSWERS)
def test_every_answer_that_is_no_success_becomes_a_clear_error(
    sentence: str, fc: FcServer, invoker: Invoker, generation: str
) -> None:
    answer, older, newer = ANSWERS[sentence]
    fc.next.append(answer)
    error = failure_of(lambda: invoker.invoke({}))
    assert error.code == (older if generation == "2.0" else newer)
    assert len(fc.seen) == 1, "it was repeated"
    assert "words" not in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("generation", ["2.0"], indirect=True)
def test_a_redirect_is_not_followed_with_the_token(
    fc: FcServer, address: FunctionAddress, credentials: Credentials
) -> None:
    """The client of FC 3.0 follows redirects, and cannot be told not to."""
    with FcServer() as elsewhere:
        fc.next.append(Answer(307, b"", {"Location": elsewhere.endpoint + "/"}))
        error = failure_of(lambda: Invoker(address, credentials).invoke({}))
        assert (error.code, error.status) == ("invoke_bad_answer", 307)
        assert not elsewhere.seen


def test_silence_ends_with_the_time_out(fc: FcServer, address: FunctionAddress, credentials: Credentials) -> None:
    fc.next.append("silence")
    error = failure_of(lambda: Invoker(address, credentials, timeout_s=0.2).invoke({}))
    assert error.code == "invoke_no_answer"
    assert "status" in error.advice


def test_an_answer_that_stops_halfway_ends_with_the_time_out_too(
    address: FunctionAddress, credentials: Credentials, fc: FcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = fc._http.shutdown_request

    def late(request: Any) -> None:
        fc._stopping.wait(10)
        close(request)

    # Of this server alone: whatever else ends a connection meanwhile, in this thread too, must not wait for it.
    monkeypatch.setattr(fc._http, "shutdown_request", late)
    fc.next.append(Answer(200, b"{", length=500))
    assert failure_of(lambda: Invoker(address, credentials, timeout_s=0.2).invoke({})).code == "invoke_no_answer"


@pytest.mark.parametrize("host", [lambda: f"127.0.0.1:{closed_port()}", lambda: "no-such-account.invalid"])
def test_a_place_that_cannot_be_reached_is_tried_once(
    host: Callable[[], str], generation: str, credentials: Credentials
) -> None:
    service = "refreshing" if generation == "2.0" else None
    nowhere = FunctionAddress.of(function="refresher", service=service, endpoint=f"http://{host()}")
    assert failure_of(lambda: Invoker(nowhere, credentials).invoke({})).code == "invoke_unreachable"


def test_no_tls_at_the_other_end_is_said(fc: FcServer, address: FunctionAddress, credentials: Credentials) -> None:
    secure = FunctionAddress(address.function, address.service, None, fc.endpoint.replace("http:", "https:"))
    error = failure_of(lambda: Invoker(secure, credentials).invoke({}))
    assert (error.code, error.what) == ("invoke_unreachable", "TLS to Function Compute failed")


def test_a_proxy_that_is_gone_is_said_without_its_password(
    address: FunctionAddress, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = f"http://user:{plant('proxy-password')}@127.0.0.1:{closed_port()}"
    monkeypatch.setenv("HTTP_PROXY", gone)
    monkeypatch.setenv("http_proxy", gone)
    error = failure_of(lambda: Invoker(address, credentials).invoke({}))
    assert (error.code, error.what) == ("invoke_unreachable", "the proxy refused or failed")


# -- when the function fails -----------------------------------------------------------------


def test_the_functions_own_errors_are_told_with_type_and_message(deployed: World, invoker: Invoker) -> None:
    error = failure_of(lambda: invoker.invoke({"action": "no-such-thing"}))
    assert (error.code, error.error_type, error.status) == ("invoke_function_failed", "CommandError", 200)
    assert "CommandError (request request-1): invalid_command: unknown action 'no-such-thing'" in error.what


def test_a_run_that_alarms_is_told_with_its_reason(deployed: World, invoker: Invoker) -> None:
    deployed.simulator.rotate_secret("app0000", plant("another-secret-of-app0000"))
    error = failure_of(lambda: invoker.invoke({"action": "refresh"}))
    assert error.error_type == "RefreshFailedError"
    assert "credentials_in_danger" in error.what


def _fails_with(kind: object, message: object) -> Answer:
    told = {"errorMessage": message, "errorType": kind, "stackTrace": ["at secret place"]}
    return Answer(200, json.dumps(told).encode(), {"X-Fc-Error-Type": "UnhandledInvocationError"})


FAILURES: dict[str, tuple[Answer, str]] = {
    "an error of somebody else's": (_fails_with("ValueError", "words"), "the function failed with ValueError"),
    "one without a type": (_fails_with(None, "words"), "the function failed with an error without a type"),
    "one with a strange type": (_fails_with("a b\n", ["words"]), "the function failed with an error without a type"),
    "the function's time-out": (_fails_with(None, "Function timed out after 3 seconds"), "ran into its time-out"),
    "a process that ended": (_fails_with(None, "Process exited unexpectedly before ..."), "process ended"),
    "no JSON": (Answer(200, b"oops, words", {"X-Fc-Error-Type": "HandledInvocationError"}), "without a type"),
    "a list": (Answer(200, b'["words"]', {"X-Fc-Error-Type": "HandledInvocationError"}), "without a type"),
}


@each_line("sentence", FAILURES)
def test_of_other_errors_only_the_type_is_told(sentence: str, fc: FcServer, invoker: Invoker) -> None:
    answer, told = FAILURES[sentence]
    fc.next.append(answer)
    error = failure_of(lambda: invoker.invoke({}))
    assert error.code == "invoke_function_failed"
    assert told in error.what
    assert "words" not in str(error)
    assert "secret place" not in str(error)


def test_a_message_of_ours_is_cut_masked_and_kept_on_one_line(fc: FcServer, invoker: Invoker) -> None:
    code = "0123456789abcdef" * 4
    message = f"a\r\nb\x1b[31m {code} " + "long " * 200
    fc.next.append(_fails_with("StoreError", message))
    error = failure_of(lambda: invoker.invoke({}))
    told = error.what.partition(": ")[2]
    assert told.startswith("a b[31m **** long long")
    assert len(told) == 300
    assert told.endswith("…")


_NOT_SHOWN = "(not shown: it repeats a part of a secret)"


def test_a_message_that_repeats_a_part_of_the_key_is_not_shown(
    fc: FcServer, invoker: Invoker, credentials: Credentials
) -> None:
    assert credentials.security_token
    for part in (credentials.access_key_secret.reveal()[-9:].upper(), quote(credentials.security_token.reveal())[-20:]):
        fc.next.append(_fails_with("StoreError", f"it is {part}, forged"))
        error = failure_of(lambda: invoker.invoke({}))
        assert error.what.endswith(f": {_NOT_SHOWN}")


def test_names_that_repeat_a_part_of_the_key_are_not_shown(
    fc: FcServer, invoker: Invoker, credentials: Credentials
) -> None:
    part = credentials.access_key_secret.reveal()[-9:]
    named = {"X-Fc-Request-Id": f"r-{part}"}
    answers = [
        Answer(403, json.dumps({"ErrorCode": f"E{part}"}).encode(), named),
        Answer(200, json.dumps({"errorType": f"E{part}"}).encode(), named | {"X-Fc-Error-Type": "Unhandled"}),
        Answer(200, b"[]", named),
    ]
    for answer in answers:
        fc.next.append(answer)
        error = failure_of(lambda: invoker.invoke({}))
        assert part not in f"{error} {error.request_id} {error.error_type}"


def test_of_a_log_tail_only_the_lines_that_repeat_the_key_are_left_out(credentials: Credentials) -> None:
    secret = credentials.access_key_secret.reveal()

    def tail(text: str) -> str | None:
        log = base64.b64encode(text.encode()).decode()
        return log_tail(answers.Answer(200, {"x-fc-log-result": log}, b""), credentials.secrets())

    assert tail(f"one\nkey {secret[-8:]}\nthree") == f"one\n{_NOT_SHOWN}\nthree"
    assert tail(f"one\n{secret[-10:-5]}\n{secret[-5:]}") == _NOT_SHOWN


def test_sentences_of_ours_come_through_whole() -> None:
    sentence = "nothing is stored under the key type/server_access_token_info/app_id/100027 (fingerprint 0a1b2c3d)"
    assert shown(sentence, ()) == sentence


@each_line("log", ["!!", "", "a"])
def test_a_log_tail_that_is_none_is_left_out(log: str, fc: FcServer, invoker: Invoker) -> None:
    fc.next.append(Answer(200, json.dumps(REPORT).encode(), {"X-Fc-Log-Result": log}))
    assert invoker.invoke({}).log_tail is None


def test_a_log_tail_does_nothing_to_a_terminal(fc: FcServer, invoker: Invoker) -> None:
    log = "MSOxWzMxbSBmaXJzdAr/"  # "1", a broken byte, "[31m first", a line break, half a character
    fc.next.append(Answer(200, json.dumps(REPORT).encode(), {"X-Fc-Log-Result": log}))
    tail = invoker.invoke({}).log_tail
    assert tail
    assert len(tail.splitlines()) == 2
    assert all(line.isprintable() for line in tail.splitlines())


# -- nothing gets out ------------------------------------------------------------------------


def test_the_clients_say_nothing_of_what_they_send(
    fc: FcServer, invoker: Invoker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guards look for the planted secrets in all of this; here it is counted that nobody but urllib3 spoke."""
    monkeypatch.setenv("DEBUG", "sdk")
    assert logging.getLogger().getEffectiveLevel() == logging.DEBUG
    invoker.invoke({})
    fc.next += [_json(403, "AccessDenied"), _json(500, "InternalServerError"), _fails_with("ValueError", "")]
    for _ in range(3):
        failure_of(lambda: invoker.invoke({}))
    speakers = {record.name.partition(".")[0] for record in caplog.records}
    assert speakers <= {"urllib3", "somebody"}
    assert not [each for each in caplog.records if "uthorization" in each.getMessage()]


def test_others_who_use_the_client_still_get_its_log(caplog: pytest.LogCaptureFixture, fc: FcServer) -> None:
    """What is silenced is silenced for our own invocations, not for the process."""
    import fc2

    address = FunctionAddress.of(function="refresher", service="refreshing", endpoint=fc.endpoint)
    Invoker(address, Credentials(Secret(KEY_ID), Secret(fc.keys[KEY_ID]), Secret(fc.tokens[KEY_ID]))).invoke({})
    assert "root" not in {record.name for record in caplog.records}
    with pytest.raises(fc2.FcError):
        fc2.Client(endpoint=fc.endpoint, accessKeyID="x", accessKeySecret="y").invoke_function("a", "b")
    assert "root" in {record.name for record in caplog.records}
    assert fc2.client.logging is logging
    assert fc2.client.retries == 5


@pytest.mark.slow
@_without_fc3
def test_others_who_debug_the_newer_client_still_get_its_log(
    fc: FcServer, credentials: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    address = FunctionAddress.of(function="refresher", endpoint=fc.endpoint)
    Invoker(address, credentials).invoke({})
    logging.getLogger("darabonba-core").warning("somebody else's")
    assert [record.getMessage() for record in caplog.records if record.name == "darabonba-core"] == ["somebody else's"]


def test_nothing_shows_in_the_repr_of_anything(
    invoker: Invoker, address: FunctionAddress, credentials: Credentials
) -> None:
    for each in (invoker, address, credentials):
        logging.getLogger("somebody").info("%r %s", each, each)
    assert credentials.access_key_secret.reveal() not in repr(credentials)


# -- packages that are not there, and imports ------------------------------------------------


@pytest.mark.parametrize(
    ("service", "missing", "named"),
    [("refreshing", "fc2", "[invoke]"), (None, "alibabacloud_fc20230330", "[fc3]")],
)
def test_a_missing_package_is_named_with_its_extra(
    service: str | None, missing: str, named: str, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    address = FunctionAddress.of(function="refresher", service=service, endpoint="localhost")
    with pytest.raises(SettingsError, match="not installed") as caught:
        Invoker(address, credentials)
    assert named in caught.value.advice
    assert "token-refresher[" not in str(caught.value), "the name is on no index"


def test_the_clients_are_imported_only_when_something_is_invoked() -> None:
    code = (
        "import sys, warnings; from token_refresher.invoke.invoker import *;"
        "Invoker(FunctionAddress.of(function='f', service='s', endpoint='h'), find_credentials("
        "{'ALIBABA_CLOUD_ACCESS_KEY_ID': 'a', 'ALIBABA_CLOUD_ACCESS_KEY_SECRET': 'b'}));"
        "sys.exit(str([name for name in sys.modules if name.startswith(('fc2', 'alibaba', 'Tea'))] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == ""


# -- where it is -----------------------------------------------------------------------------


def test_without_an_endpoint_it_is_the_accounts_own() -> None:
    found = FunctionAddress.of(function="f", account_id="1234567890", region="cn-hangzhou")
    assert found.endpoint == "https://1234567890.cn-hangzhou.fc.aliyuncs.com"
    assert (found.service, found.qualifier) == (None, None)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("1.cn-hangzhou.fc.aliyuncs.com", "https://1.cn-hangzhou.fc.aliyuncs.com"),
        ("https://host/", "https://host"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
    ],
)
def test_an_endpoint_is_taken_with_and_without_a_scheme(given: str, used: str) -> None:
    assert FunctionAddress.of(function="f", endpoint=given, account_id="1", region="x").endpoint == used


def test_the_settings_are_known_by_their_names() -> None:
    environ = {
        "FUNCTION_NAME": "f",
        "FUNCTION_SERVICE": "s",
        "FUNCTION_QUALIFIER": "LATEST",
        "ALIBABA_CLOUD_ACCOUNT_ID": "1",
        "ALIBABA_CLOUD_REGION_ID": "cn-hangzhou",
    }
    found = FunctionAddress.from_environ(environ)
    assert found == FunctionAddress("f", "s", "LATEST", "https://1.cn-hangzhou.fc.aliyuncs.com")
    other = FunctionAddress.from_environ({**environ, "FUNCTION_ENDPOINT": "h", "FUNCTION_SERVICE": ""})
    assert other == FunctionAddress("f", None, "LATEST", "https://h")


def test_all_mistakes_in_an_address_are_told_at_once_without_their_values() -> None:
    wrong = plant("typed-in-the-wrong-place", "/?#")
    with pytest.raises(SettingsError) as caught:
        FunctionAddress.of(
            function="1x/../",
            service=wrong,
            qualifier=wrong,
            endpoint=f"https://u:{wrong}@h/p",
            region=wrong,
            account_id=wrong,
        )
    assert len(caught.value.problems) == 6
    with pytest.raises(SettingsError) as caught:
        FunctionAddress.from_environ({"ALIBABA_CLOUD_ACCOUNT_ID": "1"})
    assert len(caught.value.problems) == 2
    assert "FUNCTION_NAME is missing" in str(caught.value)
    assert "ALIBABA_CLOUD_REGION_ID" in str(caught.value)


@each_line("endpoint", ["http://a..b", "http://-a", "ftp://h", "h/path", "h:", "h\n", "https://", "h?x"])
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="FUNCTION_ENDPOINT must be"):
        FunctionAddress.of(function="f", endpoint=endpoint)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_time_out_of_nothing_is_refused(timeout_s: float, credentials: Credentials) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Invoker(FunctionAddress("f", "s", None, "http://h"), credentials, timeout_s=timeout_s)


# -- with what right -------------------------------------------------------------------------


def held(credentials: Credentials) -> tuple[str, str, str | None]:
    token = credentials.security_token
    return credentials.access_key_id.reveal(), credentials.access_key_secret.reveal(), token.reveal() if token else None


@pytest.mark.parametrize("names", ENVIRONMENT)
def test_a_key_is_found_in_the_environment_under_every_usual_name(names: tuple[str, str, str]) -> None:
    secret, token = plant("env-secret"), plant("env-token")
    values = dict(zip(names, ("id", secret, token), strict=True))
    assert held(find_credentials(values)) == ("id", secret, token)
    del values[names[2]]
    assert held(find_credentials(values)) == ("id", secret, None)


def test_a_functions_own_context_comes_before_the_environment() -> None:
    given = SimpleNamespace(access_key_id="c", access_key_secret=plant("context-secret"), security_token=plant("token"))
    environ = dict(zip(ENVIRONMENT[0], ("id", plant("env-secret"), ""), strict=True))
    found = find_credentials(environ, SimpleNamespace(credentials=given))
    assert held(found) == ("c", given.access_key_secret, given.security_token)
    assert found.source == "the function's context"


@pytest.mark.parametrize(
    "context",
    [
        None,
        SimpleNamespace(request_id="1"),
        SimpleNamespace(credentials=None),
        SimpleNamespace(credentials=SimpleNamespace(access_key_id="", access_key_secret=None)),
    ],
)
def test_a_context_without_a_key_is_passed_over(context: object) -> None:
    environ = dict(zip(ENVIRONMENT[0], ("id", plant("env-secret"), ""), strict=True))
    assert find_credentials(environ, context).source == "the environment"


def profile(folder: Path, name: str, text: str) -> None:
    (folder / ".alibabacloud").mkdir(exist_ok=True)
    (folder / ".alibabacloud" / name).write_text(text)


@pytest.mark.parametrize("name", ["credentials", "credentials.ini"])
def test_a_key_is_found_in_the_shared_file(name: str, tmp_path: Path) -> None:
    first, second = plant("file-secret", "%(x)s"), plant("other-secret")
    text = f"[default]\ntype = access_key # usual\naccess_key_id = id1\naccess_key_secret = {first}\n"
    text += f"[other]\ntype = sts\naccess_key_id = id2\naccess_key_secret = {second}\nsecurity_token = t\n"
    profile(tmp_path, name, text)
    home = {"HOME": str(tmp_path)}
    assert held(find_credentials(home)) == ("id1", first, None)
    assert held(find_credentials({**home, "ALIBABA_CLOUD_PROFILE": "other"})) == ("id2", second, "t")


def test_another_file_may_be_named(tmp_path: Path) -> None:
    secret = plant("file-secret")
    path = tmp_path / "elsewhere"
    path.write_text(f"[default]\naccess_key_id = id\naccess_key_secret = {secret}\n")
    assert held(find_credentials({"ALIBABA_CLOUD_CREDENTIALS_FILE": str(path)})) == ("id", secret, None)


# Sentence -> what the file holds (None: there is none), and what is said.
FILES: dict[str, tuple[str | None, str]] = {
    "no file": (None, "no access key was found; looked for ALIBABA_CLOUD_ACCESS_KEY_ID"),
    "an empty file": ("", "the profile default is missing"),
    "no such profile": ("[other]\naccess_key_id = x\n", "the profile default is missing"),
    "half a key": ("[default]\naccess_key_id = SECRET\n", "access_key_secret is missing in the profile default"),
    "a role": ("[default]\ntype = ram_role_arn\naccess_key_id = SECRET\n", "must be of type access_key or sts"),
    "no profile at all": ("access_key_secret = SECRET\n", "must hold lines of the form"),
    "a line without a name": ("[default]\nSECRET\n", "must hold lines of the form"),
    "a name twice": ("[default]\naccess_key_id = SECRET\naccess_key_id = SECRET\n", "must hold lines of the form"),
    "a blank in the key": ("[default]\naccess_key_id = x\naccess_key_secret = SECRET y\n", "must be one word"),
    "a second line": ("[default]\naccess_key_id = x\naccess_key_secret = SECRET\n y\n", "must be one word"),
}


@each_line("sentence", FILES)
def test_what_is_wrong_with_the_shared_file_is_told_without_quoting_it(sentence: str, tmp_path: Path) -> None:
    text, told = FILES[sentence]
    if text is not None:
        profile(tmp_path, "credentials", text.replace("SECRET", plant("in-a-broken-file")))
    with pytest.raises(SettingsError) as caught:
        find_credentials({"HOME": str(tmp_path)})
    assert told in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_named_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ALIBABA_CLOUD_CREDENTIALS_FILE refers to a file that cannot be read"):
        find_credentials({"ALIBABA_CLOUD_CREDENTIALS_FILE": str(tmp_path / "none")})
    (tmp_path / ".alibabacloud").mkdir()
    (tmp_path / ".alibabacloud" / "credentials").mkdir()
    with pytest.raises(SettingsError, match=r"~/\.alibabacloud/credentials refers to a file that cannot be read"):
        find_credentials({"HOME": str(tmp_path)})


def test_half_a_key_in_the_environment_is_told_and_nothing_else_is_tried() -> None:
    for name, other in (ENVIRONMENT[0][:2], ENVIRONMENT[0][1::-1]):
        with pytest.raises(SettingsError, match=f"{other} is missing in the environment"):
            find_credentials({name: plant("half")})


def test_a_line_break_in_a_key_is_refused() -> None:
    values = ("id", plant("secret") + "\r\nx: y", "")
    with pytest.raises(SettingsError, match="must be one word"):
        find_credentials(dict(zip(ENVIRONMENT[0], values, strict=True)))


# -- the errors ------------------------------------------------------------------------------


@each_line("code", sorted({"invoke_function_failed", *(each[1] for each in ANSWERS.values())}))
def test_every_code_of_an_invocation_says_in_one_line_what_to_do(code: str) -> None:
    error = InvokeError("what", code=code)
    assert str(error) == f"{code}: what. What to do: {error.advice}."
    assert 20 < len(error.advice) < 120
    assert error.advice.isprintable()


def test_an_error_of_an_invocation_without_a_code_is_a_bad_answer() -> None:
    assert InvokeError("what").code == "invoke_bad_answer"
