"""A running simulator with a clock of its own, and plain clients to call it with."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from platform_simulator import Simulator

# Only a bug makes a test wait this long.
TIMEOUT_S = 10.0
FORM = "application/x-www-form-urlencoded"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def advance(clock: Clock) -> Callable[[float], None]:
    return clock.advance


@pytest.fixture
def sim(clock: Clock, request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """A started simulator; `indirect` parameters are further arguments of its constructor."""
    more: dict[str, Any] = getattr(request, "param", {})
    with Simulator({"app1": "secret1", "app2": "secret2"}, clock=clock, **more) as simulator:
        yield simulator


@pytest.fixture
def fetch(sim: Simulator) -> Callable[..., tuple[int, http.client.HTTPMessage, bytes]]:
    """Send a form and return HTTP status, headers and body."""

    def call(path: str, **form: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        address = urlsplit(sim.url).netloc
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
        try:
            connection.request("POST", path, urlencode(form), {"Content-Type": FORM})
            with connection.getresponse() as response:
                return response.status, response.headers, response.read()
        finally:
            connection.close()

    return call


@pytest.fixture
def post(fetch: Callable[..., tuple[int, Any, bytes]]) -> Callable[..., Any]:
    """Send a form and return the JSON answer."""
    return lambda path, **form: json.loads(fetch(path, **form)[2])


@pytest.fixture
def get_token(post: Callable[..., Any]) -> Callable[..., Any]:
    """Fetch app1's access_token; returns the whole answer."""
    return lambda: post("/OAuth2/token", app_id="app1", secret="secret1", grant_type="client_credential")


@pytest.fixture
def get_ticket(sim: Simulator, post: Callable[..., Any]) -> Callable[..., Any]:
    """Fetch app1's js_ticket with the newest valid token; returns the whole answer."""

    def call() -> Any:
        token = sim.newest("app1", "access_token") or sim.issue("app1", "access_token")
        return post("/OAuth2/ticket", app_id="app1", access_token=token.code, type="js_ticket")

    return call


@pytest.fixture
def check(post: Callable[..., Any]) -> Callable[..., Any]:
    """Ask checkCode about a credential of app1; returns the whole answer."""
    return lambda kind, code: post("/OAuth2/checkCode", app_id="app1", type=kind, code=code)


@pytest.fixture
def send(sim: Simulator) -> Iterator[Callable[..., socket.socket]]:
    """Send a form on a fresh socket and return the socket, the answer not read."""
    opened: list[socket.socket] = []

    def call(path: str, **form: str) -> socket.socket:
        parts = urlsplit(sim.url)
        sock = socket.create_connection((parts.hostname or "", parts.port or 0), TIMEOUT_S)
        opened.append(sock)
        body = urlencode(form)
        head = f"POST {path} HTTP/1.1\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}"
        sock.sendall(f"{head}\r\n\r\n{body}".encode())
        return sock

    yield call
    for sock in opened:
        sock.close()


@pytest.fixture
def send_token(send: Callable[..., socket.socket]) -> Callable[[], socket.socket]:
    """Ask for app1's access_token; returns the socket, the answer not read."""
    return lambda: send("/OAuth2/token", app_id="app1", secret="secret1", grant_type="client_credential")
