"""The function as a whole: any event, a real Redis, the platform over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import index
from support.planted import planted as secret_forms
from support.world import World
from token_refresher import bootstrap as wiring
from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import CommandError, RefreshFailedError
from token_refresher.function import handler as function_handler
from token_refresher.settings.loader import read

from .hearing import listening
from .properties import attempt, hold, planted, tell_nothing

# Codes of this age (s) are due, so whatever runs by mistake fetches; and they outlive the next minutes.
_LATE_S = 5600
_SETTLED_S = 600.0

Handler = Callable[[bytes, Any], dict[str, Any]]


class Function:
    """A warm instance, two applications whose credentials are all due, and what Redis holds of them."""

    def __init__(self, world: World, handler: Handler) -> None:
        self._world, self._handler = world, handler
        self._client = world.redis.client()
        function_handler._warm.clear()
        settings = read(world.settings_env(2))
        program = wiring.refresher(settings, clock=world.steady, pause=world.advance)
        function_handler._warm.append((settings, program))
        self._grow_late()

    def _grow_late(self) -> None:
        index.handler(b"", None)
        self._world.advance(_LATE_S)
        self._settled_until = steady_clock() + _SETTLED_S
        self._before = self._state()

    def _state(self) -> tuple[int, Any]:
        """How often the platform was asked, and everything in Redis."""
        keys = sorted(self._client.keys())
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.dump(key)
            return self._world.simulator.count(), dict(zip(keys, pipe.execute(), strict=True))

    def __call__(self, data: bytes) -> None:
        """An event: a report without secrets, or CommandError with nothing asked of anybody and nothing changed."""
        if steady_clock() > self._settled_until:
            self._grow_late()
        secrets = self.secrets()
        told = attempt(lambda: self._handler(planted(data), None), (CommandError, RefreshFailedError), secrets)
        if isinstance(told, CommandError):
            hold(self._state() == self._before, "a bad event fetched or stored something")
            return
        if isinstance(told, dict):
            tell_nothing(json.dumps(told), secrets, "a report shows a secret or a code")
        if self._state() != self._before:
            self._grow_late()

    def secrets(self) -> set[str]:
        return set(secret_forms()) | self._world.simulator.credentials()


@contextmanager
def function(handler: Handler = index.handler) -> Iterator[Callable[[bytes], None]]:
    """The target: each input is an event of one warm instance."""
    with World() as world, listening() as clean:
        instance = Function(world, handler)

        def event(data: bytes) -> None:
            instance(data)
            clean(instance.secrets())

        try:
            yield event
        finally:
            function_handler._warm.clear()
            world.redis.flush()
