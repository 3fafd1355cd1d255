"""A warm instance keeps connections to Redis, which die unseen while it rests: no run and no read fails of it."""

from __future__ import annotations

from verification.lab.filled_places import LibraryBehindWire, SeventyBehindWire, TwelveBehindWire
from verification.lab.place import Place
from verification.lab.places import BehindWire
from verification.lab.scenario import MINUTE_S, At, Bounds, Scenario
from verification.lab.wire_troubles import OldConnections

_WAYS = {"reset at the next byte": True, "silently forgotten": False}
_PLACES: dict[str, type[Place]] = {
    "1 application": BehindWire,
    "12 applications": TwelveBehindWire,
    "70 applications": SeventyBehindWire,
}


def _dead(way: str, many: str) -> Scenario:
    return Scenario(
        name=f"idle connections: {way}, {many}",
        sentence=f"Redis's address moves to another server, and old connections are {way}: {many}, three times.",
        duration_s=45 * MINUTE_S,
        troubles=tuple(OldConnections(start=At(minutes * MINUTE_S + 10), reset=_WAYS[way]) for minutes in (13, 21, 33)),
        # As short as a run over seventy applications, which keeps this machine busy, allows.
        policy={"redis_timeout_s": 1.0},
        bounds=Bounds(failed_runs=0, heal_s=60),
        baseline=False,
        place=_PLACES[many],
    )


SCENARIOS = (
    *(_dead(way, many) for way in _WAYS for many in _PLACES),
    *(
        Scenario(
            name=f"idle connections: {way}, our own Reader",
            sentence=f"Our own Reader's connections are {way}, while Redis is well: it finds its credentials.",
            duration_s=45 * MINUTE_S,
            troubles=tuple(OldConnections(start=At(m * MINUTE_S + 10), reset=reset) for m in (13, 21, 33)),
            bounds=Bounds(heal_s=60),
            baseline=False,
            place=LibraryBehindWire,
        )
        for way, reset in _WAYS.items()
    ),
)
