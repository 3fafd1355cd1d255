"""What the command line accepts: every command, with help and examples."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from token_refresher.cli.commands.daemon import DAEMON
from token_refresher.cli.commands.doctor import DOCTOR
from token_refresher.cli.commands.invoke import INVOKE
from token_refresher.cli.commands.open_id import OPEN_ID
from token_refresher.cli.commands.refresh import CHECK, PLAN, REFRESH, STATUS
from token_refresher.cli.commands.sign import SIGN
from token_refresher.cli.commands.version import VERSION
from token_refresher.cli.exit_codes import EXIT_CODES
from token_refresher.cli.options import CommandSpec
from token_refresher.domain.errors import UsageError

_PROGRAM = "token-refresher"

# Every command; each is described in its own file.
COMMANDS: Mapping[str, CommandSpec] = MappingProxyType(
    {
        "refresh": REFRESH,
        "plan": PLAN,
        "status": STATUS,
        "check": CHECK,
        "doctor": DOCTOR,
        "sign": SIGN,
        "invoke": INVOKE,
        "open-id": OPEN_ID,
        "daemon": DAEMON,
        "version": VERSION,
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
        prog=_PROGRAM,
        description="Keeps an application's access_token and js_ticket fresh in Redis.",
        epilog=f"exit codes:\n{codes}\n\n`{_PROGRAM} COMMAND --help` shows examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help=_JSON)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, spec in COMMANDS.items():
        one = commands.add_parser(
            name,
            help=spec.help,
            description=f"{spec.help[0].upper()}{spec.help[1:]}.",
            epilog=_epilog(spec),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=_JSON)
        spec.add_options(one)
    return parser


_JSON = "write exactly one JSON document to standard output"


def _epilog(spec: CommandSpec) -> str:
    lines = []
    for line, meaning in spec.examples:
        lines += [f"  # {meaning}"] if meaning else []
        lines.append(f"  {_PROGRAM} {line}")
    return "examples:\n" + "\n".join(lines)
