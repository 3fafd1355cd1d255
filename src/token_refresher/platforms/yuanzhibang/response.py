"""What comes back, judged: a success, a definite no, or nothing to rely on. Pure; knows no connection.

Numbers may be text; everything else must be as documented. Nothing a peer wrote gets into an error but the
platform's own message, short, and only if it repeats no part of a secret.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timezone
from typing import Any

from token_refresher.domain.errors import RefusedError, UnknownOutcomeError
from token_refresher.domain.quoting import quotable

# Real answers have about 200 bytes, a user's about 600.
MAX_BODY = 65_536
# The platform's page asks for room for 128 characters; more is stored all the same, up to a bound for Redis.
_DOCUMENTED_CODE, _MAX_CODE = 128, 4096
_GZIP, _BEFORE_JSON = b"\x1f\x8b", b"\xef\xbb\xbf \t\r\n"
# More than one is a proxy's mistake already.
_MOST_CODINGS = 5
# More digits than any number of the platform has; also below where Python refuses to parse.
_MAX_DIGITS = 15
_NUMERIC = re.compile(r"-?[0-9]{1,15}(\.0+)?")
# An instant in seconds, not a duration and not milliseconds: from 2001 to 5138.
_FIRST_INSTANT, _LAST_INSTANT = 10**9, 10**11

_OK, _INVALID_CODE, _NO_PERMISSION, _NOT_ADDED = 2000, 4102, 4103, 4104

# What a refusal speaks of, looked for in this order: "ip" also occurs where calls are too many, "limit" also where an
# address is not let in, and a platform in trouble may name the application all the same.
_SPEAKS_OF_WHITE_LIST = re.compile(r"white.?list|allow.?list|白名单", re.IGNORECASE)
_SPEAKS_OF_LOAD = re.compile(
    r"too (many|fast|frequent|often)|frequen|throttl|rate.?limit|(?<![a-z])(qps|tps|quota)(?![a-z])"
    r"|overload|(?<![a-z])busy|频繁|频率|频次|限流|限频|限速|繁忙|系统忙|稍[后候]|过快|太快|次数|过多|太多|配额|并发",
    re.IGNORECASE,
)
_SPEAKS_OF_ADDRESS = re.compile(r"(?<![a-z])ip(?![a-z])", re.IGNORECASE)
_SPEAKS_OF_A_LIMIT = re.compile(
    r"(?<![a-z])(limit(s|ed|ation)?|rate|(try|retry) (again|later)|later)(?![a-z])|上限|超限|超出|限制", re.IGNORECASE
)
_SPEAKS_OF_SECRET = re.compile(r"secret|密钥|app_?id", re.IGNORECASE)
_SPEAKS_OF_APPLICATION = re.compile(r"(?<![a-z])app(?![a-z])|app_?id|application|应用", re.IGNORECASE)
_SPEAKS_OF_TROUBLE = re.compile(
    r"system|server (error|exception)|internal|maintenance|unavailable|time.?out|database|exception|unknown error"
    r"|general error|parameter|系统|服务|内部|维护|异常|超时|数据库|未知|参数",
    re.IGNORECASE,
)

# Statuses by which servers and gateways refuse because of load. 420, 430, 509 and 529 are not registered but in use.
_LIMITING = frozenset((420, 429, 430, 509, 529))
# 4xx after which a request may still be executed. 408: a gateway that waited for its backend says it too. 425: the
# next hop may repeat the request by itself. 460 and 499: a gateway notes that the caller left, its backend goes on.
_MAYBE_EXECUTED = frozenset((408, 425, 460, 499))
_LONGEST_WAIT_S = 300.0


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP answer as it came; `body` is at most one byte longer than MAX_BODY, and not decoded.

    `sent_at` is an instant of the client's clock, `came_at` one of the machine's (unix seconds).
    """

    http_status: int
    encoding: str
    date: str
    body: bytes = field(repr=False)
    sent_at: float
    retry_after: str = ""
    came_at: float = 0.0


@dataclass(frozen=True)
class ApiResponse:
    """A well-formed answer; `data` is empty unless the platform sent an object.

    `retry_after_s` (duration, seconds) is what the answer asks the caller to wait.
    """

    status: int
    message: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        return self.status == _OK

    @property
    def invalid_code(self) -> bool:
        return self.status == _INVALID_CODE


