"""The page as a Flask blueprint, with what it needs: style, script, icons, and the way in where a token is set.

| path                | what it does                                                              |
|---------------------|---------------------------------------------------------------------------|
| GET `/`             | the page; `q` filters, `still=1` stops it from refreshing itself          |
| `/login`            | GET: asks for the token; POST: takes it, gives a cookie                   |
| POST `/logout`      | ends the session: its cookie opens nothing any more                       |
| POST `/refresh`     | asks for a normal run; only where a token is set and `refresh` was given  |
| GET `/page/<name>`  | style, script, icons                                                      |
"""

from __future__ import annotations

import functools
import math
import pkgutil
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from jinja2 import Environment, FunctionLoader, StrictUndefined

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.model import Secret
from token_refresher.web.history import RunHistory
from token_refresher.web.page.auth import COOKIE, HEADERS, SESSION_S, PageAuth, from_own_page
from token_refresher.web.page.severity import Severity
from token_refresher.web.page.throttle import LoginThrottle
from token_refresher.web.page.view import page

_LONGEST_QUERY = 128
_LARGEST_FORM = 4096
_TYPES = {"style.css": "text/css", "script.js": "text/javascript", "icon.svg": "image/svg+xml"}
# Twice in each tick, so that what is shown is never older than a tick and a half; but not a load either.
_SLOWEST_S, _FASTEST_S = 60, 5

Answer = Response | Any


def blueprint(
    history: RunHistory,
    *,
    token: Secret | None = None,
    refresh: Callable[[], object] | None = None,
    hosts: Collection[str] = (),
    clock: Callable[[], float] = steady_clock,
) -> Blueprint:
    """The page about `history`, to be registered in a Flask application.

    With a `token` it is asked for. `refresh` asks for a normal run and returns at once; its button needs a token.
    `hosts` are names under which the page is asked for, besides addresses and localhost. `clock` is steady (seconds):
    wrong tokens from one address have to wait by it. Raises CommandError for a token that will not do.
    """
    own = Blueprint("page", __name__, static_folder=None, template_folder=None)
    routes = _Routes(history, PageAuth(token, hosts), LoginThrottle(clock), refresh if token else None)
    own.before_request(routes.guarded)
    own.after_request(with_headers)
    own.add_url_rule("/", "index", routes.index)
    own.add_url_rule("/login", "login", routes.login, methods=["POST"])
    own.add_url_rule("/login", "login_form", routes.login_form)
    own.add_url_rule("/logout", "logout", routes.logout, methods=["POST"])
    own.add_url_rule("/refresh", "refresh", routes.refresh, methods=["POST"])
    own.add_url_rule("/page/<name>", "file", routes.file)
    return own


def with_headers(response: Response) -> Response:
    """What every answer says to the browser."""
    response.headers.update(HEADERS)
    return response


def _file(name: str) -> str:
    return (pkgutil.get_data(__package__, f"assets/{name}") or b"").decode()


