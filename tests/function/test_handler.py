"""The function as Function Compute calls it: real Redis, the platform over HTTP, events as bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import index
from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from support.planted import plant
from support.processes import Child
from support.tcp_proxy import Act, TcpProxy
from support.world import World
from token_refresher.domain.errors import CommandError, RefreshFailedError, SettingsError, StoreError
from token_refresher.domain.model import Kind, Target
from token_refresher.function import handler as function_handler
from token_refresher.settings.loader import SETTINGS
from token_refresher.store.keys import keys_of

EVENTS = Path(__file__).parents[1] / "data/events"
TIMER = (EVENTS / "timer-empty-payload.json").read_bytes()
KINDS = ("access_token", "js_ticket")

# How long a credential that is 5600 s old still lives: less than the margin, more than what raises an alarm.
LATE_S, VERY_LATE_S = 5600, 6700


def context_310(timeout: Any = 60) -> Any:
    """What the python3.10 runtime hands over; all secrets in it are planted."""
    return SimpleNamespace(
        request_id="1-6587a1b2-5f3c",
        credentials=SimpleNamespace(
            access_key_id="LTAI-made-up",
            access_key_secret=plant("access-key-secret"),
            security_token=plant("security-token"),
        ),
        function=SimpleNamespace(name="token-refresher", handler="index.handler", memory=128, timeout=timeout),
        service=SimpleNamespace(name="s", log_project="p", log_store="l", qualifier="LATEST", version_id=""),
        region="cn-hangzhou",
        account_id="1234567890",
    )


def context_312(timeout: Any = 60) -> Any:
    """What the python3.12 runtime hands over: no credentials, no service, but a logger."""
    return SimpleNamespace(
        request_id="1-6587a1b2-5f3c",
        function=SimpleNamespace(name="token-refresher", handler="index.handler", memory=128, timeout=timeout),
        logger=logging.getLogger("fc"),
        log_project="p",
        log_store="l",
        region="cn-hangzhou",
        account_id="1234567890",
    )


@pytest.fixture(autouse=True)
def _cold_instance() -> Iterator[None]:
    """Every test begins as a new instance of the function, and leaves the logger as it was."""
    level = logging.getLogger("token_refresher").level
    function_handler._warm.clear()
    yield
    function_handler._warm.clear()
    logging.getLogger("token_refresher").setLevel(level)


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Set exactly these settings in the environment."""

    def configure(environment: Mapping[str, str]) -> None:
        for name in SETTINGS:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return configure


@pytest.fixture
def proxy(world: World) -> Iterator[TcpProxy]:
    with TcpProxy(world.redis.port) as proxy:
        yield proxy


def stored(world: World, number: int, kind: str) -> dict[str, Any] | None:
    """What a published client reads."""
    key = keys_of(Target(world.app_id(number), Kind(kind))).value
    value: Any = world.redis.client().get(key)
    return None if value is None else json.loads(value)


def newest_is_stored(world: World, number: int, kind: str) -> bool:
    """Whether readers get the newest credential of the platform, with an expiry that it keeps."""
    value, newest = stored(world, number, kind), world.simulator.newest(world.app_id(number), kind)
    if value is None or newest is None:
        return False
    member = "server_access_token" if kind == "access_token" else kind
    return bool(value[member] == newest.code and world.now() < value["expires_in"] <= newest.expires_at)


def contents(world: World) -> dict[bytes, Any]:
    client = world.redis.client()
    return {key: client.dump(key) for key in client.scan_iter(count=1000)}


def outcomes(told: Mapping[str, Any]) -> list[str | None]:
    return [each.get("outcome") for each in told["targets"]]


def reasons(told: Mapping[str, Any]) -> list[str]:
    return [each["reason"] for each in told["targets"]]


def event(**members: Any) -> bytes:
    return json.dumps(members).encode()


# -- the main job ----------------------------------------------------------------------------


@pytest.mark.parametrize("context", [context_310, context_312], ids=["python3.10", "python3.12"])
def test_a_timer_s_event_brings_both_codes_into_redis(
    world: World,
    configure: Callable[..., None],
    context: Callable[[], Any],
    no_secrets: Callable[[object], None],
) -> None:
    configure(world.settings_env())
    index.initialize(context())
    told = index.handler(TIMER, context())
    assert outcomes(told) == ["issued", "issued"]
    assert reasons(told) == ["MISSING", "MISSING"]
    assert told["summary"]["fetches"] == world.simulator.count() == 2
    assert all(newest_is_stored(world, 0, kind) for kind in KINDS)
    no_secrets(json.dumps(told))


