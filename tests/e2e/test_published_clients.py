"""`Reader.with_code` around calls that the platform's published clients make, over real sockets."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from urllib.parse import urlencode, urlsplit

import pytest

from platform_simulator import APP_ACCESS_PATH, USER_COUNT_PATH
from support.flow import Deployment
from support.world import World
from token_refresher import Reader
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind

APP, VISITOR = "app0000", "visitor"
TOKEN = Kind.ACCESS_TOKEN.value


class OauthApiError(Exception):
    """As the published clients raise it: `code` is the answer's status, as text."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class TokenRefused(OauthApiError):
    """Status 4102."""


def post(base: str, path: str, **form: str) -> object:
    """The data of an answer, as the published clients ask for it: a form, and a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=30)
    try:
        connection.request("POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    status = str(answer["status"])
    if status == "4102":
        raise TokenRefused(status)
    if not status.startswith("2"):
        raise OauthApiError(status)
    return answer["data"]


CALLS: dict[str, tuple[Callable[[str, str], object], object]] = {
    "getUserCount": (
        lambda base, code: post(base, USER_COUNT_PATH, app_id=APP, access_token=code),
        {"user_count": "1"},
    ),
    "getAppAccess": (
        lambda base, code: post(base, APP_ACCESS_PATH, app_id=APP, access_token=code, open_id=VISITOR),
        ["user/get_user_base_info"],
    ),
}


@pytest.fixture
def deployment(world: World) -> Deployment:
    """A world in which one run stored both credentials, and the application has a visitor."""
    deployment = Deployment(world)
    deployment.run()
    world.simulator.login_code(APP, VISITOR)
    return deployment


@pytest.fixture
def reader(world: World) -> Iterator[Reader]:
    with Reader.from_url(world.redis.url) as reader:
        yield reader


@pytest.mark.parametrize("call", CALLS)
def test_a_call_with_the_stored_token_succeeds(world: World, deployment: Deployment, reader: Reader, call: str) -> None:
    ask, expected = CALLS[call]
    assert reader.with_code(APP, TOKEN, lambda code: ask(world.simulator.url, code), TokenRefused) == expected
    assert world.simulator.count(path=USER_COUNT_PATH) + world.simulator.count(path=APP_ACCESS_PATH) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_revoked_token_in_a_reader_s_copy_is_replaced_by_the_newer_one_in_redis(
    world: World, deployment: Deployment, reader: Reader, call: str
) -> None:
    ask, expected = CALLS[call]
    old = reader.access_token(APP)
    world.advance(60)
    deployment.run(Command(force=True))
    world.simulator.revoke(APP, TOKEN, old)
    tried: list[str] = []

    def ask_again(code: str) -> object:
        tried.append(code)
        return ask(world.simulator.url, code)

    assert reader.with_code(APP, TOKEN, ask_again, TokenRefused) == expected
    newest = world.simulator.newest(APP, TOKEN)
    assert newest is not None
    assert tried == [old, newest.code]


@pytest.mark.parametrize("call", CALLS)
def test_a_revoked_token_that_is_the_newest_is_complained_of_and_the_next_run_heals_it(
    world: World, deployment: Deployment, reader: Reader, call: str
) -> None:
    ask, expected = CALLS[call]
    world.advance(60)
    world.simulator.revoke(APP, TOKEN, reader.access_token(APP))
    with pytest.raises(TokenRefused):
        reader.with_code(APP, TOKEN, lambda code: ask(world.simulator.url, code), TokenRefused)
    deployment.run()
    healed = reader.with_code(APP, Kind.ACCESS_TOKEN, lambda code: ask(world.simulator.url, code), TokenRefused)
    assert healed == expected


def test_another_refusal_is_no_matter_of_the_code(world: World, deployment: Deployment, reader: Reader) -> None:
    tried: list[str] = []

    def ask(code: str) -> object:
        tried.append(code)
        return post(world.simulator.url, APP_ACCESS_PATH, app_id=APP, access_token=code, open_id="stranger")

    with pytest.raises(OauthApiError, match="4104"):
        reader.with_code(APP, TOKEN, ask, TokenRefused)
    assert len(tried) == 1
