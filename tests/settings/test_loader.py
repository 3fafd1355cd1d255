"""Settings come from the environment or the published file; mistakes are told all at once, without values."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from support.tables import each_line
from token_refresher.domain.addresses import PlatformUrl, ProxyUrl, RedisUrl
from token_refresher.domain.errors import SettingsError
from token_refresher.domain.model import Endpoints, Secret
from token_refresher.domain.policy import Policy
from token_refresher.settings.loader import SETTINGS, Settings, read

PUBLISHED = Path(__file__).parents[1] / "data" / "published-config.yaml"
ALONE = {"APP_ID": "app1", "APP_SECRET": "s1", "REDIS_URL": "redis://localhost:6379/0"}
SIMULATED = "http://127.0.0.1:8000"
MINIMAL = "storage_redis: {host: r1}\napp_info:\n- {app_id: app1, app_secret: s1}\n"
POLICY_VARIABLES = [f"POLICY_{field.name.upper()}" for field in fields(Policy)]

# A configuration in which every value is set, to plant secrets in.
FULL = """\
proxies: {http: 'http://u:p@h1:1', https: 'http://u:p@h2:2'}
storage_redis: {host: r1, port: 6380, auth: a1, db: 3, username: u1, key_prefix: 'p:'}
oauth_api:
  get_server_access_token_url: 'https://h/t'
  get_user_access_token_url: 'https://h/u'
  get_js_ticket_url: 'https://h/j'
  check_code_url: 'https://h/c'
app_info: [{app_id: app1, app_secret: s1, app_name: n1, platform: other}]
policy: {margin_s: 1800}
platforms: {other: {base_url: 'https://other.example'}}
ca_bundle: null
log_level: INFO
"""

Configured = Callable[..., dict[str, str]]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Writes a configuration file and returns the environment that names it."""

    def write(content: str | bytes, **environ: str) -> dict[str, str]:
        path = tmp_path / "config.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return {"CONFIG_FILE": str(path), **environ}

    return write


