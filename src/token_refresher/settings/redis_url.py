"""The address of Redis: every form that the README lists, checked before anything is dialed.

`redis_url` returns what was given, or raises `Mistake`, which says what is wrong without quoting the address.
"""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, parse_qsl

from token_refresher.domain.addresses import check_hosts, split_address
from token_refresher.settings.lookup import did_you_mean
from token_refresher.settings.values import Mistake

REDIS_SCHEMES = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"
)  # fmt: skip
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")

# What a password could be, too, is not repeated.
_OPTION_NAME = re.compile("[a-z]{1,12}(_[a-z]{1,12}){0,4}")
_DATABASE = re.compile("[0-9]{1,10}")


def redis_url(given: str) -> str:
    parts = split_address(given)
    if parts.scheme not in REDIS_SCHEMES:
        raise Mistake(f"must begin with one of {', '.join(s + '://' for s in REDIS_SCHEMES)}")
    user, _, hosts = parts.netloc.rpartition("@")
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise Mistake("must name the path of a socket")
    else:
        if not hosts or "@" in user or "@" in parts.path + parts.query + parts.fragment:
            raise Mistake("must name a host; write / ? # @ % in its password percent-encoded")
        check_hosts(hosts, most=1 if parts.scheme in ("redis", "rediss") else None)
    if user and ":" not in user:
        # redis-py takes it for the name of a user without a password.
        raise Mistake("must have a colon before its password: write ://:PASSWORD@ or ://USER:PASSWORD@")
    if parts.fragment:
        raise Mistake("must not have a part after #; write # in its password percent-encoded")
    _check_path(parts)
    _check_options(parts)
    return given


def _check_path(parts: SplitResult) -> None:
    """redis-py takes what it cannot read for database 0 and says nothing."""
    path = [each for each in parts.path.split("/") if each]
    if parts.scheme in ("redis", "rediss") and not (parts.path in ("", "/") or _is_database(parts.path[1:])):
        raise Mistake("must end with a database's number, /0, or with nothing, after the host")
    if parts.scheme.endswith("+sentinel"):
        if not path:
            raise Mistake("must name the primary after the sentinels: HOST:PORT/NAME")
        if len(path) > 2 or (len(path) == 2 and not _is_database(path[1])):
            raise Mistake("must end with a database's number, /0, or with nothing, after the primary's name")
    if parts.scheme.endswith("+cluster") and path not in ([], ["0"]):
        raise Mistake("must not name a database: a cluster has only database 0")


def _is_database(text: str) -> bool:
    return bool(_DATABASE.fullmatch(text))


def _check_options(parts: SplitResult) -> None:
    tls = parts.scheme.startswith("rediss")
    accepted = [
        *(("db",) if parts.scheme == "unix" else ()),
        *(TLS_OPTIONS if tls else ()),
        *(SENTINEL_OPTIONS if parts.scheme.endswith("+sentinel") else ()),
    ]
    options = parse_qsl(parts.query, keep_blank_values=True)
    if parts.query and not options:
        raise Mistake("must have options of the form ?name=value")
    for name, value in options:
        if name not in accepted:
            raise Mistake(_why_not(name, parts.scheme, accepted))
        if not value:
            raise Mistake(f"must give its option {name} a value")
        if name == "db" and not _is_database(value):
            raise Mistake("must have a database's number as its option db")
    _check_files({name: value for name, value in options if name in TLS_OPTIONS})


def _why_not(name: str, scheme: str, accepted: list[str]) -> str:
    """The end of a sentence about an option that has no effect here."""
    if not _OPTION_NAME.fullmatch(name):
        return "must not have an option that is not accepted (its name is not shown)"
    if name in TLS_OPTIONS:
        return f"must begin with {scheme.replace('redis', 'rediss', 1)}:// to have the option {name}"
    if name == "db":
        return "must not have the option db: write the database's number after the host, /0"
    if not accepted:
        return f"must not have the option {name}: no options are accepted with {scheme}://"
    return f"must not have the option {name}, which is not accepted{did_you_mean(name, accepted)}"


def _check_files(files: dict[str, str]) -> None:
    """Read what TLS will need: otherwise a mistake in a path looks like a failure of Redis."""
    for name, path in files.items():
        if not os.path.isfile(path):
            raise Mistake(f"must name a file that exists as its option {name}")
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        raise Mistake("must have the option ssl_certfile beside ssl_keyfile")
    if not files:
        return
    import ssl  # redis-py imports it for such an address anyway

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "ssl_ca_certs" in files:
            context.load_verify_locations(files["ssl_ca_certs"])
    except (OSError, ValueError):
        raise Mistake("must name a readable file of CA certificates (PEM) as its option ssl_ca_certs") from None
    try:
        if "ssl_certfile" in files:
            # An empty password, because Python would ask a person for it.
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), password="")
    except (OSError, ValueError):
        what = "must name a readable certificate and its key without a passphrase (PEM)"
        raise Mistake(f"{what} as its options ssl_certfile and ssl_keyfile") from None
