"""Are the settings still those that were read? The daemon and a warm function ask before each run, by `look`.

The files that were read are compared by content: Kubernetes swaps links, and copies keep times. They are parsed only
after a change. New settings that are wrong, or whose Redis does not answer, are refused until they are right, and the
old ones stay in use meanwhile. Environment variables and the options of a command line do not change while a process
runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields
from typing import overload

from token_refresher import bootstrap as wiring
from token_refresher.domain.errors import SettingsError, StoreError
from token_refresher.domain.model import App, Kind, Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Report
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import Settings, read_from
from token_refresher.settings.origin import Origin

# More names than this help no one.
_NAMED = 10

# What to say of a secret that is refused and stays the same.
RESTART = (
    "wrong_secret: a corrected file counts with the next run, a corrected environment variable only once this process "
    "is started again"
)

_log = logging.getLogger(__name__)


@overload
def look(settings: Settings, refresher: Refresher, *, asked: bool = False) -> tuple[Settings, Refresher]: ...
@overload
def look(
    settings: Settings, refresher: Refresher | None, *, asked: bool = False
) -> tuple[Settings, Refresher | None]: ...
def look(settings: Settings, refresher: Refresher | None, *, asked: bool = False) -> tuple[Settings, Refresher | None]:
    """The settings and the program to use from now on: those given, unless the files say something else by now.

    `refresher` is None where none could be built yet. `asked`: read the files even if none has changed. What becomes of
    it is logged, mistakes once as long as they are the same; `settings.origin.refused` has them. Raises StoreError
    where none could be built, nor can be now.
    """
    origin = settings.origin
    # While something is refused, what it lacks may be in none of the files noted, such as a CA certificate.
    if not (asked or origin.refused or origin.changed()):
        return settings, refresher
    if not origin.files:
        _log.warning(
            "nothing to read again: all settings come from environment variables, which a running process keeps; "
            "restart it to change them"
        )
        return settings, refresher
    try:
        found = read_from(origin.again())
        if found == settings:
            origin.follow(found.origin)
            _log.info("settings read again: nothing has changed")
            return settings, refresher
        program = _built(settings, refresher, found)
    except (SettingsError, StoreError) as error:
        if refresher is None and isinstance(error, StoreError):
            raise
        _refuse(origin, error)
        return settings, refresher
    _log.info("settings reloaded, used from the next run on: %s", ", ".join(_changes(settings, found)))
    for warning in found.warnings:
        _log.warning("%s", warning)
    return found, program


def _built(settings: Settings, refresher: Refresher | None, found: Settings) -> Refresher:
    """The program over `found`. Raises SettingsError, and StoreError where another Redis does not answer."""
    if refresher is None:
        return wiring.refresher(found)
    program = wiring.renewed(refresher, settings, found)
    if found.redis != settings.redis:
        program.store.read(Target(found.apps[0].app_id, Kind.ACCESS_TOKEN))
    return program


def _refuse(origin: Origin, error: SettingsError | StoreError) -> None:
    problems = error.problems if isinstance(error, SettingsError) else (f"Redis: {error.code}: {error.what}",)
    if problems != origin.refused:
        _log.error("changed settings are refused, the old ones stay in use: %s", "; ".join(problems))
    origin.refused = problems


def secret_refused(report: Report) -> bool:
    """Whether the platform refused a secret in this run: it may have been rotated, so the files are looked at again."""
    return any(each.failure and each.failure.code == "wrong_secret" for each in report.targets)


def _changes(old: Settings, new: Settings) -> Iterator[str]:
    """What is not the same in both, by name and without values."""
    before, after = ({app.app_id: app for app in each.apps} for each in (old, new))
    yield from _named("application {} added", [each for each in after if each not in before])
    yield from _named("application {} removed", [each for each in before if each not in after])
    both = [(before[each], after[each]) for each in after if each in before]
    yield from _named("secret of {}", [app.app_id for was, app in both if was.secret != app.secret])
    yield from _named("name or platform of {}", [app.app_id for was, app in both if _place(was) != _place(app)])
    if old.redis != new.redis:
        yield "Redis"
    for name in ("proxies", "ca_bundle", "log_level"):
        if getattr(old, name) != getattr(new, name):
            yield name
    for name in (field.name for field in fields(Policy)):
        if getattr(old.policy, name) != getattr(new.policy, name):
            yield f"policy.{name}"
    if [*before] != [*after] and before.keys() == after.keys():
        yield "order of the applications"
    if old.warnings != new.warnings:
        yield "warnings"


def _place(app: App) -> tuple[object, ...]:
    return app.name, app.endpoints


def _named(sentence: str, app_ids: list[str]) -> Iterator[str]:
    yield from (sentence.format(each) for each in app_ids[:_NAMED])
    if len(app_ids) > _NAMED:
        yield f"and {len(app_ids) - _NAMED} more such applications"
