"""Whether the settings are still those that were read: by content, before each run, without an end to the old ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from support.flow import Deployment
from support.planted import plant
from support.redis_server import closed_port
from support.world import World
from token_refresher import bootstrap as wiring
from token_refresher.bootstrap import reload_if_changed
from token_refresher.domain.command import Command
from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Secret
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import Settings, read


class Filed(NamedTuple):
    """A configuration file of two applications, its text, and what was read from it."""

    file: Path
    text: str
    settings: Settings
    refresher: Refresher

    def replace(self, old: str, new: str) -> None:
        self.file.write_text(self.text.replace(old, new))


@pytest.fixture
def filed(world: World, caplog: pytest.LogCaptureFixture) -> Filed:
    caplog.set_level(logging.INFO, "token_refresher")
    environ = Deployment(world, 2).environ
    file, settings = Path(environ["CONFIG_FILE"]), read(environ)
    return Filed(file, file.read_text(), settings, wiring.refresher(settings))


def test_a_file_that_holds_the_same_changes_nothing(filed: Filed, caplog: pytest.LogCaptureFixture) -> None:
    filed.file.write_text(filed.text)
    os.utime(filed.file, (1, 1))
    assert reload_if_changed(filed.settings, filed.refresher) == (filed.settings, filed.refresher)
    assert reload_if_changed(filed.settings, filed.refresher)[1] is filed.refresher
    assert caplog.messages == []


def test_a_changed_secret_counts_and_all_else_lives_on(
    filed: Filed, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    app, new = filed.settings.apps[0], plant("rotated")
    filed.replace(world.secrets[app.app_id], new)
    settings, refresher = reload_if_changed(filed.settings, filed.refresher)
    assert settings.apps[0].secret == refresher.apps[0].secret == Secret(new)
    assert refresher.callers[app.app_id] != filed.refresher.callers[app.app_id], "its own wait was the old secret's"
    assert refresher.store is filed.refresher.store
    assert refresher.limits is filed.refresher.limits
    assert caplog.messages == [f"settings reloaded, used from the next run on: secret of {app.app_id}"]
    assert reload_if_changed(settings, refresher)[1] is refresher


_EDITS: dict[str, tuple[Callable[[str], str], str]] = {
    "a name": (lambda text: text.replace("name of app0001", "another"), "name or platform of app0001"),
    "an application less": (lambda text: text[: text.index("- app_id: app0001")], "application app0001 removed"),
    "an application more": (
        lambda text: text + "- {app_id: app0002, app_secret: '0123456789'}\n",
        "application app0002 added",
    ),
    "the policy": (lambda text: text + "policy: {margin_s: 1900}\n", "policy.margin_s"),
    "the log level": (lambda text: text + "log_level: DEBUG\n", "log_level"),
    "a proxy": (lambda text: text.replace("proxies: null", "proxies: {https: 'http://p:1'}"), "proxies"),
    "the database": (lambda text: text.replace("db: 0", "db: 1"), "Redis"),
    "the order": (
        lambda text: text.replace("app0000", "app000x").replace("app0001", "app0000").replace("app000x", "app0001"),
        "secret of app0001, secret of app0000, order of the applications",
    ),
    "very many applications": (
        lambda text: text + "".join(f"- {{app_id: more{n:02}, app_secret: '0123456789'}}\n" for n in range(12)),
        ", ".join([*(f"application more{n:02} added" for n in range(10)), "and 2 more such applications"]),
    ),
}


@pytest.mark.parametrize("edit", _EDITS)
def test_what_has_changed_is_named(filed: Filed, caplog: pytest.LogCaptureFixture, edit: str) -> None:
    spoil, named = _EDITS[edit]
    filed.file.write_text(spoil(filed.text))
    settings, refresher = reload_if_changed(filed.settings, filed.refresher)
    assert caplog.messages == [f"settings reloaded, used from the next run on: {named}"]
    assert (refresher.apps, refresher.policy) == (settings.apps, settings.policy)
    assert (refresher.store is filed.refresher.store) == (edit not in ("the policy", "the database"))


def test_what_is_odd_about_changed_settings_is_said_when_they_come(
    filed: Filed, caplog: pytest.LogCaptureFixture
) -> None:
    filed.file.write_text(filed.text + "polcy: {margin_s: 1900}\n")
    settings, _ = reload_if_changed(filed.settings, filed.refresher)
    assert settings.warnings
    assert caplog.messages == ["settings reloaded, used from the next run on: warnings", *settings.warnings]


def test_a_program_that_could_not_be_built_is_built_once_its_redis_is_there(filed: Filed, world: World) -> None:
    """A cluster is asked for its slots before there is a program at all."""
    rest = filed.text[filed.text.index("oauth_api:") :]
    cluster = f"storage_redis: {{url: 'redis+cluster://127.0.0.1:{closed_port()}'}}\n{rest}"
    filed.file.write_text(cluster)
    gone = read(filed.settings.origin.environ)
    filed.file.write_text(f"{cluster}log_level: DEBUG\n")
    with pytest.raises(StoreError, match="redis_unreachable"):
        reload_if_changed(gone, None)
    assert gone.origin.refused == (), "that Redis is not there is no mistake in the file"
    filed.file.write_text(filed.text)
    settings, program = reload_if_changed(gone, None)
    assert program is not None
    assert program.run_once(Command()).summary()["issued"] == 4
    assert settings.redis == filed.settings.redis


def test_an_edit_that_says_the_same_is_read_and_keeps_the_program(
    filed: Filed, caplog: pytest.LogCaptureFixture
) -> None:
    filed.file.write_text(f"# a comment\n{filed.text}")
    assert reload_if_changed(filed.settings, filed.refresher)[1] is filed.refresher
    assert reload_if_changed(filed.settings, filed.refresher)[1] is filed.refresher
    assert caplog.messages == ["settings read again: nothing has changed"]


def test_a_secret_s_own_file_is_looked_at_through_links_that_are_swapped(world: World, tmp_path: Path) -> None:
    """As Kubernetes does it: the files are links into a folder that is itself a link, which is replaced."""
    old, new = world.secrets[world.app_id()], plant("rotated")
    for folder, secret in (("v1", old), ("v2", new)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "secret").write_text(secret)
        os.utime(tmp_path / folder / "secret", (1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "secret").symlink_to("..data/secret")
    settings = read(world.settings_env() | {"APP_SECRET": f"file:{tmp_path / 'secret'}"})
    refresher = wiring.refresher(settings)
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert reload_if_changed(settings, refresher)[0].apps[0].secret == Secret(new)


_BROKEN: dict[str, tuple[Callable[[str], str | None], str]] = {
    "missing": (lambda text: None, "CONFIG_FILE (or --config) refers to a file that cannot be read"),
    "empty": (lambda text: "", "app_info must be a list"),
    "half written": (lambda text: text[: text.index("app_info")], "app_info must be a list"),
    "misspelt": (lambda text: text.replace("app_secret", "app_secrte"), "app_info entry 2: app_secret is missing"),
    "no address of Redis": (
        lambda text: text.replace("storage_redis:", "storage_redis:\n  url: redis+sentinel://host"),
        "redis",
    ),
}


@pytest.mark.parametrize("case", _BROKEN)
def test_what_is_wrong_is_refused_with_all_mistakes_once_and_the_old_settings_stay(
    filed: Filed, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    spoil, named = _BROKEN[case]
    text = spoil(filed.text)
    filed.file.unlink() if text is None else filed.file.write_text(text)
    for _ in range(3):
        assert reload_if_changed(filed.settings, filed.refresher)[1] is filed.refresher
    (message,) = caplog.messages
    assert message.startswith("changed settings are refused, the old ones stay in use: ")
    assert named in message
    assert "; ".join(filed.settings.origin.refused) in message
    if case == "misspelt":
        assert len(filed.settings.origin.refused) >= 4, "two names, two secrets"
    filed.file.write_text(filed.text)
    assert reload_if_changed(filed.settings, filed.refresher)[1] is filed.refresher
    assert filed.settings.origin.refused == ()
    assert caplog.messages[1:] == ["settings read again: nothing has changed"]


def test_another_mistake_is_reported_too(filed: Filed, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("", "a: [", ""):
        filed.file.write_text(text)
        reload_if_changed(filed.settings, filed.refresher)
    assert len(caplog.messages) == 3


def test_what_a_refused_file_needs_may_come_later(filed: Filed, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    filed.file.write_text(f"{filed.text}ca_bundle: {bundle}\n")
    assert reload_if_changed(filed.settings, filed.refresher)[0] is filed.settings
    bundle.write_text("")
    assert reload_if_changed(filed.settings, filed.refresher)[0].ca_bundle == str(bundle)


def test_being_asked_without_a_file_says_that_only_a_restart_helps(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read(world.settings_env())
    refresher = wiring.refresher(settings)
    assert reload_if_changed(settings, refresher)[1] is refresher
    assert caplog.messages == []
    assert reload_if_changed(settings, refresher, asked=True)[1] is refresher
    assert caplog.messages == [
        "nothing to read again: all settings come from environment variables, which a running process keeps; restart "
        "it to change them"
    ]


def test_what_can_be_read_only_once_is_not_waited_for(
    filed: Filed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    os.write(end, filed.text.encode())
    copy = tmp_path / "copy"
    with open(pipe, "rb") as first:
        copy.write_bytes(first.read(len(filed.text)))
    settings = read({"CONFIG_FILE": str(copy)})
    copy.unlink()
    copy.symlink_to(pipe)
    os.close(end)
    assert reload_if_changed(settings, filed.refresher, asked=True)[0] is settings
    assert "CONFIG_FILE (or --config) refers to something other than a file, which can be read only once" in caplog.text


def test_another_redis_is_used_once_it_answers_and_the_old_one_until_then(
    filed: Filed, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """So a password of Redis can be written into the file before Redis itself takes it."""
    new = plant("new-redis-password")
    filed.replace(world.redis.password, new)
    for _ in range(2):
        assert reload_if_changed(filed.settings, filed.refresher)[1] is filed.refresher
    (message,) = caplog.messages
    assert message.startswith("changed settings are refused, the old ones stay in use: Redis: redis_auth: ")
    client = world.redis.client()
    client.config_set("requirepass", new)
    settings, refresher = reload_if_changed(filed.settings, filed.refresher)
    assert settings.redis != filed.settings.redis
    assert refresher.store is not filed.refresher.store
    assert caplog.messages[1:] == ["settings reloaded, used from the next run on: Redis"]
    client.config_set("requirepass", world.redis.password)
