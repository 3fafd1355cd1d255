"""A simulator of the Yuanzhibang open platform: OAuth2, and two interfaces that take a credential. For tests only.

It keeps the ground truth about every credential it issues, records requests and goes wrong on demand:

    with Simulator({"app1": "secret1"}) as sim:
        sim.script("/OAuth2/ticket", Fault.cut(executed=True))
        ...
        assert sim.valid("app1", "js_ticket", credential)
"""

from platform_simulator.apps import App
from platform_simulator.credentials import IssuedCredential
from platform_simulator.endpoints import APP_ACCESS_PATH, CHECK_PATH, TICKET_PATH, TOKEN_PATH, USER_COUNT_PATH, Refusals
from platform_simulator.faults.fault import Fault
from platform_simulator.faults.gate import Gate
from platform_simulator.faults.malformed import VARIANTS as WRONG_TYPES
from platform_simulator.request_log import RecordedRequest, fingerprint
from platform_simulator.responses import Answer, AnswerStyle
from platform_simulator.simulator import Simulator

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
    "IssuedCredential",
    "RecordedRequest",
    "Refusals",
    "Simulator",
    "fingerprint",
]
