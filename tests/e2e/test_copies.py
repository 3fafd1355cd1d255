"""Several copies of the program on one application, some of them sick, in every order: the healthy one has its turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from platform_simulator import TOKEN_PATH, Fault
from support.flow import TICK_S, Deployment, of
from support.planted import plant
from support.redis_server import closed_port
from support.world import World
from token_refresher.domain.command import Command
from token_refresher.domain.decision import decide
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.report import Report
from token_refresher.store.keys import keys_of

APP = "app0000"
TOKEN, TICKET = Kind.ACCESS_TOKEN, Kind.JS_TICKET


class Copy(Deployment):
    """One copy on a host of its own, with settings of its own where it is sick."""

    def __init__(self, world: World, name: str, **environ: str) -> None:
        super().__init__(world, request_total_s=1.0)
        self.name = name
        self.environ |= environ

    def run(self, command: Command | None = None) -> Report:
        refresher = self.refresher()
        callers = dict.fromkeys(refresher.callers, self.name)
        report = replace(refresher, callers=callers).run_once(command or Command())
        self.look()
        return report


class Dying(Copy):
    """It is killed each time right after it took a lease, before it says anything."""

    attempts = itertools.count(1)

    def run(self, command: Command | None = None) -> Report:
        refresher = self.refresher()
        token, ticket = (refresher.store.read(Target(APP, kind)) for kind in Kind)
        for snapshot in (token, ticket) if token.live else (token,):
            if decide(snapshot, refresher.policy, Command(), self.name).due:
                refresher.store.acquire(snapshot, f"dying-{next(self.attempts)}", self.name)
                break
        return Report("", "refresh", 0, 0, ())


def wrong_secret(world: World, name: str) -> Copy:
    return Copy(world, name, APP_SECRET=plant(f"an outdated secret of {name}"))


def dead_proxy(world: World, name: str) -> Copy:
    return Copy(world, name, PLATFORM_HTTP_PROXY=f"http://127.0.0.1:{closed_port()}")


def dying(world: World, name: str) -> Copy:
    return Dying(world, name)


SICK: dict[str, Callable[[World, str], Copy]] = {
    "an outdated secret": wrong_secret,
    "a dead proxy": dead_proxy,
    "killed at each attempt": dying,
}
ORDERS: dict[str, Callable[[Copy, list[Copy]], list[Copy]]] = {
    "healthy first": lambda healthy, sick: [healthy, *sick],
    "healthy last": lambda healthy, sick: [*sick, healthy],
    "healthy between": lambda healthy, sick: [*sick[:1], healthy, *sick[1:]],
}


def lose_codes(world: World) -> None:
    """Redis loses the credentials; what it knows of attempts stays."""
    for kind in Kind:
        world.redis.client().delete(keys_of(Target(APP, kind)).value)


def tick(world: World, copies: Sequence[Copy]) -> list[Report]:
    """All copies run in the same minute, in this order."""
    world.advance(TICK_S)
    return [each.run() for each in copies]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sickness", SICK)
def test_the_healthy_copy_gets_its_turn_within_two_ticks(world: World, sickness: str, order: str, count: int) -> None:
    healthy = Copy(world, "healthy00000")
    sick = [SICK[sickness](world, f"sick{number:08d}") for number in range(count)]
    copies = ORDERS[order](healthy, sick)
    healthy.run()
    world.advance(100)
    lose_codes(world)
    for _ in range(2):
        tick(world, copies)
    assert (healthy.code(TOKEN) is not None, healthy.code(TICKET) is not None) == (True, True)
    # And the next time, at the end of the credentials' lives.
    world.advance(5300)
    for _ in range(4):
        tick(world, copies)
    assert all(each.seconds_left > 5000 for each in healthy.run().targets)
    assert healthy.dead == []


@pytest.mark.parametrize("first", [True, False])
def test_a_refusal_holds_back_its_own_copy_alone_and_is_named_by_the_other(world: World, first: bool) -> None:
    healthy, sick = Copy(world, "healthy00000"), wrong_secret(world, "sick00000000")
    sick_report = sick.run()
    token = of(sick_report, TOKEN)
    assert (token.outcome, token.in_danger) == (Outcome.REFUSED, True)
    assert token.failure
    assert token.failure.code == "wrong_secret"
    if first:
        world.advance(10)
    report = healthy.run()
    assert [each.outcome for each in report.targets] == [Outcome.ISSUED, Outcome.ISSUED]
    (warning,) = report.warnings
    says = "(sick00000000) is refused: wrong_secret (application app0000), last at "
    assert warning.startswith(f"another copy {says}")
    assert sick.run().in_danger == ()


def test_a_copy_behind_a_dead_proxy_leaves_no_trace_in_redis(world: World) -> None:
    sick = dead_proxy(world, "sick00000000")
    report = sick.run()
    assert (of(report, TOKEN).outcome, of(report, TICKET).outcome) == (Outcome.NOT_SENT, Outcome.DEFERRED)
    assert world.redis.client().keys("*") == []


def test_healthy_copies_make_one_fetch_together(world: World) -> None:
    copies = [Copy(world, f"healthy{number:05d}") for number in range(4)]
    copies[0].run()
    for _ in range(95):
        tick(world, copies)
    assert [copies[0].fetches(kind) for kind in Kind] == [2, 2]
    assert (copies[0].dead, copies[0].missing) == ([], 0)


def test_a_platform_that_refuses_all_is_asked_by_each_copy_in_its_own_turn(world: World) -> None:
    """No copy's failures hold another back, and none is named sick for the platform's fault."""
    copies = [Copy(world, f"healthy{number:05d}") for number in range(2)]
    world.simulator.script(TOKEN_PATH, Fault.platform_status(4000, "something is wrong"), times=None)
    for each in copies:
        report = each.run()
        assert of(report, TOKEN).outcome is Outcome.REFUSED
        assert report.warnings == ()
    assert world.simulator.count(TOKEN_PATH) == 2
    for _ in range(10):
        tick(world, copies)
    assert world.simulator.count(TOKEN_PATH) <= 2 * 7
    world.simulator.clear_faults()
    for _ in range(6):
        tick(world, copies)
    assert copies[0].code(TICKET)


def test_a_sick_copy_s_question_puts_no_other_copy_s_off(world: World) -> None:
    """The sick one is denied by another platform for ever; the healthy one asks, and the credential stays."""
    healthy, sick = Copy(world, "healthy00000"), Copy(world, "sick00000000")
    healthy.run()
    code = healthy.code(TOKEN)
    for _ in range(20):
        world.simulator.disable(APP)
        tick(world, [sick])
        world.simulator.enable(APP)
        healthy.run()
    assert healthy.code(TOKEN) == code
    assert healthy.missing == 0
