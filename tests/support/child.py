"""The inside of a `processes.Child`: runs the driver it was given, and offers it points to be held at."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from .loopback import forbid_outside

# One thread at a time talks to the test: otherwise one would take the other's "go".
_talking = threading.Lock()


def say(line: str) -> None:
    """Send a line to the test."""
    print(line, flush=True)  # noqa: T201 - standard output is the line to the test


def ask(line: str) -> str:
    """Send a line to the test, wait for the answer and return it."""
    with _talking:
        say(line)
        return sys.stdin.readline().rstrip("\n")


def point(name: str) -> None:
    """Stand still here until the test says "go". When the test is gone the child ends."""
    if ask(f"at:{name}") != "go":
        sys.exit(f"nobody lets this child go on from {name}")


def wrap(
    owner: Any,
    name: str,
    *,
    before: bool = True,
    after: bool = False,
    when: Callable[..., bool] | None = None,
) -> None:
    """Make a function or method of `owner` a point: `at:<name>` before its calls, `after:<name>` after them.

    `when` (given the call's arguments) says which calls; all by default.
    """
    original = getattr(owner, name)

    @functools.wraps(original)
    def held(*arguments: Any, **kwargs: Any) -> Any:
        wanted = when is None or when(*arguments, **kwargs)
        if wanted and before:
            point(name)
        result = original(*arguments, **kwargs)
        if wanted and after and ask(f"after:{name}") != "go":
            sys.exit(f"nobody lets this child go on after {name}")
        return result

    setattr(owner, name, held)


def main() -> None:
    """Run the driver in `sys.argv[1]` as the main module, with the remaining arguments."""
    driver = sys.argv.pop(1)
    forbid_outside(lambda _where: None)
    namespace = {"__name__": "__main__", "__file__": "driver"}
    exec(compile(driver, "driver", "exec"), namespace)  # noqa: S102 - the test's own text


if __name__ == "__main__":
    main()
