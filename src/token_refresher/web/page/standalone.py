"""The page without the daemon: `token-refresher status --serve`. It reads Redis, and never fetches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from flask import Flask

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CommandError, InvalidValueError, StoreError, TokenRefresherError
from token_refresher.domain.host_port import HostPort
from token_refresher.domain.model import Secret
from token_refresher.domain.report import Failure
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import Settings
from token_refresher.web.history import DANGER, DEFECT, OK, REDIS, RunHistory
from token_refresher.web.hosts import cannot_listen, check_binding, check_names
from token_refresher.web.page.routes import blueprint, with_headers
from token_refresher.web.server import HttpServer

LISTEN = "127.0.0.1:8081"


def serve(
    settings: Settings,
    refresher: Refresher,
    listen: str = LISTEN,
    token: Secret | None = None,
    *,
    hosts: Collection[str] = (),
    started: Callable[[str], None] = lambda url: None,
    stop: threading.Event | None = None,
) -> None:
    """Serve the page on `listen` ("HOST:PORT"; port 0: any free one) until `stop` or KeyboardInterrupt.

    `hosts` are names under which the page is asked for, besides addresses and the one it listens on. `started` is
    called with the page's address. In every tick the stored credentials are read; nothing is fetched or changed.
    Raises CommandError for an address that cannot be had, or that others can reach while there is no token.
    """
    host, port = address(listen)
    check_binding(host, token)
    check_names(hosts)
    history = RunHistory({app.app_id: app.name for app in settings.apps}, settings.policy, steady_clock)
    app = create_app(history, token, (host, *hosts))
    try:
        server = HttpServer(app, host, port)
    except OSError as error:
        raise cannot_listen(listen, error) from None
    until = stop or threading.Event()
    with server:
        started(server.url)
        while not until.is_set():
            read_once(history, refresher)
            until.wait(settings.policy.tick_s)


def create_app(history: RunHistory, token: Secret | None, hosts: Collection[str] = ()) -> Flask:
    """A Flask application with the page and nothing else; `hosts` are names under which it is asked for."""
    app = Flask(__name__, static_folder=None, template_folder=None)
    app.register_blueprint(blueprint(history, token=token, hosts=hosts))
    app.after_request(with_headers)
    return app


def read_once(history: RunHistory, refresher: Refresher) -> None:
    """Read all stored credentials once. What goes wrong is shown on the page, and ends nothing."""
    try:
        report = refresher.run_once(Command(Action.STATUS))
    except TokenRefresherError as error:
        history.failed(REDIS if isinstance(error, StoreError) else DEFECT, refresher.new_id(), Failure.of(error))
    except Exception as error:
        defect = TokenRefresherError(f"unexpected {type(error).__name__} while reading Redis")
        history.failed(DEFECT, refresher.new_id(), Failure.of(defect))
    else:
        history.add(report, DANGER if report.alarm() else OK)


def address(listen: str) -> tuple[str, int]:
    """Host and port out of "HOST:PORT"; an IPv6 address is in brackets. Raises CommandError."""
    try:
        return HostPort.parse_listening(listen)
    except InvalidValueError:
        advice = "write it as in 127.0.0.1:8081 or [::1]:8081"
        raise CommandError("--listen takes an address HOST:PORT", advice=advice) from None
