"""The door for people: `python -m token_refresher`, and the console script `token-refresher`.

Every command that concerns stored codes is one `run_once`; `open-id` is one call to the platform.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from token_refresher.cli import streams as cli_streams
from token_refresher.cli.more import (
    examine_all,
    invoke,
    open_id,
    run_daemon,
    serve_status,
    show_version,
    sign,
    simulate_platform,
)
from token_refresher.cli.output import Screen
from token_refresher.cli.parser import EXIT_CODES, build_parser, parse, selected
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import (
    InputError,
    InvokeError,
    PlatformError,
    SettingsError,
    StoreError,
    TokenRefresherError,
)

if TYPE_CHECKING:
    from token_refresher.domain.report import Report
    from token_refresher.settings.loader import Settings

__all__ = ["EXIT_CODES", "build_parser", "main"]

_WELL, _DANGER, _USAGE, _SETTINGS, _REDIS, _PLATFORM, _INVOKE, _INTERRUPTED, _NO_READER = EXIT_CODES


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code, one of EXIT_CODES.

    `argv` and `environ` are the process's own unless given. Raises nothing of our own tree.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    unwritten = cli_streams.CLOSED if cli_streams.open_closed() else ""
    _prepare()
    screen = Screen(os.environ if environ is None else environ, as_json="--json" in arguments, unwritten=unwritten)
    try:
        exit_code = _guarded(arguments, os.environ if environ is None else environ, screen)
        screen.finish()
    except BrokenPipeError:
        # What is still buffered must not fail a second time when Python ends.
        cli_streams.drop(sys.stdout)
        exit_code = _NO_READER
    cli_streams.settle(sys.stderr)
    return exit_code


def _prepare() -> None:
    """Messages to standard error, and no crash over a name that the terminal cannot show."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _guarded(arguments: Sequence[str], environ: Mapping[str, str], screen: Screen) -> int:
    """Run the command; errors of our tree are reported, and become exit codes."""
    try:
        options = parse(arguments)
        return _COMMANDS[options.command](options, environ, screen)
    except TokenRefresherError as error:
        exit_code = _exit_code(error)
        screen.error(error, exit_code)
        return exit_code
    except KeyboardInterrupt:
        screen.interrupted(_INTERRUPTED)
        return _INTERRUPTED
    except SystemExit as asked_for_help:
        return _WELL if not asked_for_help.code else _USAGE


def _exit_code(error: TokenRefresherError) -> int:
    for kind, code in (
        (SettingsError, _SETTINGS),
        (InputError, _USAGE),
        (StoreError, _REDIS),
        (PlatformError, _PLATFORM),
        (InvokeError, _INVOKE),
    ):
        if isinstance(error, kind):
            return code
    return _DANGER


# -- commands that are a run -----------------------------------------------------------------


def _refresh(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from token_refresher.cli.report_views import show_refresh

    return _run(options, environ, screen, Action.REFRESH, show_refresh)


def _plan(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from token_refresher.cli.report_views import show_plan

    return _run(options, environ, screen, Action.STATUS, show_plan, _verdict_of_plan)


def _status(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from token_refresher.cli.report_views import show_status

    if options.serve:
        return serve_status(options, environ, screen)
    return _run(options, environ, screen, Action.STATUS, show_status)


def _check(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from token_refresher.cli.report_views import show_check, show_refresh

    if options.repair:
        return _run(options, environ, screen, Action.AUDIT, show_refresh)
    return _run(options, environ, screen, Action.CHECK, show_check)


def _run(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    screen: Screen,
    action: Action,
    show: Callable[[Report, Settings, Screen], None],
    verdict: Callable[[Report, Action], int] | None = None,
) -> int:
    """One run with its output. Raises CommandError, SettingsError and StoreError as its parts do."""
    from token_refresher.settings.loader import read

    settings = read(environ)
    app_ids = [app.app_id for app in settings.apps]
    report = _report(settings, selected(options, action, app_ids), screen)
    if options.json:
        told = report.as_dict(listed=len(report.targets))
        screen.document({**told, "warnings": [*told["warnings"], *settings.warnings]})
    elif not report.targets:
        screen.note("No application is in this selection.")
    else:
        show(report, settings, screen)
    return (verdict or _verdict)(report, action)


def _report(settings: Settings, command: Command, screen: Screen) -> Report:
    from token_refresher.bootstrap import refresher

    targets = command.targets(app.app_id for app in settings.apps)
    with screen.progress(len({target.app_id for target in targets})) as done:
        return refresher(settings, done).run_once(command)


def _verdict(report: Report, action: Action) -> int:
    from token_refresher.cli.report_views import dead, unanswered

    if report.alarm() or (action is Action.CHECK and dead(report)):
        return _DANGER
    return _PLATFORM if action is Action.CHECK and unanswered(report) else _WELL


def _verdict_of_plan(report: Report, action: Action) -> int:
    """Before the first run nothing is stored and nothing was tried: to plan that is not a failure."""
    tried = tuple(each for each in report.targets if each.fingerprint or each.last_outcome or each.failure)
    return _verdict(replace(report, targets=tried), action)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace, Mapping[str, str], Screen], int]] = {
    "refresh": _refresh,
    "plan": _plan,
    "status": _status,
    "check": _check,
    "doctor": examine_all,
    "sign": sign,
    "invoke": invoke,
    "open-id": open_id,
    "simulate": simulate_platform,
    "daemon": run_daemon,
    "version": show_version,
}
