"""`open-id`: exchange a page's login-free code for the user's open_id. One call to the platform."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from token_refresher.cli import exit_codes
from token_refresher.cli.options import CommandSpec, application, read_settings
from token_refresher.cli.output import Output
from token_refresher.domain.errors import CommandError

# The longest code that the refresher accepts from the platform, and some blanks.
_LONGEST_INPUT = 5000


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code",
        metavar="CODE",
        help="a login-free code, good for one use; - reads it from standard input, which keeps it out of the"
        " list of processes and the shell's history",
    )
    parser.add_argument("--app", metavar="ID", help="the application it belongs to, where there are several")


def _run(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    """Print which user a login-free code belongs to. Raises CommandError, SettingsError, PlatformError."""
    from token_refresher.bootstrap import platform
    from token_refresher.domain.clock import steady_clock

    settings = read_settings(environ, output)
    app = application(settings, options.app)
    code = sys.stdin.readline(_LONGEST_INPUT) if options.code == "-" else options.code
    if not code.strip():
        advice = "give the code that the page got from the platform, as the argument, or on standard input with -"
        raise CommandError("no login-free code was given", advice=advice)
    with platform(settings) as connections:
        user = connections.exchange_login_code(app, code.strip(), steady_clock() + settings.policy.request_total_s)
    if options.json:
        shown = {"open_id": user.open_id, "scope": user.scope, "lifetime_s": user.lifetime_s}
        output.document({"app_id": app.app_id, **shown})
    else:
        output.note_odd()
        output.result(user.open_id)
    return exit_codes.WELL


OPEN_ID = CommandSpec(
    help="exchange a page's login-free code for the user's open_id",
    run=_run,
    add_options=_add_options,
    examples=(
        ("open-id CODE --app 100027", "the code is seen in the list of processes: for trials only"),
        ("open-id - --app 100027 < code.txt", "the code from standard input"),
    ),
)
