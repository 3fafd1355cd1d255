"""A simulator of the Yuanzhibang open platform: OAuth2, and two interfaces that take a code. For tests only.

It keeps the ground truth about every code it issues, records requests and goes wrong on demand:

    with Simulator({"app1": "secret1"}) as sim:
        sim.script("/OAuth2/ticket", Fault.cut(executed=True))
        ...
        assert sim.valid("app1", "js_ticket", code)
"""

from .answers import Answer, AnswerStyle
from .apps import App
from .faults import Fault
from .gates import Gate
from .interfaces import APP_ACCESS_PATH, CHECK_PATH, TICKET_PATH, TOKEN_PATH, USER_COUNT_PATH, Refusals
from .journal import RecordedRequest, fingerprint
from .simulator import Simulator
from .truth import IssuedCode
from .wrong_types import VARIANTS as WRONG_TYPES

__all__ = [
    "APP_ACCESS_PATH",
    "CHECK_PATH",
    "TICKET_PATH",
    "TOKEN_PATH",
    "USER_COUNT_PATH",
    "WRONG_TYPES",
    "Answer",
    "AnswerStyle",
    "App",
    "Fault",
    "Gate",
    "IssuedCode",
    "RecordedRequest",
    "Refusals",
    "Simulator",
    "fingerprint",
]
