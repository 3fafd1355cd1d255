"""What the three interfaces answer, in which style, and what is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from platform_simulator import APP_ACCESS_PATH, USER_COUNT_PATH, Answer, AnswerStyle, Refusals, Simulator

Post = Callable[..., Any]
TOKEN = {"app_id": "app1", "secret": "secret1", "grant_type": "client_credential"}


def test_a_token_is_answered_and_is_what_the_truth_knows(sim: Simulator, get_token: Post) -> None:
    answer = get_token()
    (issued,) = sim.issued("app1", "access_token")
    assert answer == {
        "status": "2000",
        "message": "ok",
        "data": {"access_token": issued.code, "expires_in": 7200},
    }
    assert len(issued.code) == 64
    assert sim.valid("app1", "access_token", issued.code)
    assert sim.valid_until("app1", "access_token", issued.code) == issued.issued_at + 7200
    assert sim.newest("app1", "access_token") == issued


def test_a_ticket_is_answered_for_a_living_token(sim: Simulator, get_ticket: Post) -> None:
    answer = get_ticket()
    newest = sim.newest("app1", "js_ticket")
    assert newest is not None
    assert answer["data"] == {"ticket": newest.code, "expires_in": 7200}


def test_a_ticket_for_a_dead_token_is_refused_with_4102(
    sim: Simulator, get_ticket: Post, advance: Callable[[float], None]
) -> None:
    sim.issue("app1", "access_token")
    advance(7200)
    assert get_ticket() == {
        "status": "4102",
        "message": "server_access_token is invalid",
        "data": [],
    }
    assert sim.issued("app1", "js_ticket") == []


def test_a_ticket_of_another_type_is_refused_and_not_issued(sim: Simulator, post: Post) -> None:
    token = sim.issue("app1", "access_token").code
    assert post("/OAuth2/ticket", app_id="app1", access_token=token, type="colour")["status"] == "4000"
    assert sim.issued("app1", "js_ticket") == []


def test_another_applications_token_is_no_token(sim: Simulator, post: Post) -> None:
    token = sim.issue("app2", "access_token").code
    answer = post("/OAuth2/ticket", app_id="app1", access_token=token, type="js_ticket")
    assert answer["status"] == "4102"


def test_check_code_gives_the_instant_of_expiry_and_refuses_what_is_dead(sim: Simulator, check: Post) -> None:
    ticket = sim.issue("app1", "js_ticket")
    assert check("js_ticket", ticket.code)["data"] == {"expires_in": int(ticket.expires_at)}
    assert check("access_token", ticket.code)["status"] == "4102"
    sim.revoke("app1", "js_ticket", ticket.code)
    assert check("js_ticket", ticket.code)["status"] == "4102"
    assert check("js_ticket", ticket.code)["data"] == []
    assert check("colour", ticket.code)["status"] == "4000"


@pytest.mark.parametrize("style", list(AnswerStyle))
def test_what_takes_an_access_token_answers_a_living_one_and_no_other(
    sim: Simulator, post: Post, style: AnswerStyle
) -> None:
    sim.style = style
    token = sim.issue("app1", "access_token").code
    sim.login_code("app1", "visitor")
    sim.login_code("app1", "visitor")
    sim.login_code("app1", "another")
    called = {"app_id": "app1", "access_token": token}
    assert post(USER_COUNT_PATH, **called)["data"] == {"user_count": "2"}
    assert post(APP_ACCESS_PATH, **called, open_id="visitor")["data"] == ["user/get_user_base_info"]
    assert int(post(APP_ACCESS_PATH, **called, open_id="stranger")["status"]) == 4104
    sim.revoke("app1", "access_token", token)
    for path in (USER_COUNT_PATH, APP_ACCESS_PATH):
        for form in (called, {"app_id": "app1"}, {**called, "app_id": "app2"}):
            answer = post(path, **form, open_id="visitor")
            assert (int(answer["status"]), answer["data"]) == (4102, [])
    assert sim.fetches("app1", "access_token") == 0


def test_a_code_can_be_shortened_without_notice(sim: Simulator, check: Post) -> None:
    token = sim.issue("app1", "access_token")
    sim.shorten("app1", "access_token", token.code, 30)
    expected = int(token.issued_at + 30)
    assert check("access_token", token.code)["data"] == {"expires_in": expected}
    sim.shorten("app1", "access_token", token.code, 9000)
    assert sim.valid_until("app1", "access_token", token.code) == expected


@pytest.mark.parametrize("sim", [{"checkcode_lag_s": 5}], indirect=True)
def test_a_lagging_check_code_shows_the_past(sim: Simulator, check: Post, advance: Callable[[float], None]) -> None:
    first = sim.issue("app1", "js_ticket")
    until = int(first.expires_at)
    assert check("js_ticket", first.code)["status"] == "4102"
    advance(5)
    assert check("js_ticket", first.code)["data"] == {"expires_in": until}
    sim.issue("app1", "js_ticket")
    assert check("js_ticket", first.code)["data"] == {"expires_in": until}
    advance(5)
    assert check("js_ticket", first.code)["data"] == {"expires_in": until - 7200 + 5 + 600}


def test_a_login_code_is_exchanged_once(sim: Simulator, post: Post) -> None:
    code = sim.login_code("app1", "visitor")
    form = {**TOKEN, "grant_type": "authorization_code", "code": code}
    data = post("/OAuth2/token", **form)["data"]
    assert data["open_id"] == "visitor"
    assert sorted(data) == ["access_token", "expires_in", "open_id", "refresh_token", "scope"]
    assert sim.credentials() == {code, data["access_token"], data["refresh_token"]}
    question = {"app_id": "app1", "type": "access_token", "code": data["access_token"]}
    assert post("/OAuth2/checkCode", **question)["status"] == "4102"
    assert post("/OAuth2/checkCode", **question, open_id="visitor")["status"] == "2000"
    assert post("/OAuth2/token", **form) == {
        "status": "4102",
        "message": "authorization_code is invalid",
        "data": [],
    }


@pytest.mark.parametrize(
    "form",
    [
        {**TOKEN, "secret": "wrong"},
        {**TOKEN, "app_id": "stranger"},
        {**TOKEN, "grant_type": "password"},
        {"app_id": "app1", " secret": "secret1", "grant_type": "client_credential"},
    ],
)
def test_what_the_platform_does_not_know_is_refused_with_4000(sim: Simulator, post: Post, form: dict[str, str]) -> None:
    answer = post("/OAuth2/token", **form)
    assert (answer["status"], answer["data"]) == ("4000", [])
    assert sim.credentials() == set()


def test_a_rotated_secret_counts_at_once(sim: Simulator, get_token: Post) -> None:
    sim.rotate_secret("app1", "another")
    assert get_token()["status"] == "4000"
    sim.rotate_secret("app1", "secret1")
    assert get_token()["status"] == "2000"


def test_an_added_application_is_served(sim: Simulator, post: Post) -> None:
    sim.add_app("app3", "secret3")
    answer = post("/OAuth2/token", **{**TOKEN, "app_id": "app3", "secret": "secret3"})
    assert answer["status"] == "2000"


def test_a_caller_outside_the_white_list_is_refused(sim: Simulator, get_token: Post) -> None:
    sim.white_list("app1", ["192.0.2.1"])
    answer = get_token()
    assert answer["status"] == "4103"
    assert "ip" in answer["message"]
    sim.white_list("app1", ["192.0.2.1", "127.0.0.1"])
    assert get_token()["status"] == "2000"


@pytest.mark.parametrize(
    "sim",
    [{"refusals": Refusals(secret=Answer(4001, "no"), white_list=Answer(4004, "ip"))}],
    indirect=True,
)
def test_the_refusals_the_platform_leaves_open_can_be_chosen(sim: Simulator, get_token: Post) -> None:
    sim.rotate_secret("app1", "another")
    assert get_token()["status"] == "4001"
    sim.white_list("app1", [])
    assert get_token()["status"] == "4004"


@pytest.mark.parametrize(
    ("style", "status", "expires_in"),
    [
        (AnswerStyle.STATUS_TEXT, "2000", 7200),
        (AnswerStyle.STATUS_NUMBER, 2000, 7200),
        (AnswerStyle.ALL_TEXT, "2000", "7200"),
    ],
)
def test_an_answer_comes_in_each_documented_style(
    sim: Simulator, get_token: Post, style: AnswerStyle, status: object, expires_in: object
) -> None:
    sim.style = style
    answer = get_token()
    assert (answer["status"], answer["data"]["expires_in"]) == (status, expires_in)
    sim.rotate_secret("app1", "another")
    assert get_token()["data"] == []


def test_codes_and_secrets_are_recorded_as_fingerprints_only(
    sim: Simulator, get_token: Post, get_ticket: Post, check: Post
) -> None:
    token = get_token()["data"]["access_token"]
    ticket = get_ticket()["data"]["ticket"]
    check("js_ticket", ticket)
    text = json.dumps([dict(request.form) for request in sim.requests]) + repr(sim.requests)
    assert not [secret for secret in {token, ticket, "secret1"} if secret in text]
    assert [(r.path, r.kind, r.outcome, r.executed) for r in sim.requests] == [
        ("/OAuth2/token", "access_token", "2000", True),
        ("/OAuth2/ticket", "js_ticket", "2000", True),
        ("/OAuth2/checkCode", "js_ticket", "2000", False),
    ]
    assert sim.requests[0].form["secret"] == "5b11618c"
