"""What a platform answers to a run, as values. Imported only when something is due: not by a run that only reads."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Issued:
    """A new credential.

    `lifetime_s` is a duration in seconds, counted from `sent_at` (instant of the client's clock, just before
    the request left). `server_time` is the platform's clock when it answered (unix seconds; None: not said).
    """

    code: str = field(repr=False)
    lifetime_s: int
    sent_at: float
    server_time: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """Whether the platform accepts a credential, and until when (`expires_at`: unix seconds of its clock)."""

    valid: bool
    expires_at: int | None
    server_time: float | None
