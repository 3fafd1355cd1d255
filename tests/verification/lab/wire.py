"""A stretch of network between the system under test and Redis: it may be slow, or carry nothing for a while."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

from support.tcp_proxy import TcpProxy, _Link

_CHUNK = 65536


class Wire(TcpProxy):
    """Passes connections on to 127.0.0.1:`server_port`, from construction until `stop`.

    Each reply comes `delay_s` (real seconds) late. While it is `dark` nothing goes through, in neither direction; what
    was sent meanwhile arrives afterwards, as it does when a partition of a real network ends. Connections may be
    `condemned`: they look well until something is sent.
    """

    def __init__(self, server_port: int) -> None:
        self.delay_s = 0.0
        self._lit, self._over = threading.Event(), threading.Event()
        self._lit.set()
        # Those that are reset at the next byte (True), or carry nothing any more.
        self._condemned: dict[_Link, bool] = {}
        super().__init__(server_port)

    def dark(self) -> None:
        self._lit.clear()

    def light(self) -> None:
        self._lit.set()

    def lead_to(self, server_port: int) -> None:
        """From now on to another server, as an address does that moves with the primary."""
        self._server_port = server_port
        self.cut()

    def condemn(self, *, reset: bool) -> None:
        """Every connection that is open now is reset at the next byte, or carries nothing from now on."""
        with self._lock:
            self._condemned |= dict.fromkeys(self._links, reset)

    def stop(self) -> None:
        self._over.set()
        self.light()
        super().stop()

    def _upwards(self, link: _Link) -> None:
        for piece in self._pieces(link.client):
            if link in self._condemned:
                if self._condemned[link]:
                    return link.cut()
                continue
            link.server.sendall(piece)
        return None

    def _downwards(self, link: _Link) -> None:
        for piece in self._pieces(link.server):
            self._over.wait(self.delay_s)
            self._lit.wait()
            link.client.sendall(piece)

    def _pieces(self, source: socket.socket) -> Iterator[bytes]:
        while piece := source.recv(_CHUNK):
            self._lit.wait()
            yield piece
