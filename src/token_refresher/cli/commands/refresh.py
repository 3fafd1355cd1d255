"""`refresh`, `plan`, `status` and `check`: the commands that are one run, and show its report."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from token_refresher.cli import exit_codes
from token_refresher.cli.options import (
    FORCE,
    CommandSpec,
    add_quiet,
    add_selection,
    read_settings,
    refuse_quiet_json,
    selected,
)
from token_refresher.cli.output import Output
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CommandError
from token_refresher.domain.model import Outcome

if TYPE_CHECKING:
    from token_refresher.domain.report import Report
    from token_refresher.settings.loader import Settings

Show = Callable[["Report", "Settings", Output], None]
_PATIENCE = b"interrupted: requests under way end first; Ctrl-C again leaves at once\n"
_WITHOUT_CODE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.DEFERRED)


# -- options -----------------------------------------------------------------------------------------------------------


def _add_refresh_options(parser: argparse.ArgumentParser) -> None:
    _add_plan_options(parser)
    add_quiet(parser)


def _add_plan_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--force", action="store_true", help=FORCE)


def _add_status_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--serve", action="store_true", help="serve all of it as a page, until Ctrl-C; fetches nothing")
    parser.add_argument("--listen", default="127.0.0.1:8081", metavar="HOST:PORT", help="where (%(default)s)")
    parser.add_argument("--token-file", metavar="FILE", help="the page asks for the token in it")
    allow = "answer under this name too; may be repeated"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=allow)


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--repair", action="store_true", help="renew what is dead, superseded or due")
    add_quiet(parser)


# -- bodies ------------------------------------------------------------------------------------------------------------


def _refresh(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    from token_refresher.cli.report_views import show_refresh

    report = _run(options, environ, output, Action.REFRESH, show_refresh)
    return _exit_code(report) or (exit_codes.PLATFORM if options.force and _in_vain(report) else exit_codes.WELL)


def _in_vain(report: Report) -> bool:
    """Whether credentials were asked for and none came. A timer tries again; a person or a script has to know."""
    failed = any(each.failure and each.outcome in _WITHOUT_CODE for each in report.targets)
    return failed and not any(each.fetches for each in report.targets)


def _plan(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    from token_refresher.cli.report_views import show_plan

    report = _run(options, environ, output, Action.STATUS, show_plan, called="plan")
    # A preview has done its job once it has read everything, whatever it shows.
    return exit_codes.REDIS if any(each.failure for each in report.targets) else exit_codes.WELL


def _status(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    from token_refresher.cli.report_views import show_status

    if options.serve:
        return _serve(options, environ, output)
    return _exit_code(_run(options, environ, output, Action.STATUS, show_status))


def _serve(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    """Serve the status as a page, until Ctrl-C. Raises CommandError, SettingsError, StoreError."""
    if options.json or options.app or options.kind or options.shard:
        what = "--serve shows everything: it goes with --listen, --token-file and --allow-host only"
        raise CommandError(what, advice="leave the other options out; the page has a search")
    try:
        from token_refresher.web.page.standalone import serve
    except ModuleNotFoundError as missing:
        from token_refresher.domain.installing import how_to_install

        what = f"the package {missing.name} is not installed"
        raise CommandError(what, advice=how_to_install("daemon")) from None
    from token_refresher.bootstrap import refresher
    from token_refresher.web.page.auth import read_token

    settings = read_settings(environ, output)
    token, hosts = read_token(options.token_file), options.allow_host
    output.note_odd()
    serve(settings, refresher(settings), options.listen, token, hosts=hosts, started=output.note)
    return exit_codes.WELL


def _check(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> int:
    from token_refresher.cli.report_views import dead, show_check, show_refresh, unanswered

    if options.repair:
        return _exit_code(_run(options, environ, output, Action.AUDIT, show_refresh))
    report = _run(options, environ, output, Action.CHECK, show_check)
    if dead(report):
        return exit_codes.DANGER
    return _exit_code(report) or (exit_codes.PLATFORM if unanswered(report) else exit_codes.WELL)


def _run(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    output: Output,
    action: Action,
    show: Show,
    *,
    called: str = "",
) -> Report:
    """One run with its output. `called` is what the report calls its action, where that is another word.

    Raises CommandError, SettingsError and StoreError as its parts do.
    """
    if output.quiet:
        refuse_quiet_json(options)
    settings = read_settings(environ, output)
    app_ids = [app.app_id for app in settings.apps]
    report = _report(settings, selected(options, action, app_ids), output)
    output.did_more = action in (Action.REFRESH, Action.AUDIT)
    report = replace(report, action=called or report.action)
    if options.json:
        content = report.as_dict(listed=len(report.targets))
        output.document({**content, "warnings": [*content["warnings"], *settings.warnings]})
    elif not report.targets:
        # A part of all applications may be empty by chance.
        if not output.quiet:
            output.note("No application is in this selection.")
    else:
        show(report, settings, output)
    return report


def _report(settings: Settings, command: Command, output: Output) -> Report:
    from token_refresher.bootstrap import refresher

    targets = command.targets(app.app_id for app in settings.apps)
    with output.progress(len({target.app_id for target in targets})) as done:
        return replace(refresher(settings, done), on_wait=_say_why_it_waits).run_once(command)


def _say_why_it_waits() -> None:
    with contextlib.suppress(OSError):
        # Python's own stream may be in the middle of a write.
        os.write(2, _PATIENCE)


def _exit_code(report: Report) -> int:
    return exit_codes.DANGER if report.alarm() else exit_codes.WELL


# -- the commands ------------------------------------------------------------------------------------------------------

REFRESH = CommandSpec(
    help="fetch the credentials that are due",
    run=_refresh,
    add_options=_add_refresh_options,
    examples=(
        ("refresh", "what the timer does: fetch what is due, and nothing else"),
        ("refresh --app 100027 --kind js_ticket --force", "one credential by hand, even a fresh one"),
        ("refresh --shard 2/8 --json", "the second of eight parts; the report as JSON"),
        ("refresh --config /etc/token-refresher.yaml --quiet", "under cron, which mails what is printed"),
    ),
)
PLAN = CommandSpec(
    help="show what refresh would do, and why; fetches nothing",
    run=_plan,
    add_options=_add_plan_options,
    examples=(
        ("plan", "which credentials are due, and why; nothing is fetched"),
        ("plan --app 100027 --force", "what `refresh --force` would do"),
    ),
)
STATUS = CommandSpec(
    help="show what is stored, and how long it lasts",
    run=_status,
    add_options=_add_status_options,
    examples=(
        ("status", "every credential that is stored, and its time left"),
        ("status --app 100027 100028 --json", "the same of two applications, for a program"),
        ("status --serve", "the same as a page on http://127.0.0.1:8081, until Ctrl-C"),
    ),
)
CHECK = CommandSpec(
    help="ask the platform whether it still accepts the stored credentials",
    run=_check,
    add_options=_add_check_options,
    examples=(
        ("check", "ask the platform about every stored credential; changes nothing"),
        ("check --repair", "ask, and renew at once what is dead or superseded"),
    ),
)
