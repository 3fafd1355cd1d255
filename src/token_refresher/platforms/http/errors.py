"""What an exception of the network says about a request, in words that hold no secret."""

from __future__ import annotations

import re

# What OpenSSL makes of an answer in plain text; some releases say so by a record that is too long.
_NO_TLS = (
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "WRONG_VERSION_NUMBER",
)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def error_code(error: Exception) -> str:
    """Which kind of unknown it is when a request that was sent ends with this exception."""
    from http.client import HTTPException, IncompleteRead

    causes = _causes(error)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return "no_answer"
    if any(isinstance(cause, (ConnectionError, IncompleteRead)) for cause in causes):
        return "cut_answer"
    if any(isinstance(cause, HTTPException) for cause in causes):
        return "bad_answer"
    # Only the innermost counts: the exceptions of requests are all OSErrors, whatever happened.
    return "cut_answer" if isinstance(causes[-1], OSError) else "bad_answer"


def describe(error: Exception) -> str:
    """What went wrong, in words of this machine only: those of a peer or a request may hold secrets."""
    causes = _causes(error)
    for cause in causes:
        if getattr(cause, "reason", None) in _NO_TLS:
            return "what answers there does not speak TLS"
        if found := re.search(r"Tunnel connection failed: (\d{3})\b", str(cause)):
            return f"the proxy answered {found[1]}"
        reason = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
        if isinstance(reason, str) and type(cause).__module__ in ("builtins", "socket", "ssl"):
            return reason[:200]
        if isinstance(cause, TimeoutError):
            return "timed out"
    return type(causes[-1]).__name__
