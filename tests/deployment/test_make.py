"""`make deploy` and `make remove`, with a stand-in for Serverless Devs that notes how it was called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.planted import plant

_ROOT = Path(__file__).resolve().parents[2]
# As the tool does, it prints the function's environment and writes it into a log of its own.
_TOOL = """#!/bin/sh
echo "$* APP_SECRET=$APP_SECRET" >> "$0.log"
echo "environmentVariables: $APP_SECRET $REDIS_URL"
exit ${S_FAILS:-0}
"""


class Copy:
    """A project of the Makefile alone, whose `package` builds nothing, beside a stand-in `s`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tool = folder, folder / "bin" / "s"
        self.tool.parent.mkdir()
        self.tool.write_text(_TOOL)
        self.tool.chmod(0o755)
        shutil.copy(_ROOT / "Makefile", folder / "real.mk")
        (folder / "Makefile").write_text("include real.mk\npackage: ; @echo built\nvenv: ;\n")
        self.secrets = {"APP_SECRET": plant("app-secret"), "REDIS_URL": f"redis://:{plant('redis')}@redis:6379/0"}

    def make(self, goal: str, answer: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        plain = {"PATH": f"{self.tool.parent}:{os.environ['PATH']}", "HOME": str(self.folder)}
        command = ["make", "--no-print-directory", goal]
        # The second definition of a target is the one that counts, and make warns of it.
        return subprocess.run(
            command, cwd=self.folder, env=plain | environ, input=answer, text=True, capture_output=True, check=False
        )

    @property
    def calls(self) -> str:
        path = Path(f"{self.tool}.log")
        return path.read_text() if path.exists() else ""


@pytest.fixture
def project(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_deploy_says_what_is_not_set_before_it_builds(project: Copy) -> None:
    done = project.make("deploy", APP_ID="100027")
    assert done.returncode == 2
    assert "Not set: APP_SECRET REDIS_URL." in done.stderr
    assert "built" not in done.stdout
    assert project.calls == ""


def test_deploy_shows_no_secret_and_leaves_no_output_behind(project: Copy) -> None:
    # That no secret is shown is seen by the guard of every test, which looks through all output.
    done = project.make("deploy", APP_ID="100027", **project.secrets)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["built", "s deploy -y", "Deployed. `make invoke` runs it once."]
    assert project.calls == f"deploy -y APP_SECRET={project.secrets['APP_SECRET']}\n"
    assert Path(f"{project.tool}.log").stat().st_mode & 0o777 == 0o600
    assert list((project.folder / ".run").iterdir()) == []


def test_a_deployment_that_fails_says_where_the_reason_is_for_the_owner_alone(project: Copy) -> None:
    done = project.make("deploy", APP_ID="100027", S_FAILS="3", **project.secrets)
    assert done.returncode == 2
    assert "The reason is in .run/deploy.log" in done.stderr
    log = project.folder / ".run" / "deploy.log"
    assert project.secrets["APP_SECRET"] in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("n\n", False), ("", False)])
def test_remove_asks_first_and_gets_no_secret(project: Copy, answer: str, removed: bool) -> None:
    done = project.make("remove", answer, REGION="cn-beijing", **project.secrets)
    assert "Remove the function token-refresher in cn-beijing, and its timer? [y/N]" in done.stdout
    assert project.calls == ("remove -y APP_SECRET=none\n" if removed else "")
    assert (done.returncode == 0) is removed


@pytest.mark.parametrize("goal", ["invoke", "logs"])
def test_what_needs_no_secret_gets_none(project: Copy, goal: str) -> None:
    assert project.make(goal, **project.secrets).returncode == 0
    assert project.calls.endswith("APP_SECRET=none\n")
