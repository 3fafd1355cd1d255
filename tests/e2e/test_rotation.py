"""The steps of docs/how-to/rotate-a-secret.md: a new secret while credentials are in use, and a forgotten copy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.flow import TICK_S, Deployment
from support.planted import plant
from support.world import World
from token_refresher import bootstrap as wiring
from token_refresher.bootstrap import reload_if_changed
from token_refresher.domain.command import Command
from token_refresher.domain.model import Kind
from token_refresher.domain.report import Report
from token_refresher.settings.loader import read


class Copy:
    """A process that keeps its program, and looks at its file before each run."""

    def __init__(self, deployment: Deployment, file: Path) -> None:
        self.file, self._deployment = file, deployment
        settings = read(deployment.environ | {"CONFIG_FILE": str(file)})
        clock, wall = deployment.clock, deployment.world.now
        self._program = settings, wiring.refresher(settings, clock=clock, wall=wall, pause=deployment.world.advance)

    def run(self) -> Report:
        self._program = reload_if_changed(*self._program)
        report = self._program[1].run_once(Command())
        self._deployment.look()
        return report


@pytest.mark.parametrize(
    "rotated_at_s", [3000, 5300], ids=["while credentials are fresh", "just before a fetch is due"]
)
def test_a_rotated_secret_leaves_no_reader_without_a_code_and_a_forgotten_copy_is_named(
    world: World, tmp_path: Path, rotated_at_s: int
) -> None:
    deployment = Deployment(world, 2)
    forgotten_file = tmp_path / "forgotten.yaml"
    kept_file = Path(deployment.environ["CONFIG_FILE"])
    forgotten_file.write_text(kept_file.read_text())
    kept, forgotten = Copy(deployment, kept_file), Copy(deployment, forgotten_file)
    old, new = world.secrets["app0000"], plant("rotated")
    warnings: list[str] = []
    for now_s in range(0, 3 * 7200, TICK_S):
        if now_s - TICK_S < rotated_at_s <= now_s:
            world.simulator.rotate_secret("app0000", new)
        if now_s - TICK_S < rotated_at_s + 600 <= now_s:
            kept_file.write_text(kept_file.read_text().replace(old, new))
        refused, report = forgotten.run(), kept.run()
        assert not report.in_danger
        assert not refused.in_danger
        warnings += report.warnings
        deployment.pass_time(TICK_S)
    assert (deployment.dead, deployment.missing) == ([], 0)
    sick = {re.sub("[0-9a-f]{12}", "...", warning.partition(", last at ")[0]) for warning in warnings}
    says = "(...) is refused: wrong_secret (application app0000)"
    assert sick == {f"another copy {says}"}
    for app_id in deployment.app_ids:
        assert [deployment.fetches(kind, app_id) for kind in Kind] == [4, 4], "as many as without a rotation"
