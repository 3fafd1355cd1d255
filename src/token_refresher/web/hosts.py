"""From where, and under which names, what is served may be reached."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
from collections.abc import Collection

from token_refresher.domain.errors import CommandError
from token_refresher.domain.model import Secret

_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.ASCII)


def needs_token(host: str) -> bool:
    """Whether an address to listen on may be reached from other machines; of a name it is not known, so it may."""
    if host.lower() == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def check_binding(host: str, token: Secret | None) -> None:
    """Raises CommandError when the page would be open to other machines without a token."""
    if needs_token(host) and not token:
        raise CommandError(
            f"{host} may be reached from other machines, and no token is given",
            advice="give a token by --token-file FILE, or listen on 127.0.0.1",
        )


def check_names(names: Collection[str]) -> None:
    """Raises CommandError for what is not a host name. It is not quoted: it may be a secret in the wrong place."""
    if not all(_NAME.fullmatch(name) for name in names):
        raise CommandError(
            "--allow-host takes a host name without a port", advice="write the name alone, as in status.example.com"
        )


def cannot_listen(where: str, error: OSError) -> CommandError:
    """Why an address ("HOST:PORT") cannot be had, and what to do."""
    # Python repeats the address in the error of a socket, and knows no number for that of a name.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or "not an address"
    advice = "choose an address of this machine by --listen"
    if error.errno == errno.EADDRINUSE:
        advice = "end what listens there (it may be another copy of this), or choose another port by --listen"
    if error.errno == errno.EACCES:
        advice = "choose a port above 1023 by --listen"
    return CommandError(f"cannot listen on {where}: {why}", advice=advice)


def knows_host(header: str, names: Collection[str]) -> bool:
    """Whether a Host header names us. An address does: only names can be made to point elsewhere.

    `names` are known besides localhost.
    """
    found = _HOST.fullmatch(header)
    name = found[1].strip("[]").lower().removesuffix(".") if found else ""
    try:
        return bool(name) and bool(name in ("localhost", *map(str.lower, names)) or ipaddress.ip_address(name))
    except ValueError:
        return False
