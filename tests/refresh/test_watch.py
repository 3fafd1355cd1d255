"""What checkCode's answer means, by three clocks (Redis's, the platform's, the machine's), and what is noted of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.clients import client_of
from support.leases import digest
from support.redis_server import RedisServer
from token_refresher.domain.command import Action, Command
from token_refresher.domain.decision import decide
from token_refresher.domain.errors import (
    NotSentError,
    PlatformError,
    RefusedError,
    StoreError,
    UnknownOutcomeError,
)
from token_refresher.domain.model import App, Kind, Outcome, Record, Secret, Snapshot, Target, Word
from token_refresher.domain.platform_answer import Checked
from token_refresher.domain.policy import Policy
from token_refresher.domain.reasons import Reason
from token_refresher.refresh.limits import Interface, Limits, asking, fetching
from token_refresher.refresh.result import Result
from token_refresher.refresh.watch import Watch
from token_refresher.store.keys import WIRE_NAME, keys_of
from token_refresher.store.record_json import write_record
from token_refresher.store.redis_store import RedisStore

TARGET = Target("app0000", Kind.JS_TICKET)
KEYS = keys_of(TARGET)
APP, ME = App("app0000", Secret("none")), "aaaaaaaaaaaa"
# Three seconds pass between the reading in Redis and the answer.
READ_AT, ANSWERED_AT, UNTIL = 1000.0, 1003.0, 1060.0
# Seconds between an instant here and in Redis, on a loaded machine.
NEARLY_S = 5
Noted = tuple[Word, "int | None", bool, str]


class Says:
    """The platform's interface with an answer chosen to the second; `first` is called before it is given."""

    def __init__(self, answer: Checked | PlatformError) -> None:
        self._answer = answer
        self.asked: list[object] = []
        self.first: Callable[[], object] = lambda: None

    def check_code(self, app: App, kind: Kind, code: str, until: float) -> Checked:
        self.asked += [(app, kind, code, until)]
        self.first()
        if isinstance(self._answer, PlatformError):
            raise self._answer
        return self._answer


class Desk:
    """A credential in Redis with 5000 s left, and the watch that asks about it.

    `noted` lists what the store was asked to note; ends are seconds after `now`, the instant of the reading.
    """

    def __init__(self, server: RedisServer) -> None:
        self.redis: Any = server.client()
        self._client = client_of(f"redis://127.0.0.1:{server.port}/0", Policy())
        self.store = RedisStore(self._client, Policy(), "", lambda _seconds: None)
        self.now = self.store.read(TARGET).now_ms // 1000
        self.noted: list[Noted] = []
        # How long a question takes, and all of them took (s).
        self.takes_s, self.passed_s = 0.0, 0.0
        self.limits = Limits(self.clock)
        self.holds()

    def close(self) -> None:
        self._client.close()

    def clock(self) -> float:
        return ANSWERED_AT + self.passed_s

    def holds(self, left_s: int = 5000, age_s: int = 2200, code: str = "the credential", mark: str = "") -> None:
        record = Record(code, self.now + left_s, self.now - age_s, fence=7)
        value = write_record(TARGET.kind, record)
        self.redis.set(KEYS.value, value, ex=600 if mark else left_s)
        lease: dict[str, str | int] = {"attempt": "old", "finished": "old", "mark": mark, "value": digest(value)}
        lease["audited_at"] = (self.now - 100) * 1000
        self.redis.hset(KEYS.lease, mapping=lease)
        self.redis.expire(KEYS.lease, 600)

    def seen(self) -> Result:
        """The credential as it was read, at a whole second."""
        snapshot = replace(self.store.read(TARGET), now_ms=self.now * 1000)
        return Result(snapshot, READ_AT, decide(snapshot, Policy(), Command(), ME))

    def watch(self, platform: Says, wall: float = 0.0, command: Command = Command()) -> Watch:  # noqa: B008 - frozen
        parts: Any = (self._recording(), platform, Policy(), command, self.limits)
        return Watch(
            *parts,
            clock=self.clock,
            wall=lambda: wall,
            until=UNTIL,
            callers={APP.app_id: ME},
        )

    def _recording(self) -> RedisStore:
        desk = self

        class Recording(RedisStore):
            def note(self, snapshot: Snapshot, word: Word, caller: str, **more: Any) -> Snapshot | None:
                ends = None if more["ends_at"] is None else more["ends_at"] - desk.now
                desk.noted.append((word, ends, more["superseded"], more["code"]))
                assert caller == ME
                return super().note(snapshot, word, caller, **more)

        return Recording(self._client, Policy(), "", lambda _seconds: None)

    def look(self, answer: Checked | PlatformError, wall: float = 0.0) -> Result:
        result, platform = self.seen(), Says(answer)
        platform.first = lambda: setattr(self, "passed_s", self.passed_s + self.takes_s)
        self.watch(platform, wall).look(APP, result)
        return result

    def alive(self, expires_at: int, server_time: float | None = None) -> Checked:
        return Checked(True, self.now + expires_at, None if server_time is None else self.now + server_time)

    def ttl_s(self) -> float:
        return float(self.redis.pttl(KEYS.value)) / 1000


