"""Answers of the platform as bytes on a real connection, beginning with the status line."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import NotSentError, PlatformError
from token_refresher.domain.policy import Policy
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform

from .answers import application, echoed
from .hearing import listening
from .properties import SECRET, attempt, hold

_WAIT_S = 10.0
_LARGEST_REQUEST = 65_536


def _whole(request: bytes) -> bool:
    """Whether all of an HTTP request is there: its head, and as many bytes as that announces."""
    head, end, body = request.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(end) and len(body) >= int(length or 0)


class Mouth:
    """A server that reads one whole request of each connection, sends `answer` (bytes) and closes.

    `whole` tells of the bytes that came whether they are a request.
    """

    def __init__(self, whole: Callable[[bytes], bool] = _whole) -> None:
        self.answer, self.requests, self._whole = b"", 0, whole
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # The other side may be gone already: a client that has heard enough.
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_WAIT_S)
                if self._read(connection):
                    self.requests += 1
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)
                    # Closed with something unread, the connection would be reset before the answer is read.
                    connection.recv(1)

    def _read(self, connection: socket.socket) -> bool:
        """Whether a whole request came."""
        request = b""
        while len(request) < _LARGEST_REQUEST and not self._whole(request):
            more = connection.recv(_LARGEST_REQUEST)
            if not more:
                return False
            request += more
        return True

    def __enter__(self) -> Mouth:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A shutdown wakes who waits in accept; a close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_WAIT_S)


@contextmanager
def connection(
    open_platform: Callable[..., YuanzhibangPlatform] = YuanzhibangPlatform,
) -> Iterator[Callable[[bytes], None]]:
    """The target: each input is what the platform's side of one connection says."""
    # A folder without certificates costs no time to load, and no input needs one.
    with Mouth() as mouth, listening() as clean, tempfile.TemporaryDirectory(prefix="fuzz-") as certificates:
        app = application(mouth.url)

        def answer(data: bytes) -> None:
            mouth.answer, before = echoed(data), mouth.requests
            with open_platform(policy=Policy(), pool_size=1, ca_bundle=certificates) as platform:
                until = steady_clock() + _WAIT_S
                found = attempt(lambda: platform.fetch_access_token(app, until), PlatformError)
            hold(not isinstance(found, NotSentError), "the platform was there, and it is said that it was not asked")
            hold(mouth.requests - before == 1, "not exactly one request was sent")
            clean((SECRET,))

        yield answer
