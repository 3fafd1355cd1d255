"""Where settings come from, and whether that still holds the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from token_refresher.domain.errors import InvalidValueError
from token_refresher.settings.values import LARGEST_SECRET_FILE

_REFERENCE = "file:"


class Origin:
    """The environment and the files that one reading of the settings used.

    `environ` is the environment. `files` (bool): some file was read. `refused` (tuple of str) are the mistakes of what
    the files hold by now, empty when there are none or nothing has changed.
    """

    def __init__(self, environ: Mapping[str, str], *, again: bool = False) -> None:
        self.environ, self.refused = environ, tuple[str, ...]()
        self._again = again
        self._digests: dict[str, tuple[int, bytes]] = {}

    def again(self) -> Origin:
        """The same place, for another reading."""
        return Origin(self.environ, again=True)

    def note(self, path: str, largest: int) -> None:
        """The file at `path` is about to be read, up to `largest` bytes.

        Raises InvalidValueError for a pipe at another reading: it would be empty, or would never end.
        """
        if self._again and os.path.exists(path) and not os.path.isfile(path):
            raise InvalidValueError("refers to something other than a file, which can be read only once")
        # Before it is read: a change between the two is then noticed later, where after it, it would be missed.
        self._digests[path] = largest, _digest(path, largest)

    def note_reference(self, given: str) -> None:
        """The same for a value that may be a reference to a secret's file."""
        if given.startswith(_REFERENCE):
            self.note(given.removeprefix(_REFERENCE), LARGEST_SECRET_FILE)

    @property
    def files(self) -> bool:
        return bool(self._digests)

    def changed(self) -> bool:
        """Whether some file holds something else than when it was noted; times and links do not matter."""
        return any(_digest(path, largest) != known for path, (largest, known) in self._digests.items())

    def follow(self, later: Origin) -> None:
        """Compare from now on with what `later` noted: another reading found the same settings there."""
        self._digests, self.refused = later._digests, ()


def _digest(path: str, largest: int) -> bytes:
    """SHA-256 of a file's content; empty when there is no file that can be read again and again."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(largest + 1)).digest()
    except (OSError, ValueError):
        return b""
