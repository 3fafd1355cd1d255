"""Writes the tables in the documents that repeat the code: settings, policy, reasons, errors, commands, keys ...

Each table is between `<!-- name -->` and `<!-- /name -->`. `python tools/readme_tables.py` writes them again. In a page
below docs/zh-CN the rows and the cells of code come from the program, and what a translator wrote stays; a new row is
English until it is translated.
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
        "environment": _table(_SETTING, (row for row in _settings(SETTINGS) if re.match(r"`(?!POLICY_)[A-Z]", row[0]))),
        "policy": _table(
            ("Name", "Meaning", "Default"),
            ((row[0].replace("policy.", ""), *row[1:]) for row in _settings(SETTINGS) if row[0].startswith("`policy.")),
        ),
        "invoke": _table(_SETTING, _settings(INVOKE_SETTINGS)),
        "file": _table(
            ("Name in the file", "Meaning", "Default"),
            (row for row in _settings(SETTINGS) if not re.match(r"`[A-Z]|`policy\.", row[0])),
        ),
        "reasons": _table(("Reason", "Meaning"), ((f"`{each.value}`", each.meaning) for each in Reason)),
        "outcomes": _table(("Outcome", "Meaning"), ((f"`{each.value}`", each.meaning) for each in Outcome)),
        "errors": _table(
            ("Error code", "Retries help", "What to do"),
            ((f"`{code}`", "yes" if entry.retryable else "no", entry.advice) for code, entry in CATALOGUE.items()),
        ),
        "commands": _table(("Command", "Meaning"), ((f"`{name}`", line) for name, line in commands().items())),
        "exits": _table(("Exit code", "Meaning"), ((str(code), line) for code, line in EXIT_CODES.items())),
        "keys": _keys(),
    }


_SETTING = ("Variable", "Meaning", "Default")


def _keys() -> str:
    """The table of `store.keys`, which is aligned there for people who read the source."""
    lines = [line for line in (keys.__doc__ or "").splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return _table([cell.capitalize() if cell != "TTL" else cell for cell in head], rows)


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


def pages() -> list[Path]:
    """Every page that may hold a table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str, *, translated: bool = False) -> str:
    """`text` with every marked table as the program has it. Raises ValueError for an unknown mark."""
    known = tables()

    def table(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            raise ValueError(f"there is no table {name}")
        rows = _translated(known[name], match[2]) if translated else known[name]
        return f"<!-- {name} -->\n{rows}\n<!-- /{name} -->"

    return re.sub(r"<!-- ([a-z]+) -->\n(.*?)<!-- /\1 -->", table, text, flags=re.DOTALL)


def is_translated(path: Path) -> bool:
    return "zh-CN" in path.relative_to(ROOT).parts


def _translated(table: str, written: str) -> str:
    """`table` with the head and the words that a translator wrote for the rows that are still there."""
    lines, before = [_cells(line) for line in table.splitlines()], [_cells(line) for line in written.splitlines()]
    by_name = {cells[0]: cells for cells in before[2:]}
    for index, cells in enumerate(lines):
        old = before[0] if index == 0 and before else by_name.get(cells[0], [])
        if len(old) == len(cells) and index != 1:
            lines[index] = [new if _is_code(new) and index else words for new, words in zip(cells, old, strict=True)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _is_code(cell: str) -> bool:
    return cell == "" or re.fullmatch(r"`[^`]*`|[0-9]+", cell) is not None


def main() -> None:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text, translated=is_translated(page)), encoding="utf-8")


if __name__ == "__main__":
    main()
