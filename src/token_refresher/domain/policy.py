"""The numbers of the algorithm, each with its reason, and the inequalities that make it safe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


def _number(default: float, meaning: str) -> Any:
    """A number of the policy; `meaning` is its line in the reference of settings."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Policy:
    """All durations are in seconds. Smaller values scale the whole system down, which is how it is tested."""

    # What the platform promises: a credential's life, and how long a superseded credential is still accepted.
    lifetime_s: float = _number(7200, "how long the platform lets a credential live, in seconds")
    grace_s: float = _number(600, "how long the platform still accepts a superseded credential, in seconds")
    # Refresh when less than this is left: a quarter of the life, so that half an hour of outage goes unnoticed.
    margin_s: float = _number(1800, "a credential is refreshed when less than this is left, in seconds")
    # From the start of an attempt, no request is sent later than this ...
    work_s: float = _number(30, "no request is sent later than this after an attempt began, in seconds")
    # ... and none that was sent is still under way this long after.
    flight_s: float = _number(60, "no request is under way longer than this after it was sent, in seconds")
    # How often the timer fires. A longer timer is allowed up to the inequalities below.
    tick_s: float = _number(60, "how often the timer fires, in seconds")
    # One request to the platform, from name resolution to the last byte; twice this fits into work_s (ask, then fetch).
    request_total_s: float = _number(10, "limit of one request to the platform as a whole, in seconds")
    connect_timeout_s: float = _number(3, "limit of connecting to the platform, in seconds")
    # One wait for the answer to a fetch. A question to checkCode may take all of request_total_s: a late word still
    # shows what was superseded.
    read_timeout_s: float = _number(
        8, "limit of one wait for the answer to a fetch, in seconds; checkCode may take the whole time"
    )
    # One command to Redis. Redis answers within milliseconds; a frozen one must not eat the run.
    redis_timeout_s: float = _number(3, "limit of one command to Redis, in seconds")
    # How often checkCode is asked about a stored credential; 0 turns it off.
    audit_interval_s: float = _number(
        240, "how often the platform is asked about a stored credential, in seconds; 0 turns it off"
    )
    # checkCode and our own reckoning of an expiry may differ by this much.
    audit_tolerance_s: float = _number(
        60, "by how much the platform's expiry may differ from the stored one, in seconds"
    )
    # A credential younger than this is not audited: the platform's own replicas may lag.
    audit_min_age_s: float = _number(10, "a credential younger than this is not asked about, in seconds")
    # Complaints of readers lead to at most one question in this time, for each target.
    complaint_interval_s: float = _number(
        60, "readers' complaints lead to at most one question in this time, in seconds"
    )
    # Not even force renews a credential younger than this.
    cooldown_s: float = _number(30, "not even force renews a credential younger than this, in seconds")
    # A run raises an alarm when some credential has less than this left.
    alarm_below_s: float = _number(600, "a run fails when a credential has less than this left, in seconds")
    # After a definite no: 30, 60, 120, 240, 300, 300 ... seconds; five attempts and more fit into the margin.
    retry_base_s: float = _number(30, "first wait after the platform refused, in seconds; it doubles each time")
    retry_cap_s: float = _number(300, "longest wait after the platform refused, in seconds")
    # Control hashes of applications that are gone disappear after a day.
    lease_ttl_s: float = _number(86400, "how long Redis keeps the leases of an application that is gone, in seconds")
    # How old a reader's own copy may be; the process-local cache of the library.
    reader_cache_s: float = _number(5, "how old a reader's own copy of a credential may be, in seconds")
    # Applications worked on at once: bounds threads, sockets and the load on the platform. At 50 ms this many keep a
    # whole core busy; a tenth of a core is busy with six.
    concurrency: int = _number(64, "how many applications are worked on at once, 1 to 256")

    @property
    def question_interval_s(self) -> float:
        """How long a caller waits after a question without an answer; also where audits are turned off."""
        return self.audit_interval_s or self.complaint_interval_s

    @property
    def silence_s(self) -> float:
        """How much time (s) a run loses to questions without an answer: two that time out, or many that fail at once.

        So a checkCode that is silent leaves the run its time for fetches, and an error that comes at once blinds none.
        """
        return 1.5 * self.request_total_s

    @property
    def denial_s(self) -> float:
        """How far two denials of an application are apart (s) before its credential is removed.

        An audit, or as long as the next run of each other copy takes: after the first denial it asks, and one that is
        told of a good credential comes in between.
        """
        return max(self.question_interval_s, self.tick_s + 2 * self.work_s)

    @property
    def longest_wait_s(self) -> float:
        """No own wait of a caller lies further ahead: it is written with the lease, for after the lock."""
        return max(self.work_s + self.flight_s + self.grace_s, self.retry_cap_s * 1.1)

    @property
    def longest_life_s(self) -> float:
        """No credential lives longer from now on, whatever a value claims."""
        return self.lifetime_s + self.audit_tolerance_s

    @property
    def heal_s(self) -> float:
        """How long one attempt without an end holds a target up: its lock, then the next run's tick and work."""
        return self.work_s + self.flight_s + self.tick_s + self.work_s

    def longest_own_wait_s(self, left_s: float) -> float:
        """How long a caller waits at most (s) after an attempt without an end; `left_s` are left of the credential.

        A quarter of what is left, as after a refusal; two ticks at least, so that other copies get their turn.
        """
        return min(self.grace_s, max(left_s / 4, 2 * self.tick_s))

    def margin_for(self, life_s: float) -> float:
        """The margin (s) of a credential that lives `life_s` (0: not known): the same share of a shorter life.

        Not so short that one lost run would cost readers the credential, unless that were more than half the life.
        """
        if not 0 < life_s < self.lifetime_s:
            return self.margin_s
        lost_run_s = 2 * self.tick_s + self.work_s
        return min(self.margin_s, max(self.margin_s * life_s / self.lifetime_s, min(life_s / 2, lost_run_s)))

    def alarm_for(self, life_s: float) -> float:
        """`alarm_below_s` for a credential that lives `life_s` (0: not known): as much less as its life is."""
        return self.alarm_below_s * min(life_s or self.lifetime_s, self.lifetime_s) / self.lifetime_s

    def problems(self) -> list[str]:
        """Every way in which these numbers do not fit together, as sentences; empty when they do."""
        found = [
            f"policy.{name} must be greater than 0"
            for name, value in vars(self).items()
            if value <= 0 and name not in _MAY_BE_ZERO
        ]
        found += [f"policy.{n} must not be negative" for n in _MAY_BE_ZERO if getattr(self, n) < 0]
        if found:
            return found
        rules = (
            ("request_total_s <= work_s / 2", self.request_total_s <= self.work_s / 2),
            ("work_s + flight_s + tick_s + work_s <= grace_s", self.heal_s <= self.grace_s),
            (
                "audit_interval_s + tick_s + work_s <= grace_s",
                self.audit_interval_s + self.tick_s + self.work_s <= self.grace_s,
            ),
            # What blinds the audit has to be short beside what it looks for.
            ("audit_min_age_s <= grace_s / 10", self.audit_min_age_s <= self.grace_s / 10),
            ("audit_tolerance_s <= grace_s / 2", self.audit_tolerance_s <= self.grace_s / 2),
            ("grace_s <= margin_s", self.grace_s <= self.margin_s),
            ("margin_s < lifetime_s / 2", self.margin_s < self.lifetime_s / 2),
            ("reader_cache_s <= grace_s / 10", self.reader_cache_s <= self.grace_s / 10),
            # Cooling down delays healing, so it has to be short beside the grace.
            ("cooldown_s <= grace_s / 10", self.cooldown_s <= self.grace_s / 10),
            # An alarm about what is not even due would be none.
            ("alarm_below_s <= margin_s", self.alarm_below_s <= self.margin_s),
            # A lease that Redis forgets early locks nobody out.
            ("lifetime_s <= lease_ttl_s", self.lifetime_s <= self.lease_ttl_s),
            ("retry_base_s <= retry_cap_s", self.retry_base_s <= self.retry_cap_s),
            ("five attempts (retry_base_s, retry_cap_s, tick_s) <= margin_s", self._five() <= self.margin_s),
        )
        return found + [f"policy does not satisfy {rule}" for rule, holds in rules if not holds]

    def _five(self) -> float:
        """Duration until the fifth attempt has begun, when every tick comes late and every delay jitters upwards."""
        delays_s = (min(self.retry_base_s * 2.0**n, self.retry_cap_s) * 1.1 for n in range(4))
        return self.tick_s * (1 + sum(math.ceil(delay_s / self.tick_s) for delay_s in delays_s))


_MAY_BE_ZERO = ("audit_interval_s", "audit_min_age_s", "audit_tolerance_s", "cooldown_s", "reader_cache_s")
