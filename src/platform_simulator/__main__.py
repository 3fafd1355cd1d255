"""`python -m platform_simulator`: the simulator alone, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence

from platform_simulator.endpoints import TOKEN_PATH
from platform_simulator.responses import AnswerStyle
from platform_simulator.simulator import Simulator

_WARNING = "WARNING: for tests only. It guards nothing; never give it a real secret."


def _app(text: str) -> tuple[str, str]:
    app_id, colon, secret = text.partition(":")
    if not (app_id and colon and secret):
        raise argparse.ArgumentTypeError(f"{text!r} is not ID:SECRET")
    return app_id, secret


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m platform_simulator",
        description="Simulates the open platform's OAuth2 interfaces. For tests only.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8700, help="0 takes any free port")
    parser.add_argument(
        "--app",
        type=_app,
        action="append",
        metavar="ID:SECRET",
        help="repeatable; without it: demo:demo",
    )
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before every answer")
    parser.add_argument("--lifetime-s", type=float, default=7200.0, help="life of a code")
    parser.add_argument("--grace-s", type=float, default=600.0, help="what a newer code leaves")
    styles = [style.value for style in AnswerStyle]
    parser.add_argument("--style", choices=styles, default=AnswerStyle.STATUS_TEXT.value)
    return parser


def _example(url: str, app_id: str, secret: str) -> str:
    form = {"app_id": app_id, "secret": secret, "grant_type": "client_credential"}
    words = ["curl", url + TOKEN_PATH]
    for name, value in form.items():
        words += ["--data-urlencode", f"{name}={value}"]
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal comes; returns the exit code: 0, or 1 when the port cannot be had."""
    options = _parser().parse_args(arguments)
    apps = dict(options.app or [("demo", "demo")])
    simulator = Simulator(
        apps,
        style=AnswerStyle(options.style),
        latency_s=options.latency_ms / 1000,
        host=options.host,
        port=options.port,
        lifetime_s=options.lifetime_s,
        grace_s=options.grace_s,
    )
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: over.set())
    try:
        simulator.start()
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    print(_WARNING, file=sys.stderr, flush=True)
    print(f"The platform's stand-in listens on {simulator.url}. Try:\n", flush=True)
    print(f"  {_example(simulator.url, *next(iter(apps.items())))}\n", flush=True)
    over.wait()
    simulator.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
