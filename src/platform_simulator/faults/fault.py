"""Faults on the platform's side, each a value: `Fault.html()`, `Fault.cut(executed=True)`.

`executed` says whether the request is carried out, that is, whether a credential is issued.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from platform_simulator.credentials import IssueOptions
from platform_simulator.faults.gate import Gate
from platform_simulator.faults.malformed import VARIANTS, distort, gzip_bomb
from platform_simulator.responses import INVALID_CODE, NO_PERMISSION, OK, Answer, whole
from platform_simulator.server import HttpResponse

# The life a lying checkCode invents for a credential that has none.
_INVENTED_LIFE_S = 7200


class Delivery(enum.Enum):
    """How the bytes of a reply leave, or do not."""

    WHOLE = enum.auto()
    SILENCE = enum.auto()
    CUT = enum.auto()
    CUT_MID_ANSWER = enum.auto()
    SHORT = enum.auto()
    DRIPPED = enum.auto()
    ENDLESS_CHUNKS = enum.auto()


def _same_answer(answer: Answer, _now: float) -> Answer:
    return answer


def _same_reply(reply: HttpResponse) -> HttpResponse:
    return reply


@dataclass(frozen=True)
class Fault:
    """One way to go wrong; made by the functions below and by `after`.

    The stages, in the order a request meets them: `execute_at` (real seconds
    later, or a gate), `issue_options`, `edit` (the platform's answer; it gets
    the simulator's clock too), `respond` (the HTTP reply), `delay_s`, `delivery`.
    `repeats`: the request is carried out twice, and answered as the first or the last time.
    """

    name: str
    executed: bool
    execute_at: float | Gate | None = None
    issue_options: IssueOptions = field(default_factory=IssueOptions)
    edit: Callable[[Answer, float], Answer] = _same_answer
    respond: Callable[[HttpResponse], HttpResponse] = _same_reply
    delay_s: float = 0.0
    delivery: Delivery = Delivery.WHOLE
    interval_s: float = 0.0
    repeats: Literal["first", "last"] | None = None

    def after(self, delay_s: float) -> Fault:
        """The same fault, its answer `delay_s` real seconds later."""
        return replace(self, delay_s=delay_s)

    # -- the connection --------------------------------------------------------------------

    @staticmethod
    def latency(seconds: float) -> Fault:
        """Executed at once, answered as usual after this many real seconds."""
        return Fault("latency", True, delay_s=seconds)

    @staticmethod
    def no_answer(executed: bool) -> Fault:
        """The connection stays open without an answer until the client leaves."""
        return Fault("no_answer", executed, delivery=Delivery.SILENCE)

    @staticmethod
    def late(after: float | Gate) -> Fault:
        """Executed after this many real seconds or behind the gate; never answered."""
        return Fault("late", True, execute_at=after, delivery=Delivery.SILENCE)

    @staticmethod
    def cut(executed: bool) -> Fault:
        """The connection is reset instead of an answer."""
        return Fault("cut", executed, delivery=Delivery.CUT)

    @staticmethod
    def cut_mid_answer() -> Fault:
        """Executed; the connection is reset in the middle of the body."""
        return Fault("cut_mid_answer", True, delivery=Delivery.CUT_MID_ANSWER)

    @staticmethod
    def dripped(interval_s: float = 0.0) -> Fault:
        """Executed; headers and body byte by byte, `interval_s` real seconds apart."""
        return Fault("dripped", True, delivery=Delivery.DRIPPED, interval_s=interval_s)

    @staticmethod
    def endless_chunks() -> Fault:
        """Executed; blanks in chunks follow the answer until the client leaves."""
        return Fault("endless_chunks", True, delivery=Delivery.ENDLESS_CHUNKS)

    @staticmethod
    def twice(answers: Literal["first", "last"] = "first") -> Fault:
        """Executed twice, as by a gateway that repeats what it passes on; answered once."""
        return Fault("twice", True, repeats=answers)

    # -- the HTTP reply --------------------------------------------------------------------

    @staticmethod
    def status(
        http_status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        executed: bool = False,
    ) -> Fault:
        """Another HTTP status, for example 429 with `{"Retry-After": "30"}`."""
        reply = HttpResponse(http_status, tuple((headers or {}).items()), body)
        return Fault(f"http {http_status}", executed, respond=lambda _: reply)

    @staticmethod
    def redirect(status: int, location: str) -> Fault:
        """Not executed; sends the client to `location`."""
        return Fault.status(status, headers={"Location": location})

    @staticmethod
    def html(executed: bool = False) -> Fault:
        """A page for people, with HTTP status 200."""
        body = b"<!DOCTYPE html><html><body><h1>Under maintenance</h1></body></html>"
        reply = HttpResponse(200, (("Content-Type", "text/html; charset=utf-8"),), body)
        return Fault("html", executed, respond=lambda _: reply)

    @staticmethod
    def raw_json(body: bytes, executed: bool) -> Fault:
        """Exactly these bytes, as application/json with HTTP status 200."""
        return Fault("raw_json", executed, respond=lambda reply: replace(reply, body=body))

    @staticmethod
    def empty(executed: bool = False) -> Fault:
        """HTTP status 200 and no body."""
        return replace(Fault.raw_json(b"", executed), name="empty")

    @staticmethod
    def truncated(honest_length: bool = True) -> Fault:
        """Executed; half the body. Content-Length fits the half, or the whole if not honest."""
        if not honest_length:
            return Fault("truncated", True, delivery=Delivery.SHORT)
        half = _reply_with(lambda body: body[: len(body) // 2])
        return Fault("truncated", True, respond=half)

    @staticmethod
    def huge(n_bytes: int = 50_000_000) -> Fault:
        """Executed; the answer and this many blanks behind it, still valid JSON."""
        return Fault("huge", True, respond=lambda reply: replace(reply, padding=n_bytes))

    @staticmethod
    def gzip_bomb(n_bytes: int = 100_000_000) -> Fault:
        """Executed; like `huge`, as gzip: small on the wire, whether asked for or not."""
        return Fault("gzip_bomb", True, respond=partial(_gzipped, packed=gzip_bomb(n_bytes)))

    @staticmethod
    def encoded(content_encoding: str, pack: Callable[[bytes], bytes] = bytes) -> Fault:
        """Executed; the body as `pack` makes it, under this Content-Encoding, be it true or not."""
        named = ("Content-Encoding", content_encoding)
        return Fault(
            "encoded",
            True,
            respond=lambda reply: replace(reply, headers=(*reply.headers, named), body=pack(reply.body)),
        )

    @staticmethod
    def interim(status: int = 103, times: int = 1) -> Fault:
        """Executed; interim answers of this status, 100 to 199, come before the answer."""
        if not 100 <= status < 200:
            raise ValueError(f"{status} is not an interim status")
        head = f"HTTP/1.1 {status} Interim\r\nLink: </style.css>; rel=preload\r\n\r\n".encode()
        return Fault("interim", True, respond=lambda reply: replace(reply, interim=head * times))

    @staticmethod
    def many_headers(n: int) -> Fault:
        """Executed; `n` more headers."""
        more = tuple((f"X-Filler-{i}", "x") for i in range(n))
        return Fault("many_headers", True, respond=lambda reply: replace(reply, headers=reply.headers + more))

    @staticmethod
    def wrong_types(variant: str) -> Fault:
        """Executed; the answer in a wrong shape, one of `WRONG_TYPES`, else ValueError."""
        if variant not in VARIANTS:
            raise ValueError(f"{variant!r} is not one of {', '.join(VARIANTS)}")
        return Fault(f"wrong_types {variant}", True, respond=_reply_with(partial(distort, variant)))

    # -- the platform's answer -------------------------------------------------------------

    @staticmethod
    def platform_status(status: int, message: str = "", executed: bool = False) -> Fault:
        """A well-formed answer with this status and no data."""
        answer = Answer(status, message)
        return Fault(str(status), executed, edit=lambda _answer, _now: answer)

    @staticmethod
    def white_list(status: int = NO_PERMISSION) -> Fault:
        """Not executed; the caller's address is refused."""
        return replace(Fault.platform_status(status, "ip is not in the white list"), name="white_list")

    @staticmethod
    def check_says(valid: bool, expires_at: float | None = None) -> Fault:
        """A lying checkCode; `expires_at` None: the true instant if there is one."""
        return Fault("check_says", True, edit=partial(_lie, valid=valid, expires_at=expires_at))

    # -- the credential --------------------------------------------------------------------------

    @staticmethod
    def expiry(value: float | str | None, lifetime_s: float | None = None) -> Fault:
        """Executed; says this `expires_in`, whatever it is. The real life is `lifetime_s`."""

        def say(answer: Answer, _now: float) -> Answer:
            if not isinstance(answer.data, dict):
                return answer
            return replace(answer, data={**answer.data, "expires_in": value})

        return Fault("expiry", True, issue_options=IssueOptions(lifetime_s=lifetime_s), edit=say)

    @staticmethod
    def code_length(n: int) -> Fault:
        """Executed; a real credential of `n` characters."""
        return Fault("code_length", True, issue_options=IssueOptions(lambda: secrets.token_hex(n)[:n]))

    @staticmethod
    def unicode_code() -> Fault:
        """Executed; a real credential with characters outside ASCII."""
        return Fault("unicode_code", True, issue_options=IssueOptions(lambda: "猿之棒" + secrets.token_hex(30)))

    @staticmethod
    def same_code(full_life: bool = False) -> Fault:
        """The newest credential again, if still valid: nothing new is issued.

        With what remains of its life, or with its life really renewed to the full.
        """
        options = IssueOptions(reuse="full" if full_life else "remaining")
        return Fault("same_code", True, issue_options=options)


def _reply_with(change: Callable[[bytes], bytes]) -> Callable[[HttpResponse], HttpResponse]:
    return lambda reply: replace(reply, body=change(reply.body))


def _gzipped(reply: HttpResponse, packed: Callable[[bytes], bytes]) -> HttpResponse:
    return replace(reply, headers=(*reply.headers, ("Content-Encoding", "gzip")), body=packed(reply.body))


def _lie(answer: Answer, now: float, valid: bool, expires_at: float | None) -> Answer:
    if not valid:
        return Answer(INVALID_CODE, "server_access_token is invalid")
    said = answer.data if isinstance(answer.data, dict) else {}
    truth = said.get("expires_in", whole(now + _INVENTED_LIFE_S))
    return Answer(OK, "ok", {"expires_in": truth if expires_at is None else whole(expires_at)})
