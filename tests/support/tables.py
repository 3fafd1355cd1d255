"""One test over a table of inputs, where no line of it needs a fixture of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

Test = Callable[..., None]


def each_line(names: str | Sequence[str], lines: Iterable[Any]) -> Callable[[Test], Test]:
    """Call the test with one line after the other, and name the line that fails. The arguments are parametrize's.

    As a case of its own each line would cost its fixtures, and a look of the guards into every server, which takes
    longer than most lines do.
    """
    wanted, table = [names] if isinstance(names, str) else list(names), list(lines)

    def decorate(test: Test) -> Test:
        signature = inspect.signature(test)

        @functools.wraps(test)
        def over_all(*instance: object, **fixtures: object) -> None:
            assert table, "there is no line"
            for line in table:
                given = dict(zip(wanted, line if len(wanted) > 1 else (line,), strict=True))
                try:
                    test(*instance, **given, **fixtures)
                except (Exception, pytest.fail.Exception) as failure:
                    raise AssertionError(f"with {given}: {failure}") from failure

        left = [each for name, each in signature.parameters.items() if name not in wanted]
        over_all.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return over_all

    return decorate
