"""Starts the function from outside: by hand (`invoke`), or for a reader that was refused.

    address = FunctionAddress.from_environ(os.environ)
    invoker = Invoker(address, find_credentials(os.environ))
    print(invoker.invoke({"action": "refresh", "force": True}).report)
    reader = Reader.from_settings(settings, on_rejected=invoker)

With a service's name it speaks FC 2.0 through aliyun-fc2, without one FC 3.0 through the extra `fc3`. One request is
sent, and never repeated: before repeating one, look at `status`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests

from token_refresher.domain.errors import InvokeError, TokenRefresherError
from token_refresher.invoke import fc2, fc3
from token_refresher.invoke.access_key import Credentials, find_credentials
from token_refresher.invoke.address import FunctionAddress
from token_refresher.invoke.response import Answer, log_tail, name_shown, refusal, report_in, unanswered

__all__ = ["Credentials", "FunctionAddress", "Invocation", "InvokeError", "Invoker", "find_credentials"]

_log = logging.getLogger("token_refresher.invoke")

# The function itself is given a minute.
_TIMEOUT_S = 60.0
# Connecting takes milliseconds, or does not come about.
_CONNECT_S = 5.0
# Function Compute accepts an asynchronous invocation within milliseconds; a reader's caller waits no longer than this.
_WAKE_S = 3.0


@dataclass(frozen=True)
class Invocation:
    """What came of one invocation.

    `report` is the function's (as `Report.as_dict` makes it), None for an asynchronous one. `request_id` is Function
    Compute's name for it in the logs; `log_tail` the end of the function's log, where it was sent along.
    """

    report: dict[str, Any] | None
    request_id: str
    log_tail: str | None = field(default=None, repr=False)


class Invoker:
    """Starts one function; safe to share between threads.

    `timeout_s` (seconds) is the limit of each wait for the answer, and of connecting, if that is less than 5 s. Raises
    SettingsError when the client's package is not installed; it is imported only by the first invocation.
    """

    def __init__(self, address: FunctionAddress, credentials: Credentials, *, timeout_s: float = _TIMEOUT_S) -> None:
        if not timeout_s > 0:
            raise ValueError("timeout_s must be more than 0")
        self._address, self._credentials, self._timeout_s = address, credentials, timeout_s
        client: Any = fc2 if address.service else fc3
        client.require()
        self._send: Callable[..., Answer | InvokeError] = client.send
        self._describe: Callable[..., Answer | InvokeError] = client.describe

    def invoke(self, command: Mapping[str, object], *, asynchronous: bool = False) -> Invocation:
        """Start the function with `command`, a manual invocation's JSON object, and wait for its report.

        `asynchronous`: only hand it over, and return as soon as it is accepted. Raises InvokeError.
        """
        return self._invoke(command, asynchronous, self._timeout_s)

    def time_out_s(self) -> float:
        """The function's own time-out (seconds), as Function Compute has it. Raises InvokeError."""
        answer = self._answer(self._describe, self._timeout_s)
        found = answer.content.get("timeout")
        if not isinstance(found, (int, float)):
            raise InvokeError("the answer does not hold the function's time-out", status=answer.status)
        return float(found)

    def __call__(self, app_id: str, kind: str) -> None:
        """Start a refresh of one target and do not wait for it; for `Reader(on_rejected=...)`.

        Raises nothing of our tree: the complaint is in Redis, and the next run finds it anyway. The caller waits at
        most about 3 s for the connection, and again for the answer.
        """
        command = {"action": "refresh", "apps": [app_id], "kinds": [str(getattr(kind, "value", kind))]}
        try:
            self._invoke(command, True, min(self._timeout_s, _WAKE_S))
        except TokenRefresherError as error:
            _log.warning("the refresher could not be started at once, its timer will do: %s", error)

    def _invoke(self, command: Mapping[str, object], asynchronous: bool, timeout_s: float) -> Invocation:
        secrets, payload = self._credentials.secrets(), json.dumps(dict(command)).encode()
        answer = self._answer(partial(self._send, payload=payload, asynchronous=asynchronous), timeout_s)
        request_id = name_shown(answer.request_id, secrets)
        if asynchronous:
            return Invocation(None, request_id)
        report = report_in(answer, secrets)
        if isinstance(report, InvokeError):
            raise report
        return Invocation(report, request_id, log_tail(answer, secrets))

    def _answer(self, request: Callable[..., Answer | InvokeError], timeout_s: float) -> Answer:
        """The answer to one request, where it was granted. Raises InvokeError."""
        # Errors are raised here and not where they were caught, so that they carry nothing of a client's own along.
        answer = self._heard(request, timeout_s)
        if isinstance(answer, InvokeError):
            raise answer
        refused = refusal(answer, self._credentials.secrets())
        if refused:
            raise refused
        return answer

    def _heard(self, request: Callable[..., Answer | InvokeError], timeout_s: float) -> Answer | InvokeError:
        try:
            return request(self._address, self._credentials, timeout_s=(min(timeout_s, _CONNECT_S), timeout_s))
        except requests.RequestException as error:
            return unanswered(error)
