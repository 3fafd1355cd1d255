"""Events, payloads of timers and the command line: what asks for a run."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from token_refresher.cli.options import selected
from token_refresher.cli.parser import HelpRequested, parse
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CommandError, UsageError
from token_refresher.domain.model import Kind
from token_refresher.function.event import ACCEPTED, read_event

from .inputs import arguments, json_of, text
from .properties import SECRET, BrokenError, attempt, hold, planted, tell_nothing

APPS = ("app0000", "app0001")
# Only so much of a wrong value may be quoted.
_QUOTED = 20

Reading = Callable[[bytes, Sequence[str]], Command]


def event(data: bytes, read: Reading = read_event) -> None:
    """An event as the function gets it: a command that asks for nothing but what is there, or CommandError."""
    data = planted(data)
    found = attempt(lambda: read(data, APPS), CommandError)
    if isinstance(found, CommandError):
        hold(len(found.what) < len(ACCEPTED) + 250, "an error about an event is too long for a log")
        own = found.what.removesuffix(ACCEPTED)
        hold(not _quotes(own, data), "an error quotes more of an event than a name needs")
        return
    hold(set(found.apps) <= set(APPS), "a command names an application that is not configured")
    hold(found.action in (Action.REFRESH, Action.AUDIT, Action.STATUS), "a command asks for another action")
    hold(not found.force or found.action is Action.REFRESH, "force goes with another action than refresh")
    hold(found.shard is None or 1 <= found.shard[0] <= found.shard[1], "a shard that there is not")
    hold(len(data) <= 131_072, "an event was read that is larger than the platform's own limit")


def _quotes(own: str, data: bytes) -> bool:
    """Whether more than a name's length of the input stands between quotation marks."""
    return any(len(piece) > _QUOTED and piece in text(data) for piece in own.split("'"))


def payload(data: bytes, read: Reading = read_event) -> None:
    """The payload of a timer, the published task's own included: means what the same bytes mean as an event."""
    data = planted(data)
    words = text(data)
    timer = json.dumps({"triggerTime": "2023-12-26T07:49:00Z", "triggerName": "t", "payload": words}).encode()
    within = attempt(lambda: read(timer, APPS), CommandError)
    content: Any = json_of(data)
    older = {"update_server_access_token": Kind.ACCESS_TOKEN, "update_js_ticket": Kind.JS_TICKET}
    if isinstance(content, dict) and set(content) == {"action"} and content["action"] in list(older):
        hold(within == Command(kinds=(older[content["action"]],)), "the published task's payload means something else")
    if isinstance(content, dict) and {"triggerName", "triggerTime"} & set(content):
        hold(isinstance(within, CommandError), "a timer within a timer was accepted")
        return
    alone = attempt(lambda: read(data, APPS), CommandError)
    # As text, bytes that are no UTF-8 and a byte order mark are something else; too long is too long in either.
    if not isinstance(alone, CommandError) and words.isascii() and len(timer) < 100_000:
        hold(within == alone, "a payload means something else than the same event")


def command_line(data: bytes, read: Callable[[Sequence[str]], Any] = parse) -> None:
    """Arguments: options, UsageError, or help where somebody asked for it."""
    given = arguments(planted(data))
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            options = attempt(lambda: read(given), (UsageError, HelpRequested))
    except SystemExit as end:
        raise BrokenError("the parser of the command line ended the program") from end
    if isinstance(options, HelpRequested):
        hold(any(each[:2] in ("-h", "--") for each in given), "help that is not asked for")
        return
    hold(not printed.getvalue(), "the parser of the command line printed something")
    if isinstance(options, UsageError):
        tell_nothing(options.usage, (SECRET,), "the usage shows a secret")
    elif not isinstance(options, Exception) and hasattr(options, "shard"):
        found = attempt(lambda: selected(options, Action.STATUS, APPS), CommandError)
        hold(isinstance(found, CommandError) or set(found.apps) <= set(APPS), "an application that is not configured")
