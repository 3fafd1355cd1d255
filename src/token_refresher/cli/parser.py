"""What the command line accepts: every command, with help and examples."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

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

# Anything else that was typed by mistake may be a credential, and is not repeated.
_LOOKS_LIKE_AN_OPTION = re.compile(r"--[a-z][a-z-]{0,20}")
_QUOTED = re.compile(r"(?:(invalid choice:) (.+)( \(choose from .+)|(ignored explicit argument) (.+))", re.DOTALL)
_LOOKS_LIKE_A_WORD = re.compile(r"'[a-z][a-z_-]{0,20}'")


class HelpRequested(Exception):
    """Help was asked for; `text` (str) is it. It goes out as every other result does."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing, so that --json also holds for mistakes."""

    def error(self, message: str) -> NoReturn:
        # from None: argparse's own exception quotes the value in full.
        raise UsageError(_QUOTED.sub(_hidden, message), self.format_usage()) from None

    def print_help(self, file: object = None) -> NoReturn:
        raise HelpRequested(self.format_help().rstrip())


def _hidden(quoted: re.Match[str]) -> str:
    """What argparse says, with the value that it quotes only where that is a misspelt word."""
    value = quoted[2] or quoted[5]
    shown = value if _LOOKS_LIKE_A_WORD.fullmatch(value) else "(not shown)"
    return f"{quoted[1] or quoted[4]} {shown}{quoted[3] or ''}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options in `arguments`. Raises UsageError, HelpRequested."""
    parser, commands = _parsers()
    options, unknown = parser.parse_known_args(arguments)
    if options.version:
        options.command = "version"
    if options.command is None and not unknown:
        parser.error("the following arguments are required: COMMAND")
    if unknown:
        shown = [each if _LOOKS_LIKE_AN_OPTION.fullmatch(each) else "(not shown)" for each in unknown]
        # The usage that helps is that of the command, unless the mistake comes before it.
        before = arguments[: arguments.index(options.command)] if options.command in arguments else arguments
        mistaken = parser if unknown[0] in before else commands[options.command]
        mistaken.error(f"unknown arguments: {' '.join(shown)}{_meant(shown[0], mistaken)}")
    return options


def _meant(option: str, parser: _Parser) -> str:
    """The end of a sentence that proposes the nearest option of `parser`, where one is near."""
    import difflib

    near = difflib.get_close_matches(option, parser._option_string_actions, n=1, cutoff=0.75)
    return f" (did you mean {near[0]}?)" if near else ""


def build_parser() -> argparse.ArgumentParser:
    """The parser with all its subcommands; each names itself in `options.command`."""
    return _parsers()[0]


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser, and that of each command."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = _Parser(
        prog=_PROGRAM,
        description="Keeps an application's access_token and js_ticket fresh in Redis.",
        epilog=f"exit codes:\n{codes}\n\n`{_PROGRAM} COMMAND --help` shows examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version, and do nothing else")
    parser.add_argument("--config", type=_path, metavar="FILE", help=_CONFIG)
    parser.add_argument("--json", action="store_true", help=_JSON)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    found: dict[str, _Parser] = {}
    for name, spec in COMMANDS.items():
        found[name] = one = commands.add_parser(
            name,
            help=spec.help,
            description=f"{spec.help[0].upper()}{spec.help[1:]}.",
            epilog=_epilog(spec),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        one.add_argument("--config", type=_path, default=argparse.SUPPRESS, metavar="FILE", help=_CONFIG)
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=_JSON)
        spec.add_options(one)
    return parser, found


_CONFIG = "the configuration file; counts before CONFIG_FILE"
_JSON = "write exactly one JSON document to standard output"


def _path(text: str) -> str:
    # An empty one would mean that there is no file, and the environment's settings would count.
    if not text:
        raise argparse.ArgumentTypeError("no file is named")
    return text


def _epilog(spec: CommandSpec) -> str:
    lines = []
    for line, meaning in spec.examples:
        lines += [f"  # {meaning}"] if meaning else []
        lines.append(f"  {_PROGRAM} {line}")
    return "examples:\n" + "\n".join(lines)
