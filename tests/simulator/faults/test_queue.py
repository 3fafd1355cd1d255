"""Which request meets which planned fault or gate."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from platform_simulator import TICKET_PATH, TOKEN_PATH, Fault, Simulator

Post = Callable[..., Any]
SendToken = Callable[[], socket.socket]


def read_all(sock: socket.socket) -> bytes:
    """Everything until the end; raises ConnectionResetError for a reset."""
    parts = []
    while part := sock.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def issued(sim: Simulator) -> int:
    return len(sim.issued("app1", "access_token"))


def test_scripts_queue_up_by_path_and_application(sim: Simulator, get_token: Post, get_ticket: Post) -> None:
    sim.script(TOKEN_PATH, Fault.platform_status(4001), app_id="app2")
    sim.script(TOKEN_PATH, Fault.platform_status(4002), times=2)
    sim.script(TOKEN_PATH, Fault.platform_status(4003), times=None)
    sim.script(TICKET_PATH, Fault.platform_status(4004))
    assert [get_token()["status"] for _ in range(4)] == ["4002", "4002", "4003", "4003"]
    assert get_ticket()["status"] == "4004"
    sim.clear_faults()
    assert get_token()["status"] == "2000"


def test_a_script_for_no_request_and_a_hold_nowhere_are_errors(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="times"):
        sim.script(TOKEN_PATH, Fault.html(), times=0)
    with pytest.raises(ValueError, match="where"):
        sim.hold(TOKEN_PATH, "between")  # type: ignore[arg-type]


@pytest.mark.parametrize(("where", "codes_while_held"), [("before", 0), ("after", 1)])
def test_a_held_request_waits_on_its_side_of_the_issue(
    sim: Simulator, send_token: SendToken, where: Any, codes_while_held: int
) -> None:
    gate = sim.hold(TOKEN_PATH, where)
    sock = send_token()
    gate.wait_reached()
    sim.wait_for_request(TOKEN_PATH)
    assert issued(sim) == codes_while_held
    gate.release()
    assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK")
    gate.wait_passed()
    assert issued(sim) == 1


def test_a_hold_goes_together_with_a_fault(sim: Simulator, send_token: SendToken) -> None:
    gate = sim.hold(TOKEN_PATH, "after", app_id="app1")
    sim.script(TOKEN_PATH, Fault.cut(executed=True))
    sock = send_token()
    gate.wait_reached()
    gate.release()
    with pytest.raises(ConnectionResetError):
        read_all(sock)


def test_waiting_in_vain_is_a_timeout_error(sim: Simulator) -> None:
    gate = sim.hold(TOKEN_PATH, "before")
    for wait in (gate.wait_reached, gate.wait_passed):
        with pytest.raises(TimeoutError):
            wait(0.001)
    with pytest.raises(TimeoutError):
        sim.wait_for_request(TOKEN_PATH, timeout_s=0.001)
