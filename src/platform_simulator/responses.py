"""What the platform says (status, message, data) and the styles it says it in."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any

OK = 2000
GENERAL_ERROR = 4000
INVALID_CODE = 4102
NO_PERMISSION = 4103
NOT_ADDED = 4104


class AnswerStyle(enum.Enum):
    """The documented ways to write one and the same answer."""

    STATUS_TEXT = "status-text"
    STATUS_NUMBER = "status-number"
    ALL_TEXT = "all-text"


@dataclass(frozen=True)
class Answer:
    """One answer before it is written down; `data` None is written as an empty array."""

    status: int
    message: str
    data: dict[str, Any] | list[str] | None = None


def whole(seconds: float) -> int:
    """Seconds as the platform writes them: a whole number, never more than is true."""
    return int(seconds // 1)


def render(answer: Answer, style: AnswerStyle) -> bytes:
    """The JSON text of an answer in a style."""
    status: int | str = answer.status
    if style is not AnswerStyle.STATUS_NUMBER:
        status = str(status)
    data: dict[str, Any] | list[Any] = [] if answer.data is None else answer.data
    if style is AnswerStyle.ALL_TEXT and isinstance(data, dict):
        data = {name: None if leaf is None else str(leaf) for name, leaf in data.items()}
    return json.dumps({"status": status, "message": answer.message, "data": data}).encode()
