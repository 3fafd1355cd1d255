"""Being told to stop: the signals of a process, held back from everywhere and read by one thread.

A handler would run between any two steps of the main thread, and not at all while that waits for a name server. A
thread that waits for signals is prompt whatever the others do, and may use locks.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import TracebackType

_log = logging.getLogger(__name__)

# SIGHUP too: nothing is read anew in a running process, so "reload" means to end, and to be started by the supervisor.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# How long the last line may take: whoever reads the log may have stopped reading.
_LAST_LINE_S = 1.0


class Stop:
    """Sets `asked` at the first signal; at the second, or `timeout_s` (duration, seconds) later, ends the process.

    A context: from its beginning the signals wait, from `watch` on they are read. Only the main thread may enter it,
    before it starts any other.
    """

    def __init__(self, timeout_s: float) -> None:
        self.asked = threading.Event()
        self._timeout_s = timeout_s
        # Whoever started this with a signal ignored (nohup, a background job of a script) wants it ignored.
        self._signals = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]

    def __enter__(self) -> Stop:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.asked.is_set():
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def watch(self) -> None:
        """Read the signals, in a thread of its own."""
        threading.Thread(target=self._watch, name="token-refresher-signals", daemon=True).start()

    def _watch(self) -> None:
        first = signal.Signals(signal.sigwait(self._signals))
        _say(logging.INFO, f"stopping ({first.name}): what is under way may end within {self._timeout_s:g} s")
        self.asked.set()
        again = signal.sigtimedwait(self._signals, self._timeout_s)
        why = signal.Signals(again.si_signo).name if again else f"{self._timeout_s:g} s are over"
        _say(logging.WARNING, f"ended at once ({why}): a code under way is left unsettled, which the next run heals")
        # Nothing is cleaned up, on purpose: the scripts in Redis leave nothing half-stored, whenever this happens.
        os._exit(0)


def _say(level: int, message: str) -> None:
    """Log, but not at any price: the main thread may be stuck in writing a line."""
    line = threading.Thread(target=_log.log, args=(level, "%s", message), daemon=True)
    line.start()
    line.join(_LAST_LINE_S)
