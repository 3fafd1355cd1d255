"""`sign`: what a page passes to core.config."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator, Mapping

from token_refresher.cli import exit_codes
from token_refresher.cli.options import CommandSpec, application, read_settings
from token_refresher.cli.output import Output
from token_refresher.domain.errors import NoCredentialError


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", metavar="ID", help="the application, where there are several")
    parser.add_argument("--url", required=True, help="the page's address, as location.href gives it")


def _run(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    """Sign with the stored ticket.

    Raises CommandError, SettingsError, SigningError, StoreError, NoCredentialError.
    """
    from token_refresher.reader.signing import signed_url
    from token_refresher.reader.sync_reader import Reader

    settings = read_settings(environ, output)
    app = application(settings, options.app)
    signed_url(options.url)
    try:
        with _silent("token_refresher.reader"), Reader.from_settings(settings) as reader:
            signed = reader.core_config(app.app_id, options.url)
    except NoCredentialError as error:
        raise (error.store_error or error) from None
    if options.json:
        output.document(dict(signed))
    else:
        output.note_odd()
        output.result(json.dumps(signed, indent=2))
    return exit_codes.WELL


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Within, this logger says nothing: what it would say of an outage is the error that the command ends with."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


SIGN = CommandSpec(
    help="show what a page passes to core.config",
    run=_run,
    add_options=_add_options,
    examples=(
        ("sign --app 100027 --url 'https://example.com/pay?id=1'", "what the page passes to core.config"),
        ("sign --url https://example.com/pay --json", "the same for a program, where there is one application"),
    ),
)
