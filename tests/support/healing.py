"""When a Deployment is well again after a fault."""

from __future__ import annotations

from token_refresher.domain.command import Action, Command
from token_refresher.domain.model import Kind

from .flow import TICK_S, Deployment


def newest(deployment: Deployment, kind: Kind, app_id: str | None = None) -> str:
    """The credential that the platform issued last."""
    issued = deployment.simulator.newest(app_id or deployment.app_ids[0], kind.value)
    if issued is None:
        raise AssertionError(f"the platform never issued any {kind.value}")
    return issued.code


def healthy(deployment: Deployment) -> bool:
    """Every reader finds the newest credential, and nothing is locked, unsettled or about to end."""
    report = deployment.refresher().run_once(Command(Action.STATUS))
    return all(
        each.reason == "FRESH"
        and each.settled
        and deployment.code(each.target.kind, each.target.app_id)
        == newest(deployment, each.target.kind, each.target.app_id)
        for each in report.targets
    )


def ticks_to_heal(deployment: Deployment, at_most: int) -> int:
    """Ticks until all is well, readers looking all the while. Raises AssertionError when that takes too many."""
    for count in range(1, at_most + 1):
        deployment.tick()
        if healthy(deployment):
            return count
    told = deployment.refresher().run_once(Command(Action.STATUS)).as_dict()
    raise AssertionError(f"not healed after {at_most} ticks: {told}")


def pass_ticks(deployment: Deployment, seconds: float) -> None:
    """Time passes, with a run at the end of every whole minute of it."""
    if seconds >= TICK_S:
        deployment.tick(int(seconds // TICK_S))
    deployment.pass_time(seconds % TICK_S)
