"""Operators that cosmic-ray lacks: conditions negated as a whole, `in`, and statements and results left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import parso
from cosmic_ray.operators.operator import Example, Operator

_FALSE = ("return", "return None", "return False", "return 0")
_Positions = Iterator[tuple[tuple[int, int], tuple[int, int]]]


def _code(text: str, like: Any) -> Any:
    """A leaf that reads `text`, with the blanks and comments that stood before `like`."""
    return parso.python.tree.Name(text, like.start_pos, prefix=like.get_first_leaf().prefix)


class _Own(Operator):
    def mutation_positions(self, node: Any) -> _Positions:
        if self.matches(node):
            yield node.start_pos, node.end_pos

    def matches(self, node: Any) -> bool:
        raise NotImplementedError

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return ()


class Negate(_Own):
    """`if a or b` to `if not (a or b)`: in conditions, also of comprehensions and of `x if y else z`."""

    def matches(self, node: Any) -> bool:
        parent = node.parent
        # One comparison, or a `not`, is turned round by cosmic-ray already.
        if node.type == "not_test" or (node.type == "comparison" and len(node.children) == 3):
            return False
        if parent is None or (node.type in ("keyword", "operator") and node.value not in ("True", "False", "None")):
            return False
        if parent.type in ("if_stmt", "while_stmt", "elif", "comp_if", "assert_stmt"):
            before = node.get_previous_sibling()
            return before is not None and before.type == "keyword" and before.value in ("if", "elif", "while", "assert")
        return bool(parent.type in ("ternary", "test") and parent.children[2] is node)

    def mutate(self, node: Any, index: int) -> Any:
        return _code(f"not ({node.get_code(include_prefix=False)})", node)


class SwapIn(_Own):
    """`in` to `not in` and back."""

    def matches(self, node: Any) -> bool:
        if node.parent is None or node.parent.type != "comparison":
            return False
        return " ".join(node.get_code(include_prefix=False).split()) in ("in", "not in")

    def mutate(self, node: Any, index: int) -> Any:
        return _code("not in" if node.get_code(include_prefix=False) == "in" else "in", node)


class RemoveStatement(_Own):
    """A call for its effect, an augmented assignment, one to an attribute or an item, `del` and `raise` to `pass`."""

    def matches(self, node: Any) -> bool:
        if node.parent is None or node.parent.type != "simple_stmt":
            return False
        if node.type in ("atom_expr", "power"):
            return bool(node.get_last_leaf().value == ")")
        if node.type == "expr_stmt":
            augmented = any(getattr(child, "type", "") == "augassign" for child in node.children) or (
                len(node.children) > 1 and getattr(node.children[1], "value", "") in ("+=", "-=")
            )
            return augmented or node.children[0].type in ("atom_expr", "power")
        return node.type in ("raise_stmt", "del_stmt")

    def mutate(self, node: Any, index: int) -> Any:
        return _code("pass", node)


class ReturnNone(_Own):
    """`return x` to `return None`."""

    def matches(self, node: Any) -> bool:
        # What is as false as None is changed by cosmic-ray.
        return node.type == "return_stmt" and node.get_code(include_prefix=False) not in _FALSE

    def mutate(self, node: Any, index: int) -> Any:
        return _code("return None", node)


OWN = (Negate, SwapIn, RemoveStatement, ReturnNone)
