"""The simulator as an HTTP server: connections, TLS, starting, stopping, running alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import platform_simulator
from platform_simulator import APP_ACCESS_PATH, CHECK_PATH, TICKET_PATH, TOKEN_PATH, USER_COUNT_PATH, Simulator

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BODY = "app_id=app1&secret=secret1&grant_type=client_credential"


def connect(sim: Simulator) -> socket.socket:
    parts = urlsplit(sim.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), 10)


def talk(sim: Simulator, data: bytes) -> bytes:
    """Send bytes, say that no more will come, and read to the end."""
    with connect(sim) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


def test_one_connection_serves_many_requests(sim: Simulator) -> None:
    connection = http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10)
    for _ in range(3):
        connection.request("POST", TOKEN_PATH, BODY, FORM)
        with connection.getresponse() as response:
            assert json.loads(response.read())["status"] == "2000"
    connection.close()
    assert len({request.peer for request in sim.requests}) == 1


def test_many_clients_at_once_all_get_their_own_code(sim: Simulator) -> None:
    codes = []

    def call() -> None:
        connection = http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10)
        connection.request("POST", TOKEN_PATH, BODY, FORM)
        with connection.getresponse() as response:
            codes.append(json.loads(response.read())["data"]["access_token"])
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == sim.credentials()
    assert len(sim.credentials()) == sim.fetches("app1", "access_token") == 50
    assert sum(sim.valid("app1", "access_token", code) for code in codes) == 50


def test_anything_but_a_posted_form_to_a_known_path_is_refused(sim: Simulator) -> None:
    connection = http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10)
    got = []
    for method, path, headers in [
        ("GET", TOKEN_PATH, FORM),
        ("POST", "/OAuth2/refreshtoken", FORM),
        ("POST", TOKEN_PATH, {"Content-Type": "application/json"}),
    ]:
        connection.request(method, path, BODY, headers)
        with connection.getresponse() as response:
            got.append((response.status, json.loads(response.read())["status"]))
    connection.close()
    assert got == [(405, "4000"), (404, "4000"), (200, "4000")]
    assert [request.outcome for request in sim.requests] == ["http 405", "http 404", "4000"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/2.0\r\n\r\n", b"505"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431"),
    ],
)
def test_what_is_no_request_is_answered_and_not_recorded(sim: Simulator, request_bytes: bytes, status: bytes) -> None:
    assert talk(sim, request_bytes).startswith(b"HTTP/1.1 " + status)
    assert sim.requests == []


def test_a_client_that_leaves_early_is_not_recorded(sim: Simulator) -> None:
    assert talk(sim, b"POST /OAuth2/token HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc") == b""
    assert talk(sim, b"POST /OAu") == b""
    assert sim.requests == []


def test_old_clients_proxies_and_expectations_are_served(sim: Simulator) -> None:
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(BODY)
    old = b"POST /OAuth2/token HTTP/1.0\r\n" + kind + length + BODY.encode()
    assert b"Connection: close\r\n" in talk(sim, old)
    proxied = b"POST http://platform/OAuth2/token?x=1 HTTP/1.1\r\n" + kind + length + BODY.encode()
    assert b'"2000"' in talk(sim, proxied)
    with connect(sim) as sock:
        sock.sendall(b"POST /OAuth2/token HTTP/1.1\r\nExpect: 100-continue\r\n" + kind + length)
        assert sock.recv(100).startswith(b"HTTP/1.1 100")
        sock.sendall(BODY.encode())
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
    assert {request.path for request in sim.requests} == {TOKEN_PATH}


def test_a_stopped_simulator_refuses_connections_and_starts_again_where_it_was(
    sim: Simulator, get_token: Callable[[], Any]
) -> None:
    url, first = sim.url, get_token()["data"]["access_token"]
    sim.stop()
    sim.stop()
    with pytest.raises(ConnectionRefusedError):
        connect(sim)
    sim.start()
    assert sim.url == url
    assert get_token()["status"] == "2000"
    assert sim.valid("app1", "access_token", first)
    with pytest.raises(RuntimeError, match="already started"):
        sim.start()


def test_stopping_ends_idle_and_held_connections_and_their_threads(
    sim: Simulator, send_token: Callable[[], socket.socket]
) -> None:
    with connect(sim) as idle:
        before = sim.hold(TOKEN_PATH, "before")
        held_before = send_token()
        before.wait_reached()
        after = sim.hold(TOKEN_PATH, "after")
        held_after = send_token()
        after.wait_reached()
        sim.stop()
        assert [sock.recv(100) for sock in (idle, held_before, held_after)] == [b"", b"", b""]
    assert [(r.outcome, r.executed) for r in sim.requests] == [("stopped", False), ("2000", True)]
    assert not [t for t in threading.enumerate() if t.name.startswith("platform-")]


def anonymous_tls(purpose: int) -> ssl.SSLContext:
    """TLS without a certificate, so that no key needs to lie in the repository."""
    context = ssl.SSLContext(purpose)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH:@SECLEVEL=0")
    return context


def test_tls_serves_the_same_and_survives_strangers() -> None:
    server_context = anonymous_tls(ssl.PROTOCOL_TLS_SERVER)
    with Simulator({"app1": "secret1"}, tls=server_context) as sim:
        assert sim.url.startswith("https://127.0.0.1:")
        with contextlib.suppress(OSError):
            talk(sim, b"POST / HTTP/1.1\r\n\r\n")
        connection = http.client.HTTPSConnection(
            urlsplit(sim.url).netloc, timeout=10, context=anonymous_tls(ssl.PROTOCOL_TLS_CLIENT)
        )
        connection.request("POST", TOKEN_PATH, BODY, FORM)
        with connection.getresponse() as response:
            assert json.loads(response.read())["status"] == "2000"
        with connect(sim):
            sim.stop()
        connection.close()


def run_alone(*arguments: str, out: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    source = str(Path(platform_simulator.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "platform_simulator", "--port", "0", *arguments],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_alone_it_warns_prints_an_example_that_works_and_stops_on_a_signal(
    number: signal.Signals,
) -> None:
    process = run_alone("--app", "my app:pass'word", "--style", "all-text", "--latency-ms", "1")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    curl = shlex.split(next(line for line in lines if "curl" in line))
    fields = [word for word in curl if "=" in word]
    body = "&".join(fields).replace(" ", "+").replace("'", "%27")
    address = urlsplit(curl[1])
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    connection.request("POST", address.path, body, FORM)
    with connection.getresponse() as response:
        assert json.loads(response.read())["data"]["expires_in"] == "7200"
    process.send_signal(number)
    _output, errors = process.communicate(timeout=10)
    connection.close()
    assert process.returncode == 0
    assert errors.count("\n") == 1
    assert "for tests only" in errors


def test_run_alone_it_says_what_is_wrong_with_an_argument_or_a_port(sim: Simulator) -> None:
    with run_alone("--app", "nonsense") as process:
        assert "is not ID:SECRET" in process.communicate(timeout=10)[1]
        assert process.returncode == 2
    with run_alone("--port", str(urlsplit(sim.url).port)) as process:
        assert "cannot listen on" in process.communicate(timeout=10)[1]
        assert process.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="NOT TESTED: there is no /dev/full")
def test_run_alone_it_says_that_what_to_export_cannot_be_written() -> None:
    with open("/dev/full", "w") as full, run_alone(out=full) as process:
        errors = process.communicate(timeout=10)[1]
    assert process.returncode == 1
    assert errors.splitlines()[1:] == ["standard output cannot be written: No space left on device"]


def test_run_alone_it_prints_what_to_export_for_each_application() -> None:
    with run_alone("--app", "a:my secret", "--app", "b:c") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(5)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    url = lines[2].partition("=")[2]
    assert url.startswith("http://127.0.0.1:")
    assert lines[2:] == [
        f"export PLATFORM_BASE_URL={url}",
        "export APP_ID=a APP_SECRET='my secret'",
        "# or: export APP_ID=b APP_SECRET=c",
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--lifetime-s", "-1"), ("--grace-s", "nan"), ("--latency-ms", "inf"), ("--latency-ms", "many"), ("--port", "-1")],
)
def test_run_alone_it_refuses_a_number_that_makes_no_sense(option: str, value: str) -> None:
    with run_alone(f"{option}={value}") as process:
        errors = process.communicate(timeout=10)[1]
    assert process.returncode == 2
    assert f"argument {option}: {value!r} is not a" in errors


def test_the_help_names_everything_that_it_serves_and_takes() -> None:
    with run_alone("--help") as process:
        text = process.communicate(timeout=10)[0]
    served = [TOKEN_PATH, TICKET_PATH, CHECK_PATH, USER_COUNT_PATH, APP_ACCESS_PATH]
    taken = ["--host", "--port", "--app", "--lifetime-s", "--grace-s", "--latency-ms", "--style"]
    assert [word for word in served + taken if word not in text] == []


def test_nothing_outside_the_package_and_the_standard_library_is_imported() -> None:
    package = Path(platform_simulator.__file__).parent
    for module in package.rglob("*.py"):
        for line in module.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                name = words[1].split(".")[0]
                assert name in {package.name, *sys.stdlib_module_names}, f"{module.name}: {line}"


def test_the_date_header_goes_by_the_clock_of_the_simulator_and_can_be_wrong_or_absent(
    sim: Simulator, clock: Callable[[], float], fetch: Callable[..., Any]
) -> None:
    def date() -> float | None:
        text = fetch("/OAuth2/checkCode", app_id="app1", type="js_ticket", code="x")[1]["Date"]
        return parsedate_to_datetime(text).timestamp() if text else None

    assert date() == clock()
    sim.date_offset_s = 86400
    assert date() == clock() + 86400
    sim.date_offset_s = None
    assert date() is None
