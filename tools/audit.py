"""Asks whether a vulnerability is known in anything that ships, by pip-audit.

Exit code 1 when one is known, or when pip-audit fails otherwise. Where the services that know cannot be reached, or do
not know a package, nothing was found out: that is said aloud, and is no failure, so that CI works without them.
pip-audit gets an environment of its own in .run: its thirty packages have no business among those of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lock import ROOT, locked

_PIP_AUDIT = "pip-audit==2.10.1"
# What runs in the function or the container, and what builds it.
_LOCKS = ("requirements.lock", "requirements-daemon.lock", "requirements-build.lock")
_SERVICES = ("pypi", "osv")
_TIMEOUT_S = 20
# Of pip-audit, and of what is below it, when it is not our mistake but the network's.
_UNREACHABLE = re.compile(
    r"ConnectionError|NewConnectionError|NameResolutionError|ProxyError|SSLError|MaxRetryError|(Connect|Read)?Timeout"
    r"|[Cc]ould not connect|Tunnel connection failed"
)


def main() -> int:
    """Audit what ships, by the first service that knows all of it. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lock", type=Path, action="append", help="what to audit (default: all that ships)")
    parser.add_argument("--osv-url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    locks = given.lock or [ROOT / name for name in _LOCKS]
    try:
        program = _pip_audit()
    except subprocess.CalledProcessError as error:
        return _not_audited(f"pip-audit could not be installed: {_last_line(error.stderr)}")
    why = []
    with tempfile.TemporaryDirectory(prefix="audit-") as directory:
        wanted = Path(directory) / "wanted.txt"
        # Without markers: what is wanted on another Python than this one counts too.
        wanted.write_text("".join(pin.lines(conditional=False) for path in locks for pin in locked(path)))
        for service in ("osv",) if given.osv_url else _SERVICES:
            more = ("--osv-url", given.osv_url) if given.osv_url else ()
            done = _ask(program, wanted, service, *more)
            told = _parsed(done.stdout)
            if told is None and not _UNREACHABLE.search(done.stderr):
                print(f"pip-audit failed:\n{done.stderr}", file=sys.stderr)
                return 1
            known = [each for each in told or [] if each.get("vulns")]
            if known:
                return _vulnerable(known)
            skipped = [each["name"] for each in told or [] if "skip_reason" in each]
            if told and not skipped:
                print(f"No vulnerability is known in these {len(told)} packages ({service})")
                return 0
            why.append(f"{service}: " + (f"does not know {', '.join(skipped)}" if told else _last_line(done.stderr)))
    return _not_audited("; ".join(why))


def _ask(program: Path, wanted: Path, service: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(program), "--disable-pip", "--require-hashes", "-r", str(wanted), "-s", service, *more]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(_TIMEOUT_S)]
    return subprocess.run(command, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True)


def _parsed(output: str) -> list[dict[str, Any]] | None:
    try:
        found: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return found


def _vulnerable(known: list[dict[str, Any]]) -> int:
    for each in known:
        for flaw in each["vulns"]:
            fixed = ", ".join(flaw.get("fix_versions", [])) or "no release"
            print(f"VULNERABLE: {each['name']} {each['version']}: {flaw['id']}, fixed by {fixed}", file=sys.stderr)
    return 1


def _not_audited(why: str) -> int:
    print(f"{'!' * 100}\nNOT AUDITED: {why}\n{'!' * 100}", file=sys.stderr)
    return 0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1].strip()[:300]


def _pip_audit() -> Path:
    """pip-audit, installed when it is not there yet. Raises CalledProcessError."""
    place = ROOT / ".run" / _PIP_AUDIT.replace("==", "-")
    program = place / "bin" / "pip-audit"
    if not program.exists():
        print(f"Installing {_PIP_AUDIT} into {place.relative_to(ROOT)} ...")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True, text=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", _PIP_AUDIT]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    return program


if __name__ == "__main__":
    sys.exit(main())