def unusable_response(what: str) -> UnknownOutcomeError:
    """The answer is none of those documented."""
    return UnknownOutcomeError(f"the platform's answer is unusable: {what}", code="bad_answer")


def parse_response(reply: HttpResponse) -> ApiResponse:
    """The envelope in an answer: a success, or a definite no.

    Raises RefusedError (a no by its HTTP status), UnknownOutcomeError (bad_answer).
    """
    http_status, refused = reply.http_status, _refused_by_status(reply)
    if not refused and not (200 <= http_status < 300 or 400 <= http_status < 500):
        raise unusable_response(f"HTTP {http_status}")
    try:
        envelope = _envelope(reply)
    except UnknownOutcomeError:
        if refused is None:
            raise
        raise refused from None
    no, success = 4000 <= envelope.status < 5000, 2000 <= envelope.status < 3000
    if refused is not None and not success and not (no and refused.code != "rate_limited"):
        raise refused
    if not no and (envelope.status != _OK or http_status >= 400):
        # A success inside an HTTP error counts as unknown too: a code may have been issued.
        raise unusable_response(f"status {envelope.status} with HTTP {http_status}")
    return envelope


def _refused_by_status(reply: HttpResponse) -> RefusedError | None:
    """The error of an HTTP status that alone says that nothing was issued; None for the others."""
    http_status = reply.http_status
    if http_status in _LIMITING or (http_status == 503 and reply.retry_after.strip()):
        what = f"HTTP {http_status}: too many requests, or too much load"
        return RefusedError(what, code="rate_limited", retry_after_s=_wait_s(reply))
    if not 400 <= http_status < 500 or http_status in _MAYBE_EXECUTED:
        return None
    if http_status == 407:
        return RefusedError("the proxy answered 407: it wants a user and a password", code="not_sent_proxy")
    # The platform's own refusals are envelopes. What lies between judges by address, path or content.
    what = f"HTTP {http_status} from a gateway, firewall or proxy, not an answer of the platform"
    return RefusedError(what, of_caller=True)


def _wait_s(reply: HttpResponse) -> float | None:
    """The duration (s) in Retry-After, from 0 to 300; None when it is absent or unreadable."""
    said = reply.retry_after.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", said):
        return min(float(said), _LONGEST_WAIT_S)
    until, now = server_time(said), server_time(reply.date)
    if until is None:
        return None
    return min(max(until - (reply.came_at if now is None else now), 0.0), _LONGEST_WAIT_S)


def _envelope(reply: HttpResponse) -> ApiResponse:
    http_status = reply.http_status
    envelope = _parse(_decoded(reply), http_status)
    if not isinstance(envelope, dict):
        raise unusable_response(f"no JSON object (HTTP {http_status})")
    status, message, data = whole(envelope.get("status")), envelope.get("message"), envelope.get("data")
    if status is None or not isinstance(message, (str, int, float, type(None))):
        raise unusable_response(f"no status and message (HTTP {http_status})")
    if not isinstance(data, (dict, list, type(None))):
        raise unusable_response(f"data is neither object nor array (status {status})")
    text = "" if message is None else str(message)
    return ApiResponse(status, text, data if isinstance(data, dict) else {}, _wait_s(reply))


def _decoded(reply: HttpResponse) -> bytes:
    """The body unpacked, the last coding first.

    The header is a hint only: some servers write a charset there, and some proxies unpack a body but leave the header.
    What is left is judged by its JSON.
    """
    body, codings = reply.body, reply.encoding.lower().replace(" ", "").split(",")
    if len(codings) > _MOST_CODINGS:
        raise unusable_response("too many codings")
    for coding in reversed(codings):
        if len(body) > MAX_BODY:
            break
        if coding in ("gzip", "x-gzip") and body.startswith(_GZIP):
            body = _unpacked(body, 16 + zlib.MAX_WBITS)
        elif coding == "deflate" and not body.lstrip(_BEFORE_JSON).startswith(b"{"):
            # Some servers send the bare stream instead of zlib's, which begins with a checked pair of bytes.
            zlibs = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
            body = _unpacked(body, zlib.MAX_WBITS if zlibs else -zlib.MAX_WBITS)
    if len(body) > MAX_BODY:
        raise unusable_response("too long")
    return body


def _unpacked(body: bytes, wbits: int) -> bytes:
    """At most one byte more than MAX_BODY: 200 kB can hold 200 MB. Raises UnknownOutcomeError (bad_answer)."""
    packed = zlib.decompressobj(wbits=wbits)
    try:
        body = packed.decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise unusable_response("its packing is broken") from None
    if len(body) <= MAX_BODY and not packed.eof:
        raise unusable_response("its packing is incomplete")
    return body


