"""When a function's own time-out is too short to fetch, and what it should be instead."""

from __future__ import annotations

from support.tables import each_line
from token_refresher.domain.function_timeout import needed_s, time_out_warning
from token_refresher.domain.policy import Policy

NEVER, SELDOM = "no credential is ever fetched", "a credential is fetched only if Redis answers within"


@each_line(
    ("timeout_s", "said"),
    [
        # Function Compute's own default, a minute's half, and both sides of each limit
        (1, NEVER),
        (3, NEVER),
        (10, NEVER),
        (15, NEVER),
        (15.5, f"{SELDOM} 0.5 s"),
        (16, f"{SELDOM} 1 s"),
        (21, f"{SELDOM} 6 s"),
        (22, ""),
        (30, ""),
        (60, ""),
        (70, ""),
    ],
)
def test_a_time_out_that_leaves_no_time_is_named_with_what_it_should_be(timeout_s: float, said: str) -> None:
    warning = time_out_warning(timeout_s, Policy())
    if not said:
        assert warning == ""
        return
    assert warning.startswith(f"the function's time-out of {timeout_s:g} s is too short: {said}")
    assert warning.endswith("set the function's time-out to 62 s or more")


def test_the_needed_seconds_follow_the_policy() -> None:
    assert needed_s(Policy()) == 62
    slower = Policy(request_total_s=20, work_s=45, redis_timeout_s=5)
    assert needed_s(slower) == 92
    assert NEVER in time_out_warning(27, slower)
    assert "Redis answers within 10 s" in time_out_warning(37, slower)
    assert time_out_warning(37.5, slower) == ""
    assert time_out_warning(10, Policy(request_total_s=1, redis_timeout_s=1)) == ""
