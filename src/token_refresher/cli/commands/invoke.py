"""`invoke`: start the deployed function by hand, and show its report."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from token_refresher.cli import exit_codes
from token_refresher.cli.options import FORCE, CommandSpec, add_apps_and_kinds
from token_refresher.cli.output import Output


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_apps_and_kinds(parser)
    parser.add_argument("--force", action="store_true", help=FORCE)
    parser.add_argument("--async", dest="asynchronous", action="store_true", help="do not wait for the report")


def _run(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    """Start the function once. Raises SettingsError, InvokeError.

    Application ids go as they are: a machine that only invokes need not know which are configured.
    """
    from token_refresher.invoke.access_key import find_credentials
    from token_refresher.invoke.invoker import FunctionAddress, Invoker

    command: dict[str, object] = {"action": "refresh", "force": options.force}
    command |= {name: given for name, given in (("apps", options.app), ("kinds", options.kind)) if given}
    invoker = Invoker(FunctionAddress.from_environ(environ), find_credentials(environ))
    invocation = invoker.invoke(command, asynchronous=options.asynchronous)
    output.did_more = True
    if options.json:
        output.document({"request_id": invocation.request_id, "report": invocation.report})
    elif invocation.report is None:
        output.result(f"started: request {invocation.request_id}")
    else:
        output.result(json.dumps(invocation.report, indent=2, ensure_ascii=False))
    return exit_codes.WELL


INVOKE = CommandSpec(
    help="start the deployed function by hand, and show its report",
    run=_run,
    add_options=_add_options,
    examples=(
        ("invoke --app 100027 --kind js_ticket --force", "have the deployed function renew one credential"),
        ("invoke --async", "start it and do not wait for the report"),
    ),
)
