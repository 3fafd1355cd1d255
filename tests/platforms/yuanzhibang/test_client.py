"""The client of the open platform, against the simulator over HTTP and against servers that misbehave."""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import json
import logging
import queue
import re
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from platform_simulator import (
    CHECK_PATH,
    TICKET_PATH,
    TOKEN_PATH,
    AnswerStyle,
    Fault,
    Simulator,
)
from support.endpoints import endpoints_at
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import NotSentError, PlatformError, RefusedError, UnknownOutcomeError
from token_refresher.domain.model import App, Kind, Secret
from token_refresher.domain.policy import Policy
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform

# Only a bug makes a test wait this long.
_WAIT_S = 10.0
_PATIENT = Policy(request_total_s=_WAIT_S)
_HASTY = Policy(request_total_s=0.3)
_SECRET = "the-secret-of-app1"
_PASSWORD = "pass/w:rd"
_CODE, _TOKEN = "a/code", "a-token&"
_TICKET_JSON = b'{"status": "2000", "message": "ok", "data": {"ticket": "abc", "expires_in": 7200}}'

Behaviour = Callable[[socket.socket], None]


def _never() -> float:
    return steady_clock() + 1000


def _app(base: str) -> App:
    return App("app1", Secret(_SECRET), endpoints=endpoints_at(base, TOKEN_PATH, TICKET_PATH, CHECK_PATH, TOKEN_PATH))


def _ok(body: bytes = _TICKET_JSON, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def _read_request(sock: socket.socket) -> bytes:
    """One request, or as much of it as came before the client left."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + _length(data):
            more = sock.recv(65_536)
            if not more:
                break
            data += more
    return data


def _length(request: bytes) -> int:
    for line in request.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


class Raw:
    """A server that does with each connection what it is told to, and remembers how many came."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behave, self._tls = behave, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.connections: list[socket.socket] = []
        self.requests: queue.Queue[bytes] = queue.Queue()
        self.ends: queue.Queue[str] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(_WAIT_S)
                self.connections.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self.connections.append(sock)
            self._behave(sock)
        sock.close()

    def answer(self, *replies: bytes) -> Behaviour:
        """Answer one request after the other, then wait for the client's end and note which kind it is."""

        def behave(sock: socket.socket) -> None:
            for reply in replies:
                self.requests.put(_read_request(sock))
                sock.sendall(reply)
            self.ends.put(_end_of(sock))

        return behave

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_WAIT_S)
        for sock in self.connections:
            sock.close()


def _end_of(sock: socket.socket) -> str:
    try:
        more = sock.recv(65_536)
    except ConnectionResetError:
        return "reset"
    except ssl.SSLError:
        # A last alert of TLS: what follows it shows below TLS.
        with socket.socket(fileno=sock.detach()) as below:
            below.settimeout(_WAIT_S)
            return _end_of(below)
    return f"{len(more)} more bytes" if more else "closed"


@pytest.fixture
def serve() -> Iterator[Callable[..., Raw]]:
    """Start a Raw server; `replies` instead of a behaviour make one that answers and notes the end."""
    with contextlib.ExitStack() as started:

        def start(behave: Behaviour | None = None, *replies: bytes, tls: ssl.SSLContext | None = None) -> Raw:
            server = Raw(behave or (lambda sock: server.answer(*replies)(sock)), tls)
            started.callback(server.stop)
            return server

        yield start


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator({"app1": _SECRET}) as simulator:
        yield simulator


@pytest.fixture
def connect() -> Iterator[Callable[..., YuanzhibangPlatform]]:
    """A YuanzhibangPlatform that is closed after the test, patient unless told otherwise."""
    with contextlib.ExitStack() as opened:

        def make(**settings: Any) -> YuanzhibangPlatform:
            return opened.enter_context(YuanzhibangPlatform(**{"policy": _PATIENT, "pool_size": 4, **settings}))

        yield make
    for thread in _flights():
        thread.join(_WAIT_S)
    assert not _flights()


def _flights() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "token-refresher-call"]


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_bundle(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


def _server_tls(ca: trustme.CA, host: str = "127.0.0.1", **settings: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host, **settings).configure_cert(context)
    return context


def _fails(call: Callable[[], object], *codes: str) -> PlatformError:
    """The error of a call, which is found to hold no secret, no requests, and no trace of either."""
    with pytest.raises(PlatformError) as caught:
        call()
    error = caught.value
    assert error.code in codes
    assert error.app_id == "app1"
    # What did not get there says where it was to go.
    way = re.search(r" \(to [^ ]*/[^ ]+( through (a|the) proxy.*)?\)$", error.what)
    assert bool(way) is error.code.startswith("not_sent_")
    shown = f"{error!r} {error} {vars(error)} " + "".join(traceback.format_exception(error))
    for secret in (_SECRET, _PASSWORD, _CODE, _TOKEN):
        assert secret not in shown
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


# -- what the platform documents -------------------------------------------------------------------


@pytest.mark.parametrize("style", list(AnswerStyle))
def test_every_documented_style_of_answer_is_understood(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], style: AnswerStyle
) -> None:
    sim.style = style
    app, platform = _app(sim.url), connect()
    before = steady_clock()
    token = platform.fetch_access_token(app, _never())
    ticket = platform.fetch_js_ticket(app, token.code, _never())
    for kind, issued in ((Kind.ACCESS_TOKEN, token), (Kind.JS_TICKET, ticket)):
        assert sim.valid("app1", kind.value, issued.code)
        assert (issued.lifetime_s, issued.warnings) == (7200, ())
        assert before <= issued.sent_at <= steady_clock()
        checked = platform.check_code(app, kind, issued.code, _never())
        assert checked.valid
        assert checked.expires_at == int(sim.valid_until("app1", kind.value, issued.code) or 0)
    user = platform.exchange_login_code(app, sim.login_code("app1", "visitor"), _never())
    assert (user.open_id, user.scope, user.lifetime_s) == ("visitor", "sns_base", 7200)


def test_a_code_the_platform_refuses_is_an_answer_and_not_an_error(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform]
) -> None:
    checked = connect().check_code(_app(sim.url), Kind.JS_TICKET, _CODE, _never())
    assert (checked.valid, checked.expires_at) == (False, None)


def test_definite_noes_of_the_platform_say_why(sim: Simulator, connect: Callable[..., YuanzhibangPlatform]) -> None:
    app, platform = _app(sim.url), connect()
    _fails(lambda: platform.fetch_js_ticket(app, _TOKEN, _never()), "token_invalid")
    _fails(lambda: platform.exchange_login_code(app, _CODE, _never()), "code_invalid")
    sim.white_list("app1", ["192.0.2.1"])
    _fails(lambda: platform.fetch_access_token(app, _never()), "not_white_listed")
    sim.white_list("app1", None)
    sim.rotate_secret("app1", "another")
    error = _fails(lambda: platform.fetch_access_token(app, _never()), "wrong_secret")
    assert isinstance(error, RefusedError)
    assert not isinstance(error, NotSentError)
    assert error.status == 4000


