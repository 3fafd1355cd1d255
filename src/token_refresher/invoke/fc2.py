"""FC 2.0 through Alibaba Cloud's own client, aliyun-fc2: it signs and sends, and must not speak.

fc2 writes whole requests to the root logger, authorization and token included; it tries to connect six times, over
half a minute; it follows redirects with the token, and lets a .netrc overwrite the signature. None of that can be
turned off. So each invocation works with a copy of its own of fc2's two modules, in which `logging` is silent and the
function that sends is ours. What others in the process do with fc2 stays as it is, and no two threads share anything.

The environment's proxies (HTTPS_PROXY, NO_PROXY) and CA bundle (REQUESTS_CA_BUNDLE) count, as they do for fc2 anywhere.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import requests

from token_refresher.domain.errors import SettingsError
from token_refresher.domain.installing import how_to_install
from token_refresher.invoke.response import Answer

if TYPE_CHECKING:
    from token_refresher.invoke.access_key import Credentials
    from token_refresher.invoke.address import FunctionAddress


def require() -> None:
    """Raises SettingsError when the package is not installed. Imports nothing."""
    if importlib.util.find_spec("fc2") is None:
        what = "to start a function of FC 2.0 the package aliyun-fc2 is needed, which is not installed"
        raise SettingsError([what], advice=how_to_install("invoke"))


def send(
    address: FunctionAddress,
    credentials: Credentials,
    payload: bytes,
    *,
    asynchronous: bool,
    timeout_s: tuple[float, float],
) -> Answer:
    """Invoke once. `timeout_s` (seconds): limits of connecting and of each wait for the answer.

    Raises requests.RequestException when no whole answer came.
    """
    kind = {"x-fc-invocation-type": "Async"} if asynchronous else {"x-fc-log-type": "Tail"}

    def invoke(client: Any) -> None:
        client.invoke_function(
            address.service, address.function, payload=payload, headers=kind, qualifier=address.qualifier
        )

    return _answer(address, credentials, timeout_s, invoke)


def describe(address: FunctionAddress, credentials: Credentials, *, timeout_s: tuple[float, float]) -> Answer:
    """Ask how the function is configured. Raises requests.RequestException when no whole answer came."""

    def ask(client: Any) -> None:
        client.get_function(address.service, address.function, qualifier=address.qualifier)

    return _answer(address, credentials, timeout_s, ask)


def _answer(
    address: FunctionAddress, credentials: Credentials, timeout_s: tuple[float, float], call: Callable[[Any], None]
) -> Answer:
    """What Function Compute answers to one call of the client. Raises requests.RequestException."""
    library, exchange = _library(), _Exchange()
    library.requestWithTry = exchange.send
    client = library.Client(
        endpoint=address.endpoint,
        accessKeyID=credentials.access_key_id.reveal(),
        accessKeySecret=credentials.access_key_secret.reveal(),
        securityToken=credentials.security_token.reveal() if credentials.security_token else "",
        Timeout=timeout_s,
    )
    try:
        call(client)
    except (library.fc_exceptions.FcError, ValueError, TypeError, AttributeError, requests.RequestException):
        # It raises over every error in an answer, or stumbles over one that is no JSON object. The answer says more.
        if exchange.answer is None:
            raise
    answer = exchange.answer
    assert answer is not None, "fc2 returned without sending"  # noqa: S101 - for the types
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content)


class _Exchange:
    """One request, sent once, and the answer to it."""

    def __init__(self) -> None:
        self.answer: requests.Response | None = None

    def send(self, method: str, url: str, **how: Any) -> requests.Response:
        """In place of fc2's own: without repeats, redirects and .netrc."""
        with requests.Session() as session:
            session.auth = _as_signed
            self.answer = session.request(method, url, allow_redirects=False, **how)
        return self.answer


def _as_signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Silence:
    """What fc2 finds in place of the module logging."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **kwargs: None


def _library() -> Any:
    client, auth = _copy("fc2.client"), _copy("fc2.auth")
    client.logging = auth.logging = _Silence()
    client.auth = auth
    return client


def _copy(name: str) -> Any:
    """The module once more, under no name: what is changed in it is changed for no one else."""
    spec = importlib.util.find_spec(name)
    assert spec, name  # noqa: S101 - `require` has looked
    assert spec.loader, name  # noqa: S101 - every module in a file has one
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
