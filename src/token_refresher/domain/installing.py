"""How to install what is missing, as a command. The name of this project is on no package index, so none names it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def how_to_install(extra: str) -> str:
    """The command that adds an optional `extra` of this project (str), as typed from the current folder.

    In a checkout it names the environment that runs and the checkout; else the clone's place is left to the person.
    """
    checkout, environment = Path(__file__).resolve().parents[3], Path(sys.prefix)
    if not (checkout / "pyproject.toml").is_file():
        return f"pip install '/path/to/the/clone[{extra}]'"
    pip = "pip" if sys.prefix == sys.base_prefix else shlex.quote(_shown(environment / "bin" / "pip"))
    # Editable, as `make` installs it: a copy would not follow the checkout.
    return f"{pip} install -e '{_shown(checkout)}[{extra}]'"


def _shown(path: Path) -> str:
    """A path as it is typed from the current folder, where it is below."""
    try:
        return str(path.relative_to(os.getcwd()))
    except (ValueError, OSError):
        return str(path)
