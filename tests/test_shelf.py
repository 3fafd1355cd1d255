"""The copies of one reader: how long they are used, what a failure does, and when to complain."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_refresher.errors import NoCodeError, StoreError
from token_refresher.model import Kind, Target
from token_refresher.shelf import Found, Shelf

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
def shelf(clock: Clock) -> Shelf:
    return Shelf(5.0, "", clock, clock.wall)


def found(code: str, life_s: float = 7200, kind: Kind = Kind.JS_TICKET, expires_at: int = 1_800_000_000) -> Found:
    return Found(round(life_s * 1000), json.dumps({NAMES[kind]: code, "expires_in": expires_at}).encode())


def held(shelf: Shelf, target: Target = TICKET) -> str | None:
    """The code that the shelf would serve without asking, if any."""
    reading = shelf.fresh(target.kind, target.app_id) or shelf.waiting(target)
    return reading.code if reading else None


@pytest.mark.parametrize("max_age_s", [0, 5, 60])
def test_a_copy_is_fresh_from_before_it_was_asked_for_until_its_age(clock: Clock, max_age_s: float) -> None:
    shelf = Shelf(max_age_s, "", clock, clock.wall)
    asked_at = clock.now
    clock.now += 0.5
    shelf.put(TICKET, found("a"), asked_at)
    clock.now = max(clock.now, asked_at + max_age_s - 0.001)
    assert held(shelf) == ("a" if max_age_s else None)
    clock.now = asked_at + max_age_s
    assert held(shelf) is None


@pytest.mark.parametrize("max_age_s", [-0.001, 60.001, float("nan"), float("inf")])
def test_an_age_with_which_a_superseded_code_could_outlive_its_grace_is_refused(clock: Clock, max_age_s: float) -> None:
    with pytest.raises(ValueError, match="max_age_s must be from 0 to 60"):
        Shelf(max_age_s, "", clock, clock.wall)


def test_a_copy_dies_with_the_key_in_redis_whatever_the_value_says(shelf: Shelf, clock: Clock) -> None:
    shelf.put(TICKET, found("a", life_s=2), clock.now)
    clock.now += 1.999
    assert held(shelf) == "a"
    clock.now += 0.001
    assert held(shelf) is None
    with pytest.raises(NoCodeError):
        shelf.fail(TICKET, DOWN)


def test_a_key_without_ttl_lives_as_long_as_its_value_says(shelf: Shelf, clock: Clock) -> None:
    endless = found("a", expires_at=int(clock.wall()) + 2)._replace(life_ms=-1)
    shelf.put(TICKET, endless, clock.now)
    clock.now += 1.9
    assert held(shelf) == "a"
    clock.now += 0.1
    assert held(shelf) is None
    with pytest.raises(NoCodeError, match="expired"):
        shelf.put(TICKET, endless, clock.now)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (Found(-2, None), "nothing is stored"),
        (Found(5000, b"garbage"), "the stored value is not JSON"),
        (found("b", life_s=0), "the stored code has expired"),
    ],
)
def test_what_is_no_code_takes_the_copy_away(shelf: Shelf, clock: Clock, what: Found, why: str) -> None:
    shelf.put(TICKET, found("a"), clock.now)
    clock.now += 5
    with pytest.raises(NoCodeError, match=why) as caught:
        shelf.put(TICKET, what, clock.now)
    assert caught.value.key == "type/js_ticket_info/app_id/app1"
    # Withdrawn means refused: not even a Redis that fails brings it back.
    with pytest.raises(NoCodeError):
        shelf.fail(TICKET, DOWN)


def test_after_a_failure_the_last_copy_serves_as_stale_for_a_moment_without_asking(shelf: Shelf, clock: Clock) -> None:
    shelf.put(TICKET, found("a"), clock.now)
    clock.now += 10
    assert shelf.waiting(TICKET) is None
    failed = shelf.fail(TICKET, DOWN)
    waiting = shelf.waiting(TICKET)
    assert waiting == failed
    assert (failed.code, failed.stale) == ("a", True)
    clock.now += 1
    assert shelf.waiting(TICKET) is None


def test_one_outage_is_told_once_and_its_end_once(shelf: Shelf, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for target in (TICKET, TOKEN):
        shelf.put(target, found("a", kind=target.kind), clock.now)
    for _ in range(2):
        for _ in range(50):
            clock.now += 60
            for target in (TICKET, TOKEN):
                shelf.fail(target, DOWN)
        for target in (TICKET, TOKEN, TICKET):
            shelf.put(target, found("a", kind=target.kind), clock.now)
    assert [each.getMessage().split(" (")[0] for each in caplog.records] == [
        "Redis cannot be reached",
        "Redis answers again",
    ] * 2


def test_what_never_failed_does_not_end_an_outage_of_something_else(
    shelf: Shelf, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.put(TICKET, found("a"), clock.now)
    for _ in range(20):
        clock.now += 10
        shelf.fail(TICKET, DOWN)
        shelf.put(TOKEN, found("b", kind=Kind.ACCESS_TOKEN), clock.now)
    assert len(caplog.records) == 1


def test_an_outage_whose_end_nobody_saw_does_not_silence_a_later_one(
    shelf: Shelf, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.put(TICKET, found("a"), clock.now)
    shelf.fail(TICKET, DOWN)
    clock.now += 7200
    for _ in range(3):
        with pytest.raises(NoCodeError):
            shelf.fail(TOKEN, DOWN)
    assert len(caplog.records) == 2


def test_only_the_refused_code_is_dropped(shelf: Shelf, clock: Clock) -> None:
    shelf.put(TICKET, found("b"), clock.now)
    shelf.drop(TICKET, "a")
    assert held(shelf) == "b"
    shelf.drop(TOKEN, "b")
    assert held(shelf) == "b"
    shelf.drop(TICKET, "b")
    assert held(shelf) is None


def test_a_complaint_about_a_code_is_due_once_a_minute(shelf: Shelf, clock: Clock) -> None:
    assert shelf.may_complain(TICKET, "a")
    assert not shelf.may_complain(TICKET, "a")
    assert shelf.may_complain(TICKET, "b")
    assert shelf.may_complain(TOKEN, "a")
    clock.now += 59.999
    assert not shelf.may_complain(TICKET, "a")
    clock.now += 0.001
    assert shelf.may_complain(TICKET, "a")
    assert not shelf.may_complain(TICKET, "a")


def test_complaints_are_forgotten_when_they_no_longer_count(shelf: Shelf, clock: Clock) -> None:
    for number in range(1000):
        shelf.may_complain(TICKET, str(number))
        clock.now += 1
    assert len(shelf._complained) <= 61


@pytest.fixture
def nervous() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("nervous")
def test_of_threads_that_complain_at_the_same_instant_exactly_one_may(shelf: Shelf, clock: Clock) -> None:
    start, allowed, failed = threading.Barrier(8), [], []

    def complain() -> None:
        start.wait(30)
        try:
            for number in range(500):
                if shelf.may_complain(TICKET, str(number)):
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
    shelf = Shelf(max_age_s, "", clock, clock.wall)
    # code -> instants from which it may not be fresh, and not be served at all
    bounds: dict[str, tuple[float, float]] = {}
    refused: set[str] = set()
    try:
        for number, (step, amount) in enumerate(steps):
            _take(shelf, clock, step, amount, str(number), bounds, refused, max_age_s)
            fresh = shelf.fresh(TICKET.kind, TICKET.app_id)
            assert fresh is None or (clock.now < bounds[fresh.code][0] and not fresh.stale)
            for reading in (fresh, shelf.waiting(TICKET)):
                assert reading is None or clock.now < bounds[reading.code][1]
                assert reading is None or reading.code not in refused
    finally:
        logging.getLogger("token_refresher.reader").setLevel(logging.NOTSET)


def _take(
    shelf: Shelf,
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
        bounds[code] = (clock.now + max_age_s, clock.now + what.life_ms / 1000)
    try:
        if step == "put":
            shelf.put(TICKET, what, clock.now)
        elif step == "gone":
            shelf.put(TICKET, Found(-2, None), clock.now)
        elif step == "fail":
            shelf.fail(TICKET, DOWN)
        else:
            serving = held(shelf)
            if serving:
                refused.add(serving)
                shelf.drop(TICKET, serving)
    except NoCodeError:
        assert step != "put" or what.life_ms == 0
