"""What a run asks of the outside, as two protocols: `Store` and `Platform`. The edges implement them.

Read by type checkers and people: no run imports this.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from token_refresher.domain.errors import StoreError
from token_refresher.domain.model import Acquired, App, Kind, Record, Snapshot, Target, Word
from token_refresher.domain.platform_answer import Checked, Issued


class Store(Protocol):
    """Values and leases. Every method raises StoreError when the store does not do what is asked.

    `caller` names this copy of the program for the application. Several threads may call at once.
    """

    def load(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        """Every target as it is now, in this order; an error takes the place of what could not be read.

        Raises StoreError when nothing at all could be read.
        """

    def read(self, target: Target) -> Snapshot:
        """One target as it is now."""

    def look(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        """The same as `load`, at the end of a run, for what it has stored."""

    def acquire(self, snapshot: Snapshot, attempt: str, caller: str) -> Acquired:
        """Take the target's lease for `attempt` (unique text), as long as value and mark are those of `snapshot`.

        Cuts the value's TTL to the grace: the fetch to come may end its credential. Not held when another attempt is
        locked or the target has changed.
        """

    def finish(
        self,
        held: Snapshot,
        caller: str,
        outcome: str,
        note: str,
        *,
        record: Record | None = None,
        sent_ms: int = 0,
        life_s: int = 0,
        wait_s: float | None = None,
        code: str = "",
        pauses: Sequence[float] = (0.0,),
    ) -> str:
        """End the attempt of a lease that was acquired.

        Returns "done", "lost" (another attempt has the lease) or "orphan" (stored, but a newer credential may exist).
        `outcome` is "issued", "refused" or "unknown". `record` is what was issued, `sent_ms` the instant before its
        request was sent (unix milliseconds, the store's clock), `life_s` the duration that the platform gave it (s).
        `wait_s` (duration, s) is how long this caller waits before its next attempt, None to forget that it failed.
        `code` is the error code, `note` the same for people. `pauses` are durations (s) between repeats.
        """

    def as_stored(self, held: Snapshot, record: Record, life_s: int, note: str, ended: str) -> Snapshot:
        """The target after `finish` stored `record` and returned `ended`, as far as this run knows. Asks nothing."""

    def see(self, snapshot: Snapshot, caller: str) -> Snapshot | None:
        """Give the stored value the TTL that it must have, whatever the platform says; returns what `note` does."""

    def note(
        self,
        snapshot: Snapshot,
        word: Word,
        caller: str,
        *,
        ends_at: int | None = None,
        superseded: bool = False,
        code: str = "",
    ) -> Snapshot | None:
        """Enter what checkCode said of the credential of `snapshot`, read before the question.

        `ends_at` (instant, unix seconds, the store's clock) is when the credential ends, None: as recorded.
        `superseded` enters a refresh elsewhere, `code` the error code of a question without a useful answer. Returns
        the target as it is now, None when another value is stored by now.
        """

    def rest(self) -> None:
        """The run is over: keep at most one idle connection."""


class Platform(Protocol):
    """One run's connections to a platform, closed when the context is left. Several threads may call at once.

    `until` is an instant of the run's steady clock (s): no request is sent at or after it, and the call ends by then.
    Every method raises RefusedError (a definite no), NotSentError (no request left this machine) or
    UnknownOutcomeError (no definite answer).
    """

    def __enter__(self) -> Platform: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def dial(self, app: App, kind: Kind, until: float) -> None:
        """Have a connection ready for this thread's next fetch, without sending any of its request.

        Raises NotSentError alone.
        """

    def fetch_access_token(self, app: App, until: float) -> Issued:
        """Fetch a new access_token."""

    def fetch_js_ticket(self, app: App, access_token: str, until: float) -> Issued:
        """Fetch a new js_ticket with a live access_token. RefusedError token_invalid: it is dead."""

    def check_code(self, app: App, kind: Kind, code: str, until: float) -> Checked:
        """Ask whether the platform accepts a credential; to ask changes nothing there.

        RefusedError app_denied: the no is about the application or the credential.
        """
