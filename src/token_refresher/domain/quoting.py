"""What may be shown of a text that someone else wrote, when it may repeat a secret. Pure.

A text is shown only if no six letters or digits in a row of it are in a secret. Blanks, signs, backslashes and case do
not count, so it does not matter how a text escapes what it repeats, or where it cuts it off. Escapes that mean a letter
(`%41`, `&#65;`, `=41`) are compared as the letter too.
"""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote

# So many letters or digits in a row tell something of a secret; words of a message share fewer with one by chance.
_IN_A_ROW = 6
_LONGEST = 200
# So much of a text is looked at, and shown, for each character that may be shown: the rest may be unprintable.
_LOOKED_AT = 10
# A text may be escaped so often, each time in any way; and so often in one way, or in all of them in turn.
_DEEPEST, _MOST_READINGS = 3, 128
_MOST_TURNS = 20
# Of longer secrets so much would be looked for that texts would have some of it by chance.
_LONGEST_ENCODED = 128
_MASK = "****"
_LOOKS_SECRET = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_BY_NUMBER = re.compile(
    r"[\\%]u([0-9A-Fa-f]{4})|\\[ux]\{([0-9A-Fa-f]{1,8})\}|\\U([0-9A-Fa-f]{8})|(?:\\|0)x([0-9A-Fa-f]{2})|\\([0-7]{3})"
)
_BACKSLASHED = re.compile(r"\\(.)", re.DOTALL)
_PRINTABLE = re.compile("[=_]([0-9A-Fa-f]{2})")


def quotable(
    text: str, secrets: Iterable[str], longest: int = _LONGEST, looks_secret: re.Pattern[str] = _LOOKS_SECRET
) -> str | None:
    """The text on one line of at most `longest` printable characters; None if it repeats a part of a secret.

    What `looks_secret` matches is masked, whatever it is: it may be a credential that we do not know.
    """
    text = text[: longest * _LOOKED_AT]
    if repeats(text, secrets):
        return None
    printable = "".join(char for char in text if char.isprintable() or char.isspace())
    return looks_secret.sub(_MASK, " ".join(printable.split()))[:longest]


def repeats(text: str, secrets: Iterable[str]) -> bool:
    """Whether a text has six letters or digits in a row in common with a secret, or holds a shorter one whole."""
    parts = {part for secret in secrets if secret.strip() for part in _parts(secret)}
    # A short secret is looked for as it is; one without letters or digits in the text itself.
    short = [part for part in parts if len(part) < _IN_A_ROW or not part.isalnum()]
    for reading in dict.fromkeys(readings(text)) if parts else ():
        letters = _letters(reading)
        if not parts.isdisjoint(_rows(letters)) or any(part in letters or part in reading for part in short):
            return True
    return False


def readings(text: str) -> Iterator[str]:
    """A text as it is, and as what its escapes stand for, as often as it may be escaped."""
    seen, latest = {text}, [text]
    yield text
    for _ in range(_DEEPEST):
        latest = list(dict.fromkeys(undo(each) for each in latest for undo in _UNDOINGS))
        latest = [each for each in latest if each not in seen][: _MOST_READINGS - len(seen)]
        seen.update(latest)
        yield from latest
    for undoings in (*((undo,) for undo in _UNDOINGS), _UNDOINGS):
        yield _undone(text, undoings)


def _undone(text: str, undoings: tuple[Callable[[str], str], ...]) -> str:
    """A text without the escapes of these kinds, however often they were put on."""
    for _ in range(_MOST_TURNS):
        before = text
        for undo in undoings:
            text = undo(text)
        if text == before:
            break
    return text


def _parts(secret: str) -> Iterator[str]:
    """What a text may not hold: each six letters of a secret, also backwards and as it is encoded."""
    letters = _letters(secret)
    if len(letters) < _IN_A_ROW:
        yield letters or secret
        return
    forms = [letters]
    if len(secret) <= _LONGEST_ENCODED:
        data = secret.encode("utf-8", "surrogatepass")
        # In base64 a letter depends on where in a group of three bytes it is.
        encoded = (base64.b64encode(data[shift:]).decode().rstrip("=")[:-1] for shift in range(3))
        forms += [letters[::-1], data.hex(), *map(_letters, encoded)]
    for form in forms:
        yield from _rows(form)


def _rows(letters: str) -> Iterator[str]:
    return (letters[start : start + _IN_A_ROW] for start in range(len(letters) - _IN_A_ROW + 1))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def _backslashed(text: str) -> str:
    return _BACKSLASHED.sub(r"\1", text)


def _by_number(text: str) -> str:
    def char(found: re.Match[str]) -> str:
        number = int(found[5], 8) if found[5] else int(next(filter(None, found.groups())), 16)
        return chr(number) if number < 0x110000 else ""

    return _BY_NUMBER.sub(char, text)


def _quoted_printable(text: str) -> str:
    return _PRINTABLE.sub(lambda found: f"%{found[1]}", text)


_UNDOINGS = (unquote, html.unescape, _by_number, _backslashed, _quoted_printable)