def mistakes(environ: Mapping[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(environ)
    return caught.value.problems


def the_mistake(environ: Mapping[str, str]) -> str:
    (only,) = mistakes(environ)
    return only


def texts(endpoints: Endpoints) -> list[str]:
    return [str(url) for url in vars(endpoints).values()]


def published(*replacements: tuple[str, str]) -> str:
    text = PUBLISHED.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return text


def without(section: str) -> str:
    return re.sub(rf"(?m)^{section}:.*\n(?:[ -].*\n)*", "", PUBLISHED.read_text())


# ---- one application, from the environment


def test_three_variables_are_enough_for_one_application() -> None:
    settings = read(ALONE)
    assert [(app.app_id, app.secret, app.name, app.endpoints) for app in settings.apps] == [
        ("app1", Secret("s1"), "", Endpoints())
    ]
    assert settings.redis.url == RedisUrl.parse("redis://localhost:6379/0")
    assert (settings.redis.key_prefix, settings.proxies, settings.policy) == ("", {}, Policy())
    assert (settings.ca_bundle, settings.log_level, settings.warnings) == (None, "INFO", ())


def test_every_variable_is_taken_over(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    settings = read(
        ALONE
        | {
            "APP_NAME": "我的 应用",
            "REDIS_KEY_PREFIX": "team:",
            "PLATFORM_BASE_URL": SIMULATED + "/",
            "PLATFORM_HTTP_PROXY": "http://u:p%40@proxy:3128",
            "PLATFORM_HTTPS_PROXY": "https://[::1]:3129/",
            "PLATFORM_CA_BUNDLE": str(bundle),
            "LOG_LEVEL": "debug",
            "POLICY_MARGIN_S": "2000",
            "POLICY_READER_CACHE_S": "0.5",
            "POLICY_CONCURRENCY": "4",
        }
    )
    app = settings.app("app1")
    assert app is not None
    assert app.name == "我的 应用"
    assert texts(app.endpoints) == [
        f"{SIMULATED}/OAuth2/token",
        f"{SIMULATED}/OAuth2/ticket",
        f"{SIMULATED}/OAuth2/checkCode",
        f"{SIMULATED}/OAuth2/token",
    ]
    assert settings.redis.key_prefix == "team:"
    assert settings.proxies == {
        "http": ProxyUrl.parse("http://u:p%40@proxy:3128"),
        "https": ProxyUrl.parse("https://[::1]:3129/"),
    }
    assert (settings.ca_bundle, settings.log_level) == (str(bundle), "DEBUG")
    assert settings.policy == Policy(margin_s=2000, reader_cache_s=0.5, concurrency=4)


def test_an_application_that_is_not_there_is_none() -> None:
    assert read(ALONE).app("app2") is None


@each_line("field", [field.name for field in fields(Policy)])
def test_every_number_of_the_policy_can_be_set_in_both_places(field: str, configured: Configured) -> None:
    value = {"audit_interval_s": "0", "concurrency": "7"}.get(field, str(getattr(Policy(), field)))
    assert getattr(read(ALONE | {f"POLICY_{field.upper()}": value}).policy, field) == float(value)
    assert getattr(read(configured(f"{MINIMAL}policy: {{{field}: {value}}}")).policy, field) == float(value)


def test_whole_numbers_stay_whole_since_redis_takes_no_others() -> None:
    assert type(read(ALONE | {"POLICY_LEASE_TTL_S": "7200"}).policy.lease_ttl_s) is int


def test_an_empty_variable_is_an_absent_one() -> None:
    assert read(ALONE | dict.fromkeys(SETTINGS.keys() - ALONE.keys(), "")) == read(ALONE)


def test_neither_application_nor_file_names_both_ways() -> None:
    assert "APP_ID" in the_mistake({})
    assert "CONFIG_FILE" in the_mistake({})


def test_an_id_alone_lacks_secret_and_redis() -> None:
    assert mistakes({"APP_ID": "a"}) == ("APP_SECRET is missing", "REDIS_URL is missing")


def test_a_misspelt_number_in_the_environment_is_a_warning_with_the_right_name() -> None:
    assert read(ALONE | {"POLICY_MARGN_S": "1"}).warnings == (
        "the environment variable POLICY_MARGN_S is not read (did you mean POLICY_MARGIN_S?)",
    )


# ---- the published file


def test_the_published_file_works_unchanged() -> None:
    settings = read({"CONFIG_FILE": str(PUBLISHED)})
    assert [(app.app_id, app.secret, app.name, app.endpoints) for app in settings.apps] == [
        ("your_app_id", Secret("your_app_secret"), "your_app_name", Endpoints())
    ]
    assert settings.redis.url == RedisUrl.parse("redis://:redis_auth@redis_host:6379/0")
    assert settings.policy == Policy()


def test_the_published_samples_proxies_are_not_used_and_warned_about() -> None:
    settings = read({"CONFIG_FILE": str(PUBLISHED)})
    assert settings.proxies == {}
    assert [warning.partition(" ")[0] for warning in settings.warnings] == ["proxies.http", "proxies.https"]


def test_filled_in_proxies_are_used(configured: Configured) -> None:
    environ = configured(published(("@host:port", "@10.0.0.1:3128")))
    proxy = ProxyUrl.parse("http://user:password@10.0.0.1:3128")
    assert read(environ).proxies == {"http": proxy, "https": proxy}
    assert read(environ).warnings == ()


@pytest.mark.parametrize(
    "content",
    [
        without("proxies"),
        re.sub(r"(?m)^proxies:.*\n( .*\n)*", "proxies:\n", PUBLISHED.read_text()),
        re.sub(r"(?m)^proxies:.*\n( .*\n)*", "proxies: {}\n", PUBLISHED.read_text()),
        re.sub(r"(?m)^proxies:.*\n( .*\n)*", "proxies:\n  http: ''\n  https:\n", PUBLISHED.read_text()),
        re.sub(r"(?m)^proxies:.*\n( .*\n)*", "proxies: null\n", PUBLISHED.read_text()),
    ],
    ids=["absent", "without a value", "an empty section", "empty addresses", "null"],
)
def test_proxies_may_be_absent_or_empty(content: str, configured: Configured) -> None:
    settings = read(configured(content))
    assert (settings.proxies, settings.warnings) == ({}, ())


@pytest.mark.parametrize("auth", ["  auth: redis_auth  # may be empty\n", "redis_auth"])
def test_the_password_of_redis_may_be_absent_or_empty(auth: str, configured: Configured) -> None:
    environ = configured(published((auth, "")))
    assert read(environ).redis.url == RedisUrl.parse("redis://redis_host:6379/0")


@pytest.mark.parametrize("line", ["  db: 0             # may be absent\n", " 0             # may be absent"])
def test_the_database_may_be_absent_or_empty(line: str, configured: Configured) -> None:
    assert read(configured(published((line, "")))).redis.url.database == 0


def test_absent_addresses_are_the_platforms_own(configured: Configured) -> None:
    assert read(configured(without("oauth_api"))).apps[0].endpoints == Endpoints()


@pytest.mark.parametrize(
    ("ticket_url", "check_code_url"),
    [
        ("https://h/OAuth2/ticket", "https://h/OAuth2/checkCode"),
        ("https://h:8443/a/b/ticket/", "https://h:8443/a/b/checkCode"),
        ("https://h", "https://h/checkCode"),
    ],
)
def test_the_address_of_check_code_is_beside_that_of_the_ticket(
    ticket_url: str, check_code_url: str, configured: Configured
) -> None:
    environ = configured(f"{MINIMAL}oauth_api: {{get_js_ticket_url: '{ticket_url}'}}")
    assert read(environ).apps[0].endpoints.check_code_url == PlatformUrl.parse(check_code_url)


def test_given_addresses_are_used_as_they_are(configured: Configured) -> None:
    endpoints = read(configured(FULL.replace(", platform: other", ""))).apps[0].endpoints
    assert texts(endpoints) == ["https://h/t", "https://h/j", "https://h/c", "https://h/u"]


@each_line("auth", ["012345", "0x10", "1e3", "yes", "1_000", "2024-01-01", "!!str 7", "'~'"])
def test_what_yaml_takes_for_a_number_stays_as_it_was_written(auth: str, configured: Configured) -> None:
    environ = configured(published(("redis_auth", auth), ("'your_app_id'", "1001"), ("redis_host", "'10'")))
    settings = read(environ)
    password = auth.removeprefix("!!str ").strip("'")
    assert settings.redis.url == RedisUrl.parse(f"redis://:{quote(password)}@10:6379/0")
    assert settings.apps[0].app_id == "1001"


def test_the_parts_of_redis_are_taken_as_they_are(configured: Configured) -> None:
    storage = "{host: '::1', port: 6380, username: 'u:1', auth: 'p@/#?% é', db: 5}"
    environ = configured(MINIMAL.replace("{host: r1}", storage))
    assert read(environ).redis.url == RedisUrl.parse("redis://u%3A1:p%40%2F%23%3F%25%20%C3%A9@[::1]:6380/5")


def test_many_applications_keep_their_order_and_may_share_a_secret(configured: Configured) -> None:
    listed = "".join(f"- {{app_id: app{n}, app_secret: same}}\n" for n in range(50))
    settings = read(configured(f"storage_redis: {{host: r1}}\napp_info:\n{listed}"))
    assert [app.app_id for app in settings.apps] == [f"app{n}" for n in range(50)]


def test_an_application_may_live_on_another_platform(configured: Configured) -> None:
    first, second = (
        read(configured(FULL.replace("[{", "[{app_id: app0, app_secret: s0}, {"))).app(app_id)
        for app_id in ("app0", "app1")
    )
    assert first is not None
    assert second is not None
    assert str(first.endpoints.token_url) == "https://h/t"
    assert str(second.endpoints.ticket_url) == "https://other.example/OAuth2/ticket"


def test_the_environment_overrides_the_file(configured: Configured, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    over = {
        "REDIS_URL": "rediss://elsewhere",
        "REDIS_KEY_PREFIX": "q:",
        "PLATFORM_BASE_URL": SIMULATED,
        "PLATFORM_HTTPS_PROXY": "http://other:1",
        "PLATFORM_CA_BUNDLE": str(bundle),
        "LOG_LEVEL": "ERROR",
        "POLICY_MARGIN_S": "3000",
    }
    content = FULL.replace(", platform: other", "").replace("ca_bundle: null", "ca_bundle: /nowhere")
    settings = read(configured(content, **over))
    assert settings.redis.url == RedisUrl.parse("rediss://elsewhere")
    assert settings.redis.key_prefix == "q:"
    assert str(settings.apps[0].endpoints.token_url) == f"{SIMULATED}/OAuth2/token"
    assert settings.proxies == {"http": ProxyUrl.parse("http://u:p@h1:1"), "https": ProxyUrl.parse("http://other:1")}
    assert (settings.ca_bundle, settings.log_level) == (str(bundle), "ERROR")
    assert settings.policy.margin_s == 3000


def test_the_file_may_give_the_address_of_redis_whole(configured: Configured) -> None:
    settings = read(configured(MINIMAL.replace("host: r1", "host: r1, url: 'rediss://r2/1'")))
    assert settings.redis.url == RedisUrl.parse("rediss://r2/1")
    assert settings.warnings == ("storage_redis.url is given, so these go unused: host",)


def test_an_application_in_both_places_is_a_mistake(configured: Configured) -> None:
    assert "set either APP_ID or CONFIG_FILE (or --config), not both" in the_mistake(configured(MINIMAL, APP_ID="app2"))


def test_unknown_names_in_published_sections_are_warnings(configured: Configured) -> None:
    extra = "extra: 1\nlog_levl: DEBUG\n"
    warnings = read(configured(MINIMAL.replace("host: r1", "host: r1, prt: 1") + extra)).warnings
    assert warnings[0] == "storage_redis: the name on line 1 is unknown (did you mean port?)"
    assert warnings[1].startswith("top level: the name on line 4 is unknown (accepted are proxies, storage_redis")
    assert warnings[2] == "top level: the name on line 5 is unknown (did you mean log_level?)"


@pytest.mark.parametrize(
    ("old", "new", "where", "meant"),
    [
        ("app_name", "app_nme", "app_info entry 1", "app_name"),
        ("margin_s", "margins", "policy", "margin_s"),
        (", platform: other", "}, {app_id: b, app_secret: c, paltform: x", "app_info entry 2", "platform"),
        ("{base_url", "{baseurl: x, base_url", "platforms.other", "base_url"),
    ],
)
def test_unknown_names_in_our_sections_are_mistakes_with_a_proposal(
    old: str, new: str, where: str, meant: str, configured: Configured
) -> None:
    problem = the_mistake(configured(FULL.replace(old, new)))
    assert problem.startswith(f"{where}: the name on line ")
    assert problem.endswith(f"is unknown (did you mean {meant}?)")


# ---- references


SECRET_VARIABLES = [name for name, setting in SETTINGS.items() if setting.secret and name.isupper()]
FORMS = {"APP_SECRET": "s9"} | dict.fromkeys(SECRET_VARIABLES[1:], "http://h:9") | {"REDIS_URL": "redis://h:9"}


def secret_of(settings: Settings, name: str) -> str:
    if name.endswith("_PROXY"):
        return settings.proxies[name.split("_")[1].lower()].text.reveal()
    return {"APP_SECRET": settings.apps[0].secret, "REDIS_URL": settings.redis.url.text}[name].reveal()


@pytest.mark.parametrize("name", SECRET_VARIABLES)
def test_a_secret_variable_may_name_another_variable_or_a_file(name: str, tmp_path: Path) -> None:
    value, path = FORMS[name], tmp_path / "secret"
    assert secret_of(read(ALONE | {name: "${OTHER}", "OTHER": value}), name) == value
    for ending in ("", "\n", "\r\n"):
        path.write_text(value + ending, newline="")
        assert secret_of(read(ALONE | {name: f"file:{path}"}), name) == value


def test_secrets_of_the_file_may_be_references(configured: Configured) -> None:
    content = FULL.replace("auth: a1", "auth: '${A}'").replace("username: u1", "username: '${U}'")
    content = content.replace("app_secret: s1", "app_secret: '${S}'").replace("'http://u:p@h2:2'", "'${P}'")
    settings = read(configured(content, A="a 9", U="u9", S="s9", P="http://h9:9"))
    assert settings.redis.url == RedisUrl.parse("redis://u9:a%209@r1:6380/3")
    assert settings.apps[0].secret == Secret("s9")
    assert settings.proxies["https"] == ProxyUrl.parse("http://h9:9")


@each_line("secret", ["a${APP_ID}", "${APP_ID}b", "${}", "$APP_ID", "${A B}", "a file:x", "${9}"])
def test_a_secret_that_only_resembles_a_reference_stays_as_it_is(secret: str) -> None:
    assert read(ALONE | {"APP_SECRET": secret}).apps[0].secret == Secret(secret)


def test_what_a_reference_leads_to_is_not_resolved_again() -> None:
    assert read(ALONE | {"APP_SECRET": "${A}", "A": "${B}"}).apps[0].secret == Secret("${B}")


@pytest.mark.parametrize("name", SECRET_VARIABLES)
def test_a_reference_to_nothing_names_the_variable_and_the_setting(name: str) -> None:
    for other in ({}, {"NOT_THERE": ""}):
        problem = the_mistake(ALONE | {name: "${NOT_THERE}"} | other)
        assert problem.startswith(f"{name} refers to the environment variable NOT_THERE")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a\nb\n", "line breaks"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a" * 64_001, "more than 64000 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_a_mistake(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s3cret-place"
    if content is not None:
        path.write_bytes(content)
    problem = the_mistake(ALONE | {"APP_SECRET": f"file:{path}"})
    assert problem.startswith("APP_SECRET ")
    assert words in problem
    assert "s3cret-place" not in problem


@pytest.mark.parametrize("path", ["", "."])
def test_a_reference_to_no_file_is_a_mistake(path: str) -> None:
    assert "cannot be read" in the_mistake(ALONE | {"APP_SECRET": f"file:{path}"})


def test_a_blank_around_a_secret_is_a_warning() -> None:
    assert read(ALONE | {"APP_SECRET": "s1 "}).warnings == ("APP_SECRET begins or ends with a blank: is that meant?",)


# ---- single mistakes


@each_line("app_id", ["a b", "a{b", "a}b", "a\tb", "a\nb", "a\u3000b", "a\u200bb", "a\udc80", "a" * 129])
def test_an_app_id_that_cannot_be_a_key_is_a_mistake(app_id: str) -> None:
    assert the_mistake(ALONE | {"APP_ID": app_id}).startswith("APP_ID must")
    assert the_mistake(ALONE | {"REDIS_KEY_PREFIX": app_id}).startswith("REDIS_KEY_PREFIX must")


def test_an_app_id_may_have_128_characters_of_any_script() -> None:
    assert read(ALONE | {"APP_ID": "应" * 128}).apps[0].app_id == "应" * 128


REDIS_URLS = {
    "redis://h": True,
    "redis://h:1/15": True,
    "redis://h:1/15?timeout=3": False,
    "rediss://u:p%40@h.example:6380/0": True,
    "redis://[::1]:6379/": True,
    "redis://:p@redis_host": True,
    "unix:///run/redis.sock?db=1": True,
    "redis+sentinel://:p@s1:26379,s2:26379,s3/main/0": True,
    "rediss+cluster://c1,c2": True,
    "http://h": False,
    "h:6379": False,
    "redis://": False,
    "redis:///0": False,
    "redis://:p@": False,
    "redis://:p#x@h": False,
    "redis://u:1/x@h": False,
    "redis://u:p@x@h": False,
    "redis://h:port": False,
    "redis://h:0": False,
    "redis://h:65536": False,
    "redis://h1,h2": False,
    "redis://h/zero": False,
    "redis://h /0": False,
    "redis://[::1": False,
    "redis://[1.2]": False,
    "redis+sentinel://s1,,s2/main": False,
    "unix://": False,
    "unix:///": False,
    "redis+other://h": False,
}


@each_line("url", REDIS_URLS)
def test_addresses_of_redis_are_looked_at(url: str, configured: Configured) -> None:
    if REDIS_URLS[url]:
        assert read(ALONE | {"REDIS_URL": url}).redis.url == RedisUrl.parse(url)
    else:
        assert the_mistake(ALONE | {"REDIS_URL": url}).startswith("REDIS_URL must ")
        environ = configured(f"storage_redis: {{url: '{url}'}}\napp_info: [{{app_id: a, app_secret: s}}]")
        assert the_mistake(environ).startswith("storage_redis.url must ")


PLATFORM_URLS = {
    "https://h": True,
    "https://h:8443/path/": True,
    "http://127.0.0.1:80": True,
    "http://127.9.8.7": True,
    "http://localhost:1": True,
    "http://LOCALHOST": True,
    "http://[::1]:1": True,
    "http://h": False,
    "http://128.0.0.1": False,
    "http://127.0.0.1.example": False,
    "http://localhost.example": False,
    "http://127.0.0.1@h": False,
    "http://[::2]": False,
    "https://u:p@h": False,
    "https://": False,
    "https:///p": False,
    "https://h?x=1": False,
    "https://h/#": False,
    "https://h:x": False,
    "https://h:99999": False,
    "https://a b": False,
    "https://h1,h2": False,
    "https://[x]": False,
    "ftp://h": False,
    "h": False,
}


@each_line("url", PLATFORM_URLS)
def test_the_platform_is_reached_by_https_or_on_this_machine(url: str, configured: Configured) -> None:
    key = "get_server_access_token_url"
    environ = configured(f"{MINIMAL}oauth_api: {{{key}: '{url}'}}")
    if PLATFORM_URLS[url]:
        start = url.rstrip("/")
        assert read(ALONE | {"PLATFORM_BASE_URL": url}).apps[0].endpoints.token_url == PlatformUrl.parse(
            f"{start}/OAuth2/token"
        )
        assert str(read(environ).apps[0].endpoints.token_url) == url
    else:
        assert the_mistake(ALONE | {"PLATFORM_BASE_URL": url}).startswith("PLATFORM_BASE_URL must ")
        assert the_mistake(environ).startswith(f"oauth_api.{key} must ")


@each_line(
    "url",
    ["h:1", "socks5://h", "http://", "http://u:p@", "http://h/path", "http://h?x", "http://u:p%4@h:1", "http://[",
     "http://u:p/q@h:1", "http://u:p#q@h:1", "http://u:p@q@h:1", "http://h:port", "http://h:0", "http://h1,h2"],
)  # fmt: skip
def test_a_proxy_that_is_no_address_is_a_mistake(url: str) -> None:
    assert the_mistake(ALONE | {"PLATFORM_HTTPS_PROXY": url}).startswith("PLATFORM_HTTPS_PROXY must ")


@each_line(
    "number",
    [
        "x",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1_000",
        "１",
        " 1",
        "1s",
        "0x1",
        "1e10",
        "1e-9",
        "9" * 5000,
        "1.2.3",
        "--1",
    ],
)
def test_a_duration_that_is_no_finite_number_is_a_mistake(number: str) -> None:
    for name in POLICY_VARIABLES[:-1]:
        assert the_mistake(ALONE | {name: number}).startswith(f"{name} must be a number of seconds")


@each_line("number", ["0", "257", "-1", "1.5", "1e1", "x", "9" * 5000])
def test_concurrency_is_a_whole_number_from_1_to_256(number: str) -> None:
    problem = the_mistake(ALONE | {"POLICY_CONCURRENCY": number})
    assert problem == "POLICY_CONCURRENCY must be a whole number from 1 to 256"


def test_numbers_that_do_not_fit_together_are_a_mistake() -> None:
    assert mistakes(ALONE | {"POLICY_REQUEST_TOTAL_S": "16", "POLICY_READER_CACHE_S": "61"}) == (
        "policy does not satisfy request_total_s <= work_s / 2",
        "policy does not satisfy reader_cache_s <= grace_s / 10",
    )
    assert the_mistake(ALONE | {"POLICY_WORK_S": "-1"}) == "policy.work_s must be greater than 0"


def test_a_number_that_could_not_be_read_is_not_blamed_for_not_fitting() -> None:
    assert the_mistake(ALONE | {"POLICY_GRACE_S": "x", "POLICY_READER_CACHE_S": "61"}) == (
        "POLICY_GRACE_S must be a number of seconds: 0, or 0.001 to 3155760000"
    )


def test_extreme_numbers_are_judged_and_do_not_overflow() -> None:
    for extreme in ("0.001", "3155760000"):
        assert mistakes(ALONE | dict.fromkeys(POLICY_VARIABLES[:-1], extreme))


def test_an_unknown_log_level_is_a_mistake_that_lists_the_known() -> None:
    assert the_mistake(ALONE | {"LOG_LEVEL": "LOUD"}) == (
        "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
    )


def test_a_ca_bundle_that_is_not_there_is_a_mistake() -> None:
    assert the_mistake(ALONE | {"PLATFORM_CA_BUNDLE": "/nowhere"}).startswith("PLATFORM_CA_BUNDLE refers to")


# ---- mistakes in the file


@each_line(
    ("content", "problem"),
    [
        ("", "app_info must be a list of at least one application"),
        ("# only a comment\n", "app_info must be a list of at least one application"),
        ("app_info: []\n", "app_info must be a list of at least one application"),
        ("app_info: {app_id: a}\n", "app_info must be a list of at least one application"),
        ("app_info: [x]\n", "app_info entry 1 must hold app_id and app_secret (lines of name: value)"),
        ("app_info: [{app_id: a}]\n", "app_info entry 1: app_secret is missing"),
        ("app_info: [{app_id: , app_secret: s}]\n", "app_info entry 1: app_id is missing"),
        ("app_info: [{app_id: [a], app_secret: s}]\n", "app_info entry 1: app_id must be a single value"),
        ("app_info: [{app_id: a, app_secret: {b: c}}]\n",
         "app_info entry 1: app_secret must be a single value"),
        ("app_info: [{app_id: a, app_secret: s, platform: p}]\n",
         "app_info entry 1: platform must name an entry of platforms (none)"),
        ("app_info: [{app_id: a, app_secret: s}, {app_id: b, app_secret: s}, {app_id: a, app_secret: s}]\n",
         "app_info entry 3: app_id is the same as that of entry 1"),
    ],
)  # fmt: skip
def test_a_wrong_list_of_applications_is_a_mistake(content: str, problem: str, configured: Configured) -> None:
    assert the_mistake(configured(content, REDIS_URL="redis://h")) == problem


@each_line(
    ("storage", "problem"),
    [
        ("", "storage_redis.host is missing, or storage_redis.url, or REDIS_URL"),
        ("storage_redis:\n", "storage_redis.host is missing, or storage_redis.url, or REDIS_URL"),
        ("storage_redis: {port: 1}\n", "storage_redis.host is missing, or storage_redis.url, or REDIS_URL"),
        ("storage_redis: {host: 'h:1'}\n",
         "storage_redis.host must be a host name or an address, without a port"),
        ("storage_redis: {host: 'redis://h'}\n",
         "storage_redis.host must be a host name or an address, without a port"),
        ("storage_redis: {host: h, port: 0}\n", "storage_redis.port must be a whole number from 1 to 65535"),
        ("storage_redis: {host: h, db: -1}\n",
         "storage_redis.db must be a whole number from 0 to 2147483647"),
    ],
)  # fmt: skip
def test_a_wrong_section_of_redis_is_a_mistake(storage: str, problem: str, configured: Configured) -> None:
    assert the_mistake(configured(storage + "app_info: [{app_id: a, app_secret: s}]\n")) == problem


def test_a_section_that_is_text_is_a_mistake(configured: Configured) -> None:
    for section in ("proxies", "oauth_api", "policy", "platforms"):
        problem = the_mistake(configured(f"{MINIMAL}{section}: x\n"))
        assert problem == f"{section} must be a section (lines of name: value)"


@pytest.mark.parametrize(
    ("platforms", "start"),
    [
        ("{other: }", "platforms.other.base_url is missing"),
        ("{other: x}", "platforms.other must be a section"),
        ("{other: {base_url: 'http://h'}}", "platforms.other.base_url must begin with https://"),
        ("{'o t': {base_url: 'https://h'}}", "platforms: names must be letters, digits"),
    ],
)
def test_a_wrong_platform_is_a_mistake(platforms: str, start: str, configured: Configured) -> None:
    assert mistakes(configured(f"{MINIMAL}platforms: {platforms}\n"))[0].startswith(start)


@each_line(
    ("content", "problem"),
    [
        ("a: [\n", "CONFIG_FILE (or --config) is not valid YAML at line 2, column 1: a bracket or brace is not closed"),
        ("a: b\n\tc: d\n",
         "CONFIG_FILE (or --config) is not valid YAML at line 2, column 1: a tab is where only blanks may be"),
        ("a: 'b\nc: d\n", "CONFIG_FILE (or --config) is not valid YAML at line 3, column 1: a quote is not closed"),
        ("a:\n- b: c\n  d e\nf: g\n",
         "CONFIG_FILE (or --config) is not valid YAML at line 4, column 1: a colon with a blank"),
        ("a: b: c\n", "CONFIG_FILE (or --config) is not valid YAML at line 1, column 5: a value that holds a colon"),
        ("a: b\n c: d\n",
         "CONFIG_FILE (or --config) is not valid YAML at line 2, column 3: a value that holds a colon"),
        ("a:\n  b: c\n d: e\n",
         "CONFIG_FILE (or --config) is not valid YAML at line 3, column 2: the line is indented otherwise"),
        ("a: @b\n", "CONFIG_FILE (or --config) is not valid YAML at line 1, column 4: a value that begins with such"),
        ("a: b\nc: \x07\n", "CONFIG_FILE (or --config) holds a character on line 2 that YAML does not allow"),
        (b"a: \xff\n", "CONFIG_FILE (or --config) refers to a file that is not UTF-8"),
        ("- a\n", "CONFIG_FILE (or --config) must hold sections (name: value) at its top level"),
        ("text\n", "CONFIG_FILE (or --config) must hold sections (name: value) at its top level"),
        (MINIMAL + "---\n" + MINIMAL, "CONFIG_FILE (or --config) holds a second YAML document from line 4 on"),
        ("a: " + "[" * 9 + "]" * 9, "CONFIG_FILE (or --config) is nested too deeply at line 1"),
        ("[" * 500_000, "CONFIG_FILE (or --config) is nested too deeply at line 1"),
        ("{? " * 300_000, "CONFIG_FILE (or --config) is nested too deeply at line 1"),
        ("# " + "x" * 1_000_000, "CONFIG_FILE (or --config) refers to a file of more than 1000000 bytes"),
        (MINIMAL + "policy: {work_s: 30, work_s: 31}\n",
         "CONFIG_FILE line 4: line 4 has this name already"),
        (MINIMAL + "app_info: []\n", "CONFIG_FILE line 4: line 2 has this name already"),
        (MINIMAL + "x: &a 1\n", "CONFIG_FILE line 4: anchors and aliases are not accepted"),
        (MINIMAL + "x: !!binary aaaa\n", "CONFIG_FILE line 4: YAML tags other than !!str are not accepted"),
        (MINIMAL + "x: !!python/object/apply:os.system [x]\n",
         "CONFIG_FILE line 4: YAML tags other than !!str are not accepted"),
        (MINIMAL + "? [x]\n: y\n", "CONFIG_FILE line 4: a name must be plain text"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_what_is_wrong_with_the_file_is_told_by_its_line(
    content: str | bytes, problem: str, loader: str, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml = pytest.importorskip("yaml")
    if not hasattr(yaml, loader):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr("token_refresher.settings.yaml_file._LOADER", getattr(yaml, loader))
    environ = configured(content)
    found = the_mistake(environ)
    assert found.startswith(problem)
    assert found.endswith(f" (the file {environ['CONFIG_FILE']})") == ("(or --config)" in problem)


def test_aliases_that_would_grow_to_gigabytes_are_refused_at_once(configured: Configured) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert sum("anchors and aliases" in problem for problem in mistakes(configured(MINIMAL + bomb))) == 178


def test_an_escape_out_of_range_is_no_traceback(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    monkeypatch.setattr("token_refresher.settings.yaml_file._LOADER", yaml.SafeLoader)
    assert the_mistake(configured(r'a: "\Uffffffff"')).startswith("CONFIG_FILE (or --config) is not valid YAML (the")
    assert "control characters" in the_mistake(configured(MINIMAL.replace("s1", r'"\ud800"')))


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_is_read(configured: Configured) -> None:
    content = b"\xef\xbb\xbf" + PUBLISHED.read_bytes().replace(b"\n", b"\r\n")
    assert read(configured(content)).apps == read({"CONFIG_FILE": str(PUBLISHED)}).apps


def test_of_a_file_that_cannot_be_read_nothing_is_said_to_be_missing() -> None:
    assert mistakes({"CONFIG_FILE": "/nowhere", "LOG_LEVEL": "LOUD"})[0] == (
        "CONFIG_FILE (or --config) refers to a file that cannot be read (No such file or directory)"
    )
    assert len(mistakes({"CONFIG_FILE": "/nowhere", "LOG_LEVEL": "LOUD"})) == 2


def test_a_relative_path_of_a_missing_file_says_where_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert the_mistake({"CONFIG_FILE": "app.yaml"}).endswith(f"(a path that begins at {tmp_path})")


@each_line("content", ["a:\n\tb: 1\n", "a:\n- b: 1\n\tc: 2\n", "\ta: 1\n", "a:\n  b: 1\n\tc: 2\n"])
def test_a_tab_that_indents_is_named(content: str, configured: Configured) -> None:
    assert "a tab is where only blanks may be" in the_mistake(configured(content))


def test_a_user_s_token_is_fetched_where_the_file_fetches_the_server_s(configured: Configured) -> None:
    given = "oauth_api: {get_server_access_token_url: 'https://h:1/OAuth2/token'}\n"
    assert str(read(configured(given + MINIMAL)).apps[0].endpoints.user_token_url) == "https://h:1/OAuth2/token"


# ---- all at once, and without values


def test_all_mistakes_are_told_at_once(configured: Configured) -> None:
    content = """\
proxies: {http: 'ftp://h'}
storage_redis: {host: 'a b', port: x, auth: '${NOT_THERE}', db: y}
oauth_api: {get_js_ticket_url: 'http://h'}
app_info:
- {app_id: 'a b', app_secret: 's'}
- {app_name: n, secret: s}
policy: {work_s: x, tick_s: 500}
platforms: {p: {}}
log_level: LOUD
ca_bundle: /nowhere
policy: {}
"""
    environ = configured(content, APP_ID="x", REDIS_KEY_PREFIX="{", PLATFORM_HTTPS_PROXY="h")
    expected = {
        "CONFIG_FILE line 11: ", "set either APP_ID or CONFIG_FILE ", "oauth_api.get_js_ticket_url ",
        "platforms.p.base_url ", "app_info entry 1: app_id must", "app_info entry 2: the name on line 6",
        "app_info entry 2: app_id is", "app_info entry 2: app_secret is", "REDIS_KEY_PREFIX ",
        "storage_redis.host ", "storage_redis.port ", "storage_redis.db ", "storage_redis.auth ",
        "proxies.http ", "PLATFORM_HTTPS_PROXY ", "policy.work_s ", "policy does not ",
        "ca_bundle ", "log_level ",
    }  # fmt: skip
    found = mistakes(environ)
    assert {start for start in expected if any(problem.startswith(start) for problem in found)} == expected
    assert len(found) == len(expected)
    assert all(problem in str(SettingsError(found)) for problem in found)


PLANTED = "pl4nted"


def seen(environ: Mapping[str, str]) -> str:
    """Everything that a reading shows, whether it succeeds or not."""
    try:
        settings = read(environ)
    except SettingsError as error:
        return "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(error.problems)
    # Names and addresses of applications and the prefix of keys are no secrets.
    return repr((settings.redis.url, settings.proxies, settings.warnings, [app.secret for app in settings.apps]))


HIDDEN_IN = [
    f"{PLANTED}", f"redis://:{PLANTED}@h", f"http://u:{PLANTED}@h:1", f"http://u:{PLANTED}@h:x",
    f"{PLANTED}\n",
    f"file:{PLANTED}", f"x://[{PLANTED}", f"https://h\u2100{PLANTED}", f"{PLANTED}\udc80", f"{{{PLANTED}}}",
]  # fmt: skip


def test_no_variables_value_is_ever_shown() -> None:
    for name, value in itertools.product([name for name in SETTINGS if name.isupper()], HIDDEN_IN):
        assert PLANTED not in seen(ALONE | {name: value}), name
        assert PLANTED not in seen({name: value}), name


# Where a word begins; the name that the user gave a platform may be shown.
STARTS = [match.start() for match in re.finditer(r"(?<=[:{\[, '])[a-z0-9](?!ther: )", FULL)]
PLANTS = ["{}", "'{}", '"\\q{}', "*{} ", "!{} ", "!!{} ", "%{}", "{}: ", "{}:"]


@each_line("plant", PLANTS)
def test_nothing_of_the_file_is_ever_shown(plant: str, configured: Configured) -> None:
    for start in STARTS:
        content = FULL[:start] + plant.format(PLANTED) + FULL[start:]
        assert PLANTED not in seen(configured(content)), FULL[start : start + 20]


def test_settings_do_not_show_their_secrets(configured: Configured) -> None:
    settings = read(configured(FULL))
    for secret in ("s1", "a1", "u1", "u:p"):
        assert secret not in repr(settings)
        assert secret not in str(settings)


VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["redis://h:1/0", "https://h", "${X}", "file:/", "1", "1e308", "-0", "[", "http://u:p@h:1", "INFO"]
    ),
    st.sampled_from(["redis://", "http://", "unix:", "file:", "${"]).flatmap(
        lambda start: st.text(max_size=12).map(lambda rest: start + rest)
    ),
)
WORDS = [name.rpartition(".")[2] for name in SETTINGS if not name.isupper()]
WORDS += ["proxies", "storage_redis", "oauth_api", "app_info", "policy", "platforms", "other"]


PIECES = [
    ": ", ":", "\n", "\n  ", "- ", "{", "}", "[", "]", ", ", "'", '"', "|\n", "&a ", "*a", "!!x ", "? ", "# ",
    "~", "%YAML 9\n", "---\n", "\\x", "http://", "${A}", "file:",
]  # fmt: skip


@st.composite
def yaml_bytes(draw: st.DrawFn) -> bytes:
    """Bytes at random, or pieces of YAML put together at random with a secret among them."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    piece = st.sampled_from([*WORDS, PLANTED, *PIECES])
    pieces = st.lists(st.one_of(piece, st.text(max_size=3)), max_size=40)
    return "".join(draw(pieces)).encode("utf-8", "surrogatepass")


@bounds(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from([n for n in SETTINGS if n.isupper() and n != "CONFIG_FILE"]), VALUES),
    st.sampled_from(["", *ALONE]),
)
def test_no_environment_brings_anything_but_settings_or_their_error(environ: dict[str, str], planted_in: str) -> None:
    plain = ALONE | environ
    if planted_in:
        plain[planted_in] = plain[planted_in] + PLANTED
    shown = seen(plain)
    assert PLANTED not in shown


@bounds(max_examples=150, deadline=None)
@given(yaml_bytes())
def test_no_file_brings_anything_but_settings_or_their_error(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        assert PLANTED not in seen({"CONFIG_FILE": file.name})
        assert PLANTED not in seen({"CONFIG_FILE": file.name, "REDIS_URL": "redis://h", "A": PLANTED + "\n"})


@bounds(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(set(WORDS))), VALUES.filter(str.isprintable))
def test_no_value_in_the_file_brings_anything_but_settings_or_their_error(word: str, value: str) -> None:
    quoted = "'" + (value + PLANTED).replace("'", "''") + "'"
    content = re.sub(rf"(\b{word}:) ([^{{\[ ,}}\n]+)", lambda match: f"{match[1]} {quoted}", FULL)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content.encode("utf-8"))
        file.flush()
        assert PLANTED not in seen({"CONFIG_FILE": file.name})


# ---- the table, and what is imported


class Watched(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, *args: Mapping[str, str]) -> None:
        super().__init__(*args)
        self.asked: set[str] = set()

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()


def test_the_table_lists_exactly_the_variables_that_are_read() -> None:
    environ = Watched(ALONE)
    read(environ)
    assert environ.asked == {name for name in SETTINGS if name.isupper()}


def test_the_table_lists_exactly_the_names_of_the_file_that_are_known(configured: Configured) -> None:
    sections: dict[str, dict[str, str]] = {}
    for name in SETTINGS:
        section, _, key = name.rpartition(".")
        if not name.isupper() and section:
            sections.setdefault(section, {})[key] = ""
    lines = [
        f"{section}: {{{', '.join(f'{key}: ' for key in keys)}}}\n"
        for section, keys in sections.items()
        if section not in ("app_info[]", "platforms.<name>")
    ]
    keys = ", ".join(f"{key}: {key.replace('platform', 'other')}" for key in sections["app_info[]"])
    (base,) = sections["platforms.<name>"]
    lines += [
        f"app_info: [{{{keys}}}]\n",
        f"platforms: {{other: {{{base}: 'https://h'}}}}\n",
        "log_level: \nca_bundle: ",
    ]
    assert read(configured("".join(lines), REDIS_URL="redis://h")).warnings == ()


def test_every_line_of_the_table_says_something_and_the_defaults_are_the_real_ones() -> None:
    assert all(setting.meaning and "\n" not in setting.meaning for setting in SETTINGS.values())
    for field in fields(Policy):
        for name in (f"policy.{field.name}", f"POLICY_{field.name.upper()}"):
            assert SETTINGS[name].default == str(getattr(Policy(), field.name))
    assert str(Endpoints().token_url) == SETTINGS["PLATFORM_BASE_URL"].default + "/OAuth2/token"


def test_yaml_is_imported_only_for_a_file_and_redis_never() -> None:
    script = (
        "import sys; from token_refresher.settings.loader import read;"
        f"read({ALONE!r}); assert not {{'yaml', 'difflib', 'redis', 'requests'}} & set(sys.modules);"
        f"read({{'CONFIG_FILE': {str(PUBLISHED)!r}}}); assert 'yaml' in sys.modules;"
        "assert 'redis' not in sys.modules"
    )
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": source})


def test_a_missing_yaml_package_is_a_mistake_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "token_refresher.settings.yaml_file", raising=False)
    assert the_mistake({"CONFIG_FILE": str(PUBLISHED)}).startswith("CONFIG_FILE (or --config) needs the package PyYAML")
