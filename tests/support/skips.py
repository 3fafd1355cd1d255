"""Which tests may be skipped, and for which reasons. A pytest plugin.

In CI (`CI=true`) a skip for any other reason is a failure: nobody reads a list of skips, and a test that is skipped
there never runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

import pytest

# Why a machine cannot run a test, and how the reason of a skip says so.
ACCEPTED = {
    "no network to a registry": r"registry cannot be reached|index cannot be reached|cannot be fetched here"
    r"|has not been fetched|npm (cannot|did not) |go (cannot|did not) ",
    "no root, or no namespaces": r"no namespaces here|no ip, or no nsenter|no container engine",
    "no browser": r"no chromium",
    "another language or tool is not on this machine": r"there is no (node|npm|php|java|javac|go|gcc|Python [0-9.]+) "
    r"|PHP has no extension redis|(promtool|systemd-analyze) is not installed",
    "a server that is not for this machine": r"does not run here|is there for Linux on x86-64 only",
    "a package that only the slow tests need": r"(selenium|gevent|compose-spec|kubernetes-validate|hadolint"
    r"|alibabacloud-fc20230330) is not installed",
}
_ACCEPTED = re.compile("|".join(ACCEPTED.values()))


def accepted(reason: str) -> bool:
    """Whether a test may be skipped for this reason."""
    return _ACCEPTED.search(reason) is not None


def _refuse(report: Any) -> None:
    """Make a failure of a skip that is not accepted."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if os.environ.get("CI") == "true" and report.outcome == "skipped" and not accepted(reason):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nThis reason to skip is not among those of tests/support/skips.py."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as a skip, too.
    if not hasattr(report, "wasxfail"):
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse(report)
    return report
