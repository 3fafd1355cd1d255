"""Ends the servers of a test run that was killed itself, so that nothing is left running on the machine."""

from __future__ import annotations

import atexit
import contextlib
import subprocess
import threading

# Reads "+ pid" and "- pid". When the test process is gone, however it went, the pipe ends: then what is left is
# killed, by pid, and what libfaketime shared by pid is removed.
_SCRIPT = """
pids=' '
while read -r sign pid; do
    case $sign in
        +) pids="$pids$pid " ;;
        -) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
for pid in $pids; do
    kill -KILL "$pid" 2>/dev/null
    rm -f "/dev/shm/faketime_shm_$pid" "/dev/shm/sem.faketime_sem_$pid"
done
"""

_lock = threading.Lock()
_shell: subprocess.Popen[bytes] | None = None


def watch(pid: int) -> None:
    """Kill this process when ours ends, whatever ends it."""
    _tell(f"+ {pid}\n")


def forget(pid: int) -> None:
    """That process has ended; its number may become another's."""
    _tell(f"- {pid}\n")


def _tell(line: str) -> None:
    global _shell
    with _lock:
        if _shell is None:
            # In a session of its own: Ctrl-C in a terminal must not end it before the servers.
            _shell = subprocess.Popen(["/bin/sh", "-c", _SCRIPT], stdin=subprocess.PIPE, start_new_session=True)
            atexit.register(_end)
        if _shell.stdin:
            with contextlib.suppress(BrokenPipeError):
                _shell.stdin.write(line.encode())
                _shell.stdin.flush()


def _end() -> None:
    global _shell
    with _lock:
        if _shell and _shell.stdin:
            _shell.stdin.close()
            _shell.wait()
        _shell = None
