"""Whether the function's own time-out leaves time to fetch. Pure."""

from __future__ import annotations

from token_refresher.domain.policy import Policy

# What a run leaves of the function's time-out for starting, answering and being billed in whole steps (seconds).
RESERVE_S = 2.0
# A run connects to Redis and reads from it before its first attempt.
_COMMANDS_BEFORE = 2


def needed_s(policy: Policy) -> float:
    """The time-out (seconds) with which a run fetches token and then ticket, each as slowly as the policy allows."""
    return 2 * policy.work_s + RESERVE_S


def time_out_warning(timeout_s: float, policy: Policy) -> str:
    """What is wrong with a function's time-out (seconds), and what it should be; "" when it is long enough."""
    # An attempt begins only while there is time for its request and for its end in Redis.
    window_s = timeout_s - RESERVE_S - policy.request_total_s - policy.redis_timeout_s
    if window_s > _COMMANDS_BEFORE * policy.redis_timeout_s:
        return ""
    what = "no credential is ever fetched"
    if window_s > 0:
        what = f"a credential is fetched only if Redis answers within {window_s:g} s"
    advice = f"set the function's time-out to {needed_s(policy):g} s or more"
    return f"the function's time-out of {timeout_s:g} s is too short: {what}; {advice}"
