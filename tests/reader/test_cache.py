"""The copies of one reader: how long they are used, what a failure does, and when to complain."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_refresher.domain.errors import NoCredentialError, StoreError
from token_refresher.domain.model import Kind, Target
from token_refresher.domain.policy import Policy
from token_refresher.reader.cache import CachedCredential, CredentialCache, StoredValue

TICKET = Target("app1", Kind.JS_TICKET)
TOKEN = Target("app1", Kind.ACCESS_TOKEN)
DOWN = StoreError("Redis cannot be reached", code="redis_unreachable")
NAMES = {Kind.JS_TICKET: "js_ticket", Kind.ACCESS_TOKEN: "server_access_token"}


class Clock:
    """A steady clock and unix time (seconds), moved by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000 + self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> CredentialCache:
    return CredentialCache(5.0, "", clock, clock.wall)


def found(code: str, life_s: float = 7200, kind: Kind = Kind.JS_TICKET, expires_at: int = 1_800_000_000) -> StoredValue:
    return StoredValue(round(life_s * 1000), json.dumps({NAMES[kind]: code, "expires_in": expires_at}).encode())


def held(cache: CredentialCache, target: Target = TICKET) -> str | None:
    """The credential that the cache would serve without asking, if any."""
    reading = cache.get_fresh(target.kind, target.app_id) or cache.get_while_down(target)
    return reading.code if reading else None


@pytest.mark.parametrize("max_age_s", [0, 5, 60])
def test_a_copy_is_fresh_from_before_it_was_asked_for_until_its_age(clock: Clock, max_age_s: float) -> None:
    cache = CredentialCache(max_age_s, "", clock, clock.wall)
    asked_at = clock.now
    clock.now += 0.5
    cache.put(TICKET, found("a"), asked_at)
    clock.now = max(clock.now, asked_at + max_age_s - 0.001)
    assert held(cache) == ("a" if max_age_s else None)
    clock.now = asked_at + max_age_s
    assert held(cache) is None


@pytest.mark.parametrize("max_age_s", [-0.001, 60.001, float("nan"), float("inf")])
def test_an_age_with_which_a_superseded_code_could_outlive_its_grace_is_refused(clock: Clock, max_age_s: float) -> None:
    with pytest.raises(ValueError, match="max_age_s must be from 0 to 60"):
        CredentialCache(max_age_s, "", clock, clock.wall)


def test_a_copy_dies_with_the_key_in_redis_whatever_the_value_says(cache: CredentialCache, clock: Clock) -> None:
    cache.put(TICKET, found("a", life_s=2), clock.now)
    clock.now += 1.999
    assert held(cache) == "a"
    clock.now += 0.001
    assert held(cache) is None
    with pytest.raises(NoCredentialError):
        cache.serve_stale(TICKET, DOWN)


def test_a_key_without_ttl_lives_as_long_as_its_value_says(cache: CredentialCache, clock: Clock) -> None:
    endless = found("a", expires_at=int(clock.wall()) + 2)._replace(life_ms=-1)
    cache.put(TICKET, endless, clock.now)
    clock.now += 1.9
    assert held(cache) == "a"
    clock.now += 0.1
    assert held(cache) is None
    with pytest.raises(NoCredentialError, match="expired"):
        cache.put(TICKET, endless, clock.now)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (StoredValue(-2, None), "nothing is stored"),
        (StoredValue(5000, b"garbage"), "the stored value is not JSON"),
        (found("b", life_s=0), "the stored credential has expired"),
    ],
)
def test_what_is_no_code_takes_the_copy_away(cache: CredentialCache, clock: Clock, what: StoredValue, why: str) -> None:
    cache.put(TICKET, found("a"), clock.now)
    clock.now += 5
    with pytest.raises(NoCredentialError) as caught:
        cache.put(TICKET, what, clock.now)
    error = caught.value
    assert error.what == f"{why} under the key type/js_ticket_info/app_id/app1"
    assert (error.key, error.app_id, error.kind) == ("type/js_ticket_info/app_id/app1", "app1", "js_ticket")
    assert error.store_error is None
    # Withdrawn means refused: not even a Redis that fails brings it back.
    with pytest.raises(NoCredentialError):
        cache.serve_stale(TICKET, DOWN)


