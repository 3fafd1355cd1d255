"""The connections below requests: each asks its call before it sends. Imports urllib3 only when called."""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from token_refresher.domain.addresses import ProxyUrl
from token_refresher.platforms.http.call import AbortHandle, Call, CallCancelledError, Phase, current_call

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPResponse as _Response

    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection as _Connection
    from urllib3.connectionpool import HTTPConnectionPool as _ConnectionPool
else:
    # The real bases come beside them in `_pools`, when urllib3 is imported.
    _Response = _Connection = _ConnectionPool = object

# Never reached: a pool that urllib3 drops for a newer one would be closed at a moment of its own choosing.
_MAX_HOSTS = 1024
# On close, discard what is queued and reset: the platform must not get a request we no longer wait for.
# Set before anything is sent, so that it holds for a killed process too.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# The kernel gives up on bytes that are not acknowledged, so that they are not delivered when a broken link heals.
_USER_TIMEOUT_MS = 5000
# 100 Continue, 102 Processing and 103 Early Hints may precede an answer; one of each is more than is ever seen.
_MOST_INTERIM = 20


def set_socket_options(sock: socket.socket) -> None:
    """Set what bounds how long our bytes can stay under way. Raises OSError, which names a refused option."""
    _set_option(sock, "SO_LINGER", socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        _set_option(sock, "TCP_USER_TIMEOUT", socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    with contextlib.suppress(OSError):
        # A request is one write, so this only saves time.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _set_option(sock: socket.socket, name: str, level: int, option: int, value: Any) -> None:
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        what = f"this system refuses the socket option {name} ({error.strerror}), and nothing is sent without it"
        raise OSError(error.errno, f"{what}: run on a Linux kernel or sandbox that accepts it") from None


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """The same one for every run, until the certificates change: reading them costs more than a whole refresh."""
    from certifi import where

    ca = ca_bundle or where()
    found = os.stat(ca)
    return _tls_context(ca, (found.st_ino, found.st_size, found.st_mtime_ns))


@functools.lru_cache(maxsize=1)
def _tls_context(ca: str, _version: tuple[int, ...]) -> ssl.SSLContext:
    """Built by hand: the ready-made ones write session keys to SSLKEYLOGFILE."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(**{"capath" if os.path.isdir(ca) else "cafile": ca})
    return context


class _Answer(_Response):
    def _read_status(self) -> tuple[str, int, str]:
        # http.client calls it for a proxy's answer to CONNECT too. Its own loop reads over 100 alone, without end.
        from http.client import HTTPException, parse_headers

        for _ in range(_MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException("interim answers without end")

    def begin(self) -> None:
        super().begin()
        # urllib3 logs malformed header lines word for word, and a hostile platform may echo a secret.
        self.msg.defects.clear()
        self.msg.set_payload("")


class _CallConnection(_Connection):
    """What a connection must do so that its call knows, and decides, whether the request is sent."""

    secure = False
    _handle: AbortHandle | None = None
    _parts: list[bytes] | None = None

    def _new_conn(self) -> socket.socket:
        call = _this_call()
        call.enter_phase(Phase.PROXY if self.proxy else Phase.DNS)
        found = socket.getaddrinfo(self.host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        failed: OSError = OSError("no address")
        for family, kind, protocol, _, address in found:
            try:
                sock = self._dial(socket.socket(family, kind, protocol), address, call)
            except OSError as error:
                failed = error
            else:
                if self.secure and not self.proxy:
                    call.enter_phase(Phase.TLS)
                return sock
        raise failed

    def _dial(self, sock: socket.socket, address: Any, call: Call[Any]) -> socket.socket:
        try:
            call.enter_phase(Phase.START)
            set_socket_options(sock)
            call.enter_phase(Phase.PROXY if self.proxy else Phase.CONNECT)
            sock.settimeout(min(self.timeout or call.remaining_s(), call.remaining_s()))
            self._handle = AbortHandle(sock, self)
            call.attach(self._handle)
            sock.connect(address)
        except BaseException:
            sock.close()
            self._let_go()
            raise
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()
        _this_call().enter_phase(Phase.TLS)

    def send(self, data: Any) -> None:
        # While `request` writes, its parts are kept back: sent one by one, a process that is stopped between
        # two of them would complete the request whenever it is woken.
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)

    def request(self, *args: Any, **kwargs: Any) -> None:
        call, self._parts = _this_call(), []
        try:
            super().request(*args, **kwargs)
            request = b"".join(self._parts)
        finally:
            self._parts = None
        if self._handle is None:
            raise AssertionError("a connection that could not be broken off")
        call.attach(self._handle)
        call.enter_phase(Phase.READY)
        if self._handle.peer_closed():
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        call.mark_sent()
        super().send(request)

    def quiet(self) -> bool:
        """Whether the connection is open and unused. TLS's own messages, such as session tickets, are read over."""
        import ssl

        sock = self.sock
        if sock is None:
            return False
        wait_s = sock.gettimeout()
        try:
            sock.settimeout(0)
            # Whatever can be read, the end or bytes before any request, makes it useless.
            sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except (OSError, ValueError):
            return False
        finally:
            with contextlib.suppress(OSError):
                sock.settimeout(wait_s)
        return False

    def close(self) -> None:
        if self._handle is not None and current_call() is None:
            self._handle.close_gracefully()
        super().close()
        self._let_go()

    def _let_go(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.release(self)


class _CallPool(_ConnectionPool):
    """Connections to one host, of which a thread can reserve one for its next request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reserving = threading.Lock()
        self._reserved: dict[int, Any] = {}  # by the thread that owns the reservation

    def reserve(self, owner: int) -> bool:
        """Reserve a connection that is open already; False when none is at hand."""
        with self._reserving:
            conn = self._reserved.pop(owner, None) or self._idle()
        if conn is None:
            return False
        if conn.quiet():
            return self._keep(owner, conn)
        conn.close()
        self._put_conn(conn)
        return False

    def _idle(self) -> Any:
        """A connection out of the pool, None when it holds none."""
        from queue import Empty

        if self.pool is None:
            return None
        try:
            conn = self.pool.get(block=False)
        except Empty:
            return None
        if conn is None:
            self._put_conn(None)
        return conn

    def dial(self, tunnel: bool, timeout_s: float) -> None:
        """In a call's thread: connect, through the proxy's `tunnel` if there is one, and reserve for its owner."""
        call, conn = _this_call(), self._get_conn()
        try:
            conn.timeout = timeout_s
            if conn.is_closed and tunnel:
                self._prepare_proxy(conn)
            self._validate_conn(conn)
            call.enter_phase(Phase.READY)
            if call.clock() >= call.until:
                raise CallCancelledError
        except BaseException:
            conn.close()
            self._put_conn(None)
            raise
        self._keep(call.owner, conn)

    def _keep(self, owner: int, conn: Any) -> bool:
        with self._reserving:
            if kept := self.pool is not None:
                # Another one is there only when a call ends after its caller has left.
                conn, self._reserved[owner] = self._reserved.get(owner), conn
        if conn is not None:
            self._put_conn(conn)
        return kept

    def _get_conn(self, timeout: float | None = None) -> Any:
        with self._reserving:
            conn = self._reserved.pop(_this_call().owner, None)
        if conn is None:
            return super()._get_conn(timeout)
        if not conn.quiet():
            conn.close()  # it connects again when it is used
        return conn

    def close(self) -> None:
        with self._reserving:
            super().close()
            reserved, self._reserved = list(self._reserved.values()), {}
        for conn in reserved:
            conn.close()


def _this_call() -> Call[Any]:
    call = current_call()
    if call is None:
        raise AssertionError("a request outside of a call could not be cancelled")
    return call


def _pools() -> dict[str, Any]:
    """Pools of `_CallConnection`s by scheme. Made in a function, as their bases need urllib3 imported."""
    from http.client import HTTPResponse

    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Answer(_Answer, HTTPResponse):
        """The head of an answer, interim ones read over."""

    class Plain(_CallConnection, HTTPConnection):
        response_class = Answer

    class Secure(_CallConnection, HTTPSConnection):
        response_class = Answer
        secure = True

    class PlainPool(_CallPool, HTTPConnectionPool):
        ConnectionCls = Plain

        def _validate_conn(self, conn: Any) -> None:
            # As HTTPS does. Later, urllib3 takes a reset connection for one that may still have an answer.
            if conn.is_closed:
                conn.connect()

    class SecurePool(_CallPool, HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def proxy_headers(proxy: str) -> dict[str, str]:
    """What a proxy gets in addition, as curl does it: a user without a password too, UTF-8 beyond Latin-1."""
    # requests says which proxy it means by its address alone.
    known = ProxyUrl.parse(proxy)
    if not (known.username or known.password):
        return {}
    pair = f"{known.username.reveal()}:{known.password.reveal()}".encode("utf-8", "surrogateescape")
    with contextlib.suppress(UnicodeError):
        # Latin-1 where it can be: that is what requests sends, so whatever works with it goes on to work.
        pair = pair.decode().encode("latin-1")
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def build_adapter(tls: ssl.SSLContext, pool_size: int) -> HTTPAdapter:
    """requests' adapter over these pools: `tls` is for all of them, proxies' included."""
    from requests.adapters import HTTPAdapter

    pools = _pools()

    class Adapter(HTTPAdapter):
        managing = threading.Lock()

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=tls, **kwargs)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            if not proxy.lower().startswith(("http://", "https://")):
                raise ValueError("only http and https proxies: others would not ask before they send")
            with self.managing:  # two at once would make two, of which one would never be closed
                manager = super().proxy_manager_for(proxy, ssl_context=tls, proxy_ssl_context=tls, **kwargs)
                manager.pool_classes_by_scheme = pools
            return manager

        def proxy_headers(self, proxy: str) -> dict[str, str]:
            return proxy_headers(proxy)

        def cert_verify(self, *args: Any, **kwargs: Any) -> None:
            """`tls` verifies, always; requests would load certifi's certificates into it each time."""

        def close(self) -> None:
            for manager in (self.poolmanager, *self.proxy_manager.values()):
                for key in tuple(manager.pools.keys()):
                    manager.pools[key].close()
            super().close()

    # A connection beyond the pool's size is closed after its answer; nothing is ever sent twice.
    return Adapter(pool_connections=_MAX_HOSTS, pool_maxsize=pool_size, max_retries=0, pool_block=False)
