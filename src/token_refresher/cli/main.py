"""The door for people: `python -m token_refresher`, and the console script `token-refresher`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence

from token_refresher.cli import exit_codes, streams
from token_refresher.cli.output import Output
from token_refresher.cli.parser import COMMANDS, HelpRequested, parse
from token_refresher.domain.errors import TokenRefresherError
from token_refresher.domain.interrupted import Interrupted


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code, one of `exit_codes.EXIT_CODES`.

    `argv` and `environ` are the process's own unless given. Raises nothing of our own tree.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    unwritten = streams.CLOSED if streams.open_closed() else ""
    _prepare()
    output = Output(os.environ if environ is None else environ, as_json="--json" in arguments, unwritten=unwritten)
    try:
        exit_code = _guarded(arguments, os.environ if environ is None else environ, output)
        if output.finish():
            exit_code = exit_code or exit_codes.UNWRITTEN
    except BrokenPipeError:
        # What is still buffered must not fail a second time when Python ends.
        streams.drop(sys.stdout)
        exit_code = exit_codes.UNWRITTEN
    streams.settle(sys.stderr)
    return exit_code


def _prepare() -> None:
    """Messages to standard error, and no crash over a name that the terminal cannot show."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _guarded(arguments: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; errors of our tree are reported, and become exit codes."""
    try:
        options = parse(arguments)
        output.quiet = getattr(options, "quiet", False)
        if options.config is not None:
            environ = {**environ, "CONFIG_FILE": options.config}
        return COMMANDS[options.command].run(options, environ, output)
    except HelpRequested as wanted:
        output.result(wanted.text)
        return exit_codes.WELL
    except TokenRefresherError as error:
        exit_code = exit_codes.of_error(error)
        output.error(error, exit_code)
        return exit_code
    except KeyboardInterrupt as interrupt:
        output.interrupted(exit_codes.INTERRUPTED, interrupt.what if isinstance(interrupt, Interrupted) else "")
        return exit_codes.INTERRUPTED
