"""What both readers share, and what an application imports of the package."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import token_refresher
from support.tables import each_line
from token_refresher import AsyncReader, Reader
from token_refresher.domain import errors

_SOURCES = str(Path(__file__).resolve().parents[2] / "src")


def _modules_after(statement: str) -> set[str]:
    """The modules of ours that a fresh Python has imported after a statement."""
    code = f"import sys; {statement}; print(*(name for name in sys.modules if name.startswith('token_refresher.')))"
    environ = os.environ | {"PYTHONPATH": _SOURCES}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60)
    return {name.removeprefix("token_refresher.") for name in done.stdout.split()}


@pytest.mark.parametrize("name", ["Reader", "AsyncReader"])
def test_a_reader_knows_neither_platforms_nor_the_refresher_and_reads_no_settings(name: str) -> None:
    found = _modules_after(f"from token_refresher import {name}")
    # The store takes the forms of a Redis URL from there.
    assert {module.partition(".")[0] for module in found} <= {"domain", "python_version", "reader", "settings", "store"}
    assert "settings.loader" not in found


def test_the_package_itself_imports_nothing() -> None:
    assert _modules_after("import token_refresher") == set()


@each_line("name", sorted(set(token_refresher.__all__) - {"__version__"}))
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(token_refresher, name).__name__ == name


def test_the_errors_that_are_exported_are_those_that_readers_raise() -> None:
    assert token_refresher.NoCredentialError is errors.NoCredentialError
    exported: list[Any] = [getattr(token_refresher, name) for name in token_refresher.__all__ if name.endswith("Error")]
    assert all(issubclass(each, token_refresher.TokenRefresherError) for each in exported)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        token_refresher.nothing  # noqa: B018


@pytest.mark.parametrize("reader", [Reader, AsyncReader])
def test_the_prefix_of_the_keys_is_a_named_argument(reader: Any) -> None:
    for made in (reader, reader.from_url):
        prefix = inspect.signature(made).parameters["key_prefix"]
        assert (prefix.kind, prefix.default) == (inspect.Parameter.KEYWORD_ONLY, "")


@pytest.mark.parametrize("reader", [Reader, AsyncReader])
def test_the_earlier_name_of_a_report_stays(reader: Any) -> None:
    assert reader.refused is reader.report_rejected
