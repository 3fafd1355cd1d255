"""The kept corpus: small files named by their content, and which of the finds of a search are worth keeping."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

KEPT = Path(__file__).resolve().parent / "corpus"
ROOT = KEPT.parents[3]
# What a search finds, crashes included; git does not see it.
FOUND = ROOT / ".run" / "fuzz"
_SOURCES = str(ROOT / "src")

Way = tuple[str, int, int]


def name_of(data: bytes) -> str:
    """What a file with this content is called: libFuzzer names its own finds the same."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def samples(target: str) -> list[bytes]:
    """The kept inputs of a target, always in the same order."""
    return [path.read_bytes() for path in files(KEPT / target)]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file())


def keep(target: str, data: bytes) -> Path:
    """Write an input into the kept corpus."""
    path = KEPT / target / name_of(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def needed(check: Callable[[bytes], None], kept: Iterable[bytes], found: Iterable[bytes]) -> list[bytes]:
    """Of what was found those that go a way through our code that nothing kept goes, short ones first.

    Nothing kept is ever given up: it may be there for a mistake that was made once.
    """
    seen = set[Way]().union(*(_ways(check, data) for data in kept))
    new = []
    for data in sorted(set(found), key=lambda each: (len(each), each)):
        ways = _ways(check, data)
        if ways - seen:
            new.append(data)
            seen |= ways
    return new


def _ways(check: Callable[[bytes], None], data: bytes) -> set[Way]:
    ways: set[Way] = set()
    with _followed(ways), contextlib.suppress(AssertionError):
        check(data)
    return ways


@contextmanager
def _followed(ways: set[Way]) -> Iterator[None]:
    """Adds every step from one line of ours to the next to `ways`, in this thread and those that it starts."""

    def local(last: int) -> Callable[[FrameType, str, Any], Any]:
        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                ways.add((frame.f_code.co_filename, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    def call(frame: FrameType, _: str, __: Any) -> Any:
        return local(-frame.f_lineno) if frame.f_code.co_filename.startswith(_SOURCES) else None

    before = sys.gettrace()
    sys.settrace(call)
    threading.settrace(call)
    try:
        yield
    finally:
        threading.settrace(None)
        sys.settrace(before)
