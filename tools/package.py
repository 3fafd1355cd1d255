"""Builds dist/token-refresher.zip: what is uploaded to Function Compute.

One zip serves python3.10 and python3.12 alike, because nothing in it is compiled: of PyYAML, the only package
without a pure wheel, the compiled half is left out, and it goes on without. The same sources and the same
requirements.txt give the same bytes.

The root of the zip comes first on the function's path. So index.py and all packages lie there, and nothing
that would stand in front of a module of the standard library.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "dist" / "token-refresher.zip"
REQUIREMENTS = ROOT / "requirements.txt"

# Ours: the entry point and the package.
_SOURCES = ("index.py", "token_refresher/**/*.py", "token_refresher/**/*.lua", "token_refresher/py.typed")
# Published with compiled code in it, which is optional.
_COMPILED = frozenset({"pyyaml"})
# Published as source alone; it is pure Python.
_SOURCE_ONLY = frozenset({"aliyun-fc2"})
# The older of the two runtimes: what is pure and fit for it is fit for the newer one.
_OLDEST = "3.10"
_PURE = ("--platform", "any", "--implementation", "py", "--abi", "none")
_LINUX = ("--platform", "manylinux2014_x86_64", "--implementation", "cp", "--abi", "cp310")
# Left out of every package: what tells types, tests, and what only other machines could run.
_LEFT_OUT = re.compile(r"(^|/)(tests|__pycache__|bin|[^/]+\.dist-info)/|\.(so|pyd|pyi|pyc|c|h|exe)$")
_LICENCE = re.compile(
    r"(?P<package>[^/]+)-[^-/]+\.dist-info/(licenses/)?(?P<file>(LICEN[CS]E|COPYING|NOTICE)[^/]*)"
)
# What pip says when it is not our mistake but the network's.
_UNREACHABLE = re.compile(r"NewConnectionError|NameResolutionError|ProxyError|(Connect|Read)Timeout|SSLError")
# EX_TEMPFAIL of sysexits.h: try again later.
EXIT_UNREACHABLE = 75

# The oldest instant a zip can hold, for every file: no build differs from the next by its clock.
_INSTANT = (1980, 1, 1, 0, 0, 0)
_READABLE_FILE = 0o100644 << 16
_UNIX = 3


def main() -> int:
    """Build, and say what was built. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to (default: %(default)s)")
    output: Path = parser.parse_args().output
    with tempfile.TemporaryDirectory(prefix="package-") as directory:
        packages = Path(directory)
        try:
            fetch(packages)
        except subprocess.CalledProcessError as error:
            print(f"pip failed:\n{error.stderr}", file=sys.stderr)
            return EXIT_UNREACHABLE if _UNREACHABLE.search(error.stderr) else 1
        files = collect(packages)
    refuse_shadows(files)
    write(files, output)
    describe(files, output)
    return 0


def fetch(target: Path) -> None:
    """Install what requirements.txt pins into `target`. Raises CalledProcessError with pip's words."""
    pins = list(pinned())
    known = _COMPILED | _SOURCE_ONLY
    _pip(target, *_PURE, "--only-binary=:all:", *(pin for name, pin in pins if name not in known))
    _pip(target, *_LINUX, "--only-binary=:all:", *(pin for name, pin in pins if name in _COMPILED))
    _pip(target, *(pin for name, pin in pins if name in _SOURCE_ONLY), version=None)


def pinned() -> Iterator[tuple[str, str]]:
    """Each requirement's name in lower case and its pin, unconditionally: the zip is for both runtimes."""
    for line in REQUIREMENTS.read_text().splitlines():
        pin = line.partition("#")[0].partition(";")[0].strip()
        if pin:
            yield pin.partition("==")[0].lower(), pin


def _pip(target: Path, *arguments: str, version: str | None = _OLDEST) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--no-compile", "--target", str(target), *arguments]
    if version:
        command += ["--python-version", version]
    subprocess.run(command, check=True, capture_output=True, text=True)


def collect(packages: Path) -> dict[str, bytes]:
    """Every file of the zip, by its name there."""
    files = {}
    for path in sorted(path for path in packages.rglob("*") if path.is_file()):
        name = path.relative_to(packages).as_posix()
        licence = _LICENCE.fullmatch(name)
        if licence:
            files[f"licenses/{licence['package']}/{licence['file']}"] = path.read_bytes()
        elif not _LEFT_OUT.search(name):
            files[name] = path.read_bytes()
    sources = ROOT / "src"
    for path in (path for pattern in _SOURCES for path in sources.glob(pattern)):
        files[path.relative_to(sources).as_posix()] = path.read_bytes()
    files["licenses/token_refresher/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return dict(sorted(files.items()))


def refuse_shadows(files: dict[str, bytes]) -> None:
    """Raises SystemExit when something at the root stands in front of the standard library."""
    roots = {name.partition("/")[0].removesuffix(".py") for name in files}
    shadows = sorted(roots & sys.stdlib_module_names)
    if shadows:
        raise SystemExit(f"these would stand in front of the standard library: {', '.join(shadows)}")


def write(files: dict[str, bytes], output: Path) -> None:
    """Write the zip; the old one stays until the new one is whole."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".package-") as directory:
        fresh = Path(directory) / output.name
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content in files.items():
                entry = zipfile.ZipInfo(name, _INSTANT)
                entry.create_system, entry.external_attr = _UNIX, _READABLE_FILE
                archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
        shutil.move(fresh, output)


def describe(files: dict[str, bytes], output: Path) -> None:
    """Print size, digest and contents."""
    content = output.read_bytes()
    shown = output.relative_to(ROOT) if output.is_relative_to(ROOT) else output
    print(f"{shown}  {len(content):,} bytes")
    print(f"sha256 {hashlib.sha256(content).hexdigest()}")
    tops: dict[str, list[int]] = {}
    for name, data in files.items():
        tops.setdefault(name.partition("/")[0], []).append(len(data))
    for top, sizes in sorted(tops.items(), key=lambda pair: -sum(pair[1])):
        print(f"{sum(sizes):>12,}  {top}{f' ({len(sizes)} files)' if len(sizes) > 1 else ''}")
    print(f"{sum(map(len, files.values())):>12,}  in all, unpacked")


if __name__ == "__main__":
    sys.exit(main())
