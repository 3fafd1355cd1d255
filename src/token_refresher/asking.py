"""Ask checkCode about a stored code, and note what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import PlatformError
from .model import App, Snapshot
from .open_platform import OpenPlatform
from .plan import Condemned, Reason, Verdict, superseded
from .policy import Policy
from .store import Store


class Moment(NamedTuple):
    """A snapshot, and the instant of the steady clock (seconds) right after it was read."""

    snapshot: Snapshot
    read_at: float


@dataclass(frozen=True)
class Answer:
    """What checkCode said: `alive`, or `condemned` with the reason; neither when it gave no definite answer.

    `valid_until` is the expiry it named, as an instant (unix seconds) of Redis's clock; `warnings` are sentences.
    """

    alive: bool = False
    condemned: Condemned | None = None
    valid_until: int | None = None
    warnings: list[str] = field(default_factory=list)


class Asker:
    """Asks about stored codes.

    `clock` is steady (seconds), `until` its instant at which the run has to be over; `wall` is the machine's (unix
    seconds), heard only as a witness for the platform's.
    """

    def __init__(
        self,
        store: Store,
        platform: OpenPlatform,
        policy: Policy,
        clock: Callable[[], float],
        wall: Callable[[], float],
        until: float,
    ) -> None:
        self._store, self._platform, self._policy = store, platform, policy
        self._clock, self._wall, self._until = clock, wall, until

    def ask(self, app: App, moment: Moment) -> Answer:
        """Ask whether the live code of a snapshot is still the newest; changes nothing."""
        live, kind = moment.snapshot.live, moment.snapshot.target.kind
        if live is None:
            return Answer()
        try:
            checked = self._platform.check_code(app, kind, live.code, self._until)
        except PlatformError as error:
            return Answer(warnings=[f"checkCode: {error.code}: {error.what}"])
        redis_now = moment.snapshot.now_ms / 1000 + self._clock() - moment.read_at
        skew_s, apart_s = 0.0, None
        if checked.server_time is not None:
            skew_s, apart_s = checked.server_time - redis_now, checked.server_time - self._wall()
        named = checked.expires_at if checked.valid else None
        if not superseded(live, named, skew_s, self._policy, apart_s):
            return Answer(alive=True, valid_until=named if named is None else int(named - skew_s))
        if named is None:
            verdict = Verdict(Reason.REFUSED, "the platform refuses the stored code")
            return Answer(condemned=Condemned(live.fingerprint, verdict))
        ends = int(named - skew_s)
        early_s = live.expires_at - ends
        verdict = Verdict(Reason.SUPERSEDED, f"the platform ends the stored code {early_s} s early")
        return Answer(condemned=Condemned(live.fingerprint, verdict), valid_until=ends)

    def ask_and_note(self, app: App, moment: Moment) -> Answer:
        """Ask, and leave the answer in Redis: the life of a superseded code is cut to what the platform allows it.

        Raises StoreError.
        """
        answer = self.ask(app, moment)
        if answer.alive:
            self._store.note_alive(moment.snapshot)
        elif answer.condemned:
            self._store.note_superseded(moment.snapshot, answer.valid_until)
        return answer
