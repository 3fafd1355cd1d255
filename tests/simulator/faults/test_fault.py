"""Faults in what the platform says about a code: its life, its text, its validity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from platform_simulator import TOKEN_PATH, Fault, Simulator

Post = Callable[..., Any]


@pytest.mark.parametrize("value", [0, -1, 60, 599, 7201, 1e12, "7200", None])
def test_any_expiry_can_be_claimed_while_the_code_lives_as_usual(
    sim: Simulator, get_token: Post, value: float | str | None
) -> None:
    sim.script(TOKEN_PATH, Fault.expiry(value))
    assert get_token()["data"]["expires_in"] == value
    (code,) = sim.issued("app1", "access_token")
    assert code.expires_at == code.issued_at + 7200


def test_a_refusal_has_no_expiry_to_lie_about(sim: Simulator, post: Post) -> None:
    sim.script(TOKEN_PATH, Fault.expiry(60))
    assert post(TOKEN_PATH, app_id="app1", secret="another", grant_type="client_credential")["data"] == []


def test_a_claimed_expiry_can_be_true(sim: Simulator, get_token: Post) -> None:
    sim.script(TOKEN_PATH, Fault.expiry(60, lifetime_s=60))
    get_token()
    (code,) = sim.issued("app1", "access_token")
    assert code.expires_at == code.issued_at + 60


@pytest.mark.parametrize("n", [1, 128, 129, 512])
def test_a_code_of_any_length_is_a_real_code(sim: Simulator, get_token: Post, n: int) -> None:
    sim.script(TOKEN_PATH, Fault.code_length(n))
    code = get_token()["data"]["access_token"]
    assert len(code) == n
    assert sim.valid("app1", "access_token", code)


def test_a_code_outside_ascii_is_a_real_code(sim: Simulator, get_token: Post, get_ticket: Post) -> None:
    sim.script(TOKEN_PATH, Fault.unicode_code())
    code = get_token()["data"]["access_token"]
    assert not code.isascii()
    assert get_ticket()["status"] == "2000"


def test_the_same_code_comes_again_with_what_remains_or_renewed(
    sim: Simulator, get_token: Post, advance: Callable[[float], None]
) -> None:
    first = get_token()["data"]["access_token"]
    advance(1000)
    sim.script(TOKEN_PATH, Fault.same_code())
    assert get_token()["data"] == {"access_token": first, "expires_in": 6200}
    sim.script(TOKEN_PATH, Fault.same_code(full_life=True))
    assert get_token()["data"] == {"access_token": first, "expires_in": 7200}
    (code,) = sim.issued("app1", "access_token")
    assert code.expires_at == code.issued_at + 8200
    assert [r.executed for r in sim.requests] == [True, False, False]
    advance(7200)
    sim.script(TOKEN_PATH, Fault.same_code())
    assert get_token()["data"]["access_token"] != first


def test_check_code_can_lie_both_ways(sim: Simulator, check: Post) -> None:
    code = sim.issue("app1", "js_ticket")
    path = "/OAuth2/checkCode"
    sim.script(path, Fault.check_says(valid=False))
    sim.script(path, Fault.check_says(valid=True))
    sim.script(path, Fault.check_says(valid=True, expires_at=123))
    sim.script(path, Fault.check_says(valid=True))
    assert check("js_ticket", code.code)["status"] == "4102"
    assert check("js_ticket", code.code)["data"] == {"expires_in": int(code.expires_at)}
    assert check("js_ticket", code.code)["data"] == {"expires_in": 123}
    assert check("js_ticket", "unknown")["status"] == "2000"
