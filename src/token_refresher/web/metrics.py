"""What is measured, for Prometheus, in a registry of its own."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from token_refresher import __version__
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import Report
from token_refresher.web.history import RESULTS, RunHistory

# From a proxy nearby to the limit of one request.
_FETCH_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 10)
# From a Redis next door to the limit of one command.
_REDIS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3)
# From a run with nothing to do to the longest there can be.
_RUN_S = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60)


class Metrics:
    """Counts what happens. Every method may be called by any thread."""

    def __init__(self, history: RunHistory) -> None:
        # Without a second series beside each counter, of when it began; Prometheus has no use for it in this format.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
        self.registry = one = CollectorRegistry()
        self._superseded: dict[Target, int] = {}
        name = "token_refresher"
        self._runs = Counter(f"{name}_runs", "Runs, by how they ended.", ["result"], registry=one)
        self._outcomes = Counter(
            f"{name}_outcomes",
            "Credentials worked on, by what came of it: issued, kept, refused, not_sent, unknown, lost, deferred.",
            ["kind", "outcome", "error"],
            registry=one,
        )
        waits = "Runs that found a credential locked, by another run or by an attempt without an end."
        self._waits = Counter(f"{name}_lease_waits", waits, ["kind"], registry=one)
        others = "Refreshes by another program that were noticed."
        self._supersessions = Counter(f"{name}_supersessions", others, ["kind"], registry=one)
        self._fetch = Histogram(
            f"{name}_fetch_seconds",
            "Requests to the platform: access_token, js_ticket, check_code.",
            ["request"],
            registry=one,
            buckets=_FETCH_S,
        )
        redis = "Commands to Redis, repeats included: load, acquire, finish, note."
        self._redis = Histogram(f"{name}_redis_seconds", redis, ["command"], registry=one, buckets=_REDIS_S)
        self._run = Histogram(f"{name}_run_seconds", "How long a run took.", registry=one, buckets=_RUN_S)
        ended = "When the last run ended, whatever came of it (unix time)."
        self._last = Gauge(f"{name}_last_run_timestamp_seconds", ended, registry=one)
        Info(f"{name}_build", "What is running.", registry=one).info(
            {"version": __version__, "python": platform.python_version()}
        )
        one.register(_Known(history))
        ProcessCollector(registry=one)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Series that are known from the start, so that a rate has something to begin from."""
        for result in RESULTS:
            self._runs.labels(result)
        for kind in (each.value for each in Kind):
            self._waits.labels(kind)
            self._supersessions.labels(kind)
            for outcome in (Outcome.ISSUED, Outcome.KEPT):
                self._outcomes.labels(kind, outcome.value, "none")

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def redis_took(self, command: str, seconds: float) -> None:
        self._redis.labels(command).observe(seconds)

    def request_took(self, request: str, seconds: float) -> None:
        self._fetch.labels(request).observe(seconds)

    def ran(self, result: str, report: Report | None) -> None:
        """A run ended; without a report when it brought none."""
        self._runs.labels(result).inc()
        self._last.set_to_current_time()
        if report is None:
            return
        self._run.observe(report.took_ms / 1000)
        for each in report.targets:
            kind = each.target.kind.value
            if each.outcome:
                error = each.failure.code if each.failure else "none"
                self._outcomes.labels(kind, each.outcome.value, error).inc()
            if each.reason == Reason.LOCKED.value:
                self._waits.labels(kind).inc()
            # A report names the last few that any copy noticed; what came before this process is not counted.
            since = self._superseded.get(each.target, report.at - report.took_ms // 1000 - 1)
            fresh = [at for at in each.superseded_at if at > since]
            self._supersessions.labels(kind).inc(len(fresh))
            self._superseded[each.target] = max(fresh, default=since)


class _Known:
    """Seconds left and danger as of now, since time goes on without runs; and whether changed settings are refused."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "token_refresher_seconds_to_expiry",
            "How long readers have the stored credential; 0 when there is none.",
            labels=["app_id", "kind"],
        )
        danger = GaugeMetricFamily(
            "token_refresher_in_danger",
            "1 when the credential is missing or nearly expired.",
            labels=["app_id", "kind"],
        )
        latest = self._history.latest
        for each in latest.report.targets if latest else ():
            labels = [each.target.app_id, each.target.kind.value]
            family.add_metric(labels, latest.seconds_left(each) if latest else 0)
            danger.add_metric(labels, bool(latest and each.in_danger_after(latest.age_s)))
        yield family
        yield danger
        refused = "1 while changed settings are refused and the old ones stay in use, else 0."
        yield GaugeMetricFamily("token_refresher_settings_refused", refused, value=bool(self._history.mistakes))
