"""The status page through Flask's test client and through a real socket."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("flask", reason="the extra `daemon` is not installed, so there is no page")

from flask import Flask
from flask.testing import FlaskClient

from platform_simulator import Simulator
from support.guards import see
from support.page_reports import NAMES, NOW, Clock, failing, healthy, on_fire, state_of, target_report, with_history
from support.planted import plant
from support.redis_server import RedisServer
from support.tables import each_line
from token_refresher.bootstrap import refresher
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import CATALOGUE, CommandError, StoreError
from token_refresher.domain.humanize import duration, instant
from token_refresher.domain.model import Kind, Outcome, Secret, Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import Failure, Report, TargetReport
from token_refresher.settings.loader import Settings, read
from token_refresher.web import page
from token_refresher.web.history import RunHistory
from token_refresher.web.hosts import check_binding, needs_token
from token_refresher.web.page import auth
from token_refresher.web.page.auth import COOKIE, HEADERS, SESSION_S, PageAuth, read_token
from token_refresher.web.page.chart import HEIGHT, WIDTH, chart, common_span_s
from token_refresher.web.page.routes import blueprint
from token_refresher.web.page.severity import Severity, status_of
from token_refresher.web.page.standalone import address, create_app, read_once, serve
from token_refresher.web.page.throttle import LoginThrottle
from token_refresher.web.page.view import page as page_of
from token_refresher.web.server import HttpServer

_SOURCES = Path(page.__file__).parent
_WAIT_S = 30.0


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key out of the token takes a fifth of a second, on purpose."""
    monkeypatch.setattr(auth, "_ROUNDS", 1)


def client_of(known: RunHistory, token: Secret | None = None, **more: Any) -> FlaskClient:
    app = Flask("test", static_folder=None)
    app.register_blueprint(blueprint(known, token=token, **more))
    return app.test_client()


def html_of(client: FlaskClient, path: str = "/", **headers: str) -> str:
    answer = client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status_code == 200
    see("the page", answer.text)
    return answer.text


