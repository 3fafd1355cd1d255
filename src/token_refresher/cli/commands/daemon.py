"""`daemon`: run on a schedule, until a signal comes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping

from token_refresher.cli import streams
from token_refresher.cli.options import CommandSpec
from token_refresher.cli.output import Output
from token_refresher.domain.errors import InvalidValueError
from token_refresher.domain.host_port import HostPort

# Loopback: who can reach the endpoint sees the ids of all applications.
_LISTEN = "127.0.0.1:8080"
# Less than the 30 s that Kubernetes leaves a container; more than one request and its storing take.
_STOP_TIMEOUT_S = 25.0


def add_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--listen",
        type=_address,
        default=_LISTEN,
        metavar="HOST:PORT",
        help="where the status page, /healthz, /livez and /metrics are served (%(default)s)",
    )
    where.add_argument("--no-http", action="store_true", help="serve nothing")
    parser.add_argument(
        "--token-file", metavar="FILE", help="the status page asks for the token in it; beyond loopback it needs one"
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer under this name too; may be repeated"
    )
    parser.add_argument(
        "--log-format", choices=("json", "text"), default="json", help="of the log on standard output (%(default)s)"
    )
    parser.add_argument(
        "--stop-timeout",
        type=_seconds,
        default=_STOP_TIMEOUT_S,
        metavar="SECONDS",
        help="how long a run in flight may take to end after a signal (%(default)g)",
    )


def _address(text: str) -> tuple[str, int]:
    try:
        return HostPort.parse_listening(text)
    except InvalidValueError:
        what = "not HOST:PORT, as in 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"
        raise argparse.ArgumentTypeError(what) from None


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError("not a number of seconds")
    return float(text)


def _run(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    """Run until a signal comes. Raises SettingsError, CommandError."""
    from token_refresher.daemon.main import main

    exit_code = main(options, environ)
    # A log that no one reads any more is not a failure of the runs.
    output.unwritten = output.unwritten or streams.settle(sys.stdout)
    output.lost, output.did_more = bool(output.unwritten), True
    return exit_code


DAEMON = CommandSpec(
    help="run on a schedule, until a signal comes",
    run=_run,
    add_options=add_options,
    examples=(
        ("daemon", "a run every minute; health and metrics on http://127.0.0.1:8080"),
        ("daemon --listen 0.0.0.0:8080", "in a container"),
        ("daemon --no-http --log-format text", "serve nothing; the log for a person"),
    ),
)
