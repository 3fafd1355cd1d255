"""How many requests the platform takes in a stretch of time."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal, get_args

from platform_simulator.server import HttpResponse

RetryAfter = Literal["seconds", "date", "nothing"]
_SAYS: tuple[str, ...] = get_args(RetryAfter)


@dataclass
class _Limit:
    n: int
    window_s: float
    says: str
    taken_at: deque[float] = field(default_factory=deque)

    def wait_s(self, now: float) -> int | None:
        """How long the next request has to wait, None when it is taken now."""
        while self.taken_at and self.taken_at[0] <= now - self.window_s:
            self.taken_at.popleft()
        if len(self.taken_at) < self.n:
            return None
        since = self.taken_at[0] if self.taken_at else now
        return math.ceil(since + self.window_s - now)


class Limits:
    """Limits by application and path, None for all of them together. Every method is atomic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[tuple[str | None, str | None], _Limit] = {}

    def set(self, app_id: str | None, path: str | None, n: int | None, window_s: float, says: RetryAfter) -> None:
        """Take `n` requests within any `window_s` seconds; None: any number. May raise ValueError."""
        if says not in _SAYS:
            raise ValueError(f"retry_after is {says!r}, not one of {', '.join(_SAYS)}")
        if n is not None and (n < 0 or window_s <= 0):
            raise ValueError(f"{n} requests in {window_s} s are not a limit")
        with self._lock:
            if n is None:
                self._limits.pop((app_id, path), None)
            else:
                self._limits[app_id, path] = _Limit(n, window_s, says)

    def refuses(self, app_id: str, path: str, now: float, date_offset_s: float) -> HttpResponse | None:
        """Count a request that arrives `now` (unix seconds); the refusal when it is one too many.

        A refused request does not count. `date_offset_s`: how far the platform's dates are ahead of `now`.
        """
        with self._lock:
            limits = [
                limit
                for (whose, where), limit in self._limits.items()
                if whose in (None, app_id) and where in (None, path)
            ]
            waits = [(limit.wait_s(now), limit.says) for limit in limits]
            if all(wait_s is None for wait_s, _ in waits):
                for limit in limits:
                    limit.taken_at.append(now)
                return None
        wait_s, says = max((wait_s, says) for wait_s, says in waits if wait_s is not None)
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        if says == "seconds":
            headers.append(("Retry-After", str(wait_s)))
        elif says == "date":
            # Rounded up: a date has whole seconds.
            date = formatdate(math.ceil(now + date_offset_s + wait_s), usegmt=True)
            headers.append(("Retry-After", date))
        return HttpResponse(429, tuple(headers), b"Too Many Requests\n")
