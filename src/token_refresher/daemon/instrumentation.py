"""The store and the platform with a stopwatch, wrapped around from outside: the program itself knows nothing of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from token_refresher.domain.errors import NotSentError, StoreError
from token_refresher.domain.model import Acquired, App, Kind, Snapshot, Target
from token_refresher.domain.platform_answer import Checked, Issued
from token_refresher.platforms.http.call import steady
from token_refresher.platforms.yuanzhibang.client import OpenPlatform
from token_refresher.store.redis_store import Store

if TYPE_CHECKING:
    from token_refresher.refresh import ports
    from token_refresher.refresh.run import Refresher

Took = Callable[[str, float], None]


class Watcher(Protocol):
    """Told of each call: what was called, and how long it took (duration, seconds), whatever came of it."""

    def redis_took(self, command: str, seconds: float) -> None: ...

    def request_took(self, request: str, seconds: float) -> None: ...


def timed(
    refresher: Refresher, watcher: Watcher | None, loaded: Callable[[], None], stopping: Callable[[], bool]
) -> Refresher:
    """The same program, watched: `watcher` is told of durations, `loaded` of each reading of Redis that succeeded.

    Once `stopping` says so, no request to the platform is sent any more.
    """

    def platform() -> OpenPlatform:
        return TimedPlatform(refresher.platform(), watcher.request_took if watcher else _nobody, stopping)

    store = TimedStore(refresher.store, watcher.redis_took if watcher else _nobody, loaded)
    return replace(refresher, store=store, platform=platform)


def _nobody(what: str, seconds: float) -> None:
    pass


@contextlib.contextmanager
def _timed(took: Took, what: str) -> Iterator[None]:
    began = steady()
    try:
        yield
    finally:
        took(what, steady() - began)


class TimedStore(Store):
    """A store that tells `took` how long `load`, `acquire`, `finish` and `note` last, and `loaded` of each success."""

    def __init__(self, store: ports.Store, took: Took, loaded: Callable[[], None]) -> None:
        # The same store, seen through this class: what is added to Store some day goes on working, untimed.
        vars(self).update(vars(store))
        self._took, self._loaded = took, loaded

    def load(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        with _timed(self._took, "load"):
            found = super().load(targets)
        self._loaded()
        return found

    def acquire(self, snapshot: Snapshot, attempt: str, caller: str) -> Acquired:
        with _timed(self._took, "acquire"):
            return super().acquire(snapshot, attempt, caller)

    def finish(self, *arguments: Any, **options: Any) -> str:
        with _timed(self._took, "finish"):
            return super().finish(*arguments, **options)

    def note(self, *arguments: Any, **options: Any) -> Snapshot | None:
        with _timed(self._took, "note"):
            return super().note(*arguments, **options)

    def see(self, snapshot: Snapshot, caller: str) -> Snapshot | None:
        with _timed(self._took, "note"):
            return super().see(snapshot, caller)


class TimedPlatform(OpenPlatform):
    """A platform that tells `took` how long each request lasts, and sends none once `stopping` says so.

    What is on its way then still arrives and is stored; what was not begun is left, released, to the next run.
    """

    def __init__(self, platform: ports.Platform, took: Took, stopping: Callable[[], bool]) -> None:
        vars(self).update(vars(platform))
        self._took, self._stopping = took, stopping

    def dial(self, app: App, kind: Kind, until: float) -> None:
        if self._stopping():
            raise NotSentError("the program is being stopped", code="not_sent_late")
        super().dial(app, kind, until)

    def server_token(self, app: App, until: float) -> Issued:
        with self._request(Kind.ACCESS_TOKEN.value):
            return super().server_token(app, until)

    def js_ticket(self, app: App, access_token: str, until: float) -> Issued:
        with self._request(Kind.JS_TICKET.value):
            return super().js_ticket(app, access_token, until)

    def check_code(self, app: App, kind: Kind, code: str, until: float) -> Checked:
        with self._request("check_code"):
            return super().check_code(app, kind, code, until)

    @contextlib.contextmanager
    def _request(self, what: str) -> Iterator[None]:
        if self._stopping():
            raise NotSentError("the program is being stopped", code="not_sent_late")
        with _timed(self._took, what):
            yield
