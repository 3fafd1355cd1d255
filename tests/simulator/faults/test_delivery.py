"""Faults of connection and reply: each does what it says, and truth and record know of it."""

from __future__ import annotations

import http.client
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from platform_simulator import TOKEN_PATH, WRONG_TYPES, Fault, Gate, Simulator

Post = Callable[..., Any]
Fetch = Callable[..., tuple[int, http.client.HTTPMessage, bytes]]
SendToken = Callable[[], socket.socket]
TOKEN = {"app_id": "app1", "secret": "secret1", "grant_type": "client_credential"}


def read_all(sock: socket.socket) -> bytes:
    """Everything until the end; raises ConnectionResetError for a reset."""
    parts = []
    while part := sock.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def issued(sim: Simulator) -> int:
    return len(sim.issued("app1", "access_token"))


REPLIES = [
    (Fault.status(503), 503, b""),
    (Fault.status(429, b"slow", {"Retry-After": "30"}), 429, b"slow"),
    (Fault.html(), 200, b"<!DOCTYPE"),
    (Fault.empty(), 200, b""),
    (Fault.raw_json(b"[1", executed=False), 200, b"[1"),
    (Fault.redirect(307, "http://127.0.0.2/"), 307, b""),
]


@pytest.mark.parametrize(("fault", "status", "start"), REPLIES, ids=lambda value: str(value)[:20])
def test_a_spoiled_reply_issues_nothing_and_the_next_is_as_usual(
    sim: Simulator, fetch: Fetch, fault: Fault, status: int, start: bytes
) -> None:
    sim.script(TOKEN_PATH, fault)
    got, _headers, body = fetch(TOKEN_PATH, **TOKEN)
    assert got == status
    assert body[: len(start) or None] == start
    assert issued(sim) == 0
    assert (sim.requests[0].outcome, sim.requests[0].executed) == (fault.name, False)
    assert json.loads(fetch(TOKEN_PATH, **TOKEN)[2])["status"] == "2000"


@pytest.mark.parametrize("make", [Fault.html, Fault.empty])
def test_a_spoiled_reply_may_still_issue_a_code(sim: Simulator, fetch: Fetch, make: Callable[..., Fault]) -> None:
    sim.script(TOKEN_PATH, make(executed=True))
    fetch(TOKEN_PATH, **TOKEN)
    assert (issued(sim), sim.requests[0].executed) == (1, True)


def test_headers_of_a_fault_are_sent(sim: Simulator, fetch: Fetch) -> None:
    sim.script(TOKEN_PATH, Fault.status(429, headers={"Retry-After": "30"}))
    sim.script(TOKEN_PATH, Fault.redirect(302, "http://127.0.0.2/x"))
    sim.script(TOKEN_PATH, Fault.many_headers(90))
    assert fetch(TOKEN_PATH, **TOKEN)[1]["Retry-After"] == "30"
    assert fetch(TOKEN_PATH, **TOKEN)[1]["Location"] == "http://127.0.0.2/x"
    assert len(fetch(TOKEN_PATH, **TOKEN)[1]) > 90


def test_a_scripted_platform_status_has_no_data(sim: Simulator, get_token: Post) -> None:
    sim.script(TOKEN_PATH, Fault.platform_status(2011, "fine"))
    sim.script(TOKEN_PATH, Fault.white_list())
    assert get_token() == {"status": "2011", "message": "fine", "data": []}
    refused = get_token()
    assert refused["status"] == "4103"
    assert "ip" in refused["message"]
    assert issued(sim) == 0
    assert [r.status for r in sim.requests] == [2011, 4103]


@pytest.mark.parametrize("executed", [True, False])
def test_a_cut_connection_is_reset(sim: Simulator, send_token: SendToken, executed: bool) -> None:
    sim.script(TOKEN_PATH, Fault.cut(executed))
    with pytest.raises(ConnectionResetError):
        read_all(send_token())
    assert issued(sim) == int(executed)
    assert sim.requests[0].executed is executed


def test_a_connection_cut_in_the_middle_has_issued_a_code(sim: Simulator, send_token: SendToken) -> None:
    sim.script(TOKEN_PATH, Fault.cut_mid_answer())
    with pytest.raises(ConnectionResetError):
        read_all(send_token())
    assert issued(sim) == 1


@pytest.mark.parametrize("executed", [True, False])
def test_no_answer_keeps_the_connection_until_the_simulator_stops(
    sim: Simulator, send_token: SendToken, executed: bool
) -> None:
    sim.script(TOKEN_PATH, Fault.no_answer(executed))
    sock = send_token()
    sim.wait_for_request(TOKEN_PATH)
    assert issued(sim) == int(executed)
    sim.stop()
    assert read_all(sock) == b""


