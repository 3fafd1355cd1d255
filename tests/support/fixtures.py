"""The servers of `support` as fixtures. A pytest plugin."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from platform_simulator import Simulator

from .authorities import one_authority
from .guards import see
from .planted import plant
from .redis_server import RedisServer
from .world import World

# Longer values make no readable name of a test, and what is not the same each time makes no name at all: two
# workers must find the same tests.
_LONGEST_NAME = 60

_authority = tempfile.NamedTemporaryFile("w", suffix=".pem")  # noqa: SIM115 - gone with the process


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A short name for a long value; pytest adds a number."""
    return argname if isinstance(val, (bytes, str)) and len(repr(val)) > _LONGEST_NAME else None


def pytest_configure() -> None:
    """Time limits of Hypothesis off: how fast a busy machine is, is no test's business. And let children hear signals.

    A background job of a shell ignores SIGINT, one under nohup SIGHUP, and children inherit that. What has a handler
    here has none in a child. TLS takes its default authorities out of a file with one in it, here and in children.
    """
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")
    _authority.write(one_authority())
    _authority.flush()
    os.environ["SSL_CERT_FILE"] = _authority.name
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_sessionfinish() -> None:
    """Under coverage, save what was measured now: a worker that takes long to end is killed."""
    if coverage := sys.modules.get("coverage"):
        measuring = coverage.Coverage.current()
        if measuring is not None:
            measuring.save()


@pytest.fixture(scope="session")
def _lasting_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(_lasting_redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis without data, by the machine's clock. One that may be spoilt comes from `start_redis`."""
    if _lasting_redis.paused or not _lasting_redis.alive:
        _lasting_redis.restart(keep_data=False)
    _lasting_redis.flush()
    yield _lasting_redis
    # The guards look into it after every later test, too: what this one may leave is not theirs.
    if _lasting_redis.alive and not _lasting_redis.paused:
        _lasting_redis.flush()


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis of one's own, with the arguments of RedisServer; stopped after the test."""
    with ExitStack() as started:
        yield lambda *arguments, **kwargs: started.enter_context(RedisServer(*arguments, **kwargs))


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The platform by the machine's clock, with the application "app0000" and a planted secret."""
    with Simulator({"app0000": plant("secret-of-app0000")}) as simulator:
        yield simulator


@pytest.fixture
def start_world() -> Iterator[Callable[..., World]]:
    """Start a World of one's own, with the arguments of World; stopped after the test."""
    with ExitStack() as started:
        yield lambda *arguments, **kwargs: started.enter_context(World(*arguments, **kwargs))


@pytest.fixture
def world(start_world: Callable[..., World]) -> World:
    """A fresh Redis and the platform under one clock."""
    return start_world()


@pytest.fixture
def no_secrets() -> Callable[[object], None]:
    """Call it with a text (a returned report, a file's content): the guard looks through it, too."""
    return lambda text: see("a text that the test handed in", text)
