"""Findings as a table of traffic lights, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from token_refresher.cli import exit_codes
from token_refresher.cli.output import Output
from token_refresher.cli.table import Cell, Style, escape_control_characters
from token_refresher.doctor.finding import Finding, Severity, gathered, red_groups, summary

# A sign and a word: colours are not seen by everybody, nor everywhere.
_SHOWN = {
    Severity.RED: Cell("x red", Style.BAD),
    Severity.YELLOW: Cell("! yellow", Style.SOON),
    Severity.GREY: Cell("- grey", Style.QUIET),
    Severity.GREEN: Cell("+ green", Style.GOOD),
}


def show(findings: Sequence[Finding], output: Output) -> int:
    """Put the findings out, for a person or as JSON, and return the exit code."""
    counts, code = summary(findings), exit_codes.of_red_groups(red_groups(findings))
    if output.as_json:
        output.document({"summary": counts, "exit_code": code, "findings": [each.as_dict() for each in findings]})
        return code
    lines = gathered(findings)
    output.table(("LIGHT", "CHECK", "WHOSE", "WHY"), [_row(each) for each in lines])
    shown = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
    output.result(f"\n{shown}. Nothing was fetched and no key was changed.")
    for severity in (Severity.RED, Severity.YELLOW):
        for each in lines:
            if each.severity is severity and each.fix:
                whose = f" ({each.about})" if each.about else ""
                said = escape_control_characters(f"{_SHOWN[severity].text}: {each.name}{whose}: {each.says}")
                lines_of_it = f"{said}.\n  What to do: {escape_control_characters(each.fix)}."
                if output.quiet:
                    output.note(lines_of_it)
                else:
                    output.result(f"\n{lines_of_it}")
    return code


def _row(each: Finding) -> list[Cell]:
    return [_SHOWN[each.severity], Cell(each.name), Cell(each.about or "-", Style.QUIET), Cell(each.says)]
