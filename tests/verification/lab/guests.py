"""A copy beside healthy ones that cannot do its work: what it has configured, or where it runs, is wrong."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_simulator import Simulator
from support.planted import plant
from support.redis_server import closed_port

from .crew import Guest
from .forward_proxy import ForwardProxy
from .scenario import Trouble

if TYPE_CHECKING:
    from .stage import Stage

# Outside of a white list that holds 127.0.0.1; on this machine all the same.
_ELSEWHERE = "127.0.0.2"
_numbers = itertools.count(1)
Settings = Callable[["Stage"], dict[str, str]]


def as_deployed(_stage: Stage) -> dict[str, str]:
    """What is deployed at the beginning, and stays so for this copy."""
    return {}


def with_wrong_secret(_stage: Stage) -> dict[str, str]:
    """It has a secret that the platform no longer takes."""
    return {"APP_SECRET": plant("outdated-secret")}


def another_platform(stage: Stage) -> dict[str, str]:
    """It asks a platform that does not know the application, as a staging host."""
    other = stage.stack.enter_context(Simulator(clock=stage.place.now))
    return {"PLATFORM_BASE_URL": other.url}


def behind_dead_proxy(_stage: Stage) -> dict[str, str]:
    """Nothing listens where its proxy should be."""
    return {"PLATFORM_HTTPS_PROXY": f"http://127.0.0.1:{closed_port()}"}


def behind_silent_proxy(stage: Stage) -> dict[str, str]:
    """Its proxy takes connections and says nothing."""
    listener = stage.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1000))
    return {"PLATFORM_HTTPS_PROXY": f"http://127.0.0.1:{listener.getsockname()[1]}"}


def off_white_list(stage: Stage) -> dict[str, str]:
    """The platform sees it under an address that is not on the white list."""
    stage.simulator.white_list(stage.app_id, ["127.0.0.1"])
    proxy = ForwardProxy(_ELSEWHERE)
    stage.stack.callback(proxy.stop)
    return {"PLATFORM_HTTPS_PROXY": proxy.url}


@dataclass(frozen=True, kw_only=True)
class SickCopy(Trouble):
    """`copies` more copies run with `settings` of their own; their timers are `ahead_s` earlier than the others'.

    With `killed` (a point) each is killed there whenever it comes so far, and starts again at the next tick.
    """

    settings: Settings = as_deployed
    copies: int = 1
    ahead_s: float = 0.0
    killed: str = ""
    label: str

    @property
    def name(self) -> str:
        return f"{self.copies} beside: {self.label}"

    def begin(self, stage: Stage) -> None:
        guests = []
        for _ in range(self.copies):
            environ = {**stage.place.environs[0], "LAB_HOST": f"guest-{next(_numbers)}"} | self.settings(stage)
            guests.append(Guest(stage, environ, self.ahead_s, self.killed))
        stage.crew.guests += guests

        def leave() -> None:
            for guest in guests:
                stage.crew.guests.remove(guest)
                guest.leave()

        stage.later(self.lasting_s, leave)
