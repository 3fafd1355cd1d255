"""Sockets and threads: accepts connections, feeds requests to a handler, stops at once."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

from platform_simulator.http1 import BadRequestError, HttpRequest, Reply, RequestReader

# Room for a benchmark's hundreds of clients to connect at the same moment.
_BACKLOG = 1024
# A client that never finishes its handshake must not keep a thread for ever.
_HANDSHAKE_S = 10.0
# Every wait ends when `stopping` is set; this only bounds a handler that computes.
_JOIN_S = 5.0
# "On close, linger for zero seconds": the kernel then sends a reset instead of a goodbye.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Handler = Callable[[HttpRequest, "Link"], bool]


class Link:
    """One connection, as a handler sees it."""

    def __init__(self, sock: socket.socket, ip: str, port: int, stopping: threading.Event) -> None:
        self.sock = sock
        self.ip = ip
        self.peer = f"{ip}:{port}"
        self.stopping = stopping

    def send(self, data: bytes) -> None:
        """Send all bytes at once. Raises OSError when the client has left."""
        self.sock.sendall(data)

    def pause(self, seconds: float) -> bool:
        """Wait in real time; False when the server stops meanwhile."""
        return not (self.stopping.wait(seconds) if seconds > 0 else self.stopping.is_set())

    def wait_until_gone(self) -> None:
        """Say nothing until the client leaves or the server stops."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65_536):
                pass

    def reset_on_close(self) -> None:
        """Make the coming close a connection reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def wake(self) -> None:
        """Break off whatever the connection's thread waits for on the socket."""
        with contextlib.suppress(OSError):
            # Past SSLSocket's own method, which would drop the TLS state under its reader.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class Server:
    """Listens on a TCP port from construction until `stop`; one thread per connection.

    `handler(request, link)` answers through the link and returns whether the connection stays
    open. Raises OSError when the port cannot be had.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, handler: Handler) -> None:
        self._handler = handler
        self._tls = tls
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._links: set[Link] = set()
        self._threads: set[threading.Thread] = set()
        self._listener = socket.create_server((host, port), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._wake_in, self._wake_out = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="platform-accept", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Close everything and end all threads; connections in work are broken off."""
        self.stopping.set()
        self._wake_out.send(b"x")
        self._acceptor.join(_JOIN_S)
        with self._lock:
            threads = list(self._threads)
            for link in self._links:
                link.wake()
        deadline = time.monotonic() + _JOIN_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for sock in (self._listener, self._wake_in, self._wake_out):
            sock.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_in, selectors.EVENT_READ)
            while not self.stopping.is_set():
                selector.select()
                # A client may have left between select and accept.
                with contextlib.suppress(OSError):
                    while not self.stopping.is_set():
                        self._welcome(*self._listener.accept())
        self._listener.close()

    def _welcome(self, sock: socket.socket, address: tuple[str, int]) -> None:
        sock.setblocking(True)
        link = Link(sock, address[0], address[1], self.stopping)
        thread = threading.Thread(target=self._serve, args=(link,), name=f"platform-{address[1]}", daemon=True)
        with self._lock:
            self._links.add(link)
            self._threads.add(thread)
        thread.start()

    def _serve(self, link: Link) -> None:
        try:
            # Clients may leave at any moment; that is their right, not an error.
            with contextlib.suppress(OSError):
                link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    self._shake_hands(link, self._tls)
                self._converse(link)
        finally:
            link.sock.close()
            with self._lock:
                self._links.discard(link)
                self._threads.discard(threading.current_thread())

    def _shake_hands(self, link: Link, tls: ssl.SSLContext) -> None:
        link.sock.settimeout(_HANDSHAKE_S)
        wrapped = tls.wrap_socket(link.sock, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            link.sock = wrapped
        if self.stopping.is_set():
            raise ConnectionAbortedError
        wrapped.do_handshake()
        wrapped.settimeout(None)

    def _converse(self, link: Link) -> None:
        reader = RequestReader(link.sock)
        try:
            while request := reader.next():
                if self.stopping.is_set() or not self._handler(request, link):
                    return
        except BadRequestError as bad:
            link.send(Reply(bad.status).head(keep_alive=False))
            # Closing with bytes unread would be a reset, which can overtake the answer.
            socket.socket.shutdown(link.sock, socket.SHUT_WR)
            link.wait_until_gone()
