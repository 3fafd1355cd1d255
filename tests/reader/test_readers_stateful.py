"""Whatever happens, and in whatever order: no reader holds a credential that the platform refuses.

A state machine over readers, refresher, simulator and a real Redis, in virtual time. The deployment is healthy: it
ticks every minute, and checkCode mostly answers; all else may happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from support.flow import TICK_S, Deployment
from support.world import World
from token_refresher import AsyncReader, Reader
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Action, Command
from token_refresher.domain.errors import NoCredentialError
from token_refresher.domain.model import Kind, Record, Target
from token_refresher.domain.policy import Policy
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import read
from token_refresher.store.keys import keys_of
from token_refresher.store.record_json import read_record

APP = "app0000"
KINDS = list(Kind)
# Readers look at least this often (seconds), so that nothing between two rules escapes them.
LOOK_S = 30
# How long after an event the next one comes (seconds): at once, within the same tick, and up to the end of a grace.
LATER = st.sampled_from([0, 1, 45, 60, 200, 600])
# A busy machine may hold up the test itself for so long (seconds).
SLACK_S = 5
# So often in one example checkCode may fail: each time an audit is put off by a tick, and the grace bears a few.
CHECK_FAULTS = 3

FAULTS: dict[str, Fault] = {
    "cut before it is carried out": Fault.cut(executed=False),
    "cut after it was carried out": Fault.cut(executed=True),
    "cut in the middle of the answer": Fault.cut_mid_answer(),
    "HTTP 500, carried out": Fault.status(500, executed=True),
    "a page for people": Fault.html(executed=False),
    "refused": Fault.platform_status(4000, "system busy"),
    "not on the white list": Fault.white_list(),
    "the token is invalid": Fault.platform_status(4102, "server_access_token is invalid"),
    "the same credential again": Fault.same_code(),
}
CHECK_FAULT = [Fault.status(503), Fault.cut(executed=False), Fault.platform_status(4000, "system busy")]


class _InALoop:
    """An AsyncReader with the methods of a Reader, in a loop of its own."""

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._reader = AsyncReader.from_url(url, **options)

    def record(self, app_id: str, kind: Kind) -> Any:
        return self._loop.run_until_complete(self._reader.record(app_id, kind))

    def report_rejected(self, app_id: str, kind: Kind, code: str) -> str | None:
        return self._loop.run_until_complete(self._reader.report_rejected(app_id, kind, code))

    def close(self) -> None:
        self._loop.run_until_complete(self._reader.close())
        self._loop.close()


class Machine(RuleBasedStateMachine):
    """One deployment and three readers: without a cache, with the longest one, and for asyncio."""

    @initialize()
    def start(self) -> None:
        self.world = World()
        self.deployment = Deployment(self.world)
        self.client = self.world.redis.client()
        # Connections to the platform last for the whole example, which saves a handshake at every tick.
        self.platform = wiring.platform(read(self.deployment.environ), self.deployment.clock)
        self.refresher = self.copy_of_the_refresher()
        options: dict[str, Any] = {"clock": self.deployment.clock, "timeout_s": 10}
        url = self.world.redis.url
        self.readers: dict[float, Any] = {
            0: Reader.from_url(url, max_age_s=0, **options),
            60: Reader.from_url(url, max_age_s=60, **options),
            5: _InALoop(url, max_age_s=5, **options),
        }
        self.until_tick_s = float(TICK_S)
        self.check_faults = 0
        # When the platform took a credential's life all at once, without the grace: nobody can know before the next
        # audit.
        self.revoked: set[str] = set()
        self.tick()

    def teardown(self) -> None:
        for reader in getattr(self, "readers", {}).values():
            reader.close()
        if hasattr(self, "world"):
            self.platform.close()
            self.world.stop()

    def copy_of_the_refresher(self) -> Refresher:
        kept: Any = nullcontext(self.platform)
        return replace(self.deployment.refresher(), platform=lambda: kept)

    # -- time and the refresher ---------------------------------------------------------------

    @rule(seconds=st.integers(1, 600))
    def time_passes(self, seconds: int) -> None:
        self.time_passes_for(seconds)

    def time_passes_for(self, seconds: float) -> None:
        """The deployment ticks every minute, and readers look all the while."""
        left = float(seconds)
        while left > 0:
            step = min(left, self.until_tick_s, LOOK_S)
            self.world.advance(step)
            left, self.until_tick_s = left - step, self.until_tick_s - step
            self.readers_hold_nothing_dead()
            if self.until_tick_s <= 0:
                self.until_tick_s = float(TICK_S)
                self.tick()
                self.readers_hold_nothing_dead()

    @rule()
    def tick(self) -> None:
        self.refresher.run_once(Command())

    @rule(then_s=LATER)
    def two_copies_tick(self, then_s: int) -> None:
        self.tick()
        self.copy_of_the_refresher().run_once(Command())
        self.time_passes_for(then_s)

    @rule(kinds=st.sampled_from([(), (Kind.ACCESS_TOKEN,), (Kind.JS_TICKET,)]), force=st.booleans(), then_s=LATER)
    def somebody_refreshes_by_hand(self, kinds: tuple[Kind, ...], force: bool, then_s: int) -> None:
        self.refresher.run_once(Command(Action.REFRESH if force else Action.AUDIT, kinds=kinds, force=force))
        self.time_passes_for(then_s)

    # -- the platform -------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS), then_s=LATER)
    def somebody_else_refreshes(self, kind: Kind, then_s: int) -> None:
        self.world.simulator.issue(APP, kind.value)
        self.time_passes_for(then_s)

    @rule(kind=st.sampled_from(KINDS), then_s=LATER)
    def the_platform_revokes_the_stored_code(self, kind: Kind, then_s: int) -> None:
        stored: Any = self.client.get(keys_of(Target(APP, kind)).value)
        record = read_record(kind, stored or b"")
        if isinstance(record, Record):
            self.world.simulator.revoke(APP, kind.value, record.code)
            self.revoked.add(record.code)
        self.time_passes_for(then_s)

    @rule(path=st.sampled_from([TOKEN_PATH, TICKET_PATH]), fault=st.sampled_from(sorted(FAULTS)), then_s=LATER)
    def the_next_fetch_goes_wrong(self, path: str, fault: str, then_s: int) -> None:
        self.world.simulator.script(path, FAULTS[fault])
        self.time_passes_for(then_s)

    @precondition(lambda self: self.check_faults < CHECK_FAULTS)
    @rule(fault=st.sampled_from(CHECK_FAULT), then_s=LATER)
    def the_next_question_goes_wrong(self, fault: Fault, then_s: int) -> None:
        self.check_faults += 1
        self.world.simulator.script(CHECK_PATH, fault)
        self.time_passes_for(then_s)

    # -- readers ------------------------------------------------------------------------------

    @rule(max_age_s=st.sampled_from([0, 5, 60]), kind=st.sampled_from(KINDS), then_s=LATER)
    def a_reader_uses_its_code_and_complains_if_it_is_refused(self, max_age_s: float, kind: Kind, then_s: int) -> None:
        reader = self.readers[max_age_s]
        for held in self.held_by(reader, kind):
            if not self.accepted(kind, held):
                other = reader.report_rejected(APP, kind, held)
                assert other != held
        self.time_passes_for(then_s)

    @rule(max_age_s=st.sampled_from([0, 5, 60]), kind=st.sampled_from(KINDS))
    def a_reader_lies(self, max_age_s: float, kind: Kind) -> None:
        reader = self.readers[max_age_s]
        for held in self.held_by(reader, kind):
            reader.report_rejected(APP, kind, held)

    # -- Redis --------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS), which=st.sampled_from(["lease", "value"]), then_s=LATER)
    def a_key_is_lost(self, kind: Kind, which: str, then_s: int) -> None:
        self.client.delete(getattr(keys_of(Target(APP, kind)), which))
        self.time_passes_for(then_s)

    @rule(keep=st.booleans(), then_s=LATER)
    def redis_is_restarted(self, keep: bool, then_s: int) -> None:
        self.world.redis.restart(keep_data=keep)
        self.time_passes_for(then_s)

    @rule(kind=st.sampled_from(KINDS), then_s=LATER)
    def the_stored_value_is_garbage(self, kind: Kind, then_s: int) -> None:
        self.client.set(keys_of(Target(APP, kind)).value, b"\xff garbage", ex=3600)
        self.time_passes_for(then_s)

    # -- what must hold -----------------------------------------------------------------------

    def held_by(self, reader: Any, kind: Kind) -> Iterator[str]:
        try:
            yield reader.record(APP, kind).code
        except NoCredentialError:
            return

    def accepted(self, kind: Kind, code: str) -> bool:
        return self.world.simulator.valid(APP, kind.value, code)

    @invariant()
    def readers_hold_nothing_dead(self) -> None:
        if not hasattr(self, "readers"):
            return
        for max_age_s, reader in self.readers.items():
            for kind in KINDS:
                for code in self.held_by(reader, kind):
                    ended = self.world.simulator.valid_until(APP, kind.value, code)
                    assert ended is not None, "a reader holds a credential that the platform never issued"
                    dead_s = self.world.now() - ended
                    assert dead_s <= self.allowed_s(code, max_age_s) + SLACK_S, (
                        f"a reader with a cache of {max_age_s} s holds a {kind.value} dead for {dead_s:.0f} s"
                    )

    def allowed_s(self, code: str, max_age_s: float) -> float:
        """How long a credential may be dead in a reader's hands: what its cache adds, and what nobody could know."""
        if code not in self.revoked:
            return max_age_s
        # The audit finds it; one that checkCode did not answer is repeated at the next tick.
        return max_age_s + Policy.audit_interval_s + TICK_S * (1 + CHECK_FAULTS)


# Hundreds of runs: seconds on an idle machine, minutes on one that has much else to do.
TestWhateverHappens = pytest.mark.slow(pytest.mark.timeout(600)(Machine.TestCase))
TestWhateverHappens.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    # The same examples every time: what fails in CI fails here.
    derandomize=True,
    database=None,
    # Without making a failure smaller, which takes minutes: twenty steps can be read.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
