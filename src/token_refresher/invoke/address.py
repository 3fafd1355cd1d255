"""Which function is started, and where Function Compute is reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from token_refresher.domain.errors import InvalidValueError, SettingsError
from token_refresher.domain.host_port import HostPort

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_QUALIFIER = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ACCOUNT = re.compile(r"[0-9]{1,32}")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_ENDPOINT = re.compile("(?:(https?)://)?([^/?#]+)/?")


def _endpoint(given: str) -> str:
    """Scheme, host and port of Function Compute, without a slash at the end; "" where `given` is no such address."""
    found = _ENDPOINT.fullmatch(given)
    try:
        return f"{found[1] or 'https'}://{HostPort.parse(found[2])}" if found else ""
    except InvalidValueError:
        return ""


# Argument of `FunctionAddress.of` -> the setting that gives it, whether a value fits, and that form in words.
_SETTINGS: Mapping[str, tuple[str, Callable[[str], object], str]] = {
    "function": ("FUNCTION_NAME", _NAME.fullmatch, "letters, digits, _ and -, not beginning with a digit or -"),
    "service": ("FUNCTION_SERVICE", _NAME.fullmatch, "letters, digits, _ and -, not beginning with a digit or -"),
    "qualifier": ("FUNCTION_QUALIFIER", _QUALIFIER.fullmatch, "a version or an alias: letters, digits, _ and -"),
    "endpoint": ("FUNCTION_ENDPOINT", _endpoint, "https://host or host, without a path or a login"),
    "account_id": ("ALIBABA_CLOUD_ACCOUNT_ID", _ACCOUNT.fullmatch, "digits"),
    "region": ("ALIBABA_CLOUD_REGION_ID", _REGION.fullmatch, "a region's id like cn-hangzhou"),
}


@dataclass(frozen=True)
class FunctionAddress:
    """A function, and where Function Compute is reached.

    With a `service` (str) it is a function of FC 2.0, without one of FC 3.0. `qualifier` is a version or an alias; None
    means the newest code. `endpoint` is scheme, host and port, without a slash at its end.
    """

    function: str
    service: str | None
    qualifier: str | None
    endpoint: str

    @classmethod
    def of(
        cls,
        *,
        function: str | None,
        service: str | None = None,
        qualifier: str | None = None,
        endpoint: str | None = None,
        account_id: str | None = None,
        region: str | None = None,
    ) -> FunctionAddress:
        """From settings as they were given; empty is the same as None. Without an `endpoint` it is the account's own.

        Raises SettingsError with all mistakes at once, by the settings' names and without their values.
        """
        given = {
            "function": function,
            "service": service,
            "qualifier": qualifier,
            "endpoint": endpoint,
            "account_id": account_id,
            "region": region,
        }
        problems = [
            f"{name} must be {words}"
            for argument, (name, fits, words) in _SETTINGS.items()
            if (value := given[argument]) and not fits(value)
        ]
        if not function:
            problems.append("FUNCTION_NAME is missing")
        if not endpoint and not (account_id and region):
            problems.append("FUNCTION_ENDPOINT is missing, or ALIBABA_CLOUD_ACCOUNT_ID with ALIBABA_CLOUD_REGION_ID")
        if problems:
            raise SettingsError(problems)
        where = _endpoint(endpoint or f"{account_id}.{region}.fc.aliyuncs.com")
        return cls(function or "", service or None, qualifier or None, where)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> FunctionAddress:
        """The same from the settings by their names. Raises SettingsError."""
        return cls.of(**{argument: environ.get(name) for argument, (name, _, _) in _SETTINGS.items()})
