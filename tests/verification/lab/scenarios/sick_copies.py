"""A copy that cannot fetch runs beside a healthy one, which is not held back by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from verification.lab.guests import (
    Settings,
    SickCopy,
    another_platform,
    as_deployed,
    behind_dead_proxy,
    behind_silent_proxy,
    off_white_list,
    with_wrong_secret,
)
from verification.lab.people import SecretReset
from verification.lab.place import Place
from verification.lab.places import OverTls
from verification.lab.redis_troubles import Flushed
from verification.lab.scenario import MINUTE_S, At, Bounds, Due, Scenario, Trouble
from verification.lab.troubles import Complaints, Forced, Shortened, SomebodyElse

_DURATION_S = 150 * MINUTE_S
# Until the credentials have expired that the healthy copy would not have renewed.
_SICK_FROM, _SICK_S = At(75 * MINUTE_S + 10), 60 * MINUTE_S
_AUDITED_S = 330.0
# With a lock in its way: its 90 s and two ticks.
_TURN_S = 210.0


class _Sickness(NamedTuple):
    sentence: str
    settings: Settings
    place: type[Place] = Place
    killed: str = ""
    fetches: int = 0
    policy: Mapping[str, float] = MappingProxyType({})


_SICKNESSES = {
    "wrong secret": _Sickness("has an outdated secret", with_wrong_secret),
    "off the white list": _Sickness("has an address that is not on the white list", off_white_list, OverTls),
    "dead proxy": _Sickness("is behind a proxy that is down", behind_dead_proxy, OverTls),
    "silent proxy": _Sickness(
        "is behind a proxy that says nothing", behind_silent_proxy, OverTls, policy={"request_total_s": 0.2}
    ),
    "another platform": _Sickness("asks a platform that does not know the application", another_platform),
    "killed after its lease": _Sickness(
        "is killed at each start, with the lease in its hand", as_deployed, killed="after its lease"
    ),
    "killed before send": _Sickness(
        "is killed at each start, before its request leaves", as_deployed, killed="before send"
    ),
    # Each time it has its turn, a credential is lost.
    "killed before store": _Sickness(
        "is killed at each start, with a new credential in its hand", as_deployed, killed="before store", fetches=4
    ),
}


def _beside(what: str, ahead_s: float, copies: int = 1, *more: Trouble, name: str = "", **settings: object) -> Scenario:
    sick = _SICKNESSES[what]
    when = f"{ahead_s:g} s earlier" if ahead_s else "in the same second"
    how_many = f"{copies} copies, each of which" if copies > 1 else "A copy that"
    found = Scenario(
        name=f"sick copy: {what}, {when}" + f", {copies} of them" * (copies > 1) + f", {name}" * bool(name),
        sentence=f"{how_many} {sick.sentence} fires {when} beside a healthy one" + f"; {name}" * bool(name) + ".",
        duration_s=_DURATION_S,
        troubles=(
            SickCopy(
                start=_SICK_FROM,
                lasting_s=_SICK_S,
                settings=sick.settings,
                copies=copies,
                ahead_s=ahead_s,
                killed=sick.killed,
                label=what,
            ),
            *more,
        ),
        policy=dict(sick.policy),
        bounds=Bounds(fetches=sick.fetches * copies, heal_s=_AUDITED_S),
        baseline=False,
        place=sick.place,
    )
    return replace(found, **settings)  # type: ignore[arg-type]


_FORGOTTEN = Bounds(heal_s=_AUDITED_S)
_ROTATED_AT = At(80 * MINUTE_S)


def _forgotten(hard: bool, ahead_s: float, copies: int = 1) -> Scenario:
    how = "hard" if hard else "softly"
    when = f"{ahead_s:g} s earlier" if ahead_s else "in the same second"
    return Scenario(
        name=f"sick copy: forgotten at a rotation, {how}, {when}" + f", {copies} of them" * (copies > 1),
        sentence=f"The secret is reset {how}, the function gets it at once, and of the forgotten containers "
        f"that keep the old one there are {copies}; they fire {when}.",
        duration_s=_DURATION_S,
        troubles=(
            SickCopy(
                start=_SICK_FROM, lasting_s=_SICK_S, copies=copies, ahead_s=ahead_s, label="a forgotten container"
            ),
            SecretReset(start=_ROTATED_AT, hard=hard),
        ),
        outside="credentials that die without notice: found by the next audit" * hard,
        bounds=replace(_FORGOTTEN, refused_s=2 * _AUDITED_S, none_s=2 * 120, fetches=2) if hard else _FORGOTTEN,
        baseline=False,
    )


_OTHERS = SomebodyElse(start=Due())
_KILLED = "killed after its lease"

SCENARIOS = (
    *(_beside(what, ahead_s) for what in _SICKNESSES for ahead_s in (0.0, 1.0)),
    *(_beside(what, 30.0) for what in ("wrong secret", "dead proxy", _KILLED)),
    *(_forgotten(hard, ahead_s) for hard in (False, True) for ahead_s in (0.0, 1.0)),
    _forgotten(hard=True, ahead_s=1.0, copies=3),
    *(_beside(what, 1.0, 3) for what in ("wrong secret", _KILLED)),
    _beside(_KILLED, 1.0, 1, _OTHERS, name="others fetch when a fetch is due"),
    _beside("wrong secret", 1.0, 1, _OTHERS, name="others fetch when a fetch is due"),
    _beside(
        "wrong secret",
        1.0,
        1,
        Forced(start=Due(), lasting_s=30 * MINUTE_S, every_s=300),
        name="runs are forced",
        bounds=Bounds(fetches=12, heal_s=_AUDITED_S),
    ),
    _beside(
        "wrong secret",
        1.0,
        1,
        Shortened(start=At(80 * MINUTE_S), left_s=0),
        Complaints(start=At(80 * MINUTE_S), lasting_s=10 * MINUTE_S, readers=1, true_ones=True),
        name="credentials die and a reader complains",
        outside="credentials that die without notice: found by the first run after a complaint",
        bounds=Bounds(refused_s=2 * 130, none_s=2 * 60, fetches=2, heal_s=_AUDITED_S),
    ),
    *(
        replace(
            _beside(what, 1.0, 1, name="slow timer"),
            tick_s=300.0,
            policy={**_SICKNESSES[what].policy, "tick_s": 300.0},
            bounds=Bounds(fetches=_SICKNESSES[what].fetches, heal_s=630),
        )
        for what in ("wrong secret", _KILLED)
    ),
    *(
        _beside(
            what,
            1.0,
            1,
            Flushed(start=At(80 * MINUTE_S)),
            name="nothing is stored any more",
            bounds=Bounds(none_s=2 * _TURN_S, fetches=2, heal_s=_AUDITED_S),
        )
        for what in ("wrong secret", "dead proxy", _KILLED)
    ),
)
