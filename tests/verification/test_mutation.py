"""The changes to the scripts: that they are changes, and that those which are accepted are still made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verification.mutation.lua import mutants

_SCRIPTS = Path(__file__).resolve().parents[2] / "src" / "token_refresher" / "store" / "scripts"
_ACCEPTED = json.loads((Path(__file__).parent / "mutation" / "accepted.json").read_text("utf-8"))


@pytest.mark.parametrize("path", sorted(_SCRIPTS.glob("*.lua")), ids=lambda path: path.name)
def test_every_mutant_of_a_script_differs_from_it_and_from_the_others(path: Path) -> None:
    source = path.read_text("utf-8")
    sources = [each.source for each in mutants(path.name, source)]
    assert sources
    assert len({source, *sources}) == len(sources) + 1


def test_comments_and_names_of_commands_are_left_alone() -> None:
    source = "-- if a < 1 then\nlocal value = redis.call('GET', KEYS[1])\nreturn value\n"
    changed = {each.after for each in mutants("x.lua", source)}
    assert changed == {"local value = redis.call('GET', KEYS[2])", "local value = redis.call('GET', KEYS[0])"}


@pytest.mark.parametrize(
    "entry", [each for each in _ACCEPTED if each["file"].endswith(".lua")], ids=lambda each: each["after"]
)
def test_an_accepted_change_is_still_one_that_is_made(entry: dict[str, str]) -> None:
    found = mutants(entry["file"], (_SCRIPTS / entry["file"]).read_text("utf-8"))
    assert (entry["before"], entry["after"]) in {(each.before, each.after) for each in found}


@pytest.mark.parametrize(
    "entry", [each for each in _ACCEPTED if each["file"].endswith(".py")], ids=lambda each: each["after"]
)
def test_what_an_accepted_change_is_about_is_still_in_its_module(entry: dict[str, str]) -> None:
    text = (_SCRIPTS.parents[1] / entry["file"]).read_text("utf-8")
    assert entry["before"] in " ".join(text.split())
