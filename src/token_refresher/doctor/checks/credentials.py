"""What is stored, by whom, whether the platform accepts it, and whether runs take place. Judges; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from token_refresher.doctor.checks.platform import Answers
from token_refresher.doctor.context import CheckContext
from token_refresher.doctor.finding import Check, Finding, Severity
from token_refresher.domain.decision import at_work
from token_refresher.domain.errors import CATALOGUE, PlatformError
from token_refresher.domain.humanize import counted, duration, instant
from token_refresher.domain.life import elsewhere, ends_early, in_danger, margin_of, recent, reckoned_end
from token_refresher.domain.model import UNKNOWN_ORIGIN, Lease, Record, Snapshot, Unreadable
from token_refresher.domain.outlook import failed_at, is_another, note_ends_at, quiet_s, traced_at
from token_refresher.domain.policy import Policy

# Failures in a row after which it is no hiccup.
_MANY_FAILURES = 3
_ELSEWHERE = (
    "find who else fetches credentials of this application (the old cron task, an instance, a colleague) "
    "and let it read Redis"
)
_RUN = "act on the findings about Redis and the platform, run `token-refresher refresh`, and check that the timer fires"


@dataclass(frozen=True)
class Stored:
    """A target as it was read; `caller` is what this copy of the program is called in its lease."""

    snapshot: Snapshot
    caller: str = ""

    @property
    def about(self) -> str:
        return f"{self.snapshot.target.app_id} {self.snapshot.target.kind.value}"


def stored(each: Stored, policy: Policy) -> Finding:
    """Whether there is a credential, and for how long."""
    check, snapshot = Check("credential stored", each.about), each.snapshot
    if snapshot.record is None:
        return check.red("nothing is stored", _RUN)
    if isinstance(snapshot.record, Unreadable):
        fix = "find who writes this key and stop it; the next run replaces what is there"
        return check.red(f"what is stored is {snapshot.record.why}", fix)
    left_s = snapshot.seconds_left
    if left_s <= 0:
        return check.red("what is stored has expired", _RUN)
    says = f"{duration(left_s)} left, fingerprint {snapshot.record.fingerprint}"
    if not snapshot.lease.settled and snapshot.readable_s + 2 < left_s:
        says += f"; readers have it for {duration(snapshot.readable_s)}, for as long as a fetch may be out"
    if in_danger(snapshot, policy):
        return check.red(says, _RUN)
    if left_s < margin_of(snapshot, policy) - 2 * policy.tick_s:
        return check.yellow(f"{says}: it should have been renewed", _RUN)
    return check.green(says)


def accepted(each: Stored, answers: Answers, context: CheckContext) -> Finding:
    """What checkCode says of the stored credential."""
    check, live, policy = Check("credential accepted", each.about), each.snapshot.live, context.settings.policy
    kind = each.snapshot.target.kind
    said = answers.checked.get(kind)
    if live is None or said is None:
        return check.grey(
            "not examined: no credential is stored"
            if live is None
            else "not examined: the platform was not reached in time"
        )
    if isinstance(said, PlatformError):
        return check.grey("not known: checkCode gave no answer about it")
    redis_ahead_s = context.redis_ahead_s or 0.0
    apart_s = answers.ahead_s.get(kind)
    skew_s = 0.0 if apart_s is None else apart_s - redis_ahead_s
    named = said.expires_at if said.valid else None
    if named is not None and not ends_early(live, reckoned_end(named, skew_s, policy, apart_s), policy):
        return check.green("until its recorded end")
    if live.issued_at is not None and 0 <= each.snapshot.now_ms / 1000 - live.issued_at < policy.audit_min_age_s:
        return check.grey("not judged: it was issued a moment ago")
    if named is None:
        return check.red("the platform refuses it", f"run `token-refresher check --repair`; then {_ELSEWHERE}")
    early_s = live.expires_at - (named - skew_s)
    says = f"superseded: the platform ends it {early_s:.0f} s early, because a newer credential exists"
    return check.red(says, f"run `token-refresher check --repair`; then {_ELSEWHERE}")


def writers(each: Stored) -> Finding:
    """Traces of other programs: what only we write is missing or out of order, or credentials were superseded."""
    check, snapshot = Check("credential writers", each.about), each.snapshot
    live, lease = snapshot.live, snapshot.lease
    superseded_at, now_s = tuple(at // 1000 for at in lease.superseded), snapshot.now_ms // 1000
    repeatedly = elsewhere(superseded_at, now_s)
    if repeatedly:
        return check.red(f"someone else fetched newer credentials {len(repeatedly)} times within the hour", _ELSEWHERE)
    if live and not live.fence:
        return check.red("someone else wrote the stored value: it has no fence", _ELSEWHERE)
    if live and _is_overwritten(live, lease):
        return check.red("someone else put an older value back: its fence is not the lease's last", _ELSEWHERE)
    if recent(superseded_at, now_s):
        return check.yellow("someone else fetched a newer credential within the hour", _ELSEWHERE)
    if live and snapshot.ttl_ms is None:
        fix = f"{_ELSEWHERE}; the next refresh sets the TTL, without which a key outlives its credential"
        return check.yellow("another program wrote the stored value: it has no TTL", fix)
    if live is None:
        return check.grey("not examined: no credential is stored")
    return check.green("only this program")


def _is_overwritten(live: Record, lease: Lease) -> bool:
    """After an attempt that issued a credential and ended, value and lease carry the same fence.

    Of a value that it did not settle the lease knows nothing.
    """
    settled = lease.mark in ("", UNKNOWN_ORIGIN)
    ended = settled and not lease.locked_until and lease.outcome.startswith("issued")
    return ended and live.fence < lease.fence


def lease(each: Stored, policy: Policy) -> Finding:
    """Whether an attempt has no end, what is unsettled, which copy keeps failing."""
    check, snapshot, lease = Check("run lease", each.about), each.snapshot, each.snapshot.lease
    if not lease.exists:
        says, fix = "no run of this program has worked on it within a day", "run `token-refresher refresh`"
        return check.yellow(says, fix) if snapshot.live else check.grey(says, fix)
    if at_work(snapshot, policy):
        return check.green("a run is at work on it")
    failed = _failing(check, each, policy)
    if failed and failed.severity is Severity.RED:
        return failed
    ahead_s = (lease.locked_until - snapshot.now_ms) / 1000
    if ahead_s > policy.work_s + policy.flight_s:
        says = f"locked for {duration(ahead_s)}, longer than any run locks: Redis's clock was set back"
        return check.yellow(says, "set Redis's clock by NTP; runs treat such a lock as ended")
    if ahead_s > 0:
        says = f"an attempt did not end: locked for {duration(ahead_s)} more, then the next one may begin"
        return check.yellow(says, "nothing, unless it happens again: then read the log of the run")
    if failed:
        return failed
    since_s = (snapshot.now_ms - lease.mark_since) / 1000 if lease.mark_since else 0
    if lease.mark and since_s > 2 * policy.work_s + policy.flight_s + 2 * policy.tick_s:
        says = f"unsettled for {duration(since_s)}: no run has settled it"
        return check.red(
            says, "run `token-refresher refresh`, check that the timer fires, and read the log of its runs"
        )
    if lease.mark == UNKNOWN_ORIGIN:
        says = "who stored the value is unknown"
        return check.yellow(says, "nothing: the next run asks the platform about it")
    if lease.mark:
        return check.yellow("an attempt ended without a definite answer", "nothing: the next run asks the platform")
    return check.green(f"free; last: {lease.outcome or 'nothing yet'}")


def _failing(check: Check, each: Stored, policy: Policy) -> Finding | None:
    """The copy that failed most often of late: this one, or another one that shares the lease."""
    snapshot = each.snapshot
    failing = [
        one for one in snapshot.lease.callers if one.failures and note_ends_at(snapshot, one, policy) > snapshot.now_ms
    ]
    if not failing:
        return None
    worst = max(failing, key=lambda one: one.failures)
    sure = is_another(snapshot, worst, each.caller, policy)
    whose = "this copy" if worst.name == each.caller else f"another copy ({worst.name})"
    entry = CATALOGUE.get(worst.code)
    what = f"is refused: {worst.code}" if entry and entry.of_caller else f"fails: {worst.code or 'unknown why'}"
    fix = entry.advice if entry else "run `token-refresher refresh` and read what it reports"
    if worst.code == "no_end":
        what, fix = "does not end its attempts", "check its log, its memory and its time-out"
    if worst.name != each.caller:
        fix = f"find that copy (another container, a function, a colleague's machine) and repair or stop it: {fix}"
        fix = fix if sure else f"nothing, if you have just corrected it; else {fix}"
    last_at = instant(failed_at(snapshot, worst, policy) // 1000, snapshot.now_ms // 1000).clock
    says = f"{whose} {what} ({counted(worst.failures, 'failure')} in a row, last at {last_at})"
    return check.red(says, fix) if worst.failures >= _MANY_FAILURES else check.yellow(says, fix)


def timer(targets: Sequence[Stored], policy: Policy) -> Iterator[Finding]:
    """Runs leave traces in the leases: attempts, and questions to checkCode at every audit interval."""
    silent: dict[str, list[float]] = {}
    for each in targets:
        silent.setdefault(each.snapshot.target.app_id, []).append(_silent_s(each.snapshot, policy))
    over = {app_id: min(ages_s) for app_id, ages_s in silent.items()}
    limit_s = max((quiet_s(each.snapshot, policy) for each in targets), default=0)
    dead = {app_id: age_s for app_id, age_s in over.items() if age_s > limit_s}
    check = Check("run timer")
    fix = "enable the timer trigger (or start the daemon) and look at its log; it must fire every "
    fix += f"{policy.tick_s:g} s, or set POLICY_TICK_S to how often it does"
    if not dead:
        yield check.green(f"the last run was {duration(max(over.values(), default=0))} ago")
        return
    if len(dead) < len(over):
        named = ", ".join(list(dead)[:5])
        says = f"no run has visited {len(dead)} of {len(over)} applications lately: {named}"
        yield check.red(says, f"check the timer and the applications of each shard: {fix}")
        return
    newest_s = min(dead.values())
    since = "no run has left a trace" if newest_s == float("inf") else f"the last run was {duration(newest_s)} ago"
    yield check.red(f"{since}; {duration(limit_s)} is the longest that is in order", fix)


def _silent_s(snapshot: Snapshot, policy: Policy) -> float:
    """Seconds since the last trace of a run; infinite without any."""
    newest = traced_at(snapshot, policy)
    return (snapshot.now_ms - newest) / 1000 if newest else float("inf")
