"""How long things may be: a file, a function, a script."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

_SOURCES = Path(__file__).resolve().parents[2] / "src"
_FILES = sorted(_SOURCES.rglob("*.py"))
_SCRIPTS = sorted(_SOURCES.rglob("*.lua"))
_LONGEST_FILE = 400
_LONGEST_FUNCTION = 40
_LONGEST_SCRIPT = 40


def test_there_are_files_and_scripts() -> None:
    assert _FILES
    assert _SCRIPTS


def test_files_are_short() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in _FILES}
    assert [str(path) for path, count in lines.items() if count > _LONGEST_FILE] == []


def test_functions_are_short() -> None:
    long = [
        f"{path}:{node.lineno}: {node.name}"
        for path in _FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > _LONGEST_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short_and_begin_with_their_contract(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith("--")]
    assert len(code) <= _LONGEST_SCRIPT
    contract = "\n".join(lines[: lines.index(code[0])])
    assert [word for word in ("-- KEYS:", "-- Returns:", "-- Race") if word not in contract] == []
