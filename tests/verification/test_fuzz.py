"""Every kept input through its target, a short search around them, and that each check can fail."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import index
from support.clients import client_of
from support.flow import Deployment
from token_refresher.cli.parser import parse
from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CommandError, SettingsError, SigningError, UsageError
from token_refresher.domain.model import Kind, Record, Target, Unreadable
from token_refresher.domain.policy import Policy
from token_refresher.function.event import read_event
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform
from token_refresher.reader.cache import CachedCredential
from token_refresher.reader.signing import sign, signed_url
from token_refresher.reader.sync_reader import Reader
from token_refresher.settings.loader import read
from token_refresher.store.connection import create_client
from token_refresher.store.record_json import read_record
from token_refresher.store.redis_store import _snapshot
from verification.fuzz import addresses, answers, commands, configuration, handling, keeping, serving, speaking, stored
from verification.fuzz.__main__ import main
from verification.fuzz.corpus import KEPT, keep, name_of, needed, samples
from verification.fuzz.mutation import search
from verification.fuzz.properties import SECRET, BrokenError
from verification.fuzz.targets import TARGETS

# How many inputs a search tries: some seconds' worth of each. `make fuzz` goes on for longer.
EXAMPLES = dict.fromkeys(TARGETS, 250) | {
    "arguments": 100,
    "function": 30,
    "connection": 60,
    "protocol": 100,
    "readers": 60,
    "healing": 20,
}


# -- the corpus ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_all_properties_hold_for_every_kept_input(name: str) -> None:
    with TARGETS[name].open() as check:
        for data in samples(name):
            check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_inputs_are_few_and_small_and_named_by_their_content(name: str) -> None:
    paths = sorted((KEPT / name).iterdir())
    assert 5 <= len(paths) <= 150
    for path in paths:
        data = path.read_bytes()
        assert path.name == hashlib.sha1(data).hexdigest()  # noqa: S324 - a name, as libFuzzer gives it
        assert len(data) <= 1024


def test_every_kept_input_has_a_target() -> None:
    assert {path.name for path in KEPT.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_search_around_the_kept_inputs_finds_nothing(name: str) -> None:
    with TARGETS[name].open() as check:
        search(check, samples(name), TARGETS[name].words, EXAMPLES[name])


# -- the checks can fail ---------------------------------------------------------------------

Opened = AbstractContextManager[Callable[[bytes], None]]


def _checking(check: Callable[..., None], stand_in: Any) -> Opened:
    return nullcontext(lambda data: check(data, stand_in))


def _stumbles_over_force(event: bytes, app_ids: Sequence[str]) -> Command:
    if b"force" in event:
        raise KeyError("force")
    return read_event(event, app_ids)


def _quotes_the_event(event: bytes, app_ids: Sequence[str]) -> Command:
    try:
        return read_event(event, app_ids)
    except CommandError as error:
        raise CommandError(f"{error.what}, not {event!r}") from None


def _shows_its_cause(event: bytes, app_ids: Sequence[str]) -> Command:
    """The message is good, but a traceback shows the exception before it."""
    try:
        json.loads(event or b"{}")
    except ValueError:
        try:
            raise ValueError(event.decode("utf-8", "replace"))
        except ValueError:
            raise CommandError("not JSON")  # noqa: B904 - the mistake that is to be found
    return read_event(event, app_ids)


def _takes_any_payload(event: bytes, app_ids: Sequence[str]) -> Command:
    return Command() if b"triggerName" in event else read_event(event, app_ids)


def _quotes_arguments(arguments: Sequence[str]) -> Any:
    try:
        return parse(arguments)
    except UsageError as error:
        raise UsageError(f"{error.what}: {arguments}", error.usage) from None


def _quotes_settings(environ: Any) -> Any:
    try:
        return read(environ)
    except SettingsError as error:
        raise SettingsError([*error.problems, str(sorted(environ.items()))]) from None


def _warns_with_values(environ: Any) -> Any:
    return dataclasses.replace(read(environ), warnings=tuple(environ.values()))


def _strips_secrets(environ: Any) -> Any:
    settings = read(environ)
    return dataclasses.replace(settings, apps=tuple(dataclasses.replace(a, app_id=a.app_id[:1]) for a in settings.apps))


class _BelievesAnyStatus(answers.Answered):
    """Takes a server error for an answer."""

    def _post(self, *_: Any, **__: Any) -> Any:
        reply = super()._post()
        return dataclasses.replace(reply, http_status=200)


def _reads_the_wrong_member(kind: Kind, raw: bytes) -> Record | Unreadable:
    found = read_record(kind, raw)
    return dataclasses.replace(found, code="another") if isinstance(found, Record) else found


def _reads_numbers_as_they_come(target: Any, reply: list[Any]) -> Any:
    _, _, _, fields, _ = reply
    for field in (fields.split(b"\n") if isinstance(fields, bytes) else fields)[1::2]:
        int(field or b"0")
    return _snapshot(target, reply)


def _signs_the_query_too(ticket: str, nonce: str, timestamp: int, url: str) -> str:
    sign(ticket, nonce, timestamp, url)
    words = f"js_ticket={ticket}&nonce_str={nonce}&timestamp={timestamp}&url={url.removesuffix('/')}"
    return hashlib.sha1(words.encode()).hexdigest()  # noqa: S324 - prescribed


def _runs_before_it_reads(event: bytes, context: Any) -> dict[str, Any]:
    told = index.handler(b"", context)
    return told if not event else index.handler(event, context)


class _AsksTwice(YuanzhibangPlatform):
    def fetch_access_token(self, *arguments: Any) -> Any:
        super().fetch_access_token(*arguments)
        return super().fetch_access_token(*arguments)


class _TellsTheLog(YuanzhibangPlatform):
    def fetch_access_token(self, app: Any, until: float) -> Any:
        logging.getLogger("token_refresher").debug("asking with %s", app.secret.reveal())
        return super().fetch_access_token(app, until)


def _connects_with_repeats(url: RedisUrl, policy: Policy) -> Any:
    """A client that sends again what a broken connection may have carried."""
    client = create_client(url, policy)
    client.connection_pool.set_retry(Retry(NoBackoff(), 1))
    return client


class _TrustsRedis(Reader):
    def record(self, app_id: str, kind: Kind | str) -> CachedCredential:
        raw = self._client.get(self._cache.keys_of(Target(app_id, Kind(kind))).value)
        json.loads(raw or b"{}")
        return super().record(app_id, kind)


def _only_looks(deployment: Deployment) -> dict[str, Any]:
    return deployment.refresher().run_once(Command(Action.STATUS)).as_dict()


# What is wrong with a stand-in -> the target, how it is opened with it, and what the check says.
MISTAKES: dict[str, tuple[str, Callable[[], Opened], str]] = {
    "an exception of another kind": (
        "event", lambda: _checking(commands.event, _stumbles_over_force), "left the tree"
    ),
    "an event in an error": ("event", lambda: _checking(commands.event, _quotes_the_event), "secret|quotes|too long"),
    "a cause in a traceback": ("event", lambda: _checking(commands.event, _shows_its_cause), "shows a secret"),
    "payloads that are not read": ("payload", lambda: _checking(commands.payload, _takes_any_payload), "payload|timer"),
    "arguments in an error": (
        "arguments", lambda: _checking(commands.command_line, _quotes_arguments), "shows a secret"
    ),
    "settings in an error": (
        "environment", lambda: _checking(configuration.surroundings, _quotes_settings), "shows a secret"
    ),
    "settings in a warning": (
        "environment", lambda: _checking(configuration.surroundings, _warns_with_values), "shows a secret"
    ),
    "a file read as something else": (
        "config", lambda: _checking(configuration.config_file, _strips_secrets), "not what stands in the file|twice"
    ),
    "a server error taken for an answer": (
        "answer", lambda: _checking(answers.answer, _BelievesAnyStatus), "HTTP status"
    ),
    "another code than the stored one": (
        "value", lambda: _checking(stored.value, _reads_the_wrong_member), "code that the value does not hold"
    ),
    "numbers of a lease taken as they come": (
        "lease", lambda: _checking(stored.lease, _reads_numbers_as_they_come), "ValueError left the tree"
    ),
    "a signature over the query": (
        "address", lambda: _checking(addresses.address, _signs_the_query_too), "another signature"
    ),
    "a run before the event is read": (
        "function", lambda: handling.function(_runs_before_it_reads), "a bad event fetched or stored"
    ),
    "two requests for one": ("connection", lambda: serving.connection(_AsksTwice), "not exactly one request"),
    "a secret in the log": ("connection", lambda: serving.connection(_TellsTheLog), "the log shows"),
    "a command sent twice": ("protocol", lambda: speaking.protocol(_connects_with_repeats), "sent twice"),
    "a reader that trusts Redis": ("readers", lambda: keeping.readers(_TrustsRedis), "left the tree"),
    "a refresher that does nothing": ("healing", lambda: keeping.healing(_only_looks), "newest code for good"),
}  # fmt: skip


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_search_finds(sentence: str) -> None:
    name, opened, words = MISTAKES[sentence]
    with opened() as check, pytest.raises(BrokenError, match=words):
        search(check, samples(name), TARGETS[name].words, EXAMPLES[name], shrink=False)


def test_every_target_has_a_mistake_that_a_search_finds() -> None:
    assert {name for name, _, _ in MISTAKES.values()} == set(TARGETS)


# -- what was found --------------------------------------------------------------------------

CODE = "c0de-typed-by-mistake-0123456789"


@pytest.mark.parametrize(
    "arguments",
    [
        [CODE],
        ["refresh", "--kind", CODE],
        ["refresh", f"--force={CODE}"],
        ["daemon", "--log-format", CODE],
        [f"--json={CODE}"],
        ["refresh", "--kind", f"{CODE} (choose from {CODE})"],
        [f"--json=invalid choice: {CODE} (choose from {CODE})"],
    ],
)
def test_what_was_typed_in_the_wrong_place_is_shown_neither_in_the_error_nor_in_its_trace(arguments: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    assert CODE not in "".join(traceback.format_exception(caught.value))
    assert CODE not in caught.value.usage
    assert "(not shown)" in str(caught.value)


def test_a_misspelt_word_is_still_shown() -> None:
    with pytest.raises(UsageError, match="invalid choice: 'refersh' \\(choose from "):
        parse(["refersh"])
    with pytest.raises(UsageError, match="ignored explicit argument 'yes'"):
        parse(["refresh", "--force=yes"])


@pytest.mark.parametrize("char", '"<>\\`{}')
def test_what_browsers_write_in_another_way_is_not_signed_before_a_query(char: str) -> None:
    with pytest.raises(SigningError, match="a browser would encode"):
        signed_url(f"https://example.com/a{char}b")
    with pytest.raises(SigningError):
        signed_url(f"https://exa{char}mple.com/")
    # In a query and a fragment some of them stand as they are, and neither is signed.
    assert signed_url(f"https://example.com/a/?{char}#{char}") == "https://example.com/a"


@pytest.mark.parametrize("host", ["[v1.x]", "[zz]", "[::1%25eth0]", "[::1]x"])
def test_brackets_that_hold_no_address_are_not_signed_by_any_python(host: str) -> None:
    with pytest.raises(SigningError, match="no valid host and port"):
        signed_url(f"https://{host}/")


@pytest.mark.parametrize(
    "reply",
    [b"$9223372036854775807\r\n", b"$1000000000\r\n", b"*9223372036854775807\r\n", b"*1\r\n" * 20_000],
    ids=["a size that no memory has", "more than Redis holds", "a list of everything", "lists in lists"],
)
def test_what_no_redis_answers_is_a_broken_connection(reply: bytes) -> None:
    with serving.Mouth(lambda request: request.endswith(b"PING\r\n")) as mouth:
        mouth.answer = reply
        client = client_of(mouth.url.replace("http", "redis"), Policy(redis_timeout_s=10.0))
        with pytest.raises(redis.ConnectionError):
            client.execute_command("PING")
        client.close()


# -- the program -----------------------------------------------------------------------------


def test_an_input_is_tried_again_by_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(b'{"force": 1}')
    assert main(["event", "--replay", str(path)]) == 0
    assert "all properties hold for event" in capsys.readouterr().out


def test_an_input_that_breaks_a_property_is_told_with_its_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = TARGETS["event"]._replace(open=lambda: _checking(commands.event, _stumbles_over_force))
    monkeypatch.setitem(TARGETS, "event", broken)
    path = tmp_path / "input"
    path.write_bytes(b'{"force": 1}')
    assert main(["event", "--replay", str(path)]) == 1
    out = capsys.readouterr().out
    assert "KeyError left the tree of errors" in out
    assert "_stumbles_over_force" in out


def test_of_what_was_found_only_new_ways_are_kept_and_nothing_kept_is_given_up() -> None:
    def check(data: bytes) -> None:
        commands.event(data)

    found = [b'{"shard": "1/2"}', b'{"shard":  "2/2"}', b'{"apps": ["app0000"]}']
    new = needed(check, [b"{}"], found)
    assert new == [b'{"shard": "1/2"}', b'{"apps": ["app0000"]}']
    assert needed(check, [b"{}", *new], found) == []


def test_an_input_is_kept_under_the_name_of_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verification.fuzz.corpus.KEPT", tmp_path)
    path = keep("event", b"{}")
    assert path == tmp_path / "event" / name_of(b"{}")
    assert samples("event") == [b"{}"]


def test_no_kept_input_holds_the_secret_itself() -> None:
    for path in KEPT.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
