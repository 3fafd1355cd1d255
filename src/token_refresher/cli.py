"""The door for people: `python -m token_refresher`, and the console script `token-refresher`.

Every command that concerns stored codes is one `run_once`; `open-id` is one call to the platform.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli_arguments import EXIT_CODES, PROGRAM, build_parser, parse, selected, validated
from .cli_screen import Screen
from .errors import CommandError, PlatformError, SettingsError, StoreError, TokenRefresherError
from .model import Action, App, Command

if TYPE_CHECKING:
    from .report import Report
    from .settings import Settings

__all__ = ["EXIT_CODES", "build_parser", "main"]

_WELL, _DANGER, _USAGE, _SETTINGS, _REDIS, _PLATFORM, _INTERRUPTED, _NO_READER = EXIT_CODES
# The longest code that the refresher accepts from the platform, and some blanks.
_LONGEST_INPUT = 5000


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code, one of EXIT_CODES.

    `argv` and `environ` are the process's own unless given. Raises nothing of our own tree.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare()
    screen = Screen(os.environ if environ is None else environ, as_json="--json" in arguments)
    try:
        exit_code = _guarded(arguments, os.environ if environ is None else environ, screen)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered must not fail a second time when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    return exit_code


def _prepare() -> None:
    """Messages to standard error, and no crash over a name that the terminal cannot show."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _guarded(arguments: Sequence[str], environ: Mapping[str, str], screen: Screen) -> int:
    """Run the command; errors of our tree are told, and become exit codes."""
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
        (CommandError, _USAGE),
        (StoreError, _REDIS),
        (PlatformError, _PLATFORM),
    ):
        if isinstance(error, kind):
            return code
    return _DANGER


# -- commands that are a run -----------------------------------------------------------------


def _refresh(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from .cli_views import show_refresh

    return _run(options, environ, screen, Action.REFRESH, show_refresh)


def _plan(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from .cli_views import show_plan

    return _run(options, environ, screen, Action.STATUS, show_plan)


def _status(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from .cli_views import show_status

    return _run(options, environ, screen, Action.STATUS, show_status)


def _check(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    from .cli_views import show_check, show_refresh

    if options.repair:
        return _run(options, environ, screen, Action.AUDIT, show_refresh)
    return _run(options, environ, screen, Action.CHECK, show_check)


def _run(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    screen: Screen,
    action: Action,
    show: Callable[[Report, Settings, Screen], None],
) -> int:
    """One run with its output. Raises CommandError, SettingsError and StoreError as its parts do."""
    from .settings import read

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
    return _verdict(report, action)


def _report(settings: Settings, command: Command, screen: Screen) -> Report:
    from .selection import wanted
    from .wiring import refresher

    targets = wanted(tuple(app.app_id for app in settings.apps), command)
    with screen.progress(len({target.app_id for target in targets})) as done:
        return refresher(settings, done).run_once(command)


def _verdict(report: Report, action: Action) -> int:
    from .cli_views import dead, unanswered
    from .refresh import alarm

    if alarm(report) or (action is Action.CHECK and dead(report)):
        return _DANGER
    return _PLATFORM if action is Action.CHECK and unanswered(report) else _WELL


# -- the others ------------------------------------------------------------------------------


def _open_id(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    """Print who stands behind a login-free code. Raises CommandError, SettingsError, PlatformError."""
    from .flight import steady
    from .settings import read
    from .wiring import platform

    settings = read(environ)
    app = _application(settings, options.app)
    code = sys.stdin.readline(_LONGEST_INPUT) if options.code == "-" else options.code
    if not code.strip():
        raise CommandError("no login-free code was given")
    with platform(settings) as connections:
        user = connections.exchange(app, code.strip(), steady() + settings.policy.request_total_s)
    if options.json:
        told = {"open_id": user.open_id, "scope": user.scope, "lifetime_s": user.lifetime_s}
        screen.document({"app_id": app.app_id, **told})
    else:
        screen.result(user.open_id)
    return _WELL


def _application(settings: Settings, app_id: str | None) -> App:
    """The application meant; where there is only one it need not be named. Raises CommandError."""
    known = [app.app_id for app in settings.apps]
    if app_id is not None:
        validated({"apps": [app_id]}, known)
        return settings.apps[known.index(app_id)]
    if len(known) > 1:
        whose = "say by --app which application the code belongs to"
        raise CommandError(f"{whose}; configured: {', '.join(known)}")
    return settings.apps[0]


def _simulate(options: argparse.Namespace, _: Mapping[str, str], screen: Screen) -> int:
    from .cli_simulate import simulate

    return simulate(options, screen)


def _version(options: argparse.Namespace, _: Mapping[str, str], screen: Screen) -> int:
    if options.json:
        screen.document({"version": version()})
    else:
        screen.result(f"{PROGRAM} {version()}")
    return _WELL


def version() -> str:
    """The version that is installed; in a checkout, the one that it would install as."""
    import re
    from importlib import metadata

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        text = project.read_text("utf-8") if project.is_file() else ""
        found = re.search(r'^name = "token-refresher"\nversion = "([^"]+)"', text, re.MULTILINE)
        return found[1] if found else "of unknown number"


_COMMANDS: Mapping[str, Callable[[argparse.Namespace, Mapping[str, str], Screen], int]] = {
    "refresh": _refresh,
    "plan": _plan,
    "status": _status,
    "check": _check,
    "open-id": _open_id,
    "simulate": _simulate,
    "version": _version,
}
