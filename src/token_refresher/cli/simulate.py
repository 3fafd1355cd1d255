"""The command `simulate`: a stand-in of the platform in the foreground."""

from __future__ import annotations

import argparse
import shlex
import threading

from token_refresher.cli.output import Screen
from token_refresher.domain.errors import CommandError


def simulate(options: argparse.Namespace, screen: Screen) -> int:
    """Run the simulator until Ctrl-C; returns 0.

    Raises CommandError where it is not installed, or cannot listen.
    """
    try:
        from platform_simulator import Simulator  # not shipped with the function, and only needed here
    except ModuleNotFoundError:
        raise CommandError(
            "the simulator (platform_simulator) is not installed: it comes with the sources, not with the"
            " function; run this in a checkout, or put its src on PYTHONPATH"
        ) from None
    apps = {app_id: f"simulated-secret-of-{app_id}" for app_id in options.app or ["demo"]}
    simulator = Simulator(apps, host=options.host, port=options.port, latency_s=options.latency_ms / 1000)
    try:
        simulator.start()
    except OSError as error:
        why = error.strerror or "not an address"
        raise CommandError(f"cannot listen on {options.host}:{options.port}: {why}") from None
    try:
        _tell(simulator.url, apps, screen)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass  # the way in which it is meant to end
    finally:
        simulator.stop()
    return 0


def _tell(url: str, apps: dict[str, str], screen: Screen) -> None:
    if screen.as_json:
        told = [{"APP_ID": app_id, "APP_SECRET": secret} for app_id, secret in apps.items()]
        return screen.document({"environment": {"PLATFORM_BASE_URL": url}, "applications": told})
    screen.note("WARNING: for tests only. It guards nothing; never give it a real secret.")
    screen.note(f"The platform's stand-in listens on {url} until Ctrl-C.")
    screen.note("To refresh from it, in another shell:\n")
    screen.result(_export("PLATFORM_BASE_URL", url))
    for position, (app_id, secret) in enumerate(apps.items()):
        mark = "# or: " if position else ""
        screen.result(mark + _export("APP_ID", app_id) + "\n" + mark + _export("APP_SECRET", secret))
    return screen.note("\nand REDIS_URL, wherever your Redis is.")


def _export(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"
