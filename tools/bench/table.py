"""What is shown: a table, ratios first, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from .measure import Spread
from .results import Bench, Row

_WIDE = 84


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(spread: Spread | None) -> str:
    """A median with its quartiles."""
    if spread is None:
        return ""
    if spread.n == 1:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)}-{number(spread.high)})"


def lines(rows: Sequence[Row]) -> list[str]:
    """The table, section by section; under a row the figures it comes from."""
    found = [f"{'ratio (quartiles)':>22}  {'target':>8}        what", "-" * 100]
    section = ""
    order = {row.section: None for row in rows}
    for row in (row for name in order for row in rows if row.section == name):
        if section and row.section != section:
            found.append("")
        section = row.section
        verdict = {None: "", True: "yes", False: "NO"}[row.reached]
        of = f" / {row.of}" if row.of else ""
        version = f" [{row.python}]" if row.python else ""
        found.append(f"{ratio(row.ratio):>22}  {row.target:>8}  {verdict:<4}  {row.what}{of}{version}")
        text = ""
        for part in row.shown():
            if len(text) + len(part) > _WIDE:
                found.append(f"{'':38}  {text}")
                text = ""
            text += f"{', ' if text else ''}{part}"
        if text:
            found.append(f"{'':38}  {text}")
    return found


def write_json(bench: Bench, path: Path, took_s: float) -> None:
    """Everything that was found; figures in seconds, bytes or counts."""
    told = {
        "quick": bench.quick,
        "took_s": round(took_s, 1),
        "machine": {
            "system": platform.system(),
            "processors": os.cpu_count(),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "pythons": [python.version for python in bench.pythons],
        "rows": [row.as_dict() for row in bench.rows],
        "details": bench.details,
        "curves": bench.curves,
        "notes": bench.notes,
    }
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(told, indent=1) + "\n")
    fresh.replace(path)