def test_a_late_request_is_executed_after_the_client_has_left(sim: Simulator, send_token: SendToken) -> None:
    gate = Gate()
    sim.script(TOKEN_PATH, Fault.late(gate))
    sock = send_token()
    gate.wait_reached()
    sim.wait_for_request(TOKEN_PATH)
    sock.close()
    assert (issued(sim), sim.requests[0].outcome) == (0, "waiting")
    gate.release()
    gate.wait_passed()
    assert (issued(sim), sim.requests[0].outcome) == (1, "late")
    assert sim.requests[0].executed


def test_a_late_request_may_wait_for_time_instead_of_a_gate(sim: Simulator, send_token: SendToken) -> None:
    sim.script(TOKEN_PATH, Fault.late(0.001))
    executed = sim.hold(TOKEN_PATH, "after")
    send_token()
    executed.wait_reached()
    assert issued(sim) == 1


@pytest.mark.parametrize("after", [3600.0, Gate()])
def test_a_late_request_is_never_executed_once_the_simulator_has_stopped(
    sim: Simulator, send_token: SendToken, after: float | Gate
) -> None:
    sim.script(TOKEN_PATH, Fault.late(after))
    sock = send_token()
    sim.wait_for_request(TOKEN_PATH)
    sim.stop()
    assert read_all(sock) == b""
    assert (issued(sim), sim.requests[0].outcome) == (0, "stopped")


def test_a_truncated_answer_is_half_of_one(sim: Simulator, fetch: Fetch) -> None:
    sim.script(TOKEN_PATH, Fault.truncated())
    sim.script(TOKEN_PATH, Fault.truncated(honest_length=False))
    body = fetch(TOKEN_PATH, **TOKEN)[2]
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    with pytest.raises(http.client.IncompleteRead):
        fetch(TOKEN_PATH, **TOKEN)
    assert issued(sim) == 2


def test_a_huge_answer_is_valid_json_of_that_size(sim: Simulator, fetch: Fetch) -> None:
    sim.script(TOKEN_PATH, Fault.huge(3_000_001))
    body = fetch(TOKEN_PATH, **TOKEN)[2]
    assert len(body) > 3_000_001
    assert json.loads(body)["status"] == "2000"


def test_a_gzip_bomb_is_small_on_the_wire(sim: Simulator, fetch: Fetch) -> None:
    sim.script(TOKEN_PATH, Fault.gzip_bomb(5_000_000))
    _status, headers, body = fetch(TOKEN_PATH, **TOKEN)
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 50_000
    assert len(zlib.decompress(body, 31)) > 5_000_000


def test_endless_chunks_end_only_with_the_client(sim: Simulator, send_token: SendToken) -> None:
    sim.script(TOKEN_PATH, Fault.endless_chunks())
    sock = send_token()
    read = 0
    while read < 2_000_000:
        read += len(sock.recv(65_536))
    assert issued(sim) == 1


def test_a_dripped_answer_is_whole_in_the_end(sim: Simulator, get_token: Post) -> None:
    sim.script(TOKEN_PATH, Fault.dripped())
    assert get_token()["status"] == "2000"


def test_latency_comes_after_the_issue_and_alters_nothing(sim: Simulator, get_token: Post) -> None:
    sim.script(TOKEN_PATH, Fault.latency(0.001))
    sim.script(TOKEN_PATH, Fault.platform_status(4000).after(0.001))
    assert get_token()["status"] == "2000"
    assert get_token()["status"] == "4000"
    assert [r.outcome for r in sim.requests] == ["latency", "4000"]


def test_every_wrong_shape_differs_from_the_true_answer(sim: Simulator, fetch: Fetch) -> None:
    for variant in WRONG_TYPES:
        sim.script(TOKEN_PATH, Fault.wrong_types(variant))
        _status, _headers, body = fetch(TOKEN_PATH, **TOKEN)
        code = sim.issued("app1", "access_token")[-1]
        data = {"access_token": code.code, "expires_in": 7200}
        assert body != json.dumps({"status": "2000", "message": "ok", "data": data}).encode(), variant
    sim.rotate_secret("app1", "another")
    for variant in WRONG_TYPES:
        sim.script(TOKEN_PATH, Fault.wrong_types(variant))
        fetch(TOKEN_PATH, **TOKEN)


def test_an_unknown_wrong_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="top_list"):
        Fault.wrong_types("colour")
