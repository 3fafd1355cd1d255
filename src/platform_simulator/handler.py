"""One request from its arrival to its answer: planned faults and gates, credentials, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from platform_simulator.credentials import ACCESS_TOKEN, JS_TICKET
from platform_simulator.endpoints import CHECK_PATH, TICKET_PATH, TOKEN_PATH, Endpoints, Form, Result
from platform_simulator.faults.delivery import deliver
from platform_simulator.faults.fault import Fault
from platform_simulator.faults.gate import Gate
from platform_simulator.faults.queue import FaultQueue, Plan
from platform_simulator.limits import Limits
from platform_simulator.request_log import STOPPED, WAITING, RecordedRequest, RequestLog, redacted
from platform_simulator.responses import GENERAL_ERROR, Answer, AnswerStyle, render
from platform_simulator.server import ClientConnection, HttpRequest, HttpResponse

_AS_USUAL = Fault("", executed=True)


@dataclass(frozen=True)
class _Decision:
    reply: HttpResponse
    status: int | None
    executed: bool


@dataclass
class RequestHandler:
    """The server's handler. `style`, `latency_s` and `date_offset_s` (real seconds) may change at any time."""

    clock: Callable[[], float]
    endpoints: Endpoints
    log: RequestLog
    faults: FaultQueue
    style: AnswerStyle
    latency_s: float
    limits: Limits = field(default_factory=Limits)
    # How far the Date header is ahead of the clock; None: answers carry none.
    date_offset_s: float | None = 0.0

    def __call__(self, request: HttpRequest, client: ClientConnection) -> bool:
        """Answer one request; returns whether the connection stays open."""
        form = request.form()
        record = _record(self.clock(), request.path, form or {}, client.peer)
        position = self.log.arrived(record)
        plan = self.faults.take(request.path, record.app_id)
        fault = plan.fault or _AS_USUAL
        if not self._let_through(position, plan, fault, client):
            return False
        decision = self._decide(request, form, client.ip, fault)
        outcome = fault.name or _outcome(decision)
        self.log.decided(position, outcome, decision.status, decision.executed)
        for gate in (plan.before, fault.execute_at):
            if isinstance(gate, Gate):
                gate.mark_passed()
        if plan.after is not None and not plan.after.block(client.stopping):
            return False
        try:
            if not client.pause(self.latency_s + fault.delay_s):
                return False
            keep_alive = request.keep_alive and request.method == "POST"
            return deliver(client, decision.reply, keep_alive, fault.delivery, fault.interval_s)
        finally:
            if plan.after is not None:
                plan.after.mark_passed()

    def _let_through(self, position: int, plan: Plan, fault: Fault, client: ClientConnection) -> bool:
        if plan.before is None and fault.execute_at is None:
            return True
        self.log.parked(position)
        free = all(
            hindrance.block(client.stopping) if isinstance(hindrance, Gate) else client.pause(hindrance)
            for hindrance in (plan.before, fault.execute_at)
            if hindrance is not None
        )
        if not free:
            self.log.decided(position, STOPPED, None, executed=False)
        return free

    def _decide(self, request: HttpRequest, form: Form | None, ip: str, fault: Fault) -> _Decision:
        app_id = (form or {}).get("app_id", "")
        limited = self.limits.refuses(app_id, request.path, self.clock(), self.date_offset_s or 0.0)
        if limited is not None:
            return _Decision(self._dated(limited), None, executed=False)
        reply = HttpResponse()
        if not self.endpoints.knows(request.path):
            reply = replace(reply, status=404)
            result = Result(Answer(GENERAL_ERROR, "there is no such interface"))
        elif request.method != "POST":
            reply = replace(reply, status=405, headers=(*reply.headers, ("Allow", "POST")))
            result = Result(Answer(GENERAL_ERROR, "only POST is served"))
        elif form is None:
            result = Result(Answer(GENERAL_ERROR, "the body is not a form"))
        elif fault.executed:
            result = self._carry_out(request.path, form, ip, fault)
        else:
            result = Result(Answer(GENERAL_ERROR, "not carried out"))
        answer = fault.edit(result.answer, self.clock())
        reply = self._dated(fault.respond(replace(reply, body=render(answer, self.style))))
        decided = fault.executed or answer is not result.answer
        return _Decision(reply, answer.status if decided else None, result.executed)

    def _carry_out(self, path: str, form: Form, ip: str, fault: Fault) -> Result:
        times = 2 if fault.repeats else 1
        results = [self.endpoints.carry_out(path, form, ip, fault.issue_options) for _ in range(times)]
        result = results[-1 if fault.repeats == "last" else 0]
        return replace(result, executed=any(each.executed for each in results))

    def _dated(self, reply: HttpResponse) -> HttpResponse:
        if self.date_offset_s is None:
            return reply
        date = formatdate(self.clock() + self.date_offset_s, usegmt=True)
        return replace(reply, headers=(*reply.headers, ("Date", date)))


def _outcome(decision: _Decision) -> str:
    reply = decision.reply
    return str(decision.status) if reply.status == 200 else f"http {reply.status}"


def _record(at: float, path: str, form: Form, peer: str) -> RecordedRequest:
    grant_type = form.get("grant_type")
    kind = None
    if path == TOKEN_PATH and grant_type == "client_credential":
        kind = ACCESS_TOKEN
    elif path == TICKET_PATH:
        kind = JS_TICKET
    elif path == CHECK_PATH:
        kind = form.get("type")
    return RecordedRequest(
        at=at,
        path=path,
        app_id=form.get("app_id", ""),
        form=redacted(form),
        grant_type=grant_type,
        kind=kind,
        peer=peer,
        outcome=WAITING,
        status=None,
        executed=False,
    )