def test_after_a_failure_the_last_copy_serves_as_stale_for_a_moment_without_asking(
    cache: CredentialCache, clock: Clock
) -> None:
    cache.put(TICKET, found("a"), clock.now)
    clock.now += 10
    assert cache.get_while_down(TICKET) is None
    failed = cache.serve_stale(TICKET, DOWN)
    waiting = cache.get_while_down(TICKET)
    assert waiting == failed
    assert (failed.code, failed.stale) == ("a", True)
    clock.now += 1
    assert cache.get_while_down(TICKET) is None


def test_one_outage_is_told_once_and_its_end_once(
    cache: CredentialCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for target in (TICKET, TOKEN):
        cache.put(target, found("a", kind=target.kind), clock.now)
    for _ in range(2):
        for _ in range(50):
            clock.now += 60
            for target in (TICKET, TOKEN):
                cache.serve_stale(target, DOWN)
        for target in (TICKET, TOKEN, TICKET):
            cache.put(target, found("a", kind=target.kind), clock.now)
    assert [each.getMessage().split(" (")[0] for each in caplog.records] == [
        "Redis cannot be reached",
        "Redis answers again",
    ] * 2


@pytest.mark.parametrize(
    ("before", "serving"),
    [
        (True, "serving the last credentials that were read, until the platform may refuse them"),
        (False, "no credential was read before, so there is none to serve"),
    ],
)
def test_an_outage_says_what_is_served_and_what_to_do(
    cache: CredentialCache, clock: Clock, caplog: pytest.LogCaptureFixture, before: bool, serving: str
) -> None:
    if before:
        cache.put(TOKEN, found("a", kind=Kind.ACCESS_TOKEN), clock.now)
    with pytest.raises(NoCredentialError) as caught:
        cache.serve_stale(TICKET, DOWN)
    (line,) = caplog.messages
    assert line == f"Redis cannot be reached (redis_unreachable): {serving}. What to do: {DOWN.advice}"
    key = "type/js_ticket_info/app_id/app1"
    assert caught.value.what == f"Redis cannot be reached, and no credential is left from before under the key {key}"
    assert caught.value.store_error is DOWN


def test_a_credential_comes_with_all_that_its_value_says_under_the_key_with_its_prefix(clock: Clock) -> None:
    cache = CredentialCache(5.0, "shop:", clock, clock.wall)
    assert cache.keys_of(TICKET).value == "shop:type/js_ticket_info/app_id/app1"
    value = {"js_ticket": "a", "expires_in": 1_800_000_000, "issued_at": 1_700_000_050, "fence": 9}
    assert cache.put(TICKET, StoredValue(7_200_000, json.dumps(value).encode()), clock.now) == CachedCredential(
        "a", 1_800_000_000, 1_700_000_050, 9
    )


def test_what_never_failed_does_not_end_an_outage_of_something_else(
    cache: CredentialCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(TICKET, found("a"), clock.now)
    for _ in range(20):
        clock.now += 10
        cache.serve_stale(TICKET, DOWN)
        cache.put(TOKEN, found("b", kind=Kind.ACCESS_TOKEN), clock.now)
    assert len(caplog.records) == 1


def test_an_outage_whose_end_nobody_saw_does_not_silence_a_later_one(
    cache: CredentialCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(TICKET, found("a"), clock.now)
    cache.serve_stale(TICKET, DOWN)
    clock.now += 7200
    for _ in range(3):
        with pytest.raises(NoCredentialError):
            cache.serve_stale(TOKEN, DOWN)
    assert len(caplog.records) == 2


def test_only_the_refused_code_is_dropped(cache: CredentialCache, clock: Clock) -> None:
    cache.put(TICKET, found("b"), clock.now)
    cache.invalidate(TICKET, "a")
    assert held(cache) == "b"
    cache.invalidate(TOKEN, "b")
    assert held(cache) == "b"
    cache.invalidate(TICKET, "b")
    assert held(cache) is None


def test_a_complaint_about_a_code_is_due_once_a_minute(cache: CredentialCache, clock: Clock) -> None:
    assert cache.may_complain(TICKET, "a")
    assert not cache.may_complain(TICKET, "a")
    assert cache.may_complain(TICKET, "b")
    assert cache.may_complain(TOKEN, "a")
    clock.now += 59.999
    assert not cache.may_complain(TICKET, "a")
    clock.now += 0.001
    assert cache.may_complain(TICKET, "a")
    assert not cache.may_complain(TICKET, "a")


def test_complaints_are_forgotten_when_they_no_longer_count(cache: CredentialCache, clock: Clock) -> None:
    for number in range(1000):
        cache.may_complain(TICKET, str(number))
        clock.now += 1
    assert len(cache._complained) <= 61


# -- cut off from Redis -----------------------------------------------------------------------------------------------


def dies_after(cache: CredentialCache, clock: Clock) -> float:
    """How many seconds after now the cache stops to serve a copy, while Redis does not answer."""
    low, high, start = 0.0, 10_000.0, clock.now
    while high - low > 0.01:
        clock.now = start + (low + high) / 2
        try:
            cache.serve_stale(TICKET, DOWN)
            low = clock.now - start
        except NoCredentialError:
            high = clock.now - start
    clock.now = start
    return round(high, 1)


@pytest.mark.parametrize(
    ("key_s", "recorded_s", "served_s"),
    [
        # No credential is fetched before the margin of 1800 s begins; the one that is fetched then leaves this one 600
        # s.
        (7200, 7200, 6000),
        (3000, 3000, 1800),
        # In the margin: the credential was good when it was read, so it lives on for the grace of 600 s ...
        (1800, 1800, 600),
        (1200, 1200, 600),
        # ... but never longer than its key.
        (599, 599, 599),
        (30, 30, 30),
        # A fetch is out: its key was cut to the grace, whatever the value says.
        (600, 6000, 600),
        (400, 6000, 400),
        # The platform named an earlier end than the value: the key knows it.
        (3000, 7000, 1800),
        # A key that was written to live longer than its credential, or a clock of Redis that was set back.
        (7200, 3000, 1800),
        (7200, 100, 600),
    ],
)
def test_cut_off_from_redis_a_copy_is_served_until_the_platform_may_refuse_it(
    cache: CredentialCache, clock: Clock, key_s: float, recorded_s: int, served_s: float
) -> None:
    cache.put(TICKET, found("a", key_s, expires_at=int(clock.wall()) + recorded_s), clock.now)
    assert dies_after(cache, clock) == served_s


@pytest.mark.parametrize(("key_s", "served_s"), [(7200, 600), (1200, 600), (599, 599)])
def test_a_reader_may_ask_for_the_grace_alone(clock: Clock, key_s: float, served_s: float) -> None:
    cache = CredentialCache(5.0, "", clock, clock.wall, only_within_grace=True)
    cache.put(TICKET, found("a", key_s), clock.now)
    assert dies_after(cache, clock) == served_s


def test_how_long_a_copy_is_served_counts_from_before_redis_was_asked(cache: CredentialCache, clock: Clock) -> None:
    asked_at = clock.now
    clock.now += 7
    cache.put(TICKET, found("a", life_s=1000), asked_at)
    assert dies_after(cache, clock) == 593


@pytest.mark.parametrize(("grace_s", "margin_s", "served_s"), [(300, 900, 3000), (1200, 1800, 3000), (60, 3000, 660)])
def test_the_policy_of_the_refresher_decides(clock: Clock, grace_s: float, margin_s: float, served_s: float) -> None:
    cache = CredentialCache(5.0, "", clock, clock.wall, policy=Policy(grace_s=grace_s, margin_s=margin_s))
    cache.put(TICKET, found("a", life_s=3600), clock.now)
    assert dies_after(cache, clock) == served_s


def test_with_a_longer_grace_a_copy_may_be_older(clock: Clock) -> None:
    CredentialCache(120, "", clock, clock.wall, policy=Policy(grace_s=1200))
    with pytest.raises(ValueError, match="max_age_s must be from 0 to 30"):
        CredentialCache(60, "", clock, clock.wall, policy=Policy(grace_s=300))


# -- ids that do not exist --------------------------------------------------------------------------------------------


def kept(cache: CredentialCache) -> int:
    """Of how many targets the cache remembers anything."""
    return sum(map(len, cache._entries.values())) + len(cache._retry_at) + len(cache._complained)


def unknown(cache: CredentialCache, number: int, redis_answers: bool) -> None:
    target = Target(f"unknown-{number}", Kind.JS_TICKET)
    ask = (
        partial(cache.put, target, StoredValue(-2, None), 100.0)
        if redis_answers
        else partial(cache.serve_stale, target, DOWN)
    )
    with pytest.raises(NoCredentialError):
        ask()


def test_nothing_is_kept_of_ids_that_are_not_in_redis(cache: CredentialCache) -> None:
    for number in range(1000):
        unknown(cache, number, redis_answers=True)
    assert kept(cache) == 0


def test_while_redis_is_down_little_is_kept_of_them_and_nothing_afterwards(
    cache: CredentialCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(TICKET, found("a"), clock.now)
    for number in range(5000):
        unknown(cache, number, redis_answers=False)
    assert kept(cache) <= 101
    # Those do not keep a credential from being served without asking again.
    assert cache.serve_stale(TICKET, DOWN).code == "a"
    assert held(cache) == "a"
    cache.put(TICKET, found("a"), clock.now)
    assert kept(cache) == 1
    assert [each.getMessage().split(" (")[0] for each in caplog.records] == [
        "Redis cannot be reached",
        "Redis answers again",
    ]


def test_an_outage_ends_also_for_a_reader_that_had_read_nothing_before(
    cache: CredentialCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NoCredentialError):
        cache.serve_stale(TICKET, DOWN)
    assert "no credential was read before, so there is none to serve" in caplog.records[-1].getMessage()
    cache.put(TICKET, found("a"), clock.now)
    assert caplog.records[-1].getMessage() == "Redis answers again"


@pytest.fixture
def nervous() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("nervous")
def test_of_threads_that_complain_at_the_same_instant_exactly_one_may(cache: CredentialCache, clock: Clock) -> None:
    start, allowed, failed = threading.Barrier(8), [], []

    def complain() -> None:
        start.wait(30)
        try:
            for number in range(500):
                if cache.may_complain(TICKET, str(number)):
                    allowed.append(number)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=complain) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert sorted(allowed) == list(range(500))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0, 700)),
        st.tuples(st.just("put"), st.floats(0, 2000)),
        st.tuples(st.just("fail"), st.just(0.0)),
        st.tuples(st.just("gone"), st.just(0.0)),
        st.tuples(st.just("drop"), st.just(0.0)),
    ),
    max_size=30,
)


