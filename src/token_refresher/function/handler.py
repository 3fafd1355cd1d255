"""The door for Function Compute: its handler, and its initializer for a warm start.

The vendor's names for them, `index.handler` and `index.initialize`, come from src/index.py.
"""

from __future__ import annotations

import json
import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from token_refresher.domain.command import Action
from token_refresher.domain.errors import RefreshFailedError, StoreError
from token_refresher.domain.function_timeout import RESERVE_S, time_out_warning
from token_refresher.function.event import read_event

if TYPE_CHECKING:
    from token_refresher.domain.command import Command
    from token_refresher.domain.report import Report
    from token_refresher.refresh.run import Refresher
    from token_refresher.settings.loader import Settings

_log = logging.getLogger("token_refresher")
# What a run imports once something is due, and first of all what takes time.
_OF_A_FETCH = (
    "requests.adapters",
    "concurrent.futures.thread",
    "token_refresher.platforms.yuanzhibang.client",
    "token_refresher.refresh.application",
)
_warm: list[tuple[Settings, Refresher]] = []


def initialize(context: Any) -> None:
    """Prepare all that a first event needs, before it comes. Raises SettingsError or StoreError."""
    settings, _ = _program()
    warning = _time_out_warning(settings, context)
    if warning:
        _log.warning("%s", warning)
    for name in _OF_A_FETCH:
        import_module(name)


def handler(event: bytes, context: Any) -> dict[str, Any]:
    """Do what a timer's event or a manual invocation asks for, and return the report (JSON-able, no credentials).

    Raises CommandError and SettingsError for bad input (nothing was fetched), StoreError when Redis cannot be read
    (nothing was fetched), RefreshFailedError when after the run some credential is missing or about to expire.
    """
    settings, refresher = _program()
    command = read_event(event, {app.app_id for app in settings.apps})
    try:
        report, settings, more = _run(settings, refresher, command, _time_limit_s(context))
    except StoreError:
        # No report names it, and often it is the reason.
        for odd in settings.warnings:
            _log.warning("%s", odd)
        raise
    warning = _time_out_warning(settings, context)
    # Who asks for the status wants to see it, above all when it is bad.
    error = None if command.action is Action.STATUS else report.alarm()
    warnings = [*report.warnings, *settings.warnings, *more, *([warning] if warning else [])]
    _log_run(report, warnings, logging.ERROR if error else logging.INFO)
    if error:
        # Who is alarmed sees the error alone, and not the report.
        raise RefreshFailedError(f"{error.what}; {warning}") if warning else error
    return {**report.as_dict(), "warnings": warnings}


def _run(
    settings: Settings, refresher: Refresher, command: Command, limit_s: float | None
) -> tuple[Report, Settings, list[str]]:
    """One run, and a second one at once where a secret was refused and has been corrected meanwhile.

    `limit_s` (duration) is for both. Returns the last report, the settings it is about, and warnings about them.
    """
    from token_refresher.bootstrap import RESTART, secret_refused

    began, more = refresher.clock(), []
    report = refresher.run_once(command, limit_s)
    if secret_refused(report):
        settings, again = _program()
        if again is not refresher:
            _log_run(report, [*report.warnings], logging.WARNING)
            left_s = None if limit_s is None else max(limit_s - (refresher.clock() - began), 1.0)
            report = again.run_once(command, left_s)
            more.append("a secret was corrected meanwhile, so this ran a second time; the log has the first report")
        if secret_refused(report):
            more.append(RESTART)
    if settings.origin.refused:
        more.append(f"changed settings are refused, the old ones stay in use: {'; '.join(settings.origin.refused)}")
    return report, settings, more


def _log_run(report: Report, warnings: list[str], level: int) -> None:
    """The log is written every minute, and says of quiet targets only how many they are."""
    _log.log(level, "%s", json.dumps({**report.as_dict(listed=0), "warnings": warnings}))


def _program() -> tuple[Settings, Refresher]:
    """Settings and program of this instance; kept, so that a warm instance reuses its connections to Redis.

    Its files are looked at each time.
    """
    from token_refresher.bootstrap import refresher, reload_if_changed
    from token_refresher.settings.loader import read

    if _warm:
        found = reload_if_changed(*_warm[0])
        if found[0] is _warm[0][0]:
            return found
    else:
        settings = read(os.environ)
        found = settings, refresher(settings)
    _log.setLevel(found[0].log_level)
    _warm[:] = [found]
    return found


def _time_out_s(context: Any) -> float | None:
    """The function's own time-out (seconds); None when the context does not say."""
    timeout = getattr(getattr(context, "function", None), "timeout", None)
    return float(timeout) if isinstance(timeout, (int, float)) and timeout > 0 else None


def _time_limit_s(context: Any) -> float | None:
    """How long a run may take (seconds): the function's time-out less a reserve; None when the context does not say."""
    timeout_s = _time_out_s(context)
    return None if timeout_s is None else max(timeout_s - RESERVE_S, 1.0)


def _time_out_warning(settings: Settings, context: Any) -> str:
    timeout_s = _time_out_s(context)
    return "" if timeout_s is None else time_out_warning(timeout_s, settings.policy)
