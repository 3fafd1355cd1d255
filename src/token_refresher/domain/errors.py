"""Everything that can go wrong, as one tree.

    TokenRefresherError
    ├── InputError             what a person wrote is wrong; nothing was done
    │   ├── SettingsError        environment or configuration file
    │   ├── InvalidValueError    one value, by those who do not know yet which setting it is
    │   ├── CommandError         event, manual invocation or command line
    │   │   └── UsageError         the command line, with its usage
    │   └── SigningError         address of a page that cannot be signed
    ├── StoreError             Redis did not do what was asked
    ├── PlatformError          one call to the open platform did not bring what it should
    │   ├── RefusedError         a definite no: nothing was issued
    │   │   └── NotSentError       the request never left this machine
    │   └── UnknownOutcomeError  no definite answer: a code may have been issued, or may yet be
    ├── InvokeError            the function was not started, or brought no report
    ├── RefreshFailedError     after a run, some code is missing or about to be
    └── NoCredentialError      a reader found no credential

Every error has a `code` out of CATALOGUE, says whether trying again may help (`retryable`), to which application
and kind it happened, and what to do (`advice`). None ever holds a secret or a code of the platform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Entry(NamedTuple):
    """What is known of an error code: may a repeat help, what should a person do, is it a matter of the caller alone.

    `of_caller`: a copy with another configuration, address or network may succeed. A refusal that is wrongly taken for
    the caller's costs one request per copy; the reverse costs a healthy copy its turn.
    """

    retryable: bool
    advice: str
    of_caller: bool = False


CATALOGUE: Mapping[str, Entry] = {
    # what a person wrote
    "invalid_settings": Entry(False, "correct the settings named; nothing was read or fetched"),
    "invalid_url": Entry(False, "pass the page's location.href as the browser gives it"),
    "invalid_command": Entry(False, "send one of the accepted forms; nothing was fetched"),
    # Redis
    "redis_unreachable": Entry(True, "check host, port, network and white list of the Redis instance"),
    "redis_timeout": Entry(True, "Redis is slow or frozen: look at its load and at the network between"),
    "redis_tls": Entry(True, "check Redis's certificate against ssl_ca_certs, and whether its port speaks TLS at all"),
    "redis_not_white_listed": Entry(False, "add this machine's address to the white list of the Redis instance"),
    "redis_auth": Entry(False, "check user name and password of Redis"),
    "redis_no_permission": Entry(False, "give the Redis user the rights in docs/how-to/redis-users.md"),
    "redis_no_command": Entry(False, "use Redis 5.0 or newer in which EVAL is neither renamed nor disabled"),
    "redis_wrong_form": Entry(False, "correct the beginning of REDIS_URL: redis, redis+sentinel or redis+cluster"),
    "redis_database": Entry(False, "correct the database's number: the end of REDIS_URL (storage_redis.db)"),
    "redis_read_only": Entry(True, "this is a replica: point the URL at the primary, or use Sentinel"),
    "redis_out_of_memory": Entry(True, "free memory in Redis or raise maxmemory"),
    "redis_loading": Entry(True, "Redis is starting or failing over: the next run tries again"),
    "redis_error": Entry(True, "check the state of the Redis instance with INFO, or on its provider's console"),
    # the platform said no
    "wrong_secret": Entry(False, "check app_id and secret on the open platform's console", of_caller=True),
    "not_white_listed": Entry(
        False, "add this machine's outgoing address to the application's IP white list", of_caller=True
    ),
    # A platform may say 4103 for its white list too.
    "no_permission": Entry(False, "give the application the permission on the platform's console", of_caller=True),
    "not_added": Entry(False, "the user has to add the application first"),
    "token_invalid": Entry(True, "the access_token is dead: it is fetched anew, then the ticket"),
    "code_invalid": Entry(False, "use a code that is still valid; a login-free code works once"),
    "no_token": Entry(True, "a js_ticket needs a live access_token: see why that one failed"),
    "rate_limited": Entry(
        True, "the next runs try again; if it lasts, ask less often or have the limit raised", of_caller=True
    ),
    "app_denied": Entry(
        True, "look at the application's state on the console; a second such answer removes the credential"
    ),
    "platform_refused": Entry(True, "read the message; check secret, white list, permissions and what lies between"),
    # the request never left
    "not_sent_dns": Entry(True, "the platform's name could not be resolved: check DNS", of_caller=True),
    "not_sent_connect": Entry(True, "no connection to the platform: check network and NAT gateway", of_caller=True),
    "not_sent_tls": Entry(False, "TLS to the platform failed: check CA certificates, clock and proxy", of_caller=True),
    "not_sent_proxy": Entry(False, "the proxy refused or failed: check its address, user and password", of_caller=True),
    "not_sent_late": Entry(
        True, "no time was left to send it safely: the next run does it, if the time-out is long enough", of_caller=True
    ),
    # nobody knows
    "no_answer": Entry(True, "no answer in time: the next runs ask the platform what became of it"),
    "cut_answer": Entry(True, "the connection broke before the answer was whole: the next runs find out"),
    "bad_answer": Entry(True, "the answer was not what the platform documents: the next runs find out"),
    # starting the deployed function by hand
    "invoke_unreachable": Entry(True, "check FUNCTION_ENDPOINT, account, region, network, proxy and CA certificates"),
    "invoke_no_answer": Entry(True, "the function may run all the same: look at `status` before trying again"),
    "invoke_denied": Entry(
        False, "check the access key, its right fc:InvokeFunction, its token's age and this machine's clock"
    ),
    "invoke_not_found": Entry(False, "check FUNCTION_NAME, FUNCTION_SERVICE, FUNCTION_QUALIFIER, account and region"),
    "invoke_throttled": Entry(True, "too many run at once: wait, or raise the function's limit of instances"),
    "invoke_refused": Entry(False, "look the error's name up in Function Compute's list; check the deployment"),
    "invoke_server_error": Entry(True, "Function Compute itself failed: try again, look at its status page"),
    "invoke_function_failed": Entry(True, "do what the function's own message says; its log tells more"),
    "invoke_bad_answer": Entry(False, "this is no answer of our function: check FUNCTION_NAME and what lies between"),
    # results of a run
    "internal_error": Entry(True, "this is a defect: report it with the place named"),
    "store_lost": Entry(True, "another run took over meanwhile: the next run settles it"),
    "credentials_in_danger": Entry(True, "a code is missing or expires soon: act on the errors listed with it"),
    "no_credential": Entry(True, "run `token-refresher status` to see why nothing is stored"),
}


class TokenRefresherError(Exception):
    """Base of all errors of this package.

    Attributes: `code` (str, a key of CATALOGUE), `what` (str, what happened), `app_id` and `kind` (str or None),
    `retryable` (bool), `advice` (str; that of CATALOGUE unless more is known of this case).
    """

    default_code = "internal_error"

    def __init__(
        self,
        what: str,
        *,
        code: str | None = None,
        app_id: str | None = None,
        kind: str | None = None,
        advice: str = "",
    ) -> None:
        self.code = code or self.default_code
        entry = CATALOGUE[self.code]
        self.retryable, self.advice = entry.retryable, advice or entry.advice
        self.what, self.app_id, self.kind = what, app_id, kind
        super().__init__(what)

    def __str__(self) -> str:
        whose = f" ({self.app_id}, {self.kind})" if self.app_id and self.kind else ""
        whose = whose or (f" ({self.app_id})" if self.app_id else "")
        return f"{self.code}{whose}: {self.what}. What to do: {self.advice}."


class InputError(TokenRefresherError):
    """What a person wrote is wrong; nothing was done."""

    default_code = "invalid_command"


class SettingsError(InputError):
    """Settings are wrong. `problems` (tuple of str) names every mistake, without any value that may be secret.

    `warnings` (tuple of str) are sentences about what is odd but not a mistake: often they are the reason.
    """

    default_code = "invalid_settings"

    def __init__(self, problems: Sequence[str], warnings: Sequence[str] = (), *, advice: str = "") -> None:
        self.problems, self.warnings = tuple(problems), tuple(warnings)
        also = f". Also: {'; '.join(self.warnings)}" if self.warnings else ""
        super().__init__("; ".join(self.problems) + also, advice=advice)


class InvalidValueError(InputError):
    """One value is wrong. `what` (str) is the end of a sentence that begins with the value's name: "must be ...".

    It says what is accepted and never what was given: a password easily ends up in the wrong place. Those who know the
    name make a SettingsError or a CommandError of it.
    """

    default_code = "invalid_settings"


class CommandError(InputError):
    """An event, invocation or command line asks for something that does not exist."""


class UsageError(CommandError):
    """The command line is not one of those accepted; `usage` (str) is the one that comes nearest."""

    def __init__(self, what: str, usage: str) -> None:
        self.usage = usage
        super().__init__(what, advice="write the command as its usage shows, or see its --help; nothing was done")


class SigningError(InputError):
    """The address of a page, or a nonce, cannot be signed."""

    default_code = "invalid_url"


class StoreError(TokenRefresherError):
    """Redis did not do what was asked; `code` tells which way."""

    default_code = "redis_error"


class PlatformError(TokenRefresherError):
    """One call to the platform did not bring what it should.

    `status` (int or None) is the platform's own status, where it gave one.
    """

    default_code = "platform_refused"

    def __init__(self, what: str, *, status: int | None = None, code: str | None = None) -> None:
        self.status = status
        super().__init__(what, code=code)


class RefusedError(PlatformError):
    """A definite no: the platform did not issue a code for this request and will not.

    `retry_after_s` (float or None) is the duration in seconds, 0 to 300, that the answer asks the caller to wait.
    `of_caller` (bool): a copy with another configuration, address or network may succeed.
    """

    def __init__(
        self,
        what: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        of_caller: bool | None = None,
    ) -> None:
        super().__init__(what, status=status, code=code)
        self.retry_after_s = retry_after_s
        self.of_caller = CATALOGUE[self.code].of_caller if of_caller is None else of_caller


class NotSentError(RefusedError):
    """The request certainly never left this machine, so nothing can have been issued."""

    default_code = "not_sent_connect"


class UnknownOutcomeError(PlatformError):
    """No definite answer: the platform may have issued a code, or may still do so."""

    default_code = "no_answer"


class InvokeError(TokenRefresherError):
    """The function was not started, or did not bring a report.

    `status` (int or None) is the HTTP status where one came, `request_id` (str) Function Compute's name for the request
    in its logs, `error_type` (str or None) the type of the error that the function raised.
    """

    default_code = "invoke_bad_answer"

    def __init__(
        self,
        what: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str = "",
        error_type: str | None = None,
    ) -> None:
        self.status, self.request_id, self.error_type = status, request_id, error_type
        super().__init__(what, code=code)


class RefreshFailedError(TokenRefresherError):
    """After a run some code is missing, or has less than `alarm_below_s` left."""

    default_code = "credentials_in_danger"


class NoCredentialError(TokenRefresherError):
    """A reader found no credential under the key it looked at (`key`, str).

    `store_error` (StoreError or None) is why Redis could not be read; None when Redis answered.
    """

    default_code = "no_credential"

    def __init__(self, what: str, *, key: str, app_id: str, kind: str, store_error: StoreError | None = None) -> None:
        self.key, self.store_error = key, store_error
        super().__init__(what, app_id=app_id, kind=kind, advice=store_error.advice if store_error else "")
