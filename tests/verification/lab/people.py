"""What people do on the console of the platform, and with our deployment."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from platform_simulator import Simulator
from platform_simulator.credentials import KINDS
from support.cron_pattern import KEYS
from support.planted import plant
from support.redis_server import closed_port

from .filled_places import ManyApps
from .scenario import Trouble
from .stored import MEMBERS

if TYPE_CHECKING:
    from .stage import Stage


def end_all_codes(stage: Stage) -> None:
    """Every credential that the platform has issued dies now."""
    for app_id in stage.place.app_ids:
        for kind in KINDS:
            for issued in stage.simulator.issued(app_id, kind):
                stage.simulator.revoke(app_id, kind, issued.code)


@dataclass(frozen=True, kw_only=True)
class SecretReset(Trouble):
    """The secret is changed on the console; the function gets the new one at the end, where it is `deployed` at all.

    `hard`: the old credentials die at once. `operator_after_s`: so long after it the operator fetches both credentials
    by hand.
    """

    hard: bool = False
    deployed: bool = True
    operator_after_s: float | None = None

    @property
    def name(self) -> str:
        return "secret reset" + (", credentials die" if self.hard else "")

    def begin(self, stage: Stage) -> None:
        secret = plant("reset-secret")
        stage.simulator.rotate_secret(stage.app_id, secret, hard=self.hard)
        stage.place.change_secret(secret)
        if self.operator_after_s is not None:
            stage.later(self.operator_after_s, lambda: self._fetch(stage))

    def _fetch(self, stage: Stage) -> None:
        for kind in KINDS:
            stage.foreign.add(stage.simulator.issue(stage.app_id, kind).code)

    def end(self, stage: Stage) -> None:
        if self.deployed:
            stage.system.deploy()


@dataclass(frozen=True, kw_only=True)
class Disabled(Trouble):
    """The application is disabled on the console: its credentials die; each interface answers that it is unknown."""

    @property
    def name(self) -> str:
        return "application disabled"

    def begin(self, stage: Stage) -> None:
        end_all_codes(stage)
        for app_id in stage.place.app_ids:
            stage.simulator.disable(app_id)

    def end(self, stage: Stage) -> None:
        for app_id in stage.place.app_ids:
            stage.simulator.enable(app_id)


@dataclass(frozen=True, kw_only=True)
class TakenOut(Trouble):
    """The first application is taken out of the configuration, which is deployed."""

    @property
    def name(self) -> str:
        return "taken out of the configuration"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, ManyApps)
        stage.place.take_out_first()
        stage.system.deploy()


@dataclass(frozen=True, kw_only=True)
class Moved(Trouble):
    """The sick applications are configured for another platform, which `refuses` connections, `hangs`, or `limits`."""

    how: Literal["refuses", "hangs", "limits"]

    @property
    def name(self) -> str:
        return f"moved to a platform that {self.how}"

    def begin(self, stage: Stage) -> None:
        assert isinstance(stage.place, ManyApps)
        stage.place.move_sick(self._address(stage))
        stage.system.deploy()

    def _address(self, stage: Stage) -> str:
        if self.how == "hangs":
            listener = stage.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1000))
            return f"http://127.0.0.1:{listener.getsockname()[1]}"
        if self.how == "limits":
            other = stage.stack.enter_context(Simulator(clock=stage.place.now))
            other.limit(None, 0, 300)
            return other.url
        return f"http://127.0.0.1:{closed_port()}"


@dataclass(frozen=True, kw_only=True)
class Withdrawn(Trouble):
    """The deployment is taken away `after_s` later: no run follows."""

    after_s: float = 1.0
    ends_itself = True

    @property
    def name(self) -> str:
        return "no run any more"

    def begin(self, stage: Stage) -> None:
        def away() -> None:
            stage.starts.append(list)
            stage.over(self)

        stage.later(self.after_s, away)


@dataclass(frozen=True, kw_only=True)
class StoredByOthers(Trouble):
    """Another tool fetches both credentials and stores them over what is there, with no TTL unless `ttl_s` says so.

    `expires_in` is what it calls their end: `claimed_s` from now, times `factor`, or the text in `says`. `outdated`: it
    stores the credentials that it had before these. `left_s`: so long do they live, where the platform cuts it.
    """

    claimed_s: float = 7200
    factor: int = 1
    says: str | None = None
    ttl_s: float | None = None
    outdated: bool = False
    left_s: float | None = None

    @property
    def name(self) -> str:
        return "another tool stores its credentials"

    def begin(self, stage: Stage) -> None:
        client = stage.place.world.redis.client()
        for kind in KINDS:
            codes = [stage.simulator.issue(stage.app_id, kind).code for _ in range(1 + self.outdated)]
            stage.foreign.update(codes)
            if self.left_s is not None:
                stage.simulator.shorten(stage.app_id, kind, codes[0], self.left_s)
            ends: object = int((stage.place.now() + self.claimed_s) * self.factor) if self.says is None else self.says
            px = None if self.ttl_s is None else int(self.ttl_s * 1000)
            value = json.dumps({MEMBERS[kind]: codes[0], "expires_in": ends})
            client.set(KEYS[MEMBERS[kind]].format(stage.app_id), value, px=px)


@dataclass(frozen=True, kw_only=True)
class Lost(Trouble):
    """Values of these kinds are deleted in Redis, by hand or by Redis itself."""

    kinds: tuple[str, ...] = KINDS

    @property
    def name(self) -> str:
        return f"{', '.join(self.kinds)} deleted"

    def begin(self, stage: Stage) -> None:
        for app_id in stage.place.app_ids:
            for kind in self.kinds:
                stage.place.world.redis.client().delete(KEYS[MEMBERS[kind]].format(app_id))
