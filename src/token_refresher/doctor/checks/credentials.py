"""What is stored, by whom, whether the platform accepts it, and whether runs take place. Judges; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from token_refresher.cli.table import duration
from token_refresher.doctor.checks.platform import Answers
from token_refresher.doctor.context import Bench
from token_refresher.doctor.finding import Finding, Light, Speak, speaker
from token_refresher.domain.decision import at_work
from token_refresher.domain.errors import CATALOGUE, PlatformError
from token_refresher.domain.life import ends_early, in_danger, margin_of, reckoned_end
from token_refresher.domain.model import Lease, Record, Snapshot, Unreadable
from token_refresher.domain.outlook import quiet_s, traced_at
from token_refresher.domain.policy import Policy

# Supersessions within this time (seconds) show that somebody refreshes now; so many are no accident.
_RECENTLY_S, _REPEATEDLY = 3600, 3
# Failures in a row after which it is no hiccup.
_MANY_FAILURES = 3
_ELSEWHERE = (
    "find who else fetches codes of this application (the old cron task, an instance with its own fetch, a colleague) "
    "and let it read Redis"
)
_RUN = "see the findings about Redis and the platform, then run `token-refresher refresh`, and see that the timer fires"


@dataclass(frozen=True)
class Stored:
    """A target as it was read; `caller` is what this copy of the program is called in its lease."""

    snapshot: Snapshot
    caller: str = ""

    @property
    def about(self) -> str:
        return f"{self.snapshot.target.app_id} {self.snapshot.target.kind.value}"


def stored(each: Stored, policy: Policy) -> Finding:
    """Whether there is a code, and for how long."""
    say, snapshot = speaker("code stored", each.about), each.snapshot
    if snapshot.record is None:
        return say(Light.RED, "nothing is stored", _RUN)
    if isinstance(snapshot.record, Unreadable):
        cure = "find who writes this key and stop it; the next run replaces what is there"
        return say(Light.RED, f"what is stored is {snapshot.record.why}", cure)
    left_s = snapshot.seconds_left
    if left_s <= 0:
        return say(Light.RED, "what is stored has expired", _RUN)
    says = f"{duration(left_s)} left, fingerprint {snapshot.record.fingerprint}"
    if not snapshot.lease.settled and snapshot.readable_s + 2 < left_s:
        says += f"; readers have it for {duration(snapshot.readable_s)}, for as long as a fetch may be out"
    if in_danger(snapshot, policy):
        return say(Light.RED, says, _RUN)
    if left_s < margin_of(snapshot, policy) - 2 * policy.tick_s:
        return say(Light.YELLOW, f"{says}: it should have been renewed", _RUN)
    return say(Light.GREEN, says)


def accepted(each: Stored, answers: Answers, bench: Bench) -> Finding:
    """What checkCode says of the stored code."""
    say, live, policy = speaker("code accepted", each.about), each.snapshot.live, bench.settings.policy
    kind = each.snapshot.target.kind
    said = answers.checked.get(kind)
    if live is None or said is None:
        return say(Light.GREY, "not examined: no code is stored" if live is None else "not examined: no time was left")
    if isinstance(said, PlatformError):
        return say(Light.GREY, "not known: checkCode gave no answer about it")
    redis_ahead_s = bench.redis_ahead_s or 0.0
    apart_s = answers.ahead_s.get(kind)
    skew_s = 0.0 if apart_s is None else apart_s - redis_ahead_s
    named = said.expires_at if said.valid else None
    if named is not None and not ends_early(live, reckoned_end(named, skew_s, policy, apart_s), policy):
        return say(Light.GREEN, "until the expected instant")
    if live.issued_at is not None and 0 <= each.snapshot.now_ms / 1000 - live.issued_at < policy.audit_min_age_s:
        return say(Light.GREY, "not judged: it was issued a moment ago")
    if named is None:
        return say(Light.RED, "the platform refuses it", f"run `token-refresher check --repair`; then {_ELSEWHERE}")
    early_s = live.expires_at - (named - skew_s)
    says = f"superseded: the platform ends it {early_s:.0f} s early, because a newer one exists"
    return say(Light.RED, says, f"run `token-refresher check --repair`; then {_ELSEWHERE}")


def writers(each: Stored) -> Finding:
    """Traces of other programs: what only we write is missing or out of order, or codes were superseded."""
    say, snapshot = speaker("code writers", each.about), each.snapshot
    live, lease = snapshot.live, snapshot.lease
    recent = [at for at in lease.superseded if 0 <= snapshot.now_ms - at < _RECENTLY_S * 1000]
    if len(recent) >= _REPEATEDLY:
        return say(Light.RED, f"somebody else fetched newer codes {len(recent)} times within the hour", _ELSEWHERE)
    if live and not live.fence:
        return say(Light.RED, "somebody else wrote the stored value: it has no fence", _ELSEWHERE)
    if live and _is_overwritten(live, lease):
        return say(Light.RED, "somebody else put an older value back: its fence is not the lease's last", _ELSEWHERE)
    if recent:
        return say(Light.YELLOW, "somebody else fetched a newer code within the hour", _ELSEWHERE)
    if live and snapshot.ttl_ms is None:
        cure = f"a key without TTL outlives its code: {_ELSEWHERE}; the next refresh sets the TTL"
        return say(Light.YELLOW, "the stored value has no TTL: not ours", cure)
    if live is None:
        return say(Light.GREY, "not examined: no code is stored")
    return say(Light.GREEN, "only this program")


def _is_overwritten(live: Record, lease: Lease) -> bool:
    """After an attempt that issued a code and ended, value and lease carry the same fence."""
    ended = lease.settled and not lease.locked_until and lease.outcome.startswith("issued")
    return ended and live.fence < lease.fence


def lease(each: Stored, policy: Policy) -> Finding:
    """Whether an attempt has no end, what is unsettled, which copy keeps failing."""
    say, snapshot, lease = speaker("run lease", each.about), each.snapshot, each.snapshot.lease
    if not lease.exists:
        light = Light.YELLOW if snapshot.live else Light.GREY
        return say(light, "no run of this program has worked on it within a day", "run `token-refresher refresh`")
    if at_work(snapshot, policy):
        return say(Light.GREEN, "a run is at work on it")
    failed = _failing(say, each, policy)
    if failed and failed.light is Light.RED:
        return failed
    ahead_s = (lease.locked_until - snapshot.now_ms) / 1000
    if ahead_s > policy.work_s + policy.flight_s:
        says = f"locked for {duration(ahead_s)}, longer than any run locks: Redis's clock was set back"
        return say(Light.YELLOW, says, "set Redis's clock by NTP; runs take such a lock for over")
    if ahead_s > 0:
        says = f"an attempt had no end: locked for {duration(ahead_s)} more, then the next one may come"
        return say(Light.YELLOW, says, "nothing, unless it comes again: then see the log of the run")
    if failed:
        return failed
    since_s = (snapshot.now_ms - lease.mark_since) / 1000 if lease.mark_since else 0
    if lease.mark and since_s > 2 * policy.work_s + policy.flight_s + 2 * policy.tick_s:
        says = f"unsettled for {duration(since_s)}: no run has come to settle it"
        return say(Light.RED, says, "run `token-refresher refresh`, see that the timer fires, and the log of its runs")
    if lease.mark:
        return say(Light.YELLOW, "an attempt had no definite end", "nothing: the next run asks the platform")
    return say(Light.GREEN, f"free; last: {lease.outcome or 'nothing yet'}")


def _failing(say: Speak, each: Stored, policy: Policy) -> Finding | None:
    """The copy that failed most often of late: this one, or another one that shares the lease."""
    snapshot = each.snapshot
    oldest_ms = snapshot.now_ms - 2 * policy.retry_cap_s * 1000
    failing = [one for one in snapshot.lease.callers if one.failures and one.until > oldest_ms]
    if not failing:
        return None
    worst = max(failing, key=lambda one: one.failures)
    whose = "this copy" if worst.name == each.caller else f"another copy ({worst.name})"
    entry = CATALOGUE.get(worst.code)
    what = f"is refused: {worst.code}" if entry and entry.of_caller else f"fails: {worst.code or 'not known why'}"
    cure = entry.advice if entry else "run `token-refresher refresh` and see what it says"
    if worst.code == "no_end":
        what, cure = "does not end its attempts", "see its log, its memory and its time-out"
    if worst.name != each.caller:
        cure = f"find that copy (another container, a function, a colleague's machine) and mend or stop it: {cure}"
    light = Light.RED if worst.failures >= _MANY_FAILURES else Light.YELLOW
    return say(light, f"{whose} {what} ({worst.failures} failure{'s' * (worst.failures > 1)} in a row)", cure)


def timer(targets: Sequence[Stored], policy: Policy) -> Iterator[Finding]:
    """Runs leave traces in the leases: attempts, and questions to checkCode at every audit interval."""
    silent: dict[str, list[float]] = {}
    for each in targets:
        silent.setdefault(each.snapshot.target.app_id, []).append(_silent_s(each.snapshot, policy))
    over = {app_id: min(ages_s) for app_id, ages_s in silent.items()}
    limit_s = max((quiet_s(each.snapshot, policy) for each in targets), default=0)
    dead = {app_id: age_s for app_id, age_s in over.items() if age_s > limit_s}
    say = speaker("run timer")
    cure = "enable the timer trigger (or start the daemon) and look at its log; it must fire every "
    cure += f"{policy.tick_s:g} s, or set POLICY_TICK_S to how often it does"
    if not dead:
        yield say(Light.GREEN, f"the last trace of a run is {duration(max(over.values(), default=0))} old")
        return
    if len(dead) < len(over):
        named = ", ".join(list(dead)[:5])
        says = f"no run has visited {len(dead)} of {len(over)} applications of late: {named}"
        yield say(Light.RED, says, f"one shard's timer is dead, or has other applications in its configuration: {cure}")
        return
    newest_s = min(dead.values())
    since = "no run has left a trace" if newest_s == float("inf") else f"the last run was {duration(newest_s)} ago"
    yield say(Light.RED, f"{since}; at most {duration(limit_s)} is in order", cure)


def _silent_s(snapshot: Snapshot, policy: Policy) -> float:
    """Seconds since the last trace of a run; infinite without any."""
    newest = traced_at(snapshot, policy)
    return (snapshot.now_ms - newest) / 1000 if newest else float("inf")
