"""Looking settings up and collecting what is wrong with them, so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from .model import Secret
from .settings_table import names_in
from .settings_values import Mistake, Section, Value, resolve, text

T = TypeVar("T")


class Found(NamedTuple):
    """A setting that was given: its `name` as the user knows it, and its `value`."""

    name: str
    value: Value


class Place(NamedTuple):
    """Where settings are looked up; `prefix` (str) goes before each name in messages."""

    prefix: str
    values: Mapping[str, Value]

    def find(self, key: str) -> Found | None:
        """What stands under `key`; None when it is absent, null or empty, which all mean the same."""
        value = self.values.get(key)
        return Found(self.prefix + key, value) if value else None


class Findings:
    """Reads single settings; what is wrong goes into `problems`, what is only odd into `warnings`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def take(self, found: Found | None, parse: Callable[[str], T]) -> T | None:
        """The setting, read by `parse`; None when it is absent or a mistake, which is then noted."""
        if found is None:
            return None
        try:
            return parse(text(found.value))
        except Mistake as mistake:
            self.problems.append(f"{found.name} {mistake}")
            return None

    def take_secret(self, found: Found | None, check: Callable[[str], str] = str) -> Secret | None:
        """Like `take`, for a value that may be a reference; `check` is given what it refers to."""
        secret = self.take(found, lambda given: Secret(check(resolve(given, self._environ))))
        if found and secret and secret.reveal() != secret.reveal().strip():
            self.warnings.append(f"{found.name} begins or ends with a blank: is that meant?")
        return secret

    def needed(self, place: Place, key: str) -> Found | None:
        """What stands under `key` in `place`; its absence is noted as a problem."""
        found = place.find(key)
        if found is None:
            self.problems.append(f"{place.prefix}{key} is missing")
        return found

    def section(self, found: Found | None) -> Section:
        """A part of the file; empty when it is absent or a mistake, which is then noted."""
        if found is None:
            return Section()
        if isinstance(found.value, Section):
            return found.value
        self.problems.append(f"{found.name} must be a section (lines of name: value)")
        return Section()

    def unknown(self, where: str, section: Section, known: Iterable[str], found: list[str]) -> None:
        """Add to `found` (problems or warnings) a sentence for every name of `section` that is not `known`.

        The name itself is not quoted: in `{app_secret:value}`, without a blank, it holds the secret.
        """
        accepted = tuple(known)
        for name, line in section.lines.items():
            if name not in accepted:
                found.append(f"{where}: the name on line {line} is unknown{did_you_mean(name, accepted)}")


class Sources(NamedTuple):
    """Where everything is looked up: the environment, and the configuration file's sections.

    `from_env` (bool): there is no file. `broken` (bool): there is one that could not be read, so that nothing
    is said about what it lacks.
    """

    findings: Findings
    env: Place
    file: Section
    from_env: bool
    broken: bool

    def either(self, variable: str, key: str) -> Found | None:
        """The environment variable, else what stands under `key` at the file's top level."""
        return self.env.find(variable) or Place("", self.file).find(key)

    def section(self, name: str, unknown: list[str] | None = None) -> Place:
        """One of the file's sections; names that nobody knows are noted in `unknown` (problems or warnings).

        To be asked for once: mistakes are noted each time.
        """
        section = self.findings.section(Place("", self.file).find(name))
        if unknown is not None:
            self.findings.unknown(name, section, names_in(name), unknown)
        return Place(f"{name}.", section)


def did_you_mean(name: str, accepted: Iterable[str]) -> str:
    """The end of a sentence that proposes the nearest accepted name, or lists them all when none is near."""
    import difflib  # only mistaken people pay for it

    names = tuple(accepted)
    near = difflib.get_close_matches(name[:64], names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; accepted are {', '.join(names)}"
