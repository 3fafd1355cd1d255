"""FC 3.0 through Alibaba Cloud's own client, the optional extra `fc3` (29 packages, never in the function).

With DEBUG=sdk in the environment that client writes whole requests, signature and token included, to a logger with a
handler of its own. A filter on that logger drops what an invocation of ours makes it write, in its thread and no other.

HTTP_PROXY and HTTPS_PROXY of the environment count. NO_PROXY does not: the client does not look at it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import requests

from token_refresher.domain.errors import InvokeError, SettingsError
from token_refresher.domain.installing import how_to_install
from token_refresher.invoke.response import Answer

if TYPE_CHECKING:
    from token_refresher.invoke.access_key import Credentials
    from token_refresher.invoke.address import FunctionAddress

_PACKAGE = "alibabacloud_fc20230330"
_LOGGER = "darabonba-core"
_ours: ContextVar[bool] = ContextVar("an invocation of ours", default=False)


def require() -> None:
    """Raises SettingsError when the package is not installed. Imports nothing."""
    if importlib.util.find_spec(_PACKAGE) is None:
        what = "to start a function of FC 3.0 the package alibabacloud-fc20230330 is needed, which is not installed"
        advice = f"{how_to_install('fc3')}; a function of FC 2.0 needs FUNCTION_SERVICE instead"
        raise SettingsError([what], advice=advice)


def send(
    address: FunctionAddress,
    credentials: Credentials,
    payload: bytes,
    *,
    asynchronous: bool,
    timeout_s: tuple[float, float],
) -> Answer | InvokeError:
    """Invoke once. `timeout_s` (seconds): limits of connecting and of each wait for the answer.

    Returns an error where the client failed. Raises requests.RequestException when no whole answer came.
    """
    models = importlib.import_module(f"{_PACKAGE}.models")
    kind = {"x_fc_invocation_type": "Async"} if asynchronous else {"x_fc_log_type": "Tail"}

    def invoke(client: Any, runtime: Any) -> Answer:
        response = client.invoke_function_with_options(
            address.function,
            models.InvokeFunctionRequest(body=io.BytesIO(payload), qualifier=address.qualifier),
            models.InvokeFunctionHeaders(**kind),
            runtime,
        )
        return _read(response, response.body.read() if response.body else b"")

    return _answer(address, credentials, timeout_s, invoke)


def describe(
    address: FunctionAddress, credentials: Credentials, *, timeout_s: tuple[float, float]
) -> Answer | InvokeError:
    """Ask how the function is configured; returns and raises as `send` does."""
    models = importlib.import_module(f"{_PACKAGE}.models")

    def ask(client: Any, runtime: Any) -> Answer:
        request = models.GetFunctionRequest(qualifier=address.qualifier)
        response = client.get_function_with_options(address.function, request, {}, runtime)
        return _read(response, json.dumps(response.body.to_map() if response.body else {}, default=str).encode())

    return _answer(address, credentials, timeout_s, ask)


def _answer(
    address: FunctionAddress,
    credentials: Credentials,
    timeout_s: tuple[float, float],
    call: Callable[[Any, Any], Answer],
) -> Answer | InvokeError:
    """What comes of one call of the client. Raises requests.RequestException."""
    library = importlib.import_module(f"{_PACKAGE}.client")
    exceptions = importlib.import_module("darabonba.exceptions")
    connect_ms, read_ms = (max(round(each * 1000), 1) for each in timeout_s)
    options = importlib.import_module("darabonba.runtime").RuntimeOptions(
        connect_timeout=connect_ms, read_timeout=read_ms, autoretry=False
    )
    logging.getLogger(_LOGGER).addFilter(_not_ours)
    before = _ours.set(True)
    try:
        return call(library.Client(_config(address, credentials)), options)
    except exceptions.ResponseException as error:
        return _refused(error)
    except exceptions.UnretryableException as error:
        return _unanswered(error)
    finally:
        _ours.reset(before)


def _read(response: Any, body: bytes) -> Answer:
    headers = {str(name).lower(): str(value) for name, value in (response.headers or {}).items()}
    return Answer(int(response.status_code), headers, body)


def _config(address: FunctionAddress, credentials: Credentials) -> Any:
    models = importlib.import_module("alibabacloud_tea_openapi.utils_models")
    scheme, _, host = address.endpoint.partition("://")
    return models.Config(
        access_key_id=credentials.access_key_id.reveal(),
        access_key_secret=credentials.access_key_secret.reveal(),
        security_token=credentials.security_token.reveal() if credentials.security_token else None,
        endpoint=host,
        protocol=scheme,
    )


def _refused(error: Any) -> Answer:
    """The answer that the client turned into an exception."""
    data = error.data if isinstance(error.data, dict) else {}
    return Answer(int(error.status_code or 0), {}, json.dumps(data, default=str).encode())


def _unanswered(error: Any) -> Answer | InvokeError:
    """What the client wraps: an answer that it could not read, or none at all. Raises requests.RequestException."""
    inner = error.inner_exception
    cause = getattr(inner, "__context__", None)
    if isinstance(cause, requests.RequestException):
        raise cause from None
    if isinstance(inner, (ValueError, AttributeError)):
        # An error that is no JSON object; its status is not known.
        return Answer(0, {}, b"")
    return InvokeError(f"the client of FC 3.0 failed ({type(inner).__name__})")


def _not_ours(record: logging.LogRecord) -> bool:
    return not _ours.get()