@pytest.mark.parametrize(
    ("status", "code"),
    [(4000, "app_denied"), (4103, "no_permission"), (4104, "not_added"), (4999, "app_denied")],
)
def test_a_refusal_to_check_is_an_error_and_no_answer(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], status: int, code: str
) -> None:
    sim.script(CHECK_PATH, Fault.platform_status(status, "no"))
    platform = connect()
    error = _fails(lambda: platform.check_code(_app(sim.url), Kind.JS_TICKET, _CODE, _never()), code)
    assert (error.status, error.kind) == (status, "js_ticket")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.platform_status(4000, "app_id is invalid"), "app_denied"),
        (Fault.platform_status(4000, "app_id or secret is wrong"), "app_denied"),
        (Fault.platform_status(4000, "应用已停用"), "app_denied"),
        (Fault.platform_status(4000, "app_id 系统异常"), "app_denied"),
        (Fault.platform_status(4101, ""), "app_denied"),
        (Fault.platform_status(4000, "system error"), "platform_refused"),
        (Fault.platform_status(4000, "服务器内部错误"), "platform_refused"),
        (Fault.platform_status(4000, "parameter open_id is missing"), "platform_refused"),
        (Fault.platform_status(4000, "system busy"), "rate_limited"),
        (Fault.platform_status(4000, "请求过于频繁"), "rate_limited"),
        (Fault.white_list(4000), "not_white_listed"),
        (Fault.status(403, b"<html>blocked</html>"), "platform_refused"),
        (Fault.status(404), "platform_refused"),
        (Fault.status(429, b"slow down"), "rate_limited"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_only_a_no_about_the_application_denies_it(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], fault: Fault, code: str
) -> None:
    sim.script(CHECK_PATH, fault)
    platform = connect()
    error = _fails(lambda: platform.check_code(_app(sim.url), Kind.JS_TICKET, _CODE, _never()), code)
    assert isinstance(error, RefusedError)
    assert error.of_caller == (code not in ("app_denied", "platform_refused") or error.status is None)


@pytest.mark.parametrize("http_status", [400, 499])
def test_a_no_may_come_with_an_http_error(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], http_status: int
) -> None:
    body = b'{"status": 4103, "message": "no", "data": []}'
    sim.script(TOKEN_PATH, Fault.status(http_status, body))
    platform = connect()
    error = _fails(lambda: platform.fetch_access_token(_app(sim.url), _never()), "no_permission")
    assert isinstance(error, RefusedError)


# Which instants are none, test_response says.
@pytest.mark.parametrize("said", [7200, None])
def test_an_expiry_that_is_no_instant_settles_nothing(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], said: Any
) -> None:
    code = sim.issue("app1", "js_ticket").code
    sim.script(CHECK_PATH, Fault.expiry(said))
    platform = connect()
    _fails(lambda: platform.check_code(_app(sim.url), Kind.JS_TICKET, code, _never()), "bad_answer")


@pytest.mark.parametrize(
    ("fault", "lifetime_s", "warnings"),
    [
        (Fault.expiry(60), 60, 0),
        (Fault.expiry("599"), 599, 0),
        (Fault.expiry(7201), 7200, 1),
        (Fault.expiry(1e12), 7200, 1),
        (Fault.code_length(128), 7200, 0),
        (Fault.code_length(512), 7200, 1),
        (Fault.unicode_code(), 7200, 0),
        (Fault.dripped(), 7200, 0),
        (Fault.wrong_types("byte_order_mark"), 7200, 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_odd_but_usable_answer_is_used(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], fault: Fault, lifetime_s: int, warnings: int
) -> None:
    app, platform = _app(sim.url), connect()
    token = platform.fetch_access_token(app, _never()).code
    sim.script(TICKET_PATH, fault)
    issued = platform.fetch_js_ticket(app, token, _never())
    assert sim.valid("app1", "js_ticket", issued.code)
    assert (issued.lifetime_s, len(issued.warnings)) == (lifetime_s, warnings)


def test_an_answer_that_a_proxy_packed_is_used(connect: Callable[..., YuanzhibangPlatform], serve: Any) -> None:
    server = serve(None, _ok(gzip.compress(_TICKET_JSON, mtime=0), "Content-Encoding: gzip"))
    assert connect().fetch_js_ticket(_app(server.url), _TOKEN, _never()).code == "abc"


@pytest.mark.parametrize("coding", ["UTF-8", "identity, identity", "gzip", "br", "deflate"])
def test_a_content_encoding_that_is_none_does_not_hide_a_code(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, coding: str
) -> None:
    server = serve(None, _ok(_TICKET_JSON, f"Content-Encoding: {coding}"))
    assert connect().fetch_js_ticket(_app(server.url), _TOKEN, _never()).code == "abc"


@pytest.mark.parametrize("scope", [b"[]", b"7", b"null"])
def test_a_user_s_scope_is_a_text(connect: Callable[..., YuanzhibangPlatform], serve: Any, scope: bytes) -> None:
    user = b'{"status": 2000, "message": "", "data": {"open_id": "visitor", "expires_in": 7200, "scope": %b}}'
    server = serve(None, _ok(user % scope))
    _fails(lambda: connect().exchange_login_code(_app(server.url), _CODE, _never()), "bad_answer")


def test_the_platforms_clock_is_handed_on(connect: Callable[..., YuanzhibangPlatform], serve: Any) -> None:
    dated = _ok(_TICKET_JSON, "Date: Tue, 07 Jun 2022 04:41:46 GMT")
    server = serve(None, dated, _ok(_TICKET_JSON, "Date: yesterday"), _ok())
    app, platform = _app(server.url), connect()
    seen = [platform.fetch_js_ticket(app, _TOKEN, _never()).server_time for _ in range(3)]
    assert seen == [1654576906.0, None, None]


# -- what nobody can rely on -------------------------------------------------------------------------

_SHAPES = (
    "top_list", "status_missing", "status_word", "message_list", "data_missing", "data_text", "code_missing",
    "code_blank", "expiry_missing", "expiry_nan", "expiry_huge", "duplicate_keys", "deep", "not_utf8", "utf16",
)  # fmt: skip
_UNKNOWN: list[tuple[Fault, str]] = [
    (Fault.no_answer(executed=True), "no_answer"),
    (Fault.no_answer(executed=False), "no_answer"),
    (Fault.dripped(0.05), "no_answer"),
    (Fault.cut(executed=True), "cut_answer"),
    (Fault.cut(executed=False), "cut_answer"),
    (Fault.cut_mid_answer(), "cut_answer"),
    (Fault.truncated(honest_length=False), "cut_answer"),
    (Fault.truncated(), "bad_answer"),
    (Fault.endless_chunks(), "bad_answer"),
    (Fault.huge(), "bad_answer"),
    (Fault.gzip_bomb(20_000_000), "bad_answer"),
    (Fault.many_headers(1000), "bad_answer"),
    (Fault.html(), "bad_answer"),
    (Fault.empty(), "bad_answer"),
    (Fault.code_length(4097), "bad_answer"),
    (Fault.platform_status(2011, "ok"), "bad_answer"),
    # Of statuses, lives and shapes one of each kind; all that there are, test_response judges.
    *((Fault.status(status, b"<html>"), "bad_answer") for status in (408, 500)),
    *((Fault.status(status, b'{"status": 2000, "data": {}}'), "bad_answer") for status in (400, 529)),
    (Fault.status(503, b'{"status": 4000, "message": "no", "data": []}'), "bad_answer"),
    (Fault.status(503, b"", {"Retry-After": " "}), "bad_answer"),
    *((Fault.expiry(said), "bad_answer") for said in (0, None)),
    *((Fault.wrong_types(way), "bad_answer") for way in _SHAPES),
]


@pytest.mark.parametrize(
    ("fault", "code"), _UNKNOWN, ids=[f"{number}-{fault.name}" for number, (fault, _) in enumerate(_UNKNOWN)]
)
def test_after_any_other_answer_nobody_knows(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], fault: Fault, code: str
) -> None:
    app, platform = _app(sim.url), connect(policy=_HASTY if code == "no_answer" else _PATIENT)
    token = sim.issue("app1", "access_token").code
    sim.script(TICKET_PATH, fault)
    error = _fails(lambda: platform.fetch_js_ticket(app, token, _never()), code)
    assert isinstance(error, UnknownOutcomeError)
    assert sim.count() == 1
    # Nothing of it is left in the way of the next request.
    assert sim.valid("app1", "js_ticket", connect().fetch_js_ticket(app, token, _never()).code)


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_is_not_followed_nor_its_body_read(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], serve: Any, status: int
) -> None:
    canary = serve(None, _ok())
    sim.script(TOKEN_PATH, Fault.redirect(status, canary.url + TOKEN_PATH))
    platform = connect()
    _fails(lambda: platform.fetch_access_token(_app(sim.url), _never()), "bad_answer")
    assert not canary.connections


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"\x00\xff" * 5000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nab",
    ],
    ids=range(14),
)
def test_what_is_not_http_never_escapes_as_something_else(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, answer: bytes
) -> None:
    def behave(sock: socket.socket) -> None:
        _read_request(sock)
        sock.sendall(answer)

    server = serve(behave)
    platform = connect()
    error = _fails(
        lambda: platform.fetch_access_token(_app(server.url), _never()), "cut_answer", "bad_answer", "no_answer"
    )
    assert isinstance(error, UnknownOutcomeError)


