"""The mutants of a Lua script, by rules about its text, and whether the tests of the scripts notice them.

No library mutates Lua. Each mutant is tried in a copy of the tree below .run; the tree itself is not touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

_SCRIPTS = Path("src/token_refresher/store/scripts")
# Only the full server shows that the first write of a script frees memory.
_TESTS = ("tests/store/test_scripts.py", "tests/store/test_lease.py::TestFullServer")
_COPIED = ("src", "tests", "pyproject.toml")
# A mutant that makes Redis wait for ever. The tests take a few seconds.
_TIME_OUT_S = 300
_PASSED, _FAILED = 0, 1


class Mutant(NamedTuple):
    """One change to one script: the line before and after it, without indentation, and the script with it."""

    file: str
    before: str
    after: str
    source: str


# What is replaced by what; each alternative is a mutant. Within strings and comments nothing is replaced.
_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"(?<=\s)<(?=\s)", ("<=", ">=")),
    (r"(?<=\s)>(?=\s)", (">=", "<=")),
    (r"<=", ("<", ">")),
    (r">=", (">", "<")),
    (r"==", ("~=",)),
    (r"~=", ("==",)),
    (r"\band\b", ("or",)),
    (r"\bor\b", ("and",)),
    (r"\bnot\s", ("",)),
    (r"\btrue\b", ("false",)),
    (r"(?<=\s)\+(?=\s)", ("-",)),
    (r"(?<=\s)-(?=\s)", ("+",)),
    (r"(?<=\s)\*(?=\s)", ("/",)),
    (r"(?<=\s)/(?=\s)", ("*",)),
    (r"math\.min\b", ("math.max",)),
    (r"math\.max\b", ("math.min",)),
    (r"redis\.pcall\b", ("redis.call",)),
)
_NUMBER = re.compile(r"(?<![\w.])\d+(e\d+)?(?![\w.])")
_STRING = re.compile(r"'[^']*'")
_CONDITION = re.compile(r"\b(if|elseif)\b(.*?)\bthen\b", re.DOTALL)
_CALL = re.compile(r"(?:(?<=\n)|(?<=then )|(?<=else ))[ \t]*redis\.call\(")
_RETURN = re.compile(r"\breturn\b[^\n]*?(?= end\b|\n|$)")


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a script."""
    masked = _masked(source)
    seen = {source}
    for start, end, text in _changes(source, masked):
        changed = source[:start] + text + source[end:]
        if changed not in seen:
            seen.add(changed)
            yield Mutant(file, *difference(source, changed), changed)


def difference(old: str, new: str) -> tuple[str, str]:
    """The lines that differ, each side as one line."""
    before, after = old.splitlines(), new.splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    return " ".join(" ".join(before).split()), " ".join(" ".join(after).split())


def survivors(root: Path, work: Path, found: list[Mutant], workers: int) -> Iterator[Mutant]:
    """Those that no test notices, as they are found. Raises SystemExit when the tests fail without any mutant."""
    trees: Queue[Path] = Queue()
    for number in range(workers):
        tree = work / f"tree{number}"
        shutil.rmtree(tree, ignore_errors=True)
        for name in _COPIED:
            copy = shutil.copytree if (root / name).is_dir() else shutil.copy
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy(root / name, tree / name)
        (tree / ".tools").symlink_to(root / ".tools")
        trees.put(tree)
    if _tried(tree) != _PASSED:
        raise SystemExit(f"{' '.join(_TESTS)} fails without a mutant")

    def survives(mutant: Mutant) -> bool:
        tree = trees.get()
        path = tree / _SCRIPTS / mutant.file
        original = path.read_text("utf-8")
        try:
            path.write_text(mutant.source, "utf-8")
            return _tried(tree) == _PASSED
        finally:
            path.write_text(original, "utf-8")
            trees.put(tree)

    with ThreadPoolExecutor(workers) as pool:
        for mutant, survived in zip(found, pool.map(survives, found), strict=True):
            if survived:
                yield mutant


def _tried(tree: Path) -> int:
    """How the tests end: 0 when they pass, 1 when one fails or they do not end."""
    # pytest puts the copy's src before the package of this environment.
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *_TESTS]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIME_OUT_S,
        )
    except subprocess.TimeoutExpired:
        return _FAILED
    if done.returncode not in (_PASSED, _FAILED):
        raise SystemExit(f"pytest cannot run {' '.join(_TESTS)}:\n{done.stdout}{done.stderr}")
    return done.returncode


def _changes(source: str, masked: str) -> Iterator[tuple[int, int, str]]:
    """Each change: from where to where, and the text instead."""
    for pattern, others in _RULES:
        for match in re.finditer(pattern, masked):
            for other in others:
                yield match.start(), match.end(), other
    for match in _NUMBER.finditer(masked):
        value = int(float(match.group()))
        for changed in (value + 1, value - 1):
            yield match.start(), match.end(), str(changed)
    for match in _CONDITION.finditer(masked):
        yield match.start(2), match.end(2), f" not ({source[match.start(2) : match.end(2)].strip()}) "
    for match in _CALL.finditer(masked):
        yield match.start(), _closed(masked, match.end()), ""
    for match in _RETURN.finditer(masked):
        # An early one left out; the last one's result is changed through its strings.
        if masked[match.end() :].strip():
            yield match.start(), match.end(), ""
    for match in _STRING.finditer(_without_comments(source)):
        # A command that does not exist fails at once and shows nothing: its name stays.
        if not re.search(r"p?call\($", source[: match.start()]):
            yield match.start(), match.end(), "'?'" if match.group() != "'?'" else "''"


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
