"""Children that a test holds at a named point, and there kills, freezes or lets go on.

The credential of a child is a small driver, given as text, that wraps what it wants to be held at:

    from support.child import point, wrap     # in the driver
    wrap(Store, "finish")                     # says "at:finish" before each call and waits for "go"
    run_once(...)

    child = Child(driver)                     # in the test
    child.wait_for("at:finish")
    child.kill()

Nothing in production credential knows of this.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from . import guards

_TESTS = Path(__file__).resolve().parents[1]
_SOURCES = _TESTS.parent / "src"
# Only a bug makes a test wait this long; imports on a loaded machine take a few seconds.
_WAIT_S = 30.0


class Child:
    """A Python process running `driver` (source text), from construction until it ends or `stop`.

    `environ` is added to this process's environment, `arguments` become `sys.argv[1:]`. Its lines of standard
    output come by `wait_for`; `stdout` and `stderr` hold all there was so far.
    """

    def __init__(
        self,
        driver: str,
        environ: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        path = os.pathsep.join([str(_SOURCES), str(_TESTS)])
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "support.child", driver, *arguments],
            env=os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "error"} | dict(environ or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )
        self.stdout = ""
        self.stderr = ""
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    # -- talking -----------------------------------------------------------------------------

    def wait_for(self, line: str, timeout_s: float = _WAIT_S) -> str:
        """Wait for a line of output that begins with `line` and return it; others are skipped.

        Raises TimeoutError, or ChildProcessError (with what the child said last) when it ends without.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                got = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the child did not say {line!r} within {timeout_s} s") from None
            if got is None:
                self.join()
                self._lines.put(None)
                end = f"the child ended ({self.returncode}) without {line!r}"
                raise ChildProcessError(f"{end}:\n{self.stderr}")
            if got.startswith(line):
                return got

    def send(self, line: str = "go") -> None:
        """Send a line to the child's standard input; to "go" a child at a point goes on."""
        if self._process.stdin:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    # -- life and death ----------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, minus the signal's number when a signal ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone: nothing of it runs on, nothing is cleaned up."""
        self._process.kill()
        self.join()

    def freeze(self) -> None:
        """SIGSTOP: it stands still, its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on, as if no time had passed."""
        self._process.send_signal(signal.SIGCONT)

    def join(self, timeout_s: float = _WAIT_S) -> int:
        """Wait for its end and return its exit code. Raises subprocess.TimeoutExpired."""
        code = self._process.wait(timeout_s)
        for reader in self._readers:
            reader.join(timeout_s)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return code

    def stop(self) -> None:
        """End it by all means; may be called repeatedly."""
        if self.returncode is None:
            self.thaw()
            self._process.kill()
        self.join()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- inside ------------------------------------------------------------------------------

    def _read_output(self) -> None:
        for line in self._process.stdout or ():
            self.stdout += line
            guards.see("standard output of a child", line)
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        for line in self._process.stderr or ():
            self.stderr += line
            guards.see("standard error of a child", line)
