"""Which targets a command is about, and which others they need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_refresher.domain.command import in_shard, partners, wanted
from token_refresher.domain.model import Command, Kind, Target

_app_ids = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(app_id=_app_ids, n=st.integers(1, 200))
def test_every_application_is_in_exactly_one_of_n_shards(app_id: str, n: int) -> None:
    assert [in_shard(app_id, (k, n)) for k in range(1, n + 1)].count(True) == 1
    assert in_shard(app_id, None)
    assert in_shard(app_id, (1, 1))


def test_shards_are_of_similar_size_and_the_same_on_every_machine() -> None:
    for k in range(1, 9):
        assert 80 < sum(in_shard(f"app{number:04d}", (k, 8)) for number in range(1000)) < 170
    assert in_shard("app0000", (8, 8))  # zlib.crc32(b"app0000") % 8 is 7


TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
WANTED = {
    "everything, each token before its ticket": (
        Command(),
        [("b", TOKEN), ("b", TICKET), ("a", TOKEN), ("a", TICKET), ("c", TOKEN), ("c", TICKET)],
    ),
    "some applications, still in the order of the settings": (
        Command(apps=("c", "b")),
        [("b", TOKEN), ("b", TICKET), ("c", TOKEN), ("c", TICKET)],
    ),
    "one kind": (Command(kinds=(TICKET,)), [("b", TICKET), ("a", TICKET), ("c", TICKET)]),
    "both kinds the other way round": (
        Command(apps=("a",), kinds=(TICKET, TOKEN)),
        [("a", TOKEN), ("a", TICKET)],
    ),
    "an application that there is not": (Command(apps=("d",)), []),
}


@pytest.mark.parametrize("sentence", WANTED)
def test_wanted(sentence: str) -> None:
    command, expected = WANTED[sentence]
    assert wanted(("b", "a", "c"), command) == [Target(app_id, kind) for app_id, kind in expected]


def test_shards_divide_what_is_wanted_among_them() -> None:
    app_ids = tuple(f"app{number:04d}" for number in range(100))
    parts = [wanted(app_ids, Command(shard=(k, 3))) for k in (1, 2, 3)]
    assert all(parts)
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(wanted(app_ids, Command()))
    both = wanted(app_ids, Command(apps=("app0000", "app0001"), shard=(2, 8)))
    assert {target.app_id for target in both} <= {"app0000", "app0001"}


def test_the_partners_of_targets_are_the_others_of_their_applications() -> None:
    """A ticket needs its token, and a new token may end the ticket."""
    targets = [Target("b", TICKET), Target("a", TICKET), Target("a", TOKEN), Target("c", TOKEN)]
    assert partners(targets) == [Target("b", TOKEN), Target("c", TICKET)]
    assert partners([]) == []
