"""Watch: ask checkCode about stored credentials, and take away at once what the platform does not accept any more.

It needs Redis and checkCode and nothing else: no lease, no token, no secret, no back-off, and no fetch that succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from token_refresher.domain.command import Action, Command
from token_refresher.domain.decision import Decision, can_wait, decide
from token_refresher.domain.errors import NotSentError, PlatformError, RefusedError, UnknownOutcomeError
from token_refresher.domain.life import ends_at_issue, ends_early, reckoned_end, shortened
from token_refresher.domain.model import App, Outcome, Word
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.refresh.limits import Limits, asking
from token_refresher.refresh.result import Result

if TYPE_CHECKING:
    from token_refresher.domain.platform_answer import Checked
    from token_refresher.refresh.ports import Platform, Store

_AT_ISSUE = (
    "the credential was superseded as it was issued: something on the way executes each request twice, or another "
    "program fetches at the same moment"
)


@dataclass(frozen=True)
class Answer:
    """What checkCode said; nothing is changed yet.

    `ends_at` is when the credential ends (unix seconds, Redis's clock; None: as recorded), `superseded` whether that
    shows a refresh elsewhere, `code` the error code of a question that brought nothing, `warnings` are sentences.
    """

    word: Word
    ends_at: int | None = None
    superseded: bool = False
    code: str = ""
    warnings: tuple[str, ...] = ()


class Watch:
    """Asks about stored credentials, and notes the answers; safe to be used by several threads at once.

    `clock` is steady (seconds), `until` its instant at which the run has to be over; `wall` is the machine's (unix
    seconds), heard only as a witness for the platform's. `callers` names this copy for each application id.
    """

    def __init__(
        self,
        store: Store,
        platform: Platform,
        policy: Policy,
        command: Command,
        limits: Limits,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        until: float,
        callers: Mapping[str, str],
    ) -> None:
        self._store, self._platform, self._policy, self._command = store, platform, policy, command
        self._limits, self._callers = limits, callers
        self._clock, self._wall, self._until = clock, wall, until

    def look(self, app: App, result: Result) -> None:
        """Ask about the credential of a target and note the answer, whatever else the target's state is.

        Raises StoreError.
        """
        if result.snapshot.code is None:
            return None
        answer = self._answer(app, result)
        result.word, result.asked = answer.word, True
        result.warn(answer.warnings)
        if answer.word is Word.ALIVE and result.outcome is None:
            result.outcome = Outcome.KEPT
        if self._command.action is Action.CHECK:
            return self._judge(app, result, answer)
        if answer.word is not Word.SILENT or answer.code or not result.snapshot.lease.settled:
            self._note(app, result, answer)
        result.decision = decide(result.snapshot, self._policy, self._command, self._callers[app.app_id], result.word)
        return None

    def yields(self, app: App, result: Result) -> bool:
        """Whether a question comes after the fetches that wait in this run for the end of the platform's limit."""
        return self._limits.crowded(asking(app)) and can_wait(result.snapshot, self._policy)

    def _judge(self, app: App, result: Result, answer: Answer) -> None:
        """What follows from the answer, where it is only to be shown: Redis and the snapshot stay as they are."""
        snapshot, live = result.snapshot, result.snapshot.live
        if answer.word is Word.REFUSED:
            snapshot = replace(snapshot, record=None)
        elif answer.word is Word.ENDS and live is not None and answer.ends_at is not None:
            snapshot = replace(snapshot, record=replace(live, expires_at=answer.ends_at))
        result.decision = decide(snapshot, self._policy, self._command, self._callers[app.app_id], answer.word)
        if answer.word is Word.ENDS and shortened(snapshot, self._policy):
            what = f"a newer credential exists; the platform ends this one in {snapshot.seconds_left} s"
            result.decision = Decision(snapshot.target, Reason.SUPERSEDED, what)

    def _note(self, app: App, result: Result, answer: Answer) -> None:
        noted = self._store.note(
            result.snapshot,
            answer.word,
            self._callers[app.app_id],
            ends_at=answer.ends_at,
            superseded=answer.superseded,
            code=answer.code,
        )
        if noted is None:
            # Another value is stored by now: the answer says nothing about it.
            return result.see(self._store.read(result.snapshot.target), self._clock())
        result.snapshot, result.read_at = noted, self._clock()
        return None

    def _answer(self, app: App, result: Result) -> Answer:
        interface = asking(app)
        in_vain = result.snapshot.lease.in_vain(self._callers[app.app_id])
        if self._limits.silent(interface, in_vain, self._policy.silence_s):
            return Answer(Word.SILENT)
        with self._limits.turn(interface, app.app_id) as wait_s:
            # A question is asked again in the next run, before younger ones.
            return Answer(Word.SILENT) if wait_s else self._asked(app, result, in_vain)

    def _asked(self, app: App, result: Result, in_vain: bool) -> Answer:
        interface, began_at = asking(app), self._clock()
        try:
            checked = self.ask(app, result)
        except (NotSentError, UnknownOutcomeError) as error:
            self._limits.unanswered(interface, in_vain, began_at)
            if isinstance(error, UnknownOutcomeError):
                self._limits.passed(interface, app.app_id)
            # Where no time was left no question was sent.
            return self._without_answer(error, "" if error.code == "not_sent_late" else error.code)
        except PlatformError as error:
            self._limits.answered(interface, in_vain)
            if isinstance(error, RefusedError) and error.code == "rate_limited":
                self._limits.limited(interface, app.app_id, error.retry_after_s or self._policy.retry_base_s)
                return self._without_answer(error, "")
            self._limits.passed(interface, app.app_id)
            return self._without_answer(error, error.code)
        self._limits.answered(interface, in_vain)
        self._limits.passed(interface, app.app_id)
        if not checked.valid or checked.expires_at is None:
            # Of an unsettled target the newer credential may be our own.
            return Answer(Word.REFUSED, superseded=result.snapshot.lease.settled)
        return self._alive(result, checked)

    def _without_answer(self, error: PlatformError, code: str) -> Answer:
        word = Word.DENIED if code == "app_denied" else Word.SILENT
        return Answer(word, code=code, warnings=(f"checkCode: {error.code}: {error.what}",))

    def ask(self, app: App, result: Result) -> Checked:
        """What checkCode says of the credential that readers hold. Raises PlatformError."""
        code = result.snapshot.code
        assert code is not None  # noqa: S101 - callers look first
        result.questions += 1
        try:
            return self._platform.check_code(app, result.snapshot.target.kind, code, self._until)
        except NotSentError:
            result.questions -= 1
            raise

    def _alive(self, result: Result, checked: Checked) -> Answer:
        live, (ends_at, corrected) = result.snapshot.live, self.end_of(result, checked)
        if live is None:
            return Answer(Word.ALIVE, int(ends_at))  # a value that does not say its end
        if not ends_early(live, ends_at, self._policy):
            return Answer(Word.ALIVE, min(live.expires_at, int(ends_at)))
        left_s = corrected - result.snapshot.now_ms / 1000
        soon = left_s <= self._policy.grace_s + self._policy.audit_tolerance_s
        at_issue = soon and ends_at_issue(live, corrected, self._policy)
        superseded = soon and not at_issue and result.snapshot.lease.settled
        return Answer(Word.ENDS, corrected, superseded, warnings=(_AT_ISSUE,) if at_issue else ())

    def end_of(self, result: Result, checked: Checked) -> tuple[float, int]:
        """When checkCode says the credential ends (unix seconds, Redis's clock): not before, and by its Date header."""
        assert checked.expires_at is not None  # noqa: S101 - a credential that is accepted has an end
        redis_now = result.snapshot.now_ms / 1000 + self._clock() - result.read_at
        skew_s, apart_s = 0.0, None
        if checked.server_time is not None:
            skew_s, apart_s = checked.server_time - redis_now, checked.server_time - self._wall()
        ends_at = reckoned_end(checked.expires_at, skew_s, self._policy, apart_s)
        return ends_at, int(checked.expires_at - skew_s)
