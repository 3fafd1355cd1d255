"""What Function Compute answers to an invocation, and everything that can be wrong with it, as one error.

| what came | error code |
|---|---|
| no name, no connection, no TLS, a proxy that fails | invoke_unreachable |
| nothing in time, a connection that broke | invoke_no_answer |
| 401, 403 | invoke_denied |
| 404 | invoke_not_found |
| 429, or an error named ...Throttled, ...Exhausted | invoke_throttled |
| any other 4xx | invoke_refused |
| 5xx, with JSON or without | invoke_server_error |
| 2xx with X-Fc-Error-Type | invoke_function_failed |
| anything else | invoke_bad_answer |

Of what Function Compute says only the error's name is passed on: its sentences may quote what was signed, and so the
token. Of what the function says only the sentences of our own errors are, on one line, short and masked.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import requests
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from token_refresher.domain.errors import InvokeError, TokenRefresherError
from token_refresher.domain.quoting import quotable, repeats

_LONGEST = 300
_ERROR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Codes, keys and tokens look like this; words and names that our own sentences hold do not.
_LOOKS_SECRET = re.compile(r"(?=[A-Za-z_+=]*[0-9])[A-Za-z0-9_+=]{24,}")
_NOT_SHOWN = "(not shown: it repeats a part of a secret)"
# Members that every report has.
_REPORT = {"run_id", "action", "targets"}


class Answer(NamedTuple):
    """What came back: `status` (0 where the client does not say), `headers` by names in small letters, `body`."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        """Function Compute's name for the request; "" when it is missing or no name."""
        found = self.headers.get("x-fc-request-id") or str(self.content.get("RequestId", ""))
        return found if _REQUEST_ID.fullmatch(found) else ""

    @property
    def content(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


def report_in(answer: Answer, secrets: tuple[str, ...]) -> dict[str, Any] | InvokeError:
    """The function's report, or why there is none in this answer."""
    content = answer.content
    if content.keys() >= _REPORT:
        return content
    what = "the answer is not a report of the refresher" if content else "the answer is not a JSON object"
    return InvokeError(what, status=answer.status, request_id=name_shown(answer.request_id, secrets))


def name_shown(name: str, secrets: tuple[str, ...]) -> str:
    """A name that the other side gives; "" if it repeats a part of a secret."""
    return "" if repeats(name, secrets) else name


def log_tail(answer: Answer, secrets: tuple[str, ...]) -> str | None:
    """The end of the function's log, at most 4 KB, safe for a terminal; None when none came."""
    try:
        log = base64.b64decode(answer.headers.get("x-fc-log-result", ""), validate=True)
    except ValueError:
        return None
    lines = (shown(line, secrets, len(log)) for line in log.decode("utf-8", "replace").splitlines())
    tail = "\n".join(lines)
    # A secret may be broken over two lines, each of which shows too little of it.
    return (_NOT_SHOWN if repeats(tail, secrets) else tail) if log else None


def refusal(answer: Answer, secrets: tuple[str, ...]) -> InvokeError | None:
    """The error in an answer; None when the function was started and, if that was waited for, did not fail."""
    name, request_id = name_shown(_error_name(answer.content), secrets), name_shown(answer.request_id, secrets)
    if "x-fc-error-type" in answer.headers and (answer.status < 400 or "errorType" in answer.content):
        return _function_failed(answer, secrets)
    if 200 <= answer.status < 300:
        return None
    code = _code(answer.status, name)
    named = f" ({name})" if name else ""
    status = f"status {answer.status}" if answer.status else "an error that is not JSON"
    request = f", request {request_id}" if request_id else ""
    what = f"Function Compute answered with {status}{named}{request}"
    return InvokeError(what, code=code, status=answer.status or None, request_id=request_id)


def _code(status: int, name: str) -> str:
    if status == 429 or name.endswith(("Throttled", "Exhausted")) or name.startswith("Throttling"):
        return "invoke_throttled"
    by_status = {
        401: "invoke_denied",
        403: "invoke_denied",
        404: "invoke_not_found",
        407: "invoke_unreachable",
        429: "invoke_throttled",
    }
    if status in by_status:
        return by_status[status]
    if status >= 500:
        return "invoke_server_error"
    return "invoke_refused" if status >= 400 else "invoke_bad_answer"


def _error_name(content: Mapping[str, Any]) -> str:
    """What Function Compute calls the error; each of its interfaces spells the member in its own way."""
    found = next((content[each] for each in ("ErrorCode", "errorCode", "Code", "code") if each in content), "")
    return found if isinstance(found, str) and _ERROR_NAME.fullmatch(found) else ""


def _function_failed(answer: Answer, secrets: tuple[str, ...]) -> InvokeError:
    """The function raised an error, ran into its limits, or ended."""
    content, request_id = answer.content, name_shown(answer.request_id, secrets)
    kind, message = content.get("errorType"), content.get("errorMessage")
    kind = name_shown(kind, secrets) or None if isinstance(kind, str) and _ERROR_NAME.fullmatch(kind) else None
    message = message if isinstance(message, str) else ""
    request = f" (request {request_id})" if request_id else ""
    if kind in _names_of_ours():
        what = f"the function failed with {kind}{request}: {shown(message, secrets)}"
    elif "timed out" in message:
        what = f"the function ran into its time-out{request}"
    elif "exited unexpectedly" in message:
        what = f"the function's process ended before it was done{request}"
    else:
        what = f"the function failed with {kind or 'an error without a type'}{request}"
    return InvokeError(
        what, code="invoke_function_failed", status=answer.status, request_id=request_id, error_type=kind
    )


def _names_of_ours() -> set[str]:
    def family(of: type[TokenRefresherError]) -> Iterator[str]:
        yield of.__name__
        for child in of.__subclasses__():
            yield from family(child)

    return set(family(TokenRefresherError))


def shown(text: str, secrets: tuple[str, ...], longest: int = _LONGEST) -> str:
    """A text of the other side's as it may be shown: one line, at most `longest` characters, nothing of a secret."""
    quoted = quotable(text, secrets, longest + 1, _LOOKS_SECRET)
    if quoted is None:
        return _NOT_SHOWN
    return quoted if len(quoted) <= longest else quoted[: longest - 1] + "…"


def unanswered(error: requests.RequestException) -> InvokeError:
    """Why no whole answer came. Nothing of the error's own text is kept: it may quote the proxy's password."""
    why = _innermost(error)
    if isinstance(error, requests.exceptions.ProxyError):
        return InvokeError("the proxy refused or failed", code="invoke_unreachable")
    if isinstance(error, requests.exceptions.SSLError):
        return InvokeError("TLS to Function Compute failed", code="invoke_unreachable")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return InvokeError("no connection to Function Compute in time", code="invoke_unreachable")
    if isinstance(why, NewConnectionError):
        return InvokeError("no connection to Function Compute", code="invoke_unreachable")
    if isinstance(error, requests.exceptions.Timeout) or isinstance(why, ReadTimeoutError):
        return InvokeError("no answer from Function Compute in time", code="invoke_no_answer")
    if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return InvokeError("the connection broke before the answer was whole", code="invoke_no_answer")
    return InvokeError(f"the answer could not be read ({type(error).__name__})")


def _innermost(error: Exception) -> Any:
    """What urllib3 met with, under the wrappings of requests."""
    first = error.args[0] if error.args else None
    return getattr(first, "reason", None) or first
