"""Inputs near the kept ones, for Hypothesis: cut, doubled, spliced, with words put in, and as JSON with odd leaves."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .inputs import json_of

_MOST_CHANGES, _LONGEST = 4, 2048
# What a member may turn into without the JSON ceasing to be JSON.
_LEAVES: tuple[Any, ...] = (
    None, True, False, 0, -1, 0.5, 2**53 + 1, 10**400, 1e308, float("nan"), "", "1", "\0", "\ud800", "a\nb\x1b[31m",
    "<secret>", "x" * 300, [], {}, [[[]]], {"": None},
)  # fmt: skip


def search(
    check: Callable[[bytes], None], samples: Sequence[bytes], words: Sequence[bytes], examples: int, shrink: bool = True
) -> None:
    """Try the samples, then so many inputs near them. Raises what `check` raises; `shrink`: for a small input."""
    for data in samples:
        check(data)

    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)

    @settings(
        max_examples=examples,
        phases=phases,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(near(samples, words))
    def run(data: bytes) -> None:
        check(data)

    run()


def near(samples: Sequence[bytes], words: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that are like the samples, and some that are like nothing."""
    spliced = _changed(samples, words)
    anything = st.binary(max_size=100) | st.lists(st.sampled_from(words), max_size=12).map(b"".join)
    objects = [value for value in map(json_of, samples) if isinstance(value, (dict, list))]
    return st.one_of(spliced, spliced, anything, *([_json(objects)] if objects else []))


@st.composite
def _changed(draw: st.DrawFn, samples: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    data = draw(st.sampled_from(samples))
    piece = st.one_of(st.sampled_from(words), st.sampled_from(samples), st.binary(max_size=6))
    for _ in range(draw(st.integers(1, _MOST_CHANGES))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 30)))
        again = draw(st.sampled_from((0, 0, 1, 2)))
        data = data[:start] + data[start:end] * again + draw(piece) + data[end:]
    return data[:_LONGEST]


@st.composite
def _json(draw: st.DrawFn, objects: Sequence[Any]) -> bytes:
    """One of the objects, with a few of its members replaced, doubled or gone."""
    value = json.loads(json.dumps(draw(st.sampled_from(objects))))
    for _ in range(draw(st.integers(1, _MOST_CHANGES))):
        places = _places(value)
        if not places:
            break
        holder, at = draw(st.sampled_from(places))
        if draw(st.booleans()):
            # A copy: what is changed next may be within it.
            holder[at] = copy.deepcopy(draw(st.sampled_from(_LEAVES)))
        else:
            del holder[at]
    ascii_only = draw(st.booleans())
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree: what holds it, and under which name or number."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]
