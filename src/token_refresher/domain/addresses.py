"""Addresses that settings may have: each function returns what was given, or raises `Mistake`."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import SplitResult, quote, urlsplit

from token_refresher.domain.model import Endpoints
from token_refresher.settings.values import Mistake

PORT_MISTAKE = "must have a port from 1 to 65535 after the host's colon"

_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/@,?#\\]+")
_HOST_AND_PORT = re.compile(rf"({_HOST.pattern})(?::([0-9]{{1,5}}))?")
_LOOPBACK = re.compile(r"localhost|::1|127(\.[0-9]{1,3}){3}")
_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def platform_url(given: str) -> str:
    """An address of the platform. Secrets are sent there: https, except to this machine (the simulator)."""
    parts = split_address(given)
    if parts.scheme not in ("http", "https") or not _HOST_AND_PORT.fullmatch(parts.netloc):
        raise Mistake("must be an address https://host[:port]/path, without a user")
    if "?" in given or "#" in given:
        raise Mistake("must be an address without query and fragment")
    check_hosts(parts.netloc)
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname or ""):
        raise Mistake("must begin with https:// (http:// is for loopback addresses only)")
    return given


def check_code_url(ticket_url: str) -> str:
    """The published file lacks this address: it is the ticket's with another last segment."""
    parts = urlsplit(ticket_url)
    folder = parts.path.rstrip("/").rpartition("/")[0]
    return f"{parts.scheme}://{parts.netloc}{folder}/checkCode"


def endpoints(base_url: str) -> Endpoints:
    """The four addresses below `base_url`. Raises `Mistake` when it is no address."""
    root = platform_url(base_url).rstrip("/") + "/OAuth2/"
    return Endpoints(root + "token", root + "ticket", root + "checkCode", root + "token")


def proxy_url(given: str) -> str:
    parts = split_address(given)
    user, _, hosts = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https") or not hosts:
        raise Mistake("must be a proxy's address, http://[user:password@]host:port or https://...")
    beyond = parts.path.strip("/") + parts.query + parts.fragment
    if beyond or "@" in user or _HALF_ESCAPE.search(user):
        raise Mistake("must end after the proxy's port; write / ? # @ % in its password percent-encoded")
    check_hosts(hosts, most=1)
    return given


def redis_host(given: str) -> str:
    """A host name or address, as it stands in a URL: an IPv6 address in brackets."""
    host = f"[{given}]" if ":" in given and not given.startswith("[") else given
    if not _HOST.fullmatch(host) or "," in host or (host.startswith("[") and not _is_ipv6(host)):
        raise Mistake("must be a host name or an address, without a port")
    return host


def compose_redis_url(host: str, port: int, user: str, auth: str, db: int) -> str:
    who = f"{quote(user, safe='')}:{quote(auth, safe='')}@" if user or auth else ""
    return f"redis://{who}{host}:{port}/{db}"


def split_address(given: str) -> SplitResult:
    try:
        parts = urlsplit(given)
    except ValueError:
        raise Mistake("must be a well-formed address") from None
    if re.search(r"\s", given):
        raise Mistake("must be an address without blanks")
    return parts


def check_hosts(hosts: str, most: int | None = 1) -> None:
    """`hosts` is host[:port], separated by commas where `most` (int, None: any number) allows several."""
    listed = [_HOST_AND_PORT.fullmatch(each) for each in hosts.split(",")]
    if most and len(listed) > most:
        raise Mistake("must name one host")
    for match in listed:
        if match is None:
            raise Mistake("must name a host; " + PORT_MISTAKE)
        if match[2] and not 1 <= int(match[2]) <= 65535:
            raise Mistake(PORT_MISTAKE)
        if match[1].startswith("[") and not _is_ipv6(match[1]):
            raise Mistake("must not have a malformed address in brackets")


def _is_ipv6(in_brackets: str) -> bool:
    # Only Python 3.11 and later look at this when an address is split.
    try:
        IPv6Address(in_brackets[1:-1])
    except ValueError:
        return False
    return True
