"""Findings as a table of traffic lights, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from token_refresher.cli.output import Screen
from token_refresher.cli.table import Cell, Tone, harmless
from token_refresher.doctor.finding import Finding, Severity, exit_code, gathered, summary

# A sign and a word: colours are not seen by everybody, nor everywhere.
_SHOWN = {
    Severity.RED: Cell("x red", Tone.BAD),
    Severity.YELLOW: Cell("! yellow", Tone.SOON),
    Severity.GREY: Cell("- grey", Tone.QUIET),
    Severity.GREEN: Cell("+ green", Tone.GOOD),
}


def show(findings: Sequence[Finding], screen: Screen) -> int:
    """Put the findings out, for a person or as JSON, and return the exit code."""
    counts, code = summary(findings), exit_code(findings)
    if screen.as_json:
        screen.document({"summary": counts, "exit_code": code, "findings": [each.as_dict() for each in findings]})
        return code
    lines = gathered(findings)
    screen.table(("LIGHT", "CHECK", "WHOSE", "WHY"), [_row(each) for each in lines])
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
    screen.result(f"\n{told}. Nothing was fetched and no key was changed.")
    for severity in (Severity.RED, Severity.YELLOW):
        for each in lines:
            if each.severity is severity and each.fix:
                whose = f" ({each.about})" if each.about else ""
                said = f"{_SHOWN[severity].text}: {each.name}{whose}: {each.says}"
                screen.result(f"\n{harmless(said)}.\n  What to do: {harmless(each.fix)}.")
    return code


def _row(each: Finding) -> list[Cell]:
    return [_SHOWN[each.severity], Cell(each.name), Cell(each.about or "-", Tone.QUIET), Cell(each.says)]
