"""docs/faults.md names what there is: every number once, and only tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "faults.md"
LAST = 64


def rows() -> list[list[str]]:
    """The cells of every line of the table."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def functions(file: str) -> set[str]:
    """Every test of a file as pytest names it: `test_x`, `TestClass::test_x`."""
    found = set()
    for node in ast.parse((TESTS / file).read_text(encoding="utf-8")).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + each.name for each in members if isinstance(each, ast.FunctionDef)}
    return found


def test_every_number_is_there_once_and_in_order() -> None:
    assert [row[0] for row in rows()] == [str(number) for number in range(1, LAST + 1)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_row_is_whole_and_names_what_exists(row: list[str]) -> None:
    number, fault, holds, proof, _remark = row
    assert fault
    assert holds
    named = re.findall(r"`([^`]+)`", proof)
    assert named
    assert proof == ", ".join(f"`{name}`" for name in named)
    for name in named:
        file, _, test = name.partition("::")
        if not test:
            assert number == str(LAST)
            assert (TESTS.parent / file).is_dir()
        else:
            assert (TESTS / file).is_file(), file
            assert test in functions(file), name
            assert test.rpartition("::")[2].startswith("test_")


def test_every_fault_that_has_tests_of_its_own_is_named() -> None:
    """What stands in the files of this family and on no row would be proved and not said."""
    page = PAGE.read_text(encoding="utf-8")
    own = {path.name for path in TESTS.glob("test_faults_*.py")} - {Path(__file__).name}
    unsaid = {f"{file}::{test}" for file in own for test in functions(file) if test.startswith("test_")}
    # The counterpart that shows that the test for row 59 can fail.
    unsaid -= {"test_faults_timing.py::test_after_ten_missed_ticks_readers_find_nothing_rather_than_a_dead_code"}
    assert [name for name in sorted(unsaid) if f"`{name}`" not in page] == []
