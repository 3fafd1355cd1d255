"""The platform's interfaces: a form goes in, an answer comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from platform_simulator.apps import App, Apps
from platform_simulator.credentials import ACCESS_TOKEN, JS_TICKET, KINDS, CredentialRegistry, IssueOptions
from platform_simulator.login_codes import LoginCodes
from platform_simulator.responses import GENERAL_ERROR, INVALID_CODE, NO_PERMISSION, NOT_ADDED, OK, Answer, whole

TOKEN_PATH = "/OAuth2/token"  # noqa: S105 -- an address, not a password
TICKET_PATH = "/OAuth2/ticket"
CHECK_PATH = "/OAuth2/checkCode"
# What applications call with the access_token; the published clients do.
USER_COUNT_PATH = "/CommonResource/getUserCount"
APP_ACCESS_PATH = "/UserResource/getAppAccess"

Form = Mapping[str, str]


_WRONG_SECRET = Answer(GENERAL_ERROR, "app_id or secret is wrong")
_DISABLED = Answer(GENERAL_ERROR, "app_id is invalid")
_NOT_WHITE_LISTED = Answer(NO_PERMISSION, "ip is not in the white list")


@dataclass(frozen=True)
class Refusals:
    """The answers the platform's pages leave open; a test may try others."""

    secret: Answer = _WRONG_SECRET
    white_list: Answer = _NOT_WHITE_LISTED
    disabled: Answer = _DISABLED


@dataclass(frozen=True)
class Result:
    """An answer, and whether a credential was issued (or a login-free code used up) for it."""

    answer: Answer
    executed: bool = False


class Endpoints:
    """Carries requests out against the credentials there are."""

    def __init__(
        self,
        apps: Apps,
        credentials: CredentialRegistry,
        login_codes: LoginCodes,
        refusals: Refusals,
        checkcode_lag_s: float,
    ) -> None:
        self._apps = apps
        self._credentials = credentials
        self._login_codes = login_codes
        self._refusals = refusals
        self._lag_s = checkcode_lag_s
        self._by_path: dict[str, Callable[[App, Form, IssueOptions], Result]] = {
            TOKEN_PATH: self._token,
            TICKET_PATH: self._ticket,
            CHECK_PATH: self._check_code,
            USER_COUNT_PATH: self._user_count,
            APP_ACCESS_PATH: self._app_access,
        }

    def knows(self, path: str) -> bool:
        """Whether there is an interface at this path."""
        return path in self._by_path

    def carry_out(self, path: str, form: Form, ip: str, options: IssueOptions) -> Result:
        """Answer one request; `options` says how a credential is made if one is issued."""
        app = self._apps.get(form.get("app_id", ""))
        if app is None:
            return Result(self._refusals.secret)
        if app.disabled:
            return Result(self._refusals.disabled)
        if app.allowed_ips is not None and ip not in app.allowed_ips:
            return Result(self._refusals.white_list)
        return self._by_path[path](app, form, options)

    def _token(self, app: App, form: Form, options: IssueOptions) -> Result:
        if form.get("secret") != app.secret:
            return Result(self._refusals.secret)
        grant_type = form.get("grant_type")
        if grant_type == "client_credential":
            return self._issue(app, ACCESS_TOKEN, "access_token", options)
        if grant_type == "authorization_code":
            return self._user_token(app, form)
        return Result(Answer(GENERAL_ERROR, "grant_type is invalid"))

    def _user_token(self, app: App, form: Form) -> Result:
        token = self._login_codes.exchange(app.app_id, form.get("code", ""))
        if token is None:
            return Result(Answer(INVALID_CODE, "authorization_code is invalid"))
        data = {
            "open_id": token.open_id,
            "access_token": token.access_token,
            "expires_in": whole(self._login_codes.lifetime_s),
            "refresh_token": token.refresh_token,
            "scope": "sns_base",
        }
        return Result(Answer(OK, "ok", data), executed=True)

    def _ticket(self, app: App, form: Form, options: IssueOptions) -> Result:
        if form.get("type") != JS_TICKET:
            return Result(Answer(GENERAL_ERROR, "type is invalid"))
        if not self._credentials.valid(app.app_id, ACCESS_TOKEN, form.get("access_token", "")):
            return Result(_invalid_code())
        return self._issue(app, JS_TICKET, "ticket", options)

    def _issue(self, app: App, kind: str, member: str, options: IssueOptions) -> Result:
        result = self._credentials.issue(app.app_id, kind, options, over_the_wire=True)
        data = {member: result.issued.code, "expires_in": whole(result.lifetime_s)}
        return Result(Answer(OK, "ok", data), executed=result.new)

    def _check_code(self, app: App, form: Form, _options: IssueOptions) -> Result:
        kind, code, open_id = form.get("type", ""), form.get("code", ""), form.get("open_id")
        if kind not in KINDS:
            return Result(Answer(GENERAL_ERROR, "type is invalid"))
        if open_id and kind == ACCESS_TOKEN:
            until = self._login_codes.valid_until(app.app_id, open_id, code)
        else:
            until = self._credentials.was_valid_until(app.app_id, kind, code, self._lag_s)
        if until is None:
            return Result(_invalid_code())
        return Result(Answer(OK, "ok", {"expires_in": whole(until)}))

    def _user_count(self, app: App, form: Form, _options: IssueOptions) -> Result:
        if not self._credentials.valid(app.app_id, ACCESS_TOKEN, form.get("access_token", "")):
            return Result(_invalid_code())
        return Result(Answer(OK, "ok", {"user_count": str(len(self._login_codes.visitors(app.app_id)))}))

    def _app_access(self, app: App, form: Form, _options: IssueOptions) -> Result:
        if not self._credentials.valid(app.app_id, ACCESS_TOKEN, form.get("access_token", "")):
            return Result(_invalid_code())
        if form.get("open_id") not in self._login_codes.visitors(app.app_id):
            return Result(Answer(NOT_ADDED, "the user has not added the application"))
        # The one permission that the pages name for every application.
        return Result(Answer(OK, "ok", ["user/get_user_base_info"]))


def _invalid_code() -> Answer:
    # The pages show this one message for a dead token and for whatever checkCode refuses.
    return Answer(INVALID_CODE, "server_access_token is invalid")
