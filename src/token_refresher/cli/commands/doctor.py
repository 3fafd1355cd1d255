"""`doctor`: examine everything that can be wrong, and show what was found."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from token_refresher.cli.options import CommandSpec, add_quiet, refuse_quiet_json
from token_refresher.cli.output import Output


def _run(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    from token_refresher.cli.doctor_view import show
    from token_refresher.doctor.examine import examine

    if output.quiet:
        refuse_quiet_json(options)
    return show(examine(environ), output)


DOCTOR = CommandSpec(
    help="examine settings, Redis, platform, credentials and timer, and say what to do",
    run=_run,
    add_options=add_quiet,
    examples=(
        ("doctor", "a traffic light for everything that can be wrong; fetches and changes nothing"),
        ("doctor --json", "the same for a program"),
        ("doctor --quiet", "only what is red or yellow"),
    ),
)
