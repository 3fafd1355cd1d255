"""The simulator as its users hold it: one object over credentials, faults, request log and server."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Mapping

from platform_simulator.apps import App, Apps
from platform_simulator.credentials import CredentialRegistry, IssuedCredential
from platform_simulator.endpoints import Endpoints, Refusals
from platform_simulator.faults.fault import Fault
from platform_simulator.faults.gate import Gate
from platform_simulator.faults.queue import FaultQueue, Where
from platform_simulator.handler import RequestHandler
from platform_simulator.limits import Limits, RetryAfter
from platform_simulator.login_codes import LoginCodes
from platform_simulator.request_log import RecordedRequest, RequestLog
from platform_simulator.responses import AnswerStyle
from platform_simulator.server import Server


class Simulator:
    """The open platform on a local port, for tests only. All methods are thread-safe.

    `clock` gives unix seconds and rules all credentials; delays (`latency_s`, faults, time-outs) are
    in real seconds. `lifetime_s` and `grace_s`: a credential's life, and what a newer credential leaves of
    it (`access_token_grace_s` of an access_token, unless None). `token_ends_tickets`: a new
    access_token ends every ticket at once. `checkcode_lag_s`: checkCode answers as it would
    have that many seconds ago.
    """

    def __init__(
        self,
        apps: Mapping[str, str] | Iterable[App] = (),
        clock: Callable[[], float] = time.time,
        style: AnswerStyle = AnswerStyle.STATUS_TEXT,
        latency_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        lifetime_s: float = 7200,
        grace_s: float = 600,
        shortens_access_token: bool = True,
        checkcode_lag_s: float = 0.0,
        refusals: Refusals | None = None,
        access_token_grace_s: float | None = None,
        token_ends_tickets: bool = False,
    ) -> None:
        self._apps = Apps(apps)
        self._credentials = CredentialRegistry(
            clock, lifetime_s, grace_s, shortens_access_token, access_token_grace_s, token_ends_tickets
        )
        self._login_codes = LoginCodes(clock, lifetime_s)
        self._log = RequestLog()
        self._faults = FaultQueue()
        endpoints = Endpoints(self._apps, self._credentials, self._login_codes, refusals or Refusals(), checkcode_lag_s)
        self._limits = Limits()
        self._handler = RequestHandler(clock, endpoints, self._log, self._faults, style, latency_s, self._limits)
        self._tls, self._host, self._port = tls, host, port
        self._server: Server | None = None

    # -- running -----------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. After a `stop`, on the same port and with everything remembered.

        Raises RuntimeError when already started, OSError when the port cannot be had.
        """
        if self._server is not None:
            raise RuntimeError("the simulator is already started")
        self._server = Server(self._host, self._port, self._tls, self._handler)
        self._port = self._server.port

    def stop(self) -> None:
        """Break all connections off and free the port; requests held up are never executed."""
        server, self._server = self._server, None
        if server is not None:
            server.stopping.set()
            self._faults.wake_gates()
            server.stop()

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base address, without a trailing slash; the port is known from `start` on."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    @property
    def style(self) -> AnswerStyle:
        """How answers are written; may be changed at any time."""
        return self._handler.style

    @style.setter
    def style(self, style: AnswerStyle) -> None:
        self._handler.style = style

    @property
    def date_offset_s(self) -> float | None:
        """How far the Date header is ahead of the clock (seconds); None: answers carry none."""
        return self._handler.date_offset_s

    @date_offset_s.setter
    def date_offset_s(self, offset_s: float | None) -> None:
        self._handler.date_offset_s = offset_s

    # -- applications ------------------------------------------------------------------------

    def add_app(self, app_id: str, secret: str) -> None:
        """Add an application that may be called from anywhere, or replace one."""
        self._apps.add(App(app_id, secret))

    def rotate_secret(self, app_id: str, new: str, hard: bool = False) -> None:
        """From now on only the secret `new` counts. Raises KeyError for an unknown app.

        The credentials issued before live on, unless `hard`: then both kinds end at once.
        """
        self._apps.rotate_secret(app_id, new)
        if hard:
            self._credentials.end_all(app_id)

    def disable(self, app_id: str) -> None:
        """Refuse every call of an app, checkCode's too, until `enable`. May raise KeyError.

        Its credentials are neither ended nor prolonged by it. `Refusals.disabled` is the answer.
        """
        self._apps.disable(app_id, disabled=True)

    def enable(self, app_id: str) -> None:
        """Serve a disabled app again. Raises KeyError for an unknown app."""
        self._apps.disable(app_id, disabled=False)

    def limit(
        self,
        app_id: str | None,
        n: int | None,
        window_s: float = 60,
        retry_after: RetryAfter = "seconds",
        path: str | None = None,
    ) -> None:
        """Serve an app `n` requests within any `window_s` seconds of the clock; n None: all.

        `app_id` None: all apps together; `path`: of one interface only. The other requests get
        HTTP 429 as text, with Retry-After in seconds, as a date, or without ("nothing"). May
        raise ValueError.
        """
        self._limits.set(app_id, path, n, window_s, retry_after)

    def white_list(self, app_id: str, ips: Iterable[str] | None) -> None:
        """Accept an app's calls from these addresses only; None: from all. May raise KeyError."""
        self._apps.white_list(app_id, ips)

    def login_code(self, app_id: str, open_id: str) -> str:
        """A login-free code of this visitor, good for one exchange."""
        return self._login_codes.register(app_id, open_id)

    # -- ground truth ------------------------------------------------------------------------

    def valid(self, app_id: str, kind: str, code: str) -> bool:
        """Whether the platform accepts this credential now; kind "access_token" or "js_ticket"."""
        return self._credentials.valid(app_id, kind, code)

    def valid_until(self, app_id: str, kind: str, code: str) -> float | None:
        """The instant (unix seconds) at which the credential dies or died; None: never issued."""
        return self._credentials.valid_until(app_id, kind, code)

    def issued(self, app_id: str, kind: str) -> list[IssuedCredential]:
        """Every credential of a target in the order of issue, each with its expiry as it is now."""
        return self._credentials.issued(app_id, kind)

    def newest(self, app_id: str, kind: str) -> IssuedCredential | None:
        """The credential issued last, alive or not; None when there is none."""
        return self._credentials.newest(app_id, kind)

    def credentials(self) -> set[str]:
        """Every credential ever issued, visitors' codes and tokens included."""
        return self._credentials.credentials() | self._login_codes.codes()

    def issue(self, app_id: str, kind: str) -> IssuedCredential:
        """Issue a credential out of band, as someone else's refresh would. May raise ValueError."""
        return self._credentials.issue(app_id, kind).issued

    def revoke(self, app_id: str, kind: str, code: str) -> None:
        """The credential dies now. Raises KeyError for an unknown credential."""
        self._credentials.shorten(app_id, kind, code, 0.0)

    def shorten(self, app_id: str, kind: str, code: str, lifetime_s: float) -> None:
        """Leave the credential at most this many seconds. Raises KeyError for an unknown credential."""
        self._credentials.shorten(app_id, kind, code, lifetime_s)

    # -- faults ------------------------------------------------------------------------------

    def script(self, path: str, fault: Fault, times: int | None = 1, app_id: str | None = None) -> None:
        """Spoil the next `times` requests of a path (and app); None: until `clear_faults`.

        Scripts queue up: a request takes the first that fits. ValueError if times is below 1.
        """
        self._faults.add(path, fault, times, app_id)

    def hold(self, path: str, where: Where, app_id: str | None = None) -> Gate:
        """Keep the next request "before" the issue, or "after" it without its answer."""
        return self._faults.hold(path, where, app_id)

    def clear_faults(self) -> None:
        """Forget scripts and gates no request has met yet."""
        self._faults.clear()

    # -- the record --------------------------------------------------------------------------

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in the order of arrival."""
        return self._log.records()

    def count(self, path: str | None = None, app_id: str | None = None) -> int:
        """How many requests arrived, of a path and an application if given."""
        return self._log.count(path, app_id)

    def fetches(self, app_id: str, kind: str) -> int:
        """How many credentials were issued to requests, not by `issue`."""
        return self._credentials.fetches(app_id, kind)

    def wait_for_request(
        self, path: str | None, n: int = 1, timeout_s: float = 10.0, app_id: str | None = None
    ) -> None:
        """Return once `n` requests of a path have been carried out, refused or held up.

        Counts from the beginning. Raises TimeoutError after `timeout_s` real seconds.
        """
        self._log.wait_for(path, n, app_id, timeout_s)
