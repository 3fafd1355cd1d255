"""What the command line accepts, with help and examples; and what its exit codes mean."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NoReturn

from .errors import CommandError
from .events import ACCEPTED, command
from .model import Action, Command, Kind

PROGRAM = "token-refresher"

EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        0: "all is well",
        1: "a code is missing, is about to expire, or (check) is no longer the platform's newest",
        2: "wrong usage: nothing was done",
        3: "the settings are wrong: nothing was done",
        4: "Redis did not do what was asked",
        5: "the platform refused or did not answer (open-id, check)",
        130: "interrupted by Ctrl-C",
        141: "the reader of the output went away",
    }
)

# Anything else that was typed by mistake may be a code, and is not repeated.
_LOOKS_LIKE_AN_OPTION = re.compile(r"--[a-z][a-z-]{0,20}")

_EXAMPLES = {
    "refresh": (
        ("refresh", "what the timer does: fetch what is due, and nothing else"),
        ("refresh --app 100027 --kind js_ticket --force", "one code by hand, even a fresh one"),
        ("refresh --shard 2/8 --json", "the second of eight parts; the report as JSON"),
    ),
    "plan": (
        ("plan", "which codes are due, and why; nothing is fetched"),
        ("plan --app 100027 --force", "what `refresh --force` would do"),
    ),
    "status": (
        ("status", "every code that is stored, and its time left"),
        ("status --app 100027 100028 --json", "the same of two applications, for a program"),
    ),
    "check": (
        ("check", "ask the platform about every stored code; changes nothing"),
        ("check --repair", "ask, and renew at once what is dead or superseded"),
    ),
    "open-id": (
        ("open-id CODE --app 100027", "the code is seen in the list of processes: for trials only"),
        ("open-id - --app 100027 < code.txt", "the code from standard input"),
    ),
    "simulate": (
        ("simulate", "one application, demo, on port 8700"),
        ("simulate --port 0 --app 100027 100028", "two applications on any free port"),
    ),
    "version": (("version", ""), ("version --json", "")),
}


class UsageError(CommandError):
    """The command line is not one of those accepted; `usage` (str) is the one that comes nearest."""

    def __init__(self, what: str, usage: str) -> None:
        self.usage = usage
        super().__init__(what)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing, so that --json also holds for mistakes."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage())


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
    for name, add, line in (
        ("refresh", _refresh, "fetch the codes that are due"),
        ("plan", _refresh, "show what refresh would do, and why; fetches nothing"),
        ("status", _selection, "show what is stored, and how long it lasts"),
        ("check", _check, "ask the platform whether it still accepts the stored codes"),
        ("open-id", _open_id, "exchange a page's login-free code for the user's open_id"),
        ("simulate", _simulate, "run a stand-in of the platform, for tests only"),
        ("version", _nothing, "show the version"),
    ):
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
    for line, meaning in _EXAMPLES[name]:
        lines += [f"  # {meaning}"] if meaning else []
        lines.append(f"  {PROGRAM} {line}")
    return "examples:\n" + "\n".join(lines)


def _nothing(parser: argparse.ArgumentParser) -> None:
    pass


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--app", nargs="+", action="extend", metavar="ID", help="only these applications; repeatable"
    )
    parser.add_argument(
        "--kind",
        nargs="+",
        action="extend",
        metavar="KIND",
        choices=[kind.value for kind in Kind],
        help="only these kinds: " + ", ".join(kind.value for kind in Kind),
    )
    parser.add_argument("--shard", metavar="K/N", help="only the K-th of N parts of all applications, from 1")


def _refresh(parser: argparse.ArgumentParser) -> None:
    _selection(parser)
    parser.add_argument("--force", action="store_true", help="even what is fresh; not what is a moment old")


def _check(parser: argparse.ArgumentParser) -> None:
    _selection(parser)
    parser.add_argument("--repair", action="store_true", help="renew what is dead, superseded or due")


def _open_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code",
        metavar="CODE",
        help="a login-free code, good for one use; - reads it from standard input, which keeps it out of the"
        " list of processes and the shell's history",
    )
    parser.add_argument("--app", metavar="ID", help="the application it belongs to, where there are several")


def _simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8700, help="0 takes any free port (%(default)s)")
    parser.add_argument(
        "--app",
        nargs="+",
        action="extend",
        metavar="ID",
        help="ids of its applications (demo); their secrets are made up and shown: they are worth nothing",
    )
    parser.add_argument("--latency-ms", type=_milliseconds, default=0.0, help="wait before every answer")


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError("not a port: 0 to 65535")
    return int(text)


def _milliseconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError("not a number of milliseconds")
    return float(text)


def selected(options: argparse.Namespace, action: Action, app_ids: Sequence[str]) -> Command:
    """The command that the options describe, held to the same rules as an event's. Raises CommandError."""
    content: dict[str, object] = {"force": getattr(options, "force", False)}
    given = {"apps": options.app, "kinds": options.kind, "shard": options.shard}
    content |= {name: value for name, value in given.items() if value is not None}
    return replace(validated(content, app_ids), action=action)


def validated(content: dict[str, object], app_ids: Sequence[str]) -> Command:
    """The command that the members of `content` describe, as in an event. Raises CommandError."""
    try:
        return command(content, app_ids)
    except CommandError as error:
        # What an event may hold is of no use to somebody who typed options.
        what = error.what.removesuffix(f". Accepted: {ACCEPTED}")
        if "is not configured" in what:
            what += f"; configured: {', '.join(app_ids)}"
        raise CommandError(what) from None
