"""One request under way: who may still stop it, and whether any of it has left this machine.

A request runs in a thread of its own (`Call`), because name resolution and handshakes obey no deadline; the
caller waits outside and leaves in time. Both meet at one lock, so that exactly one of two things is true: the
request was sent, or it never will be.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, TypeVar

from token_refresher.domain.errors import NotSentError, PlatformError, UnknownOutcomeError
from token_refresher.platforms.http.errors import describe, error_code

# Instead of the reset that a connection in use ends with.
_CLOSE_GRACEFULLY = struct.pack("ii", 0, 0)
# How long a caller who gives up waits for the thread to close its socket: so much may the deadline be passed.
_CLEAN_UP_S = 0.2
# So many requests of a process may wait for names once one was given up there: their threads end when the resolver lets
# them, after half a minute or never. As many as a run works on at once.
_MOST_UNRESOLVED = 64
# The thread may be woken late by a clock that went on while the process was suspended: look at it this often.
_LOOK_S = 1.0

T = TypeVar("T")


class Phase(Enum):
    """How far a request has come; the value is what it is called when it fails there, unsent."""

    START = ("not_sent_connect", "the connection could not be prepared")
    DNS = ("not_sent_dns", "the name could not be resolved")
    CONNECT = ("not_sent_connect", "no connection could be made")
    PROXY = ("not_sent_proxy", "no connection could be made through the proxy")
    TLS = ("not_sent_tls", "TLS could not be set up")
    READY = ("not_sent_connect", "the connection broke before the request")


class CallCancelledError(Exception):
    """For the thread of a call: the time is over or the caller has left, so nothing may be sent."""


class AbortHandle:
    """A second handle on a connection's socket, by which another thread can break the connection off.

    The first handle will not do: TLS takes it away during the handshake, and its number may be another file's
    by the time it is used. Each holder (the connection, and calls that use it) releases once; the last one
    closes.
    """

    def __init__(self, sock: socket.socket, owner: object) -> None:
        self._lock = threading.Lock()
        # `sock` has a time-out by now, so their open file does not block anyway; this handle never waits.
        self._sock = sock.dup()
        self._sock.setblocking(False)
        self._holders: set[int] = {id(owner)}
        self._user: object = None

    def assign(self, user: object) -> None:
        """From now on only `user` may pull."""
        with self._lock:
            self._holders.add(id(user))
            self._user = user

    def abort(self, user: object, how: int = socket.SHUT_RD) -> None:
        """Wake who waits for this connection, unless someone else uses it by now, so that it is closed.

        SHUT_RD says nothing to the other side: the close that follows is a reset. SHUT_RDWR ends any wait.
        """
        with self._lock, contextlib.suppress(OSError):  # closed or not connected: nothing left to break
            if self._user is user:
                self._sock.shutdown(how)

    def release(self, holder: object) -> None:
        """`holder` needs it no more."""
        with self._lock:
            self._holders.discard(id(holder))
            if not self._holders:
                self._sock.close()

    def peer_closed(self) -> bool:
        """Whether the other side has closed the connection, as far as can be seen without waiting."""
        with self._lock:
            try:
                return not self._sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return False
            except OSError:
                return True

    def close_gracefully(self) -> None:
        """Nothing is under way: close with a goodbye instead of a reset."""
        with self._lock, contextlib.suppress(OSError):  # closed already
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_GRACEFULLY)


class Call(Generic[T]):
    """One request: `run` is the caller's side, the other methods belong to the thread that does the work.

    `until` is an instant of `clock` (seconds): nothing is sent at or after it, and `run` ends by then. `owner` names
    the thread whose reserved connection it uses (0: none).
    `sent_at` is the instant just before the first byte of the request left, None while none has.
    """

    def __init__(self, until: float, clock: Callable[[], float], owner: int = 0) -> None:
        self.until, self.clock, self.owner = until, clock, owner
        self.sent_at: float | None = None
        self.phase = Phase.START
        self._lock = threading.Lock()
        self._cancelled = False
        self._handle: AbortHandle | None = None
        self._done = threading.Event()
        self._result: list[T] = []
        self._error: PlatformError | None = None

    def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, which runs in a thread of its own.

        Raises NotSentError when nothing was sent and nothing will be, else UnknownOutcomeError.
        """
        if self.clock() >= self.until:
            raise self._too_late()
        _check_name_servers()
        try:
            self._start(work)
            while not self._done.is_set() and (left := self.until - self.clock()) > 0:
                self._done.wait(min(left, _LOOK_S))
        finally:
            # Also when the caller is interrupted: nothing would store what comes back.
            self._cancel()
        if self._result:
            return self._result[0]
        raise self._error or self._too_late()

    def _start(self, work: Callable[[], T]) -> None:
        try:
            _CallThread(self, work).start()
        except RuntimeError:
            raise NotSentError("no thread could be started for the request") from None

    def enter_phase(self, phase: Phase) -> None:
        """The next phase begins. Raises CallCancelledError when the caller has left."""
        with self._lock:
            if self._cancelled:
                raise CallCancelledError
            self.phase = phase

    def attach(self, handle: AbortHandle) -> None:
        """From now on the request uses this connection. Raises CallCancelledError when the caller has left."""
        with self._lock:
            if self._cancelled:
                raise CallCancelledError
            if self._handle not in (None, handle):
                self._release()
            self._handle = handle
            handle.assign(self)

    def mark_sent(self) -> None:
        """To be called immediately before the one write that sends the request.

        Raises CallCancelledError when it must not be sent (any more, or again).
        """
        with self._lock:
            if self._cancelled or self.sent_at is not None or (now := self.clock()) >= self.until:
                self._cancelled = True
                raise CallCancelledError
            self.sent_at = now

    def remaining_s(self) -> float:
        """Duration until the end, at least a millisecond: a time-out of 0 means something else to sockets."""
        return max(self.until - self.clock(), 0.001)

    def _perform(self, work: Callable[[], T]) -> None:
        """The body of the thread: nothing that goes wrong in here leaves it as an exception."""
        try:
            result = work()
            with self._lock:
                if not self._cancelled:
                    self._result.append(result)
        except Exception as error:
            # Whatever it is: what counts is whether the request was sent.
            self._error = self._explain(error)
        finally:
            with self._lock:
                self._release()
            self._done.set()

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.release(self)
            self._handle = None

    @property
    def unresolved(self) -> bool:
        """Whether its thread has no connection yet: it waits for a name, which cannot be broken off."""
        return self._handle is None and not self._done.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether the caller has left."""
        return self._cancelled

    def _cancel(self) -> None:
        """Whatever the thread has not done by now, it does not do any more."""
        with self._lock:
            if self._done.is_set() or self._result:
                return
            self._cancelled = True
            handle = self._handle
        # A name resolution cannot be broken off: that thread ends when it can, and finds itself cancelled.
        if handle is not None:
            handle.abort(self)
            if not self._done.wait(_CLEAN_UP_S):
                handle.abort(self, socket.SHUT_RDWR)

    def _too_late(self) -> PlatformError:
        if self.sent_at is not None:
            return UnknownOutcomeError("the platform did not answer in time")
        if self.phase in (Phase.START, Phase.READY):
            return NotSentError("no time was left to send the request", code="not_sent_late")
        code, what = self.phase.value
        return NotSentError(f"{what} in time", code=code)

    def _explain(self, error: Exception) -> PlatformError:
        if self._cancelled or isinstance(error, CallCancelledError):
            return self._too_late()
        if self.sent_at is None:
            code, what = self.phase.value
            return NotSentError(f"{what}: {describe(error)}", code=code)
        what = f"after the request was sent: {describe(error)}"
        return UnknownOutcomeError(what, code=error_code(error))


class _CallThread(threading.Thread):
    """The thread of a call. A daemon: the end of the process does not wait for a name server."""

    def __init__(self, call: Call[Any], work: Callable[[], Any]) -> None:
        super().__init__(name="token-refresher-call", daemon=True)
        self.call = call
        self._work = work

    def run(self) -> None:
        self.call._perform(self._work)


def _check_name_servers() -> None:
    """Raises NotSentError while too many threads wait for a silent name server. Those that end count no more."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _CallThread)]
    waiting = [thread.call for thread in threads if thread.call.unresolved]
    if len(waiting) >= _MOST_UNRESOLVED and any(call.cancelled for call in waiting):
        raise NotSentError(f"{len(waiting)} requests still wait for a name server", code="not_sent_dns")


def current_call() -> Call[Any] | None:
    """The call whose thread this is, None in any other thread."""
    thread = threading.current_thread()
    return thread.call if isinstance(thread, _CallThread) else None
