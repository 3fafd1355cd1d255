"""Logs: one line for each record, as JSON or as text, and no secret in any. Standard library only.

| member    | what it holds                                                                       |
|-----------|-------------------------------------------------------------------------------------|
| `time`    | instant, ISO 8601 in UTC with milliseconds                                          |
| `level`   | DEBUG, INFO, WARNING, ERROR or CRITICAL                                             |
| `logger`  | who says it                                                                         |
| `message` | a sentence                                                                          |
| `run_id`  | which run it belongs to; `extra={"run_id": ...}`                                    |
| `report`  | what the run did, as an object; `extra={"report": ...}` (JSON only)                 |
| `error`   | of an exception: its type, the place, and for our own tree the error code and what to do  |

Three things keep secrets out. Of loggers that are not ours only the template of a message is kept, because other
people's arguments may be addresses and headers. Of an exception that is not ours only type and place are kept. And
every configured secret is masked wherever it might be all the same.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from token_refresher.domain.errors import TokenRefresherError
from token_refresher.domain.model import Secret

FORMS = ("json", "text")
_OWN = "token_refresher"
_MASK = "****"
# A shorter secret is part of other words by accident, and masking it would only make lines unreadable.
_SHORTEST_MASKED = 6


def configure(level: str, form: str = "json", hidden: Iterable[Secret] = (), stream: TextIO | None = None) -> None:
    """Let everything that is logged go to `stream` (standard output unless given), and nowhere else.

    `level` is the lowest that our own loggers say; others say WARNING and above. `form` is one of FORMS. `hidden` are
    the secrets to be masked.
    """
    handler = _Handler(sys.stdout if stream is None else stream)
    handler.setFormatter(JsonLines(hidden) if form == "json" else TextLines(hidden))
    root = logging.getLogger()
    # In one step: another thread may be writing a line.
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OWN).setLevel(level)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg] # Python 3.10 cannot say of what
    """A line that cannot be written is given up: the standard handler would show its arguments instead."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class JsonLines(logging.Formatter):
    """A record as one line of JSON, in ASCII, so that no character of any value can break the line."""

    def __init__(self, hidden: Iterable[Secret] = ()) -> None:
        super().__init__()
        self._hidden = _forms(hidden)

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.content(record), default=_type_name)

    def content(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the line holds, masked."""
        found = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "run_id": getattr(record, "run_id", None),
            "report": getattr(record, "report", None),
            "error": _error(record),
        }
        return {name: self._masked(value) for name, value in found.items() if value is not None}

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            for form in self._hidden:
                value = value.replace(form, _MASK)
            return value
        if isinstance(value, Mapping):
            return {self._masked(name): self._masked(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._masked(each) for each in value]
        return value


class TextLines(JsonLines):
    """A record as one line for a person; without the report."""

    def format(self, record: logging.LogRecord) -> str:
        found = self.content(record)
        parts = [found["time"], f"{found['level']:<7}", found["message"]]
        if "error" in found:
            parts.append("".join(f"[{name}: {value}]" for name, value in found["error"].items()))
        if "run_id" in found:
            parts.append(f"(run {found['run_id']})")
        # What a stranger got into a message must not look like a line of ours.
        return "".join(each if each.isprintable() else repr(each)[1:-1] for each in " ".join(parts))


def _message(record: logging.LogRecord) -> str:
    own = record.name == _OWN or record.name.startswith(f"{_OWN}.")
    if not own:
        return record.msg if isinstance(record.msg, str) else _type_name(record.msg)
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a template and arguments that do not go together
        return str(record.msg)


def _error(record: logging.LogRecord) -> dict[str, str] | None:
    kind, error, trace = record.exc_info or (None, None, None)
    if kind is None:
        return None
    said = {"type": kind.__name__, "place": place(trace)}
    if isinstance(error, TokenRefresherError):
        said |= {"code": error.code, "what": error.what, "advice": error.advice}
    return said


def place(trace: TracebackType | None) -> str:
    """Where an exception was raised: file, line and function of the innermost frame; empty without a traceback."""
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}"


def _type_name(value: object) -> str:
    return f"({type(value).__name__})"


def _forms(hidden: Iterable[Secret]) -> tuple[str, ...]:
    """Every text that must not show, the longest first, so that no part of one is left beside its mask."""
    forms = {secret.reveal() for secret in hidden}
    return tuple(sorted((form for form in forms if len(form) >= _SHORTEST_MASKED), key=len, reverse=True))
