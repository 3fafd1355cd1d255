"""README.md and docs/getting-started.md, command by command, in a fresh clone: what a newcomer types works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_simulator import Simulator
from support import reaper
from support.planted import plant
from support.redis_server import RedisServer, free_port

ROOT = Path(__file__).resolve().parents[2]
# What git does not know of, and so is in no clone.
NOT_CLONED = shutil.ignore_patterns(".git", ".venv", ".tools", ".run", "dist", "*_cache", "__pycache__", "*.egg-info")
UNREACHABLE = re.compile(r"NewConnectionError|NameResolutionError|ProxyError|(Connect|Read)Timeout|SSLError")
# What needs an account, a container engine or somebody's crontab; the page says so, and nothing here runs it.
NOT_RUN = re.compile(r"^(npm install|s config add|make (deploy|invoke)|docker compose|git clone|cd )", re.MULTILINE)
# Two packages' worth of downloads on a busy machine (seconds).
WAIT_S = 280.0

# The clone is made once, not once for each worker.
pytestmark = [pytest.mark.xdist_group("readme"), pytest.mark.timeout(WAIT_S + 20)]


def shell_blocks(page: Path, language: str = "sh") -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def environ(**more: str) -> dict[str, str]:
    """That of a newcomer: nothing is set, and the clone's own Python is this one."""
    kept = {name: os.environ[name] for name in os.environ if name in ("PATH", "HOME", "LANG") or name[:4] == "PIP_"}
    return {**kept, "PYTHON": os.path.realpath(sys.executable), "PYTHONIOENCODING": "utf-8", **more}


def sh(command: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a page; skips where it needs a registry that cannot be reached."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environ(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=WAIT_S,
    )
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"NOT TESTED, the package registry cannot be reached: {done.stderr[-500:]}")
    return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `git clone` brings."""
    folder = tmp_path_factory.mktemp("newcomer") / "token-refresher"
    shutil.copytree(ROOT, folder, ignore=NOT_CLONED)
    return folder


@pytest.fixture(scope="module")
def shown_by_make_run(clone: Path) -> str:
    done = sh("make run", clone)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_run_shows_what_the_readme_says(shown_by_make_run: str) -> None:
    (block,) = shell_blocks(ROOT / "README.md", "console")
    command, *lines = block.splitlines()
    assert command == "$ make run"
    shown = iter(masked(shown_by_make_run).splitlines())
    for line in lines:
        if line != "...":
            assert masked(line) in shown, line


def masked(text: str) -> str:
    """Without the numbers that differ from run to run."""
    return re.sub(r"-p \d+|\b7199 s|\b7200 s|Python [\d.]+", "(number)", text)


def test_the_five_steps_of_the_readme_lead_to_stored_credentials(
    clone: Path, shown_by_make_run: str, start_redis: Callable[..., RedisServer], simulator: Simulator
) -> None:
    secret, server = plant("secret-for-the-readme"), start_redis(password=plant("password-for-the-readme"))
    simulator.add_app("100027", secret)
    steps = [block for block in shell_blocks(ROOT / "README.md") if not NOT_RUN.search(block) and block != "make run\n"]
    assert [step.split()[0] for step in steps] == ["export", *[".venv/bin/token-refresher"] * 2]
    export = replaced(steps[0], **{"paste-it-here": secret, "redis://:password@redis.internal:6379/0": server.url})
    more = {"PLATFORM_BASE_URL": simulator.url}
    before = sh(export + steps[1], clone, **more)
    assert before.returncode == 1
    assert "3 red" in before.stdout
    # What the page about troubles shows of it.
    (block,) = shell_blocks(ROOT / "docs" / "how-to" / "troubleshoot.md", "console")
    for line in block.splitlines()[1:]:
        assert line == "..." or line in before.stdout.splitlines(), line
    stored = sh("set -e\n" + export + steps[2], clone, **more)
    assert stored.returncode == 0, stored.stderr
    assert len(re.findall(r"100027 .* FRESH", stored.stdout)) == 2
    assert [simulator.fetches("100027", kind) for kind in ("access_token", "js_ticket")] == [1, 1]
    # The line for cron, with the file in place of the variables.
    (cron,) = re.findall(r"^\* \* \* \* \* (.+)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    file = clone / "newcomer.yaml"
    file.write_text(
        f"storage_redis: {{url: '{server.url}'}}\noauth_api:\n"
        + "".join(
            f"  {name}: '{simulator.url}/OAuth2/{end}'\n"
            for name, end in (("get_server_access_token_url", "token"), ("get_js_ticket_url", "ticket"))
        )
        + f"app_info: [{{app_id: '100027', app_secret: '{secret}'}}]\n"
    )
    quiet = sh(
        replaced(cron, **{"/path/to/token-refresher": str(clone), "/etc/token-refresher.yaml": str(file)}), clone
    )
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def measured(text: str) -> str:
    """Without fingerprints, ages and the width that they need."""
    return re.sub(r" +", " ", re.sub(r"\b[0-9a-f]{8}\b|\d+ s ago", "(number)", text))


def replaced(text: str, **values: str) -> str:
    for name, value in values.items():
        assert name in text
        text = text.replace(name, value)
    return text


@pytest.fixture
def started() -> Iterator[Callable[[str, Path], None]]:
    """Start what a page runs in a terminal of its own."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(command: str, cwd: Path) -> None:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {command}"], cwd=cwd, env=environ(), stdin=quiet, stdout=quiet, stderr=quiet
        )
        reaper.watch(process.pid)
        processes.append(process)

    yield start
    for process in processes:
        process.terminate()
        process.wait(30)
        reaper.forget(process.pid)


def test_getting_started_leads_to_a_credential_that_redis_cli_reads(
    clone: Path, shown_by_make_run: str, started: Callable[[str, Path], None], tmp_path: Path
) -> None:
    redis_port, platform_port = str(free_port()), str(free_port())
    page = shell_blocks(ROOT / "docs" / "getting-started.md")
    steps = [step.replace("6390", redis_port).replace("8700", platform_port) for step in page]
    _, install, server, platform, export, look, refresh, get = steps
    for command in (server, platform):
        started(command.strip() + (" --dir " + str(tmp_path) if command is server else ""), clone)
    wait = "for i in $(seq 300); do : < /dev/tcp/127.0.0.1/{} && break; sleep 0.1; done 2>/dev/null\n"
    looked = sh(wait.format(redis_port) + wait.format(platform_port) + export + look, clone)
    planned, stored = shell_blocks(ROOT / "docs" / "getting-started.md", "console")
    assert planned in looked.stdout, looked.stdout + looked.stderr
    done = sh("set -e\n" + export + refresh + get, clone)
    assert done.returncode == 0, done.stderr
    assert measured(stored) in measured(done.stdout)
    assert '{"js_ticket": "' in done.stdout
    elsewhere = f"{sys.executable} -m venv {tmp_path}/elsewhere && {tmp_path}/elsewhere/bin/"
    done = sh(elsewhere + install.replace("/path/to/token-refresher", str(clone)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert sh(f"{tmp_path}/elsewhere/bin/token-refresher daemon --help", tmp_path).returncode == 0
