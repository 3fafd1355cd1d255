"""A stand-in for the proxy of a Tair cluster: what that refuses, this refuses; all else a real redis-server does.

What is refused, by whose word, is in `tair_rules`. One connection to the server for each client, one command at a time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import BinaryIO

from .tair_rules import only_said_to_be_done, refusal

# Only a bug makes a test wait this long (seconds).
_WAIT_S = 10.0
_END = b"\r\n"


class TairProxy:
    """Listens on the loopback and passes on to 127.0.0.1:`server_port`, from construction until `stop`.

    `passed` and `refused` are the names of the commands that were, in order.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.passed: list[str] = []
        self.refused: list[str] = []
        self._start(self._accept)

    def url(self, password: str = "", db: int = 0) -> str:
        """`redis://` through this proxy; `password` as it is to stand in a URL."""
        login = f":{password}@" if password else ""
        return f"redis://{login}127.0.0.1:{self.port}/{db}"

    def stop(self) -> None:
        """Close everything and end all threads; may be called repeatedly."""
        with self._lock:
            each_open = [self._listener, *self._open]
        for each in each_open:
            with contextlib.suppress(OSError):
                # Wakes the thread that waits in it.
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(_WAIT_S)

    def __enter__(self) -> TairProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- inside ------------------------------------------------------------------------------

    def _start(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, name="tair-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(lambda client=client: self._serve(client))  # type: ignore[misc]

    def _serve(self, client: socket.socket) -> None:
        """Until either side has left."""
        with contextlib.suppress(OSError, EOFError), contextlib.ExitStack() as stack:
            stack.enter_context(client)
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._server_port), _WAIT_S))
            server.settimeout(None)
            both = {client, server}
            with self._lock:
                self._open |= both
            stack.callback(self._open.difference_update, both)
            asked = stack.enter_context(client.makefile("rb"))
            answered = stack.enter_context(server.makefile("rb"))
            in_transaction = False
            while command := _read_command(asked):
                client.sendall(self._answer(command, in_transaction, server, answered))
                in_transaction = _stays_in_transaction(command, in_transaction)

    def _answer(
        self, command: Sequence[bytes], in_transaction: bool, server: socket.socket, answered: BinaryIO
    ) -> bytes:
        name = command[0].decode("utf-8", "replace").upper()
        if error := refusal(command, in_transaction):
            self.refused.append(name)
            return b"-" + error.encode() + _END
        self.passed.append(name)
        if only_said_to_be_done(command):
            return b"+OK" + _END
        server.sendall(_written(command))
        return _read_reply(answered)


def _stays_in_transaction(command: Sequence[bytes], in_transaction: bool) -> bool:
    name = command[0].upper()
    return name == b"MULTI" or (in_transaction and name not in (b"EXEC", b"DISCARD"))


# -- the protocol -----------------------------------------------------------------------------------------------------


def _line(source: BinaryIO) -> bytes:
    line = source.readline()
    if not line.endswith(_END):
        raise EOFError
    return line


def _exactly(source: BinaryIO, size: int) -> bytes:
    piece = source.read(size)
    if len(piece) != size:
        raise EOFError
    return piece


def _read_command(source: BinaryIO) -> list[bytes]:
    """The words of the next command; empty when the client has left or does not speak the protocol."""
    with contextlib.suppress(EOFError, ValueError):
        words = []
        for _ in range(int(_line(source).removeprefix(b"*"))):
            size = int(_line(source).removeprefix(b"$"))
            words.append(_exactly(source, size + len(_END))[:size])
        return words
    return []


def _written(command: Sequence[bytes]) -> bytes:
    words = (b"$%d\r\n%b\r\n" % (len(word), word) for word in command)
    return b"*%d\r\n" % len(command) + b"".join(words)


def _read_reply(source: BinaryIO) -> bytes:
    """The next reply as it stands, whatever is in it."""
    head = _line(source)
    kind, rest = head[:1], head[1 : -len(_END)]
    if kind == b"$" and rest != b"-1":
        return head + _exactly(source, int(rest) + len(_END))
    if kind == b"*" and rest != b"-1":
        return head + b"".join(_read_reply(source) for _ in range(int(rest)))
    return head
