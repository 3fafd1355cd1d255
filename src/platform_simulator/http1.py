"""HTTP/1.1 on bytes: reading requests, writing replies."""

from __future__ import annotations

import http
import socket
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

# Far above what a form of this platform needs; below what would hurt the test's own process.
_MAX_HEAD = 65_536
_MAX_BODY = 1_048_576


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
class Reply:
    """One reply; `padding` blanks follow the body (JSON allows them) without being kept.

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