class _Elements(HTMLParser):
    """Every element of a page, with its attributes; and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, name: str) -> list[str]:
        return [value for _, attributes in self.all if (value := attributes.get(name)) is not None]


# -- what is shown ---------------------------------------------------------------------------


def test_every_application_and_kind_is_shown_with_all_that_is_known_of_it() -> None:
    text = html_of(client_of(state_of(healthy())))
    for app_id, name in NAMES.items():
        assert app_id in text
        assert name in text
    assert text.count("access_token</span>") == text.count("js_ticket</span>") == 3
    assert "All 6 credentials are fine" in text
    assert "1 h 56 min" in text
    assert text.count("0a1b2c3d") == 6
    assert str((NOW - 2200) * 1000) in text
    assert "FRESH</code> nothing to do" in text
    assert "36 min ago" in text
    assert "9f2c61d07be3a845" in text


def test_the_bar_says_the_time_left_against_margin_and_grace_to_those_who_cannot_see_it() -> None:
    meter = next(each for tag, each in _Elements(html_of(client_of(state_of([target_report(left_s=900)])))).all
                 if each.get("role") == "meter")  # fmt: skip
    assert meter["aria-valuenow"] == "900"
    assert meter["aria-valuemax"] == "7200"
    assert meter["aria-valuetext"] == "15 min left, less than the margin"
    text = html_of(client_of(state_of([target_report(left_s=900)])))
    assert 'class="fill soon" y="2" width="12.5%"' in text
    assert 'class="margin" x1="25.0%"' in text
    assert 'class="grace" x1="8.3%"' in text


def test_failures_say_what_to_do_also_those_of_earlier_runs() -> None:
    text = html_of(client_of(state_of(on_fire())))
    for code in ("wrong_secret", "no_token", "not_white_listed", "no_answer"):
        assert f"<code>{code}</code>" in text
        assert CATALOGUE[code].advice.replace("'", "&#39;") in text
    assert "status 40001: invalid secret" in text


def test_what_another_copy_met_is_a_warning_for_page_and_health_and_no_failure_of_the_credential() -> None:
    """One run by hand with a wrong secret, beside a healthy daemon."""
    sick = "another copy (0a1b2c3d4e5f) is refused: wrong_secret (application 100027)"
    known = state_of([target_report(last_outcome="refused: wrong_secret")], warnings=(sick,))
    text = html_of(client_of(known))
    assert "No credential is in danger, with a warning" in text
    assert "Failing" not in text
    assert "Retries will keep failing" not in text
    assert "refused: wrong_secret" in text, "the last outcome of any copy stays in its column"
    assert (known.unhealthy_reasons(), known.warnings()) == (("Redis has not been read yet",), (sick,))


def test_health_warns_of_what_fails_while_its_code_is_good() -> None:
    waits: dict[str, Any] = {"reason": "BACKING_OFF", "sentence": "NEAR_EXPIRY, but waits 200 s"}
    known = state_of([target_report("100027", left_s=1700, last_outcome="refused: wrong_secret", **waits)])
    assert known.warnings() == ("100027 access_token: wrong_secret",)
    assert "1 of 1 credential needs you" in html_of(client_of(known))
    many = state_of([target_report(f"app{n:02}", left_s=1700, last_outcome="refused: wrong_secret", **waits)
                     for n in range(12)])  # fmt: skip
    assert many.warnings()[-1] == "and 2 more"


@each_line("reason", list(Reason))
def test_every_reason_is_shown_with_its_meaning(reason: Reason) -> None:
    text = html_of(client_of(state_of([target_report(reason=reason.value)])))
    assert f"<code>{reason.value}</code> {reason.meaning}" in text


def test_trouble_comes_first() -> None:
    text = html_of(client_of(state_of([*healthy({"100001": ""}), target_report("100002", left_s=1500),
                                       failing("100003", Kind.JS_TICKET, "no_permission", "no")])))  # fmt: skip
    assert text.index("app-100003") < text.index("app-100002") < text.index("app-100001")


def test_somebody_elses_refreshes_are_a_warning_on_top_with_times_that_can_be_read() -> None:
    told = f"someone else refreshes application 100044 too: at {NOW - 100} (unix seconds)"
    text = html_of(client_of(state_of(on_fire(), warnings=(told,))))
    assert "at 11:05:00 UTC" in text
    assert "unix seconds" not in text
    assert text.index("someone else refreshes") < text.index("<table")
    assert "superseded</strong> by another program" in text


def test_a_code_ages_while_no_report_comes() -> None:
    clock = Clock()
    client = client_of(state_of([target_report(left_s=2000)], clock))
    assert "33 min" in html_of(client)
    clock.now = 1700
    text = html_of(client)
    assert "5 min 00 s" in text
    assert "Expires soon" in text


def test_silence_is_said_aloud() -> None:
    clock = Clock()
    client = client_of(state_of(healthy(), clock))
    clock.now = 241
    assert "No run for 4 min 01 s" in html_of(client)


def test_a_run_without_report_is_shown_with_what_to_do_and_what_was_known() -> None:
    known = state_of(healthy())
    known.failed("redis", "x", Failure.of(StoreError("Redis did not answer", code="redis_timeout")))
    text = html_of(client_of(known))
    assert "The last run failed" in text
    assert CATALOGUE["redis_timeout"].advice in text
    assert text.count("0a1b2c3d") == 6


def test_before_the_first_run_the_page_says_so() -> None:
    text = html_of(client_of(RunHistory(NAMES, Policy(), Clock())))
    assert "Waiting for the first run" in text
    assert "<table" not in text


@each_line(
    ("each", "severity", "word"),
    [
        (target_report(), Severity.GOOD, "Fresh"),
        (target_report(left_s=0, reason="MISSING"), Severity.BAD, "No credential"),
        (target_report(left_s=0, reason="LOCKED"), Severity.BAD, "No credential"),
        (target_report(left_s=3000, reason="LOCKED"), Severity.CALM, "Waiting"),
        (target_report(left_s=700, reason="YIELDING"), Severity.CALM, "Waiting"),
        (target_report(left_s=500, expires_at=NOW + 5000, safe_for_s=200, in_danger=False), Severity.GOOD, "Fresh"),
        (target_report(left_s=280, safe_for_s=255, margin_s=150, in_danger=False), Severity.GOOD, "Fresh"),
        (target_report(left_s=500, reason="NEAR_EXPIRY"), Severity.BAD, "Expires soon"),
        (target_report(left_s=1700, reason="NEAR_EXPIRY"), Severity.SOON, "Due"),
        (target_report(reason="NEAR_EXPIRY", outcome=Outcome.ISSUED), Severity.GOOD, "Fresh"),
        (
            target_report(left_s=1700, reason="BACKING_OFF", last_outcome="refused: wrong_secret"),
            Severity.BAD,
            "Failing",
        ),
        (target_report(reason="LOCKED", last_outcome="unknown: no_answer"), Severity.SOON, "Failing"),
        (target_report(last_outcome="refused: wrong_secret"), Severity.GOOD, "Fresh"),
        (target_report(reason="SUPERSEDED"), Severity.SOON, "Superseded"),
        (target_report(superseded_at=(NOW - 4000,)), Severity.GOOD, "Fresh"),
        (target_report(warnings=("the platform handed out the same credential again",)), Severity.SOON, "Look"),
        (target_report(reason="NOT_READ"), Severity.BAD, "Not read"),
    ],
)
def test_each_status_has_a_word_and_a_severity(each: TargetReport, severity: Severity, word: str) -> None:
    assert status_of(each, NOW, 0) == (severity, word)


def test_a_ttl_that_is_cut_and_restored_is_no_renewal_in_the_chart() -> None:
    known = state_of([target_report(left_s=600, settled=False, fence=1)], at=NOW - 1200)
    known.add(Report("r", "refresh", NOW - 600, 1, (target_report(left_s=4000, fence=1),)), "ok")
    drawn = chart(known.samples(Target("100027", Kind.ACCESS_TOKEN)), NOW, 3600, Policy())
    assert drawn is not None
    assert drawn.description.startswith("0 renewals")


def test_durations_and_instants_are_said_for_people() -> None:
    assert [duration(s) for s in (-5, 45, 270, 750, 7199, 180_000)] == [
        "0 s", "45 s", "4 min 30 s", "12 min", "1 h 59 min", "2 d"]  # fmt: skip
    assert instant(NOW, NOW + 60) == ("2026-11-18T11:06:40Z", "11:06:40 UTC", "1 min 00 s ago")
    assert instant(10**15, NOW).machine.startswith("9999")


# -- history ---------------------------------------------------------------------------------


def test_a_chart_falls_by_a_second_each_second_and_jumps_when_a_code_is_renewed() -> None:
    known = state_of([target_report(left_s=2400, fence=1)], at=NOW - 1200)
    known.add(
        Report("r", "refresh", NOW - 600, 1, (target_report(left_s=7200, fence=2, outcome=Outcome.ISSUED),)), "ok"
    )
    drawn = chart(known.samples(Target("100027", Kind.ACCESS_TOKEN)), NOW, 3600, Policy())
    assert drawn is not None
    assert drawn.line == "M160 26.3L200 29.5L200 1L240 4.2"
    assert drawn.description == "1 renewal, lowest 30 min"


def test_a_chart_shows_failures_and_that_a_code_ran_out() -> None:
    known = state_of([target_report(left_s=300)], at=NOW - 1200)
    gone = failing("100027", Kind.ACCESS_TOKEN, "wrong_secret", "no")
    known.add(Report("r", "refresh", NOW - 600, 1, (gone,)), "ok")
    drawn = chart(known.samples(gone.target), NOW, 3600, Policy())
    assert drawn is not None
    assert drawn.failures == (200.0,)
    assert drawn.description == "0 renewals, 1 failure, ran out"
    assert all(0 <= float(y) <= HEIGHT for y in re.findall(r" ([\d.]+)", drawn.area))


def test_what_lies_before_the_chart_s_span_is_not_drawn() -> None:
    samples = state_of([target_report(left_s=300)], at=NOW - 4000).samples(Target("100027", Kind.ACCESS_TOKEN))
    assert chart(samples, NOW, 7200, Policy()) is not None
    assert chart(samples, NOW, 3600, Policy()) is None


def test_charts_share_the_shortest_scale_that_has_a_name() -> None:
    assert [common_span_s(NOW - age, NOW) // 3600 for age in (5, 3600, 3601, 40_000, 90_000)] == [1, 1, 3, 12, 24]
    assert WIDTH == 240


def test_a_day_of_history_says_since_when_and_stays_small() -> None:
    text = html_of(client_of(with_history(healthy())))
    assert "Last 24 hours" in text
    assert "since 2026-11-17" in text
    assert text.count('class="chart"') == 6
    assert len(text) < 40_000


# -- hostile content -------------------------------------------------------------------------

_HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}",
    "' onfocus='alert(1)",
    "\u202egpj.exe",
)


# Elements of the templates; none of these is in hostile texts.
_ELEMENTS = (
    "html head meta title link noscript script body a header p nav main div section h1 h2 dl dt dd svg path circle"
    " rect line table thead tbody tr th td span bdi code strong b time abbr form label input button footer"
)
_OURS = set(_ELEMENTS.split())


@pytest.mark.parametrize("hostile", _HOSTILE)
def test_whatever_is_in_names_and_messages_stays_text(hostile: str) -> None:
    known = state_of(
        [
            failing(hostile, Kind.ACCESS_TOKEN, "platform_refused", hostile),
            target_report(hostile, Kind.JS_TICKET, reason="LOCKED", sentence=hostile, last_outcome=hostile,
                          fingerprint=hostile, warnings=(hostile,)),
        ],
        names={hostile: hostile},
        warnings=(hostile,),
    )  # fmt: skip
    known.failed("redis", "x", Failure("redis_error", hostile, hostile, True))
    text = html_of(client_of(known))
    elements = _Elements(text)
    assert elements.open == []
    assert not {tag for tag, _ in elements.all} - _OURS
    assert sum(tag == "script" for tag, _ in elements.all) == 1
    assert not [name for _, attributes in elements.all for name in attributes if name.startswith("on")]
    assert sum(tag == "script" for tag, _ in _Elements(html_of(client_of(known), f"/?q={quote(hostile)}")).all) == 1


def test_the_page_has_nothing_inline_and_asks_for_nothing_outside() -> None:
    text = html_of(client_of(with_history(on_fire())))
    elements = _Elements(text)
    assert elements.values("style") == []
    assert not [tag for tag, _ in elements.all if tag == "style"]
    assert not re.search(r"<script(?![^>]* src=)", text)
    assert all(value.startswith(("/", "#")) for value in elements.values("src") + elements.values("href"))
    assert not re.search(r"url\(|@import|https?:", (_SOURCES / "assets/style.css").read_text())
    ids = elements.values("id")
    assert len(ids) == len(set(ids))


def test_very_long_names_and_messages_are_shortened() -> None:
    known = state_of(
        [failing("100027", Kind.ACCESS_TOKEN, "platform_refused", "m" * 10_000)], names={"100027": "n" * 10_000}
    )
    assert len(html_of(client_of(known))) < 9000


# -- many ------------------------------------------------------------------------------------


def test_of_very_many_applications_those_in_trouble_and_200_others_are_shown() -> None:
    names = {f"{200_000 + n}": f"application {n}" for n in range(1500)}
    reports = healthy(names)
    reports[1800] = failing(reports[1800].target.app_id, Kind.ACCESS_TOKEN, "wrong_secret", "no")
    client = client_of(state_of(reports, names=names))
    text = html_of(client)
    assert text.count("<tbody") == 201
    assert text.index("app-200900") < text.index("app-200000")
    assert "1299 more applications not shown" in text
    found = html_of(client, "/?q=200777")
    assert re.findall(r'<tbody [^>]*id="app-(\d+)"', found) == ["200777"]
    assert "Found: 1 of 1500" in found
    assert html_of(client, "/?q=APPLICATION+77").count("<tbody") == 11
    assert "contains" in html_of(client, "/?q=nobody")


def test_when_everything_is_on_fire_the_page_is_bounded_all_the_same() -> None:
    names = {f"{200_000 + n}": "" for n in range(900)}
    reports = [failing(app_id, Kind.ACCESS_TOKEN, "wrong_secret", "m" * 5000) for app_id in names]
    text = html_of(client_of(state_of(reports, names=names)))
    assert text.count("<tbody") == 300
    assert len(text) < 2_000_000


# -- headers, hosts, tokens, forms -----------------------------------------------------------

_SAME = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def token() -> Secret:
    return Secret(plant("token-of-the-page"))


def signed_in(known: RunHistory, token: Secret, **more: Any) -> FlaskClient:
    client = client_of(known, token, **more)
    assert client.post("/login", data={"token": token.reveal()}, headers=_SAME).status_code == 303
    return client


def csrf_of(client: FlaskClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', html_of(client))
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/", "/login", "/page/style.css", "/page/icon-bad.svg", "/page/none", "/?q=x"])
def test_every_answer_has_the_strict_headers(path: str) -> None:
    answer = client_of(state_of(healthy())).get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    policy = answer.headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'",
                 "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):  # fmt: skip
        assert part in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"


_OUR_HOSTS = ("localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "10.1.2.3", "status.internal")
_OTHER_HOSTS = (
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "2130706433",
    "127.1",
    "",
    "a b",
    "localhost, evil.example",
    "localhost:99999999",
    "[::1",
)


@each_line(("host", "known"), [*((host, True) for host in _OUR_HOSTS), *((host, False) for host in _OTHER_HOSTS)])
def test_the_page_is_not_known_under_names_that_anybody_could_point_here(host: str, known: bool) -> None:
    client = client_of(state_of(healthy()), hosts=("status.internal",))
    assert client.get("/", headers={"Host": host}).status_code == (200 if known else 421)


def test_without_the_token_nothing_is_shown(token: Secret) -> None:
    client = client_of(state_of(healthy()), token)
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x" * 9},
        {"Authorization": f"Basic {token.reveal()}"},
    ):
        answer = client.get("/", headers=headers | {"Accept": "application/json"})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "100027" not in answer.text
    answer = client.get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.location) == (303, "/login")
    assert client.get("/", headers={"Accept": "text/html", "X-Fragment": "1"}).status_code == 401
    assert "Token of this page" in html_of(client, "/login")


@pytest.mark.parametrize("given", ["", "no-such-token", "no-such-token" * 30, "猿之棒", "\x00"])
def test_a_wrong_token_gives_no_cookie(token: Secret, given: str) -> None:
    answer = client_of(state_of(healthy()), token).post("/login", data={"token": given}, headers=_SAME)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert "not the token" in answer.text
    assert not given or given not in answer.text


def test_the_token_opens_the_page_as_a_header_and_through_the_form(token: Secret) -> None:
    known = state_of(healthy())
    assert "100027" in html_of(client_of(known, token), Authorization=f"Bearer {token.reveal()}")
    client = client_of(known, token)
    answer = client.post("/login", data={"token": token.reveal()}, headers=_SAME)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert f"Max-Age={SESSION_S}" in cookie
    see("the cookie", cookie)
    assert "100027" in html_of(client)
    assert client.get("/login").status_code == 303


def test_signing_out_takes_the_cookie_back(token: Secret) -> None:
    client = signed_in(state_of(healthy()), token)
    assert client.post("/logout", data={"csrf": csrf_of(client)}, headers=_SAME).status_code == 303
    assert client.get_cookie(COOKIE) is None


def _cookie_of(client: FlaskClient) -> str:
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    return cookie.value


def test_a_cookie_that_was_signed_out_opens_nothing_any_more(token: Secret) -> None:
    app = create_app(state_of(healthy()), token)
    clients = [app.test_client() for _ in range(2)]
    for client in clients:
        client.post("/login", data={"token": token.reveal()}, headers=_SAME)
    stolen, csrf = _cookie_of(clients[0]), csrf_of(clients[0])
    clients[0].post("/logout", data={"csrf": csrf}, headers=_SAME)
    thief = app.test_client()
    thief.set_cookie(COOKIE, stolen)
    for method, path in (("GET", "/"), ("POST", "/refresh"), ("POST", "/logout")):
        answer = thief.open(path, method=method, data={"csrf": csrf}, headers=_SAME)
        assert answer.status_code == 401, path
    assert thief.get("/login").status_code == 200
    # Another session of the same token goes on.
    assert "100027" in html_of(clients[1])


def test_signing_out_without_the_form_s_own_code_ends_nothing(token: Secret) -> None:
    client = signed_in(state_of(healthy()), token)
    assert client.post("/logout", headers=_SAME).status_code == 403
    assert "100027" in html_of(client)


def test_ended_sessions_are_remembered_in_bounded_memory(token: Secret) -> None:
    now = [1_000_000_000.0]
    auth = PageAuth(token, now=lambda: now[0])
    ended = []
    for _ in range(3000):
        now[0] += 1
        ended.append(auth.new_session())
        auth.end_session(ended[-1])
    assert len(auth._ended) <= 1000
    assert not any(map(auth.is_session, ended))
    # A session that begins now is good.
    assert auth.is_session(auth.new_session())
    for made_up in ("", "a.b.c", f"{int(now[0]) + 99}.{'0' * 32}.{'0' * 64}"):
        auth.end_session(made_up)
    now[0] += SESSION_S
    auth.end_session(auth.new_session())
    assert len(auth._ended) == 1


class _Someone:
    """A client at an address of its own."""

    def __init__(self, app: Flask, address: str) -> None:
        self._client, self._from = app.test_client(), {"REMOTE_ADDR": address}

    def bears(self, token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        return self._client.get("/", headers=headers, environ_base=self._from)

    def signs_in(self, token: str) -> Any:
        return self._client.post("/login", data={"token": token}, headers=_SAME, environ_base=self._from)

    def looks(self, **headers: str) -> Any:
        return self._client.get("/", headers=headers, environ_base=self._from)


def _slow(token: Secret, clock: Clock) -> Flask:
    app = Flask("test", static_folder=None)
    app.register_blueprint(blueprint(state_of(healthy()), token=token, clock=clock))
    return app


@pytest.mark.parametrize("way", ["bears", "signs_in"])
def test_guesses_at_the_token_are_slowed_and_logged(token: Secret, way: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    app = _slow(token, clock)
    guesser, other = _Someone(app, "10.0.0.66"), _Someone(app, "10.0.0.7")
    looked_at = 0
    for number in range(1000):
        looked_at += getattr(guesser, way)(f"a-guess-at-the-token-{number}").status_code == 401
        clock.now += 1
    # Five at once, then after 1, 2, 4, 8, 16, 32 s and each minute.
    assert 5 + 6 + 13 <= looked_at <= 5 + 6 + 17
    answer = getattr(guesser, way)(token.reveal())
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    # Someone else is let in all the while.
    assert getattr(other, way)(token.reveal()).status_code in (200, 303)
    clock.now += 60
    assert getattr(guesser, way)(token.reveal()).status_code in (200, 303)
    lines = [each.getMessage() for each in caplog.records if "wrong token" in each.getMessage()]
    assert len(lines) == 5
    assert lines[0] == "a wrong token for the status page came from 10.0.0.66, 1 so far"
    assert "a-guess" not in "".join(lines)


def test_who_is_signed_in_is_not_slowed_by_guesses_from_the_same_address(token: Secret) -> None:
    app = _slow(token, Clock())
    someone, guesser = _Someone(app, "10.0.0.7"), _Someone(app, "10.0.0.7")
    assert someone.signs_in(token.reveal()).status_code == 303
    for number in range(20):
        guesser.bears(f"a-guess-at-the-token-{number}")
    assert someone.looks().status_code == 200
    # Neither by a wrong token of its own, as a proxy adds one.
    assert someone.looks(Authorization="Bearer of-another-service").status_code == 200


def test_a_program_with_an_old_token_does_not_lock_its_address_out(token: Secret) -> None:
    clock = Clock()
    app = _slow(token, clock)
    for _ in range(100):
        assert _Someone(app, "10.0.0.7").bears("the-token-of-last-year").status_code == 401
    assert _Someone(app, "10.0.0.7").bears(token.reveal()).status_code == 200


def test_no_guess_is_counted_where_there_is_no_token() -> None:
    app = Flask("test", static_folder=None)
    app.register_blueprint(blueprint(state_of(healthy())))
    for number in range(100):
        assert _Someone(app, "127.0.0.1").bears(f"a-guess-at-the-token-{number}").status_code == 200


def test_guesses_are_remembered_in_bounded_memory_and_by_network() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    for number in range(5000):
        throttle.wrong(f"10.0.{number // 256}.{number % 256}", "guess")
    assert len(throttle._made) <= 1000
    for number in range(10):
        throttle.wrong(f"2001:db8:1:2::{number}", str(number))
    # A client with one IPv6 address has the whole network of 64 bits.
    assert throttle.wait_s("2001:db8:1:2:ffff::1") > 0
    assert throttle.wait_s("2001:db8:1:3::1") == 0
    clock.now += 3601
    assert throttle.wait_s("2001:db8:1:2::1") == 0
    throttle.wrong("2001:db8:1:2::1", "one more")
    assert throttle.wait_s("2001:db8:1:2::1") == 0
    assert len(throttle._made) == 1


def test_guesses_from_no_known_address_share_one_wait() -> None:
    """Behind a socket file there is none: that must not mean any number of guesses."""
    throttle = LoginThrottle(Clock())
    for number in range(10):
        throttle.wrong("", str(number))
    assert throttle.wait_s("") > 0
    assert throttle.wait_s("unix:") == throttle.wait_s("")
    assert throttle.wait_s("127.0.0.1") == 0


def test_a_session_ends_and_cannot_be_made_up(token: Secret) -> None:
    now = [1_000_000_000.0]
    auth = PageAuth(token, now=lambda: now[0])
    session = auth.new_session()
    assert auth.is_session(session)
    expiry, nonce, signature = session.split(".")
    for forged in (
        f"{int(expiry) + 9}.{nonce}.{signature}",
        f"{expiry}.{nonce}.{'0' * 64}",
        "",
        "a.b.c",
        token.reveal(),
    ):
        assert not auth.is_session(forged)
    assert not PageAuth(Secret("another-token-of-enough-letters"), now=lambda: now[0]).is_session(session)
    assert PageAuth(token, now=lambda: now[0]).is_session(session), "replicas with one token know each other's sessions"
    now[0] += SESSION_S
    assert not auth.is_session(session)


@pytest.mark.parametrize(
    "value", ["short", "fifteen-letters", "with a blank in the middle", "猿之棒开放平台猿之棒开放平台猿之棒", "x" * 513]
)
def test_a_token_that_will_not_do_is_refused_at_once_and_not_quoted(value: str) -> None:
    with pytest.raises(CommandError) as refused:
        client_of(state_of(healthy()), Secret(value))
    assert value not in str(refused.value)


def test_a_token_comes_from_its_file_and_a_file_that_holds_none_never_means_open(tmp_path: Path, token: Secret) -> None:
    file = tmp_path / "token"
    file.write_text(f"{token.reveal()}\n")
    assert read_token(str(file)) == token
    for content in (b"", b"\n", b"short", b"\xff\xfe not a text"):
        file.write_bytes(content)
        with pytest.raises(CommandError, match="the token's file"):
            read_token(str(file))


def test_the_token_is_compared_in_constant_time(token: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: set[tuple[int, int]] = set()
    auth = PageAuth(token)
    monkeypatch.setattr("token_refresher.web.page.auth.hmac.compare_digest", lambda a, b: lengths.add((len(a), len(b))))
    for given in ("", "x", "x" * 500, token.reveal()):
        auth.is_token(given)
    assert lengths == {(32, 32)}


def test_the_button_is_there_only_with_the_token_and_a_refresh(token: Secret) -> None:
    known, asked = state_of(healthy()), []
    assert "Refresh now" not in html_of(client_of(known, refresh=lambda: asked.append(1)))
    assert "Refresh now" not in html_of(signed_in(known, token))
    assert "Refresh now" in html_of(signed_in(known, token, refresh=lambda: asked.append(1)))
    assert client_of(known, refresh=lambda: asked.append(1)).post("/refresh", headers=_SAME).status_code == 404
    assert not asked


def test_the_button_asks_for_one_run(token: Secret) -> None:
    asked: list[int] = []
    client = signed_in(state_of(healthy()), token, refresh=lambda: asked.append(1))
    answer = client.post("/refresh", data={"csrf": csrf_of(client)}, headers=_SAME)
    assert (answer.status_code, answer.location) == (303, "/?asked=1")
    assert asked == [1]
    assert "A run was asked for" in html_of(client, "/?asked=1")
    assert client.get("/refresh").status_code == 405


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        (_SAME, "0" * 64),
        (_SAME, ""),
        ({}, "right"),
        ({"Origin": "http://evil.example"}, "right"),
        ({"Origin": "null"}, "right"),
        ({"Origin": "http://localhost:9999"}, "right"),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, "right"),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"}, "right"),
        ({"Sec-Fetch-Site": "none"}, "right"),
    ],
)
def test_another_site_cannot_push_the_button(token: Secret, headers: dict[str, str], csrf: str) -> None:
    asked: list[int] = []
    client = signed_in(state_of(healthy()), token, refresh=lambda: asked.append(1))
    given = csrf_of(client) if csrf == "right" else csrf
    assert client.post("/refresh", data={"csrf": given}, headers=headers).status_code == 403
    assert not asked


def test_a_program_pushes_the_button_by_the_token_alone(token: Secret) -> None:
    asked: list[int] = []
    client = client_of(state_of(healthy()), token, refresh=lambda: asked.append(1))
    bearer = {"Authorization": f"Bearer {token.reveal()}"}
    assert client.post("/refresh", headers=bearer).status_code == 303
    assert client.post("/refresh", headers=bearer | {"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/refresh", headers=_SAME).status_code in (303, 401)
    assert asked == [1]


def test_large_forms_are_refused(token: Secret) -> None:
    client = client_of(state_of(healthy()), token)
    assert client.post("/login", data={"token": "x" * 5000}, headers=_SAME).status_code == 413


# -- keeping itself fresh --------------------------------------------------------------------


def test_the_fragment_is_the_changing_part_of_the_same_page() -> None:
    client = client_of(state_of(healthy()))
    whole, part = html_of(client, "/?q=100027"), html_of(client, "/?q=100027", X_Fragment="1")
    assert part.strip().startswith('<div id="live-top"')
    assert part.strip().splitlines()[5] in whole
    assert "<html" not in part
    assert part.count("<tbody") == 1


def test_without_script_the_page_reloads_itself_until_it_is_paused() -> None:
    client = client_of(state_of(healthy()))
    text = html_of(client, "/?q=1000&asked=1")
    assert '<noscript><meta http-equiv="refresh" content="30; url=/?q=1000"></noscript>' in text
    paused = html_of(client, "/?q=1000&still=1")
    assert "http-equiv" not in paused
    assert "<script" not in paused
    assert 'href="/?q=1000">Resume updates' in paused


# -- through a socket ------------------------------------------------------------------------


@contextmanager
def answering(app: Flask) -> Iterator[tuple[str, int]]:
    with HttpServer(app, "127.0.0.1", 0) as endpoint:
        host, _, port = endpoint.url.removeprefix("http://").rpartition(":")
        yield host, int(port)


def test_a_real_server_sends_the_headers_and_knows_hosts(token: Secret) -> None:
    with answering(create_app(state_of(healthy()), token)) as where:
        for host, status in ((None, 200), ("rebound.example", 421)):
            connection = http.client.HTTPConnection(*where, timeout=_WAIT_S)
            given = {"Authorization": f"Bearer {token.reveal()}"} | ({"Host": host} if host else {})
            connection.request("GET", "/", headers=given)
            answer = connection.getresponse()
            body = answer.read().decode()
            see("a real answer", body)
            assert answer.status == status
            assert answer.getheader("Content-Security-Policy") == HEADERS["Content-Security-Policy"]
            assert answer.getheader("Cache-Control") == "no-store"
            assert ("100027" in body) is (status == 200)
            connection.close()


def test_what_does_not_exist_has_the_headers_too() -> None:
    answer = create_app(state_of(healthy()), None).test_client().get("/nothing")
    assert answer.status_code == 404
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("host", ["0.0.0.0:0", "10.1.2.3:8081", "[::]:8081", "status.internal:8081"])
def test_other_machines_are_let_in_only_with_a_token(host: str) -> None:
    with pytest.raises(CommandError, match="give a token"):
        check_binding(address(host)[0], None)
    check_binding(address(host)[0], Secret("a-token-of-enough-letters"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_on_the_loopback_no_token_is_needed(host: str) -> None:
    check_binding(host, None)
    assert not needs_token(host)


@each_line("listen", ["", "8081", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "::1:8081", "a b:1", "h:١"])
def test_an_address_to_listen_on_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(CommandError, match="HOST:PORT"):
        address(listen)


def settings_of(redis: RedisServer, simulator: Simulator, app_id: str) -> Settings:
    secret = plant(f"secret-of-{app_id}-on-a-page")
    simulator.add_app(app_id, secret)
    redis_url = f"redis://127.0.0.1:{redis.port}"
    app = {"APP_ID": app_id, "APP_SECRET": secret, "APP_NAME": "<i>shop</i>"}
    return read(app | {"REDIS_URL": redis_url, "PLATFORM_BASE_URL": simulator.url})


def test_alone_it_reads_redis_and_never_fetches(redis_server: RedisServer, simulator: Simulator, token: Secret) -> None:
    settings = settings_of(redis_server, simulator, "app0007")
    urls: list[str] = []
    listening, stop = threading.Event(), threading.Event()

    def started(url: str) -> None:
        urls.append(url)
        listening.set()

    thread = threading.Thread(target=serve, args=(settings, refresher(settings), "127.0.0.1:0", token),
                              kwargs={"started": started, "stop": stop})  # fmt: skip
    thread.start()
    try:
        assert listening.wait(_WAIT_S)
        connection = http.client.HTTPConnection(urls[0].removeprefix("http://"), timeout=_WAIT_S)
        connection.request("GET", "/", headers={"Authorization": f"Bearer {token.reveal()}"})
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        stop.set()
        thread.join(_WAIT_S)
    assert not thread.is_alive()
    assert simulator.fetches("app0007", "access_token") == 0


def test_a_sample_shows_what_another_process_stored(redis_server: RedisServer, simulator: Simulator) -> None:
    settings = settings_of(redis_server, simulator, "app0007")
    program = refresher(settings)
    known = RunHistory({"app0007": "<i>shop</i>"}, settings.policy, Clock())
    read_once(known, program)
    assert "2 of 2 credentials need you" in html_of(client_of(known))
    program.run_once(Command(Action.REFRESH))
    read_once(known, program)
    text = html_of(client_of(known))
    assert "All 2 credentials are fine" in text
    assert "&lt;i&gt;shop" in text
    assert simulator.fetches("app0007", "access_token") == 1


def test_a_redis_that_is_gone_is_shown(start_redis: Callable[..., RedisServer], simulator: Simulator) -> None:
    server = start_redis()
    settings = settings_of(server, simulator, "app0007")
    program, known = refresher(settings), RunHistory({"app0007": ""}, settings.policy, Clock())
    server.stop()
    read_once(known, program)
    text = html_of(client_of(known))
    assert "The last run failed" in text
    assert "redis_unreachable" in text


def test_a_defect_is_shown_without_its_words_and_ends_nothing() -> None:
    class Stumbling:
        def run_once(self, _: Command) -> Report:
            raise KeyError("words that could be anything")

        def new_id(self) -> str:
            return "0123456789abcdef"

    known: Any = RunHistory({"app0007": ""}, Policy(), Clock())
    read_once(known, Stumbling())  # type: ignore[arg-type]
    text = html_of(client_of(known))
    assert "unexpected KeyError" in text
    assert "internal_error" in text
    assert "words that could" not in text


def test_the_view_is_made_from_a_source_and_nothing_else() -> None:
    known = state_of(on_fire())
    assert page_of(known).headline.text == "3 of 6 credentials need you"
    assert page_of(known, "100044").found == 1
