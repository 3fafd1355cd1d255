"""What differs between two settings, by name and without values: for the log. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from token_refresher.domain.model import App
from token_refresher.domain.policy import Policy
from token_refresher.settings.loader import Settings

# More names than this help no one.
_NAMED = 10


def changes(old: Settings, new: Settings) -> Iterator[str]:
    """What is not the same in both, a few words for each."""
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