def _parse(body: bytes, http_status: int) -> Any:
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_int=_int,
            parse_float=_float,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError):
        # from None: the exception quotes the answer, which may hold a code.
        raise unusable_response(f"no valid JSON (HTTP {http_status})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice: which one counts?")
    return found


def _int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _float(text: str) -> float:
    if len(text) > 2 * _MAX_DIGITS:
        raise ValueError("too many digits")
    return float(text)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def whole(leaf: object) -> int | None:
    """The whole number a leaf stands for, be it a number or text; None when it does not."""
    if isinstance(leaf, str) and _NUMERIC.fullmatch(leaf):
        leaf = int(leaf.partition(".")[0])
    if isinstance(leaf, float) and leaf.is_integer() and abs(leaf) < 10**_MAX_DIGITS:
        leaf = int(leaf)
    return leaf if isinstance(leaf, int) and not isinstance(leaf, bool) else None


def read_credential(data: Mapping[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    """The code under `name`, and warnings. Raises UnknownOutcomeError (bad_answer)."""
    code = data.get(name)
    if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE:
        raise unusable_response(f"no usable {name}")
    if any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in code):
        raise unusable_response(f"{name} contains blanks or control characters")
    if len(code) > _DOCUMENTED_CODE:
        return code, (f"{name} has {len(code)} characters, documented are at most {_DOCUMENTED_CODE}",)
    return code, ()


def read_lifetime(data: Mapping[str, Any], longest_s: float) -> tuple[int, tuple[str, ...]]:
    """The duration under `expires_in` (s), at most `longest_s`, and warnings. Raises UnknownOutcomeError."""
    lifetime_s = whole(data.get("expires_in"))
    if lifetime_s is None or lifetime_s <= 0:
        raise unusable_response("expires_in is no duration")
    cap_s = max(1, int(longest_s))
    if lifetime_s > cap_s:
        return cap_s, (f"expires_in is {lifetime_s} s, counted as {cap_s} s",)
    return lifetime_s, ()


def read_expiry(data: Mapping[str, Any]) -> int:
    """The instant under `expires_in` (unix seconds, the platform's clock). Raises UnknownOutcomeError."""
    instant = whole(data.get("expires_in"))
    if instant is None or not _FIRST_INSTANT <= instant < _LAST_INSTANT:
        raise unusable_response("expires_in is no instant")
    return instant


def server_time(date: str) -> float | None:
    """The instant of a Date header (unix seconds), None when it is absent or unreadable."""
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(date)
        # "-0000" is universal time too, from somebody who does not tell where he is.
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def rejection(envelope: ApiResponse, secrets: Iterable[str], invalid_code: str, denial: str = "") -> RefusedError:
    """The error for a definite no. None of `secrets` gets into it.

    `invalid_code` is what 4102 means here, `denial` what a no about the application means ("": it is about the secret).
    """
    status, message = envelope.status, envelope.message
    code = invalid_code if status == _INVALID_CODE else ""
    code = code or ("not_added" if status == _NOT_ADDED else "") or _cause(message)
    if not code and status == _NO_PERMISSION:
        code = "no_permission"
    if not code and denial:
        about_it = _SPEAKS_OF_APPLICATION.search(message) or not _SPEAKS_OF_TROUBLE.search(message)
        code = denial if about_it else ""
    elif not code and _SPEAKS_OF_SECRET.search(message):
        code = "wrong_secret"
    quoted = quotable(message, secrets)
    said = "; its message is not shown: it repeats a part of a secret" if quoted is None else f' "{quoted}"'
    wait_s = envelope.retry_after_s if code == "rate_limited" else None
    what = f"the platform answered {status}{said}"
    return RefusedError(what, status=status, code=code or "platform_refused", retry_after_s=wait_s)


def _cause(message: str) -> str:
    """Whether a refusal speaks of the caller's address or of load, "" when it does not."""
    if _SPEAKS_OF_WHITE_LIST.search(message):
        return "not_white_listed"
    if _SPEAKS_OF_LOAD.search(message):
        return "rate_limited"
    if _SPEAKS_OF_ADDRESS.search(message):
        return "not_white_listed"
    return "rate_limited" if _SPEAKS_OF_A_LIMIT.search(message) else ""
