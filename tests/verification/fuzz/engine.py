"""One search by coverage, in a process that libFuzzer ends: `python -m verification.fuzz.engine TARGET OPTIONS`."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack


def main(target: str, options: list[str]) -> None:
    """Never returns."""
    import atheris

    # Whatever an input names as a file, nobody types into this one.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # None of the engine's hooks into Python's own types: that of regular expressions is not true to them.
    # Ours alone: what libraries do with an input is theirs, and following them costs most of the speed.
    with atheris.instrument_imports(include=["token_refresher", "index"]):
        from .targets import TARGETS
    with ExitStack() as servers:
        check = servers.enter_context(TARGETS[target].open())
        atheris.Setup([sys.argv[0], *options], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
