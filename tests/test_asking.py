"""What checkCode's answer means, by three clocks: Redis's, the platform's and the machine's."""

from __future__ import annotations

from typing import Any

import pytest

from token_refresher.asking import Answer, Asker, Moment
from token_refresher.errors import NotSentError, PlatformError
from token_refresher.model import App, Kind, Record, Secret, Snapshot, Target
from token_refresher.open_platform import Checked
from token_refresher.plan import Condemned, Reason, Verdict
from token_refresher.policy import Policy

NOW = 1_700_000_000
LIVE = Record("the code", expires_at=NOW + 5000, issued_at=NOW - 2200, fence=7)
APP = App("app0000", Secret("none"))
# Three seconds pass between the reading in Redis and the answer.
READ_AT, ANSWERED_AT, UNTIL = 1000.0, 1003.0, 1060.0


class Says:
    """The platform's interface with an answer chosen to the second."""

    def __init__(self, answer: Checked | PlatformError) -> None:
        self._answer = answer
        self.asked: list[object] = []

    def check_code(self, app: App, kind: Kind, code: str, until: float) -> Checked:
        self.asked = [app, kind, code, until]
        if isinstance(self._answer, PlatformError):
            raise self._answer
        return self._answer


def ask(platform: Says, record: Record | None = LIVE, wall: float = 0.0) -> Answer:
    anything: Any = platform
    asker = Asker(anything, anything, Policy(), lambda: ANSWERED_AT, lambda: wall, UNTIL)
    snapshot = Snapshot(Target("app0000", Kind.JS_TICKET), NOW * 1000, record)
    return asker.ask(APP, Moment(snapshot, READ_AT))


def alive(expires_at: int, server_time: float | None = None) -> Says:
    return Says(Checked(True, NOW + expires_at, None if server_time is None else NOW + server_time))


def superseded(early_s: int) -> Condemned:
    verdict = Verdict(Reason.SUPERSEDED, f"the platform ends the stored code {early_s} s early")
    return Condemned(LIVE.fingerprint, verdict)


def test_the_question_is_about_the_live_code() -> None:
    platform = alive(5000)
    ask(platform)
    assert platform.asked == [APP, Kind.JS_TICKET, "the code", UNTIL]


@pytest.mark.parametrize("record", [None, Record("the code", NOW)])
def test_about_nothing_nothing_is_asked(record: Record | None) -> None:
    platform = alive(5000)
    assert ask(platform, record) == Answer()
    assert platform.asked == []


def test_without_an_answer_there_is_a_warning_and_nothing_else() -> None:
    platform = Says(NotSentError("no connection", code="not_sent_connect"))
    assert ask(platform) == Answer(warnings=["checkCode: not_sent_connect: no connection"])


@pytest.mark.parametrize("server_time", [None, 3.0])
def test_a_code_that_is_refused_is_condemned(server_time: float | None) -> None:
    platform = Says(Checked(False, None, None if server_time is None else NOW + server_time))
    verdict = Verdict(Reason.REFUSED, "the platform refuses the stored code")
    assert ask(platform) == Answer(condemned=Condemned(LIVE.fingerprint, verdict))


@pytest.mark.parametrize(
    ("expires_at", "server_time", "valid_until"),
    [
        (5000, None, 5000),
        (4940, None, 4940),
        (5000, 3.0, 5000),
        # the platform's clock is ahead of Redis's, or behind, and so is what it says
        (5100, 103.0, 5000),
        (4900, -97.0, 5000),
        (4880, -97.0, 4980),
    ],
)
def test_a_code_with_its_expiry_is_alive(expires_at: int, server_time: float | None, valid_until: int) -> None:
    assert ask(alive(expires_at, server_time)) == Answer(alive=True, valid_until=NOW + valid_until)


@pytest.mark.parametrize(
    ("expires_at", "server_time", "ends"),
    [(4939, None, 4939), (500, 3.0, 500), (500, -37.0, 540), (500, 43.0, 460)],
)
def test_a_code_that_ends_too_early_is_superseded(expires_at: int, server_time: float | None, ends: int) -> None:
    expected = Answer(condemned=superseded(5000 - ends), valid_until=NOW + ends)
    assert ask(alive(expires_at, server_time)) == expected


@pytest.mark.parametrize(
    ("wall", "confirmed"), [(1003, True), (1063, True), (943, True), (1063.5, False), (942.5, False), (3, False)]
)
def test_a_clock_of_redis_that_was_set_back_shows_where_the_machine_s_agrees_with_the_platform_s(
    wall: float, confirmed: bool
) -> None:
    answer = ask(alive(5000, server_time=1003.0), wall=NOW + wall)
    if confirmed:
        assert answer == Answer(condemned=superseded(1000), valid_until=NOW + 4000)
    else:
        assert answer == Answer(alive=True, valid_until=NOW + 4000)
