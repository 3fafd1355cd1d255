"""A pytest session that stands still before its tests; each trial is a fork that goes on from there.

So that no mutant pays for starting pytest, and one of a Lua script not for finding the tests either.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import pytest

from .plugin import chosen

TIMED_OUT, BROKEN = -1, 70
# A mutant may ask for ever more memory. The stacks of a thousand threads have to fit in.
_MEMORY = 16 << 30
_PYTEST = ["-q", "-x", "--no-header", "--tb=line", "-p", "mutation.plugin", "-p", "no:cacheprovider", "-p", "no:xdist"]
# It is imported before there is a session.
_PYTEST += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]


class Nursery:
    """The process of one such session; `late`: it stands still only once the tests and the package are imported."""

    def __init__(self, tree: Path, files: Sequence[str], output: Path, late: bool) -> None:
        ask_end, self._ask = os.pipe()
        self._told, tell_end = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._ask)
            os.close(self._told)
            _live(tree, files, output, _Fork(os.fdopen(ask_end), os.fdopen(tell_end, "w"), late))
        os.close(ask_end)
        os.close(tell_end)
        self._answers = os.fdopen(self._told)

    def run(self, limit_s: float, environ: dict[str, str]) -> int:
        """pytest's exit code, or TIMED_OUT; BROKEN where there is no session to fork from."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._ask, (json.dumps([limit_s, environ]) + "\n").encode())
        answer = self._answers.readline()
        return int(answer) if answer else BROKEN

    def tell_to_end(self) -> None:
        os.close(self._ask)

    def wait(self) -> None:
        self._answers.close()
        os.waitpid(self._pid, 0)


class _Fork:
    """The plugin that waits for what to do. In the process that returns from its hooks, the session goes on."""

    def __init__(self, requests: TextIOWrapper, answers: TextIOWrapper, late: bool) -> None:
        self._requests, self._answers, self._late = requests, answers, late

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        if not self._late:
            self._wait()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        if self._late:
            self._wait()
            session.items[:] = chosen(session.items)

    def _wait(self) -> None:
        for line in iter(self._requests.readline, ""):
            limit_s, environ = json.loads(line)
            pid = os.fork()
            if not pid:
                os.setpgid(0, 0)
                os.environ.update(environ)
                return
            self._answers.write(f"{_ended(pid, limit_s)}\n")
            self._answers.flush()
        os._exit(0)


def _live(tree: Path, files: Sequence[str], output: Path, plugin: _Fork) -> None:
    """The process of a session, and of all that are forked from it. Never comes back."""
    code = BROKEN
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.chdir(tree)
        path = [str(tree / "src"), str(tree / "tests")]
        sys.path[:0] = path
        os.environ["PYTHONPATH"] = os.pathsep.join([*path, str(Path(__file__).resolve().parents[1])])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = int(pytest.main([*_PYTEST, *files], plugins=[plugin]))
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(pid: int, limit_s: float) -> int:
    """Its exit code; when it takes too long it is asked to end in order, and then killed."""
    deadline = time.monotonic() + limit_s
    pause, asked = 0.01, False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return TIMED_OUT if asked else code if code >= 0 else BROKEN
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                if asked:
                    os.killpg(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGINT)
            asked, deadline = True, time.monotonic() + 10
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
