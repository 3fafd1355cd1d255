"""The door for Function Compute: `index.handler`, and `index.initialize` for a warm start."""

from __future__ import annotations

import json
import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from token_refresher.events import read_event
from token_refresher.model import Action
from token_refresher.refresh import alarm

if TYPE_CHECKING:
    from token_refresher.refresh import Refresher
    from token_refresher.settings import Settings

# What a run leaves of the function's own time-out for starting, answering and being billed in whole steps (seconds).
_RESERVE_S = 2.0

_log = logging.getLogger("token_refresher")
# What a run imports once something is due, and first of all what takes time.
_OF_A_FETCH = (
    "requests.adapters",
    "concurrent.futures.thread",
    "token_refresher.open_platform",
    "token_refresher.renewal",
)
_warm: list[tuple[Settings, Refresher]] = []


def initialize(context: Any) -> None:
    """Prepare all that a first event needs, before it comes. Raises SettingsError or StoreError."""
    _program()
    for name in _OF_A_FETCH:
        import_module(name)


def handler(event: bytes, context: Any) -> dict[str, Any]:
    """Do what a timer's event or a manual invocation asks for, and return the report (JSON-able, no codes).

    Raises CommandError and SettingsError for bad input (nothing was fetched), StoreError when Redis cannot be read
    (nothing was fetched), RefreshFailedError when after the run some code is missing or about to expire.
    """
    settings, refresher = _program()
    command = read_event(event, {app.app_id for app in settings.apps})
    report = refresher.run_once(command, _time_limit_s(context))
    told = report.as_dict()
    told["warnings"] += settings.warnings
    # Who asks for the status wants to see it, above all when it is bad.
    error = None if command.action is Action.STATUS else alarm(report)
    if any(each.failure and each.failure.code == "wrong_secret" for each in report.targets):
        # It may have been rotated, in a file: the next event reads the settings anew.
        _warm.clear()
    # The log is written every minute, and says of quiet targets only how many they are.
    quiet = {**report.as_dict(listed=0), "warnings": told["warnings"]}
    _log.log(logging.ERROR if error else logging.INFO, "%s", json.dumps(quiet))
    if error:
        raise error
    return told


def _program() -> tuple[Settings, Refresher]:
    """Settings and program of this instance; kept, so that a warm instance reuses its connections to Redis."""
    if not _warm:
        from token_refresher.settings import read
        from token_refresher.wiring import refresher

        settings = read(os.environ)
        _log.setLevel(settings.log_level)
        _warm.append((settings, refresher(settings)))
    return _warm[0]


def _time_limit_s(context: Any) -> float | None:
    """How long a run may take (seconds): the function's time-out less a reserve; None when nobody says."""
    timeout = getattr(getattr(context, "function", None), "timeout", None)
    if not isinstance(timeout, (int, float)) or timeout <= 0:
        return None
    return max(float(timeout) - _RESERVE_S, 1.0)
