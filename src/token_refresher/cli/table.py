"""Tables for people: cells with a meaning, and how they are laid out as plain text. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

# Wide enough to tell a quarter of the life (the margin) from a twelfth (the alarm).
BAR_WIDTH = 16
_GAP = "  "
# What a terminal obeys instead of showing it, and what turns the direction of writing.
_OBEYED = re.compile("[\u2028\u2029\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Style(str, Enum):
    """What a cell's colour says; the values are styles of rich."""

    PLAIN = ""
    GOOD = "green"
    SOON = "yellow"
    BAD = "bold red"
    QUIET = "dim"


@dataclass(frozen=True)
class Cell:
    """A text, what it means, and before it a bar that is full to this part (0 to 1), where there is one."""

    text: str
    style: Style = Style.PLAIN
    bar: float | None = None


def escape_control_characters(text: str, lines: bool = False) -> str:
    """The text with escapes instead of what a terminal would obey; line ends stay where `lines` is set.

    What Redis or the platform holds may be a stranger's.
    """
    return _OBEYED.sub(lambda found: found[0] if lines and found[0] == "\n" else ascii(found[0])[1:-1], text)


def filled(part: float, width: int = BAR_WIDTH) -> int:
    """How many of a bar's `width` characters are full; whatever is left shows as one at least."""
    if part <= 0:
        return 0
    return width if part >= 1 else min(max(round(part * width), 1), width)


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese characters take two, combining marks none."""
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def as_plain(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """The table as lines of plain text, every column as wide as its widest cell."""
    lines = [list(headings), *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(map(columns_of, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths) for line in lines)


def _plain(cell: Cell) -> str:
    text = escape_control_characters(cell.text)
    if cell.bar is None:
        return text
    full = filled(cell.bar)
    return f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] {text}"


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    padded = (text + " " * (width - columns_of(text)) for text, width in zip(texts, widths, strict=True))
    return _GAP.join(padded).rstrip()
