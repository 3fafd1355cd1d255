"""Codes that are good, though an interface says otherwise: none of them is thrown away."""

from __future__ import annotations

from dataclasses import replace

from platform_simulator import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Fault
from platform_simulator.credentials import JS_TICKET
from verification.lab.people import Lost
from verification.lab.scenario import MINUTE_S, At, Bounds, Due, Scenario, Trouble
from verification.lab.troubles import Answers, Complaints, Forced

_LASTING_S = 20 * MINUTE_S
_HEALED_S = 400.0
_INVALID = Fault.platform_status(4102, "server_access_token is invalid")


def _calls_invalid(start: At | Due) -> Answers:
    return Answers(
        start=start,
        lasting_s=_LASTING_S,
        faults=(_INVALID,),
        paths=(TICKET_PATH,),
        label="the ticket interface calls every access_token invalid",
    )


def _token_fails(start: At | Due, fault: Fault, name: str) -> Answers:
    return Answers(start=start, lasting_s=_LASTING_S, faults=(fault,), paths=(TOKEN_PATH,), label=name)


def _scenario(name: str, sentence: str, *troubles: Trouble, **more: object) -> Scenario:
    base = Scenario(
        name=f"thrown away: {name}",
        sentence=f"For 20 minutes the ticket interface calls every access_token invalid; {sentence}.",
        duration_s=170 * MINUTE_S,
        troubles=troubles,
        # At most one new token for such a word, and its ticket.
        bounds=Bounds(fetches=2, heal_s=_HEALED_S),
        baseline=False,
    )
    return replace(base, **more)  # type: ignore[arg-type]


_DUE, _LATER = Due(), At(93 * MINUTE_S)
_FRESH = At(30 * MINUTE_S + 10)
# Who loses a ticket finds none as long as the interface gives none.
_NO_TICKET = Bounds(none_s=_LASTING_S + _HEALED_S, fetches=3, heal_s=_HEALED_S)
_TICKET_LOST = Lost(start=_FRESH, kinds=(JS_TICKET,))

SCENARIOS = (
    _scenario("checkCode says that it lives", "checkCode says that it lives", _calls_invalid(_DUE)),
    *(
        _scenario(
            f"then the token interface fails ({name})",
            f"three minutes later the token interface fails, too ({name})",
            _calls_invalid(_DUE),
            _token_fails(_LATER, fault, name),
        )
        for name, fault in {
            "HTTP 500": Fault.status(500),
            "connection cut": Fault.cut(executed=False),
            "status 4000": Fault.platform_status(4000, "try again later"),
        }.items()
    ),
    _scenario(
        "the token interface fails at once",
        "the token interface fails at the same time",
        _calls_invalid(_DUE),
        _token_fails(_DUE, Fault.status(500), "HTTP 500"),
    ),
    _scenario(
        "the ticket is lost",
        "the ticket was deleted, the token is half an hour old",
        _calls_invalid(_FRESH),
        _TICKET_LOST,
        bounds=_NO_TICKET,
    ),
    _scenario(
        "the ticket is lost, then the token interface fails",
        "the ticket was deleted, and three minutes later the token interface fails",
        _calls_invalid(_FRESH),
        _TICKET_LOST,
        _token_fails(At(33 * MINUTE_S), Fault.status(500), "HTTP 500"),
        bounds=replace(_NO_TICKET, none_s=_LASTING_S + 180 + _HEALED_S),
    ),
    _scenario(
        "the ticket is lost, the token's fetch is not answered",
        "the ticket was deleted, and the token interface carries requests out without an answer",
        _calls_invalid(_FRESH),
        _TICKET_LOST,
        _token_fails(_FRESH, Fault.cut(executed=True), "no answer, executed"),
        bounds=Bounds(none_s=None, fetches=None, heal_s=_HEALED_S),
    ),
    _scenario(
        "runs are forced",
        "a run is forced every two minutes",
        _calls_invalid(_FRESH),
        Forced(start=_FRESH, lasting_s=_LASTING_S, every_s=120),
        # Each forced token is new, and may be renewed once for the word of the ticket interface.
        bounds=Bounds(fetches=22, heal_s=_HEALED_S),
    ),
    _scenario(
        "readers complain without reason",
        "readers complain of good credentials",
        _calls_invalid(_DUE),
        Complaints(start=_DUE, lasting_s=_LASTING_S, readers=1),
    ),
    _scenario(
        "checkCode is silent, too",
        "checkCode does not answer either",
        _calls_invalid(_DUE),
        Answers(start=_DUE, lasting_s=_LASTING_S, faults=(Fault.cut(executed=True),), paths=(CHECK_PATH,)),
        bounds=Bounds(fetches=6, heal_s=_HEALED_S),
    ),
    _scenario("two copies", "two copies run", _calls_invalid(_DUE), copies=2),
    _scenario(
        "slow timer",
        "the timer fires every five minutes",
        _calls_invalid(_DUE),
        _token_fails(_LATER, Fault.status(500), "HTTP 500"),
        tick_s=300.0,
        policy={"tick_s": 300.0},
        bounds=Bounds(fetches=2, heal_s=630),
    ),
)
