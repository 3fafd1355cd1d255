"""A request's call: sent or never sent, and nobody waits longer than agreed."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import NotSentError, PlatformError, UnknownOutcomeError
from token_refresher.platforms.http.call import AbortHandle, Call, CallCancelledError, Phase, current_call
from token_refresher.platforms.http.transport import set_socket_options

# Only a bug makes a test wait this long.
_WAIT_S = 10.0


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _call(until: float, clock: Callable[[], float] = steady_clock) -> Call[None]:
    return Call(until, clock)


def _soon() -> float:
    return steady_clock() + 0.1


def _flights() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "token-refresher-call"]


def _all_landed() -> bool:
    for thread in _flights():
        thread.join(_WAIT_S)
    return not _flights()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected client and its server side, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), _WAIT_S)
        server, _ = listener.accept()
    server.settimeout(_WAIT_S)
    with client, server:
        yield client, server


def test_what_the_work_returns_is_what_the_caller_gets() -> None:
    call: Call[int] = Call(steady_clock() + _WAIT_S, steady_clock)
    assert call.run(lambda: 7) == 7


def test_the_work_runs_in_a_daemon_thread_that_knows_its_flight() -> None:
    call: Call[tuple[bool, object]] = Call(steady_clock() + _WAIT_S, steady_clock)
    assert call.run(lambda: (threading.current_thread().daemon, current_call())) == (True, call)
    assert current_call() is None


def test_nothing_is_begun_at_or_after_the_end() -> None:
    begun = threading.Event()
    clock = Clock()
    with pytest.raises(NotSentError) as caught:
        _call(clock.now, clock).run(begun.set)
    assert caught.value.code == "not_sent_late"
    assert not begun.is_set()


def test_departure_is_noted_with_the_instant_just_before_it() -> None:
    clock = Clock()
    call = _call(clock.now + 1, clock)
    clock.now += 0.5
    call.mark_sent()
    assert call.sent_at == 1000.5


def test_departure_is_refused_at_the_end_and_not_only_after_it() -> None:
    clock = Clock()
    call = _call(clock.now + 1, clock)
    clock.now += 1
    with pytest.raises(CallCancelledError):
        call.mark_sent()
    assert call.sent_at is None


def test_a_departure_refused_stays_refused_when_the_clock_goes_back() -> None:
    clock = Clock()
    call = _call(clock.now, clock)
    with pytest.raises(CallCancelledError):
        call.mark_sent()
    clock.now -= 100
    with pytest.raises(CallCancelledError):
        call.mark_sent()


def test_the_time_left_is_never_nothing() -> None:
    clock = Clock()
    call = _call(clock.now + 2, clock)
    left = [call.remaining_s()]
    for _ in range(3):
        clock.now += 1
        left.append(call.remaining_s())
    assert left == [2.0, 1.0, 0.001, 0.001]


@pytest.mark.parametrize("past_s", [0.0, 0.5])
def test_a_caller_leaves_when_the_clock_says_so(past_s: float) -> None:
    clock, go_on = Clock(), threading.Event()
    call = _call(clock.now + 0.1, clock)

    def work() -> None:
        call.enter_phase(Phase.DNS)
        clock.now = call.until + past_s
        go_on.wait(_WAIT_S)

    with pytest.raises(NotSentError) as caught:
        call.run(work)
    assert caught.value.code == "not_sent_dns"
    go_on.set()
    assert _all_landed()


def test_nothing_departs_twice() -> None:
    call = _call(steady_clock() + _WAIT_S)

    def work() -> None:
        call.mark_sent()
        call.mark_sent()

    with pytest.raises(UnknownOutcomeError):
        call.run(work)


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.START, "not_sent_late"),
        (Phase.DNS, "not_sent_dns"),
        (Phase.CONNECT, "not_sent_connect"),
        (Phase.PROXY, "not_sent_proxy"),
        (Phase.TLS, "not_sent_tls"),
        (Phase.READY, "not_sent_late"),
    ],
)
def test_a_caller_leaves_in_time_and_names_the_phase_that_hangs(phase: Phase, code: str) -> None:
    call = _call(_soon())
    go_on, too_late = threading.Event(), threading.Event()

    def work() -> None:
        call.enter_phase(phase)
        go_on.wait(_WAIT_S)
        try:
            call.mark_sent()
        except CallCancelledError:
            too_late.set()
            raise

    with pytest.raises(NotSentError) as caught:
        call.run(work)
    assert caught.value.code == code
    go_on.set()
    assert too_late.wait(_WAIT_S)
    assert call.sent_at is None
    assert _all_landed()


def test_no_new_phase_and_no_new_connection_begins_once_the_caller_has_left(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    call = _call(_soon())
    left, refused = threading.Event(), []
    handle = AbortHandle(pair[0], pair[0])

    def work() -> None:
        left.wait(_WAIT_S)
        steps: tuple[Callable[[], None], ...] = (lambda: call.enter_phase(Phase.TLS), lambda: call.attach(handle))
        for step in steps:
            with contextlib.suppress(CallCancelledError):
                step()
                continue
            refused.append(step)

    with pytest.raises(NotSentError):
        call.run(work)
    left.set()
    assert _all_landed()
    assert len(refused) == 2
    handle.release(pair[0])


def test_an_interrupted_caller_takes_its_request_along() -> None:
    go_on = threading.Event()
    calls = iter((0.0, 0.0))

    def clock() -> float:
        with contextlib.suppress(StopIteration):
            return next(calls)
        raise KeyboardInterrupt

    call = _call(0.05, clock)

    def work() -> None:
        call.enter_phase(Phase.DNS)
        go_on.wait(_WAIT_S)
        call.mark_sent()

    flight_ended_by: list[BaseException] = []
    try:
        call.run(work)
    except KeyboardInterrupt as error:
        flight_ended_by.append(error)
    go_on.set()
    assert _all_landed()
    assert flight_ended_by
    assert call.sent_at is None


def _leave_one_behind(go_on: threading.Event, phase: Phase) -> None:
    """Abandon a request that waits for a name."""
    clock = Clock()
    call = _call(clock.now + 1, clock)

    def work() -> None:
        call.enter_phase(phase)
        clock.now = call.until
        go_on.wait(_WAIT_S)

    with pytest.raises(NotSentError):
        call.run(work)


@pytest.mark.parametrize("phase", [Phase.DNS, Phase.PROXY])
def test_a_silent_name_server_holds_a_bounded_number_of_threads(phase: Phase) -> None:
    go_on, begun = threading.Event(), threading.Event()
    try:
        for _ in range(300):
            _leave_one_behind(go_on, phase)
        assert len(_flights()) == 64
        with pytest.raises(NotSentError) as caught:
            _call(_soon()).run(begun.set)
        assert caught.value.code == "not_sent_dns"
        assert "64 requests still wait for a name server" in str(caught.value)
        assert not begun.is_set()
    finally:
        go_on.set()
    assert _all_landed()
    _call(steady_clock() + _WAIT_S).run(begun.set)
    assert begun.is_set()


def test_a_hundred_requests_at_once_are_begun_while_no_name_server_was_silent() -> None:
    all_begun, callers = threading.Barrier(100), []
    for _ in range(100):
        call = _call(steady_clock() + _WAIT_S)
        callers.append(threading.Thread(target=call.run, args=(lambda: all_begun.wait(_WAIT_S) and None,)))
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(_WAIT_S)
    assert not all_begun.broken
    assert _all_landed()


def test_without_a_thread_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(NotSentError, match="no thread could be started"):
        _call(steady_clock() + _WAIT_S).run(lambda: None)


@pytest.mark.parametrize("error", [ValueError, OSError, MemoryError])
@pytest.mark.parametrize("sent", [False, True])
def test_whatever_breaks_in_the_thread_the_caller_learns_if_it_was_sent(error: type[Exception], sent: bool) -> None:
    call = _call(steady_clock() + _WAIT_S)

    def work() -> None:
        if sent:
            call.mark_sent()
        raise error("secret-word")

    with pytest.raises(PlatformError) as caught:
        call.run(work)
    assert isinstance(caught.value, UnknownOutcomeError if sent else NotSentError)
    assert "secret-word" not in str(caught.value)
    # What went wrong, and not that time ran out.
    begin = "after the request was sent: " if sent else "the connection could not be prepared: "
    assert caught.value.what.startswith(begin)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_sent_and_reported_as_not_sent_never_happen_together() -> None:
    """The deadline falls now before, now after the departure; whichever comes first, both sides agree."""
    for turn in range(300):
        call = _call(steady_clock() + 0.0005 + turn % 10 * 0.0001)

        def work(call: Call[None] = call) -> None:
            while True:
                call.enter_phase(Phase.READY)
                if call.remaining_s() < 0.0011:
                    call.mark_sent()
                    return

        try:
            call.run(work)
        except NotSentError:
            assert _all_landed()
            assert call.sent_at is None
        except UnknownOutcomeError:
            assert call.sent_at is not None
        else:
            assert call.sent_at is not None
            assert call.sent_at < call.until


def test_an_answer_that_does_not_come_is_waited_for_until_the_end_and_the_connection_is_reset(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    client.settimeout(_WAIT_S)
    set_socket_options(client)
    call: Call[bytes] = Call(_soon(), steady_clock)

    def work() -> bytes:
        handle = AbortHandle(client, client)
        call.attach(handle)
        call.mark_sent()
        try:
            client.sendall(b"request")
            return client.recv(1)
        finally:
            client.close()
            handle.release(client)

    with pytest.raises(UnknownOutcomeError) as caught:
        call.run(work)
    assert caught.value.code == "no_answer"
    assert _all_landed()
    assert server.recv(100) == b"request"
    with pytest.raises(ConnectionResetError):
        server.recv(100)


@pytest.mark.parametrize(
    ("sent", "error", "code"), [(True, UnknownOutcomeError, "no_answer"), (False, NotSentError, "not_sent_tls")]
)
def test_a_connection_that_the_caller_broke_is_told_as_time_that_ran_out(
    pair: tuple[socket.socket, socket.socket], sent: bool, error: type[PlatformError], code: str
) -> None:
    client, _ = pair
    client.settimeout(_WAIT_S)
    call = _call(_soon())

    def work() -> None:
        call.enter_phase(Phase.TLS)
        handle = AbortHandle(client, client)
        call.attach(handle)
        if sent:
            call.mark_sent()
        try:
            client.recv(1)
            raise BrokenPipeError("as http.client says it")
        finally:
            client.close()
            handle.release(client)

    with pytest.raises(error) as caught:
        call.run(work)
    assert caught.value.code == code
    assert "in time" in caught.value.what
    assert _all_landed()


def test_a_request_that_cannot_be_written_is_broken_off_too(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    client.settimeout(10 * _WAIT_S)
    call = _call(_soon())

    def work() -> None:
        handle = AbortHandle(client, client)
        call.attach(handle)
        call.mark_sent()
        try:
            # More than the kernels hold, and the other side does not read.
            client.sendall(bytes(50_000_000))
        finally:
            client.close()
            handle.release(client)

    with pytest.raises(UnknownOutcomeError):
        call.run(work)
    assert _all_landed()


def test_another_connection_takes_the_place_of_the_first(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    first, second = AbortHandle(client, client), AbortHandle(client, client)
    call = _call(steady_clock() + _WAIT_S)
    call.attach(first)
    first.release(client)
    call.attach(first)
    assert not first.peer_closed()
    call.attach(second)
    # Closed, as its last holder has left it.
    assert first.peer_closed()
    assert not second.peer_closed()
    second.release(client)
    second.release(call)


@pytest.mark.parametrize("calmed", [False, True])
def test_only_a_calm_connection_says_goodbye(pair: tuple[socket.socket, socket.socket], calmed: bool) -> None:
    client, server = pair
    set_socket_options(client)
    handle = AbortHandle(client, client)
    if calmed:
        handle.close_gracefully()
    client.close()
    handle.release(client)
    with contextlib.nullcontext() if calmed else pytest.raises(ConnectionResetError):
        assert server.recv(1) == b""


def test_nobody_has_to_pull_a_cord_that_nobody_took(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    handle = AbortHandle(client, client)
    handle.abort("somebody")
    server.sendall(b"x")
    client.settimeout(_WAIT_S)
    assert client.recv(1) == b"x"
    handle.release(client)


def test_a_cord_is_not_pulled_under_someone_who_came_later(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    client.settimeout(_WAIT_S)
    handle = AbortHandle(client, client)
    handle.assign("first")
    handle.assign("second")
    handle.abort("first")
    assert not handle.peer_closed()
    client.sendall(b"still there")
    assert server.recv(100) == b"still there"
    handle.abort("second")
    assert client.recv(1) == b""
    handle.abort("second", socket.SHUT_RDWR)
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on how far the shutdown has come
        client.sendall(b"x")
    for holder in ("first", "second", client):
        handle.release(holder)


def test_a_connection_stays_open_until_its_last_holder_leaves(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    handle = AbortHandle(client, client)
    handle.assign("call")
    client.close()
    handle.release(client)
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1)
    server.settimeout(_WAIT_S)
    handle.release("call")
    assert server.recv(1) == b""
    handle.abort("call")
    handle.close_gracefully()


def test_whether_the_other_side_hung_up_is_seen_without_taking_anything(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    handle = AbortHandle(client, client)
    client.settimeout(_WAIT_S)
    assert not handle.peer_closed()
    server.sendall(b"ab")
    assert client.recv(1) == b"a"
    assert not handle.peer_closed()
    assert client.recv(1) == b"b"
    server.close()
    client.recv(1)
    assert handle.peer_closed()
    handle.release(client)
    assert handle.peer_closed()


def test_bytes_of_ours_do_not_wait_long_in_the_kernel(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    set_socket_options(client)
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == b"\x01\0\0\0\0\0\0\0"