_BODIES = [b"", b"Too Many Requests", b"<html></html>", b"[]", b'{"status": 4000, "message": "secret", "data": []}']


@pytest.mark.parametrize(
    ("http_status", "body"), [*((429, body) for body in _BODIES), *((each, b"") for each in (420, 430, 503, 509, 529))]
)
def test_a_status_of_load_is_a_no_whatever_it_brings(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], http_status: int, body: bytes
) -> None:
    sim.script(TOKEN_PATH, Fault.status(http_status, body, {"Retry-After": "7"}))
    platform = connect()
    error = _fails(lambda: platform.fetch_access_token(_app(sim.url), _never()), "rate_limited")
    assert isinstance(error, RefusedError)
    assert (error.retryable, error.of_caller, error.retry_after_s) == (True, True, 7.0)
    assert str(http_status) in error.what


@pytest.mark.parametrize(
    ("http_status", "body"),
    [
        *((403, body) for body in _BODIES if b"4000" not in body),
        *((each, b"<html></html>") for each in (400, 401, 404, 405, 407, 413, 451)),
    ],
)
def test_a_gateway_s_refusal_is_a_no_that_quotes_nothing(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], http_status: int, body: bytes
) -> None:
    sim.script(TOKEN_PATH, Fault.status(http_status, body))
    platform = connect()
    code = "not_sent_proxy" if http_status == 407 else "platform_refused"
    error = _fails(lambda: platform.fetch_access_token(_app(sim.url), _never()), code)
    assert isinstance(error, RefusedError)
    assert (error.of_caller, error.retry_after_s, error.status) == (True, None, None)
    assert str(http_status) in error.what
    assert "html" not in error.what


def test_a_date_in_retry_after_counts_from_the_answer_s_own(
    connect: Callable[..., YuanzhibangPlatform], serve: Any
) -> None:
    date = "Date: Tue, 07 Jun 2022 04:41:46 GMT"
    until = "Retry-After: Tue, 07 Jun 2022 04:42:46 GMT"
    later = "Retry-After: Tue, 07 Jun 2044 04:42:46 GMT"
    answers = [_ok(b"", *lines).replace(b"200 OK", b"429 No") for lines in ((date, until), (until,), (later,))]
    server = serve(None, *answers)
    app, platform = _app(server.url), connect()
    waits = []
    for _ in answers:
        error = _fails(lambda: platform.fetch_access_token(app, _never()), "rate_limited")
        assert isinstance(error, RefusedError)
        waits.append(error.retry_after_s)
    assert waits == [60.0, 0.0, 300.0]


@pytest.mark.parametrize(
    ("interim", "times"),
    [(b"100 Continue", 1), (b"102 Processing", 20), (b"103 Early Hints\r\nLink: </a>", 1), (b"199 x", 1)],
)
def test_interim_answers_are_read_over(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, interim: bytes, times: int
) -> None:
    server = serve(None, (b"HTTP/1.1 %b\r\n\r\n" % interim) * times + _ok(), _ok())
    app, platform = _app(server.url), connect()
    for _ in range(2):
        assert platform.fetch_js_ticket(app, _TOKEN, _never()).code == "abc"
    assert len(server.connections) == 1


def test_an_endless_row_of_interim_answers_is_not_read(connect: Callable[..., YuanzhibangPlatform], serve: Any) -> None:
    def behave(sock: socket.socket) -> None:
        _read_request(sock)
        while True:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    server = serve(behave)
    platform = connect()
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "bad_answer")


# -- the request itself -------------------------------------------------------------------------------


