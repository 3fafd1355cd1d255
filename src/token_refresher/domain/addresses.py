"""Every URL that there is, parsed once and in one place: of Redis, of the platform, of a proxy.

The settings make these values, and a reader does that is given a URL; all others read their fields. Each `parse` raises
InvalidValueError, which says what is accepted and quotes nothing of what was given. What is read is RFC 3986 and not
`urllib.parse.urlsplit`, which accepts more or less with each release of Python.

| form                                                   | what it reaches                             |
|--------------------------------------------------------|---------------------------------------------|
| `redis://[user:password@]host[:port][/db]`             | one server; `rediss://` with TLS            |
| `unix://[user:password@]/path/to/socket[?db=n]`        | one server over a socket file               |
| `redis+sentinel://[user:password@]h1[:p],h2/name[/db]` | the primary `name`, asked of the sentinels  |
| `redis+cluster://[user:password@]h1[:p],h2`            | a cluster, found through any of these nodes |

`rediss+sentinel` and `rediss+cluster` use TLS. Options as a query: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`
(paths), and for sentinels that have users of their own `sentinel_username`, `sentinel_password`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from token_refresher.domain.errors import InvalidValueError
from token_refresher.domain.host_port import HostPort
from token_refresher.domain.secret import Secret
from token_refresher.domain.suggestion import did_you_mean

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?")
_UNFIT = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NEVER_IN_A_LOGIN = re.compile(r"[@\[\]]|%(?![0-9A-Fa-f]{2})")
# What a password could be, too, is not repeated.
_OPTION_NAME = re.compile("[a-z]{1,12}(_[a-z]{1,12}){0,4}")
_DATABASE = re.compile("[0-9]{1,10}")
# Redis itself cannot be built with more databases than this.
LARGEST_DATABASE = 2**31 - 1
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_ENCODE = "percent-encode special characters in the password (@ is %40, / is %2F, # is %23, ? is %3F, % is %25)"
_NOT_ENCODED = f"must not have / ? # @ % [ ] as they are in its user and password: {_ENCODE}"
_ONE_DATABASE = "must not name a database: a cluster has only database 0"
_NOTHING = Secret("")


class _Parts(NamedTuple):
    """A URL as RFC 3986 takes it apart. `login` is what precedes the last @ of the authority; None: there is no @."""

    scheme: str
    login: str | None
    hosts: str
    path: str
    query: str | None
    fragment: str | None

    @property
    def segments(self) -> list[str]:
        path = self.path.strip("/")
        return path.split("/") if path else []


def _split(given: str) -> _Parts:
    if _UNFIT.search(given):
        raise InvalidValueError(
            "must be an address without blanks and control characters; percent-encode a password (a blank is %20)"
        )
    found = _URL.fullmatch(given)
    if found is None:
        return _Parts("", None, "", "", None, None)
    scheme, authority, path, query, fragment = found.groups()
    login, at, hosts = authority.rpartition("@")
    return _Parts(scheme.lower(), login if at else None, hosts, path, query, fragment)


# -- the platform -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlatformUrl:
    """An address of the platform; `str()` is the whole of it."""

    scheme: str
    host: HostPort
    path: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    @classmethod
    def parse(cls, given: str) -> PlatformUrl:
        """Secrets are sent there: https, except to this machine (the simulator). Raises InvalidValueError."""
        parts = _split(given)
        if parts.scheme not in ("http", "https") or parts.login is not None or not parts.hosts:
            raise InvalidValueError("must be an address https://host[:port]/path, without a user")
        if parts.query is not None or parts.fragment is not None:
            raise InvalidValueError("must be an address without query and fragment")
        host = HostPort.parse(parts.hosts)
        if parts.scheme == "http" and not host.is_loopback:
            raise InvalidValueError("must begin with https:// (http:// is for loopback addresses only)")
        return cls(parts.scheme, host, parts.path)

    def below(self, path: str) -> PlatformUrl:
        """This address with `path` (it begins with a slash) at its end."""
        return PlatformUrl(self.scheme, self.host, self.path.rstrip("/") + path)

    def beside(self, name: str) -> PlatformUrl:
        """This address with `name` as its last segment."""
        folder = self.path.rstrip("/").rpartition("/")[0]
        return PlatformUrl(self.scheme, self.host, f"{folder}/{name}")


# -- a proxy ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ProxyUrl:
    """A proxy for requests to the platform. `text` is its address as given, with user and password in it.

    Where a user or password is not UTF-8, its bytes are kept as Python keeps those of a path (surrogateescape).
    """

    scheme: str
    host: HostPort
    text: Secret
    username: Secret = _NOTHING
    password: Secret = _NOTHING
    # The password as the address spells it.
    spelt_password: Secret = field(default=_NOTHING, compare=False)

    def __repr__(self) -> str:
        return "ProxyUrl('****')"

    @classmethod
    def parse(cls, given: str) -> ProxyUrl:
        """Raises InvalidValueError."""
        parts = _split(given)
        if parts.scheme not in ("http", "https") or not parts.hosts:
            raise InvalidValueError(
                f"must be a proxy's address, http://[user:password@]host:port or https://...; {_ENCODE}"
            )
        login = parts.login or ""
        if parts.segments or parts.query or parts.fragment or _NEVER_IN_A_LOGIN.search(login):
            raise InvalidValueError(f"must end after the proxy's port; {_ENCODE}")
        host = _only_host(parts.hosts)
        user, _, password = login.partition(":")
        user, decoded = (unquote(each, errors="surrogateescape") for each in (user, password))
        return cls(parts.scheme, host, Secret(given), Secret(user), Secret(decoded), Secret(password))

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every text that must not show."""
        return self.text, self.password, self.spelt_password


