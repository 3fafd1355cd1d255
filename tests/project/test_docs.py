"""What the READMEs say is what the code has."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def load_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def marked(text: str, name: str) -> list[str]:
    """The lines of a marked table, without its two lines of head."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.DOTALL)
    assert found is not None, f"the table {name} is missing"
    return found[1].splitlines()[2:]


def first_cells(lines: list[str]) -> list[str]:
    return [line.split("|")[1].strip() for line in lines]


def test_the_tables_of_the_english_readme_are_those_of_the_code() -> None:
    text = ENGLISH.read_text(encoding="utf-8")
    assert reference.filled(text) == text, "run `python tools/reference.py`"


@pytest.mark.parametrize("name", sorted(reference.tables()))
def test_every_table_is_in_both_readmes_with_the_same_rows(name: str) -> None:
    english, chinese = (marked(path.read_text(encoding="utf-8"), name) for path in (ENGLISH, CHINESE))
    assert len(english) >= 3
    assert first_cells(chinese) == first_cells(english)
    assert all(len(line.split("|")[2].strip()) >= 1 for line in chinese)


def test_defaults_are_the_same_in_both_readmes() -> None:
    for name in ("environment", "file"):
        english, chinese = (marked(path.read_text(encoding="utf-8"), name) for path in (ENGLISH, CHINESE))
        assert [line.rsplit("|", 2)[1] for line in chinese] == [line.rsplit("|", 2)[1] for line in english]


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_command_make_target_and_file_that_a_readme_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make ([a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for command in set(re.findall(r"token-refresher ([a-z][a-z-]+)", text)):
        assert command in reference.commands(), f"token-refresher {command}"
    for link in set(re.findall(r"\]\(([^)#:]+)\)", text)):
        assert (ROOT / link).exists(), link
