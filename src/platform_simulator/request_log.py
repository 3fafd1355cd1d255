"""The record of every request, and waiting for one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

_SECRET_FIELDS = frozenset({"secret", "code", "access_token"})

WAITING = "waiting"
STOPPED = "stopped"


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it arrived and what became of it.

    `at` is the simulator's clock at arrival (unix seconds); `form` shows secrets and credentials as
    fingerprints; `peer` is "ip:port". `status` is what the platform decided, None if it was
    kept from deciding. `outcome` is the name of the fault that met the request, else the status
    ("2000", "4102", "http 405"), or "waiting" / "stopped". `executed`: a credential was issued for it.
    """

    at: float
    path: str
    app_id: str
    form: Mapping[str, str]
    grant_type: str | None
    kind: str | None
    peer: str
    outcome: str
    status: int | None
    executed: bool


def fingerprint(value: str) -> str:
    """The first 8 hex digits of the value's SHA-256."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def redacted(form: Mapping[str, str]) -> dict[str, str]:
    """The form with every secret and credential replaced by its fingerprint."""
    # A name with stray blanks around it must not let its secret through.
    return {name: fingerprint(value) if name.strip() in _SECRET_FIELDS else value for name, value in form.items()}


class RequestLog:
    """All requests in the order of arrival. Every method is atomic."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._records: list[RecordedRequest] = []
        # Positions of requests that still run towards their outcome or the gate that holds them:
        # who waits for a request wants to find its effects, so these do not count yet.
        self._running: set[int] = set()

    def arrived(self, record: RecordedRequest) -> int:
        """Keep a new request; the position returned names it in later calls."""
        with self._changed:
            self._records.append(record)
            position = len(self._records) - 1
            self._running.add(position)
            return position

    def parked(self, position: int) -> None:
        """The request is held up, not yet carried out."""
        with self._changed:
            self._running.discard(position)
            self._changed.notify_all()

    def decided(self, position: int, outcome: str, status: int | None, executed: bool) -> None:
        """The request has its outcome; called before any of the answer leaves."""
        with self._changed:
            self._running.discard(position)
            self._records[position] = replace(
                self._records[position], outcome=outcome, status=status, executed=executed
            )
            self._changed.notify_all()

    def records(self) -> list[RecordedRequest]:
        """A copy of all records."""
        with self._changed:
            return list(self._records)

    def count(self, path: str | None, app_id: str | None) -> int:
        """How many requests arrived, of a path and of an application if given."""
        with self._changed:
            return sum(_matches(record, path, app_id) for record in self._records)

    def wait_for(self, path: str | None, n: int, app_id: str | None, timeout_s: float) -> None:
        """Return once `n` requests have taken effect or are held up; else TimeoutError."""

        def enough() -> bool:
            return n <= sum(
                _matches(record, path, app_id) and position not in self._running
                for position, record in enumerate(self._records)
            )

        with self._changed:
            if not self._changed.wait_for(enough, timeout_s):
                raise TimeoutError(f"fewer than {n} requests of {path} within {timeout_s} s")


def _matches(record: RecordedRequest, path: str | None, app_id: str | None) -> bool:
    return path in (None, record.path) and app_id in (None, record.app_id)
