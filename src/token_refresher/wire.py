"""The connections below requests: each asks its flight before it sends. Imports urllib3 only when called."""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from .flight import Cord, Flight, Phase, current

if TYPE_CHECKING:
    import ssl

    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection as _Connection
else:
    _Connection = object  # the real base comes beside it in `adapter`, when urllib3 is imported

# Never reached: a pool that urllib3 drops for a newer one would be closed at a moment of its own choosing.
_MAX_HOSTS = 1024
# On close, discard what is queued and reset: the platform must not get a request we no longer wait for.
# Set before anything is sent, so that it holds for a killed process too.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# The kernel gives up on bytes nobody acknowledges, so that they are not delivered when a broken link heals.
_USER_TIMEOUT_MS = 5000


def prepare(sock: socket.socket) -> None:
    """Set what bounds the time that bytes of ours can stay under way. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


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


class _Wire(_Connection):
    """What a connection must do so that its flight knows, and decides, whether the request is sent."""

    secure = False
    _cord: Cord | None = None
    _parts: list[bytes] | None = None

    def _new_conn(self) -> socket.socket:
        flight = _flight()
        flight.enter(Phase.PROXY if self.proxy else Phase.DNS)
        found = socket.getaddrinfo(self.host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        if not self.proxy:
            flight.enter(Phase.CONNECT)
        failed: OSError = OSError("no address")
        for family, kind, protocol, _, address in found:
            try:
                sock = self._dial(socket.socket(family, kind, protocol), address, flight)
            except OSError as error:
                failed = error
            else:
                if self.secure and not self.proxy:
                    flight.enter(Phase.TLS)
                return sock
        raise failed

    def _dial(self, sock: socket.socket, address: Any, flight: Flight[Any]) -> socket.socket:
        try:
            prepare(sock)
            sock.settimeout(min(self.timeout or flight.left_s(), flight.left_s()))
            self._cord = Cord(sock, self)
            flight.hold(self._cord)
            sock.connect(address)
        except BaseException:
            sock.close()
            self._let_go()
            raise
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()
        _flight().enter(Phase.TLS)

    def send(self, data: Any) -> None:
        # While `request` writes, its parts are kept back: sent one by one, a process that is stopped between
        # two of them would complete the request whenever it is woken.
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)

    def request(self, *args: Any, **kwargs: Any) -> None:
        flight, self._parts = _flight(), []
        try:
            super().request(*args, **kwargs)
            request = b"".join(self._parts)
        finally:
            self._parts = None
        if self._cord is None:
            raise AssertionError("a connection that nobody could break off")
        flight.hold(self._cord)
        flight.enter(Phase.READY)
        if self._cord.hung_up():
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        flight.depart()
        super().send(request)

    def close(self) -> None:
        if self._cord is not None and current() is None:
            self._cord.calm()
        super().close()
        self._let_go()

    def _let_go(self) -> None:
        cord, self._cord = self._cord, None
        if cord is not None:
            cord.release(self)


def _flight() -> Flight[Any]:
    flight = current()
    if flight is None:
        raise AssertionError("a request outside of a flight could not be stopped")
    return flight


def _pools() -> dict[str, Any]:
    """Pools of `_Wire` connections by scheme. Made in a function, as their bases need urllib3 imported."""
    from http.client import HTTPResponse

    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Answer(HTTPResponse):
        def begin(self) -> None:
            super().begin()
            # urllib3 logs malformed header lines word for word, and a hostile platform may echo a secret.
            self.msg.defects.clear()
            self.msg.set_payload("")

    class Plain(_Wire, HTTPConnection):
        response_class = Answer

    class Secure(_Wire, HTTPSConnection):
        response_class = Answer
        secure = True

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

        def _validate_conn(self, conn: Any) -> None:
            # As HTTPS does. Later, urllib3 takes a reset connection for one that may still have an answer.
            if conn.is_closed:
                conn.connect()

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def adapter(tls: ssl.SSLContext, pool_size: int) -> HTTPAdapter:
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

        def cert_verify(self, *args: Any, **kwargs: Any) -> None:
            """`tls` verifies, always; requests would load certifi's certificates into it each time."""

        def close(self) -> None:
            for manager in (self.poolmanager, *self.proxy_manager.values()):
                for key in tuple(manager.pools.keys()):
                    manager.pools[key].close()
            super().close()

    # A connection beyond the pool's size is closed after its answer; nothing is ever sent twice.
    return Adapter(pool_connections=_MAX_HOSTS, pool_maxsize=pool_size, max_retries=0, pool_block=False)
