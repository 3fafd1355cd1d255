"""Store and platform, wrapped from outside: how long they take is measured, and a stopping daemon sends nothing new."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from token_refresher.domain.clock import steady_clock
from token_refresher.domain.errors import NotSentError, StoreError
from token_refresher.domain.model import Acquired, App, Kind, Record, Snapshot, Target

if TYPE_CHECKING:
    from types import TracebackType

    from token_refresher.domain.platform_answer import Checked, Issued
    from token_refresher.refresh.ports import Platform, Store
    from token_refresher.refresh.run import Refresher
    from token_refresher.web.metrics import Metrics

# Takes what was called and how long that lasted (duration, seconds), whatever came of it.
Observe = Callable[[str, float], None]


class UnderWay:
    """The targets whose lease this process holds: a fetch may be out for them. Any thread may ask."""

    def __init__(self) -> None:
        self._lock, self._targets = threading.Lock(), set[Target]()

    def begin(self, target: Target) -> None:
        with self._lock:
            self._targets.add(target)

    def end(self, target: Target) -> None:
        with self._lock:
            self._targets.discard(target)

    def any(self) -> bool:
        with self._lock:
            return bool(self._targets)


def instrumented(
    refresher: Refresher,
    metrics: Metrics | None,
    loaded: Callable[[], None],
    stopping: Callable[[], bool],
    under_way: UnderWay | None = None,
) -> Refresher:
    """The same program, measured where there are `metrics`.

    `loaded` is called after each reading of Redis that succeeded. Once `stopping` is true, no request to the platform
    is sent any more. `under_way` is told of each lease.
    """

    def platform() -> Platform:
        plain = refresher.platform()
        return StoppablePlatform(InstrumentedPlatform(plain, metrics.request_took) if metrics else plain, stopping)

    store = InstrumentedStore(
        refresher.store, metrics.redis_took if metrics else _ignore, loaded, under_way or UnderWay()
    )
    return replace(refresher, store=store, platform=platform)


def _ignore(what: str, seconds: float) -> None:
    pass


@contextlib.contextmanager
def _timed(observe: Observe, what: str) -> Iterator[None]:
    began = steady_clock()
    try:
        yield
    finally:
        observe(what, steady_clock() - began)


class InstrumentedStore:
    """A store whose commands (`load`, `acquire`, `finish`, `note`, `look`) are measured, and which calls `loaded`.

    `under_way` is told of each lease that is taken, and of its end.
    """

    def __init__(self, store: Store, observe: Observe, loaded: Callable[[], None], under_way: UnderWay) -> None:
        self._store, self._observe, self._loaded, self._under_way = store, observe, loaded, under_way

    def load(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        with _timed(self._observe, "load"):
            found = self._store.load(targets)
        self._loaded()
        return found

    def read(self, target: Target) -> Snapshot:
        with _timed(self._observe, "load"):
            found = self._store.read(target)
        self._loaded()
        return found

    def look(self, targets: Sequence[Target]) -> list[Snapshot | StoreError]:
        with _timed(self._observe, "look"):
            return self._store.look(targets)

    def acquire(self, snapshot: Snapshot, attempt: str, caller: str) -> Acquired:
        with _timed(self._observe, "acquire"):
            acquired = self._store.acquire(snapshot, attempt, caller)
        if acquired.held:
            self._under_way.begin(snapshot.target)
        return acquired

    def finish(self, held: Snapshot, *arguments: Any, **options: Any) -> str:
        try:
            with _timed(self._observe, "finish"):
                return self._store.finish(held, *arguments, **options)
        finally:
            self._under_way.end(held.target)

    def as_stored(self, held: Snapshot, record: Record, life_s: int, note: str, ended: str) -> Snapshot:
        return self._store.as_stored(held, record, life_s, note, ended)

    def see(self, snapshot: Snapshot, caller: str) -> Snapshot | None:
        with _timed(self._observe, "note"):
            return self._store.see(snapshot, caller)

    def note(self, *arguments: Any, **options: Any) -> Snapshot | None:
        with _timed(self._observe, "note"):
            return self._store.note(*arguments, **options)

    def rest(self) -> None:
        self._store.rest()


class _WrappedPlatform:
    """A platform that forwards every call within `_around`, which a subclass defines."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def _around(self, request: str) -> contextlib.AbstractContextManager[None]:
        raise NotImplementedError

    def __enter__(self) -> Platform:
        self._platform.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._platform.__exit__(kind, error, trace)

    def dial(self, app: App, kind: Kind, until: float) -> None:
        self._platform.dial(app, kind, until)

    def fetch_access_token(self, app: App, until: float) -> Issued:
        with self._around(Kind.ACCESS_TOKEN.value):
            return self._platform.fetch_access_token(app, until)

    def fetch_js_ticket(self, app: App, access_token: str, until: float) -> Issued:
        with self._around(Kind.JS_TICKET.value):
            return self._platform.fetch_js_ticket(app, access_token, until)

    def check_code(self, app: App, kind: Kind, code: str, until: float) -> Checked:
        with self._around("check_code"):
            return self._platform.check_code(app, kind, code, until)


class InstrumentedPlatform(_WrappedPlatform):
    """A platform whose requests are measured; not the connection that is made before one."""

    def __init__(self, platform: Platform, observe: Observe) -> None:
        super().__init__(platform)
        self._observe = observe

    def _around(self, request: str) -> contextlib.AbstractContextManager[None]:
        return _timed(self._observe, request)


class StoppablePlatform(_WrappedPlatform):
    """A platform that begins nothing once `stopping` is true: every call raises NotSentError then.

    What is on its way still arrives and is stored; what was not begun is left, released, to the next run.
    """

    def __init__(self, platform: Platform, stopping: Callable[[], bool]) -> None:
        super().__init__(platform)
        self._stopping = stopping

    def dial(self, app: App, kind: Kind, until: float) -> None:
        self._refuse_if_stopping()
        super().dial(app, kind, until)

    def _around(self, request: str) -> contextlib.AbstractContextManager[None]:
        self._refuse_if_stopping()
        return contextlib.nullcontext()

    def _refuse_if_stopping(self) -> None:
        if self._stopping():
            raise NotSentError("the program is being stopped", code="not_sent_late")
