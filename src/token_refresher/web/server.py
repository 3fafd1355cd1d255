"""The HTTP server, with health and metrics. No request starts a run or reaches the platform.

    app = create_app(history, metrics.text)     # a Flask application; pages are added to it as blueprints
    with HttpServer(app, "127.0.0.1", 8080):    # waitress, in a thread of its own
        ...

| path       | answer                                                                                     |
|------------|--------------------------------------------------------------------------------------------|
| `/healthz` | 200 when Redis was read within two ticks and no credential is in danger, else 503 with reasons   |
| `/livez`   | 200 while the loop turns, else 503: only a restart helps                                   |
| `/metrics` | the metrics, for Prometheus; where there are any                                           |
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any

from flask import Flask, Response, jsonify, request
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server

from token_refresher.web.history import RunHistory
from token_refresher.web.hosts import knows_host

# The text format of Prometheus, which every version of it reads.
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NO_PAGE = (
    "There is no status page: other machines may reach this address, and no token was given. Make one with\n"
    "python3 -c 'import secrets; print(secrets.token_urlsafe(24))' > page_token\n"
    "and start with --token-file page_token\n"
)
_THREADS = 4
# A scraper, a health check and a few people at once. One more closes the oldest connection that is not being answered:
# connections that ask for nothing keep no health check off.
_CONNECTIONS = 100
_IDLE_S, _TIDY_S = 30, 5
_LARGEST_REQUEST = 16384
_STOP_S = 2


def create_app(history: RunHistory, metrics: Callable[[], bytes] | None = None, hosts: Collection[str] = ()) -> Flask:
    """The application over `history`; without `metrics` (everything in Prometheus's text format) there is no /metrics.

    It answers under addresses, localhost and the names in `hosts`: another site may have a name point here, and its
    scripts would read what is served.
    """
    app = Flask(__name__, static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_REQUEST

    @app.before_request
    def known() -> Response | None:
        if knows_host(request.headers.get("Host", ""), hosts):
            return None
        return Response("This is not known under that name: see --allow-host.\n", 421, mimetype="text/plain")

    @app.get("/healthz")
    def healthz() -> tuple[Response, int]:
        reasons = history.unhealthy_reasons()
        status = "unhealthy" if reasons else "ok"
        return jsonify(status=status, reasons=list(reasons), warnings=list(history.warnings())), 503 if reasons else 200

    @app.get("/livez")
    def livez() -> tuple[Response, int]:
        live = history.is_live
        return jsonify(status="ok" if live else "the loop has stopped"), 200 if live else 503

    if metrics is not None:

        @app.get("/metrics")
        def all_metrics() -> Response:
            return Response(metrics(), content_type=_METRICS_TYPE)

    app.after_request(_harmless)
    return app


def without_page(app: Flask) -> None:
    """Let `/` say how to get the status page, where there is none."""
    app.add_url_rule("/", "no_page", lambda: Response(_NO_PAGE, 404, mimetype="text/plain"))


def _harmless(response: Response) -> Response:
    """What a page says for itself stays."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response


def _let_in(server: Any, sock: socket.socket, address: Any, adjustments: Any, map: dict[int, Any]) -> None:
    """Take a new connection, in place of waitress's own way; runs in the server's thread."""
    HTTPChannel(server, sock, address, adjustments, map=map)
    # The oldest first. Not the new one, whose request has not been read yet.
    older = list(server.active_channels.values())[:-1]
    if len(older) >= _CONNECTIONS:
        idle = (channel for channel in older if not channel.requests)
        next(idle, older[0]).handle_close()


class HttpServer:
    """A server for `app` on `host` and `port` (0: any free one), from entering the context until leaving it.

    The address is taken at once: raises OSError when it cannot be had. `url` says where it is.
    """

    def __init__(self, app: Flask, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        taken = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{taken}" if ":" in host else f"http://{host}:{taken}"
        self._map: dict[int, Any] = {}
        # It takes a thread that has just been started for a busy one, and warns of a queue at the first request.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._server: Any = create_server(
            app,
            map=self._map,
            sockets=[self._socket],
            threads=_THREADS,
            # Never reached: at its limit waitress lets no connection in until another one ends.
            connection_limit=2 * _CONNECTIONS,
            channel_timeout=_IDLE_S,
            cleanup_interval=_TIDY_S,
            max_request_header_size=_LARGEST_REQUEST,
            max_request_body_size=_LARGEST_REQUEST,
            # Larger answers than this would be put into a file, where the file system may be read-only.
            outbuf_overflow=2**30,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
        self._server.channel_class = _let_in
        self._thread = threading.Thread(target=self._server.run, name="token-refresher-http", daemon=True)

    def __enter__(self) -> HttpServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the address and end the threads; waits for a request that is being answered, but not long."""
        with contextlib.suppress(OSError):
            # In the server's own thread, whose loop ends when there is nothing left to listen to.
            self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))
        self._thread.join(_STOP_S)
        self._server.task_dispatcher.shutdown(timeout=_STOP_S)
