"""HTTP/1.1 on sockets and threads: reads requests, feeds them to a handler, writes replies, stops at once."""

from __future__ import annotations

import contextlib
import http
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

# Far above what a form of this platform needs; below what would hurt the test's own process.
_MAX_HEAD = 65_536
_MAX_BODY = 1_048_576
# Room for a benchmark's hundreds of clients to connect at the same moment.
_BACKLOG = 1024
# A client that never finishes its handshake must not keep a thread for ever.
_HANDSHAKE_S = 10.0
# Every wait ends when `stopping` is set; this only bounds a handler that computes.
_JOIN_S = 5.0
# "On close, linger for zero seconds": the kernel then sends a reset instead of a goodbye.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class BadRequestError(Exception):
    """The bytes are not a request this server reads; `status` is the HTTP status to answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


@dataclass(frozen=True)
class HttpRequest:
    """One request; `path` without query, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool

    def form(self) -> dict[str, str] | None:
        """The form in the body; None when the body is not declared to be one."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/x-www-form-urlencoded":
            return None
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True)
class HttpResponse:
    """One answer; `padding` blanks follow the body (JSON allows them) without being kept.

    `interim` (bytes) leaves before it: whole answers such as 103 Early Hints.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json; charset=utf-8"),)
    body: bytes = b""
    padding: int = 0
    interim: bytes = b""

    def head(self, keep_alive: bool, chunked: bool = False) -> bytes:
        """Status line and headers, ready to be sent."""
        try:
            phrase = http.HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        size = len(self.body) + self.padding
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        connection = "keep-alive" if keep_alive else "close"
        lines = [f"HTTP/1.1 {self.status} {phrase}", length, f"Connection: {connection}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return self.interim + ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class RequestReader:
    """Takes one request after the other from a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def next(self) -> HttpRequest | None:
        """The next request; None when the client has left.

        Raises BadRequestError for what is not a request, OSError when the connection breaks.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise BadRequestError(431)
            if not self._fill():
                return None
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        method, path, version, headers = _parse_head(head)
        length = _body_length(headers)
        if headers.get("expect", "").lower() == "100-continue" and len(self._buffer) < length:
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < length:
            if not self._fill():
                return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        wish = headers.get("connection", "").lower()
        keep_alive = wish != "close" if version == "HTTP/1.1" else wish == "keep-alive"
        return HttpRequest(method, path, headers, body, keep_alive)

    def _fill(self) -> bool:
        more = self._sock.recv(65_536)
        self._buffer += more
        return bool(more)


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = first.split(" ")
        # A forward proxy may pass the whole address on; only its path matters here.
        path = urlsplit(target).path
    except ValueError:
        raise BadRequestError(400) from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequestError(505)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return method, path, version, headers


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequestError(411)
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise BadRequestError(400)
    length = int(text)
    if length > _MAX_BODY:
        raise BadRequestError(413)
    return length


class ClientConnection:
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


Handler = Callable[[HttpRequest, ClientConnection], bool]


class Server:
    """Listens on a TCP port from construction until `stop`; one thread per connection.

    `handler(request, client)` answers through the client and returns whether the connection stays
    open. Raises OSError when the port cannot be had.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, handler: Handler) -> None:
        self._handler = handler
        self._tls = tls
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._clients: set[ClientConnection] = set()
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
            for client in self._clients:
                client.wake()
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
        client = ClientConnection(sock, address[0], address[1], self.stopping)
        thread = threading.Thread(target=self._serve, args=(client,), name=f"platform-{address[1]}", daemon=True)
        with self._lock:
            self._clients.add(client)
            self._threads.add(thread)
        thread.start()

    def _serve(self, client: ClientConnection) -> None:
        try:
            # Clients may leave at any moment; that is their right, not an error.
            with contextlib.suppress(OSError):
                client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    self._shake_hands(client, self._tls)
                self._converse(client)
        finally:
            client.sock.close()
            with self._lock:
                self._clients.discard(client)
                self._threads.discard(threading.current_thread())

    def _shake_hands(self, client: ClientConnection, tls: ssl.SSLContext) -> None:
        client.sock.settimeout(_HANDSHAKE_S)
        wrapped = tls.wrap_socket(client.sock, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            client.sock = wrapped
        if self.stopping.is_set():
            raise ConnectionAbortedError
        wrapped.do_handshake()
        wrapped.settimeout(None)

    def _converse(self, client: ClientConnection) -> None:
        reader = RequestReader(client.sock)
        try:
            while request := reader.next():
                if self.stopping.is_set() or not self._handler(request, client):
                    return
        except BadRequestError as bad:
            client.send(HttpResponse(bad.status).head(keep_alive=False))
            # Closing with bytes unread would be a reset, which can overtake the answer.
            socket.socket.shutdown(client.sock, socket.SHUT_WR)
            client.wait_until_gone()
