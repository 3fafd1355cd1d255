"""Store and platform with the daemon's wrappers around them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from token_refresher.daemon.instrumentation import (
    InstrumentedPlatform,
    InstrumentedStore,
    StoppablePlatform,
    UnderWay,
)
from token_refresher.domain.errors import NotSentError, StoreError
from token_refresher.domain.model import Acquired, App, Kind, Secret, Snapshot, Target
from token_refresher.refresh import ports

APP = App("app0000", Secret("the secret"))
TARGET = Target("app0000", Kind.ACCESS_TOKEN)
SNAPSHOT = Snapshot(TARGET, 0, None)
# A call of each method, and the name under which it is measured; None: it is not.
STORE_CALLS: dict[str, tuple[tuple[Any, ...], str | None]] = {
    "load": (([TARGET],), "load"),
    "read": ((TARGET,), "load"),
    "look": (([TARGET],), "look"),
    "acquire": ((SNAPSHOT, "an attempt", "a caller"), "acquire"),
    "finish": ((SNAPSHOT, "a caller", "issued", "issued"), "finish"),
    "as_stored": ((SNAPSHOT, "a record", 7200, "issued", "done"), None),
    "see": (("a snapshot", "a caller"), "note"),
    "note": (("a snapshot", "alive", "a caller"), "note"),
    "rest": ((), None),
}
PLATFORM_CALLS: dict[str, tuple[tuple[Any, ...], str | None]] = {
    "dial": ((APP, Kind.JS_TICKET, 5.0), None),
    "fetch_access_token": ((APP, 5.0), "access_token"),
    "fetch_js_ticket": ((APP, "a token", 5.0), "js_ticket"),
    "check_code": ((APP, Kind.JS_TICKET, "a credential", 5.0), "check_code"),
    "__enter__": ((), None),
    "__exit__": ((None, None, None), None),
}


class Recorder:
    """Takes any call and notes it; answers with `answer`, or raises it."""

    def __init__(self, answer: object = "the answer") -> None:
        self.answer, self.calls = answer, list[tuple[str, tuple[Any, ...]]]()

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._called(name, *arguments)

    def __enter__(self) -> Any:
        return self._called("__enter__")

    def __exit__(self, *about: Any) -> None:
        self._called("__exit__", *about)

    def _called(self, name: str, *arguments: Any) -> Any:
        self.calls.append((name, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Observed(list[str]):
    def __call__(self, what: str, seconds: float) -> None:
        assert seconds >= 0
        self.append(what)


def _methods(port: type) -> set[str]:
    return {name for name in vars(port) if not name.startswith("_")} | ({"__enter__", "__exit__"} & vars(port).keys())


def test_every_method_of_the_ports_is_tried_here() -> None:
    assert STORE_CALLS.keys() == _methods(ports.Store)
    assert PLATFORM_CALLS.keys() == _methods(ports.Platform)


@pytest.mark.parametrize("name", STORE_CALLS)
def test_a_store_is_asked_and_measured(name: str) -> None:
    arguments, measured = STORE_CALLS[name]
    gives = Acquired(False, SNAPSHOT) if name == "acquire" else "the answer"
    plain, observed, loaded = Recorder(gives), Observed(), list[int]()
    store = InstrumentedStore(plain, observed, lambda: loaded.append(1), UnderWay())
    answer = getattr(store, name)(*arguments)
    assert answer == (None if name == "rest" else gives)
    assert plain.calls == [(name, arguments)]
    assert observed == ([measured] if measured else [])
    assert len(loaded) == (measured == "load")


def test_a_store_that_fails_is_measured_and_nothing_was_loaded() -> None:
    observed, loaded = Observed(), list[int]()
    store = InstrumentedStore(Recorder(StoreError("gone")), observed, lambda: loaded.append(1), UnderWay())
    for name in ("load", "read"):
        with pytest.raises(StoreError):
            getattr(store, name)(*STORE_CALLS[name][0])
    assert observed == ["load", "load"]
    assert loaded == []


@pytest.mark.parametrize("ending", ["done", StoreError("gone")])
def test_a_code_is_under_way_from_its_lease_to_the_lease_s_end(ending: str | StoreError) -> None:
    plain, under_way = Recorder(Acquired(True, SNAPSHOT)), UnderWay()
    store = InstrumentedStore(plain, Observed(), lambda: None, under_way)
    assert not under_way.any()
    store.acquire(SNAPSHOT, "an attempt", "a caller")
    assert under_way.any()
    plain.answer = ending
    with contextlib.suppress(StoreError):
        store.finish(SNAPSHOT, "a caller", "issued", "issued")
    assert not under_way.any()
    plain.answer = Acquired(False, SNAPSHOT)
    store.acquire(SNAPSHOT, "an attempt", "a caller")
    assert not under_way.any(), "another run has the lease"


@pytest.mark.parametrize("name", PLATFORM_CALLS)
def test_a_platform_is_asked_and_measured(name: str) -> None:
    arguments, measured = PLATFORM_CALLS[name]
    plain, observed = Recorder(), Observed()
    wrapped = StoppablePlatform(InstrumentedPlatform(plain, observed), lambda: False)
    answer = getattr(wrapped, name)(*arguments)
    assert plain.calls == [(name, arguments)]
    assert observed == ([measured] if measured else [])
    if name == "__enter__":
        assert answer is wrapped, "what the run gets in hand is the outermost"
    elif measured:
        assert answer == "the answer"


@pytest.mark.parametrize("name", [name for name in PLATFORM_CALLS if not name.startswith("__")])
def test_once_it_stops_nothing_reaches_the_platform(name: str) -> None:
    plain, observed = Recorder(), Observed()
    wrapped = StoppablePlatform(InstrumentedPlatform(plain, observed), lambda: True)
    with pytest.raises(NotSentError) as raised:
        getattr(wrapped, name)(*PLATFORM_CALLS[name][0])
    assert raised.value.code == "not_sent_late"
    assert (plain.calls, observed) == ([], [])


def test_a_stopping_platform_is_still_closed() -> None:
    plain = Recorder()
    with StoppablePlatform(plain, lambda: True):
        pass
    assert [name for name, _ in plain.calls] == ["__enter__", "__exit__"]
