"""Each address is parsed once and in one place: what is accepted, what it means, and what is said of all else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from support.planted import plant
from support.tables import each_line
from token_refresher import AsyncReader, Reader
from token_refresher.domain.addresses import PlatformUrl, ProxyUrl, RedisUrl, Topology
from token_refresher.domain.errors import InvalidValueError, SettingsError
from token_refresher.domain.host_port import HostPort
from token_refresher.settings.loader import Settings, read

APP = {"APP_ID": "app1", "APP_SECRET": "s1"}


def what(parse: Callable[[str], object], given: str) -> str:
    with pytest.raises(InvalidValueError) as raised:
        parse(given)
    return raised.value.what


# -- HOST:PORT --------------------------------------------------------------------------------------------------------


@each_line(
    ("text", "host", "port"),
    [
        ("h", "h", None),
        ("h:1", "h", 1),
        ("h.example:65535", "h.example", 65535),
        ("h.example.:1", "h.example.", 1),
        ("redis_host", "redis_host", None),
        ("10.0.0.1:00080", "10.0.0.1", 80),
        ("[::1]:9", "::1", 9),
        ("[2001:DB8::1]", "2001:DB8::1", None),
        ("[::ffff:1.2.3.4]:1", "::ffff:1.2.3.4", 1),
        ("数据库.example:1", "数据库.example", 1),
    ],
)
def test_host_and_port(text: str, host: str, port: int | None) -> None:
    assert HostPort.parse(text) == (host, port)
    assert HostPort.parse(str(HostPort.parse(text))) == (host, port)


NO_HOST_AND_PORT = (
    ["", ":", ":1", "h:", "h:x", "h:0", "h:65536", "h:999999", "h:1:2", "::1", "[::1", "::1]", "[]", "[]:1", "[1.2]",
     "[h]", "[::1]1", "[fe80::1%eth0]:1", "a b", "h ", " h", "h\n", "a..b", ".a", "-a", "a-", "h/p", "h?q", "h#f",
     "u@h", "h,g", "h%41", "<host>", "${HOST}", "h\\p", "h:١", "h\u2100x", f"{'a' * 64}", f"{'数' * 60}"]
)  # fmt: skip


def test_what_is_no_host_and_port() -> None:
    for text in NO_HOST_AND_PORT:
        assert what(HostPort.parse, text).startswith("must "), text


def test_port_0_is_for_those_who_listen() -> None:
    assert HostPort.parse_listening("h:0") == ("h", 0)
    assert HostPort.parse_listening("[::1]:8080") == ("::1", 8080)
    for text in ("h", "h:65536", "::1:8081"):
        assert what(HostPort.parse_listening, text).startswith("must ")


def test_this_machine_is_told_from_others() -> None:
    for host in ("localhost", "LocalHost", "127.0.0.1", "127.9.8.7", "::1"):
        assert HostPort(host).is_loopback, host
        assert HostPort(host, 1).is_loopback, host
    for host in ("h", "localhost.example", "127.0.0.1.example", "128.0.0.1", "::2", ""):
        assert not HostPort(host).is_loopback, host


# -- Redis ------------------------------------------------------------------------------------------------------------

Server, Socket, Sentinel, Cluster = Topology
H1, H2 = HostPort("h1"), HostPort("h2", 2)
REDIS: dict[str, dict[str, Any]] = {
    "redis://h": {"hosts": (HostPort("h"),)},
    "redis://h/": {"hosts": (HostPort("h"),)},
    "redis://h:1/15": {"hosts": (HostPort("h", 1),), "database": 15},
    "redis://h/2147483647": {"hosts": (HostPort("h"),), "database": 2147483647},
    "redis://[::1]:6379/0": {"hosts": (HostPort("::1", 6379),)},
    "redis://:p@h": {"hosts": (HostPort("h"),), "password": "p"},
    "redis://u:p@h": {"hosts": (HostPort("h"),), "username": "u", "password": "p"},
    "redis://u:@h": {"hosts": (HostPort("h"),), "username": "u"},
    "redis://:@h": {"hosts": (HostPort("h"),)},
    "redis://@h": {"hosts": (HostPort("h"),)},
    "redis://u%3A1:p%40%2F%3a%25%20+@h": {"hosts": (HostPort("h"),), "username": "u:1", "password": "p@/:% +"},
    "redis://:密:码@h": {"hosts": (HostPort("h"),), "password": "密:码"},
    "REDIS://h:1/0": {"hosts": (HostPort("h", 1),)},
    "Rediss://H.example": {"hosts": (HostPort("H.example"),), "tls": True},
    "unix:///run/redis.sock": {"topology": Socket, "socket_path": "/run/redis.sock"},
    "unix://u:p@/run/a%20b?db=3": {
        "topology": Socket, "socket_path": "/run/a b", "username": "u", "password": "p", "database": 3,
    },
    "redis+sentinel://h1,h2:2/main": {"topology": Sentinel, "hosts": (H1, H2), "primary": "main"},
    "redis+sentinel://h1/main/": {"topology": Sentinel, "hosts": (H1,), "primary": "main"},
    "rediss+sentinel://:p@h1,h2:2/main/4?sentinel_username=su&sentinel_password=s%40p": {
        "topology": Sentinel, "hosts": (H1, H2), "primary": "main", "password": "p", "tls": True, "database": 4,
        "sentinel_username": "su", "sentinel_password": "s@p",
    },
    "redis+cluster://h1,h2:2": {"topology": Cluster, "hosts": (H1, H2)},
    "rediss+cluster://u:p@h2:2/0": {
        "topology": Cluster, "hosts": (H2,), "username": "u", "password": "p", "tls": True,
    },
}  # fmt: skip
# Each with a word of what is said about it.
WRONG: dict[str, str] = {
    "": "must begin with one of redis://",
    "h:6379": "must begin with one of redis://",
    "redis:h": "must begin with one of redis://",
    "http://h": "must begin with one of redis://",
    "redis+other://h": "must begin with one of redis://",
    "redis ://h": "without blanks",
    " redis://h": "without blanks",
    "redis://h\n": "without blanks",
    "redis://:a b@h": "a blank is %20",
    "redis://h\x00": "control characters",
    "redis://:\udc80@h": "control characters",
    "redis://": "must name a host",
    "redis:///0": "must name a host",
    "redis://:p@": "must name a host",
    "redis://:6379": "must name a host before the port",
    "redis://:12/34": "must name a host before the port; a password comes before an @",
    "redis://:pa/ss@h:1/0": "percent-encode special characters in the password (@ is %40, / is %2F",
    "redis+sentinel://:pa/ss@h/main": "percent-encode special characters in the password",
    "redis://user:PASSWORD": "port from 1 to 65535 after the host's colon; a password comes before an @",
    "redis://:p#x@h": "percent-encode special characters in the password",
    "redis://u:1/x@h": "percent-encode special characters in the password",
    "redis://:p?x@h": "percent-encode special characters in the password",
    "redis://:p@x@h": "percent-encode special characters in the password",
    "redis://:pa[ss@h": "percent-encode special characters in the password",
    "redis://:pa]ss@h": "percent-encode special characters in the password",
    "redis://:50%@h": "percent-encode special characters in the password",
    "redis://:%FF@h": "percent-encoded UTF-8",
    "redis://PASSWORD@h": "a colon before its password: write redis://:PASSWORD@HOST",
    "redis+sentinel://PASSWORD@h/main": "a colon before its password",
    "unix://PASSWORD@/s": "a colon before its password",
    "redis://:pw@host:port/0": "must have a port from 1 to 65535 after the host's colon",
    "redis://h:99999/0": "must have a port from 1 to 65535 after the host's colon",
    "redis://h:port": "port from 1 to 65535",
    "redis://h:": "port from 1 to 65535",
    "redis://h:0": "port from 1 to 65535",
    "redis://h:65536": "port from 1 to 65535",
    "redis://h1,h2": "must name one host; several are for redis+sentinel://",
    "redis://[::1": "must name a host",
    "redis://::1": "an IPv6 address is written in brackets, as in [::1]:6379",
    "redis://[1.2]": "must name a host",
    "redis://${HOST}:6379": "must name a host",
    "redis://h/zero": "a database's number",
    "redis://h/-1": "a database's number",
    "redis://h/2147483648": "a database's number",
    "redis://h/0/1": "a database's number",
    "redis://h/0#": "must not have a part after #",
    "redis://h/0#x": "must not have a part after #",
    "unix:///s#x": "must not have a part after #",
    "redis://h:1/0?foo=1": "the option foo",
    "redis://h/0?x": "the option x",
    "redis://h/0?&": "of the form ?name=value",
    "redis://h?db=1": "after the host, /0",
    "redis://h?ssl_ca_certs=/x": "must begin with rediss://",
    "redis+sentinel://h/main?ssl_keyfile=/x": "must begin with rediss+sentinel://",
    "rediss://h:1/0?ssl_ca=x": "did you mean ssl_ca_certs?",
    "rediss://h?ssl_ca_certs=": "its option ssl_ca_certs a value",
    "rediss://h?ssl_ca_certs=/nowhere": "a file that exists as its option ssl_ca_certs",
    "rediss+cluster://h?ssl_certfile=/nowhere": "a file that exists as its option ssl_certfile",
    "rediss+sentinel://h/main?ssl_keyfile=/proc/self/status": "ssl_certfile beside ssl_keyfile",
    "redis://h?P4ss-Word=1": "its name is not shown); no options are accepted with redis://",
    "unix://": "the path of a socket",
    "unix:///": "the path of a socket",
    "unix://run/redis.sock": "three slashes",
    "unix://u:p/x@/s": "percent-encode special characters in the password",
    "unix:///s?db=x": "a database's number as its option db",
    "unix:///s?db=2147483648": "a database's number as its option db",
    "unix:///s?db=1&db=2": "its option db only once",
    "unix:///s?ssl_ca_certs=/x": "the option ssl_ca_certs, which is not accepted",
    "redis+sentinel://h:1": "must name the primary",
    "redis+sentinel://h/": "must name the primary",
    "redis+sentinel://h/name/x": "a database's number",
    "redis+sentinel://h/name/0/1": "a database's number",
    "redis+sentinel://s1,,s2/main": "must name a host",
    "redis+sentinel://s1,/main": "must name a host",
    "redis+sentinel://s1:0,s2/main": "port from 1 to 65535",
    "redis+sentinel://h/main?sentinel_password=a&sentinel_password=b": "its option sentinel_password only once",
    "redis+sentinel://h/main?sentinel_pasword=a": "did you mean sentinel_password?",
    "redis+cluster://h:1/3": "only database 0",
    "redis+cluster://h?db=0": "only database 0",
    "redis+cluster://h,h:x": "port from 1 to 65535",
}


def plain(url: RedisUrl) -> dict[str, Any]:
    """What is not as it would be without being given."""
    nothing = RedisUrl(Topology.SERVER)
    found = {each.name: getattr(url, each.name) for each in fields(url) if each.compare}
    shown = {name: getattr(value, "reveal", lambda value=value: value)() for name, value in found.items()}
    return {name: value for name, value in shown.items() if found[name] != getattr(nothing, name)}


@each_line("url", REDIS)
def test_every_form_of_redis_is_taken_apart(url: str) -> None:
    assert plain(RedisUrl.parse(url)) == REDIS[url]


def readers(url: str, settings: Settings | None = None) -> list[str]:
    """What each reader says that gets this URL, or these settings; "" where it takes them."""
    said = []
    for kind in (Reader, AsyncReader):
        try:
            reader: Any = kind.from_settings(settings) if settings else kind.from_url(url)
        except SettingsError as error:
            said.append(error.what)
        else:
            said.append("")
            closing = reader.close()
            if closing is not None:
                asyncio.run(closing)
    return said


@pytest.mark.parametrize("topology", ["redis", "unix", "sentinel"])
def test_what_the_refresher_accepts_both_readers_accept(topology: str) -> None:
    for url in REDIS:
        kind = "sentinel" if "+sentinel:" in url.lower() else url.partition(":")[0].lower().replace("rediss", "redis")
        if kind == topology:
            settings = read(APP | {"REDIS_URL": url})
            assert readers(url) == ["", ""], url
            assert readers(url, settings) == ["", ""], url


@pytest.mark.parametrize("words", dict.fromkeys(WRONG.values()))
def test_a_wrong_address_of_redis_is_reported_with_all_else_and_readers_say_the_same(
    words: str, tmp_path: Path
) -> None:
    for url in WRONG:
        if url and WRONG[url] == words:
            assert words in what(RedisUrl.parse, url), url
            told = [words in said and said.startswith("the address of Redis must ") for said in readers(url)]
            assert told == [True, True], url
            if url.isprintable():
                reported_with_all_else(url, words, tmp_path / "config.yaml")


def reported_with_all_else(url: str, words: str, path: Path) -> None:
    path.write_text(f"storage_redis: {{url: '{url}'}}\napp_info: [{{app_id: a}}]\n", "utf-8")
    for environ, name in (
        ({"APP_ID": "a", "REDIS_URL": url}, "REDIS_URL"),
        ({"CONFIG_FILE": str(path)}, "storage_redis.url"),
    ):
        with pytest.raises(SettingsError) as raised:
            read(environ)
        missing, wrong = raised.value.problems
        assert missing.upper().endswith("APP_SECRET IS MISSING")
        assert wrong.startswith(f"{name} must ")
        assert words in wrong


def test_the_files_of_tls_are_named(tmp_path: Path) -> None:
    authority, ca, cert, key = trustme.CA(), tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    client = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(str(ca))
    client.cert_chain_pems[0].write_to_path(str(cert))
    client.private_key_pem.write_to_path(str(key))
    found = RedisUrl.parse(f"rediss://h?ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}")
    assert (found.ssl_ca_certs, found.ssl_certfile, found.ssl_keyfile) == (str(ca), str(cert), str(key))
    assert "(PEM)" in what(RedisUrl.parse, f"rediss://h?ssl_ca_certs={key}")
    assert "(PEM)" in what(RedisUrl.parse, f"rediss://h?ssl_certfile={ca}&ssl_keyfile={key}")
    twice = f"rediss://h?ssl_ca_certs={ca}&ssl_ca_certs={ca}"
    assert "its option ssl_ca_certs only once" in what(RedisUrl.parse, twice)


def test_a_missing_port_is_the_usual_one() -> None:
    assert RedisUrl.parse("redis://h").addresses == [("h", 6379)]
    assert RedisUrl.parse("redis+cluster://h1,[::1]:2").addresses == [("h1", 6379), ("::1", 2)]
    assert RedisUrl.parse("redis+sentinel://h1,h2:2/main").addresses == [("h1", 26379), ("h2", 2)]


def test_an_address_shows_none_of_its_secrets_and_knows_them(no_secrets: Callable[[object], None]) -> None:
    password, other = plant("redis", extra="%/@"), plant("sentinel")
    spelt = password.replace("%", "%25").replace("/", "%2F").replace("@", "%40")
    url = f"redis+sentinel://:{spelt}@h/main?sentinel_password={other}"
    redis_url = RedisUrl.parse(url)
    assert {each.reveal() for each in redis_url.secrets} == {url, password, spelt, other}
    proxy = ProxyUrl.parse(f"http://u:{spelt}@h:1")
    assert {each.reveal() for each in proxy.secrets} == {f"http://u:{spelt}@h:1", password, spelt}
    no_secrets(f"{redis_url} {redis_url!r} {proxy} {proxy!r} {vars(redis_url)} {vars(proxy)}")


@given(
    st.one_of(st.text(), st.sampled_from([*REDIS, *WRONG]).flatmap(lambda url: st.text(max_size=4).map(url.__add__)))
)
def test_nothing_else_is_ever_raised(text: str) -> None:
    for parse in (RedisUrl.parse, PlatformUrl.parse, ProxyUrl.parse, HostPort.parse, HostPort.parse_listening):
        with contextlib.suppress(InvalidValueError):
            parse(text)


# -- the platform and its proxy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h", PlatformUrl("https", HostPort("h"))),
        ("HTTPS://h:8443/a/b/", PlatformUrl("https", HostPort("h", 8443), "/a/b/")),
        ("http://[::1]:1/p", PlatformUrl("http", HostPort("::1", 1), "/p")),
        ("http://LOCALHOST", PlatformUrl("http", HostPort("LOCALHOST"))),
    ],
)
def test_an_address_of_the_platform_is_taken_apart(url: str, expected: PlatformUrl) -> None:
    assert PlatformUrl.parse(url) == expected
    assert PlatformUrl.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("words", "urls"),
    [
        ("https://host", ("", "h", "ftp://h", "https://", "https:///p")),
        ("without a user", ("https://u:p@h", "https://@h")),
        ("without query", ("https://h?", "https://h/p?x=1")),
        ("without query and fragment", ("https://h/#",)),
        ("port from 1 to 65535", ("https://h:x", "https://h:0")),
        ("must name a host", ("https://h1,h2", "https://[x]", "https://h\u2100x")),
        ("without blanks", ("https://a b",)),
        ("must begin with https://", ("http://h", "http://[::2]")),
    ],
)
def test_what_is_no_address_of_the_platform(words: str, urls: tuple[str, ...]) -> None:
    for url in urls:
        assert words in what(PlatformUrl.parse, url), url


def test_addresses_below_and_beside() -> None:
    base = PlatformUrl.parse("https://h:1/a/")
    assert str(base.below("/OAuth2/token")) == "https://h:1/a/OAuth2/token"
    assert str(base.below("/OAuth2/ticket").beside("checkCode")) == "https://h:1/a/OAuth2/checkCode"
    assert str(PlatformUrl.parse("https://h").beside("checkCode")) == "https://h/checkCode"


@each_line(
    ("url", "username", "password"),
    [
        ("http://h:1", "", ""),
        ("HTTPS://[::1]:1/", "", ""),
        ("http://token@h", "token", ""),
        ("http://:p@h:1", "", "p"),
        ("http://us%40er:pass%2Fw%3Ard@h", "us@er", "pass/w:rd"),
        ("http://u:%FF@h", "u", "\udcff"),
    ],
)
def test_a_proxy_is_taken_apart(url: str, username: str, password: str) -> None:
    found = ProxyUrl.parse(url)
    assert (found.username.reveal(), found.password.reveal(), found.text.reveal()) == (username, password, url)
    assert found.scheme in ("http", "https")


@pytest.mark.parametrize(
    ("words", "urls"),
    [
        ("a proxy's address", ("h:1", "socks5://h", "http://", "http://u:p@")),
        ("after the proxy's port", ("http://h/path", "http://h?x", "http://h#x")),
        (
            "percent-encode special characters in the password",
            ("http://u:p/q@h:1", "http://u:p#q@h:1", "http://u:p@q@h:1", "http://u:p[q@h:1", "http://u:p%4@h:1"),
        ),
        ("port from 1 to 65535", ("http://h:port", "http://h:0")),
        ("must name one host", ("http://h1,h2",)),
        ("without blanks", ("http://a b:1",)),
    ],
)
def test_what_is_no_proxy(words: str, urls: tuple[str, ...]) -> None:
    for url in urls:
        assert words in what(ProxyUrl.parse, url), url