def test_a_first_event_imports_nothing_that_the_initializer_could_have(world: World) -> None:
    """What takes time: the clients of Redis and of the platform."""
    found = f"""
import sys, index
index.initialize(None)
before = set(sys.modules)
index.handler({TIMER!r}, None)
roots = ("redis", "requests", "urllib3", "ssl", "http", "asyncio", "concurrent", "token_refresher")
print("later", sorted(name for name in set(sys.modules) - before if name.partition(".")[0] in roots))
"""
    with Child(found, environ=world.settings_env()) as child:
        assert child.wait_for("later") == "later []"


@pytest.mark.parametrize("context", [None, SimpleNamespace(), SimpleNamespace(function=None)])
def test_a_context_that_says_nothing_will_do(world: World, configure: Callable[..., None], context: Any) -> None:
    configure(world.settings_env())
    assert outcomes(index.handler(TIMER, context)) == ["issued", "issued"]


@pytest.mark.parametrize("app_count", [1, 3])
def test_a_second_run_fetches_nothing_and_costs_one_round_trip(
    world: World, configure: Callable[..., None], proxy: TcpProxy, app_count: int
) -> None:
    environment = world.settings_env(app_count)
    configure(environment | {"REDIS_URL": proxy.url(world.redis.password)})
    told = index.handler(TIMER, context_312())
    assert outcomes(told) == ["issued"] * 2 * app_count
    requests, commands, connections = world.simulator.count(), proxy.commands, proxy.connections
    told = index.handler(TIMER, context_312())
    assert reasons(told) == ["FRESH"] * 2 * app_count
    assert world.simulator.count() == requests
    assert proxy.commands - commands == 1
    assert proxy.connections == connections


def test_a_second_run_on_another_instance_costs_a_login_more(
    world: World, configure: Callable[..., None], proxy: TcpProxy
) -> None:
    configure(world.settings_env(3) | {"REDIS_URL": proxy.url(world.redis.password)})
    index.handler(TIMER, context_312())
    requests, commands = world.simulator.count(), proxy.commands
    function_handler._warm.clear()
    index.handler(TIMER, context_312())
    assert world.simulator.count() == requests
    assert proxy.commands - commands == 2


def test_the_published_configuration_file_gives_every_application_both_codes(
    world: World, configure: Callable[..., None]
) -> None:
    configure(world.settings_env(3))
    told = index.handler(TIMER, context_312())
    assert [(each["app_id"], each["kind"]) for each in told["targets"]] == [
        (world.app_id(number), kind) for number in range(3) for kind in KINDS
    ]
    assert all(newest_is_stored(world, number, kind) for number in range(3) for kind in KINDS)
    assert world.simulator.count(TOKEN_PATH) == world.simulator.count(TICKET_PATH) == 3


def test_codes_are_renewed_before_they_end_and_no_reader_ever_holds_a_refused_one(
    world: World, configure: Callable[..., None]
) -> None:
    configure(world.settings_env(tick_s=300))
    for _ in range(30):  # two and a half hours
        index.handler(TIMER, context_312())
        for kind in KINDS:
            value = stored(world, 0, kind)
            assert value is not None
            code = value["server_access_token" if kind == "access_token" else kind]
            # Until the next run, readers use what they find now.
            until = world.simulator.valid_until(world.app_id(), kind, code)
            assert until is not None
            assert until - world.now() > 300
        world.advance(300)
    assert [world.simulator.fetches(world.app_id(), kind) for kind in KINDS] == [2, 2]


# -- events ----------------------------------------------------------------------------------

BAD_EVENTS = {
    "broken JSON": b'{"action": "refresh"',
    "not an object": b"[]",
    "an unknown action": event(action="delete"),
    "an unknown application": event(apps=["app9999"]),
    "one application known and one not": event(apps=["app0000", "app9999"], force=True),
    "an unknown kind": event(kinds=["ticket"]),
    "a wrong type": event(force="yes"),
    "a shard that there is not": event(shard="9/8"),
    "200 KB of garbage": b"\xff" * 200_000,
    "a timer with an unknown action": event(triggerName="t", payload='{"action": "delete"}'),
}


