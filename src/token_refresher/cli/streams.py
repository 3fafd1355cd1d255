"""Standard streams that are closed, full, or read by no one: what a command does must not depend on them."""

from __future__ import annotations

import os
import sys
from typing import TextIO

CLOSED = "it is closed"


def open_closed() -> bool:
    """Open the null device as each standard stream that is closed; returns whether standard output was.

    Without this, the next socket would become standard output, and Python itself would have no stream.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the one that is closed.
            os.open(os.devnull, os.O_RDWR)
    was_closed = sys.stdout is None
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    return was_closed


def why(error: OSError | ValueError) -> str:
    """What kept a stream from being written, in the system's own words."""
    return getattr(error, "strerror", None) or CLOSED


def settle(stream: TextIO) -> str:
    """Write out what is buffered; where that fails, drop it, and return why. Python would exit with 120."""
    try:
        stream.flush()
    except (OSError, ValueError) as error:
        drop(stream)
        return why(error)
    return ""


def drop(stream: TextIO) -> None:
    """Let what is buffered, and all that follows, go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
