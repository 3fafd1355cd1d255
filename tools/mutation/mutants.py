"""What a mutant is, and the mutants of a Python module: cosmic-ray's operators, and a few of our own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """One change to one file.

    `first` and `last` are the lines of the statement that it is in (from 1), `place` the function. `before` and `after`
    are what is changed, without line numbers, so that a mutant is found again after the file changed elsewhere.
    """

    file: str
    operator: str
    place: str
    before: str
    after: str
    first: int
    last: int
    source: str

    @property
    def line(self) -> str:
        return f"{self.file} {self.place}: {self.before}  ->  {self.after}"


# Of cosmic-ray's many operators those whose mutants are near misses: `a + b` to `a ** b` fails wherever it is run.
_COMPARISONS = {
    "Eq": ("NotEq",),
    "NotEq": ("Eq",),
    "Lt": ("LtE", "GtE"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "LtE"),
    "GtE": ("Gt", "Lt"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
_BINARIES = {
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Div",
    "Div": "Mul",
    "FloorDiv": "Mul",
    "Mod": "FloorDiv",
    "Pow": "Mul",
}
_NAMES = (
    *(f"ReplaceComparisonOperator_{old}_{new}" for old, several in _COMPARISONS.items() for new in several),
    *(f"ReplaceBinaryOperator_{old}_{new}" for old, new in _BINARIES.items()),
    "ReplaceUnaryOperator_Delete_USub",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ZeroIterationForLoop",
)


def of_python(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a Python source."""
    from cosmic_ray.operators.provider import OperatorProvider

    from .operators import OWN

    provider = OperatorProvider()
    statements = _statements(source)
    for operator in [*(provider[name]() for name in _NAMES), *(own() for own in OWN)]:
        seen: set[str] = set()
        for changed, line in _applied(source, operator):
            first, last, place = statements.get(line, (line, line, ""))
            # The same text again is no other mutant, and one that Python does not even compile is none.
            if changed in seen or changed == source or not _compiles(changed):
                continue
            seen.add(changed)
            before, after = difference(source, changed)
            yield Mutant(file, type(operator).__name__, place, before, after, first, last, changed)


def _applied(source: str, operator: Any) -> Iterator[tuple[str, int]]:
    """The source with each mutation that an operator knows, and the line of it."""
    import parso

    def nodes(node: Any) -> Iterator[Any]:
        yield node
        for child in getattr(node, "children", ()):
            yield from nodes(child)

    points = [
        (number, index, start[0])
        for number, node in enumerate(nodes(parso.parse(source)))
        if not _left_alone(node)
        for index, (start, _) in enumerate(operator.mutation_positions(node))
    ]
    for number, index, line in points:
        tree = parso.parse(source)
        node = next(each for position, each in enumerate(nodes(tree)) if position == number)
        try:
            changed = operator.mutate(node, index)
        except AttributeError:  # `except package.Error`: that name is too long for cosmic-ray
            continue
        if changed is not node:
            _put(node, changed)
        yield tree.get_code(), line


def _left_alone(node: Any) -> bool:
    """The `*` among parameters is no product, and that nobody changes a frozen object is for the type checker."""
    around = getattr(node, "parent", None)
    if around is None:
        return False
    return around.type in ("parameters", "lambdef") or around.get_code(include_prefix=False) == "frozen=True"


def _put(node: Any, other: Any) -> None:
    siblings = node.parent.children
    place = next(position for position, each in enumerate(siblings) if each is node)
    siblings[place : place + 1] = [] if other is None else [other]


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def difference(old: str, new: str) -> tuple[str, str]:
    """The lines that differ, each side as one line."""
    before, after = old.splitlines(), new.splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    return tuple(" ".join(" ".join(lines).split()) for lines in (before, after))  # type: ignore[return-value]


def _statements(source: str) -> dict[int, tuple[int, int, str]]:
    """For each line the first and last line of its statement (of a compound one: of its head), and the function."""
    found: dict[int, tuple[int, int, str]] = {}

    def walk(node: ast.AST, place: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = place
            if isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                inner = f"{place}.{child.name}" if place else child.name
            if isinstance(child, (ast.stmt, ast.excepthandler)):
                body = getattr(child, "body", None)
                last = max(child.lineno, body[0].lineno - 1) if body else child.end_lineno or child.lineno
                first = min([child.lineno, *(each.lineno for each in getattr(child, "decorator_list", ()))])
                for line in range(first, last + 1):
                    found[line] = (first, last, inner)
            walk(child, inner)

    walk(ast.parse(source), "")
    return found