@given(steps=STEPS, max_age_s=st.floats(0, 60))
def test_no_copy_is_ever_fresh_beyond_its_age_or_served_beyond_its_life(
    steps: list[tuple[str, float]], max_age_s: float
) -> None:
    logging.getLogger("token_refresher.reader").setLevel(logging.CRITICAL)
    clock = Clock()
    cache = CredentialCache(max_age_s, "", clock, clock.wall)
    # credential -> instants from which it may not be fresh, and not be served at all
    bounds: dict[str, tuple[float, float]] = {}
    refused: set[str] = set()
    try:
        for number, (step, amount) in enumerate(steps):
            _take(cache, clock, step, amount, str(number), bounds, refused, max_age_s)
            fresh = cache.get_fresh(TICKET.kind, TICKET.app_id)
            assert fresh is None or (clock.now < bounds[fresh.code][0] and not fresh.stale)
            for reading in (fresh, cache.get_while_down(TICKET)):
                assert reading is None or clock.now < bounds[reading.code][1]
                assert reading is None or reading.code not in refused
    finally:
        logging.getLogger("token_refresher.reader").setLevel(logging.NOTSET)


def _take(
    cache: CredentialCache,
    clock: Clock,
    step: str,
    amount: float,
    code: str,
    bounds: dict[str, tuple[float, float]],
    refused: set[str],
    max_age_s: float,
) -> None:
    if step == "pass":
        clock.now += amount
        return
    if step == "put":
        what = found(code, life_s=amount)
        life_s = what.life_ms / 1000
        bounds[code] = (clock.now + max_age_s, clock.now + min(life_s, max(600, life_s - 1200)))
    try:
        if step == "put":
            cache.put(TICKET, what, clock.now)
        elif step == "gone":
            cache.put(TICKET, StoredValue(-2, None), clock.now)
        elif step == "fail":
            cache.serve_stale(TICKET, DOWN)
        else:
            serving = held(cache)
            if serving:
                refused.add(serving)
                cache.invalidate(TICKET, serving)
    except NoCredentialError:
        assert step != "put" or what.life_ms == 0
