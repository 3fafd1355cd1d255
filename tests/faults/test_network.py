"""A platform that cannot be reached: refused, silent, badly proved, or behind a proxy that fails. Whole runs."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trustme

from platform_simulator import TICKET_PATH, TOKEN_PATH, Fault
from support.flow import Deployment
from support.planted import plant
from support.redis_server import closed_port
from support.world import World
from token_refresher.domain.model import Kind, Outcome, Target

KINDS = [Kind.ACCESS_TOKEN, Kind.JS_TICKET]
# Short enough to wait for where nothing comes, long enough for a busy machine.
QUICK = {"request_total_s": 1.0, "connect_timeout_s": 0.5}
UTC = datetime.timezone.utc

Behaviour = Callable[[socket.socket], object]


class Front:
    """A server that does the same with every connection, and keeps all that it was sent."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behave, self._tls = behave, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = bytearray()
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._behave(sock)

    def read(self, sock: socket.socket) -> bytes:
        more = sock.recv(65_536)
        self.received += more
        return more

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def fronts() -> Iterator[Callable[..., Front]]:
    """Start a Front: `say` is sent after the first bytes (None: nothing ever), then it listens or ends."""
    with ExitStack() as stack:

        def start(say: bytes | None = None, *, then_end: bool = False, tls: ssl.SSLContext | None = None) -> Front:
            def behave(sock: socket.socket) -> None:
                if front.read(sock) and say is not None:
                    sock.sendall(say)
                while not then_end and front.read(sock):
                    pass

            front = Front(behave, tls)
            stack.callback(front.stop)
            return front

        yield start


def _tls(authority: trustme.CA, host: str = "127.0.0.1", ends: datetime.datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, not_after=ends).configure_cert(context)
    return context


def _old_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = _tls(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def attempts_of(deployment: Deployment) -> list[tuple[str, bool]]:
    """The last attempt on each credential, and whether its TTL is its whole life."""
    snapshots = [deployment.refresher().store.read(Target(deployment.app_ids[0], kind)) for kind in KINDS]
    return [(each.lease.attempt, each.readable_s >= each.seconds_left - 1) for each in snapshots]


def assert_stood(deployment: Deployment, outage: dict[str, str], code: str, words: str = "") -> None:
    """One run with these settings, in which nothing can be reached, and the next one when all is well again."""
    codes, requests = [deployment.code(kind) for kind in KINDS], deployment.simulator.count()
    attempts = attempts_of(deployment)
    before, deployment.environ = deployment.environ, deployment.environ | outage
    report = deployment.run()
    assert [each.outcome for each in report.targets] == [Outcome.NOT_SENT, Outcome.NOT_SENT]
    assert [each.failure.code for each in report.targets if each.failure] == [code, code]
    assert all(words in each.failure.message for each in report.targets if each.failure)
    # The connection comes before the lease: no attempt began, no life was cut, and nothing has to be asked about.
    assert attempts_of(deployment) == attempts
    assert all(each.settled for each in report.targets)
    assert [deployment.code(kind) for kind in KINDS] == codes
    assert deployment.simulator.count() == requests
    deployment.environ = before
    report = deployment.tick()
    assert [each.outcome for each in report.targets] == [Outcome.ISSUED, Outcome.ISSUED]
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)


@pytest.fixture
def deployment(world: World) -> Deployment:
    """Codes are stored, and so old that both are due."""
    deployment = Deployment(world, **QUICK)
    deployment.age()
    return deployment


def test_a_platform_that_refuses_connections(deployment: Deployment) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    assert_stood(deployment, {"PLATFORM_BASE_URL": url}, "not_sent_connect", "Connection refused")


def test_a_platform_whose_queue_is_full_so_that_nothing_answers(deployment: Deployment) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert_stood(deployment, {"PLATFORM_BASE_URL": url}, "not_sent_connect")


def test_a_platform_whose_name_is_not_known(deployment: Deployment) -> None:
    assert_stood(deployment, {"PLATFORM_BASE_URL": "https://platform.invalid"}, "not_sent_dns")


TLS: dict[str, tuple[Callable[[trustme.CA], ssl.SSLContext | None], str]] = {
    "expired": (lambda ca: _tls(ca, ends=datetime.datetime(2020, 1, 1, tzinfo=UTC)), "expired"),
    "for another host": (lambda ca: _tls(ca, "platform.test"), "127.0.0.1"),
    "signed by nobody known": (lambda ca: _tls(trustme.CA()), "certificate"),
    "of an old version": (_old_tls, "TLS could not be set up"),
    "a handshake that hangs": (lambda ca: None, "TLS could not be set up"),
}


@pytest.mark.parametrize("what", TLS)
def test_a_platform_whose_tls_will_not_do(
    deployment: Deployment, fronts: Callable[..., Front], tmp_path: Path, what: str
) -> None:
    make, words = TLS[what]
    authority, bundle = trustme.CA(), str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(bundle)
    front = fronts(tls=make(authority))
    outage = {"PLATFORM_BASE_URL": f"https://127.0.0.1:{front.port}", "PLATFORM_CA_BUNDLE": bundle}
    assert_stood(deployment, outage, "not_sent_tls", words)
    assert front.connections
    assert deployment.world.secrets[deployment.app_ids[0]].encode() not in front.received


PROXIES: dict[str, tuple[bytes | None, str]] = {
    "asks for another password": (b"HTTP/1.1 407 Unauthorized\r\nContent-Length: 0\r\n\r\n", "407"),
    "dies in the middle of its answer": (b"HTTP/1.1 2", ""),
    "dies without an answer": (b"", ""),
    "hangs": (None, ""),
}


@pytest.mark.parametrize("what", PROXIES)
def test_a_proxy_that(deployment: Deployment, fronts: Callable[..., Front], what: str) -> None:
    say, words = PROXIES[what]
    front, password = fronts(say, then_end=say is not None), plant("proxy-password")
    outage = {
        "PLATFORM_BASE_URL": "https://platform.invalid",
        "PLATFORM_HTTPS_PROXY": f"http://user:{password}@127.0.0.1:{front.port}",
    }
    assert_stood(deployment, outage, "not_sent_proxy", words)
    assert b"CONNECT platform.invalid:443" in front.received
    assert deployment.world.secrets[deployment.app_ids[0]].encode() not in front.received


def test_a_proxy_that_is_not_there(deployment: Deployment) -> None:
    proxy = f"http://127.0.0.1:{closed_port()}"
    outage = {"PLATFORM_BASE_URL": "https://platform.invalid", "PLATFORM_HTTPS_PROXY": proxy}
    assert_stood(deployment, outage, "not_sent_proxy", "Connection refused")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_platform_that_sends_its_clients_to_another_host_gets_none_of_them_there(
    deployment: Deployment, fronts: Callable[..., Front], status: int
) -> None:
    canary = fronts(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for path in (TOKEN_PATH, TICKET_PATH):
        deployment.simulator.script(path, Fault.redirect(status, f"http://127.0.0.1:{canary.port}{path}"))
    report = deployment.run()
    assert [each.failure.code for each in report.targets if each.failure] == ["bad_answer"] * 2
    assert canary.connections == 0
    deployment.tick(2)
    assert [deployment.fetches(kind) for kind in KINDS] == [2, 2]
    assert (deployment.dead, deployment.missing) == ([], 0)
