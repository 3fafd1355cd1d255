"""Writes a lock beside each requirements file: the same pins, each with the SHA-256 of every file of that release.

    python tools/lock.py            # asks the package index, and writes what changed
    python tools/lock.py --check    # asks nobody; fails when a lock does not belong to its requirements file

What is installed from a lock with `pip install --require-hashes -r` is what was published when the lock was made, for
all platforms and Python versions. The digests come from PyPI through uv, which gets an environment of its own in .run.
Nothing of a lock is written by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("requirements", "requirements-build", "requirements-daemon", "requirements-dev")
# These have none: what they name is installed into environments of its own by whoever measures, fuzzes or mutates.
UNLOCKED = ("requirements-bench", "requirements-fuzz", "requirements-mutation")
INDEX = "https://pypi.org/simple"
_UV = "uv==0.13.9"
_HEAD = "# Made by `python tools/lock.py` from {name}.txt: the digests of all files of each release. Not by hand.\n"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?: *; *(?P<marker>.+))?")
_DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Pin(NamedTuple):
    """One release; `marker` says on which Pythons it is wanted ("": all), `digests` are SHA-256 in hex."""

    name: str
    version: str
    marker: str = ""
    digests: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name as indexes compare it."""
        return re.sub(r"[-_.]+", "-", self.name).lower()

    @property
    def release(self) -> str:
        """The pin without its marker."""
        return f"{self.name}=={self.version}"

    def lines(self, conditional: bool = True) -> str:
        """As it stands in a lock; without its marker unless `conditional`."""
        first = f"{self.release}; {self.marker}" if conditional and self.marker else self.release
        return " \\\n".join([first, *(f"    --hash=sha256:{digest}" for digest in self.digests)]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the locks, or check them. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare; needs no network")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.check:
        found = [sentence for name in NAMES for sentence in differences(given.root, name)]
        print("\n".join(found) or f"{len(NAMES)} locks belong to their requirements", file=sys.stderr)
        return 1 if found else 0
    try:
        write_all(given.root)
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} failed:\n{error.stderr}", file=sys.stderr)
        return 1
    return 0


def required(path: Path) -> Iterator[Pin]:
    """Every pin of a requirements file and of those that it includes. Raises ValueError for anything else."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from required(path.parent / text[3:].strip())
        elif text:
            found = _PIN.fullmatch(text)
            if not found:
                raise ValueError(f"{path.name}, line {number}: not an exact pin")
            yield Pin(found["name"], found["version"], found["marker"] or "")


def locked(path: Path) -> list[Pin]:
    """Every pin of a lock with its digests. Raises ValueError for a line that no lock has."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pins = []
    for line in text.replace(" \\\n", " ").splitlines():
        pin, *words = re.split(r" +(?=--hash=)", line)
        found, digests = _PIN.fullmatch(pin), [_DIGEST.fullmatch(word) for word in words]
        if not found or not all(digests):
            raise ValueError(f"{path.name}: {line[:60]}: not a pin with its digests")
        pins.append(Pin(found["name"], found["version"], found["marker"] or "", tuple(d[1] for d in digests if d)))
    return pins


def differences(root: Path, name: str) -> list[str]:
    """What is wrong with a lock, as sentences."""
    path = root / f"{name}.lock"
    if not path.exists():
        return [f"{path.name} is missing: run `python tools/lock.py`"]
    try:
        wanted, found = list(required(root / f"{name}.txt")), locked(path)
    except ValueError as error:
        return [str(error)]
    wrong = [f"{path.name}: {pin.release} has no digest" for pin in found if not pin.digests]
    bare = [pin._replace(digests=()) for pin in found]
    if bare != wanted:
        odd = sorted({pin.release for pin in {*bare} ^ {*wanted}}) or ["the order"]
        wrong.append(f"{path.name} and {name}.txt differ in {', '.join(odd)}: run `python tools/lock.py`")
    return wrong


def write_all(root: Path) -> None:
    """Ask once for all releases, then write each lock. Raises CalledProcessError when they cannot be had."""
    wanted = {name: list(required(root / f"{name}.txt")) for name in NAMES}
    digests = _published({pin.release for pins in wanted.values() for pin in pins})
    for name, pins in wanted.items():
        body = "".join(pin._replace(digests=digests[pin.key, pin.version]).lines() for pin in pins)
        path, text = root / f"{name}.lock", _HEAD.format(name=name) + body
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name} is new")


def _published(releases: set[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The digests of all files of each release, by its compared name and version."""
    command = [str(_uv()), "pip", "compile", "--universal", "--python-version", "3.10", "--no-deps", "--quiet", "-"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-config", "--default-index", INDEX]
    # Nobody's settings of uv may choose another index.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    done = subprocess.run(
        command, input="\n".join(sorted(releases)), env=environ, check=True, capture_output=True, text=True
    )
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for entry in re.split(r"\n(?=\S)", done.stdout):
        pin = _PIN.match(entry)
        if pin:
            found[Pin(pin["name"], "").key, pin["version"]] = tuple(_DIGEST.findall(entry))
    return found


def _uv() -> Path:
    """uv, installed into an environment of its own when it is not there yet. Raises CalledProcessError."""
    place = ROOT / ".run" / _UV.replace("==", "-")
    program = place / "bin" / "uv"
    if not program.exists():
        print(f"Installing {_UV} into {place.relative_to(ROOT)} ...")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True, text=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", _UV]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    return program


if __name__ == "__main__":
    sys.exit(main())