@pytest.fixture
def desk(redis_server: RedisServer) -> Iterator[Desk]:
    desk = Desk(redis_server)
    yield desk
    desk.close()


REFUSED = Checked(False, None, None)
MARKS = pytest.mark.parametrize("mark", ["", "dead"], ids=["settled", "marked"])


# -- the question -----------------------------------------------------------------------------------------------------


def test_the_question_is_about_the_live_code(desk: Desk) -> None:
    platform = Says(desk.alive(5000))
    desk.watch(platform).look(APP, desk.seen())
    assert platform.asked == [(APP, Kind.JS_TICKET, "the credential", UNTIL)]


@pytest.mark.parametrize("expired", [True, False])
def test_about_nothing_nothing_is_asked(expired: bool, desk: Desk) -> None:
    result = desk.seen()
    record = Record("the credential", desk.now) if expired else None
    result.snapshot = replace(result.snapshot, record=record)
    platform = Says(desk.alive(5000))
    desk.watch(platform).look(APP, result)
    assert (platform.asked, desk.noted) == ([], [])
    assert (result.word, result.asked, result.questions) == (None, False, 0)


# -- what it brings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_at", "server_time", "ends"),
    [
        (5000, None, 5000),
        # later than recorded: the record counts
        (9000, None, 5000),
        # earlier, even by less than the tolerance: its end counts
        (4940, None, 4940),
        (4999, 3.0, 4999),
        (5000, 3.0, 5000),
        # the platform's clock is ahead of Redis's, or behind, and so is what it says
        (5100, 103.0, 5000),
        (4900, -97.0, 5000),
        (4880, -97.0, 4980),
    ],
)
def test_a_code_with_its_expiry_is_alive_until_the_earlier_of_both_ends(
    expires_at: int, server_time: float | None, ends: int, desk: Desk
) -> None:
    result = desk.look(desk.alive(expires_at, server_time))
    assert desk.noted == [(Word.ALIVE, ends, False, "")]
    assert desk.ttl_s() == pytest.approx(ends, abs=NEARLY_S)
    assert (result.word, result.outcome, result.asked) == (Word.ALIVE, Outcome.KEPT, True)
    assert (result.questions, result.warnings) == (1, [])


@pytest.mark.parametrize(
    ("expires_at", "server_time", "ends"),
    [(4939, None, 4939), (500, 3.0, 500), (500, -37.0, 540), (500, 43.0, 460)],
)
@MARKS
def test_a_code_that_ends_too_early_is_cut_to_its_end(
    expires_at: int, server_time: float | None, ends: int, mark: str, desk: Desk
) -> None:
    desk.holds(mark=mark)
    result = desk.look(desk.alive(expires_at, server_time))
    # Of an unsettled target the newer credential may be our own; and an end that is far off shows no newer credential.
    assert desk.noted == [(Word.ENDS, ends, ends <= 660 and not mark, "")]
    assert result.snapshot.live
    assert result.snapshot.live.expires_at == desk.now + ends
    assert result.snapshot.record == desk.store.read(TARGET).record
    assert (result.word, result.outcome) == (Word.ENDS, None)


