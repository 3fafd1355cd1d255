"""The command that installs what is missing: one that can be typed, and that names no project of a stranger."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from token_refresher.domain import installing
from token_refresher.domain.installing import how_to_install

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """That which `make run` makes."""
    monkeypatch.setattr(sys, "prefix", str(_ROOT / ".venv"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")


@pytest.mark.usefixtures("environment")
def test_in_the_clone_it_is_the_line_of_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)
    assert how_to_install("daemon") == ".venv/bin/pip install -e '.[daemon]'"


@pytest.mark.usefixtures("environment")
def test_elsewhere_it_names_the_clone_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert how_to_install("fc3") == f"{_ROOT}/.venv/bin/pip install -e '{_ROOT}[fc3]'"


def test_without_an_environment_it_is_the_pip_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert how_to_install("daemon") == "pip install -e '.[daemon]'"


def test_installed_it_leaves_the_clone_s_place_to_the_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "lib" / "site-packages" / "token_refresher" / "domain" / "installing.py"
    monkeypatch.setattr(installing, "__file__", str(place))
    assert how_to_install("daemon") == "pip install '/path/to/the/clone[daemon]'"


def test_nothing_tells_people_to_install_the_name_from_the_index() -> None:
    """Anyone may register it there, and would run beside their secrets."""
    pages = [*(_ROOT / "docs").rglob("*.md"), *(_ROOT / "examples").rglob("*"), *(_ROOT / "src").rglob("*.py")]
    # The Chinese pages beside the English ones are those of before; they move to docs/zh-CN.
    named = re.compile(r"pip install ['\"]?token-refresher")
    found = [page for page in pages if page.is_file() and not page.name.endswith(".zh-CN.md")]
    texts = {page: page.read_text("utf-8", "replace") for page in [_ROOT / "README.md", *found]}
    warned = {_ROOT / "docs" / "getting-started.md"}
    assert [page for page, text in texts.items() if named.search(text) and page not in warned] == []
