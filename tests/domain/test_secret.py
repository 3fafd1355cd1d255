"""A Secret stays one, whatever is done with it."""

from __future__ import annotations

import copy
import pickle

import pytest

from support.planted import plant
from token_refresher.domain.model import Secret


@pytest.fixture
def secret() -> Secret:
    return Secret(plant("a-secret-of-its-own"))


@pytest.mark.parametrize("shown", [str, repr, "{}".format, "{!r}".format, lambda it: str([it])])
def test_no_way_of_printing_it_shows_it(secret: Secret, shown) -> None:  # type: ignore[no-untyped-def]
    assert "Secret('****')" in shown(secret)


def test_only_reveal_gives_it_away(secret: Secret) -> None:
    assert Secret("word").reveal() == "word"
    with pytest.raises(TypeError):
        vars(secret)


@pytest.mark.parametrize("way", [pickle.dumps, copy.deepcopy])
def test_it_does_not_leave_the_process(secret: Secret, way) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError, match="not pickled"):
        way(secret)


def test_equal_ones_are_one_and_an_empty_one_is_none() -> None:
    assert {Secret("word"), Secret("word")} == {Secret("word")}
    assert Secret("word") not in (Secret("other"), "word")
    assert not Secret("")