def test_a_code_that_was_superseded_as_it_was_issued_is_a_warning_and_shows_no_other_refresher(
    desk: Desk,
) -> None:
    desk.holds(left_s=7100, age_s=100)
    result = desk.look(desk.alive(500))
    assert desk.noted == [(Word.ENDS, 500, False, "")]
    assert result.warnings == [
        "the credential was superseded as it was issued: something on the way executes each request twice, or another "
        "program fetches at the same moment"
    ]


@pytest.mark.parametrize(
    ("wall", "confirmed"), [(1003, True), (1063, True), (943, True), (1063.5, False), (942.5, False), (3, False)]
)
def test_a_clock_of_redis_that_was_set_back_shows_where_the_machine_s_agrees_with_the_platform_s(
    wall: float, confirmed: bool, desk: Desk
) -> None:
    desk.look(desk.alive(5000, server_time=1003.0), wall=desk.now + wall)
    assert desk.noted == [(Word.ENDS, 4000, False, "")] if confirmed else [(Word.ALIVE, 5000, False, "")]


@pytest.mark.parametrize("server_time", [None, 3.0])
@MARKS
def test_a_code_that_is_refused_is_taken_away(server_time: float | None, mark: str, desk: Desk) -> None:
    desk.holds(mark=mark)
    result = desk.look(Checked(False, None, None if server_time is None else desk.now + server_time))
    assert desk.noted == [(Word.REFUSED, None, not mark, "")]
    assert (result.word, result.snapshot.record, desk.store.read(TARGET).record) == (Word.REFUSED, None, None)
    assert (result.decision.reason, result.decision.ask) == (Reason.REFUSED, False)
    assert result.read_at == ANSWERED_AT


@pytest.mark.parametrize("end", ["2030-01-01 10:00:00", None])
def test_a_code_whose_end_cannot_be_read_is_asked_about_and_taken_away_when_refused(end: object, desk: Desk) -> None:
    """Readers take it from the one member that they look at."""
    desk.redis.set(KEYS.value, json.dumps({WIRE_NAME[TARGET.kind]: "the credential", "expires_in": end}), ex=600)
    result = desk.look(desk.alive(500))
    assert desk.noted == [(Word.ALIVE, 500, False, "")]
    assert (result.decision.reason, result.outcome, result.snapshot.code) == (
        Reason.UNREADABLE,
        Outcome.KEPT,
        "the credential",
    )
    assert not desk.store.read(TARGET).lease.settled
    assert 490 < desk.ttl_s() <= 500
    result = desk.look(REFUSED)
    assert desk.noted[1:] == [(Word.REFUSED, None, False, "")]
    assert (result.word, desk.store.read(TARGET).record) == (Word.REFUSED, None)
    assert result.decision.reason is Reason.REFUSED


REFUSALS = {
    "a definite no about the application is a denial": (
        RefusedError("app_id is invalid", code="app_denied"), Word.DENIED, "app_denied"
    ),
    "a white list says nothing of the credential": (
        RefusedError("not on the list", code="not_white_listed"), Word.SILENT, "not_white_listed"
    ),
    "nor does a permission that is missing": (
        RefusedError("no permission", code="no_permission"), Word.SILENT, "no_permission"
    ),
    "nor does any other refusal": (RefusedError("busy", code="platform_refused"), Word.SILENT, "platform_refused"),
    "no answer is silence": (UnknownOutcomeError("timed out", code="no_answer"), Word.SILENT, "no_answer"),
    "no connection is silence": (NotSentError("none", code="not_sent_connect"), Word.SILENT, "not_sent_connect"),
    # Nothing was asked: the caller waits for nothing.
    "no time left is silence without a wait": (NotSentError("late", code="not_sent_late"), Word.SILENT, ""),
    "a limit is silence without a wait": (RefusedError("slower", code="rate_limited"), Word.SILENT, ""),
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSALS)
@MARKS
def test_without_an_answer(mark: str, sentence: str, desk: Desk) -> None:
    error, word, code = REFUSALS[sentence]
    desk.holds(mark=mark)
    result = desk.look(error)
    # A question without a wait changes nothing about a settled credential; a marked one is prolonged.
    assert desk.noted == ([(word, None, False, code)] if code or mark else [])
    assert (result.word, result.outcome, result.asked) == (word, None, True)
    # What never left is not counted.
    assert result.questions == (0 if isinstance(error, NotSentError) else 1)
    assert result.warnings == [f"checkCode: {error.code}: {error.what}"]
    assert result.snapshot.live
    # Only a question that was sent, and brought nothing, is waited after.
    assert bool(desk.store.read(TARGET).lease.caller(ME).asked_at) is bool(code)


