"""One application in one run: watch both of its credentials, then renew the access_token before its js_ticket."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from token_refresher.domain.command import Action, Command
from token_refresher.domain.decision import Decision, needless, question
from token_refresher.domain.errors import StoreError, TokenRefresherError
from token_refresher.domain.life import age_of
from token_refresher.domain.model import App, Kind, Outcome, Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.domain.report import Failure
from token_refresher.refresh.renew import Renew, wait_is_for_another
from token_refresher.refresh.result import Result
from token_refresher.refresh.watch import Watch

if TYPE_CHECKING:
    from token_refresher.refresh.ports import Store

# A target is not looked at more often than this in one run, whatever it waits for.
_LOOKS = 30
# After these a request was sent that may have issued a credential.
_SENT = (Outcome.ISSUED, Outcome.UNKNOWN, Outcome.LOST)


class Application:
    """The work of one run on one application; used by one thread.

    `results` are those of its targets that could be read. `pause` waits (seconds -> None), `clock` is steady (seconds).
    """

    def __init__(
        self,
        app: App,
        results: dict[Target, Result],
        command: Command,
        policy: Policy,
        store: Store,
        watch: Watch,
        renew: Renew,
        *,
        caller: str,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._app, self._results, self._command, self._policy = app, results, command, policy
        self._store, self._watch, self._renew = store, watch, renew
        self._caller, self._clock, self._pause = caller, clock, pause
        # Targets to look at again once every application has had its turn: to wait for them holds up a thread.
        self._later: list[Target] = []
        self._may_wait = False
        # Targets to ask about after that.
        self._postponed: list[Target] = []
        # Targets that leave out this copy's own wait then.
        self._at_once: set[Target] = set()
        # Whether checkCode was asked about the ticket after the access_token was renewed.
        self._ticket_asked = False

    def run(self, wanted: Sequence[Target]) -> None:
        """Do what is to be done for the targets that the command names, and what they need of the others.

        What fails is a value in the results; a defect of this program, too: it stops no other application.
        """
        with self._defects_reported():
            if self._command.action is Action.CHECK:
                for target in wanted:
                    self._guarded(target, lambda result: self._watch.look(self._app, result))
            else:
                self._work([target for target in wanted if target in self._results])

    @property
    def waits(self) -> bool:
        """Whether `wait` has something to do."""
        return bool(self._later)

    def wait(self) -> None:
        """Wait for the targets whose lease was taken, or that a limit held back, as long as the run has time."""
        self._may_wait = True
        self.run(self._later)

    @property
    def asks(self) -> bool:
        """Whether `ask` has something to do."""
        return bool(self._postponed)

    def ask(self) -> None:
        """Ask what was put off until all had fetched that waited for the end of a limit."""
        with self._defects_reported():
            for target in dict.fromkeys(self._postponed):
                self._guarded(target, lambda result: self._ask_again(result) if self._question_due(result) else None)

    @contextlib.contextmanager
    def _defects_reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} in {place.name}, line {place.lineno}"
            failure = Failure.of(TokenRefresherError(f"unexpected {where}"))
            for result in self._results.values():
                if result.outcome in (None, Outcome.KEPT):
                    result.outcome, result.failure = Outcome.DEFERRED, failure

    def _guarded(self, target: Target, work: Callable[[Result], None]) -> None:
        """Do something for one target; what Redis does not do for it fails this target alone."""
        result = self._results.get(target)
        if result is None:
            return
        try:
            work(result)
        except StoreError as error:
            if result.outcome in (None, Outcome.KEPT, Outcome.DEFERRED):
                result.fail(Outcome.DEFERRED, error)
            else:
                # How an attempt ended says more than that Redis failed afterwards.
                result.warn([f"{error.code}: {error.what}"])

    def _work(self, wanted: Sequence[Target]) -> None:
        token, ticket = (Target(self._app.app_id, kind) for kind in Kind)
        for target in wanted:
            self._guarded(target, self._ask_first)
        if token in wanted or (ticket in wanted and self._needs_token(ticket, token)):
            self._guarded(token, self._renew_token)
        if self._token_sent(token) and not (ticket in wanted and self._due(ticket)):
            self._guarded(ticket, self._ask_now)
        if ticket in wanted or (self._token_sent(token) and self._lost(ticket)):
            self._guarded(ticket, self._renew_ticket)
        if self._token_sent(token):
            self._guarded(ticket, self._ask_outlived)
        for target in wanted:
            self._guarded(target, self._ask_last)

    def _token_sent(self, token: Target) -> bool:
        """Whether an access_token was issued in this run, or may have been: a platform may end the ticket with it."""
        return token in self._results and self._results[token].outcome in _SENT

    def _due(self, target: Target) -> bool:
        return target in self._results and self._results[target].decision.due

    def _lost(self, target: Target) -> bool:
        """Whether checkCode has just taken the credential away."""
        result = self._results.get(target)
        return result is not None and result.asked and result.snapshot.code is None

    # -- questions ---------------------------------------------------------------------------

    def _question_due(self, result: Result) -> bool:
        asked = result.asked or result.outcome is Outcome.ISSUED
        return not asked and question(result.snapshot, self._policy, self._command, self._caller) is not None

    def _ask_first(self, result: Result) -> None:
        """Ask before anything is fetched, unless a fetch would make the question needless, or comes before it."""
        later = needless(result.decision, result.snapshot) or self._watch.yields(self._app, result)
        if self._question_due(result) and not later:
            self._watch.look(self._app, result)

    def _ask_now(self, ticket: Result) -> None:
        """Ask about a ticket that is not renewed anyway, whatever was said of it before the new access_token."""
        self._ticket_asked = True
        self._watch.look(self._app, ticket)

    def _ask_outlived(self, ticket: Result) -> None:
        """The same for a ticket that was to be renewed, and was not."""
        if ticket.outcome not in _SENT and not self._ticket_asked:
            self._ask_again(ticket)

    def _ask_last(self, result: Result) -> None:
        """The question that a fetch should have made needless, and did not."""
        if not self._question_due(result):
            return
        if self._watch.yields(self._app, result):
            self._postponed.append(result.snapshot.target)
        else:
            self._ask_again(result)

    def _ask_again(self, result: Result) -> None:
        """Ask after an attempt, of which the result goes on to tell."""
        outcome, failure, decision = result.outcome, result.failure, result.decision
        self._watch.look(self._app, result)
        result.outcome, result.failure = outcome or result.outcome, failure
        if outcome not in (None, Outcome.KEPT):
            result.decision = decision

    # -- renewals ----------------------------------------------------------------------------

    def _needs_token(self, ticket: Target, token: Target) -> bool:
        """Whether the ticket is due and there is no live access_token to fetch it with."""
        both = self._results.get(ticket), self._results.get(token)
        return bool(both[0] and both[1] and both[0].decision.due and both[1].snapshot.live is None)

    def _renew_token(self, result: Result) -> None:
        self._until_done(result, None, at_once=result.snapshot.target in self._at_once)

    def _renew_ticket(self, result: Result) -> None:
        ticket, token = result.snapshot.target, self._results.get(Target(self._app.app_id, Kind.ACCESS_TOKEN))
        self._until_done(result, token, at_once=ticket in self._at_once)
        failure = result.failure.code if result.failure else ""
        if failure == "no_token" and token and token.snapshot.target in self._later and not self._may_wait:
            self._later.append(ticket)
        if failure == "no_token" and token and wait_is_for_another(token, self._policy):
            sentence = "another run is fetching the access_token that it needs"
            result.decision = Decision(ticket, Reason.LOCKED, sentence)
            result.outcome, result.failure = None, None
        if failure == "token_invalid" and token:
            self._judge(token)
            if token.snapshot.target in self._later and not self._may_wait:
                self._later.append(ticket)
                self._at_once |= {token.snapshot.target, ticket}
            elif token.outcome is Outcome.ISSUED and token.snapshot.live:
                self._until_done(result, token, at_once=True)

    def _judge(self, token: Result) -> None:
        """The ticket interface calls the access_token invalid: checkCode decides whether it is.

        Where it is alive, or checkCode says nothing, it is renewed all the same, but not within a margin of its issue:
        else an interface that refuses every token would have each renewed in turn.
        """
        refused = token.snapshot.live
        self._watch.look(self._app, token)
        age_s = age_of(token.snapshot)
        young = age_s is not None and age_s < self._policy.margin_for(token.snapshot.lease.life_s)
        if token.snapshot.live and young and not token.decision.due:
            return
        if refused and token.snapshot.live and token.snapshot.live.code != refused.code:
            return  # another run has renewed it
        what = "the ticket interface refuses the access_token"
        token.warn([what])
        self._until_done(token, None, at_once=True, force=True)
        if token.decision.reason is Reason.FORCED and not self._command.force:
            token.decision = Decision(token.snapshot.target, Reason.REFUSED, what)

    def _until_done(self, result: Result, token: Result | None, **how: bool) -> None:
        """Renew a target; while its lease is taken and it is urgent, look again. Raises StoreError."""
        if self._may_wait and result.limited:
            result.see(self._store.read(result.snapshot.target), self._clock())
        for _ in range(_LOOKS):
            wait_s = self._renew.attempt(self._app, result, token, **how)
            if wait_s is None:
                return
            if wait_s and not self._may_wait:
                self._later.append(result.snapshot.target)
                return
            if wait_s:
                self._pause(wait_s)
                result.see(self._store.read(result.snapshot.target), self._clock())
            if self._question_due(result) and not result.snapshot.lease.settled:
                self._watch.look(self._app, result)
