"""What a process remembers of the platform's limits, and of a checkCode that is silent."""

from __future__ import annotations

import threading
from collections.abc import Callable

# So many questions in a row without an answer, and no more are sent in this run.
_SILENCES = 2
# So many applications that are limited at once mean that the platform limits all of us.
_LIMITED = 2


class Limits:
    """Who may send a request, and when. `clock` is steady (seconds); several threads may ask at once.

    A limit holds the application back that met it. Only when a second one meets it too are all held back: one
    application over its own limit must not keep the others from their codes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._silences = 0

    def begin(self) -> None:
        """A new run: checkCode gets another chance, and limits that are over are forgotten."""
        with self._lock:
            self._silences = 0
            now = self._clock()
            self._until = {app_id: until for app_id, until in self._until.items() if until > now}

    def limited(self, app_id: str, wait_s: float) -> None:
        """The platform limited a request of this application; the next one may be sent after `wait_s` (duration)."""
        with self._lock:
            self._until[app_id] = max(self._until.get(app_id, 0.0), self._clock() + wait_s)

    def wait_s(self, app_id: str) -> float:
        """Seconds until a request of this application may be sent."""
        with self._lock:
            now = self._clock()
            held = [until for until in self._until.values() if until > now]
            own = max(self._until.get(app_id, 0.0) - now, 0.0)
            return max(own, min(held) - now) if len(held) >= _LIMITED else own

    def answered(self) -> None:
        """checkCode answered."""
        with self._lock:
            self._silences = 0

    def unanswered(self) -> None:
        """checkCode did not answer, or could not be reached."""
        with self._lock:
            self._silences += 1

    @property
    def silent(self) -> bool:
        """Whether checkCode is not worth another question in this run."""
        return self._silences >= _SILENCES
