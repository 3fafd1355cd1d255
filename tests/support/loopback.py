"""Keeps a process from talking to anything but its own machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

# Names that only stand for this machine.
_LOCAL_NAMES = ("", "localhost", "localhost.localdomain", "ip6-localhost")
# Reserved for names that do not exist (RFC 6761): tests of failing name resolution use them.
_NO_SUCH_NAMES = (".invalid", ".test")


class OutsideError(OSError):
    """A test tried to talk to another machine."""


def is_local(host: object) -> bool:
    """Whether a host, as a socket's address names it, is this machine."""
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name.lower() in _LOCAL_NAMES
    # To connect to "any address" is to connect to this machine.
    return address.is_loopback or address.is_unspecified


def forbid_outside(report: Callable[[str], None]) -> Callable[[], None]:
    """From now on connecting outside the loopback fails; `report` is told where to. Returns the way back."""
    kept = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}
    resolve = socket.getaddrinfo

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
            report(f"{address[0]}:{address[1]}")
            raise OutsideError(f"tests stay on this machine, and this goes to {address[0]}:{address[1]}")

    def connect(sock: socket.socket, address: Any) -> None:
        check(sock, address)
        kept["connect"](sock, address)

    def connect_ex(sock: socket.socket, address: Any) -> Any:
        check(sock, address)
        return kept["connect_ex"](sock, address)

    def sendto(sock: socket.socket, data: Any, *arguments: Any) -> Any:
        check(sock, arguments[-1])
        return kept["sendto"](sock, data, *arguments)

    def getaddrinfo(host: Any, *arguments: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host or "")
        if name.rstrip(".").endswith(_NO_SUCH_NAMES):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not is_local(host) and not _is_address(name):
            report(f"the name server, about {name}")
            raise socket.gaierror(socket.EAI_NONAME, f"tests stay on this machine: {name} is not looked up")
        return resolve(host, *arguments, **kwargs)

    def undo() -> None:
        for name, method in kept.items():
            setattr(socket.socket, name, method)
        socket.getaddrinfo = resolve

    for function in (connect, connect_ex, sendto):
        setattr(socket.socket, function.__name__, function)
    socket.getaddrinfo = getaddrinfo
    return undo


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
