"""On a Python that is too old every door says one sentence, instead of failing somewhere within."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from token_refresher.python_version import OLDEST, require

_ROOT = Path(__file__).resolve().parents[2]
_SENTENCE = (
    "token-refresher needs Python 3.10 or newer, and this is Python {}: use a newer one "
    "(on Function Compute: the runtime python3.10 or python3.12)"
)
# Function Compute's older runtimes, and what lies between.
OLD = ("3.6", "3.7", "3.8", "3.9")


def interpreter(version: str) -> tuple[str, str]:
    """The path and the whole version of an old Python. Skips the test where there is none."""
    named = shutil.which(f"python{version}")
    installed = sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for path in ([named] if named else []) + installed:
        asked = subprocess.run([path, "-V"], capture_output=True, text=True)
        if asked.stdout.startswith(f"Python {version}."):
            return path, asked.stdout.split()[1]
    pytest.skip(f"NOT TESTED, there is no Python {version} on this machine")


def run(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    return subprocess.run(
        [path, "-B", *arguments],
        env=environ | {"PYTHONPATH": str(_ROOT / "src")},
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )


# What pip writes as the program `token-refresher`.
_PROGRAM = "import sys; from token_refresher.__main__ import main; sys.exit(main())"
DOORS = {
    "python -m token_refresher": ("-m", "token_refresher", "refresh"),
    "token-refresher": ("-c", _PROGRAM),
    "make run": (str(_ROOT / "tools" / "demo.py"),),
}


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("door", DOORS)
def test_a_command_says_one_sentence_and_does_nothing(version: str, door: str) -> None:
    path, whole = interpreter(version)
    done = run(path, *DOORS[door])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {_SENTENCE.format(whole)}\n"


@pytest.mark.parametrize("version", OLD)
def test_the_function_fails_with_the_sentence_as_its_message(version: str) -> None:
    path, whole = interpreter(version)
    done = run(path, "-c", "import index")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: {_SENTENCE.format(whole)}"


# Python 3.6 does not ask a module for names that it lacks.
@pytest.mark.parametrize("version", OLD[1:])
@pytest.mark.parametrize("name", ["Reader", "AsyncReader"])
def test_the_library_fails_with_the_sentence(version: str, name: str) -> None:
    path, whole = interpreter(version)
    done = run(path, "-c", f"from token_refresher import {name}")
    assert done.stderr.splitlines()[-1] == f"ImportError: {_SENTENCE.format(whole)}"


def test_the_program_that_pip_installs_is_the_door_that_was_tried() -> None:
    declared = (_ROOT / "pyproject.toml").read_text()
    assert 'token-refresher = "token_refresher.__main__:main"' in declared
    assert re.search(r'requires-python = ">=(\d+)\.(\d+)"', declared).groups() == tuple(map(str, OLDEST))  # type: ignore[union-attr]


def test_this_python_is_new_enough() -> None:
    require()
    assert sys.version_info >= OLDEST
