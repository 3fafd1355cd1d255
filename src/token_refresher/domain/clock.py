"""The clock that deadlines and ages are measured with."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

# An instant in seconds that never steps, and advances while the machine or the process is suspended. Readers ask for it
# at each read, so it is the bare C function.
steady_clock: Callable[[], float] = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
