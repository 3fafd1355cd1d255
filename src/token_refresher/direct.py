"""One Redis server over plain sockets: what a run needs of a client, and no more.

For `redis://` and `unix://`, where nothing has to be found out first. Importing redis-py costs more than a whole run
that finds nothing due; TLS, sentinels and clusters are worth that, and go through it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .redis_errors import ServerError, server_error

_PORT = 6379
# Redis's own errors are a few hundred bytes, our scripts' lists two deep; numbers have up to 19 digits, sizes nine.
_LONGEST_LINE, _DEEPEST = 65536, 8
_LONGEST_NUMBER, _LONGEST_SIZE = 19, 9


class Direct:
    """A client; several threads may use it at once. `dial` makes a socket with a time-out.

    Raises ServerError, and OSError where the connection fails; nothing is ever sent twice.
    """

    def __init__(self, dial: Callable[[], socket.socket], hello: Sequence[Sequence[str]]) -> None:
        self._dial, self._hello = dial, hello
        # Both ends of a list are safe to use by several threads; a child process takes none of its parent's.
        self._idle: list[_Connection] = []
        self._pid = os.getpid()

    def execute_command(self, *parts: Any) -> Any:
        """The reply to one command. Raises ServerError, OSError."""
        (reply,) = self.send([_packed(*parts)])
        if isinstance(reply, ServerError):
            raise reply
        return reply

    def eval(self, script: str, n_keys: int, *arguments: Any) -> Any:
        """The reply of one script. Raises ServerError, OSError."""
        return self.execute_command("EVAL", script, n_keys, *arguments)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """Several commands in one go. There are no transactions: a script is one by itself."""
        return Pipeline(self)

    def send(self, commands: Sequence[bytes]) -> list[Any]:
        """The reply to each command, in order; an error among them is a value. Raises OSError."""
        connection = self._take()
        try:
            replies = connection.ask(commands)
        except BaseException:
            connection.close()
            raise
        if any(isinstance(reply, ServerError) for reply in replies):
            # It may be that this server is no longer the primary; the name may by now lead to another.
            connection.close()
        else:
            self._idle.append(connection)
        return replies

    def _take(self) -> _Connection:
        """A connection that still stands: one of a warm instance may have died while it was frozen."""
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was quicker
                connection = self._idle.pop()
                if connection.stands():
                    return connection
                connection.close()
        return self._connect()

    def _connect(self) -> _Connection:
        connection = _Connection(self._dial)
        try:
            for command in self._hello:
                (reply,) = connection.ask([_command(command)])
                if isinstance(reply, ServerError) and "wrong number of arguments" in str(reply) and len(command) == 3:
                    # A server before Redis 6 knows no users.
                    (reply,) = connection.ask([_command((command[0], command[2]))])
                if isinstance(reply, ServerError):
                    raise reply
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close what is idle; may be repeated."""
        while self._idle:
            self._idle.pop().close()


class Pipeline:
    """Commands that are sent together; used as a context, like redis-py's."""

    def __init__(self, client: Direct) -> None:
        self._client = client
        self._commands: list[bytes] = []

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._commands.clear()

    def execute_command(self, *parts: Any) -> None:
        self._commands.append(_packed(*parts))

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """All replies in order. Raises OSError, and the first ServerError where that is asked for."""
        replies = self._client.send(self._commands)
        wrong = next((reply for reply in replies if isinstance(reply, ServerError)), None)
        if wrong is not None and raise_on_error:
            raise wrong
        return replies


class _Connection:
    """A socket, and the replies that come from it."""

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        # Dialled in here, so that this is older than its socket: what is collected together ends in that order.
        self._sock = dial()
        self._file = self._sock.makefile("rb", 65536)
        self._news = select.poll()
        self._news.register(self._sock, select.POLLIN)

    def ask(self, commands: Sequence[bytes]) -> list[Any]:
        self._sock.sendall(b"".join(commands))
        return [self._reply() for _ in commands]

    def _reply(self, depth: int = 0) -> Any:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return server_error(rest.decode("utf-8", "replace").removeprefix("ERR "))
        digits = rest.removeprefix(b"-")
        longest = _LONGEST_NUMBER if kind == b":" else _LONGEST_SIZE
        if kind not in b"$*:" or depth > _DEEPEST or not digits.isdigit() or len(digits) > longest:
            raise ConnectionAbortedError("what answers is no Redis")
        number = int(rest)
        if kind == b"$":
            return self._bulk(number)
        if kind == b"*":
            return [self._reply(depth + 1) for _ in range(number)] if number >= 0 else None
        return number

    def _bulk(self, size: int) -> bytes | None:
        if size < 0:
            return None
        content: bytes = self._file.read(size + 2)
        if len(content) != size + 2:
            raise ConnectionResetError("Redis closed the connection")
        return content[:-2]

    def stands(self) -> bool:
        """Whether nothing came from the other side: neither its goodbye nor an answer that nobody waits for."""
        return not self._news.poll(0)

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


def _command(parts: Sequence[object]) -> bytes:
    """A command as Redis takes it. A lone surrogate is sent as it is written: it is Redis's to refuse."""
    encoded = [part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass") for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)


@functools.lru_cache(maxsize=32)
def _head(n_parts: int, *parts: Any) -> bytes:
    """A script's call up to the number of its keys: the same, and long, every time."""
    return b"*%d\r\n" % n_parts + _command(parts).partition(b"\r\n")[2]


def _packed(*parts: Any) -> bytes:
    if parts[0] != "EVAL":
        return _command(parts)
    return _head(len(parts), *parts[:3]) + _command(parts[3:]).partition(b"\r\n")[2]


def reach(url: str, timeout_s: float) -> Direct | None:
    """A client for a URL; None for one that needs more than this, or that cannot be read. Nothing is sent yet."""
    try:
        return _reach(url, timeout_s)
    except ValueError:
        return None


def _reach(url: str, timeout_s: float) -> Direct | None:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    where = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("redis", "unix") or set(query) - {"db"} or (parts.username and not parts.password):
        return None
    dial: Callable[[], socket.socket]
    if parts.scheme == "unix":
        if where or not hasattr(socket, "AF_UNIX"):
            return None
        db = query.get("db", ["0"])[0]
        dial = functools.partial(_dial_path, unquote(parts.path), timeout_s)
    else:
        db = parts.path.strip("/") or "0"
        if query or not parts.hostname:
            return None
        dial = functools.partial(_dial, unquote(parts.hostname), parts.port or _PORT, timeout_s)
    login = [unquote(part) for part in (parts.username, parts.password) if part]
    hello = ([["AUTH", *login]] if login else []) + ([["SELECT", db]] if int(db) else [])
    return Direct(dial, hello)


def _dial(host: str, port: int, timeout_s: float) -> socket.socket:
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except UnicodeError:
        raise ConnectionError("no such host: its name has parts that no name has") from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def _dial_path(path: str, timeout_s: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
