"""A pytest plugin: which tests run which lines, and only those that are wanted, the quick ones first."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# A path: which lines each test ran, and how long it took, are written there.
TRACE = "MUTATION_TRACE"
# A path: a list of names of tests. Those are run, in that order.
WANTED = "MUTATION_WANTED"
# A path: the name of the test that fails is written there.
FOUND = "MUTATION_FOUND"


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """That a mutant is found is all there is to know: no smaller example is looked for, and none is kept."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutation", settings(settings.default, phases=phases, derandomize=True, database=None))
    settings.load_profile("mutation")


def pytest_collection(session: pytest.Session) -> None:
    if os.environ.get(TRACE):
        session.config.pluginmanager.register(_Tracer(Path(os.environ[TRACE])))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = chosen(items)


def chosen(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those of the tests that are wanted, in that order."""
    if not os.environ.get(WANTED):
        return items
    order = {name: number for number, name in enumerate(json.loads(Path(os.environ[WANTED]).read_text()))}
    return sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and os.environ.get(FOUND):
        Path(os.environ[FOUND]).write_text(report.nodeid)


class _Tracer:
    """Coverage by test. What runs at import belongs to no test, and so to all of them."""

    def __init__(self, path: Path) -> None:
        import coverage

        self._path = path
        self._seconds: dict[str, float] = {}
        self._coverage = coverage.Coverage(data_file=None, config_file=False, source=["src/token_refresher"])
        self._coverage.start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        began = time.monotonic()
        yield
        self._seconds[item.nodeid] = time.monotonic() - began
        self._coverage.switch_context("")

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        lines = {
            Path(file).name: {
                line: [each for each in tests if each] for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        self._path.write_text(json.dumps({"seconds": self._seconds, "lines": lines}))
