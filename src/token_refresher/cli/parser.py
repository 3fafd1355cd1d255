"""What the command line accepts, with help and examples; and what its exit codes mean."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NoReturn

from token_refresher.cli.options import COMMANDS
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CommandError, UsageError

PROGRAM = "token-refresher"

EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        0: "all is well",
        1: "a code is missing, about to expire or (check) not the newest, or (doctor) runs are not in order",
        2: "wrong usage: nothing was done",
        3: "the settings are wrong: nothing was done",
        4: "Redis did not do what was asked",
        5: "the platform refused or did not answer (open-id, check, doctor)",
        6: "the function was not started, or brought no report (invoke)",
        130: "interrupted by Ctrl-C",
        141: "the reader of the output went away",
    }
)

# Anything else that was typed by mistake may be a code, and is not repeated.
_LOOKS_LIKE_AN_OPTION = re.compile(r"--[a-z][a-z-]{0,20}")
_QUOTED = re.compile(r"(?:(invalid choice:) (.+)( \(choose from .+)|(ignored explicit argument) (.+))", re.DOTALL)
_LOOKS_LIKE_A_WORD = re.compile(r"'[a-z][a-z_-]{0,20}'")


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing, so that --json also holds for mistakes."""

    def error(self, message: str) -> NoReturn:
        # from None: argparse's own exception quotes the value in full.
        raise UsageError(_QUOTED.sub(_hidden, message), self.format_usage()) from None

    def _print_message(self, message: str, file: Any = None) -> None:
        # As Python 3.12 does: what cannot be written is reported once, at the end, with the command's own exit code.
        with contextlib.suppress(AttributeError, OSError):
            super()._print_message(message, file)


def _hidden(quoted: re.Match[str]) -> str:
    """What argparse says, with the value that it quotes only where that is a misspelt word."""
    value = quoted[2] or quoted[5]
    shown = value if _LOOKS_LIKE_A_WORD.fullmatch(value) else "(not shown)"
    return f"{quoted[1] or quoted[4]} {shown}{quoted[3] or ''}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options in `arguments`. Raises UsageError, and SystemExit(0) after printing help."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        shown = [each if _LOOKS_LIKE_AN_OPTION.fullmatch(each) else "(not shown)" for each in unknown]
        parser.error(f"unknown arguments: {' '.join(shown)}")
    return options


def build_parser() -> argparse.ArgumentParser:
    """The parser with all its subcommands; each names itself in `options.command`."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = _Parser(
        prog=PROGRAM,
        description="Keeps an application's access_token and js_ticket fresh in Redis.",
        epilog=f"exit codes:\n{codes}\n\n`{PROGRAM} COMMAND --help` shows examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help=_JSON)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (line, add, _) in COMMANDS.items():
        one = commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            epilog=_epilog(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=_JSON)
        add(one)
    return parser


_JSON = "write exactly one JSON document to standard output"


def _epilog(name: str) -> str:
    lines = []
    for line, meaning in COMMANDS[name].examples:
        lines += [f"  # {meaning}"] if meaning else []
        lines.append(f"  {PROGRAM} {line}")
    return "examples:\n" + "\n".join(lines)


def selected(options: argparse.Namespace, action: Action, app_ids: Sequence[str]) -> Command:
    """The command that the options describe, held to the same rules as an event's. Raises CommandError."""
    content: dict[str, object] = {"force": getattr(options, "force", False)}
    given = {"apps": options.app, "kinds": options.kind, "shard": options.shard}
    content |= {name: value for name, value in given.items() if value is not None}
    return replace(validated(content, app_ids), action=action)


def validated(content: dict[str, object], app_ids: Sequence[str]) -> Command:
    """The command that the members of `content` describe, as in an event. Raises CommandError."""
    try:
        return Command.from_members(content, app_ids)
    except CommandError as error:
        if "is not configured" not in error.what:
            raise
        raise CommandError(f"{error.what}; configured: {', '.join(app_ids)}") from None
