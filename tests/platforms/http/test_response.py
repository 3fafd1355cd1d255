"""An HTTP answer, judged without knowing whose it is."""

from __future__ import annotations

import gzip
import io
import json
import re
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from support.tables import each_line
from token_refresher.domain.errors import PlatformError, UnknownOutcomeError
from token_refresher.platforms.http.response import (
    MAX_BODY,
    HttpResponse,
    read_json,
    refused_by_status,
    retry_after_s,
    server_time,
)

_GOOD = b'{"status": "2000", "message": "ok", "data": {"ticket": "abc", "expires_in": 7200}}'
_DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def _reply(body: bytes = _GOOD, encoding: str = "") -> HttpResponse:
    return HttpResponse(200, encoding, "", body, 0.0)


def _is_bad(error: PlatformError) -> bool:
    return isinstance(error, UnknownOutcomeError) and error.code == "bad_answer"


@each_line("http_status", [429, 503])
@each_line(
    ("said", "wait_s"),
    [
        ("0", 0.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 5000, 300.0),
        ("-1", None),
        ("+5", None),
        ("1e2", None),
        ("٣", None),
        ("soon", None),
        ("5, 5", None),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", 300.0),
    ],
)
def test_how_long_to_wait_is_read_bounded_or_left_open(http_status: int, said: str, wait_s: float | None) -> None:
    error = refused_by_status(HttpResponse(http_status, "", _DATE, b"", 0.0, said))
    assert error is not None
    assert (error.code, error.retry_after_s) == ("rate_limited", wait_s)


def test_without_a_date_in_the_answer_the_machine_s_clock_counts() -> None:
    assert retry_after_s(HttpResponse(429, "", "", b"", 0.0, _DATE, 784111777.0 - 20)) == 20.0


def test_a_byte_order_mark_is_no_reason_to_lose_a_code() -> None:
    assert read_json(_reply(b"\xef\xbb\xbf" + _GOOD))["status"]


@each_line("encoding", ["gzip", "x-gzip", " GZIP ", "gzip, UTF-8", "identity,gzip", "gzip, gzip"])
def test_gzip_is_read_though_nobody_asked_for_it(encoding: str) -> None:
    assert read_json(_reply(gzip.compress(_GOOD, mtime=0), encoding=encoding))["status"]


def _packed(body: bytes, length: int) -> bytes:
    """Gzip of exactly this length: the name in its header makes up for what is missing."""
    missing = length - len(gzip.compress(body, mtime=0)) - 1
    packed = io.BytesIO()
    with gzip.GzipFile("x" * missing, "wb", fileobj=packed, mtime=0) as file:
        file.write(body)
    return packed.getvalue()


