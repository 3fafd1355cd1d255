"""Settings that are hardly meant as they are: warnings and hints that name the setting and never show its value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.command_line import caller
from support.planted import plant
from support.tables import each_line
from token_refresher.doctor.examine import examine
from token_refresher.doctor.finding import Severity
from token_refresher.domain.errors import SettingsError
from token_refresher.settings.loader import read

ALONE = {"APP_ID": "app1", "APP_SECRET": "s1", "REDIS_URL": "redis://localhost:6379/0"}
MINIMAL = "storage_redis: {{host: {host}}}\napp_info:\n- {{app_id: {app_id}, app_secret: {secret}}}\n"
REFERENCE = "looks like a reference, but is taken as it is: only a whole ${NAME} or file:PATH is one"
# Of a part of a value.
HELD = f"holds what {REFERENCE}"

Configured = Callable[[str], dict[str, str]]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    def write(content: str) -> dict[str, str]:
        path = tmp_path / "config.yaml"
        path.write_text(content, "utf-8")
        return {"CONFIG_FILE": str(path)}

    return write


def problems(environ: dict[str, str]) -> SettingsError:
    with pytest.raises(SettingsError) as raised:
        read(environ)
    return raised.value


# -- references -------------------------------------------------------------------------------------------------------


@each_line(
    "line",
    [
        "storage_redis: {host: '${H}'}",
        "storage_redis: {host: h, port: '${H}'}",
        "storage_redis: {host: h, db: '${H}'}",
        "storage_redis: {host: h, key_prefix: '${H}'}",
        "storage_redis: {host: 'file:H'}",
        "storage_redis: {host: h}\nlog_level: ${H}",
        "storage_redis: {host: h}\nca_bundle: ${H}",
        "storage_redis: {host: h}\npolicy: {margin_s: '${H}'}",
        "storage_redis: {host: h}\noauth_api: {get_js_ticket_url: '${H}'}",
    ],
)
def test_a_reference_where_only_a_value_is_accepted_is_a_mistake(line: str, configured: Configured) -> None:
    (only,) = problems(configured(f"{line}\napp_info: [{{app_id: a, app_secret: s}}]") | {"H": "h"}).problems
    assert only.endswith("must not be a reference: only secrets may be ${NAME} or file:PATH")
    assert only.split(" ")[0].rpartition(".")[2] in line


def test_a_reference_as_an_application_s_id_is_a_mistake(configured: Configured) -> None:
    environ = configured(MINIMAL.format(host="h", app_id="'${ID}'", secret="s")) | {"ID": "app1"}
    (only,) = problems(environ).problems
    assert only.startswith("app_info entry 1: app_id must not be a reference")


@each_line(
    "form",
    [
        "${{{}:-x}}",
        "${{{}-}}",
        "${{{}?gone}}",
        "${}",
        "$({})",
        "{{{{ {} }}}}",
        "${{{{ secrets.{} }}}}",
        "%{}%",
        "<{}>",
        "env:{}",
        "vault:{}",
        "File:{}",
        "!Ref {}",
        "prefix-${{{}}}",
        "${{{}}}-suffix",
    ],
)
def test_what_looks_like_a_reference_and_is_none_is_a_warning(
    form: str, configured: Configured, no_secrets: Callable[[object], None]
) -> None:
    name = plant("a_name").replace("-", "_")
    value = form.format(name)
    says = HELD if "fix" in form else REFERENCE
    assert f"APP_SECRET {says}" in read(ALONE | {"APP_SECRET": value}).warnings
    quoted = "'" + value + "'"
    found = read(configured(MINIMAL.format(host="h", app_id="a", secret=quoted))).warnings
    assert found == (f"app_info entry 1: app_secret {says}",)
    no_secrets("".join(found))


def test_a_reference_within_the_address_of_redis_is_a_warning() -> None:
    found = read(ALONE | {"REDIS_URL": "redis://:${PASSWORD}@h:6379/0", "PASSWORD": "p"}).warnings
    assert found == (f"REDIS_URL {HELD.replace('a reference', 'a reference to PASSWORD')}",)


@each_line(
    ("url", "named"),
    [
        ("redis://:${REDIS_PASSWORD}@h:6379/0", "REDIS_PASSWORD"),
        ("redis://:${REDIS_PASSWORD:-x}@h", "REDIS_PASSWORD"),
        ("redis://:$REDIS_PASSWORD@h", "REDIS_PASSWORD"),
        ("redis://$REDIS_USER:p@h", "REDIS_USER"),
        ("redis://:$(REDIS_PASSWORD)@h", "REDIS_PASSWORD"),
        ("redis://:{{REDIS_PASSWORD}}@h", "REDIS_PASSWORD"),
        ("redis+sentinel://h/$PRIMARY_NAME", "PRIMARY_NAME"),
        ("rediss+sentinel://h/m?sentinel_password=${SENTINEL_PASSWORD}", "SENTINEL_PASSWORD"),
        ("redis://:$PASSWORD@h", ""),
        ("redis://:<password>@h", ""),
        ("redis://:{{ vault.password }}@h".replace(" ", ""), ""),
    ],
)
def test_a_reference_as_a_part_of_an_address_is_named(url: str, named: str, configured: Configured) -> None:
    says = HELD.replace("a reference", f"a reference to {named}") if named else HELD
    assert read(ALONE | {"REDIS_URL": url}).warnings == (f"REDIS_URL {says}",)
    in_file = f"storage_redis: {{url: '{url}'}}\napp_info: [{{app_id: a, app_secret: s}}]"
    assert read(configured(in_file)).warnings == (f"storage_redis.url {says}",)


def test_a_reference_in_the_address_of_a_proxy_or_of_the_platform_is_named() -> None:
    proxied = read(ALONE | {"PLATFORM_HTTPS_PROXY": "http://u:$(PROXY_PASSWORD)@p:1"}).warnings
    assert proxied == (f"PLATFORM_HTTPS_PROXY {HELD.replace('a reference', 'a reference to PROXY_PASSWORD')}",)
    below = read(ALONE | {"PLATFORM_BASE_URL": "https://h/${STAGE_NAME}"}).warnings
    assert below == (f"PLATFORM_BASE_URL {HELD.replace('a reference', 'a reference to STAGE_NAME')}",)


@each_line("password", ["p$ssw0rd", "$ecret", "$1a2b", "$AB", "a$PASSWORD", "$(", "{a}", "%24ABC", "%41BC"])
def test_a_password_of_odd_characters_in_an_address_is_no_reason_for_a_warning(password: str) -> None:
    assert read(ALONE | {"REDIS_URL": f"redis://:{password}@h:6379/0"}).warnings == ()


@each_line(
    ("name", "value", "named"),
    [
        ("REDIS_URL", "redis://:%REDIS_PASSWORD%@h", "a reference to REDIS_PASSWORD"),
        ("REDIS_URL", "redis://:p@${REDIS_HOST}:6379", "a reference to REDIS_HOST"),
        ("REDIS_URL", "redis://:p@h:$REDIS_PORT/0", "a reference to REDIS_PORT"),
        ("REDIS_URL", "redis://h/$(REDIS_DB)", "a reference to REDIS_DB"),
        ("REDIS_URL", "redis://:{{ REDIS_PASSWORD }}@h", "a reference to REDIS_PASSWORD"),
        ("PLATFORM_BASE_URL", "https://${PLATFORM_HOST}/x", "a reference to PLATFORM_HOST"),
        ("PLATFORM_HTTPS_PROXY", "http://$PROXY_HOST:80", "a reference to PROXY_HOST"),
        ("POLICY_MARGIN_S", "$(MARGIN_S)", "a reference to MARGIN_S"),
        ("PLATFORM_CA_BUNDLE", "$CA", "a reference"),
    ],
)
def test_a_mistake_by_a_reference_says_that_it_is_not_replaced(name: str, value: str, named: str) -> None:
    (only,) = problems(ALONE | {name: value}).problems
    assert only.startswith(f"{name} ")
    assert only.endswith(f" (it holds what looks like {named}, which is not replaced)")


@each_line(
    ("name", "meant"),
    [
        ("pasword", "auth"),
        ("password", "auth"),
        ("database", "db"),
        ("user", "username"),
        ("uri", "url"),
        ("hst", "host"),
    ],
)
def test_a_name_of_another_program_is_understood(name: str, meant: str, configured: Configured) -> None:
    content = f"storage_redis: {{host: h, {name}: x}}\napp_info: [{{app_id: a, app_secret: s}}]"
    assert read(configured(content)).warnings == (
        f"storage_redis: the name on line 1 is unknown (did you mean {meant}?)",
    )


def test_the_path_of_a_secret_without_file_before_it_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s")
    (only,) = read(ALONE | {"APP_SECRET": str(path)}).warnings
    assert only == "APP_SECRET is the path of a file, but is taken as it is: write file: before the path"


def test_what_a_reference_leads_to_is_looked_at_too(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text('"quoted"\n')
    for given in (f"file:{path}", "${S}"):
        (only,) = read(ALONE | {"APP_SECRET": given, "S": '"quoted"'}).warnings
        assert only.startswith("APP_SECRET is within quotes")


@each_line("secret", ["p$ssw0rd", "a{b}c", "50%", "x<y>z", "$", "${", "a:b", "/", "'", "it's", "猿之棒"])
def test_a_secret_of_odd_characters_is_no_reason_for_a_warning(secret: str) -> None:
    assert read(ALONE | {"APP_SECRET": secret}).warnings == ()


# -- quotes and invisible characters ----------------------------------------------------------------------------------


@each_line("quotes", ["''", '""', "``", "‘’", "“”", "「」"])
def test_a_value_within_its_own_quotes_is_a_warning(quotes: str, no_secrets: Callable[[object], None]) -> None:
    secret = f"{quotes[0]}{plant('secret')}{quotes[1]}"
    (only,) = read(ALONE | {"APP_SECRET": secret}).warnings
    assert only == "APP_SECRET is within quotes, which count as part of it: leave them out unless they are meant"
    no_secrets(only)


@pytest.mark.parametrize("name", ["REDIS_URL", "PLATFORM_BASE_URL", "LOG_LEVEL", "POLICY_MARGIN_S"])
def test_a_mistake_says_that_the_value_is_within_quotes(name: str) -> None:
    (only,) = problems(ALONE | {name: '"redis://h"'}).problems
    assert only.startswith(f"{name} must ")
    assert only.endswith(" (it is within quotes, which count)")


@each_line("char", ["\u200b", "\ufeff", "\u2060", "\u00ad", "\u00a0", "\u3000", "\u202e", "\u200d"])
def test_an_invisible_character_is_a_warning(char: str, configured: Configured) -> None:
    for value in (f"a{char}b", f"ab{char}", f"{char}ab"):
        found = read(ALONE | {"APP_SECRET": value}).warnings
        assert "APP_SECRET holds an invisible character: type it again unless that is meant" in found
        assert not any(char in each for each in found)
    found = read(configured(MINIMAL.format(host="h", app_id="a", secret="'s'")) | {"REDIS_KEY_PREFIX": "p:"}).warnings
    assert found == ()


def test_an_invisible_character_in_an_application_s_id_is_a_warning_or_a_mistake() -> None:
    try:
        found = read(ALONE | {"APP_ID": "app\u200b1"}).warnings
    except SettingsError as error:
        found = error.problems
    assert any(each.startswith("APP_ID ") for each in found)


# -- levels, hints, Kubernetes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "level"),
    [("warn", "WARNING"), ("WARN", "WARNING"), ("fatal", "CRITICAL"), (" info ", "INFO"), ("Debug", "DEBUG")],
)
def test_levels_have_the_names_that_the_module_logging_accepts(given: str, level: str) -> None:
    assert read(ALONE | {"LOG_LEVEL": given}).log_level == level


def test_hints_come_beside_other_mistakes(configured: Configured) -> None:
    environ = configured("storage_redis: {hots: h}\napp_info: [{app_id: a}]")
    error = problems(environ | {"POLICY_MARGINS_S": "1"})
    assert error.problems == (
        "app_info entry 1: app_secret is missing",
        "storage_redis.host is missing, or storage_redis.url, or REDIS_URL",
    )
    assert set(error.warnings) == {
        "storage_redis: the name on line 1 is unknown (did you mean host?)",
        "the environment variable POLICY_MARGINS_S is not read (did you mean POLICY_MARGIN_S?)",
    }
    assert "did you mean host?" in str(error)


def test_every_door_shows_the_hints(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {**ALONE, "REDIS_URL": "http://h", "POLICY_MARGINS_S": "1"}
    hint = "did you mean POLICY_MARGIN_S?"
    call = caller(environ, capsys)
    one, several = call("status"), call("status", APP_SECRET="")
    assert hint in one.err
    assert hint in several.err
    assert any(hint in each for each in call("status", "--json").json["error"]["warnings"])
    assert any(hint in each.says and each.severity is Severity.YELLOW for each in examine(environ))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("APP_SECRETE", "APP_SECRET"),
        ("APPSECRET", "APP_SECRET"),
        ("app_secret", "APP_SECRET"),
        ("REDIS_URI", "REDIS_URL"),
    ],
)
def test_a_misspelt_variable_is_named_where_the_right_one_is_missing(given: str, missing: str) -> None:
    environ = {name: value for name, value in ALONE.items() if name != missing}
    (only,) = problems(environ | {given: plant("value")}).problems
    assert only == f"{missing} is missing ({given} is set: did you mean {missing}?)"


def test_a_missing_secret_and_a_wrong_address_are_reported_together(configured: Configured) -> None:
    wrong = {"REDIS_URL": "redis://PASSWORD@h"}
    first, second = problems({"APP_ID": "a", **wrong}).problems
    assert first == "APP_SECRET is missing"
    assert second.startswith("REDIS_URL must have a colon before its password")
    environ = configured("storage_redis: {url: 'redis://PASSWORD@h'}\napp_info: [{app_id: a}]")
    first, second = problems(environ).problems
    assert first == "app_info entry 1: app_secret is missing"
    assert second.startswith("storage_redis.url must have a colon before its password")


@pytest.mark.parametrize("service", ["REDIS", "POLICY", "APP", "LOG", "POLICY_MARGIN"])
def test_service_links_of_kubernetes_cause_no_warnings(service: str) -> None:
    links = {
        "PORT": "tcp://10.0.0.1:6379",
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "6379",
        "SERVICE_PORT_REDIS": "6379",
        "PORT_6379_TCP": "tcp://10.0.0.1:6379",
        "PORT_6379_TCP_PROTO": "tcp",
        "PORT_6379_TCP_PORT": "6379",
        "PORT_6379_TCP_ADDR": "10.0.0.1",
        "PORT_53_UDP": "udp://10.0.0.1:53",
    }
    environ = {f"{service}_{name}": value for name, value in links.items()}
    assert read(ALONE | environ).warnings == ()
    (only,) = problems({"APP_ID": "a", "APP_SECRET": "s", **environ}).problems
    assert only == "REDIS_URL is missing"
