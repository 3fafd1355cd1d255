"""The bare limit: the same bytes over a plain socket, with as little Python as can be."""

import json
import socket


def resp(*parts) -> bytes:
    """A command as Redis takes it."""
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)
    return b"*%d\r\n%s" % (len(encoded), body)


class Redis:
    """A connection that sends bytes and reads whole replies."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", 65536)

    def ask(self, request: bytes, replies: int) -> list:
        self._socket.sendall(request)
        return [self._reply() for _ in range(replies)]

    def _reply(self):
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest if kind in (b"+", b"-") else int(rest)


class Platform:
    """A connection that posts forms and reads answers."""

    def __init__(self, port: int, context=None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._file = self._socket.makefile("rb", 65536)
        self._host = f"127.0.0.1:{port}"

    def post(self, path: str, form: str) -> dict:
        self._socket.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: token-refresher\r\n"
            f"Content-Length: {len(form)}\r\n\r\n{form}".encode()
        )
        length = 0
        while (line := self._file.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self._file.read(length))

    def close(self) -> None:
        self._file.close()
        self._socket.close()
