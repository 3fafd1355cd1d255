"""Where the subjects run: the unpacked zip, the Pythons of the function's runtimes, and the peers' packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from .measure import TOOLS, BenchError

ROOT = TOOLS.parent
_PEERS = ROOT / "requirements-bench.txt"
# Function Compute's runtimes that the zip is for.
RUNTIMES = ("3.10", "3.12")
# Names alone prove nothing: one may be a shim that only prints an error.
_PROBE = "import ssl, sys; print('%d.%d %s' % (*sys.version_info[:2], sys.executable))"


class Python(NamedTuple):
    """An interpreter, by its `version` ("3.12")."""

    version: str
    path: str


def pythons(wanted: list[str] | None = None) -> list[Python]:
    """The interpreters of both runtimes, where found; else the one that runs this. `wanted` names others."""
    found: dict[str, Python] = {}
    for name in wanted or [f"python{version}" for version in RUNTIMES]:
        for place in _places(name):
            python = _probed(place)
            if python:
                found.setdefault(python.version, python)
                break
    if wanted and len(found) < len(wanted):
        raise BenchError(f"not every Python of these was found: {', '.join(wanted)}")
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return list(found.values()) or [Python(own, sys.executable)]


def _places(name: str) -> list[str]:
    """Where a Python of this name may be: as it is, on the path, and with version managers."""
    if os.sep in name:
        return [name]
    version = name.removeprefix("python")
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    others = sorted(managed.glob(f"{version}.*/bin/python3"), reverse=True)
    # An environment's own Python sees that environment; the one below it is the same program.
    base = getattr(sys, "_base_executable", sys.executable)
    own = [base] if version == f"{sys.version_info[0]}.{sys.version_info[1]}" else []
    return [*own, shutil.which(name) or name, *map(str, others)]


def _probed(path: str) -> Python | None:
    try:
        done = subprocess.run([path, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version, _, executable = done.stdout.strip().partition(" ")
    return Python(version, executable) if done.returncode == 0 and executable else None


def unpacked(directory: Path, archive: Path | None) -> tuple[Path, Path]:
    """The zip, made anew where none is given, and the directory it is unpacked into. Raises BenchError."""
    code = directory / "code"
    if archive is None:
        archive = directory / "token-refresher.zip"
        command = [sys.executable, str(TOOLS / "build_zip.py"), "--output", str(archive)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"the zip cannot be made:\n{done.stderr}", done.returncode)
    shutil.rmtree(code, ignore_errors=True)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(code)
    return archive, code


def peers(directory: Path) -> tuple[Path | None, str]:
    """The directory with wechatpy, installed when it is not there yet; None, and why, when that is not possible."""
    target = directory / f"bench-peers-{hashlib.sha256(_PEERS.read_bytes()).hexdigest()[:8]}"
    if target.is_dir():
        return target, ""
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--no-compile", "--target", str(fresh), "--requirement", str(_PEERS)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, f"pip could not install wechatpy: {done.stderr.strip().splitlines()[-1:]}"
    fresh.rename(target)
    return target, ""


def contents(archive: Path) -> dict[str, tuple[int, int]]:
    """What the zip holds by top-level name: bytes in the zip, bytes unpacked."""
    found: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            top = entry.filename.partition("/")[0]
            packed, whole = found.get(top, (0, 0))
            found[top] = packed + entry.compress_size, whole + entry.file_size
    return dict(sorted(found.items(), key=lambda pair: -pair[1][0]))
