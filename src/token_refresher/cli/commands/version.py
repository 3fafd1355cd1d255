"""`version`: which version this is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from token_refresher.cli import exit_codes
from token_refresher.cli.options import CommandSpec
from token_refresher.cli.output import Output

_NAME = "token-refresher"


def _run(options: argparse.Namespace, _: Mapping[str, str], output: Output) -> int:
    if options.json:
        output.document({"version": _version()})
    else:
        output.result(f"{_NAME} {_version()}")
    return exit_codes.WELL


def _version() -> str:
    """The version that is installed; in a checkout, the one that it would install as."""
    import re
    from importlib import metadata

    try:
        return metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[4] / "pyproject.toml"
        text = project.read_text("utf-8") if project.is_file() else ""
        found = re.search(r'^name = "token-refresher"\nversion = "([^"]+)"', text, re.MULTILINE)
        return found[1] if found else "of unknown number"


VERSION = CommandSpec(
    help="show the version",
    run=_run,
    examples=(
        ("version", ""),
        ("version --json", ""),
    ),
)
