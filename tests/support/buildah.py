"""The image that the Dockerfile makes, built and started by buildah, which needs no daemon.

`isolation=chroot`: processes share this machine's network and are children of the test. The base image is made of the
Python that runs the tests, so that no registry of images is asked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import guards, reaper

_ROOT = Path(__file__).resolve().parents[2]
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Only a bug makes a test wait this long.
_WAIT_S = 60.0
# What the Dockerfile's RUN lines call, besides Python.
_PROGRAMS = ("sh", "groupadd", "useradd")
_PATH = "/usr/local/bin:/bin:/usr/bin:/sbin:/usr/sbin"


def missing() -> str:
    """Why there is no image here; "" when there can be one."""
    if os.geteuid():
        return "buildah is used as root only"
    absent = [name for name in ("buildah", "ldd", *_PROGRAMS) if shutil.which(name, path=_PATH) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class Engine:
    """buildah with a storage of its own, which lies in `folder` and is gone with it."""

    def __init__(self, folder: Path) -> None:
        self._command = ["buildah", "--storage-driver", "vfs", "--root", str(folder / "root")]
        self._command += ["--runroot", str(folder / "run")]
        self._make_base()

    def __call__(self, *words: str) -> str:
        """Run one command and return what it says. Raises RuntimeError with that, when it fails."""
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, cwd=_ROOT)
        if done.returncode:
            raise RuntimeError(f"buildah {words[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    def build(self, target: str = "") -> str:
        """Build the Dockerfile, up to a target where one is given, and return a container of it."""
        words = ["--isolation", "chroot", "--format", "docker", "--pull-never", "--layers"]
        words += ["--build-arg", "PYTHON=localhost/base"]
        # Empty is what compose passes on where nothing is set.
        words += ["--build-arg", f"PIP_INDEX_URL={os.environ.get('PIP_INDEX_URL', '')}"]
        words += ["--target", target] if target else []
        self("build", *words, "--tag", target or "final", ".")
        return self("from", "--pull-never", f"localhost/{target or 'final'}")

    def config(self, container: str) -> dict[str, Any]:
        """What the image says of itself."""
        config: dict[str, Any] = json.loads(self("inspect", container))["Docker"]["config"]
        return config

    def files(self, container: str) -> list[str]:
        """Everything in the container's file system."""
        root = Path(self("mount", container))
        return sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    def command(self, container: str, *words: str, environ: Mapping[str, str] = MappingProxyType({})) -> list[str]:
        """The command that runs the words in the container, as the image's user and with its environment."""
        given = [word for name, value in environ.items() for word in ("--env", f"{name}={value}")]
        return [*self._command, "run", "--isolation", "chroot", *given, container, "--", *words]

    @contextmanager
    def running(self, container: str, *words: str, environ: Mapping[str, str]) -> Iterator[Running]:
        """The words in the container; stopped by SIGTERM at the end, if they still run."""
        command = self.command(container, *words, environ=environ)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        reaper.watch(process.pid)
        running = Running(process)
        try:
            yield running
        finally:
            running.stop()
            reaper.forget(process.pid)

    def _make_base(self) -> None:
        container = self("from", "scratch")
        root = Path(self("mount", container))
        for name in _PROGRAMS:
            _copy_program(Path(shutil.which(name, path=_PATH) or ""), root)
        _copy_python(root)
        for place in ("tmp", "root", "build"):
            (root / place).mkdir(exist_ok=True)
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")
        self("umount", container)
        self("config", "--env", f"PATH={_PATH}", "--env", f"PIP_CERT={_CERTIFICATES}", container)
        self("commit", "--quiet", "--rm", container, "base")


class Running:
    """A program in a container; `output` is what it has said, once it is stopped."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self.output = process, ""

    def stop(self) -> int:
        """Send SIGTERM to the program itself, and return its exit code; may be called repeatedly."""
        if self._process.returncode is None:
            if self._process.poll() is None:
                os.kill(_youngest(self._process.pid), signal.SIGTERM)
            self.output = self._process.communicate(timeout=_WAIT_S)[0]
            guards.see("the container's log", self.output)
        return self._process.returncode


def _copy_program(program: Path, root: Path) -> None:
    """The program and the libraries it is linked with, at the places where they are here."""
    for word in [str(program), *_linked(program)]:
        target = root / word.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(word, target)


def _linked(program: Path) -> list[str]:
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    return [word for word in said.split() if word.startswith("/")]


def _copy_python(root: Path) -> None:
    """Python with its own library and pip, as `python` on the path."""
    python = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    skipped = shutil.ignore_patterns(
        "test", "idlelib", "tkinter", "__pycache__", "site-packages", "dist-packages", "config-*"
    )
    shutil.copytree(library, root / str(library).lstrip("/"), ignore=skipped)
    extensions = sorted((library / "lib-dynload").glob("*.so"))
    for each in [python, *extensions]:
        _copy_program(each, root)
    # What wheels may be linked with, and Python itself is not.
    (libc,) = (path.parent for path in map(Path, _linked(python)) if path.name == "libc.so.6")
    for name in ("pthread.so.0", "dl.so.2", "rt.so.1", "util.so.1", "gcc_s.so.1", "stdc++.so.6"):
        if (libc / f"lib{name}").exists():
            _copy_program(libc / f"lib{name}", root)
    place = root / str(library).lstrip("/") / "site-packages"
    pip = "import pip, pathlib; print(pathlib.Path(pip.__file__).parent)"
    found = subprocess.run([str(python), "-c", pip], capture_output=True, text=True, check=True).stdout.strip()
    shutil.copytree(found, place / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/local/bin/python").symlink_to(python)
    script = root / "usr/local/bin/pip"
    script.write_text(f"#!{python}\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n")
    script.chmod(0o755)
    for each in (_CERTIFICATES, Path("/etc/nsswitch.conf"), Path("/etc/login.defs")):
        if each.is_file():
            target = root / str(each).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(each, target)


def _youngest(pid: int) -> int:
    """The last of a line of only children: the program that buildah started for us."""
    while children := [
        word for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()
    ]:
        pid = int(children[-1])
    return pid
