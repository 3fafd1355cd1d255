"""What is done on the platform's console, and what a platform of another kind does by itself."""

from __future__ import annotations

import http.client
import json
import zlib
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Answer, Fault, Refusals, Simulator

Post = Callable[..., Any]
Fetch = Callable[..., tuple[int, http.client.HTTPMessage, bytes]]
Advance = Callable[[float], None]
TOKEN = {"app_id": "app1", "secret": "secret1", "grant_type": "client_credential"}
DENIAL = {"status": "4000", "message": "app_id is invalid", "data": []}
KINDS = ("access_token", "js_ticket")


def all_answers(sim: Simulator, get_token: Post, get_ticket: Post, check: Post, post: Post) -> list[Any]:
    code = sim.login_code("app1", "visitor")
    user = post(TOKEN_PATH, **{**TOKEN, "grant_type": "authorization_code", "code": code})
    return [get_token(), get_ticket(), check("js_ticket", "x"), check("access_token", "x"), user]


# -- an application is disabled --------------------------------------------------------------------


def test_a_disabled_application_is_refused_by_every_interface_and_its_codes_live_on(
    sim: Simulator, get_token: Post, get_ticket: Post, check: Post, post: Post
) -> None:
    ticket = sim.issue("app1", "js_ticket").code
    sim.disable("app1")
    assert all_answers(sim, get_token, get_ticket, check, post) == [DENIAL] * 5
    assert check("js_ticket", ticket) == DENIAL
    sim.enable("app1")
    assert check("js_ticket", ticket)["status"] == "2000"
    assert get_token()["status"] == "2000"


def test_another_application_does_not_notice(sim: Simulator, post: Post) -> None:
    sim.disable("app1")
    assert post(TOKEN_PATH, **{**TOKEN, "app_id": "app2", "secret": "secret2"})["status"] == "2000"


@pytest.mark.parametrize(
    "sim", [{"refusals": Refusals(disabled=Answer(4001, "the application is suspended"))}], indirect=True
)
def test_a_disabled_application_may_be_refused_in_other_words(sim: Simulator, check: Post) -> None:
    sim.disable("app1")
    assert check("js_ticket", "x") == {"status": "4001", "message": "the application is suspended", "data": []}


def test_an_unknown_application_cannot_be_disabled(sim: Simulator) -> None:
    with pytest.raises(KeyError):
        sim.disable("app3")


# -- the secret is reset ---------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
def test_a_reset_of_the_secret_leaves_the_codes_or_ends_them(
    sim: Simulator, get_token: Post, check: Post, post: Post, hard: bool
) -> None:
    codes = {kind: sim.issue("app1", kind).code for kind in KINDS}
    other = sim.issue("app2", "js_ticket").code
    sim.rotate_secret("app1", "new", hard=hard)
    assert get_token()["status"] == "4000"
    for kind, code in codes.items():
        assert sim.valid("app1", kind, code) is not hard
        assert check(kind, code)["status"] == ("4102" if hard else "2000")
    assert sim.valid("app2", "js_ticket", other)
    fresh = post(TOKEN_PATH, **{**TOKEN, "secret": "new"})["data"]["access_token"]
    assert sim.valid("app1", "access_token", fresh)


def test_a_hard_reset_ends_codes_in_their_grace_too(sim: Simulator) -> None:
    older = sim.issue("app1", "js_ticket").code
    sim.issue("app1", "js_ticket")
    sim.rotate_secret("app1", "new", hard=True)
    assert not sim.valid("app1", "js_ticket", older)


# -- another kind of platform ----------------------------------------------------------------------


@pytest.mark.parametrize("sim", [{"token_ends_tickets": True}], indirect=True)
def test_a_new_token_may_end_every_ticket_at_once(sim: Simulator, get_token: Post, get_ticket: Post) -> None:
    tickets = [get_ticket()["data"]["ticket"] for _ in range(2)]
    other = sim.issue("app2", "js_ticket").code
    get_token()
    assert not any(sim.valid("app1", "js_ticket", ticket) for ticket in tickets)
    assert sim.valid("app2", "js_ticket", other)
    assert sim.valid("app1", "js_ticket", get_ticket()["data"]["ticket"])


def test_usually_a_new_token_leaves_the_tickets_alone(sim: Simulator, get_token: Post) -> None:
    ticket = sim.issue("app1", "js_ticket")
    get_token()
    assert sim.valid_until("app1", "js_ticket", ticket.code) == ticket.expires_at


@pytest.mark.parametrize("sim", [{"access_token_grace_s": 0}], indirect=True)
def test_an_older_token_may_get_no_grace_while_an_older_ticket_does(sim: Simulator) -> None:
    older = {kind: sim.issue("app1", kind) for kind in KINDS}
    for kind in KINDS:
        sim.issue("app1", kind)
    assert not sim.valid("app1", "access_token", older["access_token"].code)
    assert sim.valid_until("app1", "js_ticket", older["js_ticket"].code) == older["js_ticket"].issued_at + 600


@pytest.mark.parametrize("sim", [{"lifetime_s": 300, "grace_s": 60}], indirect=True)
def test_codes_may_live_only_minutes(sim: Simulator, get_token: Post, check: Post, advance: Advance) -> None:
    data = get_token()["data"]
    assert data["expires_in"] == 300
    advance(299)
    assert check("access_token", data["access_token"])["status"] == "2000"
    advance(1)
    assert check("access_token", data["access_token"])["status"] == "4102"


