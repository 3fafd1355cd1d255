"""What is installed: locks that belong to their requirements, and the audit of what ships."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.redis_server import free_port

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tools"))

import lock  # noqa: E402 - from tools, which had to be made known first

_FIRST = "redis==6.4.0"
_DIGEST = f"    --hash=sha256:{'ab' * 32}"
# Only a bug makes a test wait this long; the first audit installs pip-audit.
_AUDIT_S = 300

# -- locks -----------------------------------------------------------------------------------------


def _tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(_ROOT / "tools" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=_AUDIT_S)


def test_every_lock_belongs_to_its_requirements() -> None:
    done = _tool("lock.py", "--check")
    assert done.returncode == 0, done.stderr


def test_every_requirements_file_has_a_lock_or_is_known_to_do_without() -> None:
    files = {path.stem for path in _ROOT.glob("requirements*.txt")}
    assert files - {*lock.UNLOCKED} == {*lock.NAMES}
    assert {path.stem for path in _ROOT.glob("*.lock")} == {*lock.NAMES}


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (_FIRST, "redis==6.4.1", "requirements.lock and requirements.txt differ in redis==6.4.0, redis==6.4.1"),
        ('; python_full_version < "3.11.3"', "", "differ in async-timeout==5.0.1"),
        (re.compile(r"(?<=idna==3\.20)( \\\n    --hash=\S+)+"), "", "requirements.lock: idna==3.20 has no digest"),
        (re.compile(r"urllib3==.*\n(    .*\n)+"), "", "differ in urllib3=="),
        (re.compile(r"(?<=sha256:)39e3"), "39", "async-timeout==5.0.1"),
        (re.compile(r"\Z"), f"left-pad==1.0 \\\n{_DIGEST}\n", "differ in left-pad==1.0"),
    ],
    ids=["version", "marker", "digest", "missing", "cut", "added"],
)
def test_a_lock_that_was_changed_by_hand_is_found(
    before: str | re.Pattern[str], after: str, sentence: str, tmp_path: Path
) -> None:
    for name in lock.NAMES:
        shutil.copy(_ROOT / f"{name}.txt", tmp_path)
        shutil.copy(_ROOT / f"{name}.lock", tmp_path)
    path = tmp_path / "requirements.lock"
    pattern = before if isinstance(before, re.Pattern) else re.compile(re.escape(before))
    changed, count = pattern.subn(lambda _: after, path.read_text())
    assert count == 1
    path.write_text(changed)
    done = _tool("lock.py", "--check", "--root", str(tmp_path))
    assert done.returncode == 1
    assert sentence in done.stderr


def test_a_missing_lock_and_a_requirement_that_is_not_exact_are_found(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"{_FIRST}\n")
    assert lock.differences(tmp_path, "requirements") == ["requirements.lock is missing: run `python tools/lock.py`"]
    (tmp_path / "requirements.txt").write_text("# one\nredis>=6\n")
    with pytest.raises(ValueError, match=r"requirements\.txt, line 2: not an exact pin"):
        list(lock.required(tmp_path / "requirements.txt"))


# -- the audit -------------------------------------------------------------------------------------


class _Service(http.server.BaseHTTPRequestHandler):
    """Answers as OSV does: `flawed` is the name of the package that has a flaw."""

    flawed = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = asked["package"]["name"]
        flaw = {
            "id": "MADE-UP-1",
            "modified": "2026-01-01T00:00:00Z",
            "summary": "a flaw that is made up",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": package},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
                }
            ],
        }
        body = json.dumps({"vulns": [flaw]} if package == self.flawed else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def _service(flawed: str = "") -> Iterator[str]:
    handler = type("Service", (_Service,), {"flawed": flawed})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def _audit(url: str) -> subprocess.CompletedProcess[str]:
    done = _tool("audit.py", "--osv-url", url)
    if "pip-audit could not be installed" in done.stderr:
        pytest.skip(f"NOT TESTED, the package registry cannot be reached: {done.stderr}")
    return done


@pytest.mark.timeout(_AUDIT_S)
@pytest.mark.xdist_group("audit")
def test_the_audit_says_when_nothing_is_known_against_what_ships() -> None:
    with _service() as url:
        done = _audit(url)
    shipped = {pin.key for name in lock.NAMES[:3] for pin in lock.locked(_ROOT / f"{name}.lock")}
    assert done.returncode == 0, done.stderr
    assert f"No vulnerability is known in these {len(shipped)} packages (osv)" in done.stdout


@pytest.mark.timeout(_AUDIT_S)
@pytest.mark.xdist_group("audit")
# One that this Python may not need, but another one does.
@pytest.mark.parametrize("flawed", ["werkzeug", "async-timeout"])
def test_the_audit_fails_for_a_known_vulnerability(flawed: str) -> None:
    with _service(flawed) as url:
        done = _audit(url)
    assert done.returncode == 1
    assert re.search(rf"VULNERABLE: {flawed} [\d.]+: MADE-UP-1, fixed by 99", done.stderr)


@pytest.mark.timeout(_AUDIT_S)
@pytest.mark.xdist_group("audit")
def test_the_audit_says_aloud_that_it_could_not_ask_and_is_no_failure() -> None:
    done = _audit(f"http://127.0.0.1:{free_port()}/v1/query")
    assert done.returncode == 0
    assert "NOT AUDITED: osv: " in done.stderr
    assert "No vulnerability" not in done.stdout
