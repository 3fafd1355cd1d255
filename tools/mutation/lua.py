"""The mutants of a Lua script, by rules about its text: no tool makes them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .mutants import Mutant, difference

# What is replaced by what; each alternative is a mutant. Within strings and comments nothing is replaced.
_RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("comparison", r"(?<=\s)<(?=\s)", ("<=", ">=")),
    ("comparison", r"(?<=\s)>(?=\s)", (">=", "<=")),
    ("comparison", r"<=", ("<", ">")),
    ("comparison", r">=", (">", "<")),
    ("comparison", r"==", ("~=",)),
    ("comparison", r"~=", ("==",)),
    ("logic", r"\band\b", ("or",)),
    ("logic", r"\bor\b", ("and",)),
    ("logic", r"\bnot\s", ("",)),
    ("logic", r"\btrue\b", ("false",)),
    ("arithmetic", r"(?<=\s)\+(?=\s)", ("-",)),
    ("arithmetic", r"(?<=\s)-(?=\s)", ("+",)),
    ("arithmetic", r"(?<=\s)\*(?=\s)", ("/",)),
    ("arithmetic", r"(?<=\s)/(?=\s)", ("*",)),
    ("function", r"math\.min\b", ("math.max",)),
    ("function", r"math\.max\b", ("math.min",)),
    ("function", r"redis\.pcall\b", ("redis.call",)),
)
_NUMBER = re.compile(r"(?<![\w.])\d+(e\d+)?(?![\w.])")
_STRING = re.compile(r"'[^']*'")
_CONDITION = re.compile(r"\b(if|elseif)\b(.*?)\bthen\b", re.DOTALL)
_CALL = re.compile(r"(?:(?<=\n)|(?<=then )|(?<=else ))[ \t]*redis\.call\(")
_RETURN = re.compile(r"\breturn\b[^\n]*?(?= end\b|\n|$)")


def of_lua(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a script."""
    masked = _masked(source)
    seen: set[str] = set()
    for operator, start, end, text in _changes(source, masked):
        changed = source[:start] + text + source[end:]
        if changed in seen:
            continue
        seen.add(changed)
        line = source.count("\n", 0, start) + 1
        before, after = difference(source, changed)
        yield Mutant(file, operator, "", before, after, line, line, changed)


def _changes(source: str, masked: str) -> Iterator[tuple[str, int, int, str]]:
    """Each change: its rule, from where to where, and the text instead."""
    for operator, pattern, others in _RULES:
        for match in re.finditer(pattern, masked):
            for other in others:
                yield operator, match.start(), match.end(), other
    for match in _NUMBER.finditer(masked):
        number = int(float(match.group()))
        for other in (number + 1, number - 1):
            yield "number", match.start(), match.end(), str(other)
    for match in _CONDITION.finditer(masked):
        yield "negated", match.start(2), match.end(2), f" not ({source[match.start(2) : match.end(2)].strip()}) "
    for match in _CALL.finditer(masked):
        yield "call removed", match.start(), _closed(masked, match.end()), ""
    for match in _RETURN.finditer(masked):
        # An early one left out; the last one's result is changed through its strings.
        if masked[match.end() :].strip():
            yield "return removed", match.start(), match.end(), ""
    for match in _STRING.finditer(_without_comments(source)):
        # A command that does not exist fails at once and shows nothing: its name stays.
        if not re.search(r"p?call\($", source[: match.start()]):
            yield "text", match.start(), match.end(), "'?'" if match.group() != "'?'" else "''"


def _without_comments(source: str) -> str:
    return re.sub(r"--[^\n]*", lambda match: " " * len(match.group()), source)


def _masked(source: str) -> str:
    """The source with comments and the inside of strings blanked out, of the same length."""
    return _STRING.sub(lambda match: "'" + "_" * (len(match.group()) - 2) + "'", _without_comments(source))


def _closed(masked: str, start: int) -> int:
    """Where the bracket that was opened before `start` is closed."""
    depth = 1
    for place in range(start, len(masked)):
        depth += {"(": 1, ")": -1}.get(masked[place], 0)
        if not depth:
            return place + 1
    raise ValueError("a bracket is not closed")
