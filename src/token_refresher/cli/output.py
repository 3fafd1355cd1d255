"""Where output goes: results to standard output, messages to standard error; JSON, plain, or with colours."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from token_refresher.cli import streams
from token_refresher.cli.table import BAR_WIDTH, Cell, Style, as_plain, escape_control_characters, filled
from token_refresher.domain.errors import SettingsError, TokenRefresherError, UsageError

# Fewer applications are done before a bar could be read.
_MANY = 5


class Output:
    """The output of one command.

    Colours and the progress bar need a terminal, the package rich, and an `environ` without NO_COLOR; without
    any of these everything is plain text. With `as_json` standard output gets one JSON document and no more.

    With `quiet` results and tables are left out: notes, which are for a person, and errors remain.

    `unwritten` (str) is why standard output cannot be written, "" while it can: the command goes on all the same, and
    `finish` says so. Only a reader that leaves a pipe ends it, by BrokenPipeError. `lost` (bool): something was to be
    written there and was not. `did_more` (bool): the command has done something besides what it shows.

    `odd` are sentences about the settings, which a person sees once (`note_odd`).
    """

    def __init__(self, environ: Mapping[str, str], as_json: bool, unwritten: str = "") -> None:
        self._environ, self.as_json, self.unwritten = environ, as_json, unwritten
        self.quiet = self.lost = self.did_more = False
        self.odd: tuple[str, ...] = ()

    def _put(self, write: Callable[[], object]) -> None:
        if not self.unwritten:
            try:
                write()
                return
            except BrokenPipeError:
                raise
            except OSError as error:
                self.unwritten = streams.why(error)
        self.lost = True

    def _flush(self) -> None:
        if not self.unwritten:
            self._put(sys.stdout.flush)

    def finish(self) -> bool:
        """Write out what is buffered, and say in one sentence where the output could not be written.

        Returns whether all that the command was to do is lost with it.
        """
        self._flush()
        if self.unwritten:
            streams.settle(sys.stdout)
        if not self.lost:
            return False
        says = f"standard output cannot be written ({self.unwritten})"
        if self.did_more:
            self.note(f"warning: {says}; all else was done")
        else:
            self.note(f"error: {says}, so the result is lost. What to do: write it elsewhere.", Style.BAD)
        return not self.did_more

    def document(self, content: Mapping[str, Any]) -> None:
        """Write the JSON document. In ASCII, so that it is valid whatever the terminal's encoding is."""
        self._put(lambda: print(json.dumps(content, indent=2), flush=True))

    def result(self, text: str) -> None:
        """A line of the result."""
        if self.quiet:
            return
        self._put(lambda: print(escape_control_characters(text, lines=True), flush=True))

    def note(self, text: str, style: Style = Style.PLAIN) -> None:
        """A message to a person; not part of the result, so that one which cannot be written changes nothing."""
        self._flush()
        text = escape_control_characters(text, lines=True)
        console = self._console(sys.stderr)
        with contextlib.suppress(OSError):
            if console:
                console.print(_styled(text, style), soft_wrap=True)
            else:
                print(text, file=sys.stderr, flush=True)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A table as part of the result."""
        if self.quiet:
            return None
        console = self._console(sys.stdout)
        if not console:
            return self.result(as_plain(headings, rows))
        table = importlib.import_module("rich.table").Table(box=None, pad_edge=False, header_style="bold")
        for heading in headings:
            # A sentence may take several lines, anything else is cut where there is no room.
            table.add_column(heading, no_wrap=heading != "WHY")
        for row in rows:
            table.add_row(*(_coloured(cell) for cell in row))
        self._put(lambda: console.print(table))
        return None

    def error(self, error: TokenRefresherError, exit_code: int) -> None:
        """Say what went wrong; as JSON it is the document."""
        odd = error.warnings if isinstance(error, SettingsError) else self.odd
        if self.as_json:
            return self.document({"error": _as_dict(error, exit_code, odd)})
        self.odd = odd
        # Often it is the reason.
        self.note_odd()
        if isinstance(error, UsageError):
            self.note(error.usage.rstrip())
            return self.note(f"error: {error.what}", Style.BAD)
        if isinstance(error, SettingsError) and len(error.problems) > 1:
            self.note(f"error: {error.code}: {len(error.problems)} mistakes", Style.BAD)
            for problem in error.problems:
                self.note(f"  - {problem}")
            return self.note(f"What to do: {error.advice}.")
        says = (
            f"{error.code}: {error.problems[0]}. What to do: {error.advice}."
            if isinstance(error, SettingsError)
            else error
        )
        return self.note(f"error: {says}", Style.BAD)

    def note_odd(self) -> None:
        """Show once what is odd about the settings."""
        odd, self.odd = self.odd, ()
        for warning in odd:
            self.note(f"warning: {warning}", Style.SOON)

    def interrupted(self, exit_code: int, what: str = "") -> None:
        """Say that a person ended it, and what a person has to know then."""
        if self.as_json:
            message = {"message": what} if what else {}
            return self.document({"error": {"code": "interrupted", **message, "exit_code": exit_code}})
        return self.note(f"interrupted: {what}" if what else "interrupted")

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[Callable[[str], None]]:
        """A bar over `total` applications while they are worked on; yields what is to be called for each."""
        console = self._console(sys.stderr) if total >= _MANY and not (self.as_json or self.quiet) else None
        if not console:
            yield lambda app_id: None
            return
        with importlib.import_module("rich.progress").Progress(console=console, transient=True) as bar:
            task = bar.add_task("applications", total=total)
            yield lambda app_id: bar.advance(task)

    def _console(self, stream: TextIO) -> Any:
        """rich's console on a terminal that shows colours; None for plain text."""
        if not stream.isatty() or self._environ.get("NO_COLOR") or self._environ.get("TERM") == "dumb":
            return None
        try:
            return importlib.import_module("rich.console").Console(file=stream, highlight=False)
        except ModuleNotFoundError:
            return None


def _styled(text: str, style: Style) -> Any:
    # A Text, because in a plain str rich takes brackets for its own markup.
    return importlib.import_module("rich.text").Text(text, style=style.value)


def _coloured(cell: Cell) -> Any:
    text = escape_control_characters(cell.text)
    if cell.bar is None:
        return _styled(text, cell.style)
    full = filled(cell.bar)
    gone = _styled("━" * (BAR_WIDTH - full), Style.QUIET)
    return _styled("━" * full, cell.style).append_text(gone).append(f" {text}", style=cell.style.value)


def _as_dict(error: TokenRefresherError, exit_code: int, warnings: Sequence[str]) -> dict[str, Any]:
    members = {
        "code": error.code,
        "message": error.what,
        "advice": error.advice,
        "retryable": error.retryable,
        "app_id": error.app_id,
        "kind": error.kind,
        "problems": list(error.problems) if isinstance(error, SettingsError) else None,
        "warnings": list(warnings) or None,
        "exit_code": exit_code,
    }
    return {name: value for name, value in members.items() if value is not None}
