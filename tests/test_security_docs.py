"""What docs/security.md says is there, in both languages; and what is excepted from the security rules has a reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_DOCS = [_ROOT / "docs" / name for name in ("security.md", "security.zh-CN.md")]
_NAMED = re.compile(r"`(test_\w+)::(test_\w+)`")
_PLACES = ("src", "tests", "tools", "examples")


def _rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, heads left out."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        if line.startswith("| ") and not (number + 1 < len(lines) and lines[number + 1].startswith("| ---")):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if set("".join(cells)) != {"-"}:
                found.append(cells)
    return found


def _tests_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("path", _DOCS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(path: Path) -> None:
    named = set(_NAMED.findall(path.read_text(encoding="utf-8")))
    assert len(named) > 60
    of_file = {module: _tests_in(_ROOT / "tests" / f"{module}.py") for module, _ in named}
    assert sorted(f"{module}::{name}" for module, name in named if name not in of_file[module]) == []


@pytest.mark.parametrize("path", _DOCS, ids=lambda path: path.name)
def test_every_threat_has_an_answer_and_a_test(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    threats = [row for row in _rows(text) if len(row) == 3 and "test_" in row[2]]
    assert len(threats) > 40
    assert [row for row in threats if not all(row) or not _NAMED.search(row[2])] == []
    # Assets and attackers have three columns too, and no tests.
    assert [row[0] for row in _rows(text) if len(row) != 3] == []


def test_both_languages_name_the_same_tests_in_the_same_rows() -> None:
    english, chinese = (_rows(path.read_text(encoding="utf-8")) for path in _DOCS)
    assert [_NAMED.findall(row[2]) for row in chinese] == [_NAMED.findall(row[2]) for row in english]
    headings = [re.findall(r"^#+ ", path.read_text(encoding="utf-8"), re.MULTILINE) for path in _DOCS]
    assert headings[0] == headings[1]
    left_over = [len(re.findall(r"^(Not stopped|挡不住)", path.read_text(encoding="utf-8"), re.M)) for path in _DOCS]
    assert left_over[0] == left_over[1] > 8


@pytest.mark.parametrize("path", [*_DOCS, _ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_every_file_that_is_linked_or_named_is_there_and_nobody_is_made_up(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
    for tool in re.findall(r"tools/\w+\.py", text):
        assert (_ROOT / tool).exists(), tool
    assert not re.search(r"[\w.+-]+@[\w-]+\.\w", text), "an address of mail"


def test_every_security_rule_that_is_put_off_says_why() -> None:
    files = [path for place in _PLACES for path in (_ROOT / place).rglob("*.py")]
    put_off = [
        (path, number, line)
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*(noqa|nosec|ruff:)\b", line) and path != Path(__file__)
    ]
    assert sum("noqa: S" in line for _, _, line in put_off) > 10
    bare = [
        f"{path.relative_to(_ROOT)}:{number}"
        for path, number, line in put_off
        if not re.search(r"# noqa: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)*( --? \S|$)", line)
        or (re.search(r"noqa: .*\bS[0-9]", line) and not re.search(r" --? \S", line.partition("noqa")[2]))
    ]
    assert bare == []


def test_the_security_rules_are_on_and_each_that_is_off_for_a_folder_has_a_reason_above_it() -> None:
    lines = (_ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    select = next(line for line in lines if line.startswith("select = "))
    assert '"S"' in select
    off = [number for number, line in enumerate(lines) if re.match(r'\s+"S[0-9]*",', line)]
    assert len(off) > 5
    for number in off:
        above = number - 1
        while re.match(r'\s+"S[0-9]+",', lines[above]):
            above -= 1
        assert lines[above].strip().startswith("# "), lines[number]
    assert not [line for line in lines if re.search(r'"src[^"]*" = .*"S[0-9]*"', line)]
