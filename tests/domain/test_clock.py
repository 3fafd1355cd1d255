"""The clock that deadlines and ages are measured with."""

from __future__ import annotations

import time
from importlib import util
from types import ModuleType

import pytest

from token_refresher.domain import clock


def _loaded_again() -> ModuleType:
    """A second copy of the module: which clock it takes is decided when it is loaded."""
    spec = util.find_spec(clock.__name__)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.steady_clock() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_system_without_that_clock_gets_the_next_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert _loaded_again().steady_clock is time.monotonic
