"""Builds dist/token-refresher.zip: what is uploaded to Function Compute.

One zip serves python3.10 and python3.12 alike, because nothing in it is compiled: of PyYAML, the only package
without a pure wheel, the compiled half is left out, and it goes on without. The same sources and the same
requirements.txt give the same bytes; a file whose digest is not listed there is not taken.

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
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "dist" / "token-refresher.zip"

# The entry point, and of the package what a function can use: it has no command line, and serves nothing.
_SOURCES = ("index.py", "token_refresher/**/*.py", "token_refresher/**/*.lua", "token_refresher/py.typed")
_OUTSIDE_THE_FUNCTION = ("cli", "daemon", "doctor", "web")
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
_LICENCE = re.compile(r"(?P<package>[^/]+)-[^-/]+\.dist-info/(licenses/)?(?P<file>(LICEN[CS]E|COPYING|NOTICE)[^/]*)")
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
        packages = Path(directory) / "packages"
        try:
            fetch(packages, Path(directory))
        except subprocess.CalledProcessError as error:
            print(f"pip failed:\n{error.stderr}", file=sys.stderr)
            return EXIT_UNREACHABLE if _UNREACHABLE.search(error.stderr) else 1
        files = collect(packages)
        refuse_shadows(files)
        write(files, output)
    describe(files, output)
    return 0


def fetch(target: Path, work: Path) -> None:
    """Install what requirements.txt holds into `target`, `work` being a folder for what is in between.

    Markers do not count: the zip is for both runtimes. Raises CalledProcessError with pip's words.
    """
    entries = _entries((ROOT / "requirements.txt").read_text("utf-8"))
    known = _COMPILED | _SOURCE_ONLY
    wheels = ("--only-binary=:all:", "--python-version", _OLDEST)
    # Its build runs code, so the builder is the environment's own, pinned like everything else, and not the newest.
    source = ("--no-binary=:all:", "--no-build-isolation", "--use-pep517")
    _pip(target, work / "pure", [text for name, text in entries.items() if name not in known], *_PURE, *wheels)
    _pip(target, work / "compiled", [entries[name] for name in _COMPILED], *_LINUX, *wheels)
    _pip(target, work / "source", [entries[name] for name in _SOURCE_ONLY], *source)


def _entries(text: str) -> dict[str, str]:
    """Each requirement with its digests and without its marker, by its name."""
    found = re.finditer(
        r"^(?P<name>[a-z0-9-]+)(?P<pin>==[^\s;]+)[^\\\n]*(?P<digests>(\\\n +--hash=\S+ ?)+)", text, re.M
    )
    return {each["name"]: f"{each['name']}{each['pin']} {each['digests']}\n" for each in found}


def _pip(target: Path, work: Path, wanted: Sequence[str], *arguments: str) -> None:
    work.mkdir()
    (work / "wanted.txt").write_text("".join(wanted))
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install"]
    hashed = ("--require-hashes", "-r", str(work / "wanted.txt"), "--no-deps", "--no-compile", "--target", str(target))
    subprocess.run([*command, *hashed, *arguments], check=True, capture_output=True, text=True)


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
    for path in (path.relative_to(sources) for pattern in _SOURCES for path in sources.glob(pattern)):
        if len(path.parts) < 2 or path.parts[1] not in _OUTSIDE_THE_FUNCTION:
            files[path.as_posix()] = (sources / path).read_bytes()
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
    print(f"{_shown(output)}  {len(content):,} bytes")
    print(f"sha256 {hashlib.sha256(content).hexdigest()}")
    tops: dict[str, list[int]] = {}
    for name, data in files.items():
        tops.setdefault(name.partition("/")[0], []).append(len(data))
    for top, sizes in sorted(tops.items(), key=lambda pair: -sum(pair[1])):
        print(f"{sum(sizes):>12,}  {top}{f' ({len(sizes)} files)' if len(sizes) > 1 else ''}")
    print(f"{sum(map(len, files.values())):>12,}  in all, unpacked")


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
