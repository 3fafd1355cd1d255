"""One run: read everything, decide, watch, renew, report. `run_once` is the program; all else are doors to it.

Two loops share nothing but what was read. **Watch** asks checkCode about every stored credential whose check is due,
whatever else its state is, and takes away what the platform no longer accepts. **Renew** fetches what is due, under the
lease. What endangers a reader soonest comes first, be it a question or a fetch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from token_refresher.domain.command import Action, Command, partners
from token_refresher.domain.decision import Decision, after_limit, at_work, decide, unanswered
from token_refresher.domain.errors import CATALOGUE, StoreError
from token_refresher.domain.humanize import instant
from token_refresher.domain.interrupted import Interrupted
from token_refresher.domain.life import elsewhere, ttl_is_wrong
from token_refresher.domain.model import App, Caller, Kind, Outcome, Snapshot, Target
from token_refresher.domain.outlook import Would, failed_at, is_another, is_well_again, note_ends_at, would
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import Failure, Report, TargetReport
from token_refresher.refresh.limits import Limits, asking
from token_refresher.refresh.result import Result
from token_refresher.refresh.threads import in_threads

if TYPE_CHECKING:
    from token_refresher.refresh.application import Application
    from token_refresher.refresh.ports import Platform, Store

Read = Snapshot | StoreError

# So begins a warning about another copy of this program.
SICK_COPY = "another copy"
# So ends one that may be about this copy itself.
EARLIER_SELF = "; it is this copy itself if its settings were corrected since"
# Of one kind, a sentence names at most so many credentials.
_NAMED = 10
# The ranks among what is urgent of what is due or in doubt, and of audits.
_DUE, _AUDIT = 1, 2


@dataclass(frozen=True)
class Refresher:
    """Everything a run needs, handed in.

    `platform` opens connections to the platform for one run. `clock` is steady (seconds), `wall` the machine's own
    (unix seconds), `pause` waits (seconds -> None). `new_id` makes a text that is never made again. `callers` names
    this copy of the program for each application id, by its settings and its host. `on_done` is called with the id of
    each finished application (for a progress bar), `on_wait` when an interrupted run waits for requests under way.
    `limits` outlives the run.
    """

    apps: Sequence[App]
    policy: Policy
    store: Store
    platform: Callable[[], Platform]
    clock: Callable[[], float]
    wall: Callable[[], float]
    pause: Callable[[float], None]
    new_id: Callable[[], str]
    callers: Mapping[str, str]
    limits: Limits
    on_done: Callable[[str], None] = lambda app_id: None
    on_wait: Callable[[], None] = lambda: None

    def run_once(self, command: Command, time_limit_s: float | None = None) -> Report:
        """Do one run within `time_limit_s` (duration; None: two working times) and report what came of it.

        Raises StoreError when Redis could not be read: then nothing was fetched. Failures of single targets are values
        in the report; `Report.alarm` says whether they are worth an exception. A KeyboardInterrupt becomes Interrupted.
        """
        began = self.clock()
        until = began + (2 * self.policy.work_s if time_limit_s is None else time_limit_s)
        targets = command.targets(app.app_id for app in self.apps)
        needed = targets if not command.kinds else [*targets, *partners(targets)]
        job = _Job(self, command, until)
        try:
            job.read(needed)
            job.foresee(targets)
            chosen = {target.app_id for target in targets}
            reports = job.run([app for app in self.apps if app.app_id in chosen], targets)
        except KeyboardInterrupt:
            raise Interrupted(job.left_behind()) from None
        self.store.rest()
        took_ms = round((self.clock() - began) * 1000)
        warnings = (*_others(reports, job.at), *job.sick_copies())
        return Report(self.new_id(), command.action.value, job.at, took_ms, tuple(reports), warnings)


@dataclass
class _Job:
    """The work of one run."""

    refresher: Refresher
    command: Command
    until: float
    at: int = 0
    results: dict[Target, Result] = field(default_factory=dict)
    failed: dict[Target, StoreError] = field(default_factory=dict)

    @property
    def _changes(self) -> bool:
        return self.command.action not in (Action.STATUS, Action.CHECK)

    def read(self, targets: Sequence[Target]) -> None:
        """Read every target, in one go, and correct at once each TTL with which a credential would outlive its end.

        Raises StoreError when nothing could be read.
        """
        refresher = self.refresher
        found = refresher.store.load(targets)
        read_at = refresher.clock()
        for target, read in zip(targets, found, strict=True):
            if isinstance(read, Snapshot):
                self.at = max(self.at, read.now_ms // 1000)
                self._take(read, read_at)
            else:
                self.failed[target] = read

    def _take(self, read: Snapshot, read_at: float) -> None:
        refresher, target = self.refresher, read.target
        caller = self.refresher.callers[target.app_id]
        if self._changes and ttl_is_wrong(read, refresher.policy):
            try:
                read = refresher.store.see(read, caller) or refresher.store.read(target)
            except StoreError as error:
                self.failed[target] = error
                return
            read_at = refresher.clock()
        decision = decide(read, refresher.policy, self.command, caller)
        self.results[target] = Result(read, read_at, decision)

    def foresee(self, targets: Sequence[Target]) -> None:
        """Where a run only reads, its report says what a refresh of these targets would do."""
        if self.command.action is not Action.STATUS:
            return
        for target in sorted(targets):  # the access_token of an application comes before its js_ticket
            result, token = self.results.get(target), self.results.get(Target(target.app_id, Kind.ACCESS_TOKEN))
            if result is not None:
                fetched = token is not None and token.would == Would.FETCH
                beside = (token.decision, token.snapshot) if token else None
                result.would = would(result.decision, result.snapshot, beside, fetched).value

    def run(self, apps: Sequence[App], targets: Sequence[Target]) -> list[TargetReport]:
        """Reports for every target, in order. Only applications with something to do cost a thread."""
        wanted_of: dict[str, list[Target]] = {}
        for target in targets:
            wanted_of.setdefault(target.app_id, []).append(target)
        busy = [] if self.command.action is Action.STATUS else [a for a in apps if self._busy(wanted_of[a.app_id])]
        if busy:
            self._work(self._by_urgency(busy, wanted_of), wanted_of)
            self._look_what_stayed()
        return [self._report(target) for target in self._reported(targets)]

    def _known(self, targets: Iterable[Target]) -> list[Result]:
        """What there is of these targets: one that could not be read has no result."""
        return [self.results[target] for target in targets if target in self.results]

    def _both_of(self, app: App) -> list[Result]:
        return self._known(Target(app.app_id, kind) for kind in Kind)

    @property
    def _stored(self) -> list[Target]:
        """What this run has stored a new credential for."""
        return [target for target, result in self.results.items() if result.outcome is Outcome.ISSUED]

    def _busy(self, targets: Sequence[Target]) -> bool:
        results = self._known(targets)
        if self.command.action is Action.CHECK:
            return any(result.snapshot.code for result in results)
        return any(self._work_for(result) for result in results)

    def _work_for(self, result: Result) -> bool:
        decision, snapshot = result.decision, result.snapshot
        if decision.due or decision.ask:
            return True
        # A lock, and a limit, may end while this run lasts.
        caller = self.refresher.callers[snapshot.target.app_id]
        return decision.reason is Reason.LOCKED or after_limit(snapshot, decision, caller)

    def _by_urgency(self, busy: Sequence[App], wanted_of: Mapping[str, Sequence[Target]]) -> list[App]:
        """What endangers a reader soonest comes first.

        Fetches that failed the last time, and audits that were limited, take turns with the others of their kind:
        neither keeps the other from the platform.
        """
        keyed = sorted(((self._urgency(app, wanted_of[app.app_id]), app) for app in busy), key=lambda pair: pair[0])
        queues: dict[int, tuple[list[App], list[App]]] = {_DUE: ([], []), _AUDIT: ([], [])}
        for (rank, _), app in keyed:
            if rank in queues:
                again = self._failed if rank == _DUE else self._was_limited
                queues[rank][again(app)].append(app)
        turns = {
            rank: iter([app for pair in itertools.zip_longest(*both) for app in pair if app is not None])
            for rank, both in queues.items()
        }
        return [next(turns[rank]) if rank in turns else app for (rank, _), app in keyed]

    def _failed(self, app: App) -> bool:
        caller = self.refresher.callers[app.app_id]
        return any(result.snapshot.lease.caller(caller).failures for result in self._both_of(app))

    def _was_limited(self, app: App) -> bool:
        return self.refresher.limits.again(asking(app), app.app_id)

    def _urgency(self, app: App, targets: Sequence[Target]) -> tuple[int, float]:
        """First what was complained of, then what is due or in doubt, then audits.

        What was asked about in vain the last time comes last: what cannot be learned hides nothing that can.
        """
        caller = self.refresher.callers[app.app_id]
        results = self._known(targets)
        asked = [result.snapshot for result in results if result.decision.ask]
        heard = [snapshot for snapshot in asked if not snapshot.lease.in_vain(caller)]
        if any(snapshot.complaint for snapshot in heard):
            return 0, 0
        due = [r.snapshot.readable_s for r in results if r.decision.reason is not Reason.FRESH]
        if due:
            return _DUE, min(due)
        if heard:
            return _AUDIT, min(snapshot.lease.audited_at for snapshot in heard)
        return 3, min((snapshot.lease.caller(caller).asked_at for snapshot in asked), default=0)

    def _work(self, busy: Sequence[App], wanted_of: dict[str, list[Target]]) -> None:
        """Work on applications with something to do, each in a thread, as far as there are any."""
        refresher = self.refresher
        refresher.limits.begin()
        begun: list[Application] = []
        with refresher.platform() as platform:
            prepared = self._preparing(platform)

            def work(app: App) -> None:
                application = prepared(app)
                begun.append(application)
                try:
                    application.run(wanted_of[app.app_id])
                finally:
                    refresher.on_done(app.app_id)

            most, waits = refresher.policy.concurrency, refresher.on_wait if self._changes else None
            in_threads(work, busy, most, waits)
            # What has to wait for another run, or for a limit, holds up no application that need not.
            waiting = [application for application in begun if application.waits]
            in_threads(lambda application: application.wait(), waiting, most, waits)
            # Audits come after fetches that waited for a limit: both may share it.
            asking_last = [application for application in begun if application.asks]
            in_threads(lambda application: application.ask(), asking_last, most, waits)

    def _look_what_stayed(self) -> None:
        """Read again what was stored: a Redis that is full may evict it at once, and no reader finds it."""
        stored = self._stored
        if not stored:
            return
        try:
            found = self.refresher.store.look(stored)
        except StoreError:
            # Each was stored, and Redis has said so. What became of it since, the next run sees.
            return
        for target, read in zip(stored, found, strict=True):
            if isinstance(read, Snapshot) and read.raw is None:
                what = "Redis dropped the credential right after it was stored: it is full"
                self.results[target].see(read, self.refresher.clock())
                self.results[target].fail(Outcome.LOST, StoreError(what, code="redis_out_of_memory"))

    def _preparing(self, platform: Platform) -> Callable[[App], Application]:
        from token_refresher.refresh.application import Application
        from token_refresher.refresh.renew import Renew
        from token_refresher.refresh.watch import Watch

        r, command = self.refresher, self.command
        parts = (r.store, platform, r.policy, command, r.limits)
        watch = Watch(*parts, clock=r.clock, wall=r.wall, until=self.until, callers=r.callers)
        renew = Renew(*parts, watch, clock=r.clock, until=self.until, new_attempt=r.new_id, callers=r.callers)

        def prepare(app: App) -> Application:
            own = {result.snapshot.target: result for result in self._both_of(app)}
            caller = r.callers[app.app_id]
            how = (command, r.policy, r.store, watch, renew)
            return Application(app, own, *how, caller=caller, clock=r.clock, pause=r.pause)

        return prepare

    # -- what is reported --------------------------------------------------------------------

    def _reported(self, targets: Sequence[Target]) -> list[Target]:
        """The targets that were asked for, and those that had to be worked on besides, beside their application's."""
        asked = set(targets)
        more = [each for each, result in self.results.items() if each not in asked and (result.outcome or result.asked)]
        return sorted([*targets, *more], key=self._place(targets)) if more else list(targets)

    def _place(self, targets: Sequence[Target]) -> Callable[[Target], tuple[int, Target]]:
        order = {app_id: n for n, app_id in enumerate(dict.fromkeys(target.app_id for target in targets))}
        return lambda target: (order[target.app_id], target)

    def _report(self, target: Target) -> TargetReport:
        error = self.failed.get(target)
        if error is None:
            return self.results[target].report(self.refresher.policy)
        decision = Decision(target, Reason.NOT_READ, error.what)
        failure = Failure.of(error)
        return TargetReport(target, decision.reason.value, error.what, Outcome.DEFERRED, failure, in_danger=True)

    def left_behind(self) -> str:
        """What an interrupted run has stored, and whom its leases keep waiting, in one sentence."""
        if not self._changes:
            return "nothing was changed"
        says = f"stored: {_listed(self._stored)}" if self._stored else "no credential was stored"
        held = [target for target, result in self.results.items() if self._is_held(result.snapshot)]
        if not held:
            return says
        for_s = self.refresher.policy.work_s + self.refresher.policy.flight_s
        kept = f"its lease may hold other runs off for up to {for_s:g} s"
        return f"{says}; the request for {_listed(held)} has no end, and {kept}"

    def _is_held(self, snapshot: Snapshot) -> bool:
        """Whether an attempt of this copy locks the target, as far as this run knows."""
        lease = snapshot.lease
        return lease.by == self.refresher.callers[snapshot.target.app_id] and lease.locked_until > snapshot.now_ms

    def sick_copies(self) -> tuple[str, ...]:
        """Warnings about other copies of this program that fail where they share a target with this one."""
        found = dict[str, None]()
        for target, result in self.results.items():
            snapshot, own = result.snapshot, self.refresher.callers[target.app_id]
            for each in snapshot.lease.callers:
                if each.name != own and self._is_sick(each, snapshot):
                    found[_about_sick(each, snapshot, own, self.refresher.policy)] = None
        return tuple(found)

    def _is_sick(self, copy: Caller, snapshot: Snapshot) -> bool:
        """Whether another copy failed a short while ago for a reason of its own."""
        policy = self.refresher.policy
        of_its_own = copy.code == "no_end" or (copy.code in CATALOGUE and CATALOGUE[copy.code].of_caller)
        if not (of_its_own and copy.failures and note_ends_at(snapshot, copy, policy) > snapshot.now_ms):
            return False
        # Its attempt may still end, or it is the platform that gave no answer.
        last = copy.code == "no_end" and copy.name == snapshot.lease.by
        if last and (at_work(snapshot, policy) or unanswered(snapshot, policy)):
            return False
        (partner,) = partners([snapshot.target])
        other = self.results.get(partner)
        return not (other and is_well_again(snapshot, copy, other.snapshot, policy))


