"""Results for people: a table for the terminal, one for the page, and files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from platform_simulator.credentials import KINDS

from .picture import draw
from .result import Result
from .scenario import Scenario
from .timeline import Held

# A scenario's results by the system's name, and the scenarios' by name, in the order of printing.
Results = Mapping[str, Mapping[str, Result]]
_HEADS = ("refused s", "no credential s", "fetches", "healed s")
_SYSTEMS = ("ours", "baseline")
_HELD = (Held.REFUSED, Held.NONE)


def _cells(result: Result | None) -> list[str]:
    """What a system has in each column."""
    if result is None:
        return ["-"] * len(_HEADS)
    healed = "never" if result.heal_s is None else f"{result.heal_s:.0f}"
    fetches = f"{result.fetches} of {result.ideal}"
    none_s = f"{result.none_s:.0f}" + (f"+{result.unreadable_s:.0f}" if result.unreadable_s else "")
    return [f"{result.refused_s:.0f}", none_s, fetches, healed]


def _rows(scenarios: Mapping[str, Scenario], results: Results) -> list[list[str]]:
    found = []
    for name, by_system in results.items():
        cells = [_cells(by_system.get(system)) for system in _SYSTEMS]
        pairs = [cell for column in zip(*cells, strict=True) for cell in column]
        found.append([name, "in" if scenarios[name].inside else "out", *pairs])
    return found


def lines(scenarios: Mapping[str, Scenario], results: Results) -> list[str]:
    """The table for a terminal: under each heading ours first, then the baseline."""
    first = ["scenario", ""] + [cell for head in _HEADS for cell in (head, "")]
    second = ["", ""] + [*_SYSTEMS] * len(_HEADS)
    rows = [first, second, *_rows(scenarios, results)]
    # The heading may reach over both of its columns.
    wide = [max(len(row[column]) for row in rows[1:]) for column in range(len(first))]
    wide = [max(width, len(first[column]) // 2 + 1 if column else width) for column, width in enumerate(wide)]
    heads = (head.rjust(wide[2 + 2 * n] + wide[3 + 2 * n] + 2) + "  " for n, head in enumerate(_HEADS))
    found = [first[0].ljust(wide[0] + wide[1] + 4) + "".join(heads)]
    for row in rows[1:]:
        names = [cell.ljust(width) for cell, width in zip(row[:2], wide, strict=False)]
        figures = [cell.rjust(width) for cell, width in zip(row[2:], wide[2:], strict=True)]
        found.append("  ".join([*names, *figures]))
    return [line.rstrip() for line in found]


def markdown(scenarios: Mapping[str, Scenario], results: Results) -> list[str]:
    """The same for a page."""
    heads = ["scenario", "assumptions", *(f"{head}, {system}" for head in _HEADS for system in _SYSTEMS)]
    rows = _rows(scenarios, results)
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---", "---", *["---:"] * (len(heads) - 2)], *rows)]


def figures(results: Results) -> list[str]:
    """What readers of ours held, and what it cost, as a table for a page: each kind of credential apart."""
    heads = ["scenario", "refused s (token, ticket)", "none s (token, ticket)", "fetches", "questions"]
    rows = [[*heads, "failed runs", "calm runs"], ["---", *["---:"] * (len(heads) + 1)]]
    for name, by_system in results.items():
        if ours := by_system.get("ours"):
            held = [", ".join(f"{_seconds(ours, kind, state):.0f}" for kind in KINDS) for state in _HELD]
            spent = f"{ours.fetches} of {ours.ideal}"
            counts = [str(count) for count in (ours.questions, ours.failed_runs, ours.calm_runs)]
            rows.append([name, *held, spent, *counts])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _seconds(result: Result, kind: str, state: Held) -> float:
    stretches: list[tuple[float, float, str]] = result.timeline["stretches"][kind]
    return sum(end_s - begin_s for begin_s, end_s, found in stretches if found == state.value)


def write(directory: Path, scenarios: Mapping[str, Scenario], results: Results, seed: int) -> list[Path]:
    """Write `lab.json` and a timeline for each scenario; returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    whole = {
        "seed": seed,
        "scenarios": [
            scenarios[name].as_plain() | {system: result.as_plain() for system, result in by_system.items()}
            for name, by_system in results.items()
        ],
    }
    told = directory / "lab.json"
    told.write_text(json.dumps(whole, indent=1) + "\n")
    pictures = []
    for name, by_system in results.items():
        path = directory / f"{file_name(name)}.svg"
        path.write_text(draw(scenarios[name], list(by_system.values())), encoding="utf-8")
        pictures.append(path)
    return [told, *pictures]


def file_name(name: str) -> str:
    """A scenario's name as a file's."""
    signed = re.sub(r"([+-])(?=\d)", lambda sign: "plus " if sign[1] == "+" else "minus ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", signed).strip("-")
