"""Faults between us and the platform: names, certificates, forward proxies."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .places import BehindForwardProxy, ByName, OverTls
from .scenario import Trouble

if TYPE_CHECKING:
    from .stage import Stage


@dataclass(frozen=True, kw_only=True)
class NoNames(Trouble):
    """The platform's name cannot be resolved."""

    @property
    def name(self) -> str:
        return "no name resolution"

    def begin(self, stage: Stage) -> None:
        resolve = socket.getaddrinfo

        def fails(host: Any, *arguments: Any, **kwargs: Any) -> Any:
            if host in (ByName.NAME, ByName.NAME.encode()):
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return resolve(host, *arguments, **kwargs)

        socket.getaddrinfo = fails
        stage.stack.callback(setattr, socket, "getaddrinfo", resolve)
        stage.later(self.lasting_s, lambda: setattr(socket, "getaddrinfo", resolve))


@dataclass(frozen=True, kw_only=True)
class CertificateExpired(Trouble):
    """The platform shows a certificate that expired a day ago."""

    @property
    def name(self) -> str:
        return "the platform's certificate expired"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, OverTls)
        stage.place.certificate.expire()

    def end(self, stage: Stage) -> None:
        assert isinstance(stage.place, OverTls)
        stage.place.certificate.renew()


@dataclass(frozen=True, kw_only=True)
class ForwardProxyGone(Trouble):
    """The forward proxy does not listen."""

    @property
    def name(self) -> str:
        return "forward proxy down"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindForwardProxy)
        stage.place.forward_proxy.go_away()

    def end(self, stage: Stage) -> None:
        assert isinstance(stage.place, BehindForwardProxy)
        stage.place.forward_proxy.come_back()
