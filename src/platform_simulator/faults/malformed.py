"""Answers turned into what a client must not trust: JSON of the wrong shape, and gzip that is huge unpacked."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

# What it is filled with, deflate without a header of its own, and the header of gzip.
_BLOCK, _RAW, _HEADER = b" " * 1_000_000, -15, b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

_CODE_MEMBERS = ("access_token", "ticket")


def _top(value: object) -> Callable[[Any], object]:
    return lambda _envelope: value


def _member(name: str, value: object) -> Callable[[Any], object]:
    return lambda envelope: {**envelope, name: value}


def _without(name: str) -> Callable[[Any], object]:
    return lambda envelope: {k: v for k, v in envelope.items() if k != name}


def _code(value: object) -> Callable[[Any], object]:
    def change(envelope: Any) -> object:
        data = dict(envelope["data"] or {})
        for name in _CODE_MEMBERS:
            if name in data:
                data[name] = value
        return {**envelope, "data": data}

    return change


def _expiry(value: object) -> Callable[[Any], object]:
    return lambda envelope: {
        **envelope,
        "data": {**dict(envelope["data"] or {}), "expires_in": value},
    }


def _data_without(*names: str) -> Callable[[Any], object]:
    return lambda envelope: {
        **envelope,
        "data": {k: v for k, v in dict(envelope["data"] or {}).items() if k not in names},
    }


# Ways that still are JSON texts a parser builds values from.
_SHAPES: dict[str, Callable[[Any], object]] = {
    "top_list": lambda envelope: [envelope],
    "top_null": _top(None),
    "top_text": _top("ok"),
    "top_number": _top(2000),
    "status_missing": _without("status"),
    "status_null": _member("status", None),
    "status_list": _member("status", [2000]),
    "status_bool": _member("status", True),
    "status_float": _member("status", 2000.5),
    "status_word": _member("status", "ok"),
    "message_list": _member("message", ["ok"]),
    "data_missing": _without("data"),
    "data_null": _member("data", None),
    "data_list": _member("data", []),
    "data_text": _member("data", "ok"),
    "code_missing": _data_without(*_CODE_MEMBERS),
    "code_null": _code(None),
    "code_number": _code(7),
    "code_list": _code(["a"]),
    "code_empty": _code(""),
    "code_blank": _code("  "),
    "code_surrogate": _code("\ud800"),
    "expiry_missing": _data_without("expires_in"),
    "expiry_null": _expiry(None),
    "expiry_list": _expiry([7200]),
    "expiry_object": _expiry({"seconds": 7200}),
    "expiry_bool": _expiry(True),
    "expiry_word": _expiry("soon"),
    "expiry_nan": _expiry(float("nan")),
    "expiry_infinite": _expiry(float("inf")),
    "expiry_huge": _expiry(10**400),
}

# Ways that only exist as bytes: what they do to a parser is the point.
_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "duplicate_keys": lambda body: b'{"status": "4000", "data": [], ' + body[1:],
    "deep": lambda _body: b"[" * 100_000 + b"]" * 100_000,
    "not_utf8": lambda body: body[:-1] + b', "note": "\xff\xfe"}',
    "byte_order_mark": lambda body: b"\xef\xbb\xbf" + body,
    "utf16": lambda body: body.decode().encode("utf-16"),
}

VARIANTS: tuple[str, ...] = (*_SHAPES, *_BYTES)


def distort(variant: str, body: bytes) -> bytes:
    """The answer in `body` (a JSON object) in the named wrong way; KeyError if unknown."""
    if variant in _BYTES:
        return _BYTES[variant](body)
    return json.dumps(_SHAPES[variant](json.loads(body))).encode()


def gzip_bomb(n_bytes: int) -> Callable[[bytes], bytes]:
    """What turns a body into gzip with `n_bytes` of blanks behind it.

    The blanks are packed now, once: done while answering it would take longer than clients wait.
    """
    filling, _ = _packed(_BLOCK)
    times = n_bytes // len(_BLOCK)

    def packed(body: bytes) -> bytes:
        begin, end = _packed(body)
        check = zlib.crc32(body)
        for _ in range(times):
            check = zlib.crc32(_BLOCK, check)
        length = len(body) + len(_BLOCK) * times
        return _HEADER + begin + filling * times + end + struct.pack("<LL", check, length % 2**32)

    return packed


def _packed(text: bytes) -> tuple[bytes, bytes]:
    """A text that may be anywhere, because it ends in a full flush; and what ends all of them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, _RAW)
    return squeeze.compress(text) + squeeze.flush(zlib.Z_FULL_FLUSH), squeeze.flush()