def test_the_request_is_what_the_platform_documents_and_leaves_in_one_piece(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(None, _ok())
    pieces: list[bytes] = []
    send = socket.socket.sendall

    def sendall(sock: socket.socket, data: Any, *flags: int) -> None:
        if sock.getpeername()[1] == server.port:
            pieces.append(bytes(data))
        send(sock, data, *flags)

    monkeypatch.setattr(socket.socket, "sendall", sendall)
    connect().fetch_js_ticket(_app(server.url), _TOKEN, _never())
    request = server.requests.get(timeout=_WAIT_S)
    assert pieces == [request]
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == b"app_id=app1&access_token=a-token%26&type=js_ticket"
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /oauth2/ticket http/1.1"
    assert {"accept-encoding: identity", "content-type: application/x-www-form-urlencoded"} <= set(lines)


def test_cookies_are_not_kept(connect: Callable[..., YuanzhibangPlatform], serve: Any) -> None:
    server = serve(None, _ok(_TICKET_JSON, "Set-Cookie: id=1; Path=/"), _ok())
    app, platform = _app(server.url), connect()
    for _ in range(2):
        platform.fetch_js_ticket(app, _TOKEN, _never())
        assert b"cookie" not in server.requests.get(timeout=_WAIT_S).lower()


def test_odd_secrets_are_the_platforms_to_refuse(sim: Simulator, connect: Callable[..., YuanzhibangPlatform]) -> None:
    app = App("app1", Secret("\ud800\0\n猿"), endpoints=_app(sim.url).endpoints)
    with pytest.raises(RefusedError) as caught:
        connect().fetch_access_token(app, _never())
    assert caught.value.code == "wrong_secret"


def test_nothing_is_imported_before_the_first_request() -> None:
    heavy = ("requests", "urllib3", "ssl", "http.client", "email", "certifi")
    code = f"import sys, token_refresher.platforms.yuanzhibang.client; print([m for m in {heavy} if m in sys.modules])"
    src = Path(__file__).resolve().parents[3] / "src"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(src)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# -- connections ------------------------------------------------------------------------------------


def test_one_connection_serves_a_run_and_is_closed_with_it(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform], serve: Any
) -> None:
    app, platform = _app(sim.url), connect()
    token = platform.fetch_access_token(app, _never()).code
    ticket = platform.fetch_js_ticket(app, token, _never()).code
    platform.check_code(app, Kind.JS_TICKET, ticket, _never())
    assert len({request.peer for request in sim.requests}) == 1
    server = serve(None, _ok(), _ok())
    other = connect()
    for _ in range(2):
        other.fetch_js_ticket(_app(server.url), _TOKEN, _never())
    other.close()
    assert server.ends.get(timeout=_WAIT_S) == "closed"
    assert len(server.connections) == 1


def test_what_a_run_leaves_open_is_closed_though_somebody_keeps_it(serve: Any) -> None:
    server = serve(None, _ok())
    with YuanzhibangPlatform(policy=_PATIENT, pool_size=1) as platform:
        platform.fetch_js_ticket(_app(server.url), _TOKEN, _never())
        assert len(server.connections) == 1
    assert server.ends.get(timeout=_WAIT_S) == "closed"
    _fails(lambda: platform.fetch_js_ticket(_app(server.url), _TOKEN, _never()), "not_sent_connect")


def test_one_handshake_serves_a_run(
    connect: Callable[..., YuanzhibangPlatform], ca: trustme.CA, ca_bundle: str
) -> None:
    with Simulator({"app1": _SECRET}, tls=_server_tls(ca)) as sim:
        app, platform = _app(sim.url), connect(ca_bundle=ca_bundle)
        token = platform.fetch_access_token(app, _never()).code
        ticket = platform.fetch_js_ticket(app, token, _never()).code
        assert platform.check_code(app, Kind.JS_TICKET, ticket, _never()).valid
        assert len({request.peer for request in sim.requests}) == 1


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    connect: Callable[..., YuanzhibangPlatform], serve: Any
) -> None:
    def behave(sock: socket.socket) -> None:
        request = _read_request(sock)
        sock.sendall(_ok())
        sock.shutdown(socket.SHUT_RDWR)
        server.requests.put(request)

    server = serve(behave)
    app, platform = _app(server.url), connect()
    for turn in range(3):
        platform.fetch_js_ticket(app, _TOKEN, _never())
        server.requests.get(timeout=_WAIT_S)
        # The server has said goodbye by now, and on the loopback what is said has arrived.
        assert len(server.connections) == turn + 1


def test_connections_that_the_server_ends_do_not_disturb(
    connect: Callable[..., YuanzhibangPlatform], serve: Any
) -> None:
    server = serve(None, _ok(_TICKET_JSON, "Connection: close"))
    app, platform = _app(server.url), connect()
    for turn in range(3):
        assert platform.fetch_js_ticket(app, _TOKEN, _never()).code == "abc"
        assert len(server.connections) == turn + 1


def test_a_closed_run_sends_nothing_more(sim: Simulator, connect: Callable[..., YuanzhibangPlatform]) -> None:
    platform = connect()
    platform.close()
    platform.close()
    error = _fails(lambda: platform.fetch_access_token(_app(sim.url), _never()), "not_sent_connect")
    assert isinstance(error, NotSentError)
    assert sim.count() == 0


def test_many_threads_share_the_connections(sim: Simulator, connect: Callable[..., YuanzhibangPlatform]) -> None:
    app, platform = _app(sim.url), connect(pool_size=8)
    barrier, results = threading.Barrier(8), queue.Queue[object]()

    def work() -> None:
        try:
            barrier.wait(_WAIT_S)
            for _ in range(10):
                code = platform.fetch_access_token(app, _never()).code
                results.put(platform.check_code(app, Kind.ACCESS_TOKEN, code, _never()).valid)
        except BaseException as error:
            results.put(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_WAIT_S * 3)
    assert [results.get_nowait() for _ in range(80)] == [True] * 80
    assert len({request.peer for request in sim.requests}) <= 8


def test_a_request_that_is_given_up_is_reset_and_not_closed(
    connect: Callable[..., YuanzhibangPlatform], serve: Any
) -> None:
    server = serve(None, b"HTTP/1.1 200 OK\r\n")
    platform = connect(policy=_HASTY)
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "no_answer")
    assert server.ends.get(timeout=_WAIT_S) == "reset"


def test_over_tls_too_a_request_that_is_given_up_is_reset(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str
) -> None:
    server = serve(None, b"HTTP/1.1 200 OK\r\n", tls=_server_tls(ca))
    platform = connect(policy=_HASTY, ca_bundle=ca_bundle)
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "no_answer")
    assert server.ends.get(timeout=_WAIT_S) == "reset"


def test_an_answer_slower_than_one_read_may_take_is_not_waited_for(
    connect: Callable[..., YuanzhibangPlatform], sim: Simulator
) -> None:
    sim.script(TOKEN_PATH, Fault.no_answer(executed=True))
    platform = connect(policy=Policy(read_timeout_s=0.2, request_total_s=_WAIT_S))
    error = _fails(lambda: platform.fetch_access_token(_app(sim.url), _never()), "no_answer")
    assert isinstance(error, UnknownOutcomeError)


def test_a_question_is_heard_as_long_as_a_call_may_take(
    sim: Simulator, connect: Callable[..., YuanzhibangPlatform]
) -> None:
    """What comes late still shows that a credential was superseded; nothing at all shows nothing."""
    sim.script(CHECK_PATH, Fault.latency(0.2), times=None)
    platform = connect(policy=Policy(read_timeout_s=0.1, request_total_s=_WAIT_S))
    assert not platform.check_code(_app(sim.url), Kind.JS_TICKET, _CODE, _never()).valid


