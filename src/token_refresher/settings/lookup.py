"""Looking settings up and collecting what is wrong with them, so that all of it is reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from token_refresher.domain.errors import InvalidValueError
from token_refresher.domain.suggestion import did_you_mean
from token_refresher.settings.origin import Origin
from token_refresher.settings.schema import SETTINGS, names_in
from token_refresher.settings.values import (
    Section,
    Value,
    is_reference,
    is_service_link,
    oddities,
    probable_cause,
    resolve,
    text,
)

T = TypeVar("T")


class RawSetting(NamedTuple):
    """A setting as it was given: its `name` as the user knows it, and its `value`."""

    name: str
    value: Value


class Scope(NamedTuple):
    """Where settings are looked up; `prefix` (str) goes before each name in messages."""

    prefix: str
    values: Mapping[str, Value]

    def find(self, key: str) -> RawSetting | None:
        """The setting called `key`; None when it is absent, null or empty, which all mean the same."""
        value = self.values.get(key)
        return RawSetting(self.prefix + key, value) if value else None


class SettingsReader:
    """Reads single settings; what is wrong goes into `problems`, what is only odd into `warnings`."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def parse(self, found: RawSetting | None, parse: Callable[[str], T]) -> T | None:
        """The setting as `parse` reads it; None when it is absent or a mistake, which is then noted."""
        return self._parsed(found, lambda given: self._plain(found, parse, given))

    def _parsed(self, found: RawSetting | None, parse: Callable[[str], T]) -> T | None:
        if found is None:
            return None
        try:
            return parse(text(found.value))
        except InvalidValueError as error:
            why = probable_cause(found.value) if isinstance(found.value, str) else ""
            self.problems.append(f"{found.name} {error.what}{why}")
            return None

    def _plain(self, found: RawSetting | None, parse: Callable[[str], T], given: str) -> T:
        if is_reference(given):
            raise InvalidValueError("must not be a reference: only secrets may be ${NAME} or file:PATH")
        value = parse(given)
        # People may call an application what they like.
        if found and not found.name.lower().endswith("app_name"):
            self._note_oddities(found.name, given, secret=False)
        return value

    def _note_oddities(self, name: str, value: str, *, secret: bool) -> None:
        self.warnings += [f"{name} {odd}" for odd in oddities(value, secret)]

    def parse_secret(self, found: RawSetting | None, parse: Callable[[str], T]) -> T | None:
        """Like `parse`, for a value that may be a reference; `parse` is given what it refers to."""

        def resolved(given: str) -> T:
            self._origin.note_reference(given)
            value = resolve(given, self._origin.environ)
            parsed = parse(value)
            if found:
                self._note_oddities(found.name, value, secret=True)
            return parsed

        return self._parsed(found, resolved)

    def required(self, scope: Scope, key: str) -> RawSetting | None:
        """The setting called `key` in `scope`; its absence is noted as a problem."""
        found = scope.find(key)
        if found is None:
            instead = self._misspelt(key) if scope.values is self._origin.environ else ""
            self.problems.append(f"{scope.prefix}{key} is missing{instead}")
        return found

    def _misspelt(self, variable: str) -> str:
        """The end of a sentence that names a variable which is set and probably meant as `variable`."""
        import difflib

        others = [name for name in self._origin.environ if name not in SETTINGS and not is_service_link(name)]
        near = [name for name in others if re.fullmatch("[A-Za-z][A-Za-z0-9_]{2,40}", name)]
        found = difflib.get_close_matches(variable, [name.upper() for name in near], n=1, cutoff=0.8)
        named = [name for name in near if name.upper() in found]
        return f" ({named[0]} is set: did you mean {variable}?)" if named else ""

    def section(self, found: RawSetting | None) -> Section:
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


class SettingsSources(NamedTuple):
    """Where everything is looked up: the environment, and the configuration file's sections.

    `from_env` (bool): there is no file. `broken` (bool): there is one that could not be read, so that nothing
    is said about what it lacks.
    """

    reader: SettingsReader
    env: Scope
    file: Section
    from_env: bool
    broken: bool

    def either(self, variable: str, key: str) -> RawSetting | None:
        """The environment variable, else the setting called `key` at the file's top level."""
        return self.env.find(variable) or Scope("", self.file).find(key)

    def section(self, name: str, unknown: list[str] | None = None) -> Scope:
        """One of the file's sections; names that nobody knows are noted in `unknown` (problems or warnings).

        To be asked for once: mistakes are noted each time.
        """
        section = self.reader.section(Scope("", self.file).find(name))
        if unknown is not None:
            self.reader.unknown(name, section, names_in(name), unknown)
        return Scope(f"{name}.", section)
