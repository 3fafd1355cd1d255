"""Every command of the command line: its line of help, its options, its examples."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from token_refresher.daemon import arguments as daemon
from token_refresher.domain.model import Kind

Add = Callable[[argparse.ArgumentParser], None]


class Described(NamedTuple):
    """A command: one line of help, what adds its options, and examples (arguments, what they do)."""

    line: str
    add: Add
    examples: tuple[tuple[str, str], ...]


def _nothing(parser: argparse.ArgumentParser) -> None:
    pass


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", nargs="+", action="extend", metavar="ID", help="only these applications; repeatable")
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


def _status(parser: argparse.ArgumentParser) -> None:
    _selection(parser)
    parser.add_argument("--serve", action="store_true", help="serve all of it as a page, until Ctrl-C; fetches nothing")
    parser.add_argument("--listen", default="127.0.0.1:8081", metavar="HOST:PORT", help="where (%(default)s)")
    parser.add_argument("--token-file", metavar="FILE", help="the page asks for the token in it")
    allow = "answer under this name too; may be repeated"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=allow)


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


def _sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", metavar="ID", help="the application, where there are several")
    parser.add_argument("--url", required=True, help="the page's address, as location.href gives it")


def _invoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", nargs="+", action="extend", metavar="ID", help="only these applications")
    parser.add_argument(
        "--kind",
        nargs="+",
        action="extend",
        choices=[kind.value for kind in Kind],
        metavar="KIND",
        help="only these kinds",
    )
    parser.add_argument("--force", action="store_true", help="even what is fresh; not what is a moment old")
    parser.add_argument("--async", dest="asynchronous", action="store_true", help="do not wait for the report")


COMMANDS: Mapping[str, Described] = MappingProxyType(
    {
        "refresh": Described(
            "fetch the codes that are due",
            _refresh,
            (
                ("refresh", "what the timer does: fetch what is due, and nothing else"),
                ("refresh --app 100027 --kind js_ticket --force", "one code by hand, even a fresh one"),
                ("refresh --shard 2/8 --json", "the second of eight parts; the report as JSON"),
            ),
        ),
        "plan": Described(
            "show what refresh would do, and why; fetches nothing",
            _refresh,
            (
                ("plan", "which codes are due, and why; nothing is fetched"),
                ("plan --app 100027 --force", "what `refresh --force` would do"),
            ),
        ),
        "status": Described(
            "show what is stored, and how long it lasts",
            _status,
            (
                ("status", "every code that is stored, and its time left"),
                ("status --app 100027 100028 --json", "the same of two applications, for a program"),
                ("status --serve", "the same as a page on http://127.0.0.1:8081, until Ctrl-C"),
            ),
        ),
        "check": Described(
            "ask the platform whether it still accepts the stored codes",
            _check,
            (
                ("check", "ask the platform about every stored code; changes nothing"),
                ("check --repair", "ask, and renew at once what is dead or superseded"),
            ),
        ),
        "doctor": Described(
            "examine settings, Redis, platform, codes and timer, and say what to do",
            _nothing,
            (
                ("doctor", "a traffic light for everything that can be wrong; fetches and changes nothing"),
                ("doctor --json", "the same for a program"),
            ),
        ),
        "sign": Described(
            "show what a page passes to core.config",
            _sign,
            (
                ("sign --app 100027 --url 'https://example.com/pay?id=1'", "what the page passes to core.config"),
                ("sign --url https://example.com/pay --json", "the same for a program, where there is one application"),
            ),
        ),
        "invoke": Described(
            "start the deployed function by hand, and show its report",
            _invoke,
            (
                ("invoke --app 100027 --kind js_ticket --force", "have the deployed function renew one code"),
                ("invoke --async", "start it and do not wait for the report"),
            ),
        ),
        "open-id": Described(
            "exchange a page's login-free code for the user's open_id",
            _open_id,
            (
                ("open-id CODE --app 100027", "the code is seen in the list of processes: for trials only"),
                ("open-id - --app 100027 < code.txt", "the code from standard input"),
            ),
        ),
        "simulate": Described(
            "run a stand-in of the platform, for tests only",
            _simulate,
            (
                ("simulate", "one application, demo, on port 8700"),
                ("simulate --port 0 --app 100027 100028", "two applications on any free port"),
            ),
        ),
        "daemon": Described(
            "run on a schedule, until a signal comes",
            daemon.add_arguments,
            (
                ("daemon", "a run every minute; health and metrics on http://127.0.0.1:8080"),
                ("daemon --listen 0.0.0.0:8080", "in a container"),
                ("daemon --no-http --log-format text", "serve nothing; the log for a person"),
            ),
        ),
        "version": Described(
            "show the version",
            _nothing,
            (
                ("version", ""),
                ("version --json", ""),
            ),
        ),
    }
)
