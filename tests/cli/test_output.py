"""What a command says on a terminal, where it goes, and what is left out."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

import token_refresher.__main__ as door
from support.world import World
from token_refresher import python_version
from token_refresher.cli.main import main
from token_refresher.cli.output import Output
from token_refresher.cli.table import Cell, Style
from token_refresher.domain.errors import SettingsError, UsageError

pytest.importorskip("rich", reason="the extra `cli` is not installed, so nothing has colours")

ROWS = [[Cell("app0000", Style.GOOD, 0.5), Cell("a sentence [of] words")]]
Terminal = Callable[[], tuple[io.StringIO, io.StringIO]]


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of standard output and standard error."""

    def put() -> tuple[io.StringIO, io.StringIO]:
        out, err = _Screen(), _Screen()
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        return out, err

    return put


def test_a_terminal_gets_colours_and_brackets_stay_text(terminal: Terminal) -> None:
    out, err = terminal()
    output = Output({"TERM": "xterm-256color"}, as_json=False)
    output.table(["APP", "WHY"], ROWS)
    output.note("[bold] is no markup", Style.BAD)
    assert "\x1b[" in out.getvalue()
    assert "a sentence [of] words" in out.getvalue()
    assert "\x1b[" in err.getvalue()
    assert "[bold] is no markup" in err.getvalue()


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_a_terminal_without_colours_gets_the_same_words(environ: dict[str, str], terminal: Terminal) -> None:
    out, err = terminal()
    output = Output(environ, as_json=False)
    output.table(["APP", "WHY"], ROWS)
    output.note("a word", Style.BAD)
    assert "a sentence [of] words" in out.getvalue()
    assert "a word\n" in err.getvalue()
    assert "\x1b" not in out.getvalue() + err.getvalue()


def test_a_bar_shows_many_applications_and_no_few(terminal: Terminal) -> None:
    for total, shown in ((5, True), (4, False)):
        _, err = terminal()
        with Output({"TERM": "xterm"}, as_json=False).progress(total) as done:
            done("app0000")
        assert ("applications" in err.getvalue()) is shown


def test_quiet_leaves_out_results_and_tables_and_tells_what_is_wrong(terminal: Terminal) -> None:
    out, err = terminal()
    output = Output({"NO_COLOR": "1"}, as_json=False)
    output.quiet = True
    output.result("a result")
    output.table(["APP", "WHY"], ROWS)
    with output.progress(9) as done:
        done("app0000")
    output.error(UsageError("an odd option", "usage: token-refresher"), 2)
    output.error(SettingsError(["one", "two"]), 3)
    output.interrupted(130)
    assert out.getvalue() == ""
    assert err.getvalue().splitlines()[:2] == ["usage: token-refresher", "error: an odd option"]
    assert "  - one\n  - two\n" in err.getvalue()
    assert err.getvalue().endswith("interrupted\n")


def test_an_output_that_cannot_be_written_is_told_once_and_hinders_nothing(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = terminal()

    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(out, "write", full)
    output = Output({"NO_COLOR": "1"}, as_json=False)
    output.result("one")
    output.result("two")
    monkeypatch.setattr("token_refresher.cli.streams.settle", lambda _: None)
    output.finish()
    assert err.getvalue().count("standard output cannot be written") == 1
    assert "No space left" in err.getvalue()


def test_a_reader_that_leaves_the_pipe_ends_the_command(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = terminal()

    def left(_: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(out, "write", left)
    with pytest.raises(BrokenPipeError):
        Output({}, as_json=True).document({})


# -- in the place of standard output, what takes nothing --------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="NOT TESTED: there is no /dev/full")
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("version", 141, "error: standard output cannot be written (No space left on device), so the result is lost."),
        ("refresh", 0, "warning: standard output cannot be written (No space left on device); all else was done"),
    ],
)
def test_a_full_disk_under_the_output_is_told_and_a_run_is_none_the_worse(
    command: str, code: int, says: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    err = io.StringIO()
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        monkeypatch.setattr("sys.stderr", err)
        assert main([command], world.settings_env()) == code
        # What was buffered is gone, else Python would fail with it at its end.
        full.write("more")
        full.flush()
    assert err.getvalue().startswith(says)


# -- before there is a command line -----------------------------------------------------------


def test_a_python_that_is_too_old_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(python_version, "OLDEST", (9, 0))
    assert door.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_who_interrupts_before_the_command_line_is_ready_sees_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("token_refresher.cli.main.main", interrupted)
    assert door.main() == 130
    assert capsys.readouterr() == ("", "interrupted\n")