def test_a_question_ends_with_its_call(sim: Simulator, connect: Callable[..., YuanzhibangPlatform]) -> None:
    sim.script(CHECK_PATH, Fault.no_answer(executed=True))
    platform = connect(policy=Policy(read_timeout_s=_WAIT_S, request_total_s=0.2))
    error = _fails(lambda: platform.check_code(_app(sim.url), Kind.JS_TICKET, _CODE, _never()), "no_answer")
    assert isinstance(error, UnknownOutcomeError)


# -- requests that never leave ------------------------------------------------------------------------


def test_an_instant_that_has_come_is_too_late(sim: Simulator, connect: Callable[..., YuanzhibangPlatform]) -> None:
    platform = connect(clock=lambda: 1000.0)
    error = _fails(lambda: platform.fetch_access_token(_app(sim.url), 1000.0), "not_sent_late")
    assert isinstance(error, NotSentError)
    assert sim.count() == 0


def test_the_deadline_is_looked_at_again_right_before_sending(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a freeze: everything is ready, and only then it turns out to be too late."""
    from token_refresher.platforms.http.call import AbortHandle

    now, server = [1000.0], serve(None, _ok())
    peer_closed = AbortHandle.peer_closed

    def last_look(handle: AbortHandle) -> bool:
        now[0] = 1005.0
        return peer_closed(handle)

    monkeypatch.setattr(AbortHandle, "peer_closed", last_look)
    platform = connect(clock=lambda: now[0])
    _fails(lambda: platform.fetch_access_token(_app(server.url), 1005.0), "not_sent_late")
    assert server.requests.get(timeout=_WAIT_S) == b""


def test_a_refused_connection_was_not_sent(connect: Callable[..., YuanzhibangPlatform]) -> None:
    platform = connect()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = _fails(lambda: platform.fetch_access_token(_app(f"http://127.0.0.1:{port}"), _never()), "not_sent_connect")
    assert isinstance(error, NotSentError)
    assert error.what == f"no connection could be made: Connection refused (to 127.0.0.1:{port}{TOKEN_PATH})"


@pytest.mark.parametrize("policy", [_HASTY, Policy(connect_timeout_s=0.3)], ids=["total", "connect"])
def test_a_connection_that_nobody_accepts_was_not_sent(
    connect: Callable[..., YuanzhibangPlatform], policy: Policy
) -> None:
    platform = connect(policy=policy)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        _fails(lambda: platform.fetch_access_token(_app(url), _never()), "not_sent_connect")


def test_a_name_that_does_not_exist_was_not_sent(
    connect: Callable[..., YuanzhibangPlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    platform = connect()
    # Only meanwhile: the guards look into Redis after the test.
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", unknown)
        _fails(lambda: platform.fetch_access_token(_app("https://platform.invalid"), _never()), "not_sent_dns")
    assert asked == ["platform.invalid"]


def test_a_name_found_too_late_is_never_connected_to(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, server, resolve = threading.Event(), serve(None, _ok()), socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        assert found.wait(_WAIT_S)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    platform = connect(policy=_HASTY)
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "not_sent_dns")
    platform.close()
    found.set()
    for thread in _flights():
        thread.join(_WAIT_S)
    assert not _flights()
    assert not server.connections


def test_the_next_address_is_tried_when_one_is_dead(
    connect: Callable[..., YuanzhibangPlatform], sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    resolve = socket.getaddrinfo

    def two(*args: Any, **kwargs: Any) -> Any:
        alive = resolve(*args, **kwargs)
        return [(*alive[0][:4], dead), *alive]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    assert connect().fetch_access_token(_app(sim.url), _never()).code
    assert sim.count() == 1


def _expired(ca: trustme.CA) -> ssl.SSLContext:
    import datetime

    return _server_tls(ca, not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda ca: _server_tls(trustme.CA()), "certificate"),
        (lambda ca: _server_tls(ca, "platform.test"), "127.0.0.1"),
        (_expired, "expired"),
    ],
    ids=["unknown authority", "other host", "expired"],
)
def test_a_certificate_that_does_not_prove_the_platform_gets_no_secret(
    connect: Callable[..., YuanzhibangPlatform],
    serve: Any,
    ca: trustme.CA,
    ca_bundle: str,
    make: Callable[[trustme.CA], ssl.SSLContext],
    words: str,
) -> None:
    server = serve(None, _ok(), tls=make(ca))
    platform = connect(ca_bundle=ca_bundle)
    error = _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "not_sent_tls")
    assert words in error.what
    assert server.requests.empty()


def test_without_a_bundle_only_public_authorities_count(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA
) -> None:
    server = serve(None, _ok(), tls=_server_tls(ca))
    platform = connect()
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "not_sent_tls")


def test_with_a_bundle_public_authorities_do_not_count(
    connect: Callable[..., YuanzhibangPlatform],
    serve: Any,
    ca: trustme.CA,
    ca_bundle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import requests.adapters

    trustme.CA().cert_pem.write_to_path(str(tmp_path / "own.pem"))
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", ca_bundle)
    server = serve(None, _ok(), tls=_server_tls(ca))
    platform = connect(ca_bundle=str(tmp_path / "own.pem"))
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "not_sent_tls")


def test_old_tls_is_not_spoken(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str
) -> None:
    context = _server_tls(ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = serve(None, _ok(), tls=context)
    platform = connect(ca_bundle=ca_bundle)
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "not_sent_tls")


def test_a_port_without_tls_is_named_as_that(connect: Callable[..., YuanzhibangPlatform], serve: Any) -> None:
    def behave(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    url = serve(behave).url.replace("http:", "https:")
    error = _fails(lambda: connect().fetch_access_token(_app(url), _never()), "not_sent_tls")
    assert error.what.startswith("TLS could not be set up: what answers there does not speak TLS (to 127.0.0.1:")
    assert "that the port speaks TLS" in error.advice


@pytest.mark.parametrize("policy", [_HASTY, Policy(connect_timeout_s=0.3)], ids=["total", "connect"])
def test_a_handshake_that_hangs_was_not_sent(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, policy: Policy
) -> None:
    def behave(sock: socket.socket) -> None:
        while more := sock.recv(65_536):
            server.requests.put(more)

    server = serve(behave)
    platform = connect(policy=policy)
    url = server.url.replace("http:", "https:")
    error = _fails(lambda: platform.fetch_access_token(_app(url), _never()), "not_sent_tls")
    assert isinstance(error, NotSentError)
    assert _SECRET.encode() not in server.requests.get(timeout=_WAIT_S)


def test_a_server_without_tls_gets_nothing(connect: Callable[..., YuanzhibangPlatform], serve: Any) -> None:
    server = serve(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    platform = connect()
    url = server.url.replace("http:", "https:")
    _fails(lambda: platform.fetch_access_token(_app(url), _never()), "not_sent_tls")


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_unusable_bundle_is_named_as_the_cause(
    connect: Callable[..., YuanzhibangPlatform], tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    platform = connect(ca_bundle=str(tmp_path / "ca.pem"))
    error = _fails(lambda: platform.fetch_access_token(_app("https://127.0.0.1:1"), _never()), "not_sent_tls")
    assert "CA certificates" in error.what


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1", "http://", "http://[::1", "https://\0"])
def test_an_address_that_is_none_was_not_sent(connect: Callable[..., YuanzhibangPlatform], url: str) -> None:
    platform = connect()
    error = _fails(lambda: platform.fetch_access_token(_app(url), _never()), "not_sent_connect", "not_sent_dns")
    assert isinstance(error, NotSentError)


# -- proxies ----------------------------------------------------------------------------------------


class Proxy:
    """A forward proxy for CONNECT; `reply` is what it says to it, None: nothing."""

    def __init__(self, serve: Callable[..., Raw], reply: bytes | None = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self._reply = reply
        self.server = serve(self._behave)
        address = f"http://us%40er:pass%2Fw%3Ard@127.0.0.1:{self.server.port}"
        self.settings = {"http": Secret(address), "https": Secret(address)}

    def _behave(self, sock: socket.socket) -> None:
        request = _read_request(sock)
        self.server.requests.put(request)
        if self._reply is None:
            self.server.ends.put(_end_of(sock))
            return
        sock.sendall(self._reply)
        if b" 200 " in self._reply:
            host, _, port = request.split(b" ")[1].partition(b":")
            with socket.create_connection((host.decode(), int(port)), _WAIT_S) as onward:
                self.server.connections.append(onward)
                back = threading.Thread(target=self._pump, args=(onward, sock), daemon=True)
                back.start()
                self._pump(sock, onward)
                back.join(_WAIT_S)

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while more := source.recv(65_536):
                sink.sendall(more)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


_CREDENTIALS = b"Basic " + base64.b64encode(b"us@er:pass/w:rd")


def test_https_goes_through_the_proxy_which_learns_only_its_own_password(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str
) -> None:
    proxy = Proxy(serve)
    with Simulator({"app1": _SECRET}, tls=_server_tls(ca)) as sim:
        app, platform = _app(sim.url), connect(ca_bundle=ca_bundle, proxies=proxy.settings)
        token = platform.fetch_access_token(app, _never()).code
        assert platform.fetch_js_ticket(app, token, _never()).code
        assert len({request.peer for request in sim.requests}) == 1
        seen = proxy.server.requests.get(timeout=_WAIT_S)
        assert seen.startswith(b"CONNECT 127.0.0.1:")
        assert b"Proxy-Authorization: " + _CREDENTIALS in seen
        assert proxy.server.requests.empty()
        platform.close()


def test_http_goes_through_the_proxy_with_user_and_password(
    connect: Callable[..., YuanzhibangPlatform], serve: Any
) -> None:
    proxy = serve(None, _ok())
    address = Secret(f"http://us%40er:pass%2Fw%3Ard@127.0.0.1:{proxy.port}")
    platform = connect(proxies={"http": address})
    assert platform.fetch_js_ticket(_app("http://platform.invalid"), _TOKEN, _never()).code == "abc"
    request = proxy.requests.get(timeout=_WAIT_S)
    assert request.startswith(b"POST http://platform.invalid/OAuth2/ticket HTTP/1.1\r\n")
    assert b"Proxy-Authorization: " + _CREDENTIALS in request


@pytest.mark.parametrize(
    ("scheme", "given", "sent"),
    [
        ("http", "token", b"token:"),
        ("https", "token:", b"token:"),
        ("http", ":password", b":password"),
        ("https", "us%40er:pass%2Fw%3Ard", b"us@er:pass/w:rd"),
        ("http", "user:%E5%AF%86%E7%A0%81", "user:密码".encode()),
        ("https", "user:密码", "user:密码".encode()),
        ("http", "用户:secret", "用户:secret".encode()),
        ("http", "user:%C3%A9", "user:é".encode("latin-1")),
        ("https", "user:%C3%A9", "user:é".encode("latin-1")),
        ("http", "user:é€", "user:é€".encode()),
        ("https", "user:%FF", b"user:\xff"),
    ],
)
def test_a_proxy_gets_its_user_and_password_as_curl_sends_them(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, scheme: str, given: str, sent: bytes
) -> None:
    proxy = serve(None, b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
    platform = connect(proxies={scheme: Secret(f"http://{given}@127.0.0.1:{proxy.port}")})
    with pytest.raises(PlatformError):
        platform.fetch_js_ticket(_app(f"{scheme}://platform.invalid"), _TOKEN, _never())
    request = proxy.requests.get(timeout=_WAIT_S)
    assert b"Proxy-Authorization: Basic " + base64.b64encode(sent) + b"\r\n" in request


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"),
        (b"HTTP/1.1 502 the-secret-of-app1 pass/w:rd\r\n\r\n", "502"),
        (b"nonsense\r\n\r\n", ""),
        (b"", ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, ""),
    ],
    ids=["407", "502", "no HTTP", "dies", "long header"],
)
def test_a_proxy_that_refuses_or_fails_sent_nothing_on(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, reply: bytes, words: str
) -> None:
    def behave(sock: socket.socket) -> None:
        _read_request(sock)
        sock.sendall(reply)

    proxy = serve(behave)
    address = Secret(f"http://us%40er:pass%2Fw%3Ard@127.0.0.1:{proxy.port}")
    platform = connect(proxies={"https": address})
    error = _fails(lambda: platform.fetch_access_token(_app("https://platform.invalid"), _never()), "not_sent_proxy")
    assert isinstance(error, NotSentError)
    assert words in error.what


@pytest.mark.parametrize("policy", [_HASTY, Policy(connect_timeout_s=0.3)], ids=["total", "connect"])
def test_a_proxy_that_hangs_sent_nothing_on(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, policy: Policy
) -> None:
    proxy = Proxy(serve, reply=None)
    platform = connect(policy=policy, proxies=proxy.settings)
    _fails(lambda: platform.fetch_access_token(_app("https://platform.invalid"), _never()), "not_sent_proxy")
    assert _SECRET.encode() not in proxy.server.requests.get(timeout=_WAIT_S)
    assert proxy.server.ends.get(timeout=_WAIT_S) == "reset"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_sent_nothing_on(connect: Callable[..., YuanzhibangPlatform], scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    platform = connect(proxies={scheme: Secret(f"http://us%40er:pass%2Fw%3Ard@127.0.0.1:{port}")})
    url, usual = f"{scheme}://platform.invalid", {"http": 80, "https": 443}[scheme]
    error = _fails(lambda: platform.fetch_access_token(_app(url), _never()), "not_sent_proxy")
    way = f"(to platform.invalid:{usual}{TOKEN_PATH} through the proxy 127.0.0.1:{port})"
    assert error.what == f"no connection could be made through the proxy: Connection refused {way}"
    assert str(error).startswith("not_sent_proxy (app1, access_token): ")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://127.0.0.1:1", "http://", "://"])
def test_a_proxy_of_another_kind_is_not_used_and_not_passed_by(
    connect: Callable[..., YuanzhibangPlatform], sim: Simulator, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests.adapters

    def manager(*_: object, **__: object) -> None:
        raise AssertionError("its connections would not ask their call before they send")

    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", manager)
    platform = connect(proxies={"http": Secret(proxy)})
    error = _fails(
        lambda: platform.fetch_access_token(_app(sim.url), _never()),
        "not_sent_proxy",
        "not_sent_connect",
        "not_sent_dns",
    )
    assert isinstance(error, NotSentError)
    assert "AssertionError" not in error.what
    assert sim.count() == 0


def test_tls_through_a_proxy_that_hangs_afterwards_was_not_sent(
    connect: Callable[..., YuanzhibangPlatform], serve: Any
) -> None:
    def behave(sock: socket.socket) -> None:
        _read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while sock.recv(65_536):
            pass

    proxy = serve(behave)
    platform = connect(policy=_HASTY, proxies={"https": Secret(f"http://127.0.0.1:{proxy.port}")})
    _fails(lambda: platform.fetch_access_token(_app("https://platform.invalid"), _never()), "not_sent_tls")


# -- a connection in hand before the request ----------------------------------------------------------


def _dial(platform: YuanzhibangPlatform, app: App, kind: Kind = Kind.JS_TICKET, until: float | None = None) -> None:
    platform.dial(app, kind, _never() if until is None else until)


def _in_a_thread(call: Callable[[], object]) -> None:
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(call()))
    thread.start()
    thread.join(_WAIT_S)
    assert done


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_a_dialled_connection_carries_the_next_fetch_and_nothing_before_it(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str, version: Any
) -> None:
    tls = _server_tls(ca) if version else None
    if tls is not None:
        tls.maximum_version = tls.minimum_version = version
    server = serve(None, _ok(), _ok(), tls=tls)
    app, platform = _app(server.url), connect(ca_bundle=ca_bundle)
    _dial(platform, app)
    assert server.requests.empty()
    for _ in range(2):  # the second time, the connection is open already
        _dial(platform, app)
        assert platform.fetch_js_ticket(app, _TOKEN, _never()).code == "abc"
    assert len(server.connections) == (2 if tls else 1)  # with TLS, the server keeps two objects for each


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_is_dialled_through_the_proxy(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str, scheme: str
) -> None:
    server = serve(None, _ok(), tls=_server_tls(ca))
    proxy = Proxy(serve) if scheme == "https" else None
    through = proxy.server if proxy else serve(None, _ok())
    platform = connect(ca_bundle=ca_bundle, proxies={scheme: Secret(f"http://127.0.0.1:{through.port}")})
    app = _app(server.url if proxy else "http://platform.invalid")
    _dial(platform, app)
    if proxy:
        assert through.requests.get(timeout=_WAIT_S).startswith(b"CONNECT ")
    assert through.requests.empty()
    assert platform.fetch_js_ticket(app, _TOKEN, _never()).code == "abc"
    assert len(through.connections) == (2 if proxy else 1)  # a proxy goes on from each
    platform.close()


def test_interim_answers_of_a_proxy_are_read_over(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str
) -> None:
    server = serve(None, _ok(), tls=_server_tls(ca))
    proxy = Proxy(serve, b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    platform = connect(ca_bundle=ca_bundle, proxies=proxy.settings)
    assert platform.fetch_js_ticket(_app(server.url), _TOKEN, _never()).code == "abc"
    platform.close()


def test_a_tunnel_that_is_open_already_is_not_dug_twice(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str
) -> None:
    server, proxy = serve(None, _ok(), _ok(), tls=_server_tls(ca)), Proxy(serve)
    app, platform = _app(server.url), connect(ca_bundle=ca_bundle, proxies=proxy.settings)
    platform.fetch_js_ticket(app, _TOKEN, _never())
    _dial(platform, app)
    platform.fetch_js_ticket(app, _TOKEN, _never())
    assert proxy.server.requests.qsize() == 1
    platform.close()


def test_an_open_connection_is_reserved_without_a_thread(
    connect: Callable[..., YuanzhibangPlatform], sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, platform = _app(sim.url), connect()
    platform.dial(app, Kind.ACCESS_TOKEN, _never())
    platform.fetch_access_token(app, _never())

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", start)
        platform.dial(app, Kind.ACCESS_TOKEN, _never())
    _in_a_thread(lambda: platform.check_code(app, Kind.JS_TICKET, _CODE, _never()))
    platform.fetch_access_token(app, _never())
    first, asked, last = (request.peer for request in sim.requests)
    assert first == last != asked


def test_a_connection_that_is_ready_too_late_is_not_in_hand(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str
) -> None:
    now = [steady_clock()]

    class Slow(Proxy):
        def _behave(self, sock: socket.socket) -> None:
            now[0] += 100
            super()._behave(sock)

    server, proxy = serve(None, _ok(), tls=_server_tls(ca)), Slow(serve)
    platform = connect(ca_bundle=ca_bundle, proxies=proxy.settings, clock=lambda: now[0])
    late = ("not_sent_late", "not_sent_tls", "not_sent_proxy")
    _fails(lambda: _dial(platform, _app(server.url), until=now[0] + 5), *late)
    platform.close()


def test_no_other_thread_takes_a_dialled_connection(connect: Callable[..., YuanzhibangPlatform], serve: Any) -> None:
    server = serve(None, _ok(), _ok())
    app, platform = _app(server.url), connect()
    _dial(platform, app)
    _in_a_thread(lambda: platform.fetch_js_ticket(app, _TOKEN, _never()))
    assert len(server.connections) == 2
    assert platform.fetch_js_ticket(app, _TOKEN, _never()).code == "abc"
    _in_a_thread(lambda: _dial(platform, app))
    assert len(server.connections) == 2


def test_a_question_leaves_the_dialled_connection_to_the_fetch(
    connect: Callable[..., YuanzhibangPlatform], sim: Simulator
) -> None:
    app, platform = _app(sim.url), connect()
    platform.dial(app, Kind.ACCESS_TOKEN, _never())
    platform.check_code(app, Kind.JS_TICKET, _CODE, _never())
    platform.fetch_access_token(app, _never())
    asked, fetched = (request.peer for request in sim.requests)
    assert asked != fetched


def test_both_kinds_are_fetched_over_one_connection_where_one_host_issues_both(
    connect: Callable[..., YuanzhibangPlatform], sim: Simulator
) -> None:
    app, platform = _app(sim.url), connect()
    platform.dial(app, Kind.ACCESS_TOKEN, _never())
    platform.dial(app, Kind.JS_TICKET, _never())
    token = platform.fetch_access_token(app, _never()).code
    platform.dial(app, Kind.JS_TICKET, _never())
    platform.fetch_js_ticket(app, token, _never())
    assert len({request.peer for request in sim.requests}) == 1


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("again", [False, True], ids=["fetched", "dialled again"])
def test_a_dialled_connection_that_broke_is_replaced(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str, tls: bool, again: bool
) -> None:
    ended = threading.Event()

    def behave(sock: socket.socket) -> None:
        if ended.is_set():
            server.answer(_ok())(sock)
        else:
            socket.socket.shutdown(sock, socket.SHUT_WR)
            ended.set()
            server.ends.put(_end_of(sock))

    server = serve(behave, tls=_server_tls(ca) if tls else None)
    app, platform = _app(server.url), connect(ca_bundle=ca_bundle)
    _dial(platform, app)
    assert ended.wait(_WAIT_S)
    if again:
        _dial(platform, app)
    assert platform.fetch_js_ticket(app, _TOKEN, _never()).code == "abc"
    assert server.requests.qsize() == 1


@pytest.mark.parametrize("tls", [False, True])
def test_a_dialled_connection_that_is_not_used_ends_with_a_goodbye(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA, ca_bundle: str, tls: bool
) -> None:
    context = _server_tls(ca)
    # A ticket for the next session that comes after the close is answered with a reset, by the kernel.
    context.num_tickets = 0
    server: Any = serve(lambda sock: server.ends.put(_end_of(sock)), tls=context if tls else None)
    platform = connect(ca_bundle=ca_bundle)
    _dial(platform, _app(server.url))
    platform.close()
    assert server.ends.get(timeout=_WAIT_S) == "closed"


def test_what_cannot_be_dialled_was_not_sent_and_says_why(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, ca: trustme.CA
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"127.0.0.1:{listener.getsockname()[1]}"
    stranger = serve(None, _ok(), tls=_server_tls(ca)).url
    refusing = serve(lambda sock: sock.sendall(b"HTTP/1.1 407 No\r\n\r\n"))
    proxied = {"https": Secret(f"http://127.0.0.1:{refusing.port}")}
    cases: list[tuple[str, dict[str, Any], float, str]] = [
        ("http://platform.invalid", {}, _never(), "not_sent_dns"),
        (f"http://{dead}", {}, _never(), "not_sent_connect"),
        (stranger, {}, _never(), "not_sent_tls"),
        ("https://platform.invalid", {"proxies": proxied}, _never(), "not_sent_proxy"),
        (stranger, {}, steady_clock(), "not_sent_late"),
        ("nonsense", {}, _never(), "not_sent_connect"),
    ]
    for url, settings, until, code in cases:
        platform = connect(**settings)
        error = _fails(functools.partial(_dial, platform, _app(url), until=until), code)
        assert isinstance(error, NotSentError)
        assert error.kind == "js_ticket"


@pytest.mark.parametrize("policy", [_HASTY, Policy(connect_timeout_s=0.3)], ids=["total", "connect"])
def test_a_handshake_that_hangs_is_not_waited_for_when_dialling(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, policy: Policy
) -> None:
    server = serve(_until_gone)
    url = server.url.replace("http:", "https:")
    platform = connect(policy=policy)
    _fails(lambda: _dial(platform, _app(url)), "not_sent_tls")


def _until_gone(sock: socket.socket) -> None:
    while sock.recv(65_536):
        pass


def test_an_open_connection_is_not_dialled_past_the_end(
    connect: Callable[..., YuanzhibangPlatform], sim: Simulator
) -> None:
    app, platform = _app(sim.url), connect()
    platform.dial(app, Kind.ACCESS_TOKEN, _never())
    _fails(lambda: platform.dial(app, Kind.ACCESS_TOKEN, steady_clock()), "not_sent_late")
    _fails(lambda: platform.fetch_access_token(app, steady_clock()), "not_sent_late")
    platform.close()
    _fails(lambda: platform.dial(app, Kind.ACCESS_TOKEN, _never()), "not_sent_connect")
    assert sim.count() == 0


# -- hostile surroundings ---------------------------------------------------------------------------


def test_the_environment_has_no_say(
    connect: Callable[..., YuanzhibangPlatform],
    serve: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ca: trustme.CA,
    ca_bundle: str,
) -> None:
    canary = serve(None, _ok())
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, canary.url)
        monkeypatch.setenv(name.lower(), canary.url)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login us@er password pass/w:rd\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "missing"))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    server = serve(None, _ok(), tls=_server_tls(ca))
    assert connect(ca_bundle=ca_bundle).fetch_js_ticket(_app(server.url), _TOKEN, _never()).code == "abc"
    assert b"uthorization" not in server.requests.get(timeout=_WAIT_S)
    plain = serve(None, _ok())
    assert connect().fetch_js_ticket(_app(plain.url), _TOKEN, _never()).code == "abc"
    assert b"uthorization" not in plain.requests.get(timeout=_WAIT_S)
    assert not canary.connections
    assert not (tmp_path / "keys").exists()


def test_a_platform_that_echoes_secrets_does_not_get_them_into_errors_or_logs(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(sent: str) -> bytes:
        message = f"secret {_SECRET} {sent}\nERROR {'ab' * 16}"
        body = json.dumps({"status": 4000, "message": message, "data": [_SECRET]}).encode()
        return _ok(body, f"Set-Cookie: {_SECRET}={_SECRET}", f"{_SECRET}", f" {_SECRET}")

    server = serve(None, echo(""), echo(_TOKEN), echo(_CODE))
    app = _app(server.url)
    calls: list[Callable[[YuanzhibangPlatform], object]] = [
        lambda platform: platform.fetch_access_token(app, _never()),
        lambda platform: platform.fetch_js_ticket(app, _TOKEN, _never()),
        lambda platform: platform.exchange_login_code(app, _CODE, _never()),
    ]
    platform = connect()
    for call in calls:
        error = _fails(functools.partial(call, platform), "wrong_secret")
        assert "abababab" not in str(error)
        assert "\n" not in str(error)
    assert _SECRET not in caplog.text


def test_a_platform_that_echoes_secrets_as_http_status_does_not_get_them_into_errors(
    connect: Callable[..., YuanzhibangPlatform], serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def behave(sock: socket.socket) -> None:
        _read_request(sock)
        sock.sendall(f"HTTP/1.1 2x0 {_SECRET}\r\n{_SECRET}\r\n\r\n".encode())

    server = serve(behave)
    platform = connect()
    _fails(lambda: platform.fetch_access_token(_app(server.url), _never()), "bad_answer")
    assert _SECRET not in caplog.text
