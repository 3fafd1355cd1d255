"""A gate: the place where a test stops one request and later lets it go on."""

from __future__ import annotations

import threading


class Gate:
    """Holds requests until it is released; one gate serves any number of requests."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reached = False
        self._released = False
        self._passed = False

    def release(self) -> None:
        """Open the gate, for those who wait and for all who come later."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_reached(self, timeout_s: float = 10.0) -> None:
        """Return as soon as a request waits at the gate.

        Raises TimeoutError after `timeout_s` real seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._reached, timeout_s):
                raise TimeoutError(f"no request reached the gate within {timeout_s} s")

    def wait_passed(self, timeout_s: float = 10.0) -> None:
        """Return when a released request has done what it was kept from doing.

        That is: the credential is issued (held before the issue, or `Fault.late`), or the answer has
        left or could not leave (held after the issue). Raises TimeoutError after `timeout_s`
        real seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._passed, timeout_s):
                raise TimeoutError(f"no request passed the gate within {timeout_s} s")

    def block(self, stopping: threading.Event) -> bool:
        """For the server: wait here; True when released, False when the server stops."""
        with self._changed:
            self._reached = True
            self._changed.notify_all()
            # No time limit: what sets `stopping` calls `wake`.
            self._changed.wait_for(lambda: self._released or stopping.is_set())
            return self._released

    def wake(self) -> None:
        """For the server: let those who wait look at `stopping` again."""
        with self._changed:
            self._changed.notify_all()

    def mark_passed(self) -> None:
        """For the server: the released request is through."""
        with self._changed:
            self._passed = True
            self._changed.notify_all()
