"""The YAML configuration file as a tree of plain strings. Imported only when CONFIG_FILE is set.

YAML would read `auth: 012345` as 5349 and `app_id: 1001` as a number, but a secret must stay as written.
So the tree is built from the parser's events: every scalar is its text, nothing else is interpreted.

No problem found here quotes the file, not even a key: `{app_secret:value}` without a blank is one long key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from token_refresher.domain.errors import InvalidValueError
from token_refresher.settings.values import Section, Value, read_text_file

# The published file has a few hundred bytes; this leaves room for thousands of applications.
LARGEST_FILE = 1_000_000
# The deepest legal value, platforms: {name: {base_url}}, is at depth 4. The bound is against hostile files.
_DEEPEST = 8
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_STRING_TAGS = frozenset((None, "!", "tag:yaml.org,2002:str"))
# What YAML forbids. Looked for here, since the parsers report it without a line.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAB = "a tab is where only blanks may be"
# What the parsers say, and what a person has probably written. The first that fits counts.
_CAUSES = (
    (r"'\\t'|\btabs?\b", _TAB),
    ("quoted scalar|end of stream", "a quote is not closed"),
    ("flow (sequence|mapping|node)", "a bracket or brace is not closed"),
    ("mapping values are not allowed", "a value that holds a colon needs quotes, or the line is indented too far"),
    ("could not find expected ':'", "a colon with a blank after it is missing behind a name"),
    ("block (mapping|collection|sequence)", "the line is indented otherwise than those above, or a quote is missing"),
    ("cannot start any token", "a value that begins with such a character needs quotes"),
    ("", "look for a wrong indentation, or a quote that is missing"),
)
# libyaml where PyYAML was built with it: ten times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(path: str, problems: list[str]) -> Section:
    """Read the file at `path` (str, UTF-8) into a `Section`; an empty file is an empty section.

    Mistakes that leave the rest readable (a repeated name, an alias) are appended to `problems`, with lines
    counted from 1. Raises InvalidValueError when there is no reading on: no such file, too big, not UTF-8, not YAML,
    too deep, not a mapping.
    """
    text = read_text_file(path, LARGEST_FILE)
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        line = text.count("\n", 0, forbidden.start()) + 1
        raise InvalidValueError(f"holds a character on line {line} that YAML does not allow")
    tree = _parse(text, problems)
    if tree is None or tree == "":
        return Section()
    if not isinstance(tree, Section):
        raise InvalidValueError("must hold sections (name: value) at its top level")
    return tree


def _parse(text: str, problems: list[str]) -> Value:
    try:
        return _Tree(yaml.parse(text, Loader=_LOADER), problems).document()
    except yaml.MarkedYAMLError as error:
        # The parser's own words may quote the file (tags, escapes), so only the place is passed on.
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        line = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark else ""
        raise InvalidValueError(f"is not valid YAML{where}: {_probable_cause(error, line)}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The pure Python parser stumbles over escapes and version numbers out of range.
        raise InvalidValueError("is not valid YAML") from None


def _probable_cause(error: yaml.MarkedYAMLError, line: str) -> str:
    if re.match(r"\s*\t", line):
        return _TAB
    said = f"{error.context} {error.problem}"
    return next(cause for mark, cause in _CAUSES if re.search(mark, said))


class _Tree:
    """Builds values from parser events, as they come: a file is given up before a bomb in it has grown."""

    def __init__(self, events: Iterator[yaml.Event], problems: list[str]) -> None:
        self._events, self._problems = events, problems

    def document(self) -> Value:
        root: Value = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise InvalidValueError(f"holds a second YAML document from line {_line(event)} on")
            elif isinstance(event, yaml.NodeEvent):
                root = self._value(event, 1)
        return root

    def _value(self, event: yaml.Event, depth: int) -> Value:
        if depth > _DEEPEST:
            raise InvalidValueError(f"is nested too deeply at line {_line(event)}")
        self._refuse_references(event)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            return None if plain and event.value in _NULLS else str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(depth)
        return self._section(depth) if isinstance(event, yaml.MappingStartEvent) else None

    def _refuse_references(self, event: yaml.Event) -> None:
        """Few lines of anchors and aliases can stand for gigabytes, and tags could make objects."""
        if getattr(event, "anchor", None) is not None:
            self._note(event, "anchors and aliases are not accepted")
        if getattr(event, "tag", None) not in _STRING_TAGS:
            self._note(event, "YAML tags other than !!str are not accepted")

    def _note(self, event: yaml.Event, problem: str) -> None:
        self._problems.append(f"CONFIG_FILE line {_line(event)}: {problem}")

    def _list(self, depth: int) -> list[Value]:
        items: list[Value] = []
        # The parser ends every list and section that it begins, or raises.
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _section(self, depth: int) -> Section:
        section = Section()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            # For a name this only looks for references, and reads over one that is no scalar.
            self._value(event, depth + 1)
            value = self._value(next(self._events), depth + 1)
            key = str(event.value) if isinstance(event, yaml.ScalarEvent) else None
            if key is None:
                self._note(event, "a name must be plain text")
            elif key in section:
                self._note(event, f"line {section.lines[key]} has this name already")
            else:
                section[key], section.lines[key] = value, _line(event)
        return section


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
