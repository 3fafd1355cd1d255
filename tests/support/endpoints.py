"""Addresses of a platform that tests run, also where settings would refuse them."""

from __future__ import annotations

from token_refresher.domain.addresses import PlatformUrl
from token_refresher.domain.errors import InvalidValueError
from token_refresher.domain.host_port import HostPort
from token_refresher.domain.model import Endpoints


def endpoints_at(base: str, *paths: str) -> Endpoints:
    """Endpoints whose texts are `base` and a path each; the rules of settings do not count."""
    scheme, _, rest = base.rpartition("://")
    host, slash, folder = rest.partition("/")
    return Endpoints(*(PlatformUrl(scheme, _host(host), slash + folder + path) for path in paths))


def _host(text: str) -> HostPort:
    try:
        return HostPort.parse(text)
    except InvalidValueError:
        return HostPort(text)