# -- limits and the breaker -------------------------------------------------------------------------------------------


def waits_s(desk: Desk, app_id: str, interface: Interface | None = None) -> float:
    with desk.limits.turn(interface or asking(APP), app_id) as wait_s:
        return wait_s


@pytest.mark.parametrize(("retry_after_s", "wait_s"), [(None, 30), (7.0, 7)])
@MARKS
def test_a_limit_is_remembered_for_its_application(
    mark: str, retry_after_s: float | None, wait_s: float, desk: Desk
) -> None:
    desk.holds(mark=mark)
    desk.look(RefusedError("slower", code="rate_limited", retry_after_s=retry_after_s))
    assert (waits_s(desk, "app0000"), waits_s(desk, "another")) == (wait_s, 0)
    result = desk.look(desk.alive(5000))
    assert (result.word, result.questions) == (Word.SILENT, 0)
    assert desk.noted == [(Word.SILENT, None, False, "")] * (2 if mark else 0)


@pytest.mark.parametrize("kind", list(Kind))
def test_limits_of_fetches_silence_no_question_and_those_of_questions_hold_no_fetch(kind: Kind, desk: Desk) -> None:
    for app_id in ("app0000", "another", "one more"):
        desk.limits.limited(fetching(APP, kind), app_id, 300)
    assert desk.look(desk.alive(5000)).word is Word.ALIVE
    desk.look(RefusedError("slower", code="rate_limited"))
    assert waits_s(desk, "app0000", fetching(APP, next(each for each in Kind if each is not kind))) == 0


