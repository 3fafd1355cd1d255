"""What commands share: how one describes itself, the options that select credentials, and what they select."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CommandError
from token_refresher.domain.model import Kind

if TYPE_CHECKING:
    from token_refresher.cli.output import Output
    from token_refresher.domain.model import App
    from token_refresher.settings.loader import Settings

FORCE = "even what is fresh; not what is a moment old"
_QUIET = "print only what needs a person, for cron; not with --json"


class CommandSpec(NamedTuple):
    """A command of the command line.

    `help` is one line. `run` does the work by the options, the environment and the output, and returns the exit code;
    it raises errors of our tree. `examples` are arguments and what they do; `add_options` adds to a parser.
    """

    help: str
    run: Callable[[argparse.Namespace, Mapping[str, str], Output], int]
    examples: tuple[tuple[str, str], ...]
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help=_QUIET)


def add_apps_and_kinds(parser: argparse.ArgumentParser) -> None:
    kinds = [kind.value for kind in Kind]
    parser.add_argument("--app", nargs="+", action="extend", metavar="ID", help="only these applications; repeatable")
    parser.add_argument(
        "--kind",
        nargs="+",
        action="extend",
        metavar="KIND",
        choices=kinds,
        help=f"only these kinds: {', '.join(kinds)}",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The options that `selected` understands."""
    add_apps_and_kinds(parser)
    parser.add_argument("--shard", metavar="K/N", help="only the K-th of N parts of all applications, from 1")


def refuse_quiet_json(options: argparse.Namespace) -> None:
    """Raises CommandError where both are asked for: a program expects its document each time."""
    if options.quiet and options.json:
        raise CommandError("--quiet does not go with --json", advice="leave one of them out; nothing was done")


def selected(options: argparse.Namespace, action: Action, app_ids: Sequence[str]) -> Command:
    """The command that the options describe, held to the same rules as an event's. Raises CommandError."""
    content: dict[str, object] = {"force": getattr(options, "force", False)}
    given = {"apps": options.app, "kinds": options.kind, "shard": options.shard}
    content |= {name: value for name, value in given.items() if value is not None}
    return replace(_validated(content, app_ids), action=action)


def read_settings(environ: Mapping[str, str], output: Output) -> Settings:
    """The settings; what is odd about them is shown, be it with the result or with an error. Raises SettingsError."""
    from token_refresher.settings.loader import read

    settings = read(environ)
    output.odd = settings.warnings
    return settings


def application(settings: Settings, app_id: str | None) -> App:
    """The application meant; where there is only one it need not be named. Raises CommandError."""
    known = [app.app_id for app in settings.apps]
    if app_id is not None:
        _validated({"apps": [app_id]}, known)
        return settings.apps[known.index(app_id)]
    if len(known) > 1:
        what = f"several applications are configured, and --app names none: {', '.join(known)}"
        raise CommandError(what, advice="name one of them by --app")
    return settings.apps[0]


def _validated(content: dict[str, object], app_ids: Sequence[str]) -> Command:
    """The command that the members of `content` describe, as in an event. Raises CommandError."""
    try:
        return Command.from_members(content, app_ids)
    except CommandError as error:
        if "is not configured" in error.what:
            what = f"{error.what}; configured: {', '.join(app_ids)}"
            raise CommandError(what, advice="name one of these by --app, or add it to the settings") from None
        raise CommandError(error.what, advice="correct this option, see --help; nothing was done") from None
