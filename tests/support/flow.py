"""Runs, ticks and readers in a World: what a deployment is, with a clock that the test moves."""

from __future__ import annotations

import json
from typing import Any

from platform_simulator import Simulator
from token_refresher import bootstrap as wiring
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind, Target
from token_refresher.domain.report import Report, TargetReport
from token_refresher.refresh.run import Refresher
from token_refresher.settings.loader import read

from .processes import Child
from .world import World

TICK_S = 60
# How often readers look. Twenty seconds is what the slowest reader of the published clients may cache, many times over.
SAMPLE_S = 20
PUBLIC_KEY = {
    Kind.ACCESS_TOKEN: ("type/server_access_token_info/app_id/{}", "server_access_token"),
    Kind.JS_TICKET: ("type/js_ticket_info/app_id/{}", "js_ticket"),
}


class Deployment:
    """The refresher of one World, and the readers that look at what it stores.

    `dead` and `missing` count the samples in which a reader held a refused credential, or found none.
    """

    def __init__(self, world: World, app_count: int = 1, /, **policy: float) -> None:
        self.world, self.app_ids = world, [world.app_id(number) for number in range(app_count)]
        self.environ = world.settings_env(app_count, **policy)
        self.dead: list[str] = []
        self.missing = 0
        self.samples = 0
        self._client = world.redis.client()

    @property
    def simulator(self) -> Simulator:
        return self.world.simulator

    def refresher(self) -> Refresher:
        """As a freshly started process would have it."""
        return wiring.refresher(read(self.environ), clock=self.clock, wall=self.world.now, pause=self.pause)

    def clock(self) -> float:
        """Steady, and moved along with the World's clock."""
        return self.world.steady()

    def pause(self, seconds: float) -> None:
        """What a run waits, the World's clock goes on by; nothing sleeps."""
        self.world.pause(seconds)

    def run(self, command: Command | None = None) -> Report:
        report = self.refresher().run_once(command or Command())
        self.look()
        return report

    def tick(self, times: int = 1) -> Report:
        """Let time pass until the next tick, with readers looking all the while, and run; the last report."""
        for _ in range(times):
            self.pass_time(TICK_S)
            report = self.run()
        return report

    def pass_time(self, seconds: float) -> None:
        """Time passes without a run; readers go on."""
        while seconds > 0:
            step = min(seconds, SAMPLE_S)
            self.world.advance(step)
            seconds -= step
            self.look()

    # -- readers ------------------------------------------------------------------------------

    def code(self, kind: Kind, app_id: str | None = None) -> str | None:
        """What a reader in any language gets: GET, JSON, one member."""
        key, member = PUBLIC_KEY[kind]
        value: Any = self._client.get(key.format(app_id or self.app_ids[0]))
        return None if value is None else str(json.loads(value)[member])

    def look(self) -> None:
        """Every reader reads, and the platform itself says whether it would accept what they hold."""
        for app_id in self.app_ids:
            for kind in Kind:
                self.samples += 1
                code = self.code(kind, app_id)
                if code is None:
                    self.missing += 1
                elif not self.simulator.valid(app_id, kind.value, code):
                    self.dead.append(f"{kind.value} of {app_id} at {self.world.now():.0f}")

    def fetches(self, kind: Kind, app_id: str | None = None) -> int:
        return self.simulator.fetches(app_id or self.app_ids[0], kind.value)

    def age(self, seconds_left: float = 1000) -> None:
        """Store credentials and let them grow old, until so much is left of them: both are then due."""
        self.run()
        self.world.advance(7200 - seconds_left)
        self.look()

    # -- other processes --------------------------------------------------------------------

    def child(self, wraps: str = "", command: str = "Command()") -> Child:
        """One run in a process of its own. `wraps` is driver code that holds it at points, see `processes`."""
        driver = _DRIVER.format(wraps=wraps, command=command)
        clock_file = str(self.world.redis.clock_file)
        return Child(driver, {**self.environ, "CLOCK_FILE": clock_file})


def of(report: Report, kind: Kind, app_id: str | None = None) -> TargetReport:
    """The part of a report about one target; the first application's unless said otherwise."""
    app_id = app_id or report.targets[0].target.app_id
    return next(each for each in report.targets if each.target == Target(app_id, kind))


def holding(owner: str, name: str, kind: Kind | None = None, *, after: bool = False) -> str:
    """Driver code that holds the child before (or after) a method, for one kind only if given."""
    when = f", when=lambda *a, **k: about(a, {kind.value!r})" if kind else ""
    return f"wrap({owner}, {name!r}, before={not after}, after={after}{when})"


_DRIVER = """
import json, os, threading, time
from support.child import ask, point, say, wrap
from token_refresher import bootstrap as wiring
from token_refresher.domain.errors import TokenRefresherError
from token_refresher.domain.clock import steady_clock
from token_refresher.platforms.http.call import Call
from token_refresher.domain.command import Action, Command
from token_refresher.domain.model import Kind, Snapshot, Target
from token_refresher.platforms.yuanzhibang.client import YuanzhibangPlatform
from token_refresher.settings.loader import read
from token_refresher.store.redis_store import RedisStore

def about(arguments, kind):
    for each in arguments:
        target = getattr(each, "target", each)
        if isinstance(target, Target):
            return target.kind.value == kind
    raise AssertionError("nothing says which kind this call is about")

def clock():
    with open(os.environ["CLOCK_FILE"]) as file:
        return steady_clock() + float(file.read())

def pause(seconds):
    # Only the test moves the clock: a run that waits looks again at once, as often as it may.
    time.sleep(0)

{wraps}
refresher = wiring.refresher(read(os.environ), clock=clock, pause=pause)
try:
    report = refresher.run_once({command})
    say("report:" + json.dumps(report.as_dict()))
except TokenRefresherError as error:
    say("error:" + error.code)
"""