# -- limits ----------------------------------------------------------------------------------------


def test_a_limit_refuses_what_is_too_much_until_its_window_has_passed(
    sim: Simulator, fetch: Fetch, advance: Advance
) -> None:
    sim.limit("app1", 2, window_s=60)
    assert fetch(TOKEN_PATH, **TOKEN)[0] == 200
    advance(20)
    assert fetch(CHECK_PATH, app_id="app1", type="js_ticket", code="x")[0] == 200
    for _ in range(3):  # a refused request does not put the next one off
        status, headers, body = fetch(TOKEN_PATH, **TOKEN)
        assert (status, headers["Content-Type"], body) == (
            429,
            "text/plain; charset=utf-8",
            b"Too Many Requests\n",
        )
        assert headers["Retry-After"] == "40"
    assert sim.fetches("app1", "access_token") == 1
    assert [(r.outcome, r.status, r.executed) for r in sim.requests[2:]] == [("http 429", None, False)] * 3
    advance(40)
    assert fetch(TOKEN_PATH, **TOKEN)[0] == 200
    assert fetch(TOKEN_PATH, **TOKEN)[1]["Retry-After"] == "20"


def test_a_limit_holds_for_one_application_or_one_interface_or_for_all(sim: Simulator, fetch: Fetch) -> None:
    def asked(app_id: str) -> int:
        return fetch(CHECK_PATH, app_id=app_id, type="js_ticket", code="x")[0]

    sim.limit("app1", 0)
    assert (asked("app1"), asked("app2")) == (429, 200)
    sim.limit("app1", None)
    sim.limit(None, 1, path=CHECK_PATH)
    assert (asked("app1"), asked("app2")) == (200, 429)
    assert fetch(TOKEN_PATH, **TOKEN)[0] == 200


@pytest.mark.parametrize("offset_s", [0.0, 90.0])
def test_a_limit_may_name_a_date_or_nothing(sim: Simulator, fetch: Fetch, offset_s: float) -> None:
    sim.date_offset_s = offset_s
    sim.limit("app1", 0, window_s=45, retry_after="date")
    headers = fetch(TOKEN_PATH, **TOKEN)[1]
    until, now = (parsedate_to_datetime(str(headers[name])) for name in ("Retry-After", "Date"))
    assert (until - now).total_seconds() == 45
    sim.limit("app1", 0, window_s=45, retry_after="nothing")
    assert fetch(TOKEN_PATH, **TOKEN)[1]["Retry-After"] is None


@pytest.mark.parametrize(("n", "window_s", "says"), [(-1, 60, "date"), (1, 0, "date"), (1, 60, "never")])
def test_a_limit_that_is_none_is_refused(sim: Simulator, n: int, window_s: float, says: Any) -> None:
    with pytest.raises(ValueError, match="not"):
        sim.limit("app1", n, window_s, says)


# -- what lies between -----------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["first", "last"])
def test_a_gateway_may_carry_each_request_out_twice(sim: Simulator, get_token: Post, answers: Any) -> None:
    sim.script(TOKEN_PATH, Fault.twice(answers), times=None)
    for round_ in (1, 2):
        code = get_token()["data"]["access_token"]
        issued = [each.code for each in sim.issued("app1", "access_token")]
        assert len(issued) == 2 * round_ == sim.fetches("app1", "access_token")
        assert code == issued[-2 if answers == "first" else -1]
    assert [(r.outcome, r.executed) for r in sim.requests] == [("twice", True)] * 2


def test_a_question_that_is_asked_twice_is_answered_once(sim: Simulator, check: Post) -> None:
    ticket = sim.issue("app1", "js_ticket").code
    sim.script(CHECK_PATH, Fault.twice())
    assert check("js_ticket", ticket)["status"] == "2000"
    assert sim.count(CHECK_PATH) == 1


@pytest.mark.parametrize("times", [1, 3])
def test_interim_answers_come_before_the_answer(sim: Simulator, send_token: Any, times: int) -> None:
    sim.script(TOKEN_PATH, Fault.interim(103, times))
    sock = send_token()
    received = b""
    while b"expires_in" not in received:
        received += sock.recv(65_536)
    assert received.startswith(b"HTTP/1.1 103 ")
    assert received.count(b"HTTP/1.1 103 ") == times
    assert received.count(b"HTTP/1.1 200 OK") == 1


def test_only_an_interim_status_comes_before_an_answer() -> None:
    with pytest.raises(ValueError, match="200"):
        Fault.interim(200)


def test_a_body_may_be_packed_or_only_called_so(sim: Simulator, fetch: Fetch) -> None:
    sim.script(TICKET_PATH, Fault.encoded("deflate", zlib.compress))
    sim.script(TICKET_PATH, Fault.encoded("UTF-8"))
    token = sim.issue("app1", "access_token").code
    form = {"app_id": "app1", "access_token": token, "type": "js_ticket"}
    _, headers, body = fetch(TICKET_PATH, **form)
    assert (headers["Content-Encoding"], json.loads(zlib.decompress(body))["status"]) == ("deflate", "2000")
    _, headers, body = fetch(TICKET_PATH, **form)
    assert (headers["Content-Encoding"], json.loads(body)["status"]) == ("UTF-8", "2000")