def _about_sick(copy: Caller, snapshot: Snapshot, own: str, policy: Policy) -> str:
    doubt = "" if is_another(snapshot, copy, own, policy) else EARLIER_SELF
    what = "does not end its attempts" if copy.code == "no_end" else f"is refused: {copy.code}"
    last, ends = failed_at(snapshot, copy, policy), note_ends_at(snapshot, copy, policy)
    last_at, ends_at = (instant(each // 1000, snapshot.now_ms // 1000).clock for each in (last, ends))
    return (
        f"{SICK_COPY} ({copy.name}) {what} (application {snapshot.target.app_id}), last at {last_at}; "
        f"unless it fails again, this note ends by itself at {ends_at}{doubt}"
    )


def _listed(targets: Sequence[Target]) -> str:
    named = ", ".join(f"{each.app_id} {each.kind.value}" for each in targets[:_NAMED])
    return f"{named} and {len(targets) - _NAMED} more" if len(targets) > _NAMED else named


def _others(reports: Sequence[TargetReport], at: int) -> tuple[str, ...]:
    return tuple(
        f"someone else refreshes application {each.target.app_id} too: its {each.target.kind.value} was superseded "
        f"{len(recent)} times within the hour, at {', '.join(str(when) for when in recent)} (unix seconds)"
        for each in reports
        if (recent := elsewhere(each.superseded_at, at))
    )
