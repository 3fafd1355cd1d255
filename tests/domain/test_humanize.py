"""Durations and plurals, as every output for people says them."""

from __future__ import annotations

from token_refresher.domain.humanize import counted, duration


def test_a_duration_has_at_most_two_units_and_is_rounded_down() -> None:
    said = [duration(s) for s in (-5, 0, 59.9, 60, 270, 725, 7199, 7200, 90_000, 180_000)]
    assert said == [
        *("0 s", "0 s", "59 s", "1 min 00 s", "4 min 30 s", "12 min"),
        *("1 h 59 min", "2 h 00 min", "25 h 00 min", "2 d"),
    ]


def test_a_plural_has_an_s_unless_another_is_given() -> None:
    said = [counted(0, "code"), counted(1, "code"), counted(2, "code"), counted(2, "entry", "entries")]
    assert said == ["0 codes", "1 code", "2 codes", "2 entries"]
