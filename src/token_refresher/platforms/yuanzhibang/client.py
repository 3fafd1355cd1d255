"""The open platform's interfaces as a client: one call, one request, one of three outcomes.

A call returns what the platform gave, or raises RefusedError (a definite no; NotSentError when the request
never left), or UnknownOutcomeError (it may have been carried out). The first request imports requests, urllib3 and ssl.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from token_refresher.domain.addresses import PlatformUrl, ProxyUrl
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import InvalidValueError, NotSentError, PlatformError
from token_refresher.domain.host_port import HostPort
from token_refresher.domain.model import App, Kind, Secret
from token_refresher.domain.platform_answer import Checked, Issued
from token_refresher.domain.policy import Policy
from token_refresher.platforms.http.call import Call
from token_refresher.platforms.http.errors import describe
from token_refresher.platforms.http.response import MAX_BODY, HttpResponse, server_time, unusable_response
from token_refresher.platforms.http.transport import build_adapter, tls_context
from token_refresher.platforms.yuanzhibang.response import (
    parse_response,
    read_credential,
    read_expiry,
    read_lifetime,
    rejection,
)

if TYPE_CHECKING:
    from requests import PreparedRequest
    from requests.adapters import HTTPAdapter

_HEADERS = {
    "Accept": "application/json",
    # Small answers, and no need to unpack what a hostile one blew up.
    "Accept-Encoding": "identity",
    "Content-Type": "application/x-www-form-urlencoded",
    "User-Agent": "token-refresher",
}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class User:
    """Whose login-free code it was. `lifetime_s` (duration, seconds) is that of the grant."""

    open_id: str = field(repr=False)
    scope: str
    lifetime_s: int
    server_time: float | None


class YuanzhibangPlatform:
    """One run's connections to the platform; several threads may call at once.

    `proxies` maps a scheme (http, https) to a proxy's address, user and password included; nothing is taken
    from the environment or .netrc. `ca_bundle` is a file or folder of CA certificates instead of certifi's.
    Instants given as `until` are of `clock` (seconds): a request is not sent at or after it, and the call
    ends by then, or after `policy.request_total_s` if that is sooner. Up to `pool_size` connections to a host
    are kept alive.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        proxies: Mapping[str, Secret] = MappingProxyType({}),
        pool_size: int,
        ca_bundle: str | None = None,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        self._policy, self._clock, self._pool_size = policy, clock, pool_size
        self._proxies, self._ca_bundle = dict(proxies), ca_bundle
        self._lock = threading.Lock()
        self._adapter: HTTPAdapter | None = None
        self._pools: dict[PlatformUrl, Any] = {}  # by the address that was dialled
        self._closed = False

    def __enter__(self) -> YuanzhibangPlatform:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection: none is carried into the next run. May be repeated."""
        with self._lock:
            self._closed = True
            connections, self._adapter = self._adapter, None
        if connections is not None:
            connections.close()

    def dial(self, app: App, kind: Kind, until: float) -> None:
        """Have a connection ready for the fetch of this kind, without sending any of its request.

        It is reserved for the calling thread, whose next `fetch_access_token` or `fetch_js_ticket` at the same host
        uses it; if it breaks until then, that request connects again. Unused ones close with the run. Raises
        NotSentError.
        """
        url = app.endpoints.token_url if kind is Kind.ACCESS_TOKEN else app.endpoints.ticket_url
        with self._about(app, kind, url):
            connections = self._connections()
            call: Call[None] = self._new_call(until, threading.get_ident())
            known = self._pools.get(url)
            if known is None or self._clock() >= until or not known.reserve(call.owner):
                call.run(lambda: self._dial(call, connections, url))

    def fetch_access_token(self, app: App, until: float) -> Issued:
        """Fetch a new server access_token.

        Raises RefusedError, NotSentError or UnknownOutcomeError.
        """
        fields = {"app_id": app.app_id, "secret": app.secret.reveal(), "grant_type": "client_credential"}
        with self._about(app, Kind.ACCESS_TOKEN, app.endpoints.token_url):
            reply = self._post(app.endpoints.token_url, fields, until, threading.get_ident())
            return self._issued(reply, _data(reply, app, fields), "access_token")

    def fetch_js_ticket(self, app: App, access_token: str, until: float) -> Issued:
        """Fetch a new js_ticket with a live access_token.

        Raises RefusedError (error code token_invalid: the token is dead), NotSentError or UnknownOutcomeError.
        """
        fields = {"app_id": app.app_id, "access_token": access_token, "type": Kind.JS_TICKET.value}
        with self._about(app, Kind.JS_TICKET, app.endpoints.ticket_url):
            reply = self._post(app.endpoints.ticket_url, fields, until, threading.get_ident())
            return self._issued(reply, _data(reply, app, fields, "token_invalid"), "ticket")

    def check_code(self, app: App, kind: Kind, code: str, until: float) -> Checked:
        """Ask whether the platform accepts a credential; asking changes nothing there.

        Its answer is waited for as long as the call may take: a late word is worth more than none. Raises RefusedError
        (error code app_denied: it speaks of the application or the credential, with another status than 4102; other
        error codes say nothing about either), NotSentError or UnknownOutcomeError.
        """
        fields = {"app_id": app.app_id, "type": kind.value, "code": code}
        with self._about(app, kind, app.endpoints.check_code_url):
            reply = self._post(app.endpoints.check_code_url, fields, until, patient=True)
            when = server_time(reply.date)
            if parse_response(reply).invalid_code:
                return Checked(valid=False, expires_at=None, server_time=when)
            return Checked(True, read_expiry(_data(reply, app, fields, denial="app_denied")), when)

    def exchange_login_code(self, app: App, code: str, until: float) -> User:
        """Exchange a page's login-free code, good for one use, for its user.

        Raises RefusedError (error code code_invalid: unknown or used up), NotSentError or UnknownOutcomeError.
        """
        secret = app.secret.reveal()
        fields = {"app_id": app.app_id, "secret": secret, "grant_type": "authorization_code", "code": code}
        with self._about(app, None, app.endpoints.user_token_url):
            reply = self._post(app.endpoints.user_token_url, fields, until)
            data = _data(reply, app, fields, "code_invalid")
            lifetime_s, _ = read_lifetime(data, self._policy.lifetime_s)
            scope = data.get("scope", "")
            if not isinstance(scope, str):
                raise unusable_response("scope is not text")
            return User(read_credential(data, "open_id")[0], scope, lifetime_s, server_time(reply.date))

    def _issued(self, reply: HttpResponse, data: Mapping[str, Any], name: str) -> Issued:
        code, long = read_credential(data, name)
        lifetime_s, capped = read_lifetime(data, self._policy.lifetime_s)
        return Issued(code, lifetime_s, reply.sent_at, server_time(reply.date), long + capped)

    def _new_call(self, until: float, owner: int) -> Call[Any]:
        return Call(min(until, self._clock() + self._policy.request_total_s), self._clock, owner)

    def _dial(self, call: Call[None], connections: HTTPAdapter, url: PlatformUrl) -> None:
        """In the call's thread: connect and reserve. Raises whatever goes wrong."""
        request = _prepared(url, "")
        pool: Any = connections.get_connection_with_tls_context(request, True, proxies=self._proxies_shown())
        self._pools[url] = pool
        pool.dial(url.scheme == "https" and pool.proxy, min(self._policy.connect_timeout_s, call.remaining_s()))

    def _proxies_shown(self) -> dict[str, str]:
        return {scheme: address.reveal() for scheme, address in self._proxies.items()}

    def _post(
        self, url: PlatformUrl, fields: Mapping[str, str], until: float, owner: int = 0, *, patient: bool = False
    ) -> HttpResponse:
        """Send a form and read the answer; `patient`: one wait for it may last until the end of the call."""
        # surrogatepass: an odd secret is the platform's to refuse, not a crash whose text quotes it.
        body = urlencode(fields, errors="surrogatepass")
        # Before the time begins to count: what the first request imports is no part of any request.
        connections = self._connections()
        call: Call[HttpResponse] = self._new_call(until, owner)
        return call.run(lambda: self._send(call, connections, url, body, patient))

    def _send(
        self, call: Call[HttpResponse], connections: HTTPAdapter, url: PlatformUrl, body: str, patient: bool
    ) -> HttpResponse:
        """In the call's thread: send the request once and read its answer. Raises whatever goes wrong."""
        request = _prepared(url, body)
        policy, left_s = self._policy, call.remaining_s()
        # The adapter without a session around it: a session obeys the environment, keeps cookies, and reads
        # the whole body of a redirect even when it is told not to follow it.
        response = connections.send(
            request,
            stream=True,
            timeout=(min(policy.connect_timeout_s, left_s), left_s if patient else min(policy.read_timeout_s, left_s)),
            proxies=self._proxies_shown(),
        )
        try:
            answer = bytearray()
            while len(answer) <= MAX_BODY:
                more = response.raw.read(MAX_BODY + 1 - len(answer), decode_content=False)
                if not more:
                    break
                answer += more
        finally:
            response.close()
        named = (response.headers.get(name, "") for name in ("Content-Encoding", "Date", "Retry-After"))
        encoding, date, retry_after = named
        if call.sent_at is None:
            raise AssertionError("an answer to a request that was not sent")
        answered = response.status_code, encoding, date, bytes(answer)
        return HttpResponse(*answered, call.sent_at, retry_after, time.time())

    @contextlib.contextmanager
    def _about(self, app: App, kind: Kind | None, url: PlatformUrl) -> Iterator[None]:
        """Errors raised within tell which application and kind they are about, and where a request did not get to."""
        try:
            yield
        except PlatformError as error:
            error.app_id, error.kind = app.app_id, kind.value if kind else None
            if error.code.startswith("not_sent_"):
                error.what += f" (to {self._way_to(url)})"
            raise

    def _way_to(self, url: PlatformUrl) -> str:
        host = HostPort(url.host.host, url.host.port or _PORTS.get(url.scheme))
        way, proxy = f"{host}{url.path}", self._proxies.get(url.scheme)
        if proxy is None:
            return way
        try:
            return f"{way} through the proxy {ProxyUrl.parse(proxy.reveal()).host}"
        except InvalidValueError:
            return f"{way} through a proxy"

    def _connections(self) -> HTTPAdapter:
        """The adapter, made by the first request. Raises NotSentError when `ca_bundle` cannot be read."""
        with self._lock:
            if self._closed:
                raise NotSentError("this run is over, and its connections are closed")
            if self._adapter is None:
                try:
                    self._adapter = build_adapter(tls_context(self._ca_bundle), self._pool_size)
                except OSError as error:  # an SSLError too: a file that holds no certificates
                    what = f"the CA certificates cannot be read: {describe(error)}"
                    raise NotSentError(what, code="not_sent_tls") from None
            return self._adapter


def _prepared(url: PlatformUrl, body: str) -> PreparedRequest:
    from requests import Request

    return Request("POST", str(url), headers=_HEADERS, data=body).prepare()


def _data(
    reply: HttpResponse, app: App, fields: Mapping[str, str], invalid_code: str = "", denial: str = ""
) -> Mapping[str, Any]:
    """The data of a success. Raises RefusedError or UnknownOutcomeError."""
    envelope = parse_response(reply)
    if envelope.ok:
        return envelope.data
    sent = [fields[name] for name in ("secret", "access_token", "code") if name in fields]
    raise rejection(envelope, [app.secret.reveal(), *sent], invalid_code, denial)
