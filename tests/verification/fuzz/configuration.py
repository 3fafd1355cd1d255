"""What the program is told: the configuration file and the environment."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from token_refresher.domain.addresses import Topology
from token_refresher.domain.errors import SettingsError, TokenRefresherError
from token_refresher.settings.loader import Settings, read
from token_refresher.store.connection import create_client

from .inputs import environment
from .properties import SECRET, attempt, hold, planted, tell_nothing

# What a file may refer to.
_BESIDE = {"REDIS_PASSWORD": SECRET, "OTHER": "word"}

Reading = Callable[[Mapping[str, str]], Settings]


def config_file(data: bytes, read: Reading = read) -> None:
    """A configuration file: settings that hold its texts as they stand there, or SettingsError."""
    data = planted(data)
    path = _place() / "config.yaml"
    path.write_bytes(data)
    found = attempt(lambda: read({"CONFIG_FILE": str(path), **_BESIDE}), SettingsError)
    if isinstance(found, SettingsError):
        return
    _accepted(found)
    listed = _second_opinion(data)["app_info"]
    hold(len(listed) == len(found.apps), "another number of applications than the file holds")
    for entry, app in zip(listed, found.apps, strict=True):
        hold(entry["app_id"] == app.app_id, "an app_id is not what stands in the file")
        given = entry["app_secret"]
        as_it_is = given == app.secret.reveal()
        hold(as_it_is or given.startswith(("${", "file:")), "a secret is not what stands in the file")


@functools.cache
def _place() -> Path:
    """A folder of this process's own, removed with it."""
    folder = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _second_opinion(data: bytes) -> Any:
    """The file as PyYAML itself builds it when every value is to stay a text; by libyaml where that is read with.

    The two take some odd files differently.
    """
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    return yaml.load(data.decode("utf-8-sig"), Loader=loader)  # noqa: S506 - it makes texts and nothing else


def surroundings(data: bytes, read: Reading = read) -> None:
    """An environment without a file: settings for one application, or SettingsError."""
    environ = environment(planted(data))
    environ.pop("CONFIG_FILE", None)
    found = attempt(lambda: read(environ), SettingsError)
    if not isinstance(found, SettingsError):
        hold(len(found.apps) == 1, "not one application")
        _accepted(found)


def _accepted(settings: Settings) -> None:
    """Settings keep their secrets to themselves, hold together, and name a Redis that a client can be made for."""
    tell_nothing(" ".join(settings.warnings), (SECRET,), "a warning shows a secret")
    apps = settings.apps
    open_words = [settings.redis.key_prefix, settings.ca_bundle or "", *(repr(app.endpoints) for app in apps)]
    open_words += [word for app in apps for word in (app.app_id, app.name)]
    if not any(SECRET in word for word in open_words):
        tell_nothing(f"{settings!r} {settings}", (SECRET,), "settings show a secret")
    hold(not settings.policy.problems(), "a policy that contradicts itself was accepted")
    hold(all(app.app_id and app.secret for app in apps), "an application without id or secret was accepted")
    hold(len({app.app_id for app in apps}) == len(apps), "an application was accepted twice")
    url = settings.redis.url
    # A cluster is asked for its slots at once.
    if url.topology is not Topology.CLUSTER:
        attempt(lambda: create_client(url, settings.policy), TokenRefresherError)
