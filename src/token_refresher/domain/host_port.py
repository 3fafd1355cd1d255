"""HOST:PORT, in the one form that it has wherever it is given: to listen on, within a URL, of a proxy or a sentinel."""

from __future__ import annotations

import re
from typing import NamedTuple

from token_refresher.domain.errors import InvalidValueError

_LABEL = r"\w(?:[\w-]{0,61}\w)?"
_HOST_AND_PORT = re.compile(rf"(?:\[([0-9A-Fa-f:.]+)\]|({_LABEL}(?:\.{_LABEL})*\.?))(?::([0-9]{{1,5}}))?")
_LOOPBACK = re.compile(r"localhost|::1|127(\.[0-9]{1,3}){3}", re.IGNORECASE)

_NO_PORT = "must have a port from 1 to 65535 after the host's colon"
_NO_HOST = "must name a host that can exist: letters, digits, dots and hyphens, or an address; one of IPv6 in brackets"


class HostPort(NamedTuple):
    """A `host` (str; an IPv6 address without its brackets) and its `port` (int; None: not given)."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Whether the host is an address, and not a name."""
        return bool(_ip_version(self.host))

    @property
    def is_loopback(self) -> bool:
        """Whether it is certainly this machine."""
        return bool(_LOOPBACK.fullmatch(self.host))

    @classmethod
    def parse(cls, given: str, lowest_port: int = 1) -> HostPort:
        """HOST or HOST:PORT. Raises InvalidValueError."""
        found = _HOST_AND_PORT.fullmatch(given)
        if found is None:
            raise InvalidValueError(_what_is_wrong(given))
        in_brackets, name, port = found.groups()
        if port and not lowest_port <= int(port) <= 65535:
            raise InvalidValueError(_NO_PORT)
        if not (_ip_version(in_brackets) == 6 if in_brackets else _is_name(name)):
            raise InvalidValueError(_NO_HOST)
        return cls(in_brackets or name, int(port) if port else None)

    @classmethod
    def parse_listening(cls, given: str) -> tuple[str, int]:
        """Host and port to listen on; port 0 means any free one. Raises InvalidValueError."""
        host, port = cls.parse(given, lowest_port=0)
        if port is None:
            raise InvalidValueError(_NO_PORT)
        return host, port


def _what_is_wrong(given: str) -> str:
    """Why this is not HOST or HOST:PORT, without any of it."""
    host, colon, port = given.rpartition(":")
    if not given or (colon and not host):
        return f"must name a host{' before the port' if port else ''}"
    if any(each in given for each in "[]") or given.count(":") > 1:
        return "must name a host; an IPv6 address is written in brackets, as in [::1]:6379"
    if colon and _HOST_AND_PORT.fullmatch(host):
        return _NO_PORT
    return _NO_HOST


def _ip_version(text: str) -> int:
    """4 or 6; 0 for what is not an address."""
    from ipaddress import ip_address  # few hosts are looked at so closely

    try:
        return ip_address(text).version
    except ValueError:
        return 0


def _is_name(text: str) -> bool:
    """Whether a name server can be asked for it: one that is not of ASCII is encoded for that."""
    try:
        return text.isascii() or bool(text.encode("idna"))
    except UnicodeError:
        return False
