"""The commands that are no run: login-free codes, signatures, the deployed function, the simulator, the version."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from token_refresher.cli.output import Screen
from token_refresher.cli.parser import PROGRAM, validated
from token_refresher.domain.errors import CommandError, NoCredentialError
from token_refresher.domain.model import App

if TYPE_CHECKING:
    from token_refresher.settings.loader import Settings

WELL = 0
# The longest code that the refresher accepts from the platform, and some blanks.
_LONGEST_INPUT = 5000


def open_id(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    """Print who stands behind a login-free code. Raises CommandError, SettingsError, PlatformError."""
    from token_refresher.bootstrap import platform
    from token_refresher.domain.clock import steady_clock
    from token_refresher.settings.loader import read

    settings = read(environ)
    app = _application(settings, options.app)
    code = sys.stdin.readline(_LONGEST_INPUT) if options.code == "-" else options.code
    if not code.strip():
        raise CommandError("no login-free code was given")
    with platform(settings) as connections:
        user = connections.exchange_login_code(app, code.strip(), steady_clock() + settings.policy.request_total_s)
    if options.json:
        told = {"open_id": user.open_id, "scope": user.scope, "lifetime_s": user.lifetime_s}
        screen.document({"app_id": app.app_id, **told})
    else:
        screen.result(user.open_id)
    return WELL


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


def simulate_platform(options: argparse.Namespace, _: Mapping[str, str], screen: Screen) -> int:
    from token_refresher.cli.simulate import simulate

    return simulate(options, screen)


def show_version(options: argparse.Namespace, _: Mapping[str, str], screen: Screen) -> int:
    if options.json:
        screen.document({"version": version()})
    else:
        screen.result(f"{PROGRAM} {version()}")
    return WELL


def version() -> str:
    """The version that is installed; in a checkout, the one that it would install as."""
    import re
    from importlib import metadata

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[3] / "pyproject.toml"
        text = project.read_text("utf-8") if project.is_file() else ""
        found = re.search(r'^name = "token-refresher"\nversion = "([^"]+)"', text, re.MULTILINE)
        return found[1] if found else "of unknown number"


def examine_all(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    """Examine everything that can be wrong, and show what was found."""
    from token_refresher.cli.doctor_view import show
    from token_refresher.doctor.examine import examine

    return show(examine(environ), screen)


def run_daemon(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    """Run on a schedule, until a signal comes. Raises SettingsError, StoreError."""
    from token_refresher.cli.streams import settle
    from token_refresher.daemon.main import main

    exit_code = main(options, environ)
    # A log that no one reads any more is not a failure of the runs.
    screen.unwritten = screen.unwritten or settle(sys.stdout)
    return exit_code


def serve_status(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    """Serve the status as a page, until Ctrl-C. Raises CommandError, SettingsError, StoreError."""
    if options.json or options.app or options.kind or options.shard:
        raise CommandError("--serve shows everything: it goes with --listen, --token-file and --allow-host only")
    try:
        from token_refresher.web.page.standalone import serve
    except ModuleNotFoundError as missing:
        what = f"the package {missing.name} is not installed: pip install 'token-refresher[daemon]'"
        raise CommandError(what) from None
    from token_refresher.bootstrap import refresher
    from token_refresher.settings.loader import read
    from token_refresher.web.page.auth import read_token

    settings = read(environ)
    token, hosts = read_token(options.token_file), options.allow_host
    serve(settings, refresher(settings), options.listen, token, hosts=hosts, started=screen.note)
    return WELL


def sign(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    """Print what a page passes to core.config.

    Raises CommandError, SettingsError, SigningError, StoreError, NoCredentialError.
    """
    from token_refresher.reader.signing import signed_url
    from token_refresher.reader.sync_reader import Reader
    from token_refresher.settings.loader import read

    settings = read(environ)
    app = _application(settings, options.app)
    signed_url(options.url)
    try:
        with Reader.from_settings(settings) as reader:
            signed = reader.core_config(app.app_id, options.url)
    except NoCredentialError as error:
        raise (error.store_error or error) from None
    if options.json:
        screen.document(dict(signed))
    else:
        screen.result(json.dumps(signed, indent=2))
    return WELL


def invoke(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    """Start the deployed function and print its report. Raises SettingsError, InvokeError.

    Application ids go as they are: a machine that only invokes need not know which are configured.
    """
    from token_refresher.invoke.access_key import find_credentials
    from token_refresher.invoke.invoker import FunctionAddress, Invoker

    command: dict[str, object] = {"action": "refresh", "force": options.force}
    command |= {name: given for name, given in (("apps", options.app), ("kinds", options.kind)) if given}
    invoker = Invoker(FunctionAddress.from_environ(environ), find_credentials(environ))
    invocation = invoker.invoke(command, asynchronous=options.asynchronous)
    if options.json:
        screen.document({"request_id": invocation.request_id, "report": invocation.report})
    elif invocation.report is None:
        screen.result(f"started: request {invocation.request_id}")
    else:
        screen.result(json.dumps(invocation.report, indent=2, ensure_ascii=False))
    return WELL
