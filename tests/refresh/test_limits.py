"""Who may send a request, and when, after the platform limited one or checkCode was silent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from support.endpoints import endpoints_at
from token_refresher.domain.model import App, Kind, Secret
from token_refresher.refresh.limits import Interface, Limits, asking, fetching

HERE, THERE = Interface("https://a", "checkCode"), Interface("https://b", "checkCode")
FETCH, OTHER_FETCH = Interface("https://a", "access_token"), Interface("https://a", "js_ticket")
# Only a defect makes a test wait so long (s).
_WAIT_S = 10


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


def wait_s(limits: Limits, app_id: str, interface: Interface = HERE) -> float:
    """How long it has to wait; where it may send, nothing comes of it."""
    with limits.turn(interface, app_id) as found:
        return found


def limited(limits: Limits, app_id: str, wait_s: float = 300) -> float:
    """The application sends where it may, and is limited; returns how long it had to wait."""
    with limits.turn(HERE, app_id) as found:
        if not found:
            limits.limited(HERE, app_id, wait_s)
    return found


# -- interfaces -------------------------------------------------------------------------------------------------------


def app(base: str) -> App:
    return App("a", Secret("s"), endpoints=endpoints_at(base, *(f"/OAuth2/{name}" for name in ("t", "k", "c", "t"))))


def test_an_interface_is_known_by_scheme_host_and_port_and_by_what_it_does() -> None:
    known = {asking(app("https://a")), *(fetching(app("https://a"), kind) for kind in Kind)}
    assert len(known) == 3
    assert {each.platform for each in known} == {"https://a"}
    assert asking(app("https://A/in/a/folder")) == asking(app("https://a"))
    others = ("https://b", "http://a", "https://a:8443")
    assert len({asking(app(base)) for base in ("https://a", *others)}) == 4


def test_each_credential_comes_from_the_host_of_its_own_address() -> None:
    tokens, tickets = app("https://tokens"), app("https://tickets")
    mixed = replace(tokens, endpoints=replace(tokens.endpoints, ticket_url=tickets.endpoints.ticket_url))
    assert fetching(mixed, Kind.ACCESS_TOKEN) == fetching(tokens, Kind.ACCESS_TOKEN)
    assert fetching(mixed, Kind.JS_TICKET) == fetching(tickets, Kind.JS_TICKET)


# -- an application's own limit ---------------------------------------------------------------------------------------


def test_at_first_every_application_may_send(limits: Limits) -> None:
    assert wait_s(limits, "a") == 0
    assert not limits.silent(HERE, False, 15)


def test_one_application_over_its_limit_waits_alone_and_at_that_interface_alone(limits: Limits, clock: Clock) -> None:
    limits.limited(HERE, "a", 30)
    assert (wait_s(limits, "a"), wait_s(limits, "b"), wait_s(limits, "a", THERE)) == (30, 0, 0)
    clock.now += 29.5
    assert wait_s(limits, "a") == 0.5
    clock.now += 0.5
    assert wait_s(limits, "a") == 0


def test_a_shorter_limit_does_not_end_a_longer_one(limits: Limits) -> None:
    limits.limited(HERE, "a", 30)
    limits.limited(HERE, "a", 5)
    assert wait_s(limits, "a") == 30


def test_a_new_run_keeps_limits_that_last(limits: Limits, clock: Clock) -> None:
    limits.limited(HERE, "a", 30)
    limits.limited(HERE, "b", 10)
    clock.now += 10
    limits.begin()
    assert (wait_s(limits, "a"), wait_s(limits, "b")) == (20, 0)


def test_who_was_limited_last_is_forgotten_after_a_while_or_a_request_of_its_own_that_got_through(
    limits: Limits, clock: Clock
) -> None:
    for each in "ab":
        limits.limited(HERE, each, 30)
    limits.passed(HERE, "c")
    assert [limits.again(HERE, each) for each in "abc"] == [True, True, False]
    limits.passed(HERE, "a")
    assert [limits.again(HERE, each) for each in "abc"] == [False, True, False]
    clock.now += 630
    limits.begin()
    assert not limits.again(HERE, "b")


# -- several in a row -------------------------------------------------------------------------------------------------


def test_two_that_are_limited_cost_others_nothing(limits: Limits) -> None:
    for app_id in "ab":
        limits.limited(HERE, app_id, 300)
    with limits.turn(HERE, "c") as found:
        assert found == 0
        limits.passed(HERE, "c")
        # Its request is over: nobody waits for the rest of its work.
        with limits.turn(HERE, "d") as at_once:
            assert at_once == 0
    assert (wait_s(limits, "a"), wait_s(limits, "d")) == (300, 0)


def test_others_wait_for_the_one_that_tries_for_all(limits: Limits) -> None:
    for app_id in "ab":
        limits.limited(HERE, app_id, 300)
    order: list[str] = []

    def next_one() -> None:
        with limits.turn(HERE, "d"):
            order.append("d")

    with limits.turn(HERE, "c"):
        thread = threading.Thread(target=next_one)
        thread.start()
        # At another interface nobody waits, and who is limited itself does not.
        assert (wait_s(limits, "e", THERE), wait_s(limits, "a")) == (0, 300)
        order.append("c")
    thread.join(_WAIT_S)
    assert order == ["c", "d"]


def test_a_request_that_was_not_sent_lets_the_next_one_try(limits: Limits) -> None:
    for app_id in "ab":
        limits.limited(HERE, app_id, 300)
    with pytest.raises(OSError, match="as the test says"), limits.turn(HERE, "c"):
        raise OSError("as the test says")
    assert [limited(limits, each) for each in "defghi"] == [0, 0, 0, 0, 0, 5]


def test_after_five_that_tried_in_vain_all_pause_each_time_for_twice_as_long(limits: Limits, clock: Clock) -> None:
    for app_id in "ab":
        limits.limited(HERE, app_id, 300)
    assert [limited(limits, f"try {number}") for number in range(6)] == [0, 0, 0, 0, 0, 5]
    pauses = []
    for number in range(5):
        clock.now += wait_s(limits, "z")
        assert limited(limits, f"later {number}") == 0
        pauses.append(wait_s(limits, "z"))
    assert pauses == [10, 20, 40, 80, 300 - 155]
    limits.passed(HERE, "z")
    assert wait_s(limits, "y") == 0


def test_after_one_that_got_through_the_next_row_has_five_tries_of_its_own(limits: Limits) -> None:
    for app_id in "ab":
        limits.limited(HERE, app_id, 300)
    assert [limited(limits, each) for each in "cd"] == [0, 0]
    limits.passed(HERE, "e")
    for app_id in "fg":
        limits.limited(HERE, app_id, 300)
    assert [limited(limits, each) for each in "hijklm"] == [0, 0, 0, 0, 0, 5]


def test_a_new_run_makes_no_row_of_those_that_were_limited_before_one_got_through(limits: Limits) -> None:
    for app_id in "ab":
        limits.limited(HERE, app_id, 300)
    limits.passed(HERE, "c")
    limits.begin()
    with limits.turn(HERE, "c"), limits.turn(HERE, "d") as at_once:
        assert at_once == 0


def test_a_pause_ends_with_the_first_limit(limits: Limits, clock: Clock) -> None:
    limits.limited(HERE, "a", 2)
    limits.limited(HERE, "b", 300)
    for number in range(5):
        limited(limits, f"try {number}")
    assert wait_s(limits, "z") == 2
    clock.now += 2
    assert wait_s(limits, "z") == wait_s(limits, "a") == 0


def test_requests_under_way_when_the_limit_comes_are_none_that_tried(limits: Limits) -> None:
    for number in range(60):
        limits.limited(HERE, f"app{number}", 300)
    assert wait_s(limits, "z") == 0


def test_several_are_limited_where_two_are_whose_limits_last_at_whatever_interface(
    limits: Limits, clock: Clock
) -> None:
    token = Interface(HERE.platform, "access_token")
    limits.limited(HERE, "a", 20)
    limits.limited(token, "a", 20)
    limits.limited(THERE, "b", 20)
    assert not limits.several(HERE)
    limits.limited(token, "b", 10)
    assert [limits.several(each) for each in (HERE, token, THERE)] == [True, True, False]
    clock.now += 71
    assert not limits.several(HERE)


def test_the_last_one_that_a_limit_of_fetches_meets_is_still_one_of_several(limits: Limits, clock: Clock) -> None:
    for each in "ab":
        limits.limited(FETCH, each, 30)
    limits.passed(FETCH, "c")
    clock.now += 80
    assert [limits.several(each) for each in (FETCH, OTHER_FETCH)] == [True, True]
    limits.passed(FETCH, "a")
    assert limits.several(FETCH)
    clock.now += 11
    assert not limits.several(FETCH)


def test_two_that_are_limited_again_and_again_while_others_are_not_have_limits_of_their_own(
    limits: Limits, clock: Clock
) -> None:
    found = []
    for _ in range(4):
        for each in "ab":
            limits.limited(FETCH, each, 30)
        limits.passed(FETCH, "c")
        clock.now += 40
        found.append(limits.several(FETCH))
    assert found == [True, True, False, False]
    # One that got through in between may show it again.
    for each in "ab":
        limits.passed(FETCH, each)
        limits.limited(FETCH, each, 30)
    limits.passed(FETCH, "c")
    assert limits.several(FETCH)


def test_questions_that_were_limited_say_nothing_of_a_fetch_once_another_got_through(limits: Limits) -> None:
    for each in "ab":
        limits.limited(HERE, each, 30)
    assert limits.several(FETCH)
    limits.passed(HERE, "c")
    limits.limited(FETCH, "d", 30)
    assert not limits.several(FETCH)


def test_a_fetch_that_waits_crowds_its_platform_in_this_run_alone(limits: Limits) -> None:
    limits.crowd(Interface(HERE.platform, "access_token"))
    assert limits.crowded(HERE)
    assert not limits.crowded(THERE)
    limits.begin()
    assert not limits.crowded(HERE)


def test_many_threads_may_ask_at_once(limits: Limits) -> None:
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda number: limited(limits, f"app{number}", number), range(100, 300)))
    # Those that came at once, those that tried for all, and no more.
    sent = [each for each in waits if not each]
    assert 7 <= len(sent) <= 8 + 5
    assert set(waits) == {0, 5}


# -- silence ----------------------------------------------------------------------------------------------------------


def unanswered(limits: Limits, clock: Clock, took_s: float, in_vain: bool = False) -> None:
    began_at = clock.now
    clock.now += took_s
    limits.unanswered(HERE, in_vain, began_at)


def silent(limits: Limits, in_vain: bool = False) -> bool:
    return limits.silent(HERE, in_vain, 15)


def test_only_time_that_is_lost_in_a_row_counts(limits: Limits, clock: Clock) -> None:
    unanswered(limits, clock, 10)
    limits.answered(HERE, False)
    unanswered(limits, clock, 10)
    seen = [silent(limits)]
    unanswered(limits, clock, 10)
    seen.append(silent(limits))
    limits.answered(HERE, False)
    seen.append(silent(limits))
    assert seen == [False, True, False]


def test_a_platform_that_is_silent_silences_no_other_and_gets_another_chance_in_the_next_run(
    limits: Limits, clock: Clock
) -> None:
    unanswered(limits, clock, 20)
    assert (silent(limits), limits.silent(THERE, False, 15)) == (True, False)
    limits.begin()
    assert not silent(limits)


def test_errors_that_come_at_once_are_no_silence(limits: Limits, clock: Clock) -> None:
    for _ in range(100):
        unanswered(limits, clock, 0.01)
    assert not silent(limits)


def test_time_that_many_wait_together_counts_once(limits: Limits, clock: Clock) -> None:
    began_at = clock.now
    clock.now += 10
    for _ in range(6):
        limits.unanswered(HERE, False, began_at)
    assert not silent(limits)
    clock.now += 5
    limits.unanswered(HERE, False, began_at + 5)
    assert silent(limits)


def test_what_was_asked_in_vain_before_counts_by_itself_until_one_of_those_is_answered(
    limits: Limits, clock: Clock
) -> None:
    unanswered(limits, clock, 20, in_vain=True)
    limits.answered(HERE, False)
    assert (silent(limits), silent(limits, in_vain=True)) == (False, True)
    unanswered(limits, clock, 20)
    limits.answered(HERE, True)
    assert (silent(limits), silent(limits, in_vain=True)) == (False, False)
