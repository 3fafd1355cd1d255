"""A small process that starts programs and says what the operating system charged them for.

Apart from the benchmark because a process's peak memory counts from its fork: a child of a large process would be
charged that process's size. A line in is {"command", "environ"}; a line out is CPU and wall seconds and peak bytes.
"""

import json
import os
import sys
import time

# ru_maxrss: kilobytes on Linux, bytes on macOS.
_UNIT = 1 if sys.platform == "darwin" else 1024


def run(command: list, environ: dict) -> dict:
    """Start it without input or output, and wait for its end."""
    quiet = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1)]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environ, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    return {"cpu": used.ru_utime + used.ru_stime, "wall": wall, "peak": used.ru_maxrss * _UNIT, "code": code}


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(run(asked["command"], asked["environ"])) + "\n")
        sys.stdout.flush()
