"""Who may send a request, and when, after the platform limited one or checkCode was silent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from token_refresher.refresh.limits import Limits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(clock)


def test_at_first_every_application_may_send(limits: Limits) -> None:
    assert limits.wait_s("a") == 0
    assert not limits.silent


def test_one_application_over_its_limit_waits_alone(limits: Limits, clock: Clock) -> None:
    limits.limited("a", 30)
    assert (limits.wait_s("a"), limits.wait_s("b")) == (30, 0)
    clock.now += 29.5
    assert limits.wait_s("a") == 0.5
    clock.now += 0.5
    assert limits.wait_s("a") == 0


def test_a_shorter_limit_does_not_end_a_longer_one(limits: Limits) -> None:
    limits.limited("a", 30)
    limits.limited("a", 5)
    assert limits.wait_s("a") == 30


def test_when_a_second_application_is_limited_too_all_wait_for_the_first_that_may_go_on(
    limits: Limits, clock: Clock
) -> None:
    limits.limited("a", 30)
    limits.limited("b", 10)
    assert (limits.wait_s("a"), limits.wait_s("b"), limits.wait_s("c")) == (30, 10, 10)
    clock.now += 10
    assert (limits.wait_s("a"), limits.wait_s("b"), limits.wait_s("c")) == (20, 0, 0)


def test_a_new_run_keeps_limits_that_last_and_gives_checkcode_another_chance(limits: Limits, clock: Clock) -> None:
    limits.limited("a", 30)
    limits.limited("b", 10)
    for _ in range(2):
        limits.unanswered()
    assert limits.silent
    clock.now += 10
    limits.begin()
    assert (limits.wait_s("a"), limits.wait_s("b"), limits.silent) == (20, 0, False)


def test_only_silences_in_a_row_count(limits: Limits) -> None:
    limits.unanswered()
    limits.answered()
    limits.unanswered()
    seen = [limits.silent]
    limits.unanswered()
    seen.append(limits.silent)
    limits.answered()
    seen.append(limits.silent)
    assert seen == [False, True, False]


def test_many_threads_may_ask_at_once(limits: Limits) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: limits.limited(f"app{number}", number), range(1, 200)))
    assert limits.wait_s("app7") == 7
    assert limits.wait_s("another") == 1
