"""Function Compute's Python runtime, as its documents describe it, around any directory of code.

    with Instance(code, environ) as instance:      # nothing runs yet: it starts with its first event
        answer = instance.invoke(b"...")           # import, initialize(context), handler(event, context)
        instance.frozen                            # between two events every thread of it stands still
        instance.begin(b"..."); instance.expire()  # the function's time-out: killed, wherever it was

An instance is a real process of the interpreter that runs the tests, which sees the standard library and the
code, and nothing that is installed. It works on one event at a time. When its time-out is over the test says.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from . import guards
from .planted import plant

_ROOT = Path(__file__).resolve().parents[2]
_BOOTSTRAP = Path(__file__).with_name("fc_bootstrap.py")
# EX_TEMPFAIL, by which tools/build_zip.py says that the package registry cannot be reached.
_UNREACHABLE = 75
# Only a bug makes a test wait this long; imports on a loaded machine take a few seconds.
_WAIT_S = 60.0


class Answer(NamedTuple):
    """What the caller gets: `body`, and after a failure `error_type` (the header X-Fc-Error-Type)."""

    body: bytes
    error_type: str | None = None

    @property
    def told(self) -> Any:
        """The body as JSON: a report, or errorMessage, errorType and stackTrace."""
        return json.loads(self.body)


def unpack_code(directory: Path) -> Path:
    """Build the zip and unpack it into `directory`, as the runtime does. Skips when pip has no network."""
    archive = directory / "token-refresher.zip"
    command = [sys.executable, str(_ROOT / "tools" / "build_zip.py"), "--output", str(archive)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == _UNREACHABLE:
        pytest.skip(f"NOT TESTED, the package registry cannot be reached: {done.stderr}")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(directory / "code")
    return directory / "code"


class Instance:
    """One instance of a function, from its first event until `stop`.

    `code` is a directory, `environ` all environment variables that the function has. `runtime` (python3.10
    or python3.12) decides about the context's shape, whichever Python runs. `log` is all it has written.
    """

    def __init__(
        self,
        code: Path,
        environ: Mapping[str, str] | None = None,
        *,
        runtime: str = "python3.10",
        timeout_s: int = 70,
        initializer: str = "index.initialize",
    ) -> None:
        self._code, self._environ = code, dict(environ or {})
        secret, token = plant("access-key-secret"), plant("security-token")
        keys = {"access_key_id": "LTAI-made-up", "access_key_secret": secret, "security_token": token}
        self._about = {
            "runtime": runtime,
            "name": "token-refresher",
            "handler": "index.handler",
            "initializer": initializer,
            "memory": 128,
            "timeout": timeout_s,
            "region": "cn-hangzhou",
            "account_id": "1234567890",
            "credentials": keys if runtime == "python3.10" else {},
        }
        if runtime == "python3.12":
            self._environ |= {
                "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI-made-up",
                "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
                "ALIBABA_CLOUD_SECURITY_TOKEN": token,
            }
        self._log = tempfile.NamedTemporaryFile(prefix="fc-log-")  # noqa: SIM115 - closed by stop
        self._process: subprocess.Popen[bytes] | None = None
        self._ends: list[Any] = []
        self._requests = 0
        self._busy = self._seen = 0

    # -- events ------------------------------------------------------------------------------

    def invoke(self, event: bytes) -> Answer:
        """Hand over an event and wait for the answer; the instance is thawed for it, and frozen again."""
        self.begin(event)
        return self.finish()

    def begin(self, event: bytes) -> None:
        """Hand over an event. Raises RuntimeError when the instance still works on another."""
        if self._busy:
            raise RuntimeError("an instance works on one event at a time")
        if self._process is None:
            self._start()
        else:
            self._process.send_signal(signal.SIGCONT)
        self._busy, self._requests = 1, self._requests + 1
        asked = {"request_id": f"request-{self._requests}", "event": base64.b64encode(event).decode()}
        # A process that is gone already is noticed by `finish`.
        with contextlib.suppress(BrokenPipeError):
            self._ends[1].write(json.dumps(asked) + "\n")
            self._ends[1].flush()

    def finish(self) -> Answer:
        """The answer to the event that was handed over."""
        readable, _, _ = select.select([self._ends[0]], [], [], _WAIT_S)
        if not readable:
            raise TimeoutError(f"no answer within {_WAIT_S} s; the log:\n{self.log}")
        line = self._ends[0].readline()
        if not line:
            self._end()
            return self._own("Process exited unexpectedly before completing request", "FunctionUnhandledError")
        told = json.loads(line)
        body = base64.b64decode(told["body"])
        guards.see("a function's answer", body)
        if not told["well"] and told["step"] == "Initialize":
            # An instance that could not be initialised serves nobody.
            self._end()
        else:
            self._freeze()
        return Answer(body, None if told["well"] else "UnhandledInvocationError")

    def expire(self) -> Answer:
        """The function's time-out is over: the instance is killed, with the event it is working on."""
        self._end()
        return self._own(f"Function timed out after {self._about['timeout']} seconds", "FunctionTimedOut")

    # -- life --------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        return self._process.pid if self._process else None

    @property
    def frozen(self) -> bool:
        """Whether the kernel says that it stands still."""
        if self._process is None:
            return False
        state = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state in ("T", "t")

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text(errors="surrogateescape")

    def stop(self) -> None:
        """End it; may be called repeatedly."""
        self._end()
        self._log.close()

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    # -- inside ------------------------------------------------------------------------------

    def _start(self) -> None:
        events, to_events = os.pipe()
        from_answers, answers = os.pipe()
        self._process = subprocess.Popen(
            # Isolated and without site: neither installed packages nor this project are to be found.
            [
                *(sys.executable, "-I", "-S", "-B", "-u", "-W", "error", str(_BOOTSTRAP)),
                *(str(self._code), json.dumps(self._about), str(events), str(answers)),
            ],
            env={"FC_FUNC_CODE_PATH": str(self._code), **self._environ},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(events, answers),
        )
        os.close(events)
        os.close(answers)
        self._ends = [os.fdopen(from_answers), os.fdopen(to_events, "w")]

    def _freeze(self) -> None:
        """SIGSTOP, and wait until it really stands."""
        assert self._process is not None
        self._busy = 0
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._show_log()

    def _end(self) -> None:
        process, self._process, self._busy = self._process, None, 0
        if process is None:
            return
        process.kill()
        process.wait(_WAIT_S)
        for end in self._ends:
            with contextlib.suppress(BrokenPipeError):
                end.close()
        self._show_log()

    def _show_log(self) -> None:
        """Let the guard look at what was logged since the last time."""
        log = self.log
        guards.see("the log of a function", log[self._seen :])
        self._seen = len(log)

    def _own(self, message: str, kind: str) -> Answer:
        """What the service says when the function's process cannot."""
        return Answer(json.dumps({"errorMessage": message}).encode(), kind)
