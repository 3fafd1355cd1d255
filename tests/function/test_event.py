"""What starts the function: recorded events, manual invocations, and every mistake in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.tables import each_line
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CommandError
from token_refresher.domain.model import Kind
from token_refresher.function.event import ACCEPTED, read_event

EVENTS = Path(__file__).parents[1] / "data/events"
APPS = {"app0000", "app0001", "猿0002"}
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
# Examples are small; only a loaded machine is ever slow with them.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RECORDED = {
    "timer-empty-payload": Command(),
    "timer-whitespace-payload": Command(),
    "timer-own-payload": Command(Action.AUDIT, ("app0001",), (TICKET,), shard=(2, 8)),
    "timer-older-access-token": Command(kinds=(TOKEN,)),
    "timer-older-js-ticket": Command(kinds=(TICKET,)),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_event_is(name: str) -> None:
    assert read_event((EVENTS / f"{name}.json").read_bytes(), APPS) == RECORDED[name]


def test_every_recorded_event_is_tested() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == set(RECORDED)


def _timer(**members: Any) -> dict[str, Any]:
    return {"triggerTime": "2023-12-26T07:49:00Z", "triggerName": "t", **members}


COMMANDS: dict[str, tuple[Any, Command]] = {
    "an empty object": ({}, Command()),
    "refresh": ({"action": "refresh"}, Command()),
    "audit": ({"action": "audit"}, Command(Action.AUDIT)),
    "status": ({"action": "status"}, Command(Action.STATUS)),
    "one application": ({"apps": ["app0001"]}, Command(apps=("app0001",))),
    "an application twice": (
        {"apps": ["app0001", "app0000", "app0001"]},
        Command(apps=("app0001", "app0000")),
    ),
    "an application outside of ASCII": ({"apps": ["猿0002"]}, Command(apps=("猿0002",))),
    "one kind": ({"kinds": ["js_ticket"]}, Command(kinds=(TICKET,))),
    "both kinds": ({"kinds": ["js_ticket", "access_token"]}, Command(kinds=(TICKET, TOKEN))),
    "force": ({"force": True}, Command(force=True)),
    "no force": ({"action": "status", "force": False}, Command(Action.STATUS)),
    "the first of one shard": ({"shard": "1/1"}, Command(shard=(1, 1))),
    "the last of many shards": ({"shard": "9999/9999"}, Command(shard=(9999, 9999))),
    "a shard of null": ({"shard": None}, Command()),
    "everything at once": (
        {"action": "refresh", "apps": ["app0000"], "kinds": ["access_token"], "force": True, "shard": "2/8"},
        Command(Action.REFRESH, ("app0000",), (TOKEN,), True, (2, 8)),
    ),
    "the older task's token": ({"action": "update_server_access_token"}, Command(kinds=(TOKEN,))),
    "the older task's ticket": ({"action": "update_js_ticket"}, Command(kinds=(TICKET,))),
    "an older action with force": (
        {"action": "update_js_ticket", "force": True},
        Command(kinds=(TICKET,), force=True),
    ),
    "a timer without payload": (_timer(), Command()),
    "a timer with a payload of null": (_timer(payload=None), Command()),
    "a timer without a name": ({"triggerTime": "2023-12-26T07:49:00Z", "payload": ""}, Command()),
    "a timer with members nobody knows": (_timer(payload="", more=1), Command()),
    "a timer with an empty object": (_timer(payload="{}"), Command()),
}


@each_line("sentence", COMMANDS)
def test_an_event_of(sentence: str) -> None:
    event, expected = COMMANDS[sentence]
    text = json.dumps(event)
    assert read_event(text.encode(), APPS) == expected
    assert read_event(text, APPS) == expected
    if "triggerTime" not in event:
        assert read_event(json.dumps(_timer(payload=text)).encode(), APPS) == expected


@pytest.mark.parametrize("event", [b"", b"  \n", "", b"\xef\xbb\xbf{}"])
def test_an_event_of_nothing_refreshes_everything(event: bytes | str) -> None:
    assert read_event(event, APPS) == Command()


# -- mistakes --------------------------------------------------------------------------------

FORGED = "x\nERROR all is lost\r\x1b[31m\u2028\u202e"
LONG = "a" * 5000

# What is wrong -> the event (bytes are sent as they are) and words of the message.
MISTAKES: dict[str, tuple[Any, str]] = {
    "broken JSON": (b'{"action": "refresh"', "not JSON"),
    "no JSON": (b"refresh", "not JSON"),
    "bytes that are no text": (b'{"action": "\xff"}', "not JSON"),
    "two objects": (b"{} {}", "not JSON"),
    "nested too deeply": (b"[" * 100_000, "not JSON"),
    "a number of ten thousand digits": (b'{"force": ' + b"1" * 10_000 + b"}", ""),
    "200 KB of garbage": (b"\x00garbage" * 25_000, "longer than 131072 bytes"),
    "200 KB of blanks": (b" " * 200_000, "longer than 131072 bytes"),
    "200 KB of JSON": (b'{"apps": ["' + b"a" * 200_000 + b'"]}', "longer than 131072 bytes"),
    "a list": ([], "not a JSON object"),
    "a text": ("refresh", "not a JSON object"),
    "a number": (1, "not a JSON object"),
    "null": (None, "not a JSON object"),
    "true": (True, "not a JSON object"),
    "a misspelt member": ({"app": ["app0000"]}, "unknown member 'app'"),
    "a member in other case": ({"Action": "refresh"}, "unknown member 'Action'"),
    "an unknown action": ({"action": "delete"}, "unknown action 'delete'"),
    "an action of the command line": ({"action": "check"}, "unknown action 'check'"),
    "an action in other case": ({"action": "REFRESH"}, "unknown action 'REFRESH'"),
    "an action of null": ({"action": None}, "unknown action of type NoneType"),
    "an action as a list": ({"action": ["refresh"]}, "unknown action of type list"),
    "an action as an object": ({"action": {}}, "unknown action of type dict"),
    "an action of 0": ({"action": 0}, "unknown action of type int"),
    "an unknown application": ({"apps": ["app0009"]}, "application 'app0009' is not configured"),
    "an application as text": ({"apps": "app0000"}, "apps is not a list"),
    "applications as numbers": ({"apps": [1]}, "apps is not a list"),
    "no applications": ({"apps": []}, "apps is not a list"),
    "applications of null": ({"apps": None}, "apps is not a list"),
    "applications as an object": ({"apps": {"app0000": 1}}, "apps is not a list"),
    "an unknown kind": ({"kinds": ["ticket"]}, "unknown kind 'ticket'"),
    "the wire's name of a kind": ({"kinds": ["server_access_token"]}, "unknown kind 'server_access_token'"),
    "no kinds": ({"kinds": []}, "kinds is not a list"),
    "kinds as lists": ({"kinds": [["js_ticket"]]}, "kinds is not a list"),
    "force in words": ({"force": "true"}, "force is neither"),
    "force as a number": ({"force": 1}, "force is neither"),
    "force of null": ({"force": None}, "force is neither"),
    "force with audit": ({"action": "audit", "force": True}, "force does not go with action audit"),
    "force with status": ({"action": "status", "force": True}, "force does not go with action status"),
    "shard 0 of 8": ({"shard": "0/8"}, "shard is not of the form"),
    "shard 9 of 8": ({"shard": "9/8"}, "shard is not of the form"),
    "shard 0 of 0": ({"shard": "0/0"}, "shard is not of the form"),
    "a negative shard": ({"shard": "-1/8"}, "shard is not of the form"),
    "a shard with blanks": ({"shard": "1 / 8"}, "shard is not of the form"),
    "a shard with a line end": ({"shard": "1/8\n"}, "shard is not of the form"),
    "a shard in other digits": ({"shard": "١/٨"}, "shard is not of the form"),
    "a shard partly in other digits": ({"shard": "١/8"}, "shard is not of the form"),
    "a shard of five digits": ({"shard": "1/10000"}, "shard is not of the form"),
    "a shard as a list": ({"shard": [1, 8]}, "shard is not of the form"),
    "a shard as a number": ({"shard": 0.25}, "shard is not of the form"),
    "a timer's payload as an object": (_timer(payload={"action": "refresh"}), "payload is not a text"),
    "a timer's payload as a list": (_timer(payload=[]), "payload is not a text"),
    "a timer's payload as 0": (_timer(payload=0), "payload is not a text"),
    "a timer's payload in words": (_timer(payload="refresh"), "not JSON"),
    "a timer's payload of null in words": (_timer(payload="null"), "not a JSON object"),
    "a timer within a timer": (_timer(payload=json.dumps(_timer(payload=""))), "unknown member 'payload'"),
    "a forged log line as action": ({"action": FORGED}, "unknown action 'x?ERROR?all?is?lost?' (cut)"),
    "a forged log line as member": ({FORGED: 1}, "unknown member 'x?ERROR?all?is?lost?' (cut)"),
    "a forged log line as application": ({"apps": [FORGED]}, "application 'x?ERROR?all?is?lost?' (cut)"),
    "a forged log line as kind": ({"kinds": [FORGED]}, "unknown kind 'x?ERROR?all?is?lost?' (cut)"),
    "half a surrogate pair": ({"apps": ["\ud800"]}, "application '?' is not configured"),
    "5000 characters as action": ({"action": LONG}, f"unknown action {LONG[:20]!r} (cut)"),
    "5000 characters as application": ({"apps": [LONG]}, f"application {LONG[:20]!r} (cut)"),
}


@each_line("sentence", MISTAKES)
def test_it_is_a_mistake_to_send(sentence: str) -> None:
    event, words = MISTAKES[sentence]
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    assert words in _mistake(raw)
    # In a timer it is one as well.
    _mistake(json.dumps(_timer(payload=raw.decode("utf-8", "surrogateescape"))).encode())


def _mistake(raw: bytes) -> str:
    """What is said of an event that is one."""
    with pytest.raises(CommandError) as failed:
        read_event(raw, APPS)
    text = str(failed.value)
    assert failed.value.code == "invalid_command"
    assert ACCEPTED in text
    # one line of a log, and a short one
    assert text.isprintable()
    assert len(text) < len(ACCEPTED) + 250
    return text


def test_what_is_accepted_names_every_action_kind_and_member() -> None:
    names = ("timer", "refresh", "audit", "status", "action", "apps", "kinds", "force", "shard", "k/n")
    older = ("update_server_access_token", "update_js_ticket")
    for name in (*names, *older, *(kind.value for kind in Kind)):
        assert name in ACCEPTED


def test_the_cause_of_a_mistake_is_not_told_with_the_event_s_own_words() -> None:
    with pytest.raises(CommandError) as failed:
        read_event(b'{"action": "a word that nobody may see"', APPS)
    assert failed.value.__suppress_context__
    assert "nobody" not in str(failed.value)


def test_an_older_action_that_contradicts_itself_is_a_mistake() -> None:
    with pytest.raises(CommandError):
        read_event(b'{"action": "update_js_ticket", "kinds": ["access_token"]}', APPS)


def _command_or_mistake(event: bytes) -> None:
    mistake = ""
    try:
        command = read_event(event, APPS)
    except CommandError as error:
        mistake = str(error)
    if mistake:
        assert ACCEPTED in mistake
        assert mistake.isprintable()
    else:
        assert set(command.apps) <= APPS
        assert command.shard is None or 1 <= command.shard[0] <= command.shard[1]


@unhurried
@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_make_a_command_or_a_mistake(event: bytes) -> None:
    _command_or_mistake(event)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("app0000"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["action", "apps", "kinds", "force", "shard", "triggerName", "payload"])


@unhurried
@given(st.dictionaries(_names, _json, max_size=5))
def test_no_members_do_anything_but_make_a_command_or_a_mistake(members: dict[str, Any]) -> None:
    for event in (members, _timer(payload=json.dumps(members))):
        _command_or_mistake(json.dumps(event).encode())
