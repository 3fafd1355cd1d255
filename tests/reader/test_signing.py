"""The signature of a page: the platform's own vector, its URL cases, and what no client would agree on."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.tables import each_line
from token_refresher.domain.errors import SigningError
from token_refresher.reader.signing import core_config, sign, signed_url

# What the platform's documentation gives to check an implementation by.
TICKET, NONCE, TIMESTAMP = "a4dcdk", "1234", 1654850924
URL, SIGNATURE = "https://yuanzhibang.com/a/b/?x=1&v=x#12", "a8cb02e00c2759372954bf5516d110066b911aa4"


def test_the_platforms_vector_comes_out() -> None:
    assert sign(TICKET, NONCE, TIMESTAMP, URL) == SIGNATURE


def test_a_page_gets_exactly_the_five_things_that_core_config_takes() -> None:
    assert core_config("app1", TICKET, NONCE, TIMESTAMP, URL) == {
        "app_id": "app1",
        "timestamp": "1654850924",
        "nonce_str": "1234",
        "signature": SIGNATURE,
        "url": URL,
    }


@each_line(
    ("url", "signed"),
    [
        # the platform's own cases
        ("https://yuanzhibang.com/a/b/?x=1&v=x#12", "https://yuanzhibang.com/a/b"),
        ("https://yuanzhibang.com:80/a/b/?x=1", "https://yuanzhibang.com:80/a/b"),
        # query and fragment, alone and empty, and such as look like a path
        ("https://example.com/a?x=1", "https://example.com/a"),
        ("https://example.com/a#top", "https://example.com/a"),
        ("https://example.com/a?", "https://example.com/a"),
        ("https://example.com/a#", "https://example.com/a"),
        ("https://example.com?x=/y/", "https://example.com"),
        ("https://example.com#/route/", "https://example.com"),
        ("https://example.com/a?x=1?y=2#z#?", "https://example.com/a"),
        # only one trailing slash goes
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com//a", "https://example.com//a"),
        ("https://example.com/a/?x=//", "https://example.com/a"),
        # ports stay, another scheme's own too
        ("https://example.com:80/a", "https://example.com:80/a"),
        ("http://example.com:443/", "http://example.com:443"),
        ("http://example.com:8080", "http://example.com:8080"),
        # hosts
        ("https://[2001:db8::1]/a/", "https://[2001:db8::1]/a"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("http://192.0.2.1/", "http://192.0.2.1"),
        ("http://localhost:5000/page", "http://localhost:5000/page"),
        ("https://xn--fiqs8s.example/", "https://xn--fiqs8s.example"),
        # what looks special in a path is not
        ("https://example.com/a;v=1/b,c/@d/", "https://example.com/a;v=1/b,c/@d"),
        ("https://example.com/a?x=;v=1", "https://example.com/a"),
        ("https://example.com/.well-known/..a/b../...", "https://example.com/.well-known/..a/b../..."),
        ("https://example.com/?to=/../", "https://example.com"),
        ("http://1.2.3.4.example/a", "http://1.2.3.4.example/a"),
        ("http://255.0.10.1:8080/", "http://255.0.10.1:8080"),
        ("https://example.com/%E7%8C%BF/%2F/", "https://example.com/%E7%8C%BF/%2F"),
        ("https://example.com/?to=https://user@host/", "https://example.com"),
        # a path is not folded: the page is signed as it names itself
        ("https://example.com/A/%2F", "https://example.com/A/%2F"),
    ],
)
def test_of_an_address_scheme_host_port_and_path_are_signed(url: str, signed: str) -> None:
    assert signed_url(url) == signed
    text = f"js_ticket={TICKET}&nonce_str={NONCE}&timestamp={TIMESTAMP}&url={signed}"
    assert sign(TICKET, NONCE, TIMESTAMP, url) == hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - prescribed


@each_line(
    "url",
    [
        "https://例子.example/a",
        "https://example.com/猿/",
        "https://example.com/?q=猿",
        "https://example.com/a b",
        " https://example.com/",
        "https://example.com/\n",
        "https://example.com/\ta",
        "https://exam\x00ple.com/",
        "https://example.com/\x7f",
        "https://example.com/\ud800",
    ],
)
def test_what_a_browser_would_encode_is_refused(url: str) -> None:
    with pytest.raises(SigningError, match="a browser would encode") as caught:
        signed_url(url)
    assert "location.href" in str(caught.value)


@each_line(
    "url",
    [
        "",
        "/a/b",
        "example.com/a",
        "www.example.com",
        "//example.com/a",
        "localhost:5000/a",
        "https:/example.com",
        "https:example.com",
        "https://",
        "https:///a",
        "https://:443/a",
        "https://?x=1",
        "ftp://example.com/",
        "file:///etc/hosts",
        "javascript:alert(1)",
        "httpsx://example.com/",
    ],
)
def test_an_address_without_scheme_or_host_is_refused(url: str) -> None:
    with pytest.raises(SigningError, match="does not begin with http:// or https:// and a host"):
        signed_url(url)


@each_line(
    "url",
    [
        "https://example.com:65536/",
        "https://example.com:port/",
        "https://example.com:-1/",
        "https://[::1/",
        "https://::1]/",
        "https://[::1]:x/",
    ],
)
def test_an_address_with_an_impossible_host_or_port_is_refused(url: str) -> None:
    with pytest.raises(SigningError, match="no valid host and port"):
        signed_url(url)


@pytest.mark.parametrize(
    "url", ["https://user@example.com/", "https://user:hidden@example.com/a", "https://@example.com/"]
)
def test_an_address_with_a_user_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(SigningError, match="user name or password") as caught:
        signed_url(url)
    assert "hidden" not in str(caught.value)


# What the published clients make of it: Python's urlparse, PHP's parse_url, Java's URL, and JavaScript's URL, which
# writes every address as `location.href` does. Where two of these differ, nobody knows which one the platform follows.
DISPUTED = {
    # Python and Java fold the scheme, PHP does not; JavaScript folds the host, the others do not
    "HTTPS://example.com/a": "small letters",
    "Http://example.com/a": "small letters",
    "https://Example.com/a": "small letters",
    "https://[2001:DB8::1]/a": "small letters",
    # PHP and JavaScript drop an empty port, Python and Java keep its colon
    "https://example.com:/a": "an empty port",
    "http://localhost:": "an empty port",
    "https://[::1]:/a": "an empty port",
    # JavaScript drops the scheme's own port
    "https://example.com:443/": "the scheme's own",
    "http://example.com:80/a": "the scheme's own",
    "https://[::1]:443/": "the scheme's own",
    # PHP and JavaScript read a port as a number
    "http://example.com:080/a": "leading zeros",
    "http://example.com:08080/a": "leading zeros",
    # JavaScript walks the dots, the others leave them, encoded or not
    "https://example.com/a/../b": "segments of dots",
    "https://example.com/./a": "segments of dots",
    "https://example.com/a/..": "segments of dots",
    "https://example.com/a/%2e%2E/b": "segments of dots",
    "https://example.com/.": "segments of dots",
    # JavaScript reads numbers and escapes in a host
    "http://127.1/a": "four parts",
    "http://2130706433/a": "four parts",
    "http://0x7f.0.0.1/a": "four parts",
    "http://127.0.0.01/a": "four parts",
    "http://ex%61mple.com/a": "no %",
    # Java takes one slash away in each of two places
    "https://example.com//": "two slashes",
    "https://example.com/a//": "two slashes",
    "https://example.com/a//?x=1": "two slashes",
    "https://example.com/a//#top": "two slashes",
    # Python's urlparse cuts the last segment off at a semicolon
    "https://example.com/a;v=1": "a semicolon",
    "https://example.com/pay;jsessionid=1A2B?x=1": "a semicolon",
    "https://example.com/;": "a semicolon",
}


@each_line("url", DISPUTED)
def test_an_address_of_which_published_clients_make_different_texts_is_refused(url: str) -> None:
    with pytest.raises(SigningError, match=DISPUTED[url]):
        sign(TICKET, NONCE, TIMESTAMP, url)


@pytest.mark.parametrize("url", [None, b"https://example.com/", 5])
def test_what_is_no_text_is_refused(url: object) -> None:
    with pytest.raises(SigningError):
        signed_url(url)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [4, 128])
def test_a_nonce_may_have_4_to_128_characters(length: int) -> None:
    assert re.fullmatch("[0-9a-f]{40}", sign(TICKET, "n" * length, TIMESTAMP, URL))


@pytest.mark.parametrize("length", [0, 1, 3, 129])
def test_a_nonce_that_the_platform_has_no_room_for_is_refused(length: int) -> None:
    with pytest.raises(SigningError, match="4 to 128 characters"):
        sign(TICKET, "n" * length, TIMESTAMP, URL)


def test_a_ticket_outside_ascii_is_signed_as_utf8() -> None:
    text = f"js_ticket=猿之棒&nonce_str={NONCE}&timestamp={TIMESTAMP}&url=https://example.com"
    expected = hashlib.sha1(text.encode("utf-8")).hexdigest()  # noqa: S324 - prescribed
    assert sign("猿之棒", NONCE, TIMESTAMP, "https://example.com/") == expected


@given(
    ticket=st.text(st.characters()),
    nonce=st.text(st.characters()),
    timestamp=st.integers(),
    url=st.text(st.characters()),
)
@example(ticket="a\ud800", nonce="nnnn", timestamp=1, url="https://example.com/")
@example(ticket="a", nonce="nnn\udfff", timestamp=1, url="https://example.com/")
def test_whatever_is_given_nothing_but_a_signing_error_comes(ticket: str, nonce: str, timestamp: int, url: str) -> None:
    try:
        signature = sign(ticket, nonce, timestamp, url)
    except SigningError:
        return
    assert re.fullmatch("[0-9a-f]{40}", signature)


# Texts near enough to an address to get far.
PIECES = st.sampled_from(
    [
        "http",
        "https",
        "HTTP",
        ":",
        "/",
        "//",
        "?",
        "#",
        "@",
        "[",
        "]",
        "::1",
        "%",
        "\\",
        ".",
        "..",
        "a.b",
        "80",
        "99999",
    ]
)


@given(
    url=st.lists(PIECES, max_size=12).map("".join) | st.lists(PIECES, max_size=9).map(lambda p: "https://" + "".join(p))
)
def test_what_looks_like_an_address_is_signed_or_refused(url: str) -> None:
    try:
        signed = signed_url(url)
    except SigningError:
        return
    # It stands at the beginning of the address as it was given, without query, fragment and user.
    assert url.startswith(signed)
    assert not set("?#@") & set(signed.split("//", 1)[1].split("/", 1)[0])
    assert not set("?#") & set(signed)


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABELS, max_size=4).map(lambda labels: ".".join([*labels, "example"])),
    st.ip_addresses(v=4).map(str),
    st.just("[::1]"),
)
# Without the ports, hosts, dots, semicolons and slashes that are refused.
PORTS = st.one_of(st.just(""), st.integers(0, 65535).filter(lambda p: p not in (80, 443)).map(lambda port: f":{port}"))
SEGMENT = st.text("abcXYZ019-._~!$&'()*+,=:@%", max_size=8).filter(lambda part: part not in (".", ".."))
PATHS = st.lists(SEGMENT, max_size=5).map(lambda parts: "".join(f"/{part}" for part in parts))
PATHS = PATHS.filter(lambda path: not path.endswith("//"))
TAILS = st.text("abc/?=&%:@", max_size=10)


@given(
    scheme=st.sampled_from(["http", "https"]),
    netloc=st.tuples(HOSTS, PORTS).map("".join),
    path=PATHS,
    query=st.none() | TAILS,
    fragment=st.none() | TAILS,
)
def test_every_ordinary_address_is_signed_as_scheme_host_and_path_less_one_slash(
    scheme: str, netloc: str, path: str, query: str | None, fragment: str | None
) -> None:
    plain = f"{scheme}://{netloc}{path}"
    url = plain + ("" if query is None else f"?{query}") + ("" if fragment is None else f"#{fragment}")
    assert signed_url(url) == (plain[:-1] if plain.endswith("/") else plain)
