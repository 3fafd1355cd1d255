"""Every key in Redis: the contract with the published clients, and what a cluster makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from token_refresher.domain.errors import SettingsError
from token_refresher.domain.model import Kind, Target
from token_refresher.settings.loader import read
from token_refresher.store.keys import WIRE_NAME, Keys, keys_of

TOKEN, TICKET = Target("app0000", Kind.ACCESS_TOKEN), Target("app0000", Kind.JS_TICKET)

KEYS = {
    "a token": (
        keys_of(TOKEN),
        Keys(
            "type/server_access_token_info/app_id/app0000",
            "{type/server_access_token_info/app_id/app0000}:lease",
            "{type/server_access_token_info/app_id/app0000}:refused",
        ),
    ),
    "a ticket": (
        keys_of(TICKET),
        Keys(
            "type/js_ticket_info/app_id/app0000",
            "{type/js_ticket_info/app_id/app0000}:lease",
            "{type/js_ticket_info/app_id/app0000}:refused",
        ),
    ),
    "a ticket with a prefix, which stands inside the braces": (
        keys_of(TICKET, "staging:"),
        Keys(
            "staging:type/js_ticket_info/app_id/app0000",
            "{staging:type/js_ticket_info/app_id/app0000}:lease",
            "{staging:type/js_ticket_info/app_id/app0000}:refused",
        ),
    ),
}


@pytest.mark.parametrize("sentence", KEYS)
def test_the_keys_of(sentence: str) -> None:
    found, expected = KEYS[sentence]
    assert found == expected


def test_the_members_of_the_values_are_called_as_the_published_clients_call_them() -> None:
    assert WIRE_NAME == {Kind.ACCESS_TOKEN: "server_access_token", Kind.JS_TICKET: "js_ticket"}


_plain = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=30)


@given(app_id=_plain.filter(bool), kind=st.sampled_from(Kind), prefix=_plain)
def test_all_keys_of_a_target_live_in_one_cluster_slot(app_id: str, kind: Kind, prefix: str) -> None:
    keys = keys_of(Target(app_id, kind), prefix)
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert len(set(keys)) == 3


def test_targets_are_spread_over_the_cluster() -> None:
    slots = {key_slot(keys_of(Target(f"app{n:04d}", kind)).value.encode()) for n in range(500) for kind in Kind}
    assert len(slots) > 900


@given(one=st.tuples(_plain, st.sampled_from(Kind)), other=st.tuples(_plain, st.sampled_from(Kind)))
def test_no_two_targets_share_a_key(one: tuple[str, Kind], other: tuple[str, Kind]) -> None:
    shared = set(keys_of(Target(*one))) & set(keys_of(Target(*other)))
    assert bool(shared) == (one == other)


ENVIRON = {"APP_ID": "app0000", "APP_SECRET": "made up", "REDIS_URL": "redis://127.0.0.1:6379/0"}


@pytest.mark.parametrize("name", ["APP_ID", "REDIS_KEY_PREFIX"])
@pytest.mark.parametrize("brace", ["{", "}", "{}"])
def test_settings_refuse_braces_which_would_move_keys_to_another_slot(name: str, brace: str) -> None:
    assert read(ENVIRON | {name: "a-b"})
    with pytest.raises(SettingsError, match=name):
        read(ENVIRON | {name: f"a{brace}b"})
