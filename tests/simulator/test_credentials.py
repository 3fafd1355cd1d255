"""How long credentials live, and what can be asked about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from platform_simulator import App, Simulator

Post = Callable[..., Any]


@pytest.mark.parametrize("kind", ["access_token", "js_ticket"])
def test_a_new_code_leaves_the_older_ones_ten_minutes(
    sim: Simulator, kind: str, advance: Callable[[float], None]
) -> None:
    first = sim.issue("app1", kind)
    other = sim.issue("app2", kind)
    advance(100)
    second = sim.issue("app1", kind)
    assert sim.valid_until("app1", kind, first.code) == first.issued_at + 100 + 600
    assert sim.valid_until("app1", kind, second.code) == second.issued_at + 7200
    assert sim.valid_until("app2", kind, other.code) == other.issued_at + 7200
    advance(100)
    sim.issue("app1", kind)
    assert sim.valid_until("app1", kind, first.code) == first.issued_at + 100 + 600
    advance(500)
    assert not sim.valid("app1", kind, first.code)
    assert sim.valid("app1", kind, second.code)


def test_a_code_near_its_end_is_not_prolonged_by_a_new_one(sim: Simulator, advance: Callable[[float], None]) -> None:
    first = sim.issue("app1", "js_ticket")
    advance(7000)
    sim.issue("app1", "js_ticket")
    assert sim.valid_until("app1", "js_ticket", first.code) == first.expires_at


def test_the_older_token_may_be_left_alone_while_the_older_ticket_never_is() -> None:
    sim = Simulator([App("app1", "s")], lambda: 0.0, shortens_access_token=False)
    token, ticket = sim.issue("app1", "access_token"), sim.issue("app1", "js_ticket")
    sim.issue("app1", "access_token")
    sim.issue("app1", "js_ticket")
    assert sim.valid_until("app1", "access_token", token.code) == 7200
    assert sim.valid_until("app1", "js_ticket", ticket.code) == 600


def test_codes_issued_out_of_band_are_codes_but_not_fetches(sim: Simulator, get_token: Post) -> None:
    code = sim.issue("app1", "access_token").code
    get_token()
    assert code in sim.credentials()
    assert len(sim.issued("app1", "access_token")) == 2
    assert sim.fetches("app1", "access_token") == 1
    assert (sim.count(), sim.count("/OAuth2/ticket"), sim.count(app_id="app1")) == (1, 0, 1)


def test_only_known_kinds_and_codes_can_be_issued_and_ended(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="refresh_token"):
        sim.issue("app1", "refresh_token")
    with pytest.raises(KeyError):
        sim.revoke("app1", "js_ticket", "unknown")
    assert sim.valid_until("app1", "js_ticket", "unknown") is None
    assert not sim.valid("app1", "js_ticket", "unknown")
