"""What is left out of the coverage is on the page about testing, with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

coverage = pytest.importorskip("coverage", reason="coverage is not installed")

_ROOT = Path(__file__).resolve().parents[1]
_PAGE = (_ROOT / "docs" / "testing.md").read_text("utf-8")
# What coverage leaves out by itself, and what the page calls it.
_OWN = {
    r"#\s*(pragma|PRAGMA)[:\s]?\s*(no|NO)\s*(cover|COVER)": "No line of the sources is left out by a comment",
    r"^\s*(((async )?def .*?)?[\])]+(\s*->.*?)?:\s*)?\.\.\.\s*(#|$)": "a body of nothing but `...`",
    r"if (typing\.)?TYPE_CHECKING:": "`if TYPE_CHECKING:`",
}


def test_every_exclusion_is_on_the_page() -> None:
    config = coverage.Coverage(data_file=None, config_file=str(_ROOT / "pyproject.toml"))
    wanted = config.get_option("report:exclude_lines") + config.get_option("report:exclude_also")
    assert "raise AssertionError" in wanted, "the configuration was not read"
    missing = [each for each in wanted if _OWN.get(each, f"| `{each}` |") not in _PAGE]
    assert missing == []


def test_no_line_is_left_out_by_a_comment() -> None:
    left_out = [
        f"{path.name}:{number}"
        for path in (_ROOT / "src").rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(r"#\s*pragma:?\s*no\s*(cover|branch)", line, re.IGNORECASE)
    ]
    assert left_out == []
