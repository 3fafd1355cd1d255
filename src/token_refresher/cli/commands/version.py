"""`version`: which version this is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from token_refresher import __version__
from token_refresher.cli import exit_codes
from token_refresher.cli.options import CommandSpec
from token_refresher.cli.output import Output

_NAME = "token-refresher"


def _run(options: argparse.Namespace, _: Mapping[str, str], output: Output) -> int:
    if options.json:
        output.document({"version": __version__})
    else:
        output.result(f"{_NAME} {__version__}")
    return exit_codes.WELL


VERSION = CommandSpec(
    help="show the version",
    run=_run,
    examples=(
        ("version", ""),
        ("version --json", ""),
    ),
)
