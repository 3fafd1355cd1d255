"""Reports for the status page, made up: one that is well, one in which everything is on fire, a day of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from token_refresher.domain.errors import RefusedError
from token_refresher.domain.model import Kind, Outcome, Target
from token_refresher.domain.policy import Policy
from token_refresher.domain.report import Failure, Report, TargetReport
from token_refresher.web.history import RunHistory

NOW = 1_795_000_000
NAMES = {"100027": "商城（测试）", "100031": "Help desk", "100044": ""}


def target_report(app_id: str = "100027", kind: Kind = Kind.ACCESS_TOKEN, left_s: int = 5000, **more: Any) -> Any:
    """A credential as a run reports it, fresh unless `more` says otherwise."""
    told: dict[str, Any] = {
        "reason": "FRESH",
        "sentence": f"{left_s} s left",
        "fingerprint": "0a1b2c3d" if left_s else None,
        "expires_at": NOW + left_s if left_s else None,
        "seconds_left": left_s,
        "fence": (NOW - 2200) * 1000 if left_s else 0,
        "in_danger": left_s < 600,
        "safe_for_s": left_s - 600,
        "margin_s": 1800,
        "last_outcome": "issued",
        "last_outcome_at": NOW - 2200,
    }
    return TargetReport(Target(app_id, kind), **told | more)


def failing(app_id: str, kind: Kind, code: str, message: str) -> Any:
    failure = Failure.of(RefusedError(message, code=code))
    told = {"reason": "MISSING", "sentence": "nothing is stored", "outcome": Outcome.REFUSED, "failure": failure}
    return target_report(app_id, kind, 0, last_outcome=f"refused: {code}", last_outcome_at=NOW, **told)


def healthy(names: dict[str, str] = NAMES) -> list[Any]:
    return [target_report(app_id, kind, 7000 - 900 * (n % 4)) for n, app_id in enumerate(names) for kind in Kind]


def on_fire() -> list[Any]:
    """One of each: an operator's error and its follow-up, no answer, superseded, waiting, due, well."""
    return [
        failing("100027", Kind.ACCESS_TOKEN, "wrong_secret", "status 40001: invalid secret"),
        failing("100027", Kind.JS_TICKET, "no_token", "there is no live access_token to fetch the ticket with"),
        target_report("100031", left_s=900, reason="BACKING_OFF", sentence="NEAR_EXPIRY, but waits 200 s",
                      last_outcome="refused: not_white_listed", last_outcome_at=NOW - 100),
        target_report("100031", Kind.JS_TICKET, 3700, reason="LOCKED", sentence="its lease ends in 61 s",
                      last_outcome="unknown: no_answer", last_outcome_at=NOW - 95),
        target_report("100044", left_s=1500, reason="NEAR_EXPIRY", sentence="1500 s left, less than the margin"),
        target_report("100044", Kind.JS_TICKET, 7100, superseded_at=(NOW - 2900, NOW - 1500, NOW - 100)),
    ]  # fmt: skip


class Clock:
    """A steady clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def state_of(reports: list[Any], clock: Callable[[], float] | None = None, at: int = NOW, **more: Any) -> RunHistory:
    """The daemon's state after one run with these reports; `more` are names, or warnings of the run."""
    names = more.get("names", NAMES | {each.target.app_id: "" for each in reports if each.target.app_id not in NAMES})
    known = RunHistory(names, Policy(), clock or Clock(), lambda: at)
    known.add(Report("9f2c61d07be3a845", "refresh", at, 412, tuple(reports), more.get("warnings", ())), "ok")
    return known


def with_history(reports: list[Any], warnings: tuple[str, ...] = (), names: dict[str, str] = NAMES) -> RunHistory:
    """A day of saws that ends with these reports."""
    known = RunHistory(names, Policy(), Clock(), lambda: NOW)
    for at in range(NOW - 86400, NOW, 300):
        past = []
        for number, each in enumerate(reports):
            left = 1800 + (NOW - at + 700 * number) % 5400
            error = each.failure if at > NOW - 1500 else None
            past.append(replace(target_report(left_s=left), target=each.target, failure=error, fence=(at + left) // 60))
        known.add(Report("0" * 16, "refresh", at, 300, tuple(past)), "ok")
    known.add(Report("9f2c61d07be3a845", "refresh", NOW, 412, tuple(reports), warnings), "ok")
    return known
