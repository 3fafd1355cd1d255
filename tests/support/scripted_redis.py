"""A server that speaks Redis's protocol and says what a test scripts: for instances that no test can have."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from types import TracebackType

OK = b"+OK\r\n"
Answer = Callable[[list[str]], "bytes | None"]


class ScriptedRedis:
    """Listens on the loopback from construction until `stop`.

    `answer` maps a command (its words) to a reply; None passes it on to the real server at `behind`, where there is
    one, and is OK elsewhere. `commands` are all that came, in order.
    """

    def __init__(self, answer: Answer, behind: int | None = None) -> None:
        self.commands: list[list[str]] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
                    server = None
                    if behind:
                        server = stack.enter_context(socket.create_connection(("127.0.0.1", behind), 5))
                        replies = stack.enter_context(server.makefile("rb"))
                    while (raw := _command(self.rfile)) is not None:
                        words, sent = raw
                        outer.commands.append(words)
                        reply = answer(words)
                        if reply is None and server:
                            server.sendall(sent)
                            reply = _reply(replies)
                        self.wfile.write(OK if reply is None else reply)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> ScriptedRedis:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def says(sentence: str, *commands: str) -> Answer:
    """Answers these commands, or all when none is named, with this error."""

    def answer(words: list[str]) -> bytes | None:
        return f"-{sentence}\r\n".encode() if not commands or words[0].upper() in commands else None

    return answer


def _command(file: object) -> tuple[list[str], bytes] | None:
    first = file.readline()  # type: ignore[attr-defined]
    if not first.startswith(b"*"):
        return None
    words, sent = [], first
    for _ in range(int(first[1:])):
        head = file.readline()  # type: ignore[attr-defined]
        body = file.read(int(head[1:]) + 2)  # type: ignore[attr-defined]
        words.append(body[:-2].decode("utf-8", "replace"))
        sent += head + body
    return words, sent


def _reply(file: object) -> bytes:
    line: bytes = file.readline()  # type: ignore[attr-defined]
    if line[:1] == b"$" and line != b"$-1\r\n":
        line += file.read(int(line[1:]) + 2)  # type: ignore[attr-defined]
    elif line[:1] == b"*":
        line += b"".join(_reply(file) for _ in range(int(line[1:])))
    return line
