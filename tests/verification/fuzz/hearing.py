"""What the program and its libraries say to the log while an input is tried."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .properties import tell_nothing

# Those that meet an input; the simulator's own log is not the program's.
_LOGGERS = ("token_refresher", "urllib3", "requests", "redis", "asyncio")


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@contextmanager
def listening() -> Iterator[Callable[[Iterable[str]], None]]:
    """Hands over a function that raises BrokenError when the log since its last call shows one of the secrets."""
    heard = _Heard()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]

    def clean(secrets: Iterable[str]) -> None:
        said, heard.texts = "\n".join(heard.texts), []
        tell_nothing(said, secrets, "the log shows a secret or a code")

    for logger in loggers:
        logger.addHandler(heard)
        # To this ear alone: thousands of inputs a second would fill any other log.
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    try:
        yield clean
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(heard)
            logger.setLevel(level)
            logger.propagate = propagate