ANSWERS: dict[str, Checked | PlatformError] = {
    "alive": Checked(True, 4_000_000_000, None),
    "a refusal": RefusedError("no permission"),
    "none": UnknownOutcomeError("timed out"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_question_that_is_not_limited_lets_all_go_on(answer: str, desk: Desk) -> None:
    for app_id in ("another", "one more"):
        desk.limits.limited(asking(APP), app_id, 300)
    desk.look(ANSWERS[answer])
    with desk.limits.turn(asking(APP), "a"), desk.limits.turn(asking(APP), "b") as wait_s:
        assert wait_s == 0


@MARKS
def test_after_two_time_outs_in_a_row_no_more_questions_are_sent_in_this_run(mark: str, desk: Desk) -> None:
    desk.holds(mark=mark)
    silence = UnknownOutcomeError("timed out")
    desk.takes_s = 10
    for error in (silence, RefusedError("busy"), silence):
        assert desk.look(error).questions == 1
    desk.look(NotSentError("no connection"))
    assert desk.look(desk.alive(5000)).questions == 0
    assert desk.noted[4:] == ([(Word.SILENT, None, False, "")] if mark else [])
    desk.limits.begin()
    assert desk.look(desk.alive(5000)).questions == 1


@pytest.mark.parametrize("error", [UnknownOutcomeError("HTTP 500"), NotSentError("no connection")], ids=["500", "none"])
def test_errors_that_come_at_once_cost_no_question(error: PlatformError, desk: Desk) -> None:
    for _ in range(20):
        assert desk.look(error).questions == (0 if isinstance(error, NotSentError) else 1)
    assert desk.look(desk.alive(5000)).word is Word.ALIVE


def test_a_second_denial_an_audit_later_takes_the_code_away_and_an_alive_between_does_not(
    desk: Desk,
) -> None:
    denial = RefusedError("app_id is invalid", code="app_denied")

    def long_ago() -> None:
        fingerprint = desk.store.read(TARGET).lease.denied
        desk.redis.hset(KEYS.lease, "denied", f"{fingerprint} {(desk.now - 240) * 1000}")

    assert desk.look(denial).snapshot.live
    assert desk.look(denial).snapshot.live
    assert desk.store.read(TARGET).lease.audited_at == (desk.now - 100) * 1000
    long_ago()
    desk.look(desk.alive(5000))
    assert desk.look(denial).snapshot.live
    long_ago()
    result = desk.look(denial)
    assert (result.snapshot.record, desk.store.read(TARGET).record) == (None, None)
    assert result.decision.reason is Reason.REFUSED
    assert result.decision.sentence == "the platform twice denied the application of the stored credential"


# -- what is done with it ---------------------------------------------------------------------------------------------


def test_a_value_that_was_replaced_during_the_question_is_read_again_and_the_answer_is_forgotten(desk: Desk) -> None:
    platform, result = Says(REFUSED), desk.seen()
    platform.first = lambda: desk.holds(left_s=7000, age_s=0, code="a newer credential")
    desk.watch(platform).look(APP, result)
    assert result.snapshot.live
    assert (result.snapshot.live.code, result.word, result.asked) == ("a newer credential", None, False)
    assert result.read_at == ANSWERED_AT
    assert result.decision.reason is Reason.FRESH
    assert desk.ttl_s() == pytest.approx(7000, abs=NEARLY_S)


def test_an_outcome_that_came_before_stays(desk: Desk) -> None:
    result = desk.seen()
    result.fail(Outcome.UNKNOWN, StoreError("as the test says"))
    desk.watch(Says(desk.alive(5000))).look(APP, result)
    assert result.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("accepted", [True, False])
def test_a_check_notes_nothing(accepted: bool, desk: Desk) -> None:
    result = desk.seen()
    before = desk.redis.hgetall(KEYS.lease), desk.redis.get(KEYS.value)
    answer = desk.alive(5000) if accepted else REFUSED
    desk.watch(Says(answer), command=Command(Action.CHECK)).look(APP, result)
    assert desk.noted == []
    assert (desk.redis.hgetall(KEYS.lease), desk.redis.get(KEYS.value)) == before
    assert result.word is (Word.ALIVE if accepted else Word.REFUSED)
    assert result.outcome is (Outcome.KEPT if accepted else None)


def test_a_check_shows_an_earlier_end(desk: Desk) -> None:
    result = desk.seen()
    desk.watch(Says(desk.alive(400)), command=Command(Action.CHECK)).look(APP, result)
    assert (result.word, result.decision.reason) == (Word.ENDS, Reason.SUPERSEDED)
    assert "the platform ends this one in 400 s" in result.decision.sentence
    assert result.snapshot.seconds_left == 5000


def test_silence_prolongs_a_marked_code_to_the_question_and_the_grace(desk: Desk) -> None:
    desk.holds(mark="dead")
    desk.redis.expire(KEYS.value, 100)
    desk.look(UnknownOutcomeError("timed out"))
    assert desk.ttl_s() == pytest.approx(600, abs=NEARLY_S)
    assert desk.store.read(TARGET).lease.mark == "dead"


def test_silence_prolongs_nothing_after_a_complaint_about_that_code(desk: Desk) -> None:
    desk.holds(mark="dead")
    desk.redis.expire(KEYS.value, 100)
    desk.redis.set(KEYS.refused, desk.store.read(TARGET).record.fingerprint, ex=600)  # type: ignore[union-attr]
    desk.look(UnknownOutcomeError("timed out"))
    assert desk.ttl_s() <= 100
