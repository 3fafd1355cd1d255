"""What may come from Redis's port, as bytes on a real connection: Redis's protocol, and whatever else answers there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from token_refresher.domain.addresses import RedisUrl
from token_refresher.domain.policy import Policy
from token_refresher.store.connection import create_client
from token_refresher.store.errors import client_errors, translated

from .properties import SECRET, attempt, hold, planted, tell_nothing
from .serving import Mouth

_WAIT_S = 10.0
_LAST_WORD = "the-end-of-the-command"
Connect = Callable[[RedisUrl, Policy], Any]


@contextmanager
def protocol(connect: Connect = create_client) -> Iterator[Callable[[bytes], None]]:
    """The target: each input is what comes back for one command: a reply, or an error that the store translates."""
    ending = _LAST_WORD.encode() + b"\r\n"
    with Mouth(lambda request: request.endswith(ending)) as mouth:
        url = mouth.url.replace("http", "redis", 1)

        def reply(data: bytes) -> None:
            mouth.answer, before = planted(data), mouth.requests
            client = connect(RedisUrl.parse(url), Policy(redis_timeout_s=_WAIT_S))
            try:
                found = attempt(lambda: _ask(client), client_errors(), ())
            finally:
                client.close()
            hold(mouth.requests - before == 1, "a command was sent twice")
            if isinstance(found, Exception):
                tell_nothing(str(translated(found)), (SECRET,), "a translated error shows what Redis said")

        yield reply


def _ask(client: Any) -> Any:
    with client.pipeline(transaction=False) as pipe:
        pipe.execute_command("EVAL", "return 1", 1, _LAST_WORD)
        return pipe.execute()
