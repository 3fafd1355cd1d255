"""What every test is held to, whether it thinks of it or not. A pytest plugin.

After each test:
- every key in every Redis that the test ran has a TTL (unless `@pytest.mark.keys_without_ttl(reason)`);
- no planted secret and no credential that any Simulator issued shows in output, logs, warnings, exceptions that a
  test expected, or anywhere in Redis; credentials may stand in the values of the two public keys, and only there;
- nothing tried to connect to another machine.
"""

from __future__ import annotations

import functools
import logging
import subprocess
import traceback
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

from platform_simulator import Simulator, fingerprint

from .key_inspection import inspect
from .loopback import forbid_outside
from .planted import may_show, planted
from .redis_server import RedisServer

# Shorter credentials, made up to be wrong, stand in other words by accident.
_SHORTEST_CODE = 8
# How many lines of a failed test's log are shown, the last ones. Libraries say much at the lowest level.
_LONGEST_SECTION = 60
# How much of a text around a secret a finding shows.
_AROUND = 60


class _Watch:
    """What one test has shown so far, and the simulators whose credentials must not be in it."""

    def __init__(self) -> None:
        self.simulators: weakref.WeakSet[Simulator] = weakref.WeakSet()
        # Held until the test's end: one that the test dropped has issued credentials all the same.
        self.of_this_test: list[Simulator] = []
        # Held for one test more: its warnings are looked at when it is over.
        self.of_last_test: list[Simulator] = []
        self.texts: list[tuple[str, str]] = []
        self.findings: list[str] = []
        self.reported: set[str] = set()
        self.ttl_wanted = True

    def see(self, where: str, text: object) -> None:
        """Look at a text (bytes too) when the test is over."""
        if isinstance(text, (bytes, bytearray)):
            text = bytes(text).decode("utf-8", "surrogateescape")
        if isinstance(text, str) and text:
            self.texts.append((where, text))

    def look_into(self, server: RedisServer) -> None:
        self.findings += inspect(server, self._search(), self.ttl_wanted)

    def forget_test(self) -> None:
        """The test is over, fixtures included."""
        self.of_last_test, self.of_this_test = self.of_this_test, []
        self.reported.clear()

    def take_findings(self, keep: bool = False) -> list[str]:
        """Everything wrong with this test that was not said before; `keep` leaves it in `findings`, too."""
        search, texts, findings = self._search(), self.texts, self.findings
        self.texts = []
        # At once, and one by one only where there is something: there are thousands of texts and hundreds of secrets.
        if texts and search("\n".join(text for _, text in texts), False):
            for where, text in texts:
                findings += [f"{what} shows in {where}" for what in search(text, False)]
        fresh = [finding for finding in dict.fromkeys(findings) if finding not in self.reported]
        self.reported.update(fresh)
        self.findings = fresh if keep else []
        return fresh

    def masked(self, text: str) -> str:
        """The text with names for secrets and credentials, so that what a failed test shows is no leak itself."""
        for form, name in (planted() | self._codes()).items():
            text = text.replace(form, f"<{name}>")
        return text

    def _codes(self) -> dict[str, str]:
        return {
            code: f"the credential {fingerprint(code)}"
            for simulator in list(self.simulators)
            for code in simulator.credentials()
            if len(code) >= _SHORTEST_CODE
        }

    def _search(self) -> Callable[[str, bool], list[str]]:
        codes: dict[str, str] | None = None

        def search(text: str, codes_allowed: bool) -> list[str]:
            nonlocal codes
            # Most tests show nothing that is to be looked through, and need no list.
            if codes is None and not codes_allowed:
                codes = self._codes()
            wanted = (planted() if may_show(text) else {}) | ({} if codes_allowed else codes or {})
            return [f"{name} ({self._around(text, form)!r})" for form, name in wanted.items() if form in text]

        return search

    def _around(self, text: str, form: str) -> str:
        """What stands around the first `form` in the text."""
        before, _, after = text.partition(form)
        return f"{self.masked(before)[-_AROUND:]}<it>{self.masked(after)[:_AROUND]}"


