"""The door for containers: `token-refresher daemon` runs what the timer runs, on a schedule, until a signal stops it.

SIGTERM and SIGINT stop it, with exit code 0: what is on its way to the platform may come back and is stored, nothing
new is begun. Changed settings take effect with the next run, which SIGHUP begins at once; the options of the command
line and environment variables are read at the start only. Importing this costs next to nothing; Flask, waitress and
prometheus_client (the extra "daemon") are imported when it starts to listen.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from token_refresher.domain.errors import CommandError

if TYPE_CHECKING:
    import argparse

    from token_refresher.daemon.instrumentation import UnderWay
    from token_refresher.daemon.reload import Program
    from token_refresher.daemon.scheduler import Scheduler
    from token_refresher.domain.model import Secret
    from token_refresher.refresh.run import Refresher
    from token_refresher.settings.loader import Settings
    from token_refresher.web.history import RunHistory
    from token_refresher.web.metrics import Metrics
    from token_refresher.web.server import HttpServer

_log = logging.getLogger(__name__)


def main(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run until a signal comes; returns 0. `options` are those of cli/commands/daemon.py.

    Raises SettingsError for wrong settings, CommandError when the endpoint's packages are missing or its address cannot
    be had. What Redis or the platform do is logged, counted and shown, and ends nothing.
    """
    from token_refresher.daemon.signals import GracefulShutdown

    # Before anything takes time: as the first process of a container it would not hear a signal that comes earlier.
    with GracefulShutdown(options.stop_timeout) as shutdown, contextlib.ExitStack() as open_until_the_end:
        from token_refresher.daemon.instrumentation import UnderWay
        from token_refresher.domain.clock import steady_clock
        from token_refresher.settings.loader import read
        from token_refresher.web.history import RunHistory
        from token_refresher.web.page.auth import read_token

        settings = read(environ)
        history = RunHistory({app.app_id: app.name for app in settings.apps}, settings.policy, steady_clock)
        metrics = None if options.no_http else _metrics(history)
        token = read_token(options.token_file)
        configure = _logging(options.log_format)
        configure(settings)
        under_way = UnderWay()
        program = _program(settings, history, metrics, shutdown.requested.is_set, configure, under_way)
        scheduler = _scheduler(program.current, history, metrics)
        server = None if metrics is None else _server(history, metrics, options, token, scheduler.run_now)
        _log_start(settings)
        if server:
            open_until_the_end.enter_context(server)
            _log.info("listening on %s", server.url)

        def reload() -> None:
            program.reload()
            scheduler.run_now()

        shutdown.watch(reload, scheduler.wake, under_way.any)
        scheduler.run(shutdown.requested)
        _log.info("stopped")
    return 0


def _log_start(settings: Settings) -> None:
    from token_refresher.domain.humanize import counted

    apps = counted(len(settings.apps), "application")
    _log.info("started: %s, a run every %g s", apps, settings.policy.tick_s)
    for warning in settings.warnings:
        _log.warning("%s", warning)


def _logging(form: str) -> Callable[[Settings], None]:
    """What makes the log follow the settings; a secret of earlier ones stays hidden."""
    from token_refresher.daemon import json_logs as logs

    hidden: set[Secret] = set()

    def configure(settings: Settings) -> None:
        hidden.update(_secrets(settings))
        logs.configure(settings.log_level, form, hidden)

    return configure


def _program(
    settings: Settings,
    history: RunHistory,
    metrics: Metrics | None,
    stopping: Callable[[], bool],
    changed: Callable[[Settings], None],
    under_way: UnderWay,
) -> Program:
    """The real program, measured where metrics are served."""
    from token_refresher.daemon.instrumentation import instrumented
    from token_refresher.daemon.reload import Program

    # What the first request would import else, and be measured with.
    import_module("requests")

    def watched(plain: Refresher) -> Refresher:
        return instrumented(plain, metrics, history.redis_answered, stopping, under_way)

    return Program(settings, history, watched=watched, changed=changed)


def _scheduler(make: Callable[[], Refresher], history: RunHistory, metrics: Metrics | None) -> Scheduler:
    from random import SystemRandom

    from token_refresher.bootstrap import new_id
    from token_refresher.daemon.scheduler import Scheduler
    from token_refresher.domain.clock import steady_clock

    # From the kernel: two replicas that were forked from one process draw different numbers, too.
    random = SystemRandom().random
    if metrics is None:
        return Scheduler(make, history, clock=steady_clock, random=random, new_id=new_id)
    return Scheduler(make, history, clock=steady_clock, random=random, new_id=new_id, on_run=metrics.ran)


def _metrics(history: RunHistory) -> Metrics:
    try:
        from token_refresher.web.metrics import Metrics
    except ModuleNotFoundError as missing:
        raise _extra(missing) from None
    return Metrics(history)


def _server(
    history: RunHistory,
    metrics: Metrics,
    options: argparse.Namespace,
    token: Secret | None,
    refresh: Callable[[], object],
) -> HttpServer:
    """What is served, with its address taken. Raises CommandError."""
    try:
        from token_refresher.web.hosts import cannot_listen, check_names, needs_token
        from token_refresher.web.page.routes import blueprint
        from token_refresher.web.server import HttpServer, create_app, without_page
    except ModuleNotFoundError as missing:
        raise _extra(missing) from None
    host, port = options.listen
    check_names(options.allow_host)
    hosts = (host, *options.allow_host)
    app = create_app(history, metrics.text, hosts)
    # Health has to be seen from outside; the page beyond loopback only with a token.
    if token or not needs_token(host):
        app.register_blueprint(blueprint(history, token=token, refresh=refresh, hosts=hosts))
    else:
        without_page(app)
        _log.info("no status page: %s may be reached from other machines, and no --token-file is given", host)
    try:
        return HttpServer(app, host, port)
    except OSError as error:
        raise cannot_listen(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", error) from None


def _extra(missing: ModuleNotFoundError) -> CommandError:
    from token_refresher.domain.installing import how_to_install

    advice = f"{how_to_install('daemon')}, or serve nothing: --no-http"
    return CommandError(f"the package {missing.name} is not installed", advice=advice)


def _secrets(settings: Settings) -> list[Secret]:
    """What must not be in any line of the log."""
    proxies = (secret for proxy in settings.proxies.values() for secret in proxy.secrets)
    return [*(app.secret for app in settings.apps), *settings.redis.url.secrets, *proxies]
