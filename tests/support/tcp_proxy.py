"""A proxy in front of Redis that loses, holds and cuts what passes, at an exact command."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

_CHUNK = 65536
# Only a bug makes a test wait this long.
_WAIT_S = 10.0
# "On close, linger for zero seconds": the kernel then sends a reset instead of a goodbye.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Act(enum.Enum):
    """What happens to the command that a script is for."""

    CUT_BEFORE = "cut before"  # the connection breaks; the server never sees the command
    CUT_AFTER = "cut after"  # the server carries it out; its reply is lost and the connection breaks
    DROP_REPLY = "drop reply"  # the server carries it out; its reply is lost, the connection stays
    HOLD = "hold"  # the command waits here until `release`
    HOLD_REPLY = "hold reply"  # the server carries it out; its reply waits here until `release`


class End(enum.Enum):
    """How a connection that nobody used for long ends, at its next byte."""

    RESET = "reset"  # as after a failover behind one address
    SILENCE = "silence"  # as behind a gateway that forgot it: what is sent is lost, and nothing comes back


class Script:
    """One fault, for the `nth` command that holds `marker`; `reached` is set once it has happened."""

    def __init__(self, act: Act, marker: bytes, nth: int) -> None:
        self.act, self.marker, self.nth = act, marker, nth
        self.reached = threading.Event()
        self.released = threading.Event()

    def wait_reached(self) -> None:
        """Return as soon as it has happened. Raises TimeoutError."""
        if not self.reached.wait(_WAIT_S):
            raise TimeoutError(f"nothing to {self.act.value} with {self.marker!r} came within {_WAIT_S} s")

    def release(self) -> None:
        """Let go what is held."""
        self.released.set()


class _Link:
    """One client's connection and ours to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        # The script whose command was passed on and whose reply comes next.
        self.answering: Script | None = None
        self.end: End | None = None

    def cut(self) -> None:
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                # Wakes the thread that reads, without a goodbye to the other side.
                sock.shutdown(socket.SHUT_RD)
            sock.close()


class TcpProxy:
    """Passes connections on to 127.0.0.1:`server_port`, from construction until `stop`.

    `script` arms one fault, `cut` breaks what is open, `age` does so at the next byte, `refuse` and `accept_again` turn
    new clients away and
    take them again. Counts `commands` and `connections`. A client sends a command or a pipeline in one piece
    of up to 64 kB, so one piece counts as one command.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._scripts: list[Script] = []
        self._armed: list[Script] = []
        self.commands = 0
        self.connections = 0
        self.port = 0
        self.accept_again()

    def url(self, password: str = "") -> str:
        """`redis://` through this proxy; `password` as it is to stand in a URL."""
        login = f":{password}@" if password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def lead_to(self, server_port: int) -> None:
        """Pass later connections on to another port."""
        self._server_port = server_port

    # -- faults ------------------------------------------------------------------------------

    def script(self, act: Act, marker: bytes = b"", nth: int = 1) -> Script:
        """Arm a fault for the n-th command from now on that holds `marker` (any command, if empty)."""
        script = Script(act, marker, nth)
        with self._lock:
            self._scripts.append(script)
            self._armed.append(script)
        return script

    def disarm(self) -> None:
        """Forget the faults that are armed and have not happened."""
        with self._lock:
            self._armed.clear()

    def cut(self) -> None:
        """Reset every connection that is open now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def age(self, end: End) -> None:
        """Let every connection that is open now end like this at its next byte; later ones are well."""
        with self._lock:
            for link in self._links:
                link.end = end

    @property
    def open(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._links)

    def refuse(self) -> None:
        """Break everything off and let new connections be refused, as when the server is gone."""
        with contextlib.suppress(OSError):
            # Wakes the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def accept_again(self) -> None:
        """Listen, on the same port as before."""
        listener = self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._start(lambda: self._accept(listener))

    def stop(self) -> None:
        """Close everything and end all threads; may be called repeatedly."""
        for script in self._scripts:
            script.release()
        self.refuse()
        for thread in self._threads:
            thread.join(_WAIT_S)

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- inside ------------------------------------------------------------------------------

    def _start(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, name="tcp-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._welcome(client)

    def _welcome(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), _WAIT_S)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        link = _Link(client, server)
        with self._lock:
            self._links.add(link)
            self.connections += 1
        self._start(lambda: self._pass(link, self._upwards))
        self._start(lambda: self._pass(link, self._downwards))

    def _pass(self, link: _Link, way: Callable[[_Link], None]) -> None:
        """One direction, until either side has left; then the link is over in both."""
        with contextlib.suppress(OSError):
            way(link)
        link.cut()
        with self._lock:
            self._links.discard(link)

    def _upwards(self, link: _Link) -> None:
        for piece in _pieces(link.client):
            if link.end is End.RESET:
                link.cut()
                return
            if link.end is End.SILENCE:
                continue
            script = link.answering = self._script_for(piece)
            if script and script.act is Act.CUT_BEFORE:
                link.cut()
                script.reached.set()
                return
            if script and script.act is Act.HOLD:
                script.reached.set()
                script.released.wait()
            link.server.sendall(piece)

    def _downwards(self, link: _Link) -> None:
        for piece in _pieces(link.server):
            script = link.answering
            if script and script.act is Act.CUT_AFTER:
                link.cut()
                script.reached.set()
                return
            if script and script.act is Act.HOLD_REPLY:
                script.reached.set()
                script.released.wait()
            if script and script.act is Act.DROP_REPLY:
                script.reached.set()
                continue
            link.client.sendall(piece)

    def _script_for(self, piece: bytes) -> Script | None:
        with self._lock:
            self.commands += 1
            fitting = [script for script in self._armed if script.marker in piece]
            for script in fitting:
                script.nth -= 1
            due = next((script for script in fitting if script.nth <= 0), None)
            if due:
                self._armed.remove(due)
            return due


def _pieces(sock: socket.socket) -> Iterator[bytes]:
    while piece := sock.recv(_CHUNK):
        yield piece