@pytest.mark.parametrize("sentence", BAD_EVENTS)
def test_a_bad_event_fetches_nothing_and_changes_nothing(
    world: World, configure: Callable[..., None], sentence: str
) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    world.advance(LATE_S)
    before, requests = contents(world), world.simulator.count()
    with pytest.raises(CommandError, match="Accepted: a timer event"):
        index.handler(BAD_EVENTS[sentence], context_312())
    assert contents(world) == before
    assert world.simulator.count() == requests
    # The instance is as good as before.
    assert outcomes(index.handler(TIMER, context_312())) == ["issued", "issued"]


def test_force_renews_a_fresh_code_but_not_a_young_one(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    told = index.handler(event(force=True), context_312())
    assert reasons(told) == ["COOLING_DOWN", "COOLING_DOWN"]
    assert world.simulator.count() == 2
    world.advance(31)
    told = index.handler(event(force=True), context_312())
    assert reasons(told) == ["FORCED", "FORCED"]
    assert outcomes(told) == ["issued", "issued"]
    assert all(newest_is_stored(world, 0, kind) for kind in KINDS)


def test_force_of_one_kind_leaves_the_other_alone(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env(3))
    index.handler(TIMER, context_312())
    world.advance(60)
    told = index.handler(event(force=True, kinds=["js_ticket"], apps=["app0001"]), context_312())
    assert [(each["app_id"], each["kind"]) for each in told["targets"]] == [("app0001", "js_ticket")]
    assert world.simulator.count(TOKEN_PATH) == 3
    assert world.simulator.count(TICKET_PATH) == 4
    assert newest_is_stored(world, 1, "js_ticket")


def test_status_only_reads(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    world.advance(LATE_S)
    before, requests = contents(world), world.simulator.count()
    told = index.handler(event(action="status"), context_312())
    assert told["action"] == "status"
    assert reasons(told) == ["NEAR_EXPIRY", "NEAR_EXPIRY"]
    assert outcomes(told) == [None, None]
    assert all(1500 < each["seconds_left"] < 1800 and len(each["fingerprint"]) == 8 for each in told["targets"])
    assert contents(world) == before
    assert world.simulator.count() == requests


def test_audit_asks_about_every_code_and_fetches_none_that_is_well(
    world: World, configure: Callable[..., None]
) -> None:
    configure(world.settings_env(3))
    index.handler(TIMER, context_312())
    world.advance(20)
    assert index.handler(TIMER, context_312())["summary"]["questions"] == 0
    told = index.handler(event(action="audit"), context_312())
    assert outcomes(told) == ["kept"] * 6
    assert (told["summary"]["questions"], told["summary"]["fetches"]) == (6, 0)
    assert world.simulator.count(CHECK_PATH) == 6


def test_audit_replaces_a_code_that_somebody_else_superseded(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    world.advance(120)
    world.simulator.issue(world.app_id(), "js_ticket")
    told = index.handler(event(action="audit"), context_312())
    assert reasons(told) == ["FRESH", "SUPERSEDED"]
    assert outcomes(told) == ["kept", "issued"]
    assert newest_is_stored(world, 0, "js_ticket")


def test_the_timer_alone_finds_a_superseded_code_within_the_grace(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    world.advance(120)
    world.simulator.issue(world.app_id(), "access_token")
    world.advance(240)
    assert reasons(index.handler(TIMER, context_312())) == ["SUPERSEDED", "FRESH"]
    assert newest_is_stored(world, 0, "access_token")


def test_shards_divide_the_applications_among_them(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env(6))
    seen: list[str] = []
    for k in (1, 2, 3):
        told = index.handler(event(shard=f"{k}/3"), context_312())
        seen += [each["app_id"] for each in told["targets"] if each["kind"] == "access_token"]
    assert sorted(seen) == [world.app_id(number) for number in range(6)]
    assert world.simulator.count() == 12
    assert all(newest_is_stored(world, number, kind) for number in range(6) for kind in KINDS)


def test_the_older_task_s_two_events_do_what_they_did(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env(3))
    told = index.handler((EVENTS / "timer-older-access-token.json").read_bytes(), context_312())
    assert {each["kind"] for each in told["targets"]} == {"access_token"}
    assert world.simulator.count(TICKET_PATH) == 0
    told = index.handler((EVENTS / "timer-older-js-ticket.json").read_bytes(), context_312())
    assert {each["kind"] for each in told["targets"]} == {"js_ticket"}
    assert world.simulator.count(TOKEN_PATH) == world.simulator.count(TICKET_PATH) == 3
    assert all(newest_is_stored(world, number, kind) for number in range(3) for kind in KINDS)


def test_a_ticket_asked_for_alone_brings_the_token_it_needs(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    index.handler(event(kinds=["js_ticket"]), context_312())
    assert all(newest_is_stored(world, 0, kind) for kind in KINDS)


# -- a warm instance -------------------------------------------------------------------------


def test_a_warm_instance_survives_that_its_sockets_died_while_it_was_frozen(
    world: World, configure: Callable[..., None], proxy: TcpProxy
) -> None:
    configure(world.settings_env() | {"REDIS_URL": proxy.url(world.redis.password)})
    index.handler(TIMER, context_312())
    program = function_handler._warm[0]
    world.advance(LATE_S)
    proxy.cut()
    world.simulator.stop()
    world.simulator.start()
    assert outcomes(index.handler(TIMER, context_312())) == ["issued", "issued"]
    assert world.simulator.count() == 4
    assert function_handler._warm == [program]
    assert proxy.connections == 2
    assert all(newest_is_stored(world, 0, kind) for kind in KINDS)


@pytest.mark.parametrize("act", [Act.CUT_BEFORE, Act.CUT_AFTER])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_connection_that_breaks_at_any_command_of_a_run_costs_no_second_fetch(
    world: World, configure: Callable[..., None], proxy: TcpProxy, act: Act, nth: int
) -> None:
    configure(world.settings_env() | {"REDIS_URL": proxy.url(world.redis.password)})
    index.handler(TIMER, context_312())
    world.advance(LATE_S)
    fault = proxy.script(act, b"EVAL", nth)
    assert outcomes(index.handler(TIMER, context_312())) == ["issued", "issued"]
    fault.wait_reached()
    assert world.simulator.count() == 4
    assert all(newest_is_stored(world, 0, kind) for kind in KINDS)


def test_without_redis_nothing_is_fetched_and_the_instance_heals(
    world: World, configure: Callable[..., None], proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"POLICY_MARGINS_S": "1"}
    configure(world.settings_env() | odd | {"REDIS_URL": proxy.url(world.redis.password)})
    proxy.refuse()
    with pytest.raises(StoreError) as failed:
        index.handler(TIMER, context_312())
    assert failed.value.code == "redis_unreachable"
    assert "POLICY_MARGINS_S is not read" in caplog.text
    assert world.simulator.count() == 0
    proxy.accept_again()
    assert outcomes(index.handler(TIMER, context_312())) == ["issued", "issued"]


def test_settings_that_are_wrong_are_told_by_name_and_read_anew_by_the_next_call(
    world: World, configure: Callable[..., None]
) -> None:
    environment = world.settings_env()
    configure({name: value for name, value in environment.items() if name != "APP_SECRET"})
    for call in (lambda: index.initialize(context_310()), lambda: index.handler(TIMER, context_310())):
        with pytest.raises(SettingsError, match="APP_SECRET"):
            call()
    assert world.simulator.count() == 0
    configure(environment)
    assert outcomes(index.handler(TIMER, context_310())) == ["issued", "issued"]


@pytest.fixture
def filed(world: World, configure: Callable[..., None]) -> Path:
    """The configuration file of two applications, with which a warm instance has run once."""
    environment = world.settings_env(2)
    configure(environment)
    index.handler(TIMER, context_310())
    return Path(environment["CONFIG_FILE"])


def test_a_secret_that_is_corrected_while_it_is_refused_counts_within_the_same_event(world: World, filed: Path) -> None:
    new = plant("rotated")
    world.advance(LATE_S)
    gate = world.simulator.hold(TOKEN_PATH, "before", "app0000")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(index.handler, TIMER, context_310())
        gate.wait_reached()
        world.simulator.rotate_secret("app0000", new)
        filed.write_text(filed.read_text().replace(world.secrets["app0000"], new))
        gate.release()
        told = run.result()
    assert (
        "a secret was corrected meanwhile, so this ran a second time; the log has the first report" in told["warnings"]
    )
    assert not [each for each in told["targets"] if "failure" in each]
    assert [newest_is_stored(world, number, kind) for number in (0, 1) for kind in KINDS] == [True] * 4


def test_a_file_that_is_spoilt_stops_no_run_and_is_told_with_each_report(world: World, filed: Path) -> None:
    filed.write_text("app_info: [")
    for _ in range(2):
        (warning,) = index.handler(TIMER, context_310())["warnings"]
        assert warning.startswith("changed settings are refused, the old ones stay in use: CONFIG_FILE")


# -- the function's own time-out -------------------------------------------------------------


def test_what_cannot_be_begun_in_time_is_deferred_without_a_trace(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    with pytest.raises(RefreshFailedError, match="not_sent_late: no time left in this run"):
        index.handler(TIMER, context_310(timeout=10))
    assert world.simulator.count() == 0
    assert contents(world) == {}
    assert outcomes(index.handler(TIMER, context_310(timeout=60))) == ["issued", "issued"]


@pytest.mark.parametrize("context", [context_310, context_312], ids=["python3.10", "python3.12"])
def test_a_deferred_renewal_is_reported_and_no_alarm_while_the_code_lasts(
    world: World, configure: Callable[..., None], context: Callable[..., Any]
) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context())
    world.advance(LATE_S)
    fetched = [world.simulator.count(path) for path in (TOKEN_PATH, TICKET_PATH)]
    before = [stored(world, 0, kind) for kind in KINDS]
    told = index.handler(TIMER, context(timeout=10))
    assert outcomes(told) == ["deferred", "deferred"]
    assert reasons(told) == ["NEAR_EXPIRY", "NEAR_EXPIRY"]
    assert {each["failure"]["code"] for each in told["targets"]} == {"not_sent_late"}
    assert [stored(world, 0, kind) for kind in KINDS] == before
    assert [world.simulator.count(path) for path in (TOKEN_PATH, TICKET_PATH)] == fetched


def test_a_short_time_out_is_enough_to_see_that_nothing_is_due(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    assert reasons(index.handler(TIMER, context_312(timeout=1))) == ["FRESH", "FRESH"]


_TOO_SHORT = "the function's time-out of {:g} s is too short"


@pytest.mark.parametrize("context", [context_310, context_312], ids=["python3.10", "python3.12"])
@pytest.mark.parametrize("timeout", [15, 3, 16, 15.0])
def test_a_time_out_that_is_too_short_is_named_before_the_first_event_and_in_every_report(
    world: World,
    configure: Callable[..., None],
    context: Callable[..., Any],
    timeout: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context())
    caplog.clear()
    index.initialize(context(timeout=timeout))
    (record,) = _logged(caplog)
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(_TOO_SHORT.format(timeout))
    assert "set the function's time-out to 62 s or more" in record.getMessage()
    for event in (TIMER, b'{"action": "status"}', b'{"action": "audit"}'):
        told = index.handler(event, context(timeout=timeout))
        assert told["warnings"] == [record.getMessage()]
        assert json.loads(_logged(caplog)[-1].getMessage())["warnings"] == told["warnings"]


def test_a_run_that_raises_for_want_of_time_says_what_the_time_out_should_be(
    world: World, configure: Callable[..., None]
) -> None:
    """Function Compute shows the caller the exception alone."""
    configure(world.settings_env() | {"POLICY_REQUEST_TOTAL_S": "12", "POLICY_WORK_S": "40"})
    with pytest.raises(RefreshFailedError) as failed:
        index.handler(TIMER, context_312(timeout=17))
    assert "not_sent_late: no time left in this run" in str(failed.value)
    assert f"{_TOO_SHORT.format(17)}: no credential is ever fetched; set the function's time-out to 82 s" in str(
        failed.value
    )


@pytest.mark.parametrize("timeout", [60, 70, None, "60", 0])
def test_a_time_out_that_is_long_enough_or_not_known_is_not_mentioned(
    world: World, configure: Callable[..., None], timeout: Any, caplog: pytest.LogCaptureFixture
) -> None:
    configure(world.settings_env())
    index.initialize(context_312(timeout=timeout))
    assert _logged(caplog) == []
    assert index.handler(TIMER, context_312(timeout=timeout))["warnings"] == []


# -- failures --------------------------------------------------------------------------------


def test_one_application_s_wrong_secret_stops_no_other_and_is_named(
    world: World, configure: Callable[..., None]
) -> None:
    configure(world.settings_env(3))
    world.simulator.rotate_secret(world.app_id(1), plant("another-secret"))
    with pytest.raises(RefreshFailedError) as failed:
        index.handler(TIMER, context_312())
    text = str(failed.value)
    assert "app0001 access_token: missing, wrong_secret" in text
    assert "app0001 js_ticket" in text
    assert "app0000" not in text
    assert "app0002" not in text
    assert all(newest_is_stored(world, number, kind) for number in (0, 2) for kind in KINDS)
    assert stored(world, 1, "access_token") is stored(world, 1, "js_ticket") is None


def test_a_failure_raises_only_when_less_than_ten_minutes_are_left(
    world: World, configure: Callable[..., None]
) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    world.simulator.rotate_secret(world.app_id(), plant("another-secret"))
    world.advance(LATE_S)
    told = index.handler(TIMER, context_312())
    assert outcomes(told) == ["refused", "issued"]
    assert told["targets"][0]["failure"]["code"] == "wrong_secret"
    assert "check APP_ID and APP_SECRET" in told["targets"][0]["failure"]["advice"]
    assert told["summary"]["in_danger"] == 0
    world.advance(VERY_LATE_S - LATE_S)
    with pytest.raises(RefreshFailedError, match=r"app0000 access_token: \d+ s left, wrong_secret"):
        index.handler(TIMER, context_312())


def test_an_answer_that_echoes_secrets_does_not_bring_them_into_the_error(
    world: World, configure: Callable[..., None], no_secrets: Callable[[object], None]
) -> None:
    configure(world.settings_env())
    echo = f"secret {world.secrets[world.app_id()]} is wrong\nERROR: forged"
    world.simulator.script(TOKEN_PATH, Fault.platform_status(4001, echo))
    with pytest.raises(RefreshFailedError) as failed:
        index.handler(TIMER, context_312())
    assert "the platform answered 4001; its message is not shown: it repeats a part of a secret" in str(failed.value)
    assert "forged" not in str(failed.value)
    assert str(failed.value).isprintable()
    no_secrets(str(failed.value))


def test_an_unknown_outcome_is_healed_by_a_later_run_without_harm(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env())
    index.handler(TIMER, context_312())
    world.advance(LATE_S)
    world.simulator.script(TOKEN_PATH, Fault.cut(executed=True))
    told = index.handler(TIMER, context_312())
    assert outcomes(told) == ["unknown", "issued"]
    assert told["targets"][0]["failure"]["code"] == "cut_answer"
    assert reasons(index.handler(TIMER, context_312()))[0] == "LOCKED"
    world.advance(155)
    told = index.handler(TIMER, context_312())
    assert outcomes(told)[0] == "issued"
    assert newest_is_stored(world, 0, "access_token")


# -- what leaves the function ----------------------------------------------------------------


def test_what_is_returned_is_json_and_holds_no_code(
    world: World, configure: Callable[..., None], no_secrets: Callable[[object], None]
) -> None:
    configure(world.settings_env(3))
    told = index.handler(TIMER, context_312())
    text = json.dumps(told)
    assert json.loads(text) == told
    assert world.simulator.credentials()
    assert not [code for code in world.simulator.credentials() if code in text]
    no_secrets(text)


def test_warnings_of_the_settings_are_told_with_every_report(world: World, configure: Callable[..., None]) -> None:
    configure(world.settings_env() | {"POLICY_MARGIN": "1800"})
    for _ in range(2):
        told = index.handler(TIMER, context_312())
        assert len([warning for warning in told["warnings"] if "POLICY_MARGIN" in warning]) == 1


def _logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "token_refresher"]


def test_a_run_logs_one_line_which_is_the_report(
    world: World, configure: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    configure(world.settings_env())
    told = index.handler(TIMER, context_312())
    (record,) = _logged(caplog)
    assert record.levelno == logging.INFO
    assert json.loads(record.getMessage()) == told
    assert "\n" not in record.getMessage()


def test_a_run_that_raises_logs_its_report_as_an_error(
    world: World, configure: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    configure(world.settings_env() | {"LOG_LEVEL": "ERROR"})
    world.simulator.script(TOKEN_PATH, Fault.white_list())
    with pytest.raises(RefreshFailedError):
        index.handler(TIMER, context_312())
    (record,) = _logged(caplog)
    assert record.levelno == logging.ERROR
    assert json.loads(record.getMessage())["summary"]["in_danger"] == 2
    world.advance(120)
    index.handler(TIMER, context_312())
    assert len(_logged(caplog)) == 1
