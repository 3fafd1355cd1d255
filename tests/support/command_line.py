"""Command lines, run in this process or on a terminal of their own, and what they left."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from token_refresher.cli.main import main

from .guards import see

_SOURCES = Path(__file__).resolve().parents[2] / "src"
_WAIT_S = 30.0


class Ended(NamedTuple):
    """Exit code, and what was written to standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Ended]


def caller(environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command line in this process, with these and further variables by name."""

    def run(*arguments: str, **more: str) -> Ended:
        code = main(arguments, {**environ, **more})
        return Ended(code, *capsys.readouterr())

    return run


def process_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process needs to run the program with these settings."""
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    return plain | {"PYTHONPATH": str(_SOURCES), "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environ}


def on_a_terminal(environ: Mapping[str, str], command: list[str]) -> tuple[int, str]:
    """Run a program with both outputs on a terminal. Returns its exit code and what the terminal showed."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        command, env=process_environ(environ) | {"COLUMNS": "150"}, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    shown = b""
    while select.select([ours], [], [], _WAIT_S)[0]:
        try:
            more = os.read(ours, 65536)
        except OSError:  # on Linux that is how the other end of a terminal closes
            break
        if not more:
            break
        shown += more
    os.close(ours)
    text = shown.decode()
    see("a terminal", text)
    return process.wait(_WAIT_S), text
