"""Writes the tables of README.md that repeat the code: settings, reasons, outcomes, errors, commands, exit codes, keys.

Each stands between `<!-- name -->` and `<!-- /name -->`. `python tools/reference.py` writes them anew. README.zh-CN.md
has the same tables in Chinese, written by hand; tests compare their first columns.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from token_refresher.cli.exit_codes import EXIT_CODES  # noqa: E402 - likewise
from token_refresher.cli.parser import build_parser  # noqa: E402 - likewise
from token_refresher.domain.errors import CATALOGUE  # noqa: E402 - likewise
from token_refresher.domain.model import Outcome  # noqa: E402 - likewise
from token_refresher.domain.reasons import Reason  # noqa: E402 - likewise
from token_refresher.settings.schema import INVOKE_SETTINGS, SETTINGS, Setting  # noqa: E402 - likewise
from token_refresher.store import keys  # noqa: E402 - after the path is set


def tables() -> dict[str, str]:
    """Every table by its name, as Markdown."""
    return {
        "environment": _table(
            ("Variable", "Meaning", "Default"), (row for row in _settings(SETTINGS) if re.match(r"`[A-Z]", row[0]))
        ),
        "invoke": _table(("Variable", "Meaning", "Default"), _settings(INVOKE_SETTINGS)),
        "file": _table(
            ("Name in the file", "Meaning", "Default"),
            (row for row in _settings(SETTINGS) if not re.match(r"`[A-Z]|`policy\.", row[0])),
        ),
        "reasons": _table(("Reason", "Meaning"), ((f"`{each.value}`", each.meaning) for each in Reason)),
        "outcomes": _table(("Outcome", "Meaning"), ((f"`{each.value}`", each.meaning) for each in Outcome)),
        "errors": _table(
            ("Code", "Helps to try again", "What to do"),
            ((f"`{code}`", "yes" if entry.retryable else "no", entry.advice) for code, entry in CATALOGUE.items()),
        ),
        "commands": _table(("Command", "Meaning"), ((f"`{name}`", line) for name, line in commands().items())),
        "exits": _table(("Exit code", "Meaning"), ((str(code), line) for code, line in EXIT_CODES.items())),
        "keys": "\n".join(line for line in (keys.__doc__ or "").splitlines() if line.startswith("|")),
    }


def commands() -> dict[str, str]:
    """Every command of the command line, and its line of help."""
    group = next(each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return {each.dest: str(each.help) for each in group._choices_actions}


def _settings(settings: Mapping[str, Setting]) -> Iterable[tuple[str, str, str]]:
    for name, setting in settings.items():
        yield f"`{name}`", setting.meaning, f"`{setting.default}`" if setting.default else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def filled(text: str) -> str:
    """`text` with every marked table as it should be. Raises ValueError for a mark that stands for nothing."""
    known = tables()

    def table(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            raise ValueError(f"there is no table {name}")
        return f"<!-- {name} -->\n{known[name]}\n<!-- /{name} -->"

    return re.sub(r"<!-- ([a-z]+) -->\n.*?<!-- /\1 -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