def _shortened(text: str) -> str:
    lines = text.splitlines(keepends=True)
    left_out = len(lines) - _LONGEST_SECTION
    return text if left_out <= 0 else "".join([f"... {left_out} lines ...\n", *lines[left_out:]])


_watch = _Watch()


class _LogRecorder(logging.Handler):
    """Sees every record of every logger, whatever a test does to caplog."""

    def emit(self, record: logging.LogRecord) -> None:
        _watch.see(f"the log of {record.name}", self.format(record))


class _Wrapped:
    """Functions that were replaced, to be put back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def wrap(self, owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        original = getattr(owner, name)
        setattr(owner, name, functools.wraps(original)(around(original)))
        self._undo.append(lambda: setattr(owner, name, original))

    def later(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()


_wrapped = _Wrapped()


def _seeing_new_simulators(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Simulator, *arguments: Any, **kwargs: Any) -> None:
        original(self, *arguments, **kwargs)
        _watch.simulators.add(self)
        _watch.of_this_test.append(self)

    return init


def _seeing_pairs(where: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For functions that return standard output and standard error."""

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def function(*arguments: Any, **kwargs: Any) -> Any:
            pair = original(*arguments, **kwargs)
            _watch.see(f"standard output {where}", pair[0])
            _watch.see(f"standard error {where}", pair[1])
            return pair

        return function

    return around


def _seeing_exceptions(original: Callable[..., Any]) -> Callable[..., Any]:
    def fill_unfilled(self: Any, exc_info: Any) -> Any:
        # Without the lines of source, which hold no secret and take long to find.
        _watch.see("an exception", "".join(traceback.format_exception(*exc_info, limit=0)))
        return original(self, exc_info)

    return fill_unfilled


def see(where: str, text: object) -> None:
    """Have the guard look at something it cannot see by itself, a child's output for example."""
    _watch.see(where, text)


def pytest_configure() -> None:
    recorder = _LogRecorder(level=logging.NOTSET)
    logging.getLogger().addHandler(recorder)
    _wrapped.later(lambda: logging.getLogger().removeHandler(recorder))
    _wrapped.wrap(Simulator, "__init__", _seeing_new_simulators)
    _wrapped.wrap(pytest.CaptureFixture, "readouterr", _seeing_pairs("that a test read"))
    _wrapped.wrap(subprocess.Popen, "communicate", _seeing_pairs("of a child"))
    _wrapped.wrap(pytest.ExceptionInfo, "fill_unfilled", _seeing_exceptions)
    _wrapped.later(forbid_outside(lambda where: _watch.findings.append(f"something tried to reach {where}")))
    RedisServer.before_end.append(_watch.look_into)
    _wrapped.later(lambda: RedisServer.before_end.remove(_watch.look_into))


def pytest_unconfigure() -> None:
    _wrapped.undo()


def pytest_warning_recorded(warning_message: Any, nodeid: str) -> None:
    # Told when its test is over, so the next one fails for it, or the run as a whole.
    _watch.see(f"a warning of {nodeid}", str(warning_message.message))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _watch.take_findings(keep=True) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for finding in _watch.findings:
        terminalreporter.write_line(f"FAILED by the guards: {finding}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _watch.ttl_wanted = item.get_closest_marker("keys_without_ttl") is None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        # The servers are still there: fixtures are torn down after this.
        for server in list(RedisServer.running):
            _watch.look_into(server)
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, pytest.CaptureFixture):
                value.readouterr()
    for where, text in report.sections:
        _watch.see(where, text)
    findings = _watch.take_findings()
    if findings and not report.failed:
        report.outcome, report.longrepr = "failed", "\n".join(findings)
    elif findings:
        report.sections.append(("What the guards found", "\n".join(findings)))
    if report.failed:
        report.sections = [(title, _shortened(_watch.masked(text))) for title, text in report.sections]
        shown = report.longreprtext
        # A traceback shows arguments. Where it shows no secret it stays as it is, in colours.
        if _watch.masked(shown) != shown:
            report.longrepr = _watch.masked(shown)
    if call.when == "teardown":
        _watch.forget_test()
    return report
