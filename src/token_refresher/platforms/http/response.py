"""An HTTP answer, judged without knowing whose it is: what its status says alone, how long to wait, and its JSON.

Pure; knows no connection. Nothing a peer wrote gets into an error.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import timezone
from typing import Any

from token_refresher.domain.errors import RefusedError, UnknownOutcomeError

# Real answers have a few hundred bytes.
MAX_BODY = 65_536
_GZIP, _BEFORE_JSON = b"\x1f\x8b", b"\xef\xbb\xbf \t\r\n"
# More than one is a proxy's mistake already.
_MOST_CODINGS = 5
# More digits than any number of a platform has; also below where Python refuses to parse.
MAX_DIGITS = 15

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


def unusable_response(what: str) -> UnknownOutcomeError:
    """The error for an answer that is none of those documented; `what` says why."""
    return UnknownOutcomeError(f"the platform's answer is unusable: {what}", code="bad_answer")


def refused_by_status(reply: HttpResponse) -> RefusedError | None:
    """The error of an HTTP status that alone says that nothing was issued; None for the others."""
    http_status = reply.http_status
    if http_status in _LIMITING or (http_status == 503 and reply.retry_after.strip()):
        what = f"HTTP {http_status}: too many requests, or too much load"
        return RefusedError(what, code="rate_limited", retry_after_s=retry_after_s(reply))
    if not 400 <= http_status < 500 or http_status in _MAYBE_EXECUTED:
        return None
    if http_status == 407:
        return RefusedError("the proxy answered 407: it asks for a user and a password", code="not_sent_proxy")
    # A platform's own refusals come in its documented form. What lies between judges by address, path or content.
    what = f"a gateway, firewall or proxy answered HTTP {http_status}, and not the platform"
    return RefusedError(what, of_caller=True)


def retry_after_s(reply: HttpResponse) -> float | None:
    """The duration (s) in Retry-After, from 0 to 300; None when it is absent or unreadable."""
    said = reply.retry_after.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", said):
        return min(float(said), _LONGEST_WAIT_S)
    until, now = server_time(said), server_time(reply.date)
    if until is None:
        return None
    return min(max(until - (reply.came_at if now is None else now), 0.0), _LONGEST_WAIT_S)


def read_json(reply: HttpResponse) -> Any:
    """The body as JSON, unpacked, in bounds of size, depth and digits, no name twice in an object.

    Raises UnknownOutcomeError (bad_answer).
    """
    return _parse(_decoded(reply), reply.http_status)


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
        raise unusable_response("its compression is broken") from None
    if len(body) <= MAX_BODY and not packed.eof:
        raise unusable_response("its compressed body is incomplete")
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
        # from None: the exception quotes the answer, which may hold a credential.
        raise unusable_response(f"no valid JSON (HTTP {http_status})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice: which one counts?")
    return found


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _float(text: str) -> float:
    if len(text) > 2 * MAX_DIGITS:
        raise ValueError("too many digits")
    return float(text)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def server_time(date: str) -> float | None:
    """The instant of a Date header (unix seconds), None when it is absent or unreadable."""
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(date)
        # "-0000" is universal time too, from a server that does not say where it is.
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
