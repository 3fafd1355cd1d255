"""The signals of a process, held back from everywhere and read by one thread: stop, or read the settings again.

A handler would run between any two steps of the main thread, and not at all while that waits for a name server. A
thread that waits for signals is prompt whatever the others do, and may use locks.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How long the last line may take: what reads the log may have stopped reading.
_LAST_LINE_S = 1.0


class GracefulShutdown:
    """Sets `requested` at the first signal; at the second, or `timeout_s` (duration, seconds) later, ends the process.

    SIGHUP stops nothing: it reloads. It is heard also under nohup, which wants a process to outlive its terminal: this
    one does.

    A context: from its beginning the signals wait, from `watch` on they are read. Only the main thread may enter it,
    before it starts any other.
    """

    def __init__(self, timeout_s: float) -> None:
        self.requested = threading.Event()
        self._timeout_s = timeout_s
        # A background job of a script ignores SIGINT, and so does this.
        self._signals = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]

    def __enter__(self) -> GracefulShutdown:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, [*self._signals, signal.SIGHUP])
        self._deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        if self._deaf:
            # What is ignored need not be kept for a thread that waits for it.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.requested.is_set():
            if self._deaf:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def watch(self, reload: Callable[[], None], wake: Callable[[], None], unsettled: Callable[[], bool]) -> None:
        """Read the signals, in a thread of its own: `reload` is called after SIGHUP, `wake` once `requested` is set.

        `unsettled` says whether a process that ends now leaves a credential unsettled.
        """
        arguments = (reload, wake, unsettled)
        threading.Thread(target=self._watch, args=arguments, name="token-refresher-signals", daemon=True).start()

    def _watch(self, reload: Callable[[], None], wake: Callable[[], None], unsettled: Callable[[], bool]) -> None:
        while (number := signal.sigwait([*self._signals, signal.SIGHUP])) == signal.SIGHUP:
            _say(logging.INFO, "SIGHUP: the settings are read again, now or right after the run that is under way")
            reload()
        first = signal.Signals(number)
        _say(logging.INFO, f"stopping ({first.name}): what is under way may end within {self._timeout_s:g} s")
        self.requested.set()
        wake()
        again = signal.sigtimedwait(self._signals, self._timeout_s)
        why = signal.Signals(again.si_signo).name if again else f"{self._timeout_s:g} s are over"
        left = "a credential under way is left unsettled, which the next run heals"
        if unsettled():
            _say(logging.WARNING, f"ended at once ({why}): {left}")
        else:
            _say(logging.INFO, f"ended at once ({why}): no credential was under way")
        # Nothing is cleaned up, on purpose: the scripts in Redis leave nothing half-stored, whenever this happens.
        os._exit(0)


def _say(level: int, message: str) -> None:
    """Log, but not at any price: the main thread may be stuck in writing a line."""
    line = threading.Thread(target=_log.log, args=(level, "%s", message), daemon=True)
    line.start()
    line.join(_LAST_LINE_S)
