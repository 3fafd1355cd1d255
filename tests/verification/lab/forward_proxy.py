"""A forward proxy for CONNECT, which may go away and come back."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading

_CHUNK = 65536
_WAIT_S = 10.0


class ForwardProxy:
    """Tunnels to addresses of this machine, on one port from construction until `stop`.

    Who is called sees the address `source`.
    """

    def __init__(self, source: str = "127.0.0.1") -> None:
        self.port, self._source = 0, source
        self._server: _Server | None = None
        self.come_back()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def go_away(self) -> None:
        """New clients are refused from now on."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def come_back(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _Tunnel)
            self._server.source = self._source
            self.port = int(self._server.server_address[1])
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.go_away()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    # Tunnels end when either side leaves; nobody has to wait for them.
    block_on_close = False
    source = ""


class _Tunnel(socketserver.StreamRequestHandler):
    timeout = _WAIT_S

    def handle(self) -> None:
        """One CONNECT, and what goes through until either side leaves."""
        with contextlib.suppress(OSError, ValueError):
            method, address, _ = self.rfile.readline().split()
            while self.rfile.readline().strip():
                pass
            host, _, port = address.decode("ascii").rpartition(":")
            if method != b"CONNECT" or host != "127.0.0.1":
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            assert isinstance(self.server, _Server)
            with socket.create_connection((host, int(port)), _WAIT_S, (self.server.source, 0)) as server:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pass, args=(server, self.connection), daemon=True)
                back.start()
                _pass(self.connection, server)
                back.join(_WAIT_S)


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_CHUNK):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
