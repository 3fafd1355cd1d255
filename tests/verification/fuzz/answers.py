"""Answers of the platform, as bytes that follow its header."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from support.endpoints import endpoints_at
from token_refresher.domain.errors import NotSentError, PlatformError, RefusedError
from token_refresher.domain.model import App, Kind, Secret
from token_refresher.domain.platform_answer import Checked, Issued
from token_refresher.domain.policy import Policy
from token_refresher.platforms.http.response import HttpResponse
from token_refresher.platforms.yuanzhibang.client import User, YuanzhibangPlatform

from .inputs import json_of, number, parts
from .properties import SECRET, attempt, hold, planted, tell_nothing

POLICY = Policy()
# What an application sends of its own: it may come back in the answer to that request, and must not be shown.
TOKEN, CODE = "Planted-t0ken%of&the=fuzzers", "Planted-c0de/of~the+fuzzers"
_SENT_AT = 1_700_000_000.0

Opened = Callable[[HttpResponse], YuanzhibangPlatform]


class Answered(YuanzhibangPlatform):
    """The platform's client, up to where it has an answer: every request is answered by `reply`."""

    def __init__(self, reply: HttpResponse) -> None:
        super().__init__(policy=POLICY, pool_size=1)
        self._reply = reply

    def _post(self, *_: Any, **__: Any) -> HttpResponse:
        return self._reply


def application(base: str = "http://127.0.0.1:9") -> App:
    """An application with the planted secret, whose platform is at `base`."""
    return App("app0000", Secret(SECRET), "", endpoints_at(base, "/t", "/j", "/c", "/u"))


def answer(data: bytes, opened: Opened = Answered) -> None:
    """Status, encoding and date of an answer, and its body, by every interface: a result, a no, or nobody knows."""
    status, encoding, date, body = parts(echoed(data), 4)
    said = encoding.decode("latin-1"), date.decode("latin-1")
    # Retry-After gets the same text as Date: it may be a date.
    reply = HttpResponse(number(status, 200), *said, body, _SENT_AT, said[1], _SENT_AT)
    platform, app, until = opened(reply), application(), 0.0
    token = attempt(lambda: platform.fetch_access_token(app, until), PlatformError, (SECRET,))
    ticket = attempt(lambda: platform.fetch_js_ticket(app, TOKEN, until), PlatformError, (SECRET, TOKEN))
    checked = attempt(lambda: platform.check_code(app, Kind.JS_TICKET, CODE, until), PlatformError, (SECRET, CODE))
    user = attempt(lambda: platform.exchange_login_code(app, CODE, until), PlatformError, (SECRET, CODE))
    for found, name in ((token, "access_token"), (ticket, "ticket"), (checked, ""), (user, "open_id")):
        judge(found, reply, name)


def echoed(data: bytes) -> bytes:
    """The input with everything secret in the places marked for it."""
    return planted(data).replace(b"<token>", TOKEN.encode()).replace(b"<code>", CODE.encode())


def judge(found: object, reply: HttpResponse, name: str = "") -> None:
    """Only an answer that says so by the document is a success or a definite no; `name` is that of what was asked."""
    hold(not isinstance(found, NotSentError), "an answer came, and it is said that nothing was sent")
    packed = reply.encoding.strip().lower() not in ("", "identity")
    plain = None if packed else json_of(reply.body.removeprefix(b"\xef\xbb\xbf"))
    status = _status(plain)
    if isinstance(found, RefusedError):
        by_http = 400 <= reply.http_status < 500 or reply.http_status in (503, 509, 529)
        by_http &= reply.http_status not in (408, 425, 460, 499)
        said = found.status is not None and 4000 <= found.status < 5000
        hold(said or (found.status is None and by_http), "a definite no without a status that says so")
        hold(not said or plain is None or status == found.status, "a definite no with another status than the answer's")
        hold(not (status and 2000 <= status < 3000), "a definite no where a code may have been issued")
        hold(found.retry_after_s is None or 0 <= found.retry_after_s <= 300, "a wait that is not bounded")
    if isinstance(found, Checked) and not found.valid:
        hold(plain is None or status == 4102, "a code was called dead by an answer that does not say so")
    elif isinstance(found, (Issued, Checked, User)):
        hold(plain is None or status == 2000, "a success that the answer does not tell")
        hold(reply.http_status < 300, "a success with an HTTP status that is none")
        # A shorter one stands in other words by accident.
        tell_nothing(repr(found), [code for code in (_code(found),) if len(code) > 20], "a result shows its code")
    if isinstance(found, (Issued, User)):
        hold(0 < found.lifetime_s <= POLICY.lifetime_s, "a life that no code has")
        code = _code(found)
        hold(0 < len(code) <= 4096 and not any(char.isspace() for char in code), "a code that cannot be one")
        hold(plain is None or plain["data"][name] == code, "a code that the answer does not hold")
    if isinstance(found, (Issued, Checked, User)) and found.server_time is not None:
        hold(math.isfinite(found.server_time), "an instant that is none")


def _code(found: object) -> str:
    return found.code if isinstance(found, Issued) else found.open_id if isinstance(found, User) else ""


def _status(plain: Any) -> int | None:
    """The answer's own status, read as generously as can be."""
    try:
        return int(float(plain["status"]))
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
