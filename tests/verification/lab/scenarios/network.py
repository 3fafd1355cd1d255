"""Between us and the platform: names, certificates, forward proxies. And copies that are cut off from Redis."""

from __future__ import annotations

from verification.lab.network_troubles import CertificateExpired, ForwardProxyGone, NoNames
from verification.lab.places import BehindForwardProxy, BehindWire, ByName, OverTls
from verification.lab.scenario import MINUTE_S, Bounds, Due, Scenario
from verification.lab.wire_troubles import Partitioned

# Long enough for both systems to have to fetch, and for an hour to heal.
_DURATION_S = 170 * MINUTE_S
# After a definite no the next attempt comes within 330 s, or at the tick after. Nothing was sent, so nothing is lost.
_BACKED_OFF = Bounds(heal_s=400)
_WAYS = {
    "name resolution": (NoNames, ByName, "The platform's name cannot be resolved"),
    "certificate expired": (CertificateExpired, OverTls, "The platform shows an expired certificate"),
    "forward proxy down": (ForwardProxyGone, BehindForwardProxy, "The forward proxy to the platform is down"),
}


def _lasting(what: str, minutes: int) -> Scenario:
    trouble, place, sentence = _WAYS[what]
    return Scenario(
        name=f"{what}, {minutes} min",
        sentence=f"{sentence} for {minutes} min, from when a fetch is due.",
        duration_s=_DURATION_S,
        troubles=(trouble(start=Due(), lasting_s=minutes * MINUTE_S),),
        bounds=_BACKED_OFF,
        place=place,
    )


SCENARIOS = (
    *(_lasting(what, minutes) for what in _WAYS for minutes in (5, 28)),
    Scenario(
        name="certificate expired, 2 h",
        sentence="The platform shows an expired certificate for 2 h: none can be fetched before the last one ends.",
        duration_s=5 * 60 * MINUTE_S,
        troubles=(CertificateExpired(start=Due(), lasting_s=120 * MINUTE_S),),
        outside="the platform cannot be reached for longer than the margin of 30 min",
        # Both credentials are missing from their end until it is over and the next attempt comes; none is ever refused.
        bounds=Bounds(none_s=2 * (95 * MINUTE_S + 400), heal_s=400),
        place=OverTls,
    ),
    Scenario(
        name="two copies partitioned from Redis",
        sentence="Two copies at every tick, and nothing gets through between them and Redis for 5 min.",
        duration_s=_DURATION_S,
        copies=2,
        troubles=(Partitioned(start=Due(), lasting_s=5 * MINUTE_S),),
        # A frozen command may take the lease at the end, for a run that is over: its lock ends after 90 s.
        bounds=Bounds(fetches=2, heal_s=200),
        policy={"redis_timeout_s": 1.0},
        # A plain client waits for Redis for as long as it takes.
        baseline=False,
        place=BehindWire,
    ),
)
