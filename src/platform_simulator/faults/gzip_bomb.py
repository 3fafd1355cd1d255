"""An answer that is small on the wire and huge when it is unpacked."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

# What it is filled with, deflate without a header of its own, and the header of gzip.
_BLOCK, _RAW, _HEADER = b" " * 1_000_000, -15, b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def bomb(n_bytes: int) -> Callable[[bytes], bytes]:
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
    """A text that may stand anywhere, because it ends in a full flush; and what ends all of them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, _RAW)
    return squeeze.compress(text) + squeeze.flush(zlib.Z_FULL_FLUSH), squeeze.flush()
