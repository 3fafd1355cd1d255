"""Which targets a command is about, and which others they need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_refresher.domain.command import Command, partners
from token_refresher.domain.model import Kind, Target

_app_ids = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(app_id=_app_ids, n=st.integers(1, 200))
def test_every_application_is_in_exactly_one_of_n_shards(app_id: str, n: int) -> None:
    assert [Command(shard=(k, n)).includes(app_id) for k in range(1, n + 1)].count(True) == 1
    assert Command().includes(app_id)
    assert Command(shard=(1, 1)).includes(app_id)


def test_shards_are_of_similar_size_and_the_same_on_every_machine() -> None:
    for k in range(1, 9):
        assert 80 < sum(Command(shard=(k, 8)).includes(f"app{number:04d}") for number in range(1000)) < 170
    assert Command(shard=(8, 8)).includes("app0000")  # zlib.crc32(b"app0000") % 8 is 7


TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET
TARGETS = {
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


@pytest.mark.parametrize("sentence", TARGETS)
def test_the_targets_of_a_command_are(sentence: str) -> None:
    command, expected = TARGETS[sentence]
    assert command.targets(("b", "a", "c")) == [Target(app_id, kind) for app_id, kind in expected]


def test_shards_divide_what_is_wanted_among_them() -> None:
    app_ids = tuple(f"app{number:04d}" for number in range(100))
    parts = [Command(shard=(k, 3)).targets(app_ids) for k in (1, 2, 3)]
    assert all(parts)
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(Command().targets(app_ids))
    both = Command(apps=("app0000", "app0001"), shard=(2, 8)).targets(app_ids)
    assert {target.app_id for target in both} <= {"app0000", "app0001"}


def test_the_partners_of_targets_are_the_others_of_their_applications() -> None:
    """A ticket needs its token, and a new token may end the ticket."""
    targets = [Target("b", TICKET), Target("a", TICKET), Target("a", TOKEN), Target("c", TOKEN)]
    assert partners(targets) == [Target("b", TOKEN), Target("c", TICKET)]
    assert partners([]) == []
