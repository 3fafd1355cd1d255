"""What may be shown of a text that someone else wrote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from token_refresher.domain.quoting import quotable, readings, repeats

_TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


def test_whatever_looks_like_a_code_is_masked() -> None:
    assert quotable(f"the credential {'0a' * 12}!", ()) == "the credential ****!"
    assert quotable("QUJDREVGR0hJSktMTU5PUFFS+/==", ()) == "****"
    assert quotable("a message with words of usual length", ()) == "a message with words of usual length"


def test_a_quoted_message_is_one_short_printable_line() -> None:
    shown = quotable("a\r\nERROR forged\x1b[2J\u2028line \ud800" + " long" * 100, ["", "unused"])
    assert shown is not None
    assert shown.startswith("a ERROR forged[2J line long")
    assert shown.isprintable()
    assert len(shown) == 200


def test_a_secret_at_the_edge_of_the_quotation_hides_it_too() -> None:
    assert quotable("x " * 97 + "my-short-secret", ["my-short-secret"]) is None


@given(before=_TEXT, secret=st.text("abcXYZ0189/+%&\\", min_size=6, max_size=40), after=_TEXT)
def test_a_text_with_a_secret_in_it_is_never_quoted(before: str, secret: str, after: str) -> None:
    assert quotable(before + secret + after, [secret]) is None


@given(text=_TEXT, secret=_TEXT)
def test_what_is_quoted_holds_no_six_letters_or_digits_of_a_secret(text: str, secret: str) -> None:
    shown = quotable(text, [secret])
    for start in range(len(secret) - 5):
        part = secret[start : start + 6]
        assert shown is None or not (part.isascii() and part.isalnum() and part in shown)


def test_the_readings_of_a_text_are_few() -> None:
    hostile = "%25" * 20_000 + "&amp;" * 10_000 + "\\\\" * 10_000
    found = list(readings(hostile))
    assert len(found) <= 150


def test_texts_without_letters_and_empty_secrets_have_nothing_in_common() -> None:
    assert not repeats("", ["secret"])
    assert not repeats("some words", ["", " "])
    assert not repeats("!?", ["Kx7Qm2Zt9"])
