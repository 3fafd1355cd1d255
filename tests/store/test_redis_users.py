"""The lines of docs/how-to/redis-users.md do what the document says, and every right in them is needed."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from support.flow import Deployment
from support.redis_server import find_binary
from support.redis_users import CHINESE, ENGLISH, Shop, as_user, expected, line, rights
from support.world import World
from token_refresher import bootstrap as wiring
from token_refresher.doctor.examine import examine
from token_refresher.doctor.finding import Severity
from token_refresher.domain.command import Command
from token_refresher.domain.errors import TokenRefresherError
from token_refresher.domain.model import Kind, Record, Target, fingerprint
from token_refresher.settings.loader import read
from token_refresher.store.keys import keys_of

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow

SERVER_7 = int(re.findall(r"v=(\d+)", subprocess.check_output([find_binary(), "--version"], text=True))[0]) >= 7


# With a server of Redis 7 tests/e2e/test_redis_versions.py reads as "reader 7".
READERS = [*(["reader 7"] if SERVER_7 else []), "reader 6.2", "reader without complaints"]


def each_right(*names: str) -> list[Any]:
    # Scripts do not roll back: one that breaks off before PEXPIRE leaves what it wrote.
    lasting = pytest.mark.keys_without_ttl("the right that is missing is the one that sets it, or comes just before")
    marks: dict[str, tuple[pytest.MarkDecorator, ...]]
    marks = {"+set": (lasting,), "+pexpire": (lasting,)}
    return [
        pytest.param(name, right, id=f"{name} without {right}", marks=marks.get(right, ()))
        for name in names
        for right in rights(name)
    ]


# -- the refresher ----------------------------------------------------------------------------------------------------


def whole_story(deployment: Deployment, prefix: str = "") -> list[str]:
    """What happens to a ticket in the course of its life, in words; an error is the end."""
    told: list[str] = []
    try:
        for step in (_first, _audited, _complained, _superseded, _orphaned, _of_another_type):
            told.append(f"{step.__name__}: {step(deployment, prefix)}")
    except TokenRefresherError as error:
        told.append(error.code)
    return told


def _run(deployment: Deployment) -> str:
    report = deployment.refresher().run_once(Command())
    ticket = next(each for each in report.targets if each.target.kind is Kind.JS_TICKET)
    outcome = ticket.outcome.value if ticket.outcome else "nothing"
    return f"{ticket.reason} {outcome} {ticket.failure.code if ticket.failure else 'well'}"


def _first(deployment: Deployment, _: str) -> str:
    return _run(deployment)


def _audited(deployment: Deployment, _: str) -> str:
    deployment.world.advance(300)
    return _run(deployment)


def _complained(deployment: Deployment, prefix: str) -> str:
    value, _, refused = keys_of(Target(deployment.app_ids[0], Kind.JS_TICKET), prefix)
    admin: Any = deployment.world.redis.client()
    code = json.loads(admin.get(value) or b'{"js_ticket": ""}')["js_ticket"]
    admin.set(refused, fingerprint(code), ex=600)
    deployment.world.advance(100)
    return f"{_run(deployment)}, complaints left: {admin.exists(refused)}"


def _superseded(deployment: Deployment, _: str) -> str:
    deployment.simulator.issue(deployment.app_ids[0], "js_ticket")
    deployment.world.advance(300)
    return _run(deployment)


def _orphaned(deployment: Deployment, prefix: str) -> str:
    """While a credential is being fetched Redis loses everything of it."""
    target = Target(deployment.app_ids[0], Kind.JS_TICKET)
    store = wiring.store(read(deployment.environ))
    held = store.acquire(store.read(target), "attempt", "me")
    assert held.held
    admin: Any = deployment.world.redis.client()
    admin.delete(*keys_of(target, prefix))
    now = int(deployment.world.now())
    record = Record("made-up", now + 900, now, 1)
    return store.finish(held.snapshot, "me", "issued", "issued", record=record, sent_ms=now * 1000)


def _of_another_type(deployment: Deployment, prefix: str) -> str:
    lease = keys_of(Target(deployment.app_ids[0], Kind.JS_TICKET), prefix).lease
    admin: Any = deployment.world.redis.client()
    admin.set(lease, "not a hash", ex=900)
    deployment.world.advance(60)
    return _run(deployment)


WELL = [
    "_first: MISSING issued well",
    "_audited: FRESH kept well",
    "_complained: FRESH kept well, complaints left: 0",
    "_superseded: SUPERSEDED issued well",
    "_orphaned: orphan",
    "_of_another_type: REFUSED issued well",
]


def test_with_its_line_the_refresher_does_all_that_it_has_to(world: World) -> None:
    deployment = Deployment(world)
    deployment.environ["REDIS_URL"] = as_user(world.redis, "refresher")
    assert whole_story(deployment) == WELL


def test_with_a_prefix_before_each_type_it_does_so_too(world: World) -> None:
    deployment = Deployment(world)
    deployment.environ["REDIS_KEY_PREFIX"] = "shop:"
    deployment.environ["REDIS_URL"] = as_user(world.redis, "refresher", change=prefixed)
    assert whole_story(deployment, "shop:") == WELL
    for pattern in (word for word in line("refresher") if word.startswith("~")):
        assert f"`{prefixed(pattern)}`" in ENGLISH.read_text("utf-8")


def prefixed(word: str) -> str:
    return word.replace("type/", "shop:type/")


def test_another_database_needs_the_addition_that_is_named(world: World) -> None:
    for more, works in (((), False), (("+select",), True)):
        deployment = Deployment(world)
        deployment.environ["REDIS_URL"] = as_user(world.redis, "refresher", more=more).removesuffix("0") + "1"
        assert (len(whole_story(deployment)) > 1) is works
    assert "`+select`" in ENGLISH.read_text("utf-8")


@pytest.mark.parametrize(("name", "right"), each_right("refresher"))
def test_without_any_one_of_its_rights_something_goes_wrong(world: World, name: str, right: str) -> None:
    deployment = Deployment(world)
    deployment.environ["REDIS_URL"] = as_user(world.redis, name, without=right)
    assert whole_story(deployment) != WELL


def test_the_refresher_can_do_nothing_beyond_its_keys_and_commands(world: World) -> None:
    url = as_user(world.redis, "refresher")
    with redis.Redis.from_url(url) as client:
        for command in (("SET", "other", "1"), ("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("INFO",)):
            with pytest.raises(redis.ResponseError, match="permission"):
                client.execute_command(*command)


def test_the_doctor_finds_nothing_to_complain_of_and_needs_the_addition_for_the_rest(world: World) -> None:
    deployment = Deployment(world)
    for more, unseen in (((), 5), (("+info", "+config|get"), 0)):
        deployment.environ["REDIS_URL"] = as_user(world.redis, "refresher", more=more)
        deployment.refresher().run_once(Command())
        world.advance(30)
        findings = examine(deployment.environ, wall=world.now, clock=deployment.clock)
        assert not [each for each in findings if each.severity is Severity.RED]
        grey = [each for each in findings if each.severity is Severity.GREY and each.name.startswith("redis")]
        assert len(grey) == unseen
    assert r"`+info +config\|get`" in ENGLISH.read_text("utf-8")


# -- readers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_with_its_line_a_reader_reads_and_complains(world: World, name: str) -> None:
    assert Shop(world, name).story() == expected(name)


@pytest.mark.parametrize(("name", "right"), each_right(*READERS))
def test_without_any_one_of_its_rights_a_reader_does_less(world: World, name: str, right: str) -> None:
    assert Shop(world, name, without=right).story() != expected(name)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_cannot_write_what_others_read_nor_see_the_leases(world: World, name: str) -> None:
    shop = Shop(world, name)
    before = {key: shop.admin.dump(key) for key in shop.admin.scan_iter()}
    with redis.Redis.from_url(shop.url) as client:
        for kind in Kind:
            value, lease, refused = keys_of(Target("app0000", kind))
            for command in (
                ("SET", value, "x"),
                ("SET", value, "x", "PX", "1000"),
                ("DEL", value),
                ("EXPIRE", value, "1"),
                ("GET", lease),
                ("DEL", refused),
                ("SET", keys_of(Target("app0001", kind)).value, "x"),
                ("EVAL", "return 1", "1", value),
            ):
                with pytest.raises(redis.ResponseError, match="permission"):
                    client.execute_command(*command)
    assert {key: shop.admin.dump(key) for key in shop.admin.scan_iter()} == before


def test_without_complaints_it_says_so_in_its_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "token_refresher.reader")
    Shop(world, "reader without complaints").story()
    assert "could not be left" in caplog.text


# -- the document -----------------------------------------------------------------------------------------------------


def test_the_page_has_these_lines_and_no_others() -> None:
    assert lines_of(ENGLISH) == ["refresher", "reader 7", "reader 6.2", "reader without complaints"]


def test_both_languages_have_the_same_lines() -> None:
    blocks = [re.findall(r"```text\n(.+?)\n```", path.read_text("utf-8"), re.DOTALL) for path in (ENGLISH, CHINESE)]
    assert blocks[0] == blocks[1]
    assert lines_of(CHINESE) == lines_of(ENGLISH)
    assert [line(name, CHINESE) for name in lines_of(ENGLISH)] == [line(name) for name in lines_of(ENGLISH)]
    texts = [path.read_text("utf-8") for path in (ENGLISH, CHINESE)]
    additions = [re.findall(r"^\|.*\| (`.+`) \|$", text, re.MULTILINE) for text in texts]
    assert additions[0] == additions[1] != []


def lines_of(page: Path) -> list[str]:
    """The names of the lines of a page, in order."""
    return re.findall("<!-- acl: (.+) -->", page.read_text("utf-8"))
