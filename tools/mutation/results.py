"""What came of the mutants: scores, those that live, and those that cannot be told from the original."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .mutants import Mutant

KILLED, TIMED_OUT, SURVIVED, EQUIVALENT = "killed", "timed out", "survived", "equivalent"
_EQUIVALENT = Path(__file__).with_name("equivalent.json")


class Result(NamedTuple):
    """What came of one mutant; `reason` says why an equivalent one is."""

    file: str
    operator: str
    place: str
    before: str
    after: str
    line: int
    outcome: str
    reason: str = ""


class Equivalents:
    """Mutants of which somebody has said why no test can or need find them."""

    def __init__(self) -> None:
        self._known = {
            (each["file"], each["before"], each["after"]): each["reason"]
            for each in json.loads(_EQUIVALENT.read_text(encoding="utf-8"))
        }

    def reason(self, mutant: Mutant) -> str:
        """Empty when nobody said so."""
        return self._known.get((mutant.file, mutant.before, mutant.after), "")


def write(path: Path, results: Sequence[Result]) -> None:
    path.write_text(json.dumps([each._asdict() for each in results], indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> list[Result]:
    return [Result(**each) for each in json.loads(path.read_text())] if path.exists() else []


def table(results: Iterable[Result]) -> list[str]:
    """A line for each file and one for all: mutants by outcome, and the share found of those that can be."""
    rows: dict[str, Counter[str]] = {}
    for each in results:
        rows.setdefault(each.file, Counter())[each.outcome] += 1
        rows.setdefault("all", Counter())[each.outcome] += 1
    rows["all"] = rows.pop("all", Counter())
    head = ("mutants", KILLED, TIMED_OUT, SURVIVED, EQUIVALENT, "score")
    lines = [f"| {'file':<22} | " + " | ".join(f"{name:>10}" for name in head) + " |"]
    lines.append(f"| {'-' * 22} | " + " | ".join("-" * 9 + ":" for _ in head) + " |")
    for name, counts in rows.items():
        cells = [str(counts.total()), *(str(counts[each]) for each in head[1:5]), f"{_score(counts):.1f} %"]
        lines.append(f"| {name:<22} | " + " | ".join(f"{cell:>10}" for cell in cells) + " |")
    return lines


def _score(counts: Counter[str]) -> float:
    found = counts[KILLED] + counts[TIMED_OUT]
    return 100 * found / max(1, found + counts[SURVIVED])
