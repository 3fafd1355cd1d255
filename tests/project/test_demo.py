"""`make run`, which is tools/demo.py: with nothing configured, and for real."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_simulator import CHECK_PATH, Fault, Simulator
from support.guards import see
from support.planted import plant
from support.redis_server import RedisServer, closed_port
from token_refresher.domain.model import fingerprint
from token_refresher.domain.quoting import quotable

# Starts whole processes and servers, or waits for them.
pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
_TOOL = _ROOT / "tools" / "demo.py"
_KEYS = [
    f"type/{kind}_info/app_id/{app_id}"
    for app_id in ("100027", "100028")
    for kind in ("server_access_token", "js_ticket")
]
_WAIT_S = 60.0


def _environ(**more: str) -> dict[str, str]:
    """This process's environment without what configures the program."""
    names = ("CONFIG_FILE", "APP_ID", "APP_SECRET", "REDIS_URL", "PLATFORM_BASE_URL")
    return {name: value for name, value in os.environ.items() if name not in names} | more


def _run(tool: Path, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tool), "--directory", str(folder)],
        env=_environ(**environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        cwd=_ROOT,
    )


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class _AtTerminal:
    """The tool with its standard streams on a terminal, as a person has it."""

    def __init__(self, folder: Path) -> None:
        self._ours, its = pty.openpty()
        command = [sys.executable, str(_TOOL), "--directory", str(folder)]
        self.process = subprocess.Popen(
            command, env=_environ(), stdin=its, stdout=its, stderr=its, cwd=_ROOT, start_new_session=True
        )
        os.close(its)
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Read on until `text` shows; without it, until the end."""
        while not (text and text in self.shown) and select.select([self._ours], [], [], _WAIT_S)[0]:
            try:
                more = os.read(self._ours, 65536)
            except OSError:  # on Linux that is how the other end of a terminal closes
                break
            see("a terminal", more)
            self.shown += more.decode().replace("\r\n", "\n")
        assert text in self.shown, self.shown

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """What it showed to its end is in `shown`; returns the exit code."""
        self.read_until("")
        return self.process.wait(_WAIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(_WAIT_S)
        os.close(self._ours)


@pytest.fixture
def at_terminal(tmp_path: Path) -> Iterator[_AtTerminal]:
    terminal = _AtTerminal(tmp_path)
    yield terminal
    terminal.close()


# -- with nothing configured -----------------------------------------------------------------


def test_with_nothing_configured_it_shows_the_whole_job_and_ends_itself(tmp_path: Path) -> None:
    ended = _run(_TOOL, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.findall(r"^(\d)\. ", ended.stdout, re.M) == ["1", "2", "3", "4"]
    first, _, second = (part for part in re.split(r"^[234]\. ", ended.stdout, flags=re.M)[1:])
    assert len(re.findall(r"(access_token|js_ticket) +MISSING +issued +nothing is stored", first)) == 4
    assert "=> 4 fetches for 4 credentials" in first
    assert len(re.findall(r"(access_token|js_ticket) +FRESH +- +\d+ s left", second)) == 4
    assert "=> 0 fetches for 4 credentials" in second
    assert ended.stdout.endswith("All is well: everything was stored, and the second run fetched nothing.\n")


def test_without_a_terminal_it_shows_no_command_that_cannot_work_any_more(tmp_path: Path) -> None:
    ended = _run(_TOOL, tmp_path)
    assert "redis-cli" not in ended.stdout
    assert "Redis and the simulator have ended" in ended.stdout


def test_what_the_simulator_says_of_a_secret_may_be_shown_with_its_own(tmp_path: Path) -> None:
    _run(_TOOL, tmp_path)
    secrets = re.findall(r"app_secret: (.+)", (tmp_path / "config.yaml").read_text("utf-8"))
    assert len(secrets) == 2
    assert quotable("app_id or secret is wrong", secrets) == "app_id or secret is wrong"


def test_it_leaves_no_server_behind_and_keeps_the_data(tmp_path: Path) -> None:
    ended = _run(_TOOL, tmp_path)
    redis_port, simulator_port = (
        re.search(pattern, ended.stdout) for pattern in (r"on port (\d+)", r"simulator at http://[\d.]+:(\d+)")
    )
    assert redis_port
    assert simulator_port
    assert not _is_open(int(redis_port[1]))
    assert not _is_open(int(simulator_port[1]))
    assert (tmp_path / "redis" / "dump.rdb").stat().st_size > 500


def test_it_can_be_run_again_over_the_data_it_kept(tmp_path: Path) -> None:
    ended = [_run(_TOOL, tmp_path) for _ in range(2)]
    assert [each.returncode for each in ended] == [0, 0]
    assert "=> 4 fetches for 4 credentials" in ended[1].stdout


def test_other_settings_in_the_environment_do_not_disturb_it(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{closed_port()}/0"
    ended = _run(_TOOL, tmp_path, REDIS_URL=url, POLICY_MARGIN_S="soon", PLATFORM_BASE_URL="http://127.0.0.1:9")
    assert ended.returncode == 0


def test_without_a_redis_server_it_says_what_to_install(tmp_path: Path) -> None:
    """A checkout without the embedded one, on a machine without any."""
    tool = tmp_path / "tools" / "demo.py"
    tool.parent.mkdir()
    shutil.copy(_TOOL, tool)
    (tmp_path / "src").symlink_to(_ROOT / "src")
    ended = _run(tool, tmp_path / "run", PATH=str(tmp_path))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "there is no redis-server" in ended.stderr
    assert "apt install redis-server" in ended.stderr


# -- at a terminal ---------------------------------------------------------------------------


def test_at_a_terminal_its_redis_cli_lines_work_while_it_waits(at_terminal: _AtTerminal) -> None:
    at_terminal.read_until("Enter or Ctrl-C ends it.")
    lines = re.findall(r"^ +(\S+ -p \d+ GET '(.*)')$", at_terminal.shown, re.M)
    assert [key for _, key in lines] == _KEYS
    for line, key in lines:
        answer = subprocess.run(
            shlex.split(line), capture_output=True, text=True, cwd=_ROOT, timeout=_WAIT_S, check=True
        )
        value = json.loads(answer.stdout)
        code = value["server_access_token" if "server_access_token" in key else "js_ticket"]
        assert code not in at_terminal.shown
        assert f"<credential {fingerprint(code)}>" in at_terminal.shown
    at_terminal.type("\n")
    assert at_terminal.end() == 0
    assert "All is well" in at_terminal.shown


def test_the_status_line_that_it_shows_works_while_it_waits(at_terminal: _AtTerminal) -> None:
    at_terminal.read_until("Enter or Ctrl-C ends it.")
    found = re.search(r"^ +(\S+/token-refresher --config .+)$", at_terminal.shown, re.M)
    assert found
    status = subprocess.run(
        shlex.split(found[1]),
        env=_environ(),
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=_WAIT_S,
    )
    assert status.returncode == 0
    assert status.stdout.count("FRESH") == 4


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda terminal: terminal.process.send_signal(signal.SIGINT), 0),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 143),
        (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["ctrl-c", "terminate", "closed-terminal"],
)
def test_however_it_is_ended_its_servers_end_with_it(
    at_terminal: _AtTerminal, end: Callable[[_AtTerminal], None], code: int
) -> None:
    at_terminal.read_until("Enter or Ctrl-C ends it.")
    port = re.search(r"on port (\d+)", at_terminal.shown)
    assert port
    assert _is_open(int(port[1]))
    end(at_terminal)
    assert at_terminal.end() == code
    assert not _is_open(int(port[1]))
    assert "Traceback" not in at_terminal.shown


# -- for real --------------------------------------------------------------------------------


@pytest.fixture
def real(start_redis: Callable[..., RedisServer], simulator: Simulator) -> dict[str, str]:
    """Settings of one application, with a Redis that asks for a password."""
    secret = plant("secret-for-make-run")
    simulator.add_app("app0000", secret)
    return {
        "APP_ID": "app0000",
        "APP_SECRET": secret,
        "REDIS_URL": start_redis(password=plant("password-for-make-run")).url,
        "PLATFORM_BASE_URL": simulator.url,
    }


def test_configured_it_runs_for_real_and_starts_no_server(
    real: dict[str, str], tmp_path: Path, simulator: Simulator
) -> None:
    ended = _run(_TOOL, tmp_path, **real)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "1. For real: " in ended.stdout
    assert "type/js_ticket_info/app_id/app0000  (TTL " in ended.stdout
    assert "redis-cli" not in ended.stdout
    assert list(tmp_path.iterdir()) == []
    assert [simulator.fetches("app0000", kind) for kind in ("access_token", "js_ticket")] == [1, 1]


def test_for_real_codes_that_were_there_before_are_as_good(real: dict[str, str], tmp_path: Path) -> None:
    _run(_TOOL, tmp_path, **real)
    ended = _run(_TOOL, tmp_path, **real)
    assert ended.returncode == 0
    assert ended.stdout.count("=> 0 fetches") == 2


def test_for_real_a_wrong_secret_is_told_and_is_a_failure(
    real: dict[str, str], tmp_path: Path, simulator: Simulator
) -> None:
    simulator.rotate_secret("app0000", plant("rotated-for-make-run"))
    ended = _run(_TOOL, tmp_path, **real)
    assert ended.returncode == 1
    assert "error: credentials_in_danger: app0000 access_token: missing, wrong_secret: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_for_real_a_second_run_that_fetches_is_a_failure(
    real: dict[str, str], tmp_path: Path, simulator: Simulator
) -> None:
    """Codes that checkCode refuses a moment after their issue are due at once again."""
    simulator.script(CHECK_PATH, Fault.check_says(valid=False), times=None)
    hasty = {"POLICY_COOLDOWN_S": "0", "POLICY_AUDIT_MIN_AGE_S": "0", "POLICY_AUDIT_INTERVAL_S": "0.001"}
    ended = _run(_TOOL, tmp_path, **real, **hasty)
    assert ended.returncode == 1
    assert ended.stderr == "\nerror: the second run fetched 2 times, and should not have\n"


def test_for_real_mistakes_are_told_without_a_traceback(real: dict[str, str], tmp_path: Path) -> None:
    nobody = _run(_TOOL, tmp_path, **(real | {"REDIS_URL": f"redis://127.0.0.1:{closed_port()}/0"}))
    assert nobody.returncode == 1
    assert "error: redis_unreachable: " in nobody.stderr
    unset = _run(_TOOL, tmp_path, **(real | {"APP_SECRET": ""}))
    assert unset.returncode == 1
    assert "error: invalid_settings: APP_SECRET " in unset.stderr
    assert "Traceback" not in nobody.stderr + unset.stderr