@functools.cache
def _templates() -> Environment:
    """Our own, and not Flask's: whatever is put into a template is escaped, and what is missing is an error.

    One for the process: to compile the templates takes longer than to show a page.
    """
    return Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class _Routes:
    def __init__(
        self, history: RunHistory, auth: PageAuth, throttle: LoginThrottle, refresh: Callable[[], object] | None
    ) -> None:
        self._history, self._auth, self._throttle, self._refresh = history, auth, throttle, refresh
        self._templates = _templates()
        every_s = history.policy.tick_s / 2
        self._every_s = int(min(_SLOWEST_S, max(_FASTEST_S, every_s)))

    # -- before anything else ----------------------------------------------------------------

    def guarded(self) -> Answer | None:
        """Refuse what is not meant for us, comes from elsewhere, or shows no token."""
        request.max_content_length = _LARGEST_FORM
        if not self._auth.knows_host(request.headers.get("Host", "")):
            return _plain("This page is not known under that name.", 421)
        shown = self._auth.token_in(request.headers.get("Authorization", ""))
        wait_s = self._wait_s() if shown else 0
        bears = bool(shown) and self._is_token(shown)
        if wait_s and not self._auth.is_session(self._cookie):
            return _plain(f"Too many wrong tokens came from this address. {_later(wait_s)}", 429, _retry(wait_s))
        if request.method == "POST" and not self._may_post(bears):
            return _plain("This did not come from the page itself. Reload the page and try again.", 403)
        if request.endpoint and request.endpoint.rpartition(".")[2] in ("file", "login", "login_form"):
            return None
        if self._auth.open or bears or self._auth.is_session(self._cookie):
            return None
        if request.method == "GET" and request.accept_mimetypes.accept_html and not self._is_fragment:
            return redirect(url_for(".login_form"), 303)
        return _plain("The token of this page is needed.", 401, {"WWW-Authenticate": 'Bearer realm="token-refresher"'})

    def _wait_s(self) -> int:
        """Duration (whole seconds) until a token from this address is looked at."""
        return math.ceil(self._throttle.wait_s(request.remote_addr or ""))

    def _is_token(self, given: str) -> bool:
        """Whether this is the token; never while its address has to wait. A wrong one counts."""
        if self._wait_s():
            return False
        right = self._auth.is_token(given)
        if not right and given:
            self._throttle.wrong(request.remote_addr or "", given)
        return right

    def _may_post(self, bears: bool) -> bool:
        # A program that shows the token itself is not a browser that another site misled.
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
        plain = bears and site is None and not origin
        if not plain and not from_own_page(site, origin, request.headers.get("Host", "")):
            return False
        if bears or request.endpoint == f"{request.blueprint}.login" or not self._auth.is_session(self._cookie):
            return True
        return self._auth.is_csrf(request.form.get("csrf", ""), self._cookie)

    @property
    def _cookie(self) -> str:
        return request.cookies.get(COOKIE, "")

    @property
    def _is_fragment(self) -> bool:
        return request.headers.get("X-Fragment") == "1"

    # -- what is asked for -------------------------------------------------------------------

    def index(self) -> Answer:
        query = request.args.get("q", "").strip()[:_LONGEST_QUERY]
        still = request.args.get("still") == "1"
        session = self._auth.is_session(self._cookie)
        # Only what matters goes on to the next time: that a run was asked for is said once.
        kept = {"q": query or None, "still": "1" if still else None}
        text = self._templates.get_template("status.html").render(
            page=page(self._history, query),
            every_s=0 if still else self._every_s,
            asked=request.args.get("asked") == "1",
            csrf=self._auth.csrf(self._cookie) if session else "",
            can_refresh=session and self._refresh is not None,
            url_for=url_for,
            here=_address(**kept),
            toggled=_address(**kept | {"still": None if still else "1"}),
            fragment=self._is_fragment,
        )
        return Response(text, mimetype="text/html")

    def login(self) -> Answer:
        if wait_s := self._wait_s():
            return self._form(f"Too many wrong tokens came from this address. {_later(wait_s)}", 429, _retry(wait_s))
        if not self._is_token(request.form.get("token", "")):
            return self._form("That is not the token.", 401)
        response = redirect(url_for(".index"), 303)
        response.set_cookie(
            COOKIE, self._auth.new_session(), SESSION_S, httponly=True, samesite="Strict", secure=request.is_secure
        )
        return response

    def login_form(self) -> Answer:
        if self._auth.open or self._auth.is_session(self._cookie):
            return redirect(url_for(".index"), 303)
        return self._form("", 200)

    def _form(self, wrong: str, status: int, headers: Mapping[str, str] | None = None) -> Answer:
        """The form that asks for the token; `wrong` says what was wrong with the last one."""
        text = self._templates.get_template("login.html").render(wrong=wrong, url_for=url_for)
        return Response(text, status, headers, mimetype="text/html")

    def logout(self) -> Answer:
        self._auth.end_session(self._cookie)
        response = redirect(url_for(".index"), 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure)
        return response

    def refresh(self) -> Answer:
        if self._refresh is None:
            return _plain("Runs cannot be asked for here.", 404)
        self._refresh()
        return redirect(url_for(".index", asked="1"), 303)

    def file(self, name: str) -> Answer:
        """A file of the page's own; icons are one file in four colours."""
        if name in _TYPES:
            return Response(_file(name), mimetype=_TYPES[name])
        severity = name.removeprefix("icon-").removesuffix(".svg")
        if name == f"icon-{severity}.svg" and severity in {each.value for each in Severity}:
            text = self._templates.get_template("icon.svg").render(severity=severity)
            return Response(text, mimetype=_TYPES["icon.svg"])
        return _plain("There is no such file.", 404)


def _address(**kept: Any) -> str:
    return url_for(".index", **kept)


def _later(wait_s: int) -> str:
    return f"Try again in {wait_s} s."


def _retry(wait_s: int) -> dict[str, str]:
    return {"Retry-After": str(wait_s)}


def _plain(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(f"{text}\n", status, headers, mimetype="text/plain")
