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
    │   └── UnknownOutcomeError  no definite answer: a credential may have been issued, or may yet be
    ├── InvokeError            the function was not started, or brought no report
    ├── RefreshFailedError     after a run, some credential is missing or about to be
    └── NoCredentialError      a reader found no credential

Every error has a `code` out of CATALOGUE, says whether trying again may help (`retryable`), to which application
and kind it happened, and what to do (`advice`). None ever holds a secret or a credential.
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
    "invalid_settings": Entry(False, "correct the settings that are named; nothing was read or fetched"),
    "invalid_url": Entry(False, "pass the page's location.href as the browser gives it"),
    "invalid_command": Entry(False, "send one of the accepted forms; nothing was fetched"),
    # Redis
    "redis_unreachable": Entry(
        True, "check the address in REDIS_URL, the network, and the white list of the Redis instance"
    ),
    "redis_timeout": Entry(
        True,
        "check load and port of Redis, and the network between: Redis is slow or frozen, or something else listens",
    ),
    "redis_tls": Entry(
        True, "check that ssl_ca_certs names the CA of Redis's certificate, and that the port speaks TLS"
    ),
    "redis_not_white_listed": Entry(False, "add this machine's address to the white list of the Redis instance"),
    "redis_auth": Entry(False, "check the user name and password in REDIS_URL (storage_redis.username and auth)"),
    "redis_no_permission": Entry(False, "give the Redis user the rights in docs/how-to/redis-users.md"),
    "redis_no_command": Entry(False, "use Redis 5.0 or newer in which EVAL is neither renamed nor disabled"),
    "redis_wrong_form": Entry(
        False, "correct the beginning of REDIS_URL: redis://, redis+sentinel:// or redis+cluster:// (rediss with TLS)"
    ),
    "redis_database": Entry(False, "correct the database's number: the end of REDIS_URL (storage_redis.db)"),
    "redis_read_only": Entry(
        True, "write the primary's address in REDIS_URL, or use redis+sentinel://: this server is a replica"
    ),
    "redis_out_of_memory": Entry(True, "free memory in Redis, or raise maxmemory"),
    "redis_loading": Entry(True, "wait for the next run, which tries again: Redis is starting or failing over"),
    "redis_error": Entry(True, "check the state of the Redis instance with INFO, or on its provider's console"),
    # the platform said no
    "wrong_secret": Entry(
        False,
        "check APP_ID and APP_SECRET (app_id, app_secret in the file) on the platform's console",
        of_caller=True,
    ),
    "not_white_listed": Entry(
        False, "add this machine's outgoing address to the application's IP white list", of_caller=True
    ),
    # A platform may say 4103 for its white list too.
    "no_permission": Entry(False, "give the application the permission on the platform's console", of_caller=True),
    "not_added": Entry(False, "ask the user to add the application first"),
    "token_invalid": Entry(True, "wait for the next run: it fetches a new access_token, and then the ticket"),
    "code_invalid": Entry(False, "use a login-free code that is still valid; each works only once"),
    "no_token": Entry(True, "see why the access_token failed: a js_ticket needs a live one"),
    "rate_limited": Entry(
        True, "wait: the next runs try again; if it lasts, ask less often or have the limit raised", of_caller=True
    ),
    "app_denied": Entry(
        True, "check the application's state on the console; a second such answer removes the credential"
    ),
    "platform_refused": Entry(
        True, "read the message; check the secret, the white list, the permissions and any proxy or gateway between"
    ),
    # the request never left
    "not_sent_dns": Entry(True, "check the platform's host name, and the name server of this machine", of_caller=True),
    "not_sent_connect": Entry(
        True,
        "check PLATFORM_BASE_URL, and the network and NAT gateway between this machine and the platform",
        of_caller=True,
    ),
    "not_sent_tls": Entry(
        False,
        "check the CA certificates, this machine's clock, the proxy, and that the port speaks TLS",
        of_caller=True,
    ),
    "not_sent_proxy": Entry(
        False,
        "correct PLATFORM_HTTPS_PROXY or PLATFORM_HTTP_PROXY (proxies in the file), or start the proxy",
        of_caller=True,
    ),
    "not_sent_late": Entry(
        True, "wait for the next run, which sends it; if none does, give the run a longer time-out", of_caller=True
    ),
    # the outcome is unknown
    "no_answer": Entry(True, "wait for the next runs: they ask the platform what became of the request"),
    "cut_answer": Entry(
        True, "wait for the next runs: they ask the platform what became of the request; check the network if it lasts"
    ),
    "bad_answer": Entry(
        True, "wait for the next runs; if it lasts, check PLATFORM_BASE_URL, and any proxy or gateway between"
    ),
    # starting the deployed function by hand
    "invoke_unreachable": Entry(
        True, "check FUNCTION_ENDPOINT, the account, region, network, proxy and CA certificates"
    ),
    "invoke_no_answer": Entry(
        True, "run `token-refresher status` before you try again: the function may have run all the same"
    ),
    "invoke_denied": Entry(
        False, "check the access key, its right fc:InvokeFunction, its token's age and this machine's clock"
    ),
    "invoke_not_found": Entry(False, "check FUNCTION_NAME, FUNCTION_SERVICE, FUNCTION_QUALIFIER, account and region"),
    "invoke_throttled": Entry(True, "wait, or raise the function's limit of instances: too many run at once"),
    "invoke_refused": Entry(
        False, "look up the error's name in Function Compute's list of errors; check the deployment"
    ),
    "invoke_server_error": Entry(
        True, "try again, and look at the status page of Function Compute, which itself failed"
    ),
    "invoke_function_failed": Entry(True, "do what the function's own message says; its log has more"),
    "invoke_bad_answer": Entry(
        False, "check FUNCTION_NAME, and any proxy or gateway between: another program answered"
    ),
    # results of a run
    "internal_error": Entry(True, "report this defect of the program, with the place that is named"),
    "store_lost": Entry(True, "wait for the next run, which settles it: another run took over meanwhile"),
    "credentials_in_danger": Entry(
        True, "act on the errors that are listed with it: a credential is missing or expires soon"
    ),
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
        also = f". Odd, too: {'; '.join(self.warnings)}" if self.warnings else ""
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
    """A definite no: the platform did not issue a credential for this request and will not.

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
    """No definite answer: the platform may have issued a credential, or may still do so."""

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
    """After a run some credential is missing, or has less than `alarm_below_s` left."""

    default_code = "credentials_in_danger"


class NoCredentialError(TokenRefresherError):
    """A reader found no credential under the key it looked at (`key`, str).

    `store_error` (StoreError or None) is why Redis could not be read; None when Redis answered.
    """

    default_code = "no_credential"

    def __init__(self, what: str, *, key: str, app_id: str, kind: str, store_error: StoreError | None = None) -> None:
        self.key, self.store_error = key, store_error
        super().__init__(what, app_id=app_id, kind=kind, advice=store_error.advice if store_error else "")
