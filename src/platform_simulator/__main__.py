"""`python -m platform_simulator`: the simulator alone, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

from platform_simulator.endpoints import APP_ACCESS_PATH, CHECK_PATH, TICKET_PATH, TOKEN_PATH, USER_COUNT_PATH
from platform_simulator.responses import AnswerStyle
from platform_simulator.simulator import Simulator

_WARNING = "WARNING: for tests only. It guards nothing; never give it a real secret."
_EPILOG = f"""\
It prints what to export so that token-refresher asks it. It serves, all by POST with a form:
  {TOKEN_PATH}      a server access_token (grant_type=client_credential), or a user's token (authorization_code)
  {TICKET_PATH}     a js_ticket (type=js_ticket, access_token)
  {CHECK_PATH}  whether a credential is valid, and until when (type, code)
  {USER_COUNT_PATH}, {APP_ACCESS_PATH}: two interfaces that take an access_token

Nothing is kept: after a restart, each credential issued before is invalid. Faults on demand (time-outs, refusals,
broken answers) are for tests in Python: Simulator.script and Fault.

examples:
  python -m platform_simulator
  python -m platform_simulator --port 0 --app 100027:demo-4f7a91c2d8 --app 100028:demo-b60e35d1a9
  python -m platform_simulator --lifetime-s 300 --grace-s 30      credentials that live five minutes

exit codes: 0 ended by Ctrl-C or SIGTERM, 1 cannot listen or write, 2 wrong usage. {_WARNING}"""


def _app(text: str) -> tuple[str, str]:
    app_id, colon, secret = text.partition(":")
    if not (app_id and colon and secret):
        raise argparse.ArgumentTypeError(f"{text!r} is not ID:SECRET")
    return app_id, secret


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration")
    return value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m platform_simulator",
        description="Simulates the open platform, for tests only, until Ctrl-C.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (%(default)s)")
    add("--port", type=_port, default=8700, metavar="PORT", help="port to listen on; 0 takes a free one (%(default)s)")
    add(
        "--app",
        type=_app,
        action="append",
        metavar="ID:SECRET",
        help="an application that it knows; may be repeated (demo:demo)",
    )
    add("--lifetime-s", type=_seconds, default=7200.0, metavar="S", help="how long a credential lives (%(default)g s)")
    add("--grace-s", type=_seconds, default=600.0, metavar="S", help="and once a newer one exists (%(default)g s)")
    add("--latency-ms", type=_seconds, default=0.0, metavar="MS", help="wait before each answer (%(default)g ms)")
    add(
        "--style",
        choices=[style.value for style in AnswerStyle],
        default=AnswerStyle.STATUS_TEXT.value,
        help="how answers write numbers: the status as text, as a number, or every number as text (%(default)s)",
    )
    return parser


def _example(url: str, app_id: str, secret: str) -> str:
    form = {"app_id": app_id, "secret": secret, "grant_type": "client_credential"}
    words = ["curl", url + TOKEN_PATH]
    for name, value in form.items():
        words += ["--data-urlencode", f"{name}={value}"]
    return shlex.join(words)


def _tell(url: str, apps: Mapping[str, str]) -> None:
    """What to set so that the refresher asks this simulator, and a request to try at once."""
    print(f"The simulator of the platform listens on {url}. To refresh from it, in another shell:\n")
    print(f"  export PLATFORM_BASE_URL={shlex.quote(url)}")
    for position, (app_id, secret) in enumerate(apps.items()):
        mark = "# or: " if position else ""
        print(f"  {mark}export APP_ID={shlex.quote(app_id)} APP_SECRET={shlex.quote(secret)}")
    print("\nand REDIS_URL, wherever your Redis is. Or try:\n")
    print(f"  {_example(url, *next(iter(apps.items())))}\n", flush=True)


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
    try:
        _tell(simulator.url, apps)
    except OSError as error:
        print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        # What is buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        simulator.stop()
        return 1
    over.wait()
    simulator.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
