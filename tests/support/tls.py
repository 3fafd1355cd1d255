"""Certificates made for a test, and a front that speaks TLS before a plain server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType

import trustme


class Certificates:
    """An authority of the test's own, with files for a server and a client."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.server = self.authority.issue_cert("127.0.0.1", "localhost")
        client = self.authority.issue_cert("client@example.invalid")
        self.ca, self.cert, self.key = (directory / name for name in ("ca.pem", "client.pem", "client.key"))
        self.authority.cert_pem.write_to_path(self.ca)
        client.cert_chain_pems[0].write_to_path(self.cert)
        client.private_key_pem.write_to_path(self.key)

    def context(self, ask_for_client: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.configure_cert(context)
        if ask_for_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


class TlsFront:
    """Speaks TLS to clients and plain TCP to the Redis behind it, as stunnel does; ends with `stop`."""

    def __init__(self, server_port: int, context: ssl.SSLContext) -> None:
        self._server_port, self._context = server_port, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> TlsFront:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                self._open.append(plain)
                plain.settimeout(5)
                with contextlib.suppress(OSError):
                    client = self._context.wrap_socket(plain, server_side=True)
                    client.settimeout(None)
                    server = socket.create_connection(("127.0.0.1", self._server_port), 5)
                    server.settimeout(None)
                    self._open += [client, server]
                    for source, sink in ((client, server), (server, client)):
                        self._threads.append(threading.Thread(target=self._pass, args=(source, sink), daemon=True))
                        self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_RDWR)
