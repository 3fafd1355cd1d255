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

from .errors import RefusedError, UnknownOutcomeError
from .quoting import quotable

# Real answers have about 200 bytes, a user's about 600.
MAX_BODY = 65_536
# The platform's page asks for room for 128 characters; more is stored all the same, up to a bound for Redis.
_DOCUMENTED_CODE, _MAX_CODE = 128, 4096
# More digits than any number of the platform has; also below where Python refuses to parse.
_MAX_DIGITS = 15
_NUMERIC = re.compile(r"-?[0-9]{1,15}(\.0+)?")
# An instant in seconds, not a duration and not milliseconds: from 2001 to 5138.
_FIRST_INSTANT, _LAST_INSTANT = 10**9, 10**11

_OK, _INVALID_CODE, _NO_PERMISSION, _NOT_ADDED = 2000, 4102, 4103, 4104
_SPEAKS_OF_WHITE_LIST = re.compile(r"(?<![a-z])ip(?![a-z])|white.?list|allow.?list|白名单", re.IGNORECASE)
_SPEAKS_OF_SECRET = re.compile(r"secret|密钥|app_?id", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer as it came; `body` is at most one byte longer than MAX_BODY, and not decoded."""

    http_status: int
    encoding: str
    date: str
    body: bytes = field(repr=False)
    sent_at: float


@dataclass(frozen=True)
class Envelope:
    """A well-formed answer; `data` is empty unless the platform sent an object."""

    status: int
    message: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)

    @property
    def ok(self) -> bool:
        return self.status == _OK

    @property
    def invalid_code(self) -> bool:
        return self.status == _INVALID_CODE


def bad(what: str) -> UnknownOutcomeError:
    """The answer is none of those documented."""
    return UnknownOutcomeError(f"the platform's answer is unusable: {what}", code="bad_answer")


def open_envelope(reply: Reply) -> Envelope:
    """The envelope in an answer: a success, or a definite no. Raises UnknownOutcomeError (bad_answer)."""
    http_status = reply.http_status
    if not (200 <= http_status < 300 or 400 <= http_status < 500):
        raise bad(f"HTTP {http_status}")
    envelope = _parse(_decoded(reply), http_status)
    if not isinstance(envelope, dict):
        raise bad(f"no JSON object (HTTP {http_status})")
    status, message, data = whole(envelope.get("status")), envelope.get("message"), envelope.get("data")
    if status is None or not isinstance(message, (str, int, float, type(None))):
        raise bad(f"no status and message (HTTP {http_status})")
    if not isinstance(data, (dict, list, type(None))):
        raise bad(f"data is neither object nor array (status {status})")
    no = 4000 <= status < 5000
    if not no and (status != _OK or http_status >= 400):
        raise bad(f"status {status} with HTTP {http_status}")
    return Envelope(status, "" if message is None else str(message), data if isinstance(data, dict) else {})


def _decoded(reply: Reply) -> bytes:
    encoding, body = reply.encoding.strip().lower(), reply.body
    if len(body) <= MAX_BODY and encoding in ("gzip", "x-gzip"):
        # Nobody asked for it, but proxies do it. Bounded: 200 kB of gzip can hold 200 MB.
        packed = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            body = packed.decompress(body, MAX_BODY + 1)
        except zlib.error:
            raise bad("broken gzip") from None
        if len(body) <= MAX_BODY and not packed.eof:
            raise bad("incomplete gzip")
    elif encoding not in ("", "identity", "gzip", "x-gzip"):
        raise bad("an encoding nobody asked for")
    if len(body) > MAX_BODY:
        raise bad("too long")
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
        raise bad(f"no valid JSON (HTTP {http_status})") from None


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


def code_in(data: Mapping[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    """The code under `name`, and warnings. Raises UnknownOutcomeError (bad_answer)."""
    code = data.get(name)
    if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE:
        raise bad(f"no usable {name}")
    if any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in code):
        raise bad(f"{name} contains blanks or control characters")
    if len(code) > _DOCUMENTED_CODE:
        return code, (f"{name} has {len(code)} characters, documented are at most {_DOCUMENTED_CODE}",)
    return code, ()


def lifetime_in(data: Mapping[str, Any], longest_s: float) -> tuple[int, tuple[str, ...]]:
    """The duration under `expires_in` (s), at most `longest_s`, and warnings. Raises UnknownOutcomeError."""
    lifetime_s = whole(data.get("expires_in"))
    if lifetime_s is None or lifetime_s <= 0:
        raise bad("expires_in is no duration")
    cap_s = max(1, int(longest_s))
    if lifetime_s > cap_s:
        return cap_s, (f"expires_in is {lifetime_s} s, counted as {cap_s} s",)
    return lifetime_s, ()


def instant_in(data: Mapping[str, Any]) -> int:
    """The instant under `expires_in` (unix seconds, the platform's clock). Raises UnknownOutcomeError."""
    instant = whole(data.get("expires_in"))
    if instant is None or not _FIRST_INSTANT <= instant < _LAST_INSTANT:
        raise bad("expires_in is no instant")
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


def refusal(envelope: Envelope, secrets: Iterable[str], invalid_code: str) -> RefusedError:
    """The error for a definite no; `invalid_code` is what 4102 means here. None of `secrets` gets into it."""
    status, message = envelope.status, envelope.message
    code = "platform_refused"
    if status == _INVALID_CODE and invalid_code:
        code = invalid_code
    elif status == _NOT_ADDED:
        code = "not_added"
    elif _SPEAKS_OF_WHITE_LIST.search(message):
        code = "not_white_listed"
    elif status == _NO_PERMISSION:
        code = "no_permission"
    elif _SPEAKS_OF_SECRET.search(message):
        code = "wrong_secret"
    quoted = quotable(message, secrets)
    said = "; its message is not shown: it repeats a part of a secret" if quoted is None else f' "{quoted}"'
    return RefusedError(f"the platform answered {status}{said}", status=status, code=code)