def _only_host(hosts: str) -> HostPort:
    if "," in hosts:
        raise InvalidValueError("must name one host")
    return HostPort.parse(hosts)


# -- Redis ------------------------------------------------------------------------------------------------------------


class Topology(Enum):
    """What an address of Redis leads to; the value is what its scheme says after redis or rediss."""

    SERVER = ""
    SOCKET = "unix"
    SENTINEL = "+sentinel"
    CLUSTER = "+cluster"


_SCHEMES = {
    "redis": Topology.SERVER,
    "rediss": Topology.SERVER,
    "unix": Topology.SOCKET,
    "redis+sentinel": Topology.SENTINEL,
    "rediss+sentinel": Topology.SENTINEL,
    "redis+cluster": Topology.CLUSTER,
    "rediss+cluster": Topology.CLUSTER,
}


@dataclass(frozen=True, repr=False)
class RedisUrl:
    """Where Redis is, and how to log in there. What is not given is empty.

    `hosts` are those of the server, the sentinels or some of a cluster's nodes; there are none with a `socket_path`
    (str). `primary` (str) is what the sentinels call it. The names of the options are those of redis-py; they are
    paths, and the login at the sentinels.
    """

    topology: Topology
    hosts: tuple[HostPort, ...] = ()
    username: Secret = _NOTHING
    password: Secret = _NOTHING
    database: int = 0
    tls: bool = False
    socket_path: str = ""
    primary: str = ""
    ssl_ca_certs: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    sentinel_username: Secret = _NOTHING
    sentinel_password: Secret = _NOTHING
    # The address as given, and its password as the address spells it.
    text: Secret = field(default=_NOTHING, compare=False)
    spelt_password: Secret = field(default=_NOTHING, compare=False)

    def __repr__(self) -> str:
        # A password easily ends up in the place of a host or a name.
        return "RedisUrl('****')"

    @classmethod
    def parse(cls, given: str) -> RedisUrl:
        """Every form of the table. Raises InvalidValueError, also for a file of TLS that cannot be used."""
        parts = _split(given)
        if parts.scheme not in _SCHEMES:
            raise InvalidValueError(f"must begin with one of {', '.join(f'{each}://' for each in _SCHEMES)}")
        topology, hosts = _SCHEMES[parts.scheme], _redis_hosts(parts)
        if parts.fragment is not None:
            raise InvalidValueError(f"must not have a part after #; {_ENCODE}")
        username, password, spelt = _login(parts)
        primary, database = _primary_and_database(parts, topology)
        options = _options(parts, topology)
        files = {name: options[name] for name in TLS_OPTIONS if name in options}
        if files:
            from token_refresher.domain.tls_files import check_tls_files  # few addresses name any

            check_tls_files(files)
        return cls(
            topology,
            hosts,
            Secret(username),
            Secret(password),
            int(options.get("db", database)),
            parts.scheme.startswith("rediss"),
            unquote(parts.path) if topology is Topology.SOCKET else "",
            primary,
            options.get("ssl_ca_certs", ""),
            options.get("ssl_certfile", ""),
            options.get("ssl_keyfile", ""),
            Secret(options.get("sentinel_username", "")),
            Secret(options.get("sentinel_password", "")),
            Secret(given),
            Secret(spelt),
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """`hosts` with the usual port where none is given."""
        usual = _SENTINEL_PORT if self.topology is Topology.SENTINEL else _REDIS_PORT
        return [(each.host, each.port or usual) for each in self.hosts]

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every text that must not show."""
        return self.text, self.password, self.spelt_password, self.sentinel_password


def _redis_hosts(parts: _Parts) -> tuple[HostPort, ...]:
    topology, beyond = _SCHEMES[parts.scheme], parts.path + (parts.query or "") + (parts.fragment or "")
    if topology is Topology.SOCKET:
        if parts.hosts and "@" in beyond:
            raise InvalidValueError(_NOT_ENCODED)
        if parts.hosts:
            raise InvalidValueError("must have no host: three slashes come before the path, unix:///path/to/socket")
        if not parts.segments:
            raise InvalidValueError("must name the path of a socket: unix:///path/to/socket")
        return ()
    if "@" in beyond:
        raise InvalidValueError(_NOT_ENCODED)
    if not parts.hosts:
        raise InvalidValueError(f"must name a host: {parts.scheme}://[USER:PASSWORD@]HOST[:PORT]")
    if topology is Topology.SERVER and "," in parts.hosts:
        raise InvalidValueError("must name one host; several are for redis+sentinel:// and redis+cluster://")
    if topology is Topology.SERVER:
        return (_server(parts),)
    return tuple(HostPort.parse(each) for each in parts.hosts.split(","))


def _server(parts: _Parts) -> HostPort:
    try:
        return HostPort.parse(parts.hosts)
    except InvalidValueError as error:
        # Likely a password, without what comes after it.
        if parts.login is None and re.fullmatch("[^:]*:[^:]*[^:0-9][^:]*|:[^:]*", parts.hosts):
            raise InvalidValueError(f"{error.what}; a password comes before an @: :PASSWORD@HOST") from None
        raise


def _login(parts: _Parts) -> tuple[str, str, str]:
    """User and password, and the password as it is spelt."""
    given = parts.login or ""
    if _NEVER_IN_A_LOGIN.search(given):
        raise InvalidValueError(_NOT_ENCODED)
    user, colon, spelt = given.partition(":")
    if user and not colon:
        # redis-py would take it for the name of a user without a password.
        ways = f"{parts.scheme}://:PASSWORD@HOST or {parts.scheme}://USER:PASSWORD@HOST"
        raise InvalidValueError(f"must have a colon before its password: write {ways}")
    try:
        return unquote(user, errors="strict"), unquote(spelt, errors="strict"), spelt
    except UnicodeDecodeError:
        raise InvalidValueError(
            "must have percent-encoded UTF-8 as its user and password (é is %C3%A9, not %E9)"
        ) from None


def _primary_and_database(parts: _Parts, topology: Topology) -> tuple[str, int]:
    """What the path says. redis-py would take what it cannot read for database 0 and say nothing."""
    path, primary, where = parts.segments, "", "host"
    if topology is Topology.SOCKET:
        return "", 0
    if topology is Topology.CLUSTER:
        if path not in ([], ["0"]):
            raise InvalidValueError(_ONE_DATABASE)
        return "", 0
    if topology is Topology.SENTINEL:
        if not path or not path[0]:
            raise InvalidValueError("must name the primary after the sentinels: HOST:PORT/NAME")
        primary, path, where = unquote(path[0]), path[1:], "primary's name"
    if len(path) > 1 or not _is_database(path[0] if path else "0"):
        raise InvalidValueError(f"must have a database's number after the {where} (/0 for example), or nothing")
    return primary, int(path[0]) if path else 0


def _is_database(text: str) -> bool:
    return bool(_DATABASE.fullmatch(text)) and int(text) <= LARGEST_DATABASE


def _options(parts: _Parts, topology: Topology) -> dict[str, str]:
    accepted = [
        *(("db",) if topology is Topology.SOCKET else ()),
        *(TLS_OPTIONS if parts.scheme.startswith("rediss") else ()),
        *(_SENTINEL_OPTIONS if topology is Topology.SENTINEL else ()),
    ]
    found: dict[str, str] = {}
    options = parse_qsl(parts.query or "", keep_blank_values=True)
    if parts.query and not options:
        raise InvalidValueError("must have options of the form ?name=value")
    for name, value in options:
        if name not in accepted:
            raise InvalidValueError(_why_not(name, parts.scheme, accepted))
        if not value:
            raise InvalidValueError(f"must give its option {name} a value")
        if name in found:
            raise InvalidValueError(f"must give its option {name} only once")
        if name == "db" and not _is_database(value):
            raise InvalidValueError("must have a database's number as its option db (?db=0 for example)")
        found[name] = value
    return found


def _why_not(name: str, scheme: str, accepted: list[str]) -> str:
    """The end of a sentence about an option that has no effect here."""
    if not _OPTION_NAME.fullmatch(name):
        return f"must not have an option that is not accepted (its name is not shown); {_accepted(scheme, accepted)}"
    if name in TLS_OPTIONS and scheme != "unix":
        return f"must begin with {scheme.replace('redis', 'rediss', 1)}:// to have the option {name}"
    if name == "db":
        if scheme.endswith("+cluster"):
            return _ONE_DATABASE
        return "must not have the option db: write the database's number after the host, /0"
    if not accepted:
        return f"must not have the option {name}: {_accepted(scheme, accepted)}"
    hint = did_you_mean(name, accepted) or f"; {_accepted(scheme, accepted)}"
    return f"must not have the option {name}, which is not accepted{hint}"


def _accepted(scheme: str, accepted: list[str]) -> str:
    return f"{', '.join(accepted) or 'no options'} {'is' if len(accepted) == 1 else 'are'} accepted with {scheme}://"