def _raw(body: bytes) -> bytes:
    """Deflate without zlib's head and sum."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


# 64 KiB, written out: a bound that slips is to be noticed.
_BOUND = 65_536
_LONGEST = _GOOD + b" " * (_BOUND - len(_GOOD))
# The second half is best packed by pointing back further than 16 KiB.
_HALF = "".join(f"{number * 7919 % 99_991:05}" for number in range(4500))
_FAR_BACK = json.dumps({"status": 2000, "message": _HALF * 2, "data": []}).encode()


@each_line(
    ("body", "encoding"),
    [
        (_LONGEST, ""),
        (gzip.compress(_LONGEST, mtime=0), "gzip"),
        (_packed(_GOOD, _BOUND), "gzip"),
        (gzip.compress(_FAR_BACK, mtime=0), "gzip"),
        (zlib.compress(_LONGEST), "deflate"),
        (_raw(_LONGEST), "deflate"),
        (zlib.compress(_FAR_BACK), "deflate"),
        (_raw(_FAR_BACK), "DEFLATE"),
        (gzip.compress(zlib.compress(_LONGEST), mtime=0), "deflate, gzip"),
        (gzip.compress(gzip.compress(_LONGEST, mtime=0), mtime=0), "gzip, gzip"),
    ],
)
def test_an_answer_may_be_as_long_as_the_bound(body: bytes, encoding: str) -> None:
    assert read_json(_reply(body, encoding=encoding))["status"]


@each_line(
    ("body", "encoding"),
    [
        (_LONGEST + b" ", ""),
        (gzip.compress(_LONGEST + b" ", mtime=0), "gzip"),
        (_packed(_GOOD, _BOUND + 1), "gzip"),
        (gzip.compress(_LONGEST, mtime=0)[:-3], "gzip"),
        (gzip.compress(_GOOD + b" " * MAX_BODY, mtime=0), "gzip"),
        (gzip.compress(b" " * 20_000_000, 1, mtime=0)[:MAX_BODY], "gzip"),
        (gzip.compress(_GOOD, mtime=0)[:-3], "gzip"),
        (b"", "gzip"),
        (b"", "deflate"),
        (gzip.compress(gzip.compress(_GOOD, mtime=0), mtime=0), "gzip"),
        (zlib.compress(_LONGEST + b" "), "deflate"),
        (zlib.compress(_GOOD)[:-3], "deflate"),
        (_raw(_LONGEST + b" "), "deflate"),
        (_raw(_GOOD)[:-3], "deflate"),
        (zlib.compress(b" " * 20_000_000), "deflate"),
        (gzip.compress(_GOOD, mtime=0), "UTF-8"),
        (zlib.compress(_GOOD), "gzip"),
        (gzip.compress(_GOOD, mtime=0), ", ".join(["gzip"] * 6)),
        (b"\x0b\x02\x80", "br"),
        (b"x" * (MAX_BODY + 1), "gzip"),
    ],
)
def test_other_packings_and_bombs_say_nothing(body: bytes, encoding: str) -> None:
    with pytest.raises(UnknownOutcomeError) as caught:
        read_json(_reply(body, encoding=encoding))
    assert _is_bad(caught.value)


@each_line(
    ("body", "encoding", "words"),
    [
        (b"\x1f\x8b" + _GOOD, "gzip", "its compression is broken"),
        (gzip.compress(_GOOD, mtime=0)[:-3], "gzip", "its compressed body is incomplete"),
        (_LONGEST + b" ", "", "too long"),
        (gzip.compress(_LONGEST + b" ", mtime=0), "gzip", "too long"),
        (b"\x0b\x02\x80", "br", "no valid JSON (HTTP 200)"),
        (b"<html></html>", "", "no valid JSON (HTTP 200)"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(body: bytes, encoding: str, words: str) -> None:
    with pytest.raises(UnknownOutcomeError, match=re.escape(words)):
        read_json(_reply(body, encoding=encoding))


@pytest.mark.parametrize(
    ("pack", "encoding"),
    [
        (lambda body: gzip.compress(body, mtime=0), "gzip"),
        (lambda body: gzip.compress(gzip.compress(body, mtime=0), mtime=0), "gzip, gzip"),
        (zlib.compress, "deflate"),
        (_raw, "deflate"),
    ],
    ids=["gzip", "twice", "zlib", "deflate"],
)
def test_a_bomb_is_not_unpacked_further_than_an_answer_may_be_long(
    pack: Callable[[bytes], bytes], encoding: str
) -> None:
    bomb = pack(b" " * 20_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(UnknownOutcomeError):
            read_json(_reply(bomb, encoding=encoding))
        assert tracemalloc.get_traced_memory()[1] < 20 * MAX_BODY
    finally:
        tracemalloc.stop()


@each_line(
    ("date", "instant"),
    [
        ("Tue, 07 Jun 2022 04:41:46 GMT", 1654576906.0),
        ("Tue, 07 Jun 2022 04:41:46 -0000", 1654576906.0),
        ("Tue, 07 Jun 2022 12:41:46 +0800", 1654576906.0),
        ("", None),
        ("yesterday", None),
        ("Tue, 99 Jun 2022 04:41:46 GMT", None),
        ("Tue, 07 Jun 99999999999999999999 04:41:46 GMT", None),
        ("Tue, 07 Jun 2022 04:41:46 +99999999999999999999", None),
        ("\0" * 100, None),
    ],
)
def test_the_platforms_clock_is_known_when_it_says_so(date: str, instant: float | None) -> None:
    assert server_time(date) == instant
